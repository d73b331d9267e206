"""The block-device layer: from a configuration and a tree to disk images, without mounts and without root."""
