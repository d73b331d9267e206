"""The layer store: one folder per layer, one record per key; safe to kill at any instant and to share between builds.

::

    layers/<id>/{tree,cwd,hooks}   what one stage changed: overlay upper folders ('hooks' and 'cwd' only where used)
    digests/<layer>                the digests of all files of a layer (``stages.layerdigests``)
    keys/<key>.json                the record of a stage: which layer, on top of which, from which inputs
    last/<place>.json              the inputs that a stage's place in a plan had last, to say why a miss missed
    synced/<key>                   this record and its layer were on the disk before this file was made
    locks/, work/, cache/, outputs/, blocks/, repositories/, sessions/, agent/

A layer is made in ``work/`` and renamed; its record comes after it. So a record always has its whole layer, and what no
record names is rubbish that ``stages.cleaning`` removes. A layer counts only with its digests. Overlays are mounted
*volatile* (no fsync): a record made in an earlier boot counts only if it was synced.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages import syscalls
from stages.digestlist import list_folder
from stages.diskspace import DiskWatch, case_insensitive, explained, read_only
from stages.errors import BuildError
from stages.layerdigests import SMALL_ENTRIES, SMALL_LENGTH, LayerDigests

BASE = "base"  # the layer below all others: an empty tree and an empty caller's folder

FOLDERS = (
    "layers",
    "digests",
    "keys",
    "last",
    "synced",
    "locks",
    "work",
    "cache",
    "outputs",
    "blocks",
    "repositories",
    "sessions",
    "agent",
)
PARTS = ("tree", "cwd", "hooks")  # of a layer
_ID_BYTES = 5  # ten digits a layer: 300 of them fit in the page that mount options may have


@dataclass(frozen=True)
class Record:
    """What the store knows of a stage that ran.

    ``layer`` is empty where the stage changed nothing. ``below`` are the ids of the layers it ran on: a layer made on
    others is of no use. ``parts`` tells which of tree, cwd and hooks the layer has. ``created`` is in seconds since
    1970, ``seconds`` how long the stage ran, ``bytes`` what its files occupy.
    """

    key: str
    layer: str
    below: tuple[str, ...]
    parts: tuple[str, ...]
    inputs: Mapping[str, str]
    title: str
    created: float
    seconds: float
    bytes: int
    boot: str
    fingerprint: str = ""

    def chain(self) -> tuple[str, ...]:
        """The layers below and this one, lowest first."""
        return (*self.below, self.layer) if self.layer else self.below


def boot_id() -> str:
    """The kernel's identifier of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def write_file(path: Path, text: str) -> None:
    """Write a small file so that readers see the old content or the new, never half."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    partial.write_text(text, encoding="utf-8")
    partial.rename(path)


def remove_tree(path: Path) -> None:
    """Remove a folder whatever modes its content has (overlay leaves work folders without any)."""

    def open_up(function: Any, name: str, error: Any) -> None:
        with contextlib.suppress(OSError):
            Path(name).parent.chmod(0o700)
            Path(name).chmod(0o700)
            function(name)

    shutil.rmtree(path, onerror=open_up)
    if path.exists():
        shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True)
class Extent:
    """What a folder holds: bytes on the disk (hard links once), a digest over names, modes, owners, sizes, times.

    ``entries`` and ``length`` (bytes of files) tell how long it takes to read.
    """

    bytes: int
    fingerprint: str
    entries: int = 0
    length: int = 0

    @property
    def is_small(self) -> bool:
        """Can it be read in a few milliseconds."""
        return self.entries <= SMALL_ENTRIES and self.length <= SMALL_LENGTH


def measure(path: Path) -> Extent:
    """Walk a folder once; entries that go away meanwhile do not count."""
    seen: set[int] = set()
    total = entries = length = 0
    digest = hashlib.sha256()
    for directory, folders, files in os.walk(path):
        folders.sort()
        for name in (".", *sorted(files)):
            full = f"{directory}/{name}"
            with contextlib.suppress(OSError):
                status = os.lstat(full)
                if status.st_ino not in seen:
                    seen.add(status.st_ino)
                    total += status.st_blocks * 512
                size = 0 if name == "." else status.st_size
                entries, length = entries + 1, length + size
                entry = (
                    os.path.relpath(full, path),
                    status.st_mode,
                    status.st_uid,
                    status.st_gid,
                    size,
                    status.st_mtime_ns,
                )
                digest.update(repr(entry).encode())
    return Extent(total, digest.hexdigest(), entries, length)


def occupied(path: Path) -> int:
    """Bytes on the disk of a folder and all below it, hard links counted once."""
    return measure(path).bytes


def record_sum(data: Mapping[str, Any]) -> str:
    """What stands in a record's file beside its fields, to tell when they are no longer what was written."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:32]


