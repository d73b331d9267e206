"""The commands of the command line, one module for those that belong together; what is not needed is not imported."""
