"""From one raw disk image to the formats people use: sparse, and the same bytes every time.

Compressed VMDK and qcow2 are written by encoders of our own where they know all that is asked for (qemu-img compresses
on one processor), by qemu-img otherwise, as all other formats of virtual disks. qemu-img checks what came of either.

The same image, :class:`Wish` and qemu-img give the same bytes, whatever the output is called, whenever and on however
many processors it is made. (Formats name the version of qemu-img that wrote them; another version may lay out
differently.)
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockdev.convert import checksums, compressed, encode_qcow2, encode_vmdk, qemu_img
from blockdev.convert.formats import FORMATS, Format, Plan, Wish, find, listed, plan
from blockdev.convert.normalize.apply import pin
from blockdev.core import checksum_files
from blockdev.core.errors import BuildError, UsageError
from blockdev.core.units import SECTOR

__all__ = ["FORMATS", "Converted", "Format", "Wish", "convert", "convert_all", "find", "listed", "plan", "verify"]

_ENCODERS = (encode_qcow2, encode_vmdk)
_Encode = Callable[[Path, Path, Plan, str, int, Sequence[str]], dict[str, str]]


@dataclass(frozen=True)
class Converted:
    """A written output: its length and what it takes on disk (bytes), and its SHA-256 in hexadecimal."""

    bytes: int
    allocated: int
    sha256: str


def convert(raw: Path, target: Path, wish: Wish, threads: int | None = None) -> Converted:
    """Write the raw image as ``wish`` says to ``target``, which appears when it is whole, checksum files after it.

    ``threads`` is for how many processors to work, by default all. Raises UsageError before anything is written (a
    wish that cannot be; see :func:`blockdev.convert.formats.plan`), BuildError: a program is missing or failed, the
    disk is full.
    """
    return _convert(raw, target, wish, _ready(raw, target, wish), threads or _cores())


def convert_all(raw: Path, outputs: Sequence[tuple[Path, Wish]], *, consume: bool = False) -> list[Converted]:
    """Several outputs of one image, as many at a time as there are processors; the results in the order of the asking.

    All wishes are checked before the first output is begun. The first failure is raised; what was not begun then
    is left out, what was whole stays. Raises what :func:`convert` does.

    ``consume``: nobody needs the raw image afterwards. Then the first raw output on its file system is not copied: it
    gets the file itself, when all others are made (with the holes that it has; a copy has one for all that is zero).
    Without such an output the raw image stays where it is, and after a failure too.
    """
    _apart([target for target, _ in outputs], [wish for _, wish in outputs])
    ready = [_ready(raw, target, wish) for target, wish in outputs]
    if not ready:
        return []
    jobs = [(target, wish, chosen) for (target, wish), chosen in zip(outputs, ready, strict=True)]
    heir = next((number for number, job in enumerate(jobs) if _can_inherit(raw, *job)), None) if consume else None
    together = min(len(jobs), _cores())
    with ThreadPoolExecutor(together) as pool:
        running = {
            number: pool.submit(_convert, raw, target, wish, chosen, _threads(chosen, together))
            for number, (target, wish, chosen) in enumerate(jobs)
            if number != heir
        }
        hashing = None if heir is None else pool.submit(checksums.of_file, raw, _checksums(jobs[heir][1]))
        _settle(pool, [*running.values(), *([hashing] if hashing else [])])
    results = {number: future.result() for number, future in running.items()}
    if heir is not None and hashing:
        results[heir] = _inherited(raw, *jobs[heir], hashing.result())
    return [results[number] for number in range(len(jobs))]


def _settle(pool: ThreadPoolExecutor, running: Sequence[Future[Any]]) -> None:
    """Wait for all; the first failure is raised, without what was not begun."""
    done, _ = wait(running, return_when=FIRST_EXCEPTION)
    for future in done:
        if future.exception():
            pool.shutdown(cancel_futures=True)
            future.result()


def verify(raw: Path, image: Path, name: str) -> None:
    """Read an image of the format ``name`` back: its own tables are sound and it holds what ``raw`` holds, to the byte.

    For formats of qemu-img. Reads both whole; BuildError with what is wrong.
    """
    driver = find(name).driver
    if not driver:
        raise UsageError(f"qemu-img cannot compare {name}", hint="compare the checksum of what it holds")
    qemu_img.check(image, driver)
    qemu_img.compare(raw, image, driver)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _threads(chosen: Plan, together: int) -> int:
    """For how many processors an output works that is made together with others.

    Our own encoders work for all: their threads take up what the others leave, without much memory.
    """
    return _cores() if _encoder(chosen) else max(1, _cores() // together)


def _encoder(chosen: Plan) -> _Encode | None:
    """What writes this output instead of qemu-img."""
    return next((encoder.write for encoder in _ENCODERS if encoder.fits(chosen)), None)


def _apart(targets: Sequence[Path], wishes: Sequence[Wish]) -> None:
    """No two outputs, checksum files counted, in one place."""
    taken: set[Path] = set()
    for target, wish in zip(targets, wishes, strict=True):
        for path in (target, *(checksum_files.beside(target, name) for name in set(wish.checksums))):
            resolved = path.resolve()
            if resolved in taken:
                raise UsageError(
                    f"two outputs would be written to {path}", hint="give each a name of its own, or leave one out"
                )
            taken.add(resolved)


def _ready(raw: Path, target: Path, wish: Wish) -> Plan:
    chosen = plan(wish)
    if not raw.is_file():
        raise UsageError(f"there is no raw image {raw}")
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder {target.parent}", where=str(target), hint=f"mkdir -p {target.parent}")
    if target.is_dir():
        raise UsageError("there is a folder in the place of the image", where=str(target), hint="choose another name")
    if target.exists() and target.samefile(raw):
        raise UsageError("an image cannot be converted onto itself", where=str(target), hint="choose another name")
    size = raw.stat().st_size
    if chosen.format.driver:
        if not size or size % SECTOR:
            raise UsageError(
                f"the raw image has {size} bytes, which is no disk",
                where=str(raw),
                hint="a disk is whole sectors of 512",
            )
        qemu_img.require_options(chosen)
        if wish.level is not None and not _encoder(chosen):
            raise UsageError(
                f"qemu-img has no compression levels, and some of these options of {wish.format} only qemu-img knows",
                where=qemu_img.options_text(wish.options),
                hint="leave the level or the options out",
            )
    return chosen


def _can_inherit(raw: Path, target: Path, _wish: Wish, chosen: Plan) -> bool:
    """Can an output be the raw image's own file: one that has no other name, on the same file system?"""
    if chosen.format.driver or chosen.compression != "none":
        return False
    status = raw.lstat()
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_dev == target.parent.stat().st_dev


