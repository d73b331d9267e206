"""What QEMU's formats have of the moment and the machine, made to follow from the image."""
