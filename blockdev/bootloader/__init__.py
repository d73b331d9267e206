"""Boot loaders, put into the image by what the tree brings: GRUB, and zIPL on s390x."""
