"""The program in the build container."""
