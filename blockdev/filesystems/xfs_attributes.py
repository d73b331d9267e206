"""Extended attributes as XFS stores them."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from blockdev.core.errors import BuildError
from blockdev.filesystems.xfs_names import is_word
from blockdev.tree.walk import WalkEntry

_USER, _ROOT, _SECURE = 0, 2, 4  # the bits of a namespace (xfs_da_format.h)
_NAMED = (0x02, 0x08)  # entries of an access list that are for somebody: a user, a group
_KNOWN = {
    "system.posix_acl_access": (_ROOT, b"r", b"SGI_ACL_FILE"),
    "system.posix_acl_default": (_ROOT, b"r", b"SGI_ACL_DEFAULT"),
}
_ACCESS_LISTS = frozenset(name for _, _, name in _KNOWN.values())
_SPACES = {b"trusted": (_ROOT, b"r"), b"security": (_SECURE, b"s")}


@dataclass(frozen=True)
class Attribute:
    """One of them: the bits of its namespace, xfs_db's letter for it, its name there, and the value as stored."""

    space: int
    option: bytes
    name: bytes
    value: bytes


def attributes(entry: WalkEntry) -> tuple[Attribute, ...]:
    """Those of an entry; BuildError where xfs_db cannot be told of one."""
    result = []
    for name, value in entry.attributes().items():
        first, _, rest = os.fsencode(name).partition(b".")
        space, option, stored = _KNOWN.get(name, (*_SPACES.get(first, (_USER, b"u")), rest))
        if not is_word(stored) or not value:
            raise BuildError(
                f"an xfs file system written without the kernel cannot hold the extended attribute {name!r}"
                f"{'' if value else ' without a value'}",
                where=repr(os.fsdecode(entry.path)),
                hint="choose ext4 or btrfs, or the privileged assembly",
            )
        result.append(Attribute(space, option, stored, access_list(value) if stored in _ACCESS_LISTS else value))
    return tuple(result)


def access_list(value: bytes) -> bytes:
    """An access list (acl(5), version 2, as the kernel hands it out) as XFS keeps it: a count, and 12 bytes each."""
    rules = list(struct.iter_unpack("<HHI", value[4:]))
    packed = [struct.pack(">IIHH", tag, who if tag in _NAMED else 0, allowed, 0) for tag, allowed, who in rules]
    return struct.pack(">I", len(rules)) + b"".join(packed)
