"""What is secret, how it is kept out of all that is written and told, and what stands for it in keys."""
