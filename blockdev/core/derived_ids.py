"""Ids of an image that are no chance: each follows from the request's seed and what it is for.

There are three namespaces, and all stay: another byte of one would be another id in every image.
"""

from __future__ import annotations

from uuid import UUID, uuid5

_LAYOUT = UUID("0f5b4c4e-6c0a-5b0e-8a76-3d1ad2a5b9d7")
_FILE_SYSTEMS = UUID("6a8a3a52-4a51-5f0b-9d0c-0d9f5f5be1b4")
_FORMATS = UUID("d3a7d0d5-53b4-5b0d-9d1a-6c2f6f4f0c11")
_NO_PARENT = 0xFFFFFFFE  # from here on a VMDK's content id means something else


# -- of disks, partitions and file systems ---------------------------------------------------------------------------


def guid(seed: str, *path: str) -> str:
    """A GUID in capitals (version 5, RFC 9562) for the thing at ``path``."""
    return str(uuid5(_LAYOUT, "/".join((seed, *path)))).upper()


def mbr_id(seed: str, *path: str) -> str:
    """A disk identifier of an MBR: ``0x`` and eight hexadecimal digits, never zero."""
    return f"0x{uuid5(_LAYOUT, '/'.join((seed, *path))).int >> 96 | 1:08x}"


def file_system_id(seed: str, kind: str, name: str, *, fat: bool = False) -> str:
    """A UUID for a file system, in the form that its kind has: ``ABCD-1234`` for ``fat``."""
    uuid = uuid5(_LAYOUT, f"{seed}/{kind}/{name}")
    return f"{uuid.hex[:4]}-{uuid.hex[4:8]}".upper() if fat else str(uuid)


def within_file_system(seed: str, kind: str, purpose: str) -> UUID:
    """A UUID (version 5, RFC 9562) for one thing of a file system that needs to be unique."""
    return uuid5(_FILE_SYSTEMS, f"{kind}/{seed}/{purpose}")


# -- of image formats --------------------------------------------------------------------------------------------------


def format_id(seed: str, purpose: str) -> UUID:
    """The UUID (version 5, RFC 9562 section 5.5) of a purpose such as ``vdi/image``."""
    return uuid5(_FORMATS, f"{purpose}/{seed}")


def content_id(seed: str) -> int:
    """A VMDK's content id: 32 bits, none of the values that stand for "no parent"."""
    return int.from_bytes(format_id(seed, "vmdk/cid").bytes[:4], "big") % _NO_PARENT
