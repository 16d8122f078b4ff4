"""What a file is, what its columns would be, and the command that trains on it."""
