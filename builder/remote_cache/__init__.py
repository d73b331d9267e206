"""Caches elsewhere: registries, folders and GitHub's cache, which hold layers for other machines and stores."""
