"""Finds the firmware that a machine starts with, wherever a distribution keeps it.

QEMU's own way comes first: descriptors, JSON files that say which firmware is for which machine (QEMU's
docs/interop/firmware.json). Where there are none, the places that distributions are known to use.
"""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blockdev.core.errors import BuildError, UsageError

# How machines of each architecture can start; the first is what is taken where nothing is asked for.
KINDS = {
    "amd64": ("bios", "uefi"),
    "i386": ("bios", "uefi"),
    "arm64": ("uefi",),
    "armhf": ("uefi",),
    "ppc64el": ("slof",),
    "riscv64": ("uefi",),
    "s390x": ("ccw",),
}

# Features of firmware that would refuse what is not signed, or that need more than the plain machine.
_UNWANTED = frozenset({"enrolled-keys", "requires-smm", "amd-sev-es", "amd-sev-snp", "intel-tdx"})
# Names that descriptors' patterns must match: QEMU's names of architecture and machine.
_TARGETS = {
    "amd64": ("x86_64", "pc-q35-9.0"),
    "i386": ("i386", "pc-q35-9.0"),
    "arm64": ("aarch64", "virt-9.0"),
    "armhf": ("arm", "virt-9.0"),
    "riscv64": ("riscv64", "virt"),
}
# Code and store of variables, by architecture: Debian and Ubuntu, Fedora, Arch, openSUSE.
_PLACES = {
    "amd64": (
        ("OVMF/OVMF_CODE_4M.fd", "OVMF/OVMF_VARS_4M.fd"),
        ("OVMF/OVMF_CODE.fd", "OVMF/OVMF_VARS.fd"),
        ("edk2/ovmf/OVMF_CODE.fd", "edk2/ovmf/OVMF_VARS.fd"),
        ("edk2/x64/OVMF_CODE.4m.fd", "edk2/x64/OVMF_VARS.4m.fd"),
        ("qemu/ovmf-x86_64-code.bin", "qemu/ovmf-x86_64-vars.bin"),
        ("qemu/edk2-x86_64-code.fd", "qemu/edk2-i386-vars.fd"),
    ),
    "i386": (
        ("OVMF/OVMF32_CODE_4M.secboot.fd", "OVMF/OVMF32_VARS_4M.fd"),
        ("edk2/ovmf-ia32/OVMF_CODE.fd", "edk2/ovmf-ia32/OVMF_VARS.fd"),
        ("qemu/edk2-i386-code.fd", "qemu/edk2-i386-vars.fd"),
    ),
    "arm64": (
        ("AAVMF/AAVMF_CODE.fd", "AAVMF/AAVMF_VARS.fd"),
        ("AAVMF/AAVMF_CODE.no-secboot.fd", "AAVMF/AAVMF_VARS.fd"),
        ("edk2/aarch64/QEMU_EFI-pflash.raw", "edk2/aarch64/vars-template-pflash.raw"),
        ("edk2/aarch64/QEMU_CODE.fd", "edk2/aarch64/QEMU_VARS.fd"),
        ("qemu/edk2-aarch64-code.fd", "qemu/edk2-arm-vars.fd"),
    ),
    "armhf": (
        ("AAVMF/AAVMF32_CODE.fd", "AAVMF/AAVMF32_VARS.fd"),
        ("qemu/edk2-arm-code.fd", "qemu/edk2-arm-vars.fd"),
    ),
    "riscv64": (
        ("qemu-efi-riscv64/RISCV_VIRT_CODE.fd", "qemu-efi-riscv64/RISCV_VIRT_VARS.fd"),
        ("edk2/riscv/RISCV_VIRT_CODE.fd", "edk2/riscv/RISCV_VIRT_VARS.fd"),
        ("qemu/edk2-riscv-code.fd", "qemu/edk2-riscv-vars.fd"),
    ),
}
# U-Boot's own EFI where there is no EDK2: OpenSBI, which QEMU brings, starts it as a kernel.
_LOADERS = {
    "riscv64": ("lib/u-boot/qemu-riscv64_smode/u-boot.bin", "lib/u-boot/qemu-riscv64_smode/uboot.elf"),
}
_PACKAGES = {
    "amd64": "ovmf",
    "i386": "ovmf-ia32",
    "arm64": "qemu-efi-aarch64",
    "armhf": "qemu-efi-arm",
    "riscv64": "u-boot-qemu",
}


