"""Giving the answers: each function makes one call in its caller's stead.

It returns 0 for success, an errno for a failure, None to let the kernel answer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from blockdev.core.syscalls import MNT_FORCE, MS_BIND
from blockdev.tree import recorded_status
from stages.sandbox.seccomp import dirent_offsets, mounts, policy, syscalls
from stages.sandbox.seccomp.caller import HERE, Caller, UnreadableError
from stages.sandbox.seccomp.filter import Architecture
from stages.sandbox.seccomp.policy import MountCall

_CAP_CHOWN, _CAP_LINUX_IMMUTABLE, _CAP_SYS_ADMIN, _CAP_MKNOD = 0, 9, 21, 27
_NO_FOLLOW, _EMPTY_PATH = 0x100, 0x1000
_EXTENDED_IMMUTABLE, _EXTENDED_APPEND = 0x8, 0x10  # FS_XFLAG_...
_MOST_ENTRIES = 1 << 20  # bytes of a directory in one answer

_MODULE = "loading a kernel module"
_CLOCK = "setting the machine's clock"
_MACHINE = {
    "init_module": _MODULE,
    "finit_module": _MODULE,
    "swapon": "swapping",
    "reboot": "restarting the machine",
    "settimeofday": _CLOCK,
    "clock_settime": _CLOCK,
}


def _signed(argument: int) -> int:
    """The low half of an argument, as an int: descriptors."""
    return (argument & 0xFFFFFFFF ^ 0x80000000) - 0x80000000


def _may_record(status: os.stat_result) -> bool:
    """Can such a file have attributes of users."""
    return stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[str]:
    """The path of a descriptor, which is closed in the end."""
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _directory(caller: Caller, argument: int) -> Iterator[int | None]:
    """A caller's open directory, with its position; None for what is none."""
    descriptor = caller.descriptor(_signed(argument))
    try:
        yield descriptor if stat.S_ISDIR(os.fstat(descriptor).st_mode) else None
    finally:
        os.close(descriptor)


