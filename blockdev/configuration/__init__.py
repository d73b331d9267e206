"""A block-device configuration: read, brought into graph form, and checked before anything runs."""
