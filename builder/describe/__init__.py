"""What an image is made of and where it comes from: documents that lie beside it and are attached to it."""
