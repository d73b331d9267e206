"""VDI: qemu-img puts two random UUIDs into the header, the image's and that of its last modification.

After the header VDIHEADER1 of VirtualBox's Storage/VDICore.h: 64 bytes of text, the signature 0xbeda107f at 0x40, the
image's UUID at 0x188 and the modification's at 0x198, both with their first three fields in little endian. The UUIDs of
parents (0x1a8, 0x1b8) are zero in an image that has none.
"""

from __future__ import annotations

import struct
from uuid import UUID

from blockdev.core.errors import BuildError

HEADER = 512
_SIGNATURE_AT, _SIGNATURE = 0x40, 0xBEDA107F
_IMAGE, _MODIFICATION = 0x188, 0x198


def pinned(header: bytes, image: UUID, modification: UUID) -> bytes:
    """An image's first 512 bytes with these UUIDs."""
    if len(header) != HEADER or struct.unpack_from("<I", header, _SIGNATURE_AT)[0] != _SIGNATURE:
        raise BuildError("this is no VDI header: its signature is missing")
    changed = bytearray(header)
    changed[_IMAGE : _IMAGE + 16] = image.bytes_le
    changed[_MODIFICATION : _MODIFICATION + 16] = modification.bytes_le
    return bytes(changed)
