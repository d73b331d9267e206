"""What elements' own Python programs import of diskimage-builder; they run in the build container."""
