"""What happens around the steps of a training: what `callbacks.<name>` switches on and off."""
