"""Interpreters for programs of foreign architectures, registered in the build's own user namespace.

Since Linux 6.7 every user namespace can have a binfmt_misc of its own: nothing on the host is set up and nothing needs
root there. The interpreter is opened when it is registered (flag F), so it works below any root.
"""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

from qemu.architecture import Architecture

# O: open the program itself; C: setuid programs keep their meaning; F: open the interpreter now.
FLAGS = "OCF"
_ELF_LENGTH = 20


def magic(architecture: Architecture) -> tuple[bytes, bytes]:
    """The first 20 bytes of an executable of this architecture and the mask that says which bits count (ELF header)."""
    order = "<" if architecture.little else ">"
    ident = b"\x7fELF" + bytes((1 if architecture.bits == 32 else 2, 1 if architecture.little else 2, 1)) + bytes(9)
    content = ident + struct.pack(order + "HH", 2, architecture.machine)
    # The ABI byte and the padding may be anything; type 2 (executable) and 3 (shared object) both count.
    mask = b"\xff" * 7 + bytes(9) + struct.pack(order + "HH", 0xFFFE, 0xFFFF)
    return content, mask


def registration(architecture: Architecture, interpreter: str) -> bytes:
    """The line that the kernel's ``register`` file takes (Documentation/admin-guide/binfmt-misc)."""
    content, mask = magic(architecture)

    def escaped(data: bytes) -> str:
        return "".join(f"\\x{byte:02x}" for byte in data)

    return f":dib-ctr-{architecture.name}:M::{escaped(content)}:{escaped(mask)}:{interpreter}:{FLAGS}".encode()


def interpreter_for(architecture: Architecture) -> str | None:
    """The static QEMU in the build image (or on the host) for this architecture."""
    return shutil.which(f"qemu-{architecture.qemu}-static") or shutil.which(f"qemu-{architecture.qemu}")


def registered_on_host(architecture: Architecture) -> bool:
    """Has the host itself registered a QEMU for this architecture, for everything that runs on it."""
    content, _ = magic(architecture)
    for file in Path("/proc/sys/fs/binfmt_misc").glob("qemu-*"):
        text = file.read_text(encoding="ascii", errors="replace")
        if "enabled" in text and content[:8].hex() in text and content[18:20].hex() in text:
            return True
    return False