def _inherited(raw: Path, target: Path, wish: Wish, chosen: Plan, sums: Mapping[str, str]) -> Converted:
    """Give the raw image's file to an output: with the rights that a new file would have got. Where the file system
    refuses (a mount may lie between two folders of one), it is copied after all."""
    try:
        with tempfile.TemporaryDirectory(prefix=".convert-", dir=target.parent) as name:
            new = Path(name, "new")
            new.touch()
            raw.chmod(stat.S_IMODE(new.stat().st_mode))
            return _finished(raw, target, wish, sums, Path(name))
    except OSError as error:
        if error.errno in {errno.EXDEV, errno.EPERM, errno.EACCES}:
            return _convert(raw, target, wish, chosen, _cores())
        raise _failed(target, error) from error


def _convert(raw: Path, target: Path, wish: Wish, chosen: Plan, threads: int) -> Converted:
    try:
        with tempfile.TemporaryDirectory(prefix=".convert-", dir=target.parent) as name:
            return _written(raw, target, wish, chosen, threads, Path(name))
    except OSError as error:
        raise _failed(target, error) from error


def _failed(target: Path, error: OSError) -> BuildError:
    """The sentence for what the system refused."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return qemu_img.disk_full(target)
    return BuildError(f"the image cannot be written: {error.strerror or error}", where=str(target))


def _checksums(wish: Wish) -> tuple[str, ...]:
    return ("sha256", *wish.checksums)


def _written(raw: Path, target: Path, wish: Wish, chosen: Plan, threads: int, folder: Path) -> Converted:
    partial = folder / f"{wish.name}{chosen.format.suffix}"  # a VMDK holds the name it was written under
    names = _checksums(wish)
    if encode := _encoder(chosen):
        sums = encode(raw, partial, chosen, wish.seed, threads, names)
        qemu_img.check(partial, chosen.format.driver)
    elif chosen.format.driver:
        qemu_img.convert(raw, partial, chosen, threads, target)
        pin(partial, chosen.format.driver, wish.seed, wish.epoch)
        qemu_img.check(partial, chosen.format.driver)
        sums = checksums.of_file(partial, names)
    else:
        with checksums.Checksums(names) as running:
            if chosen.compression == "none":
                compressed.copy_sparse(raw, partial, running)
            else:
                compressed.write(raw, partial, chosen.compression, chosen.level, threads, running)
            sums = running.results()
    return _finished(partial, target, wish, sums, folder)


def _finished(partial: Path, target: Path, wish: Wish, sums: Mapping[str, str], folder: Path) -> Converted:
    """Put a whole image into its place, and its checksum files beside it."""
    status = partial.stat()
    for name in sums:
        checksum_files.beside(target, name).unlink(missing_ok=True)  # an older image's would be wrong from here on
    partial.replace(target)
    checksums.write_beside(target, folder, {name: sums[name] for name in dict.fromkeys(wish.checksums)})
    return Converted(status.st_size, status.st_blocks * SECTOR, sums["sha256"])
