"""Reading images that are there already: what is in them, how large it is, where two of them differ."""
