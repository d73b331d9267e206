"""SELinux labels of a tree, told by the policy in the tree itself: what ``setfiles`` would put on its files.

The kernel lets no unprivileged build write ``security.selinux``, and has no policy that knows the image's types; so the
label of each path is looked up when an output is written (libselinux's selabel_open(3), the tree's own
``file_contexts``) and goes into archives and file systems as an attribute like others.
"""

from __future__ import annotations

import ctypes
import errno
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from blockdev.core.errors import BuildError
from blockdev.core.rooted_path import inside, is_regular

ATTRIBUTE = "security.selinux"
CONFIG = "etc/selinux/config"
LIBRARY = "libselinux.so.1"  # on every Debian: coreutils need it
_FILES, _PATH = 0, 3  # SELABEL_CTX_FILE, SELABEL_OPT_PATH (selinux/label.h)


class _Option(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int), ("value", ctypes.c_char_p))


@cache
def _library() -> Any:
    library = ctypes.CDLL(LIBRARY, use_errno=True)
    library.selabel_open.restype = ctypes.c_void_p
    library.selabel_open.argtypes = [ctypes.c_uint, ctypes.POINTER(_Option), ctypes.c_uint]
    library.selabel_lookup_raw.argtypes = [
        ctypes.c_void_p,
        ctypes.POINTER(ctypes.c_void_p),
        ctypes.c_char_p,
        ctypes.c_int,
    ]
    library.freecon.argtypes = [ctypes.c_void_p]
    return library


@dataclass(frozen=True)
class Labels:
    """The labels of one tree by its policy; ``below`` is where in the tree names begin (``/boot``, empty for ``/``)."""

    handle: int
    where: str  # the policy's path in the tree
    below: bytes = b""
    _labels: dict[tuple[bytes, int], bytes] = field(default_factory=dict, repr=False, compare=False)

    def at(self, point: str) -> Labels:
        """The same labels for names below a mount point of the tree."""
        return Labels(self.handle, self.where, point.rstrip("/").encode())

    def of(self, name: bytes, kind: int) -> bytes:
        """The attribute's value for a path (relative to where names begin) of this kind (``stat.S_IFMT``).

        Empty where the policy wants no label there. It ends with a zero byte, as setfiles(8) writes it. Raises
        BuildError for a policy that turns out to be malformed.
        """
        path = self.below + b"/" + name.strip(b"/") if name.strip(b"/.") else self.below or b"/"
        if (path, kind) not in self._labels:
            context = ctypes.c_void_p()
            status = _library().selabel_lookup_raw(self.handle, ctypes.byref(context), path, kind)
            label = b""
            if status and ctypes.get_errno() != errno.ENOENT:
                raise _unreadable(self.where)
            if status == 0 and context.value:
                label = ctypes.string_at(context.value) + b"\0"
                _library().freecon(context)
            self._labels[path, kind] = label
        return self._labels[path, kind]


def policy_of(tree: Path) -> Path | None:
    """The ``file_contexts`` of the policy that a machine with this tree uses; None where it uses none (selinux(8))."""
    try:
        config = inside(tree, CONFIG)
        text = config.read_text(encoding="utf-8", errors="replace") if config and is_regular(config) else ""
    except OSError:
        return None
    settings = dict(re.findall(r"^\s*(SELINUX|SELINUXTYPE)\s*=\s*(\w+)", text, re.MULTILINE))
    if settings.get("SELINUX", "disabled").lower() == "disabled":
        return None
    contexts = inside(tree, f"etc/selinux/{settings.get('SELINUXTYPE', 'targeted')}/contexts/files/file_contexts")
    return contexts if is_regular(contexts) else None


def labels_of(tree: Path) -> Labels | None:
    """The labels of a tree, or None where it has no policy; BuildError where its policy cannot be read."""
    contexts = policy_of(tree)
    if contexts is None:
        return None
    try:
        library = _library()
    except OSError as error:
        raise BuildError(
            f"the tree has an SELinux policy, and {LIBRARY} is not there: {error}", hint="apt-get install libselinux1"
        ) from error
    where = f"/{contexts.relative_to(tree)}"
    option = _Option(_PATH, str(contexts).encode())
    handle = library.selabel_open(_FILES, ctypes.byref(option), 1)
    if not handle:
        raise _unreadable(where)
    return Labels(int(handle), where)


def _unreadable(where: str) -> BuildError:
    return BuildError(
        "the SELinux policy of the tree cannot be read",
        where=where,
        hint="install the policy's package again, or set SELINUX=disabled in /etc/selinux/config",
    )
