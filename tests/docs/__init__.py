"""The pages of docs/: those that are made from the code, and what is wrong with any of them."""