@dataclass(frozen=True)
class Firmware:
    """What a machine starts with: ``kind`` is one of KINDS; without files QEMU's built-in one is meant.

    ``code`` is flash that is only read, ``variables`` flash that is written (a template until ``prepared``), and
    ``loader`` a program that is started like a kernel. The formats are qemu-img's names.
    """

    kind: str
    code: Path | None = None
    code_format: str = "raw"
    variables: Path | None = None
    variables_format: str = "raw"
    loader: Path | None = None

    def prepared(self, folder: Path) -> Firmware:
        """The same with a store of variables of its own in ``folder``: nothing of the distribution's is written."""
        if self.variables is None:
            return self
        copy = folder / "variables"
        shutil.copyfile(self.variables, copy)
        copy.chmod(0o600)
        return replace(self, variables=copy)


def kinds(arch: str, asked: str) -> tuple[str, ...]:
    """What to boot with: ``asked`` is "", "bios", "uefi" or "both"; UsageError where the architecture has no such."""
    possible = KINDS[arch]
    if not asked:
        return possible[:1]
    if asked == "both" and len(possible) > 1:
        return possible
    if asked in possible:
        return (asked,)
    only = {"uefi": "by UEFI", "slof": "by Open Firmware", "ccw": "by channel I/O", "bios": "by BIOS"}[possible[0]]
    raise UsageError(f"{arch} machines start {only} only", where=f"--firmware {asked}", hint="leave --firmware out")


def find(arch: str, kind: str, *, root: Path = Path("/")) -> Firmware:
    """The firmware of this kind; BuildError naming the package that has it where it is not installed."""
    if kind != "uefi":
        return Firmware(kind)
    for candidate in (*_described(arch, root), *_placed(arch, root)):
        if all(file is None or file.is_file() for file in (candidate.code, candidate.variables, candidate.loader)):
            return candidate
    raise BuildError(f"there is no UEFI firmware for {arch} machines here", hint=f"apt-get install {_PACKAGES[arch]}")


def _descriptors(root: Path) -> Iterator[dict[str, Any]]:
    """All descriptors, best first: by file name, whose first folder counts; an empty file hides one."""
    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "qemu/firmware"
    files: dict[str, Path] = {}
    for folder in (own, root / "etc/qemu/firmware", root / "usr/share/qemu/firmware"):
        for file in folder.glob("*.json"):
            files.setdefault(file.name, file)
    for name in sorted(files):
        try:
            document = json.loads(files[name].read_text())
        except (OSError, ValueError):  # hidden, or broken: the next one may do
            continue
        if isinstance(document, dict):
            yield document


def _meant(document: dict[str, Any], arch: str) -> bool:
    """Is a descriptor's firmware for this machine, and does it start what is not signed."""
    name, machine = _TARGETS[arch]
    return (
        "uefi" in document.get("interface-types", ())
        and not _UNWANTED & set(document.get("features", ()))
        and any(
            target.get("architecture") == name
            and any(fnmatch.fnmatchcase(machine, pattern) for pattern in target.get("machines", ()))
            for target in document.get("targets", ())
        )
    )


def _described(arch: str, root: Path) -> Iterator[Firmware]:
    for document in _descriptors(root):
        mapping = document.get("mapping", {})
        # "combined" is one file of code and variables, for which there is no store to copy.
        if not _meant(document, arch) or mapping.get("device") != "flash" or mapping.get("mode") == "combined":
            continue
        code, store = mapping["executable"], mapping.get("nvram-template", {})
        name = store.get("filename")
        yield Firmware(
            "uefi",
            code=root / code["filename"].lstrip("/"),
            code_format=code.get("format", "raw"),
            variables=root / name.lstrip("/") if name else None,
            variables_format=store.get("format", "raw"),
        )


def _placed(arch: str, root: Path) -> Iterable[Firmware]:
    for code, variables in _PLACES.get(arch, ()):
        yield Firmware("uefi", code=root / "usr/share" / code, variables=root / "usr/share" / variables)
    for loader in _LOADERS.get(arch, ()):
        yield Firmware("uefi", loader=root / "usr" / loader)
