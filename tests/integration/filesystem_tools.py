"""The tools of file systems, and what these say of one."""

from __future__ import annotations

import errno
import os
import re
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.integration.filesystem_scenario import OFFSET, TREES

PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
KINDS = tuple(TREES)
EXT = ("ext2", "ext3", "ext4")
MIB = 1 << 20


def run(*command: str | bytes | Path, **more: Any) -> bytes:
    """What a program prints, which must succeed."""
    environment = {**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8", "TZ": "UTC", "MTOOLSRC": "/dev/null"}
    done: subprocess.CompletedProcess[bytes] = subprocess.run(
        command, env=environment, capture_output=True, check=False, **more
    )
    assert done.returncode == 0, (command, done.stdout[-500:], done.stderr[-500:])
    return done.stdout


def _written(file: int, begin: int, end: int) -> Iterator[int]:
    """Where a file's MiBs are, counted from ``begin``, that are no holes."""
    place = begin
    while place < end:
        try:
            place = os.lseek(file, place, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return  # nothing but holes
        if place < end:
            yield (place - begin) // MIB * MIB
        place = begin + (place - begin) // MIB * MIB + MIB


def differences(one: Path, other: Path, length: int, begin: int = 0) -> list[int]:
    """Which MiBs of ``length`` bytes differ, from ``begin`` on in the first file; no hole is read."""
    with one.open("rb") as first, other.open("rb") as second:
        numbers = (first.fileno(), second.fileno())
        places = {*_written(numbers[0], begin, begin + length), *_written(numbers[1], 0, length)}
        found = []
        for place in sorted(places):
            count = min(MIB, length - place)
            if os.pread(numbers[0], count, begin + place) != os.pread(numbers[1], count, place):
                found.append(place)
        return found


def debugfs(image: Path, command: bytes) -> bytes:
    """The answer to one command."""
    return run("debugfs", "-R", command, f"{image}?offset={OFFSET}")


def fields(said: bytes) -> dict[bytes, bytes]:
    """The words of ``stat`` before which there is a colon, each where it is first."""
    return dict(reversed(re.findall(rb"(\w+):\s+(\S+)", said)))


def plain_list(value: str) -> str:
    """An access list whose entries without a name have no id: debugfs gives them another one than the kernel."""
    if len(value) < 8:
        return value
    entries = struct.iter_unpack("<HHI", bytes.fromhex(value)[4:])
    return repr([(tag, allowed, who if tag in (2, 8) else -1) for tag, allowed, who in entries])


def quoted(name: str) -> bytes:
    """A path of the tree as debugfs reads it."""
    path = b"/" if name == "." else b"/" + os.fsencode(name)
    return b'"' + path.replace(b'"', b'""') + b'"'
