"""Callbacks: set `callbacks.<name>=null` to leave one out."""
