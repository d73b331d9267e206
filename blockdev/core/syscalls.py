"""The few Linux system calls that Python's library lacks: mounting, namespaces, pivot_root.

Running a command for each would cost more than the stage's whole machinery may (30 ms).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21

MNT_FORCE = 1
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
_CAPABILITY_VERSION = 0x20080522  # the third

_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "ppc64le": 203, "s390x": 217, "riscv64": 41}
_SYS_KEYCTL = {"x86_64": 250, "aarch64": 219, "ppc64le": 271, "s390x": 280, "riscv64": 219}
# These are the same on every architecture.
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 428, 429, 430, 431, 432
_SYS_MOUNT_SETATTR = 442
_SYS_LANDLOCK_CREATE_RULESET, _SYS_LANDLOCK_RESTRICT_SELF = 444, 446
AT_FDCWD = -100
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_MOUNT_ATTR_RDONLY = 0x1
_OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH = 1, 4
_FSOPEN_CLOEXEC, _FSCONFIG_CMD_CREATE, _FSMOUNT_CLOEXEC = 1, 6, 1
_KEYCTL_JOIN_SESSION_KEYRING = 1
_LANDLOCK_VERSION, _LANDLOCK_SCOPES = 1, 1 | 2  # abstract UNIX sockets, signals
_LANDLOCK_SCOPES_SINCE = 6

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
        _SYS_MOUNT_SETATTR, AT_FDCWD, os.fsencode(target), flags, attributes, ctypes.c_size_t(len(attributes))
    )
    _check(result, f"make {target} read-only")


def _descriptor(result: int, what: str) -> int:
    if result < 0:
        _check(result, what)
    return result


def copy_mount(source: Path | str, *, recursive: bool = False, read_only: bool = False) -> int:
    """A mount that shows what ``source`` does, not attached to anything yet; its descriptor."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    tree = _descriptor(
        _libc.syscall(_SYS_OPEN_TREE, AT_FDCWD, os.fsencode(source), flags), f"copy the mount of {source}"
    )
    if read_only:
        attributes = struct.pack("QQQQ", _MOUNT_ATTR_RDONLY, 0, 0, 0)
        how = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
        result = _libc.syscall(_SYS_MOUNT_SETATTR, tree, b"", how, attributes, ctypes.c_size_t(len(attributes)))
        _check(result, f"make {source} read-only")
    return tree


def new_mount(kind: str, attributes: int) -> int:
    """A file system of the kernel's (proc), mounted but not attached to anything yet; ``attributes`` are MS_ flags."""
    context = _descriptor(_libc.syscall(_SYS_FSOPEN, kind.encode(), _FSOPEN_CLOEXEC), f"open a {kind}")
    try:
        _check(_libc.syscall(_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0), f"make a {kind}")
        return _descriptor(_libc.syscall(_SYS_FSMOUNT, context, _FSMOUNT_CLOEXEC, attributes), f"mount a {kind}")
    finally:
        os.close(context)


def attach_mount(tree: int, target: Path | str) -> None:
    """move_mount(2) of what the functions above made; a link at the end of ``target`` is not followed."""
    try:
        result = _libc.syscall(_SYS_MOVE_MOUNT, tree, b"", AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
        _check(result, f"mount on {target}")
    finally:
        os.close(tree)


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


def close_to_others() -> None:
    """Keep processes without rights over this one's program out of its memory and descriptors, root among them."""
    _check(_libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl")


def own_session_keyring() -> None:
    """Let go of the caller's session keyring; a kernel without keyrings has nothing to let go of."""
    _libc.syscall(_SYS_KEYCTL[os.uname().machine], _KEYCTL_JOIN_SESSION_KEYRING, None)


def scope_sockets_and_signals() -> bool:
    """Landlock: no abstract socket and no process of others can be reached from here on; False on an older kernel."""
    version = _libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_VERSION)
    if version < _LANDLOCK_SCOPES_SINCE:
        return False
    rules = struct.pack("QQQ", 0, 0, _LANDLOCK_SCOPES)
    ruleset = _libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, rules, ctypes.c_size_t(len(rules)), 0)
    if ruleset < 0:
        return False
    try:
        return bool(_libc.syscall(_SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def keep_capabilities(numbers: Iterable[int]) -> None:
    """Give up all capabilities but these (capabilities(7)), for this process and whatever it becomes."""
    kept = sum(1 << number for number in numbers)
    for number in range(64):
        if not kept >> number & 1 and _libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            if ctypes.get_errno() == errno.EINVAL:  # past the kernel's last one
                break
            _check(-1, "give up a capability")
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    low, high = kept & 0xFFFFFFFF, kept >> 32
    held = ctypes.create_string_buffer(24)
    _check(_libc.capget(header, held), "read the capabilities")
    has = struct.unpack("=6I", held.raw)
    data = struct.pack("=6I", low & has[0], low & has[1], 0, high & has[3], high & has[4], 0)
    _check(_libc.capset(header, data), "give up capabilities")


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
