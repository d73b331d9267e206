"""Names of architectures (Debian's are the ones used throughout), and which of them a machine runs by itself."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """One architecture: Debian's name, the kernel's names for a machine of it, and QEMU's.

    ``machine`` is e_machine and ``bits``, ``little`` the class and byte order of its programs (ELF specification, the
    file header). ``also`` are architectures whose programs such a machine normally runs too. ``cpu`` is the processor
    that QEMU plays for single programs (the empty string: its own choice).
    """

    name: str
    uname: tuple[str, ...]
    qemu: str
    machine: int
    bits: int = 64
    little: bool = True
    also: tuple[str, ...] = ()
    cpu: str = ""


ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture("amd64", ("x86_64",), "x86_64", 0x3E, also=("i386",)),
        Architecture("i386", ("i386", "i486", "i586", "i686"), "i386", 0x03, bits=32),
        # Signing each return address makes an emulated program up to ten times as slow; distributions run without, too.
        Architecture("arm64", ("aarch64",), "aarch64", 0xB7, cpu="max,pauth=off,sve=off"),
        Architecture("armhf", ("armv7l", "armv8l", "armv6l"), "arm", 0x28, bits=32),
        Architecture("ppc64el", ("ppc64le",), "ppc64le", 0x15),
        Architecture("riscv64", ("riscv64",), "riscv64", 0xF3),
        Architecture("s390x", ("s390x",), "s390x", 0x16, little=False),
    )
}


def canonical(name: str) -> str | None:
    """Debian's name for what Debian, the kernel or RPM call an architecture, or None for an unknown one."""
    if name in ARCHITECTURES:
        return name
    for architecture in ARCHITECTURES.values():
        if name in architecture.uname:
            return architecture.name
    return None


def native() -> str:
    """Debian's name for this machine's architecture (the kernel's own name where it is not one of ours)."""
    machine = os.uname().machine
    return canonical(machine) or machine


def runs(machine: str, other: str) -> bool:
    """Does a machine of one architecture run programs of the other without an interpreter."""
    return machine == other or other in ARCHITECTURES[machine].also
