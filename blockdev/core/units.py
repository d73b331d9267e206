"""Units in which disks are counted."""

from __future__ import annotations

SECTOR = 512  # bytes: what tables of partitions, BIOS, device-mapper and images of disks count in
