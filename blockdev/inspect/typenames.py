"""Names in words for partition types: GUIDs (UEFI, the Discoverable Partitions Specification) and MBR's numbers."""

from __future__ import annotations

_GPT = {
    "C12A7328-F81F-11D2-BA4B-00A0C93EC93B": "EFI system",
    "21686148-6449-6E6F-744E-656564454649": "BIOS boot",
    "9E1A2D38-C612-4316-AA26-8B49521E5A8B": "PReP boot",
    "E7CD225F-1AB6-4850-B6DF-07C9C20DB8A7": "zIPL boot",
    "BC13C2FF-59E6-4262-A352-B275FD6F7172": "Linux extended boot (XBOOTLDR)",
    "0FC63DAF-8483-4772-8E79-3D69D8477DE4": "Linux",
    "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F": "Linux swap",
    "E6D6D379-F507-44C2-A23C-238F2A3DF928": "Linux LVM",
    "CA7D7CCB-63ED-4C53-861C-1742536059CC": "Linux LUKS",
    "A19D880F-05FC-4D3B-A006-743F0F84911E": "Linux RAID",
    "8DA63339-0007-60C0-C436-083AC8230908": "Linux reserved",
    "933AC7E1-2EB4-4F13-B844-0E14E2AEF915": "Linux home",
    "3B8F8425-20E0-4F3B-907F-1A25A76F98E8": "Linux server data",
    "4D21B016-B534-45C2-A9FB-5C16E091FD2D": "Linux variable data",
    "7EC6F557-3BC5-4ACA-B293-16EF5DF639D1": "Linux temporary data",
    "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709": "Linux root (x86-64)",
    "44479540-F297-41B2-9AF7-D131D5F0458A": "Linux root (x86)",
    "B921B045-1DF0-41C3-AF44-4C6F280D3FAE": "Linux root (arm64)",
    "69DAD710-2CE4-4E3C-B16C-21A1D49ABED3": "Linux root (arm)",
    "72EC70A6-CF74-40E6-BD49-4BDA08E8F224": "Linux root (riscv64)",
    "C31C45E6-3F39-412E-80FB-4809C4980599": "Linux root (ppc64el)",
    "5EEAD9A9-FE09-4A1E-A1D7-520D00531306": "Linux root (s390x)",
    "8484680C-9521-48C6-9C11-B0720656F69E": "Linux usr (x86-64)",
    "B0E01050-EE5F-4390-949A-9101B17104E9": "Linux usr (arm64)",
    "2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5": "Linux root verity (x86-64)",
    "DF3300CE-D69F-4C92-978C-9BFB0F38D820": "Linux root verity (arm64)",
    "77FF5F63-E7B6-4633-ACF4-1565B864C0E6": "Linux usr verity (x86-64)",
    "6E11A4E7-FBCA-4DED-B9E9-E1A512BB664E": "Linux usr verity (arm64)",
    "41092B05-9FC8-4523-994F-2DEF0408B176": "Linux root verity signature (x86-64)",
    "6DB69DE6-29F4-4758-A7A5-962190F00CE3": "Linux root verity signature (arm64)",
    "E3C9E316-0B5C-4DB8-817D-F92DF00215AE": "Microsoft reserved",
    "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7": "Microsoft basic data",
    "DE94BBA4-06D1-4D40-A16A-BFD50179D6AC": "Windows recovery",
    "024DEE41-33E7-11D3-9D69-0008C781F39F": "MBR partition scheme",
    "FE3A2A5D-4F32-41A7-B725-ACCC3285A309": "ChromeOS kernel",
    "3CB8E202-3B7E-47DD-8A3C-7FF2A13CFCEC": "ChromeOS root",
}
_MBR = {
    0x01: "FAT12",
    0x04: "FAT16 (to 32 MB)",
    0x05: "extended",
    0x06: "FAT16",
    0x07: "NTFS or exFAT",
    0x0B: "FAT32 (CHS)",
    0x0C: "FAT32",
    0x0E: "FAT16 (LBA)",
    0x0F: "extended (LBA)",
    0x11: "hidden FAT12",
    0x17: "hidden NTFS, or an ISO image",
    0x27: "Windows recovery",
    0x41: "PReP boot",
    0x82: "Linux swap",
    0x83: "Linux",
    0x85: "extended (Linux)",
    0x8E: "Linux LVM",
    0xA5: "FreeBSD",
    0xA6: "OpenBSD",
    0xA9: "NetBSD",
    0xAF: "Apple HFS",
    0xDA: "data without a file system",
    0xE8: "Linux LUKS",
    0xEA: "Linux extended boot (XBOOTLDR)",
    0xEE: "GPT protective",
    0xEF: "EFI system",
    0xFD: "Linux RAID",
}
# Bits of an entry's attributes: UEFI 2.10, table 5.6; the upper ones as the Discoverable Partitions Specification has
# them for its own types, which Linux's tools use for all.
_ATTRIBUTES = {
    0: "required",
    1: "no-block-io",
    2: "legacy-bios-bootable",
    59: "grow-file-system",
    60: "read-only",
    63: "no-auto",
}


def gpt(guid: str) -> str:
    """A GPT type's name; empty where it is not known."""
    return _GPT.get(guid.upper(), "")


def mbr(number: int) -> str:
    """An MBR type's name; empty where it is not known."""
    return _MBR.get(number, "")


def attributes(field: int) -> tuple[str, ...]:
    """The names of the bits that are set, ``bit 48`` for one that has none."""
    return tuple(_ATTRIBUTES.get(bit, f"bit {bit}") for bit in range(64) if field >> bit & 1)
