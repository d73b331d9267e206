"""Loop devices: parts of image files as block devices, without partition scanning and without the device mapper.

Which device is whose is decided by what the kernel says of its backing file (loop(4), LOOP_GET_STATUS64): device,
inode, name, offset and length must all be those of the ledger.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import stat
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from blockdev.core import tools
from blockdev.core.errors import BuildError
from blockdev.privileged.ledger import HeldImage, Ledger, Loop

_CLEAR, _SET_STATUS, _GET_STATUS, _GET_FREE = 0x4C01, 0x4C04, 0x4C05, 0x4C82
_FLUSH = 0x1261  # BLKFLSBUF
_STATUS = struct.Struct("=5Q4I64s64s32s2Q")  # struct loop_info64
_FLAGS_AT = 52
_AUTOCLEAR = 4
_CONTROL = (10, 237)
_LOOP_MAJOR = 7
_TRIES = 40
_PATIENCE = 10.0  # seconds for whoever still looks at a device (udev does) to let go of it
_PRIVILEGED = "run it in a container with --privileged, or as root of the machine"


@dataclass(frozen=True)
class Status:
    """What the kernel says of an attached loop device; ``device`` and ``inode`` of its backing file as in stat(2)."""

    device: int
    inode: int
    offset: int
    size: int
    autoclear: bool


@dataclass(frozen=True)
class Device:
    """An attached loop device, held open by ``file``: it is detached when its last user lets go of it."""

    loop: Loop
    path: str
    file: int

    def flush(self) -> None:
        """Write out what it has in its cache and forget it: the whole disk and its parts have a cache each."""
        os.fsync(self.file)
        fcntl.ioctl(self.file, _FLUSH, 0)

    def close(self) -> None:
        """Let go of it, once."""
        os.close(self.file)


def parse_status(data: bytes) -> Status:
    """A ``struct loop_info64``. Device numbers are in the kernel's own form (``new_encode_dev``)."""
    fields = _STATUS.unpack(data)
    device = os.makedev(fields[0] >> 8 & 0xFFF, fields[0] & 0xFF | fields[0] >> 12 & 0xFFF00)
    return Status(device, fields[1], fields[3], fields[4], bool(fields[8] & _AUTOCLEAR))


def status(number: int) -> Status | None:
    """What a loop device is attached to; None where it is free or not there."""
    if not Path(f"/sys/block/loop{number}/loop").exists():  # opening a device that is not there would make it
        return None
    try:
        file = os.open(node(number), os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.ENXIO, errno.ENODEV, errno.ENOENT}:
            return None
        raise
    try:
        return _status(file)
    finally:
        os.close(file)


def _status(file: int) -> Status | None:
    try:
        return parse_status(fcntl.ioctl(file, _GET_STATUS, bytes(_STATUS.size)))
    except OSError as error:
        if error.errno in {errno.ENXIO, errno.ENODEV}:
            return None
        raise


def is_ours(loop: Loop) -> bool:
    """Is that device (still) attached just as the ledger says, deleted files included."""
    now = status(loop.number)
    if now is None:
        return False
    image = loop.image
    same = (now.device, now.inode, now.offset, now.size) == (
        image.device,
        image.inode,
        loop.offset,
        loop.size,
    )
    return same and backing_name(loop.number) == Path(image.path).name


def backing_name(number: int) -> str:
    """The plain name of a device's backing file, "" where there is none."""
    try:
        text = Path(f"/sys/block/loop{number}/loop/backing_file").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    return Path(text.rstrip("\n").removesuffix(" (deleted)")).name


def node(number: int) -> str:
    """The device file of a loop device; made where a container's own /dev lacks it."""
    path = f"/dev/loop{number}"
    try:
        numbers = Path(f"/sys/block/loop{number}/dev").read_text(encoding="ascii").strip().split(":")
        device = os.makedev(int(numbers[0]), int(numbers[1]))
    except OSError:
        device = os.makedev(_LOOP_MAJOR, number)
    _make_node(path, stat.S_IFBLK, device)
    return path


