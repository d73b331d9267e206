"""A disk image made by the kernel: loop devices, ``mkfs``, mounts, and the elements' scripts on the mounted disk.

Such images are not reproducible: what is written through a mount has the time of the writing in it, and the kernel
chooses where it lies. The rootless assembly (``blockdev.assemble``) is; this one is for what that cannot make.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from uuid import NAMESPACE_OID, uuid5

from blockdev.assemble import write_table
from blockdev.bootloader.embed import embed_loaders
from blockdev.bootloader.grub import CODE_END
from blockdev.core import syscalls
from blockdev.core.errors import BuildError, UsageError
from blockdev.layout.fstab import mapped
from blockdev.layout.model import GroupPlan, Layout, LuksPlan
from blockdev.privileged import device_mapper, filesystems, ledger, loops, release
from blockdev.privileged.ledger import Ledger
from blockdev.privileged.unpack import unpack

FIRST_DISK = "image0"  # the one that diskimage-builder's scripts are told of
_CACHE, _LOCKS = "image-cache", "lockfiles"  # DIB_IMAGE_CACHE, DIB_LOCKFILES: of these scripts alone


@dataclass(frozen=True)
class Mounted:
    """The file systems of a disk, mounted at ``root``, for scripts to run on.

    ``devices`` by name; ``variables`` are what scripts are told of the disk. ``flush`` writes everything to the disk,
    ``show`` takes a line for a person.
    """

    root: Path
    devices: Mapping[str, str]
    variables: Mapping[str, str]
    flush: Callable[[], None]
    show: Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """One image to be made. All paths are absolute, for scripts run in a folder of their own.

    ``tree`` is a tar file of the finished tree, or a folder. ``hooks`` has the merged hooks (``pre-finalise.d`` and so
    on), ``environment`` what the scripts see, ``element_of`` the element of each by ``phase.d/name``. ``images`` gets
    ``DISK.raw``; ``beside`` what scripts write into their working directory. ``work`` is for mount points, ``ledgers``
    for the record of what is held: it must outlive the container. ``epoch`` (seconds) is told to the scripts and the
    programs; ``passphrases`` are those of encrypted containers by name, ``seed`` what verity's salts come from.
    Scripts do not see what is in ``hidden``, but for the folder ``own`` in it, where all that is theirs lies.
    ``scripts`` runs them on the mounted disk.
    """

    layout: Layout
    tree: Path
    hooks: Path
    environment: Mapping[str, str]
    images: Path
    beside: Path
    work: Path
    ledgers: Path
    epoch: int
    element_of: Mapping[str, str] = field(default_factory=dict)
    passphrases: Mapping[str, bytes] = field(default_factory=dict)
    seed: str = ""
    hidden: Path | None = None
    own: Path | None = None
    scripts: Callable[[Job, Mounted], None] | None = None


@dataclass(frozen=True)
class Assembled:
    """The raw images by disk, the root hashes (hexadecimal) of verity nodes by name, and what is worth a line."""

    images: Mapping[str, Path]
    root_hashes: Mapping[str, str]
    remarks: tuple[str, ...] = ()


def assemble(job: Job, show: Callable[[str], None]) -> Assembled:
    """Make the images of a job; ``show`` hears of each step and every line that a script prints.

    Whatever happens, mounts and devices are given back: an error, SIGTERM, SIGINT; after SIGKILL by
    :func:`blockdev.privileged.release.release_left_over`. An image appears by its name when it is whole. Raises
    UsageError for what this assembly cannot make, BuildError where a program or a script fails.
    """
    refuse(job)
    for folder in (job.images, job.beside, job.work, job.work / _CACHE / _LOCKS):
        folder.mkdir(parents=True, exist_ok=True)
    book = ledger.open_ledger(job.ledgers)
    work = _Work(job, show, book)
    with _stopping() as closing:
        try:
            try:
                hashes, remarks = work.make()
            finally:
                closing.set()
        except BaseException:
            closing.set()  # where a signal came before the line above: it was the only one to be heard
            book.close(remove=not release.release(book.entries, lambda _: None, work.held))
            raise
        # From here on the image files are outputs and no left-overs.
        kept = [entry for entry in book.entries if not isinstance(entry, ledger.HeldImage)]
        problems = release.release(kept, lambda _: None, work.held)
        book.close(remove=not problems)
    if problems:
        raise BuildError(f"the disk image was made and cannot be let go of: {'; '.join(problems)}", hint="build again")
    images = {}
    for name, path in work.images.items():
        images[name] = path.rename(job.images / f"{name}.raw")
    return Assembled(images, hashes, remarks)


def refuse(job: Job) -> None:
    """UsageError for a job that cannot be done, before anything is."""
    for system in job.layout.file_systems:
        if system.kind in filesystems.READ_ONLY:
            raise UsageError(
                f"the file system type {system.kind} cannot be mounted and filled, as the privileged assembly does",
                where=f"mkfs node {system.name!r}",
                hint="let the rootless assembly make it, or choose another type",
            )
    missing = [volume.name for volume in job.layout.luks if volume.name not in job.passphrases]
    if missing:
        raise UsageError(f"there is no passphrase for the encrypted container {missing[0]!r}")
    if job.layout.luks or job.layout.groups:
        what = "an encrypted container" if job.layout.luks else "a volume group"
        device_mapper.require_device_mapper(f"{what} ({(job.layout.luks or job.layout.groups)[0].name!r})")


@dataclass
class _Work:
    job: Job
    show: Callable[[str], None]
    book: Ledger
    images: dict[str, Path] = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)  # by storage
    held: list[loops.Device] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.job.work / self.book.token

    @property
    def root(self) -> Path:
        return self.folder / "mnt"

    def make(self) -> tuple[dict[str, str], tuple[str, ...]]:
        layout = self.job.layout
        for disk in layout.disks:
            self._attach(disk.name)
        self._stack()
        for system in layout.file_systems:
            filesystems.make(system, self.devices[system.storage])
            self.show(f"{system.kind} on {system.point or system.storage}")
        self._mount()
        unpack(self.job.tree, self.root)
        self._run_scripts()
        filesystems.finish(layout, self.root, self.show)
        self._flush()
        remarks = self._embed()
        problem = release.unmount_all(self.root)
        if problem:
            raise BuildError(problem, hint="a script has left something running; see what it started")
        hashes = {verity.name: self._verity(verity.name, verity.on, verity.hashes) for verity in layout.verity}
        self._flush()
        return hashes, remarks

    def _attach(self, name: str) -> None:
        """Make a disk's image with its table, and attach it and each of its partitions."""
        disk = self.job.layout.disk(name)
        # The name is no other run's: by it a left-over is known for ours.
        path = self.images[name] = self.job.images / f".{name}-{self.book.token}.part"
        with path.open("xb") as file:
            there = os.fstat(file.fileno())
            image = ledger.HeldImage(str(path), there.st_dev, there.st_ino)
            self.book.add(image)
            file.truncate(disk.size)
        write_table(disk, path)
        parts = [(slot.name, slot.start, slot.length) for slot in disk.slots if slot.name]
        for part, start, length in ((name, 0, disk.size), *parts):
            device = loops.attach(image, start, length, disk.sector, self.book)
            self.held.append(device)
            self.devices[part] = device.path

    def _stack(self) -> None:
        """Make groups and containers, each when all that it lies on is there."""
        pending: list[GroupPlan | LuksPlan] = [*self.job.layout.luks, *self.job.layout.groups]
        while pending:
            ready = next(volume for volume in pending if all(name in self.devices for name in _below(volume)))
            pending.remove(ready)
            if isinstance(ready, LuksPlan):
                self._encrypt(ready)
            else:
                self._group(ready)

    def _encrypt(self, container: LuksPlan) -> None:
        where, device = f"encrypted container {container.name!r}", self.devices[container.on]
        passphrase, name = self.job.passphrases[container.name], f"dib-ctr-{self.book.token}-{container.name}"
        device_mapper.run(device_mapper.encrypt_argv(container, device), where, passphrase)
        self.book.add(ledger.Mapping(name))
        device_mapper.run(device_mapper.open_argv(device, name), where, passphrase)
        self.devices[container.name] = f"/dev/mapper/{name}"

    def _group(self, group: GroupPlan) -> None:
        where, devices = f"volume group {group.name!r}", tuple(self.devices[on] for _, on in group.physical)
        device_mapper.run(device_mapper.create_group_argv(group, devices), where)
        self.book.add(ledger.Group(group.name, devices))
        for volume in device_mapper.in_order(group.logical):
            device_mapper.run(
                device_mapper.create_volume_argv(group.name, volume, devices), f"{where}, {volume.name!r}"
            )
            self.devices[volume.name] = f"/dev/mapper/{mapped(group.name, volume.name)}"

    def _mount(self) -> None:
        self.root.mkdir(parents=True)
        self.book.add(ledger.Mounts(str(self.root)))
        syscalls.bind(self.root, self.root)
        syscalls.mount("none", self.root, "", syscalls.MS_PRIVATE)  # what is mounted below shows nowhere else
        filesystems.mount_all(self.job.layout, self.devices, self.root, self.show)

    def _run_scripts(self) -> None:
        if self.job.scripts:
            given_variables = variables(self.job, self.devices, self.root)
            self.job.scripts(self.job, Mounted(self.root, self.devices, given_variables, self._flush, self.show))

    def _flush(self) -> None:
        for system in filesystems.mounted(self.job.layout):
            target = self.root / system.point.lstrip("/")
            if target.is_mount():
                syscalls.sync_file_system(target)
        for device in self.held:
            device.flush()

    def _embed(self) -> tuple[str, ...]:
        """Put the tree's boot loader on the disk, where no script has put one there itself."""
        for path in self.images.values():
            with path.open("rb") as file:
                if any(file.read(CODE_END)):
                    return ()
        return embed_loaders(self.job.layout, self.root, self.images)

    def _verity(self, name: str, on: str, hashes: str) -> str:
        seeded = uuid5(NAMESPACE_OID, f"{self.job.seed}/{name}")
        command = device_mapper.verity_argv(self.devices[on], self.devices[hashes], seeded.hex * 2, str(seeded))
        output = device_mapper.run(command, f"verity {name!r}")
        (root,) = (line.split()[-1] for line in output.splitlines() if line.lower().startswith("root hash"))
        self.show(f"verity {name}: root hash {root}")
        return root


