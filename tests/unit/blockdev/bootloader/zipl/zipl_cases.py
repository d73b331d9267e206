"""A kernel, its settings and a tree for zipl's disks, and a machine that starts these."""

from __future__ import annotations

import struct
from pathlib import Path

BLOCK = 512
MIB = 1 << 20
LINE = "root=LABEL=cloudimg-rootfs ro console=ttysclp0"
CONF = f"""
# a comment
[defaultboot]
default = linux

[linux]
target=/boot
image=/vmlinuz
ramdisk=/initrd.img
parameters="{LINE}"
"""


def image(length: int = 200_000, limit: int = 4096) -> bytes:
    """Something like a kernel: every four bytes differ, but for the marks and the parameter area."""
    made = bytearray(struct.pack(f">{length // 4}I", *range(length // 4)).ljust(length, b"\x77"))
    made[0x10008:0x10010] = b"S390EP\0\1"
    made[0x10400:0x10480] = bytes(0x80)
    made[0x10430:0x10438] = struct.pack(">Q", limit)
    return bytes(made)


def started(disk: bytes, program: int = 0) -> tuple[dict[int, bytes], int]:
    """What firmware has in memory, by address, and where it begins: the reader of this test, after the format alone."""

    def pointer(data: bytes, at: int) -> tuple[int, int]:
        block, size, more = struct.unpack_from(">QHH", data, at)
        assert size == BLOCK or not block
        return block, more + 1

    def block(number: int) -> bytes:
        assert 0 < number < len(disk) // BLOCK
        return disk[number * BLOCK : (number + 1) * BLOCK]

    assert disk[:8] == b"zIPL\0\0\0\1"
    programs = block(pointer(disk, 16)[0])
    components = block(pointer(programs, 16 + 16 * program)[0])
    assert programs[:4] == components[:4] == b"zIPL"
    assert components[4] == 0
    memory: dict[int, bytes] = {}
    for at in range(32, BLOCK, 32):
        kind, value = components[at + 23], int.from_bytes(components[at + 24 : at + 32], "big")
        if kind == 1:
            assert value >> 32 == 0x00080000, "a short PSW"
            assert value & 0x80000000, "addresses of 31 bits"
            return memory, value & 0x7FFFFFFF
        assert kind == 2
        table, content = pointer(components, at)[0], b""
        while table:
            entries = [pointer(block(table), place) for place in range(0, BLOCK, 16)]
            for first, count in entries[:-1]:
                if not first:
                    break
                content += disk[first * BLOCK : (first + count) * BLOCK]
            table = entries[-1][0]
        memory[value] = content
    raise AssertionError("nothing is started")


def tree_with(folder: Path, conf: str = CONF, ramdisk: int = 3 * MIB + 5) -> Path:
    """A tree whose links lead to its kernel and ram disk, absolute and relative."""
    tree = folder / "tree"
    for name in ("boot", "etc"):
        (tree / name).mkdir(parents=True)
    (tree / "boot/vmlinuz-6.1").write_bytes(image())
    (tree / "boot/initrd.img-6.1").write_bytes(bytes(range(1, 251)) * (ramdisk // 250) + b"e" * (ramdisk % 250))
    (tree / "vmlinuz").symlink_to("boot/vmlinuz-6.1")
    (tree / "initrd.img").symlink_to("/boot/initrd.img-6.1")
    (tree / "etc/zipl.conf").write_text(conf)
    return tree


def blank(folder: Path, length: int = 8 * MIB) -> Path:
    disk = folder / "disk"
    disk.write_bytes(bytes(440) + b"\x11" * 72 + bytes(length - BLOCK))
    return disk
