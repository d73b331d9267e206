"""Giving back what a ledger names: mounts, volume groups, opened containers, loop devices; and nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from blockdev.core import syscalls, tools
from blockdev.core.boot_id import boot_id
from blockdev.core.errors import BuildError
from blockdev.privileged import device_mapper, loops
from blockdev.privileged.ledger import SUFFIX, Entry, Group, HeldImage, Loop, Mapping, Mounts, abandoned

_TRIES = 9
_PAUSE = 0.3  # seconds; longer each time


@dataclass(frozen=True)
class LeftOver:
    """What was given back of earlier runs, and what could not be; one sentence each."""

    released: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def release_left_over(folder: Path) -> LeftOver:
    """Give back what runs with their ledgers in ``folder`` left when they were killed.

    A ledger whose run lives is left alone (it is locked, or its process is there), and so is every loop device whose
    backing file is not the ledger's own. After a restart of the machine there is nothing to give back.
    """
    released: list[str] = []
    problems: list[str] = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with abandoned(path) as run:
            if run is None:
                continue
            owner, entries = run
            wrong: tuple[str, ...] = ()
            if owner is not None and owner.boot == boot_id():
                wrong = release(entries, released.append)
            problems += wrong
            if not wrong:
                path.unlink()
    return LeftOver(tuple(released), tuple(problems))


def release(
    entries: Sequence[Entry], show: Callable[[str], None], held: Sequence[loops.Device] = ()
) -> tuple[str, ...]:
    """Undo what the entries say, the last one first; returns what went wrong, one sentence each.

    ``show`` hears of what was still there. ``held`` are the run's own open devices: closed when their turn has come.
    """
    ours = {f"/dev/loop{loop.number}" for loop in entries if isinstance(loop, Loop) and loops.is_ours(loop)}
    problems: list[str] = []
    still_held = [*held]
    backwards = [*reversed(entries)]
    backwards.sort(key=_turn)  # a stable order: what was taken later goes first
    for entry in backwards:
        try:
            while isinstance(entry, Loop) and still_held:
                still_held.pop().close()
            problem = _undo(entry, ours, show)
        except (OSError, BuildError) as error:
            problem = f"{_name_of(entry)}: {error}"
        if problem:
            problems.append(problem)
    return tuple(dict.fromkeys(problems))


def _turn(entry: Entry) -> int:
    """Mounts first, image files last; containers and groups lie on each other in the order of the ledger."""
    return {Mounts: 0, Group: 1, Mapping: 1, Loop: 2, HeldImage: 3}[type(entry)]


def _name_of(entry: Entry) -> str:
    if isinstance(entry, Loop):
        return f"/dev/loop{entry.number}"
    return entry.folder if isinstance(entry, Mounts) else entry.path if isinstance(entry, HeldImage) else entry.name


def _undo(entry: Entry, ours: set[str], show: Callable[[str], None]) -> str:
    if isinstance(entry, Mounts):
        return _unmounted(Path(entry.folder), show)
    if isinstance(entry, Loop):
        if loops.is_ours(entry):
            show(f"/dev/loop{entry.number} of {entry.image.path}")
        return loops.detach(entry)
    if isinstance(entry, Group):
        return _deactivated(entry, ours)
    if isinstance(entry, Mapping):
        if not Path("/dev/mapper", entry.name).exists():
            return ""
        show(f"the opened container {entry.name}")
        return _run(device_mapper.close_argv(entry.name))
    return _removed(entry)


def _deactivated(group: Group, ours: set[str]) -> str:
    """Only where all its loop devices are ours still: a group of the same name may be the machine's own."""
    below = {device for device in group.devices if device.startswith("/dev/loop")}
    if not below <= ours or not all(Path(device).exists() for device in group.devices):
        return ""
    return _run(device_mapper.deactivate_argv(group.name, group.devices))


def _removed(image: HeldImage) -> str:
    """An image that was not finished is of no use to anybody."""
    path = Path(image.path)
    try:
        there = path.stat()
    except OSError:
        return ""
    if (there.st_dev, there.st_ino) == (image.device, image.inode):
        path.unlink()
    return ""


def _run(command: Sequence[str]) -> str:
    reason = ""
    for attempt in range(_TRIES):
        done = tools.run(command)
        if done.status == 0:
            return ""
        reason = tools.last_line(done.err, "no reason given")
        time.sleep(_PAUSE * (attempt + 1) / 3)
    return f"`{' '.join(command[:2])}` failed: {reason}"


def mounted_below(folder: Path) -> list[str]:
    """What is mounted at and below a folder in this mount namespace, in the order of mounting."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        point = _plain(line.split(" ")[4])
        if point == str(folder) or point.startswith(f"{folder}/"):
            points.append(point)
    return points


def _plain(text: str) -> str:
    """A path of mountinfo: blanks and backslashes are octal numbers there (proc(5))."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def _unmounted(folder: Path, show: Callable[[str], None]) -> str:
    problem = ""
    if mounted_below(folder):
        show(f"the mounts at {folder}")
        problem = unmount_all(folder)
    for path in (folder, folder.parent):  # the run's own, and empty unless something is wrong
        try:
            path.rmdir()
        except OSError:
            break
    return problem


def unmount_all(folder: Path) -> str:
    """Unmount what is at and below a folder, the last one first; a sentence on what is still busy, "" for nothing.

    Each is asked several times, for a process may be just about to end. What stays busy is taken out of the tree of
    mounts, and the kernel unmounts it when its last user is gone.
    """
    busy = ""
    for point in reversed(mounted_below(folder)):
        for attempt in range(_TRIES):
            try:
                syscalls.unmount(point, lazy=False)
                break
            except OSError as error:
                if attempt == _TRIES - 1:
                    busy = f"{point} is still in use: {os.strerror(error.errno or 0)}"
                    syscalls.unmount(point)
                else:
                    time.sleep(_PAUSE * (attempt + 1) / 3)
    return busy
