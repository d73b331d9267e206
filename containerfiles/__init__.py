"""Recipes of the build images: what ``builder.build_image.ensure`` reads."""
