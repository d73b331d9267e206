"""Identifiers of disks and partitions: given, or derived from a seed, so that one request gives one set of them."""

from __future__ import annotations

from uuid import UUID, uuid5

from blockdev.configuration.labels import FAT

_NAMESPACE = UUID("0f5b4c4e-6c0a-5b0e-8a76-3d1ad2a5b9d7")


def guid(seed: str, *path: str) -> str:
    """A GUID in capitals (version 5, RFC 9562) for the thing at ``path``."""
    return str(uuid5(_NAMESPACE, "/".join((seed, *path)))).upper()


def mbr_id(seed: str, *path: str) -> str:
    """A disk identifier of an MBR: ``0x`` and eight hexadecimal digits, never zero."""
    return f"0x{uuid5(_NAMESPACE, '/'.join((seed, *path))).int >> 96 | 1:08x}"


def file_system(seed: str, kind: str, name: str) -> str:
    """A UUID for a file system, in the form that its kind has: ``ABCD-1234`` for FAT."""
    made = uuid5(_NAMESPACE, f"{seed}/{kind}/{name}")
    if kind in FAT:
        return f"{made.hex[:4]}-{made.hex[4:8]}".upper()
    return str(made)
