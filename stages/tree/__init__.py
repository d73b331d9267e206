"""What is in a finished tree: packages and their databases."""
