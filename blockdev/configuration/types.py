"""Partition types: sgdisk's four-digit codes and GUIDs for GPT, two hexadecimal digits for MBR.

The GUIDs are those of the UEFI specification 2.10 (table 5.7), the Discoverable Partitions Specification, and for boot
loaders their own documentation.
"""

from __future__ import annotations

import re

BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
PREP = "9E1A2D38-C612-4316-AA26-8B49521E5A8B"
# Nobody has assigned a type to what s390x firmware reads: this one is ours. In an MBR it is data without a file system.
ZIPL = "E7CD225F-1AB6-4850-B6DF-07C9C20DB8A7"
LVM = "E6D6D379-F507-44C2-A23C-238F2A3DF928"
MBR_PREP = "41"
MBR_ZIPL = "da"
MBR_EXTENDED = "0f"
_GUIDS = {
    "0700": "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7",
    "4100": PREP,
    "8200": "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",
    "8300": "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
    "8301": "8DA63339-0007-60C0-C436-083AC8230908",
    "8302": "933AC7E1-2EB4-4F13-B844-0E14E2AEF915",
    "8303": "44479540-F297-41B2-9AF7-D131D5F0458A",
    "8304": "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
    "8305": "B921B045-1DF0-41C3-AF44-4C6F280D3FAE",
    "8306": "3B8F8425-20E0-4F3B-907F-1A25A76F98E8",
    "8307": "69DAD710-2CE4-4E3C-B16C-21A1D49ABED3",
    "8308": "7FFEC5C9-2D00-49B7-8941-3EA10A5586B7",
    "8309": "CA7D7CCB-63ED-4C53-861C-1742536059CC",
    "830a": "993D8D3D-F80E-4225-855A-9DAF8ED7EA97",
    "830b": "D13C5D3B-B5D1-422A-B29F-9454FDC89D76",
    "830c": "2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5",
    "8310": "4D21B016-B534-45C2-A9FB-5C16E091FD2D",
    "8314": "77055800-792C-4F94-B39A-98C91B762BB6",
    "8315": "E9434544-6E2C-47CC-BAE2-12D6DEAFB44C",
    "8e00": LVM,
    "ea00": "BC13C2FF-59E6-4262-A352-B275FD6F7172",
    "ef00": ESP,
    "ef02": BIOS_BOOT,
    "fd00": "A19D880F-05FC-4D3B-A006-743F0F84911E",
}
_NAMES = {
    _GUIDS["0700"]: "Microsoft basic data",
    PREP: "PReP boot",
    _GUIDS["8200"]: "swap",
    _GUIDS["8300"]: "Linux",
    _GUIDS["8302"]: "home",
    _GUIDS["8303"]: "root i386",
    _GUIDS["8304"]: "root amd64",
    _GUIDS["8305"]: "root arm64",
    _GUIDS["8307"]: "root armhf",
    _GUIDS["8309"]: "LUKS",
    _GUIDS["830c"]: "verity amd64",
    LVM: "LVM",
    ZIPL: "zIPL boot",
    _GUIDS["ea00"]: "extended boot",
    ESP: "EFI system",
    BIOS_BOOT: "BIOS boot",
    _GUIDS["fd00"]: "RAID",
    "05": "extended",
    "07": "NTFS",
    "0b": "FAT32",
    "0c": "FAT32",
    MBR_EXTENDED: "extended",
    MBR_PREP: "PReP boot",
    MBR_ZIPL: "data",
    "82": "swap",
    "83": "Linux",
    "8e": "LVM",
    "ee": "GPT protective",
    "ef": "EFI system",
    "fd": "RAID",
}
_GUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z")
_CODE = re.compile(r"(?:0[xX])?([0-9A-Fa-f]{4})\Z")
_BYTE = re.compile(r"(?:0[xX])?([0-9A-Fa-f]{1,2})\Z")


def of_gpt(text: str) -> str:
    """The GUID, in capitals, of a code of sgdisk's or of a GUID; ValueError for one that is not known."""
    if _GUID.match(text):
        return text.upper()
    match = _CODE.match(text)
    if not match or match[1].lower() not in _GUIDS:
        raise ValueError(text)
    return _GUIDS[match[1].lower()]


def of_mbr(text: str) -> str:
    """Two small hexadecimal digits, of a type with or without ``0x``; ValueError for 0 and what is none."""
    match = _BYTE.match(text)
    if not match or not int(match[1], 16):
        raise ValueError(text)
    return f"{int(match[1], 16):02x}"


def codes() -> str:
    """The codes that :func:`of_gpt` knows, for a message."""
    return ", ".join(_GUIDS)


def name(kind: str) -> str:
    """A type in words; the type itself where there are none."""
    return _NAMES.get(kind, kind)
