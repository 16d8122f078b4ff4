"""What is computed: the recurrent network, and what is made of its tensors."""
