"""Is KVM usable here? The file /dev/kvm says little: only a guest that really runs tells.

The tiny guests here do one thing, by which QEMU ends at once: one that does not run ends nothing.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from blockdev.core.errors import BuildError
from blockdev.core.tools import TimeoutExpired, run
from qemu.architecture import native, runs

_KVM = Path("/dev/kvm")
_PATIENCE = 20  # seconds; a guest that runs takes less than one, and a few where the machine is busy
_REMEMBERED = "kvm"


class Accelerator(Enum):
    """What executes the guest's instructions."""

    KVM = "kvm"
    TCG = "tcg"


class Memory(Protocol):
    """Where the answer is kept between runs (see builder.host_state.probe_results)."""

    def recall(self, name: str, valid: str) -> Any | None:
        """What was remembered, if it is still valid."""

    def remember(self, name: str, valid: str, data: Any) -> None:
        """Keep it."""


@dataclass(frozen=True)
class Guest:
    """A program for a machine without anything: its code, QEMU's options for it, and QEMU's status if it has run."""

    code: bytes
    options: tuple[str, ...]
    status: int


def _boot_sector(code: bytes) -> bytes:
    return code.ljust(510, b"\0") + b"\x55\xaa"


# A boot sector: `mov al, 42; out 0xf4, al; hlt`. The debug device ends QEMU with status 2 * 42 + 1. The BIOS that
# loads it has been through 16 and 32 bit modes by then.
_PC = Guest(
    _boot_sector(b"\xb0\x2a\xe6\xf4\xf4\xeb\xfd"),
    (
        *("-machine", "pc", "-device", "isa-debug-exit,iobase=0xf4,iosize=1"),
        *("-drive", "if=ide,format=raw,snapshot=on,file={}"),
    ),
    85,
)
# `mov w0, SYSTEM_OFF; hvc #0; b .` (PSCI, ARM DEN 0022): the machine switches itself off.
_ARM = Guest(
    b"".join(word.to_bytes(4, "little") for word in (0x52800100, 0x72B08000, 0xD4000002, 0x14000000)),
    ("-machine", "virt", "-kernel", "{}"),
    0,
)
GUESTS = {"amd64": _PC, "i386": _PC, "arm64": _ARM}


def choose(arch: str, emulator: str, memory: Memory | None = None) -> Accelerator:
    """KVM where a guest of this architecture really ran under it since the machine started, else TCG.

    ``emulator`` is the path of QEMU's program. Architectures without a tiny guest take TCG.
    """
    if arch not in GUESTS or not runs_here(arch) or not os.access(_KVM, os.R_OK | os.W_OK):
        return Accelerator.TCG
    valid = _stamp(emulator)
    works = memory.recall(_REMEMBERED, valid) if memory else None
    if not isinstance(works, bool):
        works = guest_runs(GUESTS[arch], emulator, ("-accel", "kvm", "-cpu", "host"))
        if memory:
            memory.remember(_REMEMBERED, valid, works)
    return Accelerator.KVM if works else Accelerator.TCG


def runs_here(arch: str) -> bool:
    """Are guests of this architecture this machine's own."""
    try:
        return runs(native(), arch)
    except KeyError:  # a machine that is none of ours
        return False


def _stamp(emulator: str) -> str:
    """What the answer depends on: this boot of the kernel, the user, QEMU's program."""
    boot = "unknown"
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    state = Path(emulator).stat()
    return f"{boot} uid={os.getuid()} {emulator}={state.st_size}:{state.st_mtime_ns}"


def guest_runs(guest: Guest, emulator: str, processor: tuple[str, ...], patience: float = _PATIENCE) -> bool:
    """Run a tiny guest with these options for its processor; True if it did what it is there for."""
    with tempfile.NamedTemporaryFile(prefix="dib-ctr-guest-") as file:
        file.write(guest.code)
        file.flush()
        options = [option.replace("{}", file.name.replace(",", ",,")) for option in guest.options]
        command = [emulator, *options, *processor, "-m", "64", "-nodefaults", "-display", "none", "-no-reboot"]
        try:
            done = run(command, seconds=patience)
        except (OSError, BuildError, TimeoutExpired):
            return False
        return done.status == guest.status
