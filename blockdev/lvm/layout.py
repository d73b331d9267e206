"""The fixed structures at the begin of a physical volume, as lvm2's sources lay them out (little-endian).

A label in one of the first four sectors, with the physical volume's header in it; metadata areas that the header names,
each a header sector and a ring of text behind it.
"""

from __future__ import annotations

import struct
import zlib

LABEL_SECTORS = 4  # a label is in one of these
LABEL_ID = b"LABELONE"
LABEL_TYPE = b"LVM2 001"
LABEL = struct.Struct("<8sQII8s")  # id, own sector, checksum, offset of the header, type
LABEL_CHECKED = 20  # the label's checksum covers its sector from this byte on
PHYSICAL = struct.Struct("<32sQ")  # UUID without hyphens, size of the device in bytes
AREA = struct.Struct("<QQ")  # offset, size; both zero: the end of a list of areas
EXTENSION = struct.Struct("<II")  # version, flags
EXTENSION_VERSION = 2
IN_USE = 1  # flag: belongs to a group

METADATA_START = 4096
METADATA_MAGIC = b" LVM2 x[5A%r0N*>"
METADATA = struct.Struct("<I16sIQQ")  # checksum, magic, version, own offset, size
METADATA_VERSION = 1
METADATA_CHECKED = 4  # the header's checksum covers its sector from this byte on
PLACE = struct.Struct("<QQII")  # of the text: offset in the area, size with the final NUL, checksum, flags
IGNORED = 1  # flag of a place: the area is not in use

_INITIAL = 0xF597A6CF
_ALL = 0xFFFFFFFF


def checksum(content: bytes) -> int:
    """LVM's CRC: the usual polynomial from a start of its own, and no inversion at the begin and end."""
    return zlib.crc32(content, _INITIAL ^ _ALL) ^ _ALL


UUID_GROUPS = (6, 4, 4, 4, 4, 4, 6)  # letters of an LVM identifier, by its hyphens