def _make_node(path: str, kind: int, device: int) -> None:
    try:
        os.mknod(path, kind | 0o600, device)
    except FileExistsError:
        there = Path(path).stat()
        if stat.S_IFMT(there.st_mode) != kind or there.st_rdev != device:
            raise BuildError(f"{path} is not the device that it is called after", hint="remove it") from None
    except OSError as error:
        raise BuildError(f"{path} is missing and cannot be made: {error.strerror}", hint=_PRIVILEGED) from error


def free_number() -> int:
    """The number of a loop device that nobody uses at this moment. BuildError: there is none, or no permission."""
    path = "/dev/loop-control"
    _make_node(path, stat.S_IFCHR, os.makedev(*_CONTROL))
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise BuildError(f"loop devices are out of reach: {path}: {error.strerror}", hint=_PRIVILEGED) from error
    try:
        return fcntl.ioctl(file, _GET_FREE)
    except OSError as error:
        raise BuildError(
            f"all loop devices are taken, and the kernel gives no more: {error.strerror}",
            hint="see who has them with `losetup --list`; detach those that nobody needs with `losetup -d`",
        ) from error
    finally:
        os.close(file)


def losetup_argv(path: str, loop: Loop, sector: int) -> list[str]:
    """The command that attaches a device; ``sector`` in bytes."""
    part = ["--offset", str(loop.offset), "--sizelimit", str(loop.size)]
    longer = ["--sector-size", str(sector)] if sector != 512 else []
    return ["losetup", *part, *longer, path, loop.image.path]


def attach(image: HeldImage, offset: int, size: int, sector: int, ledger: Ledger, *, autoclear: bool = True) -> Device:
    """Attach ``size`` bytes of an image from byte ``offset`` on, written down in the ledger before it is done.

    With ``autoclear`` the kernel detaches it when this process is gone and nothing is mounted from it. Another process
    may take the same free device first; then the next one is tried. BuildError: there is none, or it cannot be done.
    """
    reason = ""
    for attempt in range(_TRIES):
        loop = Loop(free_number(), image, offset, size)
        path = node(loop.number)
        ledger.add(loop)
        command = losetup_argv(path, loop, sector)
        done = tools.run(command, env={"LC_ALL": "C"})
        reason = done.err.decode(errors="replace").strip()
        if done.status == 0:
            return _held(loop, path, autoclear=autoclear)
        if "busy" not in reason.lower():
            break
        time.sleep(random.uniform(0.01, 0.05) * (1 + attempt / 4))
    raise BuildError(f"{image.path} cannot be attached as a loop device: {reason}", hint=_PRIVILEGED)


def _held(loop: Loop, path: str, *, autoclear: bool) -> Device:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if not is_ours(loop):
        os.close(file)
        raise BuildError(f"{path} was taken away by another process", hint="build again")
    if autoclear:
        data = bytearray(fcntl.ioctl(file, _GET_STATUS, bytes(_STATUS.size)))
        data[_FLAGS_AT] |= _AUTOCLEAR
        fcntl.ioctl(file, _SET_STATUS, bytes(data))
    return Device(loop, path, file)


def detach(loop: Loop) -> str:
    """Detach a device if it is ours; a sentence on what went wrong, "" where nothing did."""
    if not is_ours(loop):
        return ""
    file = os.open(node(loop.number), os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(file, _CLEAR, 0)
    except OSError as error:
        if error.errno not in {errno.ENXIO, errno.EBUSY}:
            raise
    finally:
        os.close(file)
    end = time.monotonic() + _PATIENCE
    while is_ours(loop):
        if time.monotonic() > end:
            return f"/dev/loop{loop.number} is still in use; the kernel detaches it when its last user lets go of it"
        time.sleep(0.05)
    return ""
