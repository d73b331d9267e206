"""Layers that come from caches elsewhere, and go there."""
