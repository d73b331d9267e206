"""EFI programs: for which machine, signed or not, and what they are, from their PE headers and sections. Pure.

Microsoft's PE format; for unified kernel images the UAPI group's specification.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from blockdev.inspect.bytes_view import View, text

# The names that UEFI has for machines in BOOT*.EFI (UEFI 2.10, table 3.5).
MACHINES = {
    0x8664: "x64",
    0x014C: "ia32",
    0xAA64: "aa64",
    0x01C0: "arm",
    0x01C2: "arm",
    0x01C4: "arm",
    0x5064: "riscv64",
    0x6264: "loongarch64",
}
_MOST_SECTIONS = 96
_MOST_TEXT = 64 << 10  # bytes of a section of text that are read
_SECURITY = 4  # the data directory of signatures
_MAGIC = re.compile(r"#### LoaderInfo: (\S+) (.*?) ####")


@dataclass(frozen=True)
class Program:
    """A PE file: ``sections`` are offset and length in it, by name."""

    machine: str
    signed: bool
    sections: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Nature:
    """What an EFI program is, and what it says of itself (version, distribution, command line)."""

    kind: str
    details: Mapping[str, str]


def parse(view: View) -> Program | None:
    """The headers of a PE file; None where it is none."""
    start = view.read(0, 64)
    (offset,) = struct.unpack_from("<I", start, 60)
    head = view.read(offset, 24)
    if start[:2] != b"MZ" or head[:4] != b"PE\0\0":
        return None
    machine, count, _, symbols, symbol_count, length, _ = struct.unpack_from("<HHIIIHH", head, 4)
    optional = view.read(offset + 24, length)
    sections: dict[str, tuple[int, int]] = {}
    for number in range(min(count, _MOST_SECTIONS)):
        raw = view.read(offset + 24 + length + 40 * number, 40)
        used, _, stored, at = struct.unpack_from("<IIII", raw, 8)
        name = text(raw[:8], "latin-1")
        if symbols and name[:1] == "/" and name[1:].isdigit():  # its full name is behind the symbols
            name = text(view.read(symbols + 18 * symbol_count + int(name[1:]), 64), "latin-1")
        sections.setdefault(name, (at, min(used, stored) or stored))
    return Program(MACHINES.get(machine, f"machine {machine:#06x}"), _signed(optional, view.size), sections)


def _signed(optional: bytes, size: int) -> bool:
    """Is there a signature? Whether it is a right one is not looked at."""
    if len(optional) < 2:
        return False
    wide = optional[:2] == b"\x0b\x02"
    at = 112 if wide else 96
    entry = at + 8 * _SECURITY
    if len(optional) < entry + 8:
        return False
    (count,) = struct.unpack_from("<I", optional, at - 4)
    offset, length = struct.unpack_from("<II", optional, entry)
    return bool(count > _SECURITY and length > 8 and 0 < offset < size)


def nature(program: Program, view: View) -> Nature:
    """What an EFI program is, told by its sections and what they say."""
    names = program.sections
    components = _sbat(_section(program, view, ".sbat"))
    magic = _MAGIC.search(_section(program, view, ".sdmagic"))
    details = {name: version for name, version in components.items() if name != "sbat"}
    sbat = {"sbat": ", ".join(f"{name} {version}".strip() for name, version in details.items())} if details else {}
    if ".linux" in names:
        return Nature("uki", {**sbat, **_about_kernel(program, view)})
    if magic and magic[1] == "systemd-boot":
        return Nature("systemd-boot", {**sbat, "version": magic[2]})
    if ".vendor_cert" in names or ".vendor_" in names or ".sbatlev" in names or ".sbatlevel" in names:
        return Nature("shim", {**sbat, **_version(components, "shim")})
    if "mods" in names or any(name.startswith("grub") for name in components):
        return Nature("grub", {**sbat, **_version(components, "grub")})
    if any(name.startswith("shim") for name in components):
        return Nature("shim tool", {**sbat, **_version(components, "shim")})
    if view.read(0x202, 4) == b"HdrS" or view.read(56, 4) in (b"ARMd", b"RSC\x05"):
        return Nature("linux", sbat)
    return Nature("systemd-stub" if magic else "unknown", sbat)


def _section(program: Program, view: View, name: str) -> str:
    at, length = program.sections.get(name, (0, 0))
    return text(view.read(at, min(length, _MOST_TEXT)))


def _sbat(content: str) -> dict[str, str]:
    """The components of an SBAT section (shim's SBAT.md) with their versions, in their order."""
    components = {}
    for line in content.splitlines():
        fields = line.split(",")
        if len(fields) >= 2 and fields[0]:
            components[fields[0]] = fields[4] if len(fields) > 4 else ""
    return components


def _version(components: Mapping[str, str], prefix: str) -> dict[str, str]:
    """The version of the most special component with such a name, which is a distribution's own."""
    versions = [version for name, version in components.items() if name.startswith(prefix) and version]
    return {"version": versions[-1]} if versions else {}


def _about_kernel(program: Program, view: View) -> dict[str, str]:
    about = {"command_line": _section(program, view, ".cmdline").strip("\n")}
    about["kernel"] = _section(program, view, ".uname").strip()
    release = _section(program, view, ".osrel")
    about["system"] = pretty_name(release)
    return {name: value for name, value in about.items() if value}


def pretty_name(release: str) -> str:
    """PRETTY_NAME of an os-release(5); empty where it has none."""
    for line in release.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "PRETTY_NAME":
            return re.sub(r"\\(.)", r"\1", value.strip().strip("\"'"))
    return ""
