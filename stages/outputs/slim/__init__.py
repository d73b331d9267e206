"""What an image for containers does not carry: policies, one file per distribution family, and what they come to."""
