"""VMDK: qemu-img puts a random content id into the descriptor that lies within the image.

After VMware's "Virtual Disk Format 5.0": a sparse extent begins with a header of 512 bytes in little endian (magic
"KDMV" at 0, the descriptor's first sector at 28 and its length in sectors at 36, both 64 bits); the descriptor is text
filled up with zeros, with lines such as ``CID=fffffffe``.
"""

from __future__ import annotations

import re
import struct

from blockdev.core.errors import BuildError
from blockdev.core.units import SECTOR

HEADER = 512
_MOST = 1 << 20  # a descriptor longer than this is none
_CID = re.compile(rb"^CID=[0-9a-fA-F]{1,8}$", re.MULTILINE)


def descriptor_place(header: bytes) -> tuple[int, int]:
    """Offset and length (bytes) of the descriptor within an image, from the image's first 512 bytes."""
    if len(header) < HEADER or header[:4] != b"KDMV":
        raise BuildError("this is no sparse VMDK extent: it does not begin with KDMV")
    start, length = struct.unpack_from("<QQ", header, 28)
    if not start or not length or length * SECTOR > _MOST:
        raise BuildError("this VMDK has no descriptor of its own")
    return start * SECTOR, length * SECTOR


def pinned(descriptor: bytes, content_id: int) -> bytes:
    """The descriptor with another content id (32 bits), as long as it was.

    qemu-img writes a small id with fewer digits, wherefore all that follows moves and the rest is filled up again.
    Where it wrote a longer text first, the end of that one still stands behind the new one.
    """
    text = descriptor.partition(b"\0")[0]
    changed, count = _CID.subn(b"CID=%08x" % content_id, text)
    if count != 1:
        raise BuildError(f"a VMDK descriptor with {count} content ids in it")
    if len(changed) > len(descriptor):
        raise BuildError("the VMDK descriptor has no room for its content id")
    return changed.ljust(len(descriptor), b"\0")
