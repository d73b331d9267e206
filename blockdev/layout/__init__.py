"""Where everything of an image lies: a pure function of configuration, size of the tree and options."""