@dataclass
class Answers:
    """``ids``: how many user and group ids there are; ``say`` puts a line into the stage's output."""

    ids: int
    say: Callable[[str], None]
    counts: Counter[str] = field(default_factory=Counter)
    _whole: set[str] = field(default_factory=set)  # mounts (by id) that came with others below them

    def give(self, name: str, caller: Caller, architecture: Architecture, arguments: tuple[int, ...]) -> int | None:
        """What the call of this name is to return; an errno is negative, None lets the kernel answer."""
        if name == "getdents64":
            return self._list_directory(caller, *arguments[:3])
        if name == "lseek":
            return self._seek_directory(caller, *arguments[:3])
        error = self._act(name, caller, architecture, arguments)
        return None if error is None else -error

    def _act(self, name: str, caller: Caller, architecture: Architecture, arguments: tuple[int, ...]) -> int | None:
        if name in ("mknod", "mknodat"):
            folder, *rest = (HERE, *arguments) if name == "mknod" else arguments
            return self._mknod(caller, _signed(folder), *rest[:3])
        if name in ("chown", "lchown", "fchown", "fchownat"):
            return self._chown(name, caller, arguments)
        if name in ("setxattr", "lsetxattr", "fsetxattr"):
            return self._setxattr(name, caller, arguments)
        if name == "ioctl":
            return self._flags(architecture, caller, *arguments[:3])
        if name == "mount":
            return self._mount(caller, arguments)
        if name == "umount2":
            return self._umount(caller, *arguments[:2])
        if name == "chroot":
            self._chroot(caller, arguments[0])
            return None
        return self._refuse(_MACHINE[name])

    def _list_directory(self, caller: Caller, descriptor: int, address: int, length: int) -> int | None:
        """The next entries of a directory whose places get 31 bits; returns how many bytes they are."""
        with _directory(caller, descriptor) as directory:
            if directory is None:
                return None
            entries = syscalls.entries(directory, min(length & 0xFFFFFFFF, _MOST_ENTRIES))
            try:
                caller.write(address, dirent_offsets.shortened(entries))
            except UnreadableError:  # the directory's position has moved: the kernel must not go on from there
                return -errno.EFAULT
            return len(entries)

    def _seek_directory(self, caller: Caller, descriptor: int, offset: int, whence: int) -> int | None:
        """Go to such a place; returns it."""
        if offset > dirent_offsets.HIGHEST or whence & 0xFFFFFFFF != os.SEEK_SET:
            return None
        with _directory(caller, descriptor) as directory:
            if directory is None:
                return None
            os.lseek(directory, dirent_offsets.long(offset), os.SEEK_SET)
            return offset

    def _refuse(self, what: str) -> int:
        self.counts["refused"] += 1
        self.say(f"{what} is for a machine of its own, not for a build container: refused (see --privileged)")
        return errno.EPERM

    # -- files -----------------------------------------------------------------------------------------------------

    def _mknod(self, caller: Caller, folder: int, address: int, mode: int, device: int) -> int | None:
        node = policy.device(mode, device)
        if node is None or not caller.may(_CAP_MKNOD):
            return None
        path = caller.text(address)
        umask = caller.status("Umask", 8)
        with caller.standing(folder):
            before = os.umask(umask)
            try:
                file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode & 0o7777)
            finally:
                os.umask(before)
            try:
                os.setxattr(file, recorded_status.NODE, node.encoded())
            except OSError:  # a file system without such attributes cannot keep the record
                os.unlink(path)  # noqa: PTH108 (bytes)
                return None
            finally:
                os.close(file)
        self.counts["node"] += 1
        return 0

    def _chown(self, name: str, caller: Caller, arguments: tuple[int, ...]) -> int | None:
        if not caller.may(_CAP_CHOWN):
            return None
        if name == "fchown":
            target = caller.open(_signed(arguments[0]), b"", follow=True)
            asked = arguments[1:3]
        elif name == "fchownat":
            path = caller.text(arguments[1])
            if not path and not arguments[4] & _EMPTY_PATH:
                return errno.ENOENT
            target = caller.open(_signed(arguments[0]), path, follow=not arguments[4] & _NO_FOLLOW)
            asked = arguments[2:4]
        else:
            path = caller.text(arguments[0])
            if not path:
                return errno.ENOENT
            target = caller.open(HERE, path, follow=name == "chown")
            asked = arguments[1:3]
        with _closing(target) as path_of:
            status = os.fstat(target)
            if not _may_record(status):
                self.counts["owner-left"] += 1
                return 0
            recorded = _get(path_of, recorded_status.OWNER)
            answer = policy.owners((status.st_uid, status.st_gid), recorded, (asked[0], asked[1]), self.ids)
            os.chown(path_of, *answer.native)
            os.setxattr(path_of, recorded_status.OWNER, answer.record)
        self.counts["owner"] += 1
        return 0

    def _setxattr(self, function: str, caller: Caller, arguments: tuple[int, ...]) -> int | None:
        name = os.fsdecode(caller.text(arguments[1], 256))
        if not policy.recorded_attribute(name) or not caller.may(_CAP_SYS_ADMIN):
            return None
        value = caller.data(arguments[2], min(arguments[3], 1 << 16))
        if function == "fsetxattr":
            target = caller.open(_signed(arguments[0]), b"", follow=True)
        else:
            target = caller.open(HERE, caller.text(arguments[0]), follow=function == "setxattr")
        with _closing(target) as path:
            if not _may_record(os.fstat(target)):
                return None
            if name.startswith("security."):  # a script that reads it back may find it, where the kernel has it
                with contextlib.suppress(OSError):
                    os.setxattr(path, name, value)
            os.setxattr(path, recorded_status.ATTRIBUTE + name, value, _signed(arguments[4]))
        self.counts["attribute"] += 1
        return 0

    def _flags(self, architecture: Architecture, caller: Caller, number: int, command: int, address: int) -> int | None:
        what = architecture.flag_commands().get(command & 0xFFFFFFFF)
        path = f"{caller.proc}/fd/{_signed(number)}"
        if what is None or not _may_record(caller.described(_signed(number))) or not caller.shares("user"):
            return None
        recorded = recorded_status.flag_bits(_get(path, recorded_status.FLAGS))
        get, set_, _ = syscalls.flag_commands()
        with _closing(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)) as own:
            caller.confirm()
            descriptor = int(own.rpartition("/")[2])
            if what == "get":
                if not recorded:
                    return None
                bits = 0
                with contextlib.suppress(OSError):
                    bits = syscalls.file_flags(descriptor, get)
                caller.write(address, struct.pack("=I", bits | recorded))
                return 0
            (asked,) = struct.unpack("=I", caller.data(address, 4))
            if what == "set-extended":
                asked = _plain_flags(asked)
            kept = asked & (recorded_status.IMMUTABLE | recorded_status.APPEND)
            if not kept:
                if recorded:
                    os.removexattr(path, recorded_status.FLAGS)
                return None
            if not caller.may(_CAP_LINUX_IMMUTABLE):
                return None
            if what == "set":
                with contextlib.suppress(OSError):  # a file system without flags is no reason to fail now
                    syscalls.set_file_flags(descriptor, set_, asked & ~kept)
            os.setxattr(path, recorded_status.FLAGS, recorded_status.flag_letters(kept))
        self.counts["flags"] += 1
        return 0

    # -- mounts ----------------------------------------------------------------------------------------------------

    def _mount(self, caller: Caller, arguments: tuple[int, ...]) -> int | None:
        source, target, kind = (caller.text(address) for address in arguments[:3])
        call = MountCall(source, kind, arguments[3] & 0xFFFFFFFF, caller.text(arguments[4]))
        if not caller.may(_CAP_SYS_ADMIN):
            return None
        if policy.needs_privileges(call):
            return self._refuse(f"mounting {os.fsdecode(source)} ({os.fsdecode(kind)}) on {os.fsdecode(target)}")
        first = last = 0
        devices = bool(call.flags & MS_BIND) and mounts.shows_devices(caller, source)
        for attempt in policy.attempts(call, own_network=not caller.shares("net"), devices=devices):
            if last and last not in attempt.after:
                continue
            try:
                new_mount = mounts.make(attempt, caller, target)
            except OSError as error:
                last = error.errno or errno.EPERM
                first = first or last
                continue
            if first or not policy.as_asked(attempt, call):
                self.counts["mount"] += 1
            if not policy.as_asked(attempt, call):
                self._whole.add(mounts.mount_id(new_mount))
            os.close(new_mount)
            return 0
        return first or None

    def _umount(self, caller: Caller, address: int, flags: int) -> int | None:
        if not caller.may(_CAP_SYS_ADMIN):
            return None
        path = caller.text(address)
        target = caller.open(HERE, path, follow=True)
        mount = mounts.mount_id(target)
        os.close(target)
        ours = mount in self._whole
        if not ours and not flags & MNT_FORCE:
            return None
        with caller.standing():
            syscalls.unmount(path, policy.unmounting(flags & 0xFFFFFFFF, whole=ours))
        self._whole.discard(mount)
        if flags & MNT_FORCE:
            self.counts["umount"] += 1
        return 0

    def _chroot(self, caller: Caller, address: int) -> None:
        path = caller.text(address)
        if not caller.shares("user"):
            return
        with contextlib.suppress(OSError):  # whether there is such a root, the kernel says
            self.counts["shown"] += mounts.show_devices(caller, path)


def _get(path: str, name: str) -> bytes:
    """An attribute of what a path in /proc leads to; empty for none."""
    try:
        return os.getxattr(path, name)
    except OSError:
        return b""


def _plain_flags(extended: int) -> int:
    immutable = recorded_status.IMMUTABLE if extended & _EXTENDED_IMMUTABLE else 0
    return immutable | (recorded_status.APPEND if extended & _EXTENDED_APPEND else 0)
