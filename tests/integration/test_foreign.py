"""A program of an architecture that this machine does not have runs in a stage, in no more than seconds.

Whole trees of other architectures are built in ``test_two_architectures``; here the operating system is the tests' tiny
one, and the foreign program is written by hand, so nothing is fetched.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from qemu.architecture import ARCHITECTURES, native
from qemu.binfmt import interpreter_for
from tests.integration.command import ELEMENTS, Command, script, write_element
from tests.integration.engine_cases import missing

GREETING = b"a riscv64 program ran\n"
_BASE = 0x10000
_HEADERS = 64 + 56


def riscv64_program() -> bytes:
    """An executable that writes the greeting to standard output and ends with status 0 (ELF and RISC-V manuals)."""
    a0, a1, a2, a7 = 10, 11, 12, 17

    def addi(register: int, source: int, value: int) -> int:
        return value << 20 | source << 15 | register << 7 | 0x13

    ecall, auipc_a1 = 0x73, a1 << 7 | 0x17
    code = [addi(a0, 0, 1), auipc_a1, 0, addi(a2, 0, len(GREETING)), addi(a7, 0, 64), ecall]
    code += [addi(a0, 0, 0), addi(a7, 0, 93), ecall]
    code[2] = addi(a1, a1, 4 * (len(code) - 1))
    text = struct.pack(f"<{len(code)}I", *code) + GREETING
    size = _HEADERS + len(text)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = ident + struct.pack(
        "<HHIQQQIHHHHHH", 2, ARCHITECTURES["riscv64"].machine, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000) + text


def contents(tar: Path, pattern: str) -> bytes:
    """Of the file that the pattern names."""
    return subprocess.check_output(["tar", "-xOf", str(tar), "--wildcards", pattern])


@pytest.mark.skipif(native() == "riscv64", reason="the program is this machine's own")
def test_a_foreign_program_runs_in_a_stage(open_folder: Path) -> None:
    if interpreter_for(ARCHITECTURES["riscv64"]) is None:
        missing("there is no QEMU for programs of riscv64")
    if shutil.which("patchelf") is None:
        missing("there is no patchelf, with which this machine's own programs are made ready for such a tree")
    folder = open_folder / "foreign"
    escaped = "".join(f"\\x{byte:02x}" for byte in riscv64_program())
    files = {
        "extra-data.d/50-greet": script(
            f"printf '{escaped}' > \"$TARGET_ROOT/greet\"", 'chmod 0755 "$TARGET_ROOT/greet"'
        ),
        "install.d/50-greet": script("/greet > /greeting", "/dev/native/bin/dpkg-deb --version > /run-natively"),
    }
    write_element(folder / "elements", "greet", files)
    command = Command("host", folder / "store", folder / "out", (folder / "elements", ELEMENTS))
    command.build("--arch", "riscv64", "--name", "foreign", "-o", "tar", "tiny-os", "greet")
    tar = command.destination / "foreign.tar"
    assert contents(tar, "*greeting") == GREETING
    # The tree's root has no such program, loader or library: this machine's own ran, and is not in the image.
    assert contents(tar, "*run-natively") == subprocess.check_output(["dpkg-deb", "--version"])
    # A shell in such a tree runs its programs, too.
    for words in ((), ("--at", "install/greet/50-greet")):
        shell = command("shell", "--arch", "riscv64", "--name", "foreign", *words, "tiny-os", "greet", "--", "/greet")
        assert GREETING.decode() in shell.stdout, shell.stderr
    assert "dev/native" not in subprocess.check_output(["tar", "-tf", str(tar)], text=True)
