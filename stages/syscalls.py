"""The few Linux system calls that Python's library lacks: mounting, namespaces, pivot_root.

Running a command for each would cost more than the stage's whole machinery may (30 ms).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18

MNT_DETACH = 2
PR_SET_PDEATHSIG = 1

_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "ppc64le": 203, "s390x": 217, "riscv64": 41}
_SYS_MOUNT_SETATTR = 442  # the same on every architecture
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 0x1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: Path | str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2); raises OSError naming both ends."""
    result = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        os.fsencode(options) or None,
    )
    _check(result, f"mount {kind or source} on {target}")


def bind(source: Path | str, target: Path | str, *, recursive: bool = False, read_only: bool = False) -> None:
    """Bind-mount; ``read_only`` holds for everything below where ``recursive`` is set."""
    mount(str(source), target, "", MS_BIND | (MS_REC if recursive else 0))
    if read_only:
        set_read_only(target, recursive=recursive)


def set_read_only(target: Path | str, *, recursive: bool) -> None:
    """mount_setattr(2): keeps the locked flags (nosuid, nodev) that a remount in a user namespace may not drop."""
    attributes = struct.pack("QQQQ", _MOUNT_ATTR_RDONLY, 0, 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    result = _libc.syscall(
        _SYS_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), flags, attributes, ctypes.c_size_t(len(attributes))
    )
    _check(result, f"make {target} read-only")


def unmount(target: Path | str, *, lazy: bool = True) -> None:
    """umount2(2); lazily: what is still busy goes when its last user does."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH if lazy else 0), f"unmount {target}")


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_libc.unshare(flags), "unshare")


def pivot_root(root: Path | str) -> None:
    """Make the mount point ``root`` the root of this mount namespace and let go of the old one."""
    os.chdir(root)
    _check(_libc.syscall(_SYS_PIVOT_ROOT[os.uname().machine], b".", b"."), f"pivot_root to {root}")
    _check(_libc.umount2(b".", MNT_DETACH), "unmount the old root")
    os.chdir("/")


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0), "prctl")


def set_hostname(name: str) -> None:
    """sethostname(2), in an own UTS namespace."""
    _check(_libc.sethostname(name.encode(), len(name)), "sethostname")


def loopback_up() -> None:
    """Bring up ``lo`` in a fresh network namespace, as programs that talk to themselves expect it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH22x", b"lo", 0x1 | 0x40)  # IFF_UP | IFF_RUNNING
        fcntl.ioctl(control, 0x8914, request)  # SIOCSIFFLAGS


def sync_file_system(folder: Path) -> None:
    """syncfs(2): what was written to the file system that holds ``folder`` is on the disk afterwards."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _check(_libc.syncfs(handle), f"sync {folder}")
    finally:
        os.close(handle)
