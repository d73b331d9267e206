"""Can a disk start, by BIOS, UEFI, Open Firmware or s390x's channel I/O, and with what? Decided from what was read.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from blockdev.configuration import types
from blockdev.configuration.sizes import shown
from blockdev.core.units import SECTOR
from blockdev.inspect import bootcode, zipl
from blockdev.inspect.bytes_view import View
from blockdev.inspect.model import Boot, BootCode, BootPath, Core, Loader, Partition, Region, Table

ESP_TYPES = frozenset({types.ESP, "ef"})
_PREP_TYPES = frozenset({types.PREP, types.MBR_PREP})
LOADER_TYPES = frozenset({*ESP_TYPES, *_PREP_TYPES, types.BIOS_BOOT, types.ZIPL})
_GAP = 1 << 20  # bytes from the begin in which a core image is looked for
_REMOVABLE = re.compile(r"EFI/BOOT/BOOT([A-Z0-9]+)\.EFI", re.IGNORECASE)
_STARTING = {"syslinux": "SYSLINUX's", "windows": "Windows'"}


def find(view: View, table: Table, places: Sequence[Region], loaders: Sequence[Loader]) -> Boot:
    """The boot loaders of a disk; ``loaders`` are the EFI programs of all its FAT file systems."""
    remarks: list[str] = []
    code = bootcode.boot_code(view.read(0, 512))
    core = _core(view, table, code)
    ways = {
        "bios": _bios(view, table, code, core, remarks),
        "uefi": _uefi(table, places, loaders, remarks),
        "openfirmware": _open_firmware(places),
        "channel": _channel(view, table, code),
    }
    return Boot(code, core, tuple(loaders), ways, tuple(remarks))


# -- BIOS -----------------------------------------------------------------------------------


def _core(view: View, table: Table, code: BootCode) -> Core | None:
    """GRUB's core image: where the boot code looks for it, else in a BIOS boot partition, else in the gap."""
    first = min((partition.start for partition in table.partitions if partition.start), default=_GAP)
    homes = [partition.start for partition in table.partitions if partition.type == types.BIOS_BOOT]
    starts = [*([code.core] if code.core else []), *homes, *range(SECTOR, min(first, _GAP), SECTOR)]
    for start in starts:
        if start + SECTOR > view.size:
            continue
        length = bootcode.core_length(view.read(start, SECTOR))
        if length is not None:
            return Core(start, length, _number(table, start))
    return None


def _number(table: Table, offset: int) -> int | None:
    """The partition in which a byte lies."""
    return next(
        (
            partition.number
            for partition in table.partitions
            if partition.start <= offset < partition.end and partition.kind != "extended"
        ),
        None,
    )


def _bios(view: View, table: Table, code: BootCode, core: Core | None, remarks: list[str]) -> BootPath:
    if code.kind == "zipl":
        return BootPath(False, "the first sector has s390x's boot record instead of code")
    if code.kind == "none":
        if core:
            remarks.append(f"GRUB's core image is at byte {core.start}, and nothing in the boot sector leads to it")
        return BootPath(False, "there is no code in the boot sector")
    if code.kind == "grub":
        return _grub(view, table, code, core, remarks)
    if code.kind in _STARTING:
        return _next_in_line(view, table, code)
    if code.kind == "unknown":
        return BootPath(True, "there is code in the boot sector, of a kind that is not known here")
    return BootPath(True, f"{code.kind.upper()} is in the boot sector")


def _grub(view: View, table: Table, code: BootCode, core: Core | None, remarks: list[str]) -> BootPath:
    sector = (code.core or 0) // SECTOR
    if core is None:
        return BootPath(False, f"GRUB's boot code leads to sector {sector}, and there is no core image")
    if core.start != code.core:
        remarks.append(f"GRUB's boot code leads to sector {sector}; its core image is at {core.start // SECTOR}")
        return BootPath(False, f"GRUB's boot code leads to sector {sector}, where there is no core image")
    if not bootcode.follows(view.read(core.start, SECTOR), core.start):
        remarks.append("GRUB's core image does not lie in one piece behind its first sector")
    end = core.start + core.length
    if end > view.size:
        remarks.append("GRUB's core image reaches over the end of the disk")
        return BootPath(False, "GRUB's core image reaches over the end of the disk")
    home = next((partition for partition in table.partitions if partition.number == core.partition), None)
    reached = [
        partition.number
        for partition in table.partitions
        if partition is not home and core.start < partition.start < end
    ]
    if home and end > home.end:
        reached.append(home.number)
        remarks.append(f"GRUB's core image is longer than partition {home.number}, in which it begins")
    elif reached:
        remarks.append(f"GRUB's core image reaches into partition {reached[0]}")
    where = f"in partition {home.number} ({home.type_name})" if home else "in the gap before the first partition"
    return BootPath(not reached, f"GRUB in the boot sector, its core image at sector {sector}, {where}")


