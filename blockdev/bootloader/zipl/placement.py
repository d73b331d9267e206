"""Where a program and its tables lie in the zIPL partition: pure arithmetic on blocks of 512 bytes.

In a row: program table, component table, segment tables of the kernel and of the ram disk; then kernel and ram disk,
each at a multiple of 4 KiB of the partition.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from blockdev.bootloader.zipl import tables
from blockdev.bootloader.zipl.kernel import ENTRY
from blockdev.bootloader.zipl.tables import BLOCK, Component

_MIB = 1 << 20
_PAGE = 4096 // BLOCK  # blocks
# The ram disk's address: behind the kernel and what it works in before it has found its own place; Linux moves a ram
# disk that is in its way. QEMU's own loader leaves 1 MiB.
_LOWEST_RAMDISK, _BEHIND_KERNEL = 16 * _MIB, 4 * _MIB


@dataclass(frozen=True)
class Placed:
    """Where all of it lies on the disk, in blocks: tables from ``start`` on, kernel, ram disk (None: there is none)."""

    start: int
    kernel: Component
    ramdisk: Component | None
    end: int

    @property
    def takes(self) -> int:
        """Bytes of the partition."""
        return (self.end - self.start) * BLOCK

    def tables(self) -> Iterator[bytes]:
        """The blocks from ``start`` on."""
        loads, segments, at = [], list[bytes](), self.start + 2
        for component in filter(None, (self.kernel, self.ramdisk)):
            loads.append((at, component.address))
            component_tables = list(tables.segment_tables(component, at))
            segments += component_tables
            at += len(component_tables)
        yield tables.program_table([self.start + 1])
        yield tables.component_table(loads, ENTRY)
        yield from segments


def ramdisk_address(kernel: int) -> int:
    """Where to load the ram disk of a kernel that takes ``kernel`` bytes from its entry on."""
    return _up(max(_LOWEST_RAMDISK, ENTRY + kernel + _BEHIND_KERNEL), _MIB)


def lay_out(start: int, kernel: int, ramdisk: int) -> Placed:
    """Lay out a kernel of ``kernel`` bytes and a ram disk of ``ramdisk`` bytes (0: none) from block ``start`` on."""
    blocks, more = -(-kernel // BLOCK), -(-ramdisk // BLOCK)
    first = start + _up(2 + tables.segment_blocks(blocks) + tables.segment_blocks(more), _PAGE)
    second = first + _up(blocks, _PAGE)
    behind = Component(second, more, ramdisk_address(kernel)) if more else None
    return Placed(start, Component(first, blocks, ENTRY), behind, second + more)


def _up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
