"""Partition types: sgdisk's four-digit codes and GUIDs for GPT, two hexadecimal digits for MBR.

The GUIDs named here are those of the UEFI specification 2.10 (table 5.7), the Discoverable Partitions Specification,
and for boot loaders their own documentation.
"""

from __future__ import annotations

import re
import uuid

from blockdev.configuration.sgdisk_codes import GUIDS

BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
PREP = "9E1A2D38-C612-4316-AA26-8B49521E5A8B"
# Nobody has assigned a type to what s390x firmware reads: this one is ours. In an MBR it is data without a file system.
ZIPL = "E7CD225F-1AB6-4850-B6DF-07C9C20DB8A7"
LVM = "E6D6D379-F507-44C2-A23C-238F2A3DF928"
BIOS_ARCHITECTURES = ("amd64", "i386")  # whose machines may start by BIOS
MBR_PREP = "41"
MBR_ZIPL = "da"
MBR_EXTENDED = "0f"
_NAMES = {
    GUIDS["0700"]: "Microsoft basic data",
    PREP: "PReP boot",
    GUIDS["8200"]: "swap",
    GUIDS["8300"]: "Linux",
    GUIDS["8302"]: "home",
    GUIDS["8303"]: "root i386",
    GUIDS["8304"]: "root amd64",
    GUIDS["8305"]: "root arm64",
    GUIDS["8307"]: "root armhf",
    GUIDS["8309"]: "LUKS",
    GUIDS["830c"]: "verity amd64",
    LVM: "LVM",
    ZIPL: "zIPL boot",
    GUIDS["ea00"]: "extended boot",
    ESP: "EFI system",
    BIOS_BOOT: "BIOS boot",
    GUIDS["fd00"]: "RAID",
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
_GUID = re.compile(r"(\{)?[0-9A-Fa-f]{8}(?:(-)?[0-9A-Fa-f]{4}){3}(?(2)-)[0-9A-Fa-f]{12}(?(1)\})\Z")
_CODE = re.compile(r"(?:0[xX])?([0-9A-Fa-f]{1,4})\Z")
_COMMON = ("8300", "8200", "8e00", "8309", "fd00", "ef00", "ef02", "4100", "0700")
_BYTE = re.compile(r"(?:0[xX])?([0-9A-Fa-f]{1,2})\Z")


def of_gpt(text: str) -> str:
    """The GUID, in capitals, of a code of sgdisk's or of a GUID; ValueError for what is neither.

    A code that sgdisk does not know (:func:`is_unknown_code`) is to it one of Linux's file systems.
    """
    if _GUID.match(text):
        return str(uuid.UUID(text)).upper()
    if not _code(text).strip("0"):
        raise ValueError(text)
    return GUIDS.get(_code(text), GUIDS["8300"])


def is_unknown_code(text: str) -> bool:
    """Is it a code as sgdisk's are, and none that it has."""
    return bool(_code(text)) and _code(text) not in GUIDS


def _code(text: str) -> str:
    """A code's four small hexadecimal digits; "" for what is no code."""
    match = _CODE.match(text)
    return match[1].lower().zfill(4) if match else ""


def of_mbr(text: str) -> str:
    """Two small hexadecimal digits, of a type with or without ``0x``; ValueError for 0 and what is none."""
    match = _BYTE.match(text)
    if not match or not int(match[1], 16):
        raise ValueError(text)
    return f"{int(match[1], 16):02x}"


def expected_of_gpt(text: str) -> str:
    """What a message says that :func:`of_gpt` takes in the place of ``text``."""
    longer = f"{_code(text)[2:]}00"
    if is_unknown_code(text) and longer in GUIDS:  # a type of MBR's
        return f"{longer}, if the MBR's {text} is meant: codes of a gpt have four digits"
    return f"a GUID, or a code of sgdisk -L, such as {', '.join(_COMMON)}"


def name(kind: str) -> str:
    """A type in words; the type itself where there are none."""
    return _NAMES.get(kind, kind)
