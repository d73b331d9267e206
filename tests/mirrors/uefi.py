"""Shim and GRUB for UEFI at the places that each RPM distribution's own packages have them at.

Shim is Debian's. Its signed GRUB has Debian's folder built in, so a GRUB is made here, with the distribution's, and
without a signature: firmware with Secure Boot off starts it.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ESP, USR, SUSE = "esp", "usr", "suse"  # the three layouts
MODULES = (
    *("all_video", "boot", "cat", "configfile", "echo", "ext2", "fat", "linux", "loadenv", "minicmd", "normal"),
    *("part_gpt", "reboot", "halt", "regexp", "search", "search_fs_uuid", "search_fs_file", "search_label", "serial"),
    *("sleep", "test", "xfs", "btrfs", "true"),
)
SECOND = "\\grub{}.efi"  # what Debian's shim starts
SUSE_SECOND = "\\grub.efi"


@dataclass(frozen=True)
class Machine:
    """What an architecture is called by Debian, by RPM and by GRUB, and what UEFI programs for it end with."""

    debian: str
    rpm: str
    grub: str
    suffix: str


MACHINES = {
    machine.debian: machine
    for machine in (Machine("amd64", "x86_64", "x86_64-efi", "x64"), Machine("arm64", "aarch64", "arm64-efi", "aa64"))
}


@dataclass(frozen=True)
class Loaders:
    """A distribution's boot loader: layout, name of its folder on the ESP, the packages of shim and GRUB."""

    layout: str
    folder: str
    shim: str
    grub: str


def files(root: Path, loaders: Loaders, machine: Machine) -> Mapping[str, Mapping[str, bytes]]:
    """What the packages of shim and GRUB have, by package and path; made of the Debian tree at ``root``."""
    suffix, boot = machine.suffix, f"BOOT{machine.suffix.upper()}"
    shim, keys, fallback = (
        (root / f"usr/lib/shim/{name}{suffix}.efi.signed").read_bytes() for name in ("shim", "mm", "fb")
    )
    if loaders.layout == SUSE:
        place = f"usr/share/efi/{machine.rpm}"
        grub = f"usr/share/grub2/{machine.grub}/grub.efi"
        return {
            loaders.shim: {
                f"{place}/shim.efi": _starting(shim, SECOND.format(suffix), SUSE_SECOND),
                f"{place}/MokManager.efi": keys,
                f"{place}/fallback.efi": fallback,
            },
            loaders.grub: {
                grub: _grub(root, machine, ""),
                f"{place}/grub.efi": f"->../../grub2/{machine.grub}/grub.efi".encode(),
            },
        }
    place = "boot/efi/EFI" if loaders.layout == ESP else "usr/lib/efi/{}/1-1/EFI"
    own = f"{place}/{loaders.folder}"
    listed = f"shim{suffix}.efi,{loaders.folder},,This is the boot entry for {loaders.folder}\n"
    return {
        loaders.shim: {
            path.format("shim"): content
            for path, content in {
                f"{own}/shim{suffix}.efi": shim,
                f"{own}/shim.efi": shim,
                f"{own}/mm{suffix}.efi": keys,
                f"{own}/{boot}.CSV": listed.encode("utf-16"),
                f"{place}/BOOT/{boot}.EFI": shim,
                f"{place}/BOOT/fb{suffix}.efi": fallback,
            }.items()
        },
        loaders.grub: {
            f"{own}/grub{suffix}.efi".format("grub2"): _grub(root, machine, f"/EFI/{loaders.folder}"),
        },
    }


def _starting(shim: bytes, first: str, second: str) -> bytes:
    """A shim that starts another program than Debian's does."""
    before, after = first.encode("utf-16-le"), second.encode("utf-16-le")
    assert shim.count(before) == 1
    return shim.replace(before, after.ljust(len(before), b"\0"))


def _grub(root: Path, machine: Machine, prefix: str) -> bytes:
    """A GRUB that reads grub.cfg in this folder of its own partition; "": in the folder that it lies in."""
    with tempfile.NamedTemporaryFile(suffix=".efi") as made:
        modules = root / "usr/lib/grub" / machine.grub
        command = ["grub-mkimage", "--directory", str(modules), "--format", machine.grub, "--prefix", prefix]
        subprocess.run([*command, "--output", made.name, *MODULES], check=True, capture_output=True)
        return Path(made.name).read_bytes()
