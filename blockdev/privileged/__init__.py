"""Disks assembled with the kernel's help: loop devices and mounts, as root; see docs/privileged.md."""
