"""Many images from one file: read, checked, planned and built together, or spread over many machines."""
