"""On which architectures a disk starts, by its boot loaders. Of an image no more is read than these take."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from blockdev.configuration import types
from blockdev.core.errors import BuildError, UsageError
from blockdev.inspect import bootloaders, decompress, esp, image, qemu
from blockdev.inspect.model import Boot, Loader, Table
from blockdev.inspect.survey import survey
from blockdev.inspect.tools import Unreadable, bench

# UEFI's names of machines, and Debian's.
_UEFI = {"x64": "amd64", "ia32": "i386", "aa64": "arm64", "arm": "armhf", "riscv64": "riscv64"}
_BEGIN = 2 << 20  # bytes that surely hold a partition table
_MOST = 1 << 30  # bytes that are read at most


def architectures(path: Path) -> tuple[str, ...]:
    """Debian's names of the architectures whose machines start this disk, the likeliest first.

    None where it has no loader that is known, or cannot be read: who starts it will hear why.
    """
    try:
        with _begin(path, _BEGIN) as raw, image.opened(raw, _unheard) as disk:
            end = _end(survey(disk.view)[0])
        with (
            _begin(path, min(max(end, _BEGIN), _MOST)) as raw,
            image.opened(raw, _unheard) as disk,
            bench(raw) as work,
        ):
            table, places = survey(disk.view)
            loaders: list[Loader] = []
            for region in places:
                if region.content.kind == "vfat":
                    with contextlib.suppress(Unreadable):
                        loaders += esp.loaders(work, region.partition.number if region.partition else 0, region.start)
            return of(bootloaders.find(disk.view, table, places, loaders))
    except (BuildError, UsageError, OSError):
        return ()


def of(boot: Boot) -> tuple[str, ...]:
    """The architectures of what was found on a disk."""
    arches = [_UEFI[loader.machine] for loader in boot.loaders if loader.machine in _UEFI]
    # A disk for another firmware may have code in its first sector that nobody runs, as hybrid ISO images do.
    if boot.ways["bios"].possible and (boot.code.kind != "unknown" or not arches):
        arches += types.BIOS_ARCHITECTURES
    if boot.ways["openfirmware"].possible:
        arches.append("ppc64el")
    if boot.ways["channel"].possible:
        arches.append("s390x")
    return tuple(dict.fromkeys(arches))


def _unheard(_: str) -> None:
    """Nobody waits for what is read here."""


def _end(table: Table) -> int:
    """The byte after the last partition that a loader may lie in."""
    small = [partition.end for partition in table.partitions if partition.type in bootloaders.LOADER_TYPES]
    return max(small, default=_BEGIN)


@contextlib.contextmanager
def _begin(path: Path, length: int) -> Iterator[Path]:
    """A raw image as it is; the first ``length`` bytes of any other as a raw one."""
    driver = image.format_of(path)
    if driver == "raw":
        yield path
        return
    if driver in decompress.SUFFIXES:
        raise UsageError("a compressed image is not looked at", where=str(path))
    with tempfile.TemporaryDirectory(prefix="dib-ctr-inspect-") as folder:
        raw = Path(folder) / "disk.raw"
        qemu.unpack_begin(path, driver, raw, path, length)
        yield raw