@dataclass
class Workplace:
    """Where one stage runs: an empty upper folder set in ``work/``, held by a lock for as long as the stage runs."""

    path: Path
    _handle: int = field(repr=False)

    @property
    def upper(self) -> Path:
        """The future layer."""
        return self.path / "layer"

    def close(self) -> None:
        """Give the place up: whatever is left in it goes."""
        remove_tree(self.path)
        self.path.with_name(self.path.name + ".lock").unlink(missing_ok=True)
        os.close(self._handle)


class Store:
    """The store below ``root``; every method may be used by several builds at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.digests = LayerDigests(root)
        self.watch = DiskWatch(root)
        self._boot = boot_id()
        try:
            if os.statvfs(root).f_flag & os.ST_RDONLY:
                raise read_only(root)
            for name in FOLDERS:
                (root / name).mkdir(exist_ok=True)
            for part in ("tree", "cwd"):
                (root / "layers" / BASE / part).mkdir(parents=True, exist_ok=True)
            if os.path.lexists(root / FOLDERS[0].upper()):
                raise case_insensitive(root)
        except OSError as error:
            raise explained(root, error) or BuildError(
                f"the store {root} cannot be used: {error.strerror}",
                hint="check that its disk is there, has room and is writable; `dib-ctr doctor` tries it",
            ) from error

    # -- records ---------------------------------------------------------------------------------------------------

    def find(self, key: str) -> Record | None:
        """The record of a key whose layers are all whole and here, or None."""
        try:
            data = json.loads((self.root / "keys" / f"{key}.json").read_text(encoding="utf-8"))
            if data.pop("sum") != record_sum(data):
                return None
            record = Record(**{**data, "below": tuple(data["below"]), "parts": tuple(data["parts"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None  # not there, or cut short by a power loss: a miss either way
        if record.boot != self._boot and not (self.root / "synced" / key).exists():
            return None
        layers = f"{self.root}/layers"  # asked for each layer of each chain: as text that costs a fifth
        if record.key != key or not all(os.path.isdir(f"{layers}/{layer}") for layer in record.chain()):  # noqa: PTH112
            return None
        return record if not record.layer or self.digests.has(record.layer) else None

    def last_inputs(self, place: str) -> Mapping[str, str] | None:
        """The inputs that this place in a plan had when a stage was last kept for it."""
        try:
            data: dict[str, str] = json.loads((self.root / "last" / f"{place}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return data

    def keep(self, place: Workplace, record: Record, plan_place: str) -> Record:
        """Make the work folder's content the layer of ``record.key``; an empty one becomes no layer."""
        parts = [part for part in PARTS if (place.upper / part).is_dir()]
        layer = ""
        if parts:
            layer = secrets.token_hex(_ID_BYTES)
            extent = measure(place.upper)
            if extent.is_small:
                self.digests.write(layer, list_folder(str(place.upper)))
            place.upper.rename(self.root / "layers" / layer)
            if not extent.is_small:
                self.digests.begin(layer)
            record = dataclasses.replace(record, bytes=extent.bytes, fingerprint=extent.fingerprint)
        record = dataclasses.replace(record, layer=layer, parts=tuple(parts), boot=self._boot)
        self._note(record, plan_place)
        return record

    def adopt(self, place: Workplace, record: Record, plan_place: str, content: str) -> Record:
        """Keep a layer that was made in another store, under the id it has there.

        It is what it was (``content`` is the digest of what was kept there), or BuildError.
        """
        found, parts = list_folder(str(place.upper)), tuple(part for part in PARTS if (place.upper / part).is_dir())
        right = parts == record.parts and bool(record.layer) == bool(parts)
        if not right or (record.layer and found.digest != content):
            raise BuildError("its files are not those that were kept")
        kept = dataclasses.replace(record, bytes=0, fingerprint="", boot=self._boot)
        if record.layer:
            extent = measure(place.upper)
            kept = dataclasses.replace(kept, bytes=extent.bytes, fingerprint=extent.fingerprint)
            folder = self.root / "layers" / record.layer
            if folder.exists() and list_folder(str(folder)).digest != content:
                folder.rename(place.path / "replaced")  # the same one, left over from earlier, has been damaged
            if not folder.exists():
                place.upper.rename(folder)
            self.digests.write(record.layer, found)
        self._note(kept, plan_place)
        return kept

    def _note(self, record: Record, plan_place: str) -> None:
        (self.root / "synced" / record.key).unlink(missing_ok=True)
        data = dataclasses.asdict(record)
        write_file(self.root / "keys" / f"{record.key}.json", json.dumps({**data, "sum": record_sum(data)}))
        write_file(self.root / "last" / f"{plan_place}.json", json.dumps(dict(record.inputs)))

    def forget(self, key: str) -> None:
        """Let a record go; its layer stays until the next prune, for builds that use it now."""
        (self.root / "keys" / f"{key}.json").unlink(missing_ok=True)
        (self.root / "synced" / key).unlink(missing_ok=True)

    def sync(self, keys: Iterable[str]) -> None:
        """Bring everything to the disk, then note for these keys that it is there. Raises OSError."""
        self.digests.finish()
        pending = [key for key in keys if not (self.root / "synced" / key).exists()]
        if not pending:
            return
        syscalls.sync_file_system(self.root)
        for key in pending:
            (self.root / "synced" / key).touch()

    # -- places and locks ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[bool]:
        """Hold the lock of that name; the value tells whether another one had it first (and this one waited).

        The kernel gives it up when the holder dies, however it dies.
        """
        handle = os.open(self.root / "locks" / name, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            waited = False
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waited = True
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield waited
        finally:
            os.close(handle)

    def is_locked(self, name: str) -> bool:
        """Does somebody hold this lock right now."""
        handle = os.open(self.root / "locks" / name, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Held by every build while it runs, shared: prune waits until nothing is."""
        handle = os.open(self.root / "locks" / "in-use", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
            yield
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Held while the store is cleaned: waits until no build runs, and builds wait for it."""
        handle = os.open(self.root / "locks" / "in-use", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def workplace(self) -> Iterator[Workplace]:
        """A fresh place in ``work/`` for one stage."""
        path = self.root / "work" / secrets.token_hex(6)
        handle = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX)
        path.mkdir()
        (path / "layer").mkdir()
        (path / "work").mkdir()
        place = Workplace(path, handle)
        try:
            yield place
        finally:
            place.close()

    def sweep(self) -> None:
        """Remove work folders whose build is dead (killed, or its machine lost power)."""
        for lock in (self.root / "work").glob("*.lock"):
            handle = os.open(lock, os.O_RDWR)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                folder = lock.with_suffix("")
                if folder.exists():
                    remove_tree(folder)
                lock.unlink(missing_ok=True)
            except (BlockingIOError, FileNotFoundError):
                pass
            finally:
                os.close(handle)

    # -- looking --------------------------------------------------------------------------------------

    def records(self) -> list[Record]:
        """Every usable record, oldest first."""
        found = (self.find(file.stem) for file in (self.root / "keys").glob("*.json"))
        return sorted((record for record in found if record is not None), key=lambda record: record.created)

    def usage(self) -> dict[str, int]:
        """Bytes on the disk by what they are for."""
        parts = ("layers", "cache", "outputs", "blocks", "work", "agent")
        return {name: occupied(self.root / name) for name in parts}

    def free(self) -> tuple[int, int]:
        """Free and total bytes of the store's file system."""
        status = os.statvfs(self.root)
        return status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
