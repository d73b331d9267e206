"""A disk image made of a tree, without root of any host: the parts of a layout written where they belong.

Nothing is mounted and no device is made. File systems are written side by side, straight into the image at their
offsets; what lies in several pieces (a volume over two disks) or behind encryption is written to a sparse file first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from blockdev import filesystems
from blockdev.bootloader.embed import embed_loaders
from blockdev.configuration.labels import FAT
from blockdev.configuration.sizes import shown
from blockdev.core.errors import BuildError
from blockdev.filesystems.region import Region, copy_range
from blockdev.layout import volumes
from blockdev.layout.model import DiskLayout, FileSystem, Layout, LuksPlan, Storage
from blockdev.layout.table import pieces
from blockdev.tree.selinux import Labels, labels_of


@dataclass(frozen=True)
class Content:
    """What goes into an image: the ``tree``, the newest time in it (``epoch``, seconds), the ``seed`` of all that a

    tool would draw at random, and the ``passphrases`` of encrypted containers by name.
    """

    tree: Path
    epoch: int
    seed: str
    passphrases: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Assembled:
    """The raw images by disk, the root hashes (hexadecimal) of verity nodes by name, and what is worth a line."""

    images: Mapping[str, Path]
    root_hashes: Mapping[str, str]
    remarks: tuple[str, ...] = ()


def assemble(layout: Layout, content: Content, folder: Path, show: Callable[[str], None]) -> Assembled:
    """Write ``DISK.raw`` into ``folder`` for each disk of the layout; ``show`` hears a sentence for each step.

    The caller has made the mount points in the tree. Raises BuildError: a tool is missing or failed, or a part of the
    tree has no room in its file system.
    """
    work = _Work(layout, content, folder, show, labels=labels_of(content.tree))
    for disk in layout.disks:
        work.make_disk(disk)
    for container in layout.luks:
        work.make_plain(container)
    if layout.groups:
        work.write_groups()
    systems = layout.file_systems
    with ThreadPoolExecutor(max_workers=max(1, min(len(systems), os.cpu_count() or 1))) as pool:
        remarks = [remark for texts in pool.map(work.write_file_system, systems) for remark in texts]
    hashes = {verity.name: work.write_verity(verity.on, verity.hashes, verity.name) for verity in layout.verity}
    for container in reversed(layout.luks):
        work.encrypt(container)
    remarks += embed_loaders(layout, content.tree, work.images)
    return Assembled({disk.name: work.images[disk.name] for disk in layout.disks}, hashes, tuple(remarks))


@dataclass
class _Work:
    layout: Layout
    content: Content
    folder: Path
    show: Callable[[str], None]
    images: dict[str, Path] = field(default_factory=dict)
    labels: Labels | None = None

    def make_disk(self, disk: DiskLayout) -> None:
        path = self.images[disk.name] = self.folder / f"{disk.name}.raw"
        with path.open("xb") as file:
            file.truncate(disk.size)
        if disk.table:
            write_table(disk, path)

    def make_plain(self, container: LuksPlan) -> None:
        path = self.images[container.name] = self.folder / f"{container.name}.plain"
        with path.open("xb") as file:
            file.truncate(self.layout.storages[container.name].size)

    def region(self, storage: Storage) -> Region:
        """A storage of one piece."""
        (piece,) = storage.pieces
        return Region(self.images[piece.disk], piece.offset, piece.length)

    def write_groups(self) -> None:
        from blockdev.lvm.write import write as write_group

        for group in self.layout.groups:
            allocated = volumes.allocated(group, self.layout.storages, self.content.seed, self.content.epoch)
            write_group(allocated, {name: self.region(self.layout.storages[on]) for name, on in group.physical})

    def labels_at(self, point: str) -> Labels | None:
        """The SELinux labels of what goes into the file system at a mount point of the tree."""
        return self.labels.at(point) if self.labels and point.startswith("/") else None

    def write_file_system(self, system: FileSystem) -> tuple[str, ...]:
        """Write one file system; returns what is worth a line."""
        storage = self.layout.storages[system.storage]
        if len(storage.pieces) == 1:
            return self._write(system, self.region(storage))
        spare = self.folder / f"{system.name}.pieces"
        with spare.open("xb") as file:
            file.truncate(storage.size)
        remarks = self._write(system, Region(spare, 0, storage.size))
        start = 0
        for piece in storage.pieces:
            copy_range(Region(spare, start, piece.length), Region(self.images[piece.disk], piece.offset, piece.length))
            start += piece.length
        spare.unlink()
        return remarks

    def _write(self, system: FileSystem, region: Region) -> tuple[str, ...]:
        spec = filesystems.Spec(
            kind=system.kind,
            label=system.label,
            uuid=system.uuid,
            options=self._options(system, region),
            epoch=self.content.epoch,
            seed=f"{self.content.seed}/{system.name}",
            subvolumes=tuple(filesystems.Subvolume(subvolume.path, subvolume.kind) for subvolume in system.subvolumes),
        )
        source, without = self._part(system)
        try:
            written = filesystems.write(
                spec, region.image, region.offset, region.length, source, without, self.labels_at(system.point)
            )
        except BuildError as error:
            where = f"{system.kind} on {system.point or system.storage} (node {system.name!r}, {shown(region.length)})"
            hint = error.hint or "make the image (--image-size) or this part of it larger"
            raise BuildError(error.what, where=f"{where}; {error.where}".rstrip("; "), hint=hint) from error
        self.show(
            f"{system.kind} on {system.point or system.storage}: {shown(written.holds)} of {shown(region.length)}"
        )
        return written.remarks

    def _options(self, system: FileSystem, region: Region) -> tuple[str, ...]:
        """A FAT on a disk with longer sectors must have such sectors, too, or nobody mounts it."""
        longer = [
            disk.sector for disk in self.layout.disks if self.images[disk.name] == region.image and disk.sector > 512
        ]
        if longer and system.kind in FAT and "-S" not in system.options:
            return ("-S", str(longer[0]), *system.options)
        return system.options

    def _part(self, system: FileSystem) -> tuple[Path | None, tuple[str, ...]]:
        """The part of the tree that a file system holds, and the folders in it whose content lies elsewhere."""
        if not system.point.startswith("/"):
            return None, ()
        points = [other.point for other in self.layout.file_systems if other.point.startswith("/")]
        below = system.point.rstrip("/") + "/"
        inner = tuple(point.removeprefix(below) for point in points if point.startswith(below) and point != below)
        return self.content.tree / system.point.lstrip("/"), inner

    def write_verity(self, on: str, hashes: str, name: str) -> str:
        from blockdev.volumes import verity

        storages = self.layout.storages
        root = verity.format(
            self.region(storages[on]), self.region(storages[hashes]), seed=f"{self.content.seed}/{name}"
        )
        self.show(f"verity {name}: root hash {root}")
        return root

    def encrypt(self, container: LuksPlan) -> None:
        from blockdev.volumes import luks

        passphrase = self.content.passphrases.get(container.name)
        if passphrase is None:
            raise BuildError(f"there is no passphrase for the encrypted container {container.name!r}")
        wish = luks.Luks(
            key=passphrase,
            cipher=container.cipher,
            pbkdf=container.pbkdf,
            label=container.label,
            uuid=container.uuid,
            seed=f"{self.content.seed}/{container.name}",
        )
        plain = self.images[container.name]
        luks.encrypt(plain, self.region(self.layout.storages[container.on]), wish)
        plain.unlink()
        self.show(f"LUKS2 on {container.on}")


def write_table(disk: DiskLayout, image: Path) -> None:
    """Write a disk's partition table into its image, which is as long as the disk."""
    with image.open("r+b") as file:
        for offset, data in pieces(disk):
            file.seek(offset)
            file.write(data)
