"""What arguments a class takes, read from its source without importing it."""
