"""LVM2 volume groups of linear volumes, allocated, written and read back without lvm's tools or device-mapper."""
