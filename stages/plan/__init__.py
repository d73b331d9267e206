"""The plan: stages, their order and keys. Pure."""