def _below(volume: GroupPlan | LuksPlan) -> tuple[str, ...]:
    return (volume.on,) if isinstance(volume, LuksPlan) else tuple(on for _, on in volume.physical)


def variables(job: Job, devices: Mapping[str, str], root: Path) -> dict[str, str]:
    """What diskimage-builder tells its scripts of the disk, beside the build's own variables."""
    layout = job.layout
    disk = next((candidate for candidate in layout.disks if candidate.name == FIRST_DISK), layout.disks[0])
    boot = next((system.label for system in layout.file_systems if system.point == "/boot"), "")
    return {
        "SOURCE_DATE_EPOCH": str(job.epoch),
        "DIB_ROOT_LABEL": layout.root.label,
        "DIB_ROOT_FSTYPE": layout.root.kind,
        "DIB_BOOT_LABEL": boot,
        "DIB_MOUNTPOINTS": "|".join(layout.mount_points),
        "DIB_IMAGE_SIZE": str(disk.size // 1024),
        "IMAGE_BLOCK_DEVICE": devices[disk.name],
        "IMAGE_BLOCK_DEVICES": "".join(f" [{name}]={path} " for name, path in devices.items()),
        "TMP_MOUNT_PATH": str(root),
        "TMP_BUILD_DIR": str(root.parent),
        "TMP_IMAGE_DIR": str(job.images),
        "DIB_IMAGE_CACHE": str(job.work / _CACHE),
        "DIB_LOCKFILES": str(job.work / _CACHE / _LOCKS),
    }


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Turn the first SIGTERM or SIGINT into a BuildError; once the event is set they wait till all is given back."""
    closing = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield closing
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        if not closing.is_set():
            closing.set()
            raise BuildError(f"the disk image was given up: {signal.Signals(number).name} came")

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield closing
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