def _next_in_line(view: View, table: Table, code: BootCode) -> BootPath:
    """Code that starts the boot sector of the active partition."""
    owner = _STARTING[code.kind]
    active = next((partition for partition in table.partitions if partition.bootable), None)
    if active is None:
        return BootPath(False, f"{owner} boot code starts the active partition, and none is marked so")
    if bootcode.boot_code(view.read(active.start, 512)).kind == "none":
        return BootPath(False, f"{owner} boot code starts partition {active.number}, which has no boot code")
    return BootPath(True, f"{owner} boot code starts partition {active.number}")


# -- UEFI -----------------------------------------------------------------------------------


def _uefi(table: Table, places: Sequence[Region], loaders: Sequence[Loader], remarks: list[str]) -> BootPath:
    homes = [region for region in places if region.partition is None or region.partition.type in ESP_TYPES]
    homes = [region for region in homes if region.partition or region.content.kind == "vfat"]
    if not homes:
        return BootPath(False, "there is no EFI system partition")
    readable = {_place_number(region) for region in homes if region.content.kind == "vfat"}
    if not readable:
        return BootPath(False, f"the EFI system partition holds no FAT file system ({homes[0].content.kind})")
    own = [candidate for candidate in loaders if candidate.partition in readable]
    removable = [(candidate, match[1].lower()) for candidate in own if (match := _REMOVABLE.fullmatch(candidate.path))]
    for loader, name in removable:
        if loader.machine and loader.machine != name and not loader.machine.startswith("machine"):
            remarks.append(f"{loader.path} is a program for {loader.machine}")
    good = [loader for loader, name in removable if loader.machine == name]
    if good:
        return BootPath(
            True, "; ".join(f"{candidate.machine}: {_shown(candidate)}, {candidate.path}" for candidate in good)
        )
    if removable:
        return BootPath(False, f"{removable[0][0].path} is no EFI program for the machine it is named after")
    if own:
        return BootPath(
            False, f"there is no EFI/BOOT/BOOT*.EFI; firmware starts {own[0].path} only by an entry of its own"
        )
    home = "the EFI system partition" if homes[0].partition else "the FAT file system"
    return BootPath(False, f"{home} has no EFI/BOOT/BOOT*.EFI")


def _place_number(region: Region) -> int:
    return region.partition.number if region.partition else 0


def _shown(loader: Loader) -> str:
    version = f" {loader.details['version']}" if "version" in loader.details else ""
    return f"{loader.kind}{version} ({'signed' if loader.signed else 'not signed'})"


# -- Open Firmware --------------------------------------------------------------------------


def _open_firmware(places: Sequence[Region]) -> BootPath:
    homes: list[tuple[Partition, str]] = [
        (region.partition, region.content.kind)
        for region in places
        if region.partition and region.partition.type in _PREP_TYPES
    ]
    if not homes:
        return BootPath(False, "there is no PReP boot partition")
    for partition, kind in homes:
        if kind == "elf":
            return BootPath(True, f"partition {partition.number} (PReP boot) holds a program")
    return BootPath(False, f"partition {homes[0][0].number} (PReP boot) holds no program ({homes[0][1]})")


# -- s390x ----------------------------------------------------------------------------------


def _channel(view: View, table: Table, code: BootCode) -> BootPath:
    if code.kind != "zipl":
        return BootPath(False, "there is no zIPL boot record")
    try:
        program = zipl.program(view, table.sector_size)
    except ValueError as error:
        return BootPath(False, f"zIPL's boot record is there, but {error}")
    if not program.parts:
        return BootPath(False, "zIPL's boot record leads to a program that has no parts")
    what = "Linux" if zipl.is_linux(view, program) else "a loader"
    runs = program.parts[-1][1]
    number = _number(table, runs[0][0]) if runs else None
    where = f" from partition {number}" if number else ""
    return BootPath(True, f"zIPL's boot record loads {shown(program.bytes)}{where}, and starts {what}")
