"""Other ways to ask for a build than the command line's own."""
