"""Shim and GRUB for UEFI at the places that each RPM distribution's own packages have them at.

Shim is Debian's. Its signed GRUB has Debian's folder built in, so a GRUB is made here, with the distribution's, and
without a signature: firmware with Secure Boot off starts it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ESP, USR, SUSE = "esp", "usr", "suse"  # the three layouts
MODULES = (
    *("all_video", "boot", "cat", "configfile", "echo", "ext2", "fat", "linux", "loadenv", "minicmd", "normal"),
    *("part_gpt", "reboot", "halt", "regexp", "search", "search_fs_uuid", "search_fs_file", "search_label", "serial"),
    *("sleep", "test", "xfs", "btrfs", "true"),
)
SECOND = "\\grubx64.efi"  # what Debian's shim starts
SUSE_SECOND = "\\grub.efi"


@dataclass(frozen=True)
class Loaders:
    """A distribution's boot loader: layout, name of its folder on the ESP, the packages of shim and GRUB."""

    layout: str
    folder: str
    shim: str
    grub: str


def files(root: Path, loaders: Loaders) -> Mapping[str, Mapping[str, bytes]]:
    """What the packages of shim and GRUB have, by package and path; made of the Debian tree at ``root``."""
    shim, keys, fallback = ((root / f"usr/lib/shim/{name}x64.efi.signed").read_bytes() for name in ("shim", "mm", "fb"))
    if loaders.layout == SUSE:
        place = "usr/share/efi/x86_64"
        grub = "usr/share/grub2/x86_64-efi/grub.efi"
        return {
            loaders.shim: {
                f"{place}/shim.efi": _starting(shim, SUSE_SECOND),
                f"{place}/MokManager.efi": keys,
                f"{place}/fallback.efi": fallback,
            },
            loaders.grub: {grub: _grub(root, ""), f"{place}/grub.efi": b"->../../grub2/x86_64-efi/grub.efi"},
        }
    place = "boot/efi/EFI" if loaders.layout == ESP else "usr/lib/efi/{}/1-1/EFI"
    own = f"{place}/{loaders.folder}"
    listed = f"shimx64.efi,{loaders.folder},,This is the boot entry for {loaders.folder}\n"
    return {
        loaders.shim: {
            path.format("shim"): content
            for path, content in {
                f"{own}/shimx64.efi": shim,
                f"{own}/shim.efi": shim,
                f"{own}/mmx64.efi": keys,
                f"{own}/BOOTX64.CSV": listed.encode("utf-16"),
                f"{place}/BOOT/BOOTX64.EFI": shim,
                f"{place}/BOOT/fbx64.efi": fallback,
            }.items()
        },
        loaders.grub: {f"{own}/grubx64.efi".format("grub2"): _grub(root, f"/EFI/{loaders.folder}")},
    }


def _starting(shim: bytes, second: str) -> bytes:
    """A shim that starts another program than Debian's does."""
    before, after = SECOND.encode("utf-16-le"), second.encode("utf-16-le")
    assert shim.count(before) == 1
    return shim.replace(before, after.ljust(len(before), b"\0"))


def _grub(root: Path, prefix: str) -> bytes:
    """A GRUB that reads grub.cfg in this folder of its own partition; "": in the folder that it lies in."""
    made = root / "tmp/grub.efi"
    options = ("--format", "x86_64-efi", "--prefix", prefix, "--output", f"/tmp/{made.name}")
    subprocess.run(["chroot", str(root), "grub-mkimage", *options, *MODULES], check=True, capture_output=True)
    content = made.read_bytes()
    made.unlink()
    return content
