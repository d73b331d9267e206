"""Differential tests: diskimage-builder itself and dib-ctr are given the same input, and their answers are compared."""
