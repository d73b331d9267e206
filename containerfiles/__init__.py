"""Recipes of the build images: what ``builder.toolimage`` reads."""
