"""The inside of the build container: elements, plans, keys, layers, sandboxes and exporters."""
