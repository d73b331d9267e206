"""The layer store: one folder per layer, one record per key; safe to kill at any instant and to share between builds.

::

    layers/<id>/{tree,cwd,hooks,outside}   what one stage changed: overlay upper folders (those that it used)
    digests/<layer>                the digests of all files of a layer (``stages.layers.layer_digests``)
    links/<layer>                  which names in a layer are one file (``stages.layers.link_groups``)
    keys/<key>.json                the record of a stage: which layer, on top of which, from which inputs
    last/<place>.json              the inputs that a stage's place in a plan had last, to say why a miss missed
    synced/<key>                   this record and its layer were on the disk before this file was made
    pins/                          what running builds need (``stages.layers.pins``)
    locks/, work/, cache/, outputs/, blocks/, repositories/, sessions/

A layer is made in ``work/`` and renamed; its record comes after it. So a record always has its whole layer, and what no
record names is rubbish that ``stages.layers.prune`` removes. A layer counts only with its digests. Overlays are mounted
*volatile* (no fsync): a record made in an earlier boot counts only if it was synced.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blockdev.core import locks, syscalls
from blockdev.core.atomic_file import remove_tree
from blockdev.core.boot_id import boot_id
from blockdev.core.disk_space import DiskWatch, case_insensitive, explained, read_only
from blockdev.core.errors import BuildError
from blockdev.core.typed_json import read
from stages.layers import pins
from stages.layers.digest_list import list_folder
from stages.layers.extent import measure, occupied
from stages.layers.layer_digests import LayerDigests, put
from stages.layers.link_groups import FOLDER as LINKS
from stages.layers.link_groups import LayerLinks
from stages.layers.pins import Pins
from stages.protocol.events import LAYER_PARTS
from stages.sandbox.paths import BUILD_DIR, BUILD_FOLDERS, KEPT_OUTSIDE

BASE = "base"  # the layer below all others
Inputs = dict[str, str]

FOLDERS = (
    "layers",
    "digests",
    LINKS,
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
    pins.FOLDER,
)
PARTS = LAYER_PARTS
LOCK, PART = ".lock", ".part"  # in work/: of a folder with this name's beginning; a small file that will be renamed
_ID_BYTES = 5  # ten digits a layer: 300 of them fit in the page that mount options may have


def _make_base(base: Path) -> None:
    """The lowest layer: an empty tree, an empty caller's folder, and the folders that scripts outside share."""
    folders = {"tree": 0o755, "cwd": 0o755, **{f"outside/{name}": mode for name, mode in KEPT_OUTSIDE.items()}}
    folders |= {f"outside{BUILD_DIR}/{name}": 0o755 for name in BUILD_FOLDERS}
    for name, mode in folders.items():
        if not (base / name).is_dir():
            (base / name).mkdir(parents=True, exist_ok=True)
            (base / name).chmod(mode)


@dataclass(frozen=True)
class Record:
    """What the store knows of a stage that ran.

    ``layer`` is empty where the stage changed nothing. ``below`` are the ids of the layers it ran on: a layer made on
    others is of no use. ``parts`` tells which of these parts the layer has. ``created`` is in seconds since
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

    def clear(self) -> None:
        """Empty it, for another run of the stage."""
        for folder in (self.upper, self.path / "work"):
            remove_tree(folder)
            folder.mkdir()

    def close(self) -> None:
        """Give the place up: whatever is left in it goes."""
        remove_tree(self.path)
        locks.give_up(self.path.with_name(self.path.name + LOCK), self._handle)


class Store:
    """The store below ``root``; every method may be used by several builds at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.digests = LayerDigests(root)
        self.links = LayerLinks(root)
        self.watch = DiskWatch(root)
        self.pins: Pins | None = None  # of the build that this process is
        self._boot = boot_id()
        try:
            if os.statvfs(root).f_flag & os.ST_RDONLY:
                raise read_only(root)
            for name in FOLDERS:
                (root / name).mkdir(exist_ok=True)
            _make_base(root / "layers" / BASE)
            if os.path.lexists(root / FOLDERS[0].upper()):
                raise case_insensitive(root)
        except OSError as error:
            raise explained(root, error) or BuildError(
                f"the store {root} cannot be used: {error.strerror}",
                hint="check that its disk is there, has room and is writable; `dib-ctr doctor` tries it",
            ) from error

    # -- records ---------------------------------------------------------------------------------------------------

    def find(self, key: str, here: set[str] | None = None) -> Record | None:
        """The record of this key (or name: ``stages.layers.variants``) whose layers are all whole and here, or None.

        A build has it pinned from now on. ``here`` are layers that were seen a moment ago; it gets the record's.
        """
        if self.pins is None or f"keys/{key}" in self.pins:
            return self.look(key, here)
        with pins.gate(self.root):
            record = self._read(key, here)
            if record:
                self.pins.add((f"keys/{key}", *(f"layers/{layer}" for layer in record.chain())))
        return self._with_digests(record)

    def look(self, key: str, here: set[str] | None = None) -> Record | None:
        """The same, but nobody is to rely on it: it may go at any time."""
        return self._with_digests(self._read(key, here))

    def _with_digests(self, record: Record | None) -> Record | None:
        """A record, if its layer's digests are there; where they are being made, waits for them (outside the gate)."""
        return record if record is None or not record.layer or self.digests.has(record.layer) else None

    def _read(self, key: str, here: set[str] | None = None) -> Record | None:
        try:
            data = json.loads((self.root / "keys" / f"{key}.json").read_text(encoding="utf-8"))
            if not isinstance(data, dict) or data.pop("sum", "") != record_sum(data):
                return None
            record = read(Record, data)
        except (OSError, ValueError):
            return None  # not there, or cut short by a power loss: a miss either way
        if record.boot != self._boot and not (self.root / "synced" / key).exists():
            return None
        if record.key != key.partition(".")[0]:
            return None
        here = set() if here is None else here  # a chain has the layers of the one below it, and of all below that
        layers = f"{self.root}/layers"
        for layer in record.chain():
            if layer not in here:
                if not os.path.isdir(f"{layers}/{layer}"):  # noqa: PTH112 - asked of each layer: text is quick
                    return None
                here.add(layer)
        return record

    def last_inputs(self, plan_place: str) -> Mapping[str, str] | None:
        """The inputs that this place in a plan had when a stage was last kept for it."""
        try:
            return read(Inputs, json.loads((self.root / "last" / f"{plan_place}.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None

    def keep(self, workplace: Workplace, record: Record, plan_place: str) -> Record:
        """Make the work folder's content the layer of ``record.key``; an empty one becomes no layer."""
        parts = [part for part in PARTS if (workplace.upper / part).is_dir()]
        layer = ""
        if parts:
            layer = secrets.token_hex(_ID_BYTES)
            extent = measure(workplace.upper)
            self.links.keep(layer, workplace.upper, extent.links, workplace.path)
            digests = list_folder(str(workplace.upper)) if extent.is_small else None
            record = dataclasses.replace(record, bytes=extent.bytes, fingerprint=extent.fingerprint)
        record = dataclasses.replace(record, layer=layer, parts=tuple(parts), boot=self._boot)
        with pins.gate(self.root):  # a layer without a record would be rubbish to a cleaner
            if layer:
                if digests is not None:
                    self.digests.write(layer, digests, workplace.path)
                workplace.upper.rename(self.root / "layers" / layer)
                if digests is None:
                    self.digests.begin(layer)
            self._note(record, plan_place, workplace)
        return record

    def adopt(self, workplace: Workplace, record: Record, plan_place: str, content: str) -> Record:
        """Keep a layer that was made in another store, under the id it has there.

        It is what it was (``content`` is the digest of what was kept there), or BuildError.
        """
        digests, parts = (
            list_folder(str(workplace.upper)),
            tuple(part for part in PARTS if (workplace.upper / part).is_dir()),
        )
        right = parts == record.parts and bool(record.layer) == bool(parts)
        if not right or (record.layer and digests.digest != content):
            raise BuildError("its files are not those that were kept")
        kept = dataclasses.replace(record, bytes=0, fingerprint="", boot=self._boot)
        folder = self.root / "layers" / record.layer
        if record.layer:
            extent = measure(workplace.upper)
            kept = dataclasses.replace(kept, bytes=extent.bytes, fingerprint=extent.fingerprint)
            self.pin(f"layers/{record.layer}")
            if folder.exists() and list_folder(str(folder)).digest != content:
                folder.rename(workplace.path / "replaced")  # the same one, left over from earlier, has been damaged
        with pins.gate(self.root):
            if record.layer:
                if not folder.exists():
                    self.links.keep(record.layer, workplace.upper, extent.links, workplace.path)
                    workplace.upper.rename(folder)
                self.digests.write(record.layer, digests, workplace.path)
            self._note(kept, plan_place, workplace)
        return kept

    def _note(self, record: Record, plan_place: str, workplace: Workplace) -> None:
        if self.pins is not None:
            self.pins.add((f"keys/{record.key}", *(f"layers/{layer}" for layer in record.chain())))
        self._keep_other(record)
        (self.root / "synced" / record.key).unlink(missing_ok=True)
        data = dataclasses.asdict(record)
        text = json.dumps({**data, "sum": record_sum(data)})
        put(workplace.path, self.root / "keys" / f"{record.key}.json", text.encode())
        put(workplace.path, self.root / "last" / f"{plan_place}.json", json.dumps(dict(record.inputs)).encode())

    def _keep_other(self, record: Record) -> None:
        """The key's earlier record stays, under another name, for those that stand on its layers."""
        other = self._read(record.key)
        if other is not None and other.chain() != record.chain():
            name = f"{record.key}.{hashlib.sha256(' '.join(other.chain()).encode()).hexdigest()[:10]}"
            for folder, suffix in (("synced", ""), ("keys", ".json")):
                with contextlib.suppress(FileNotFoundError):
                    (self.root / folder / f"{record.key}{suffix}").rename(self.root / folder / f"{name}{suffix}")

    def write(self, path: Path, text: str) -> None:
        """Write a small file of the store: readers see the old content or the new, a killed writer leaves nothing."""
        partial = self.root / "work" / f"{secrets.token_hex(6)}{PART}"
        handle = locks.take(partial)
        assert handle is not None  # it waits
        try:
            with open(handle, "w", encoding="utf-8", closefd=False) as file:
                file.write(text)
            partial.rename(path)
        finally:
            locks.give_up(partial, handle)

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
        path = self.root / "locks" / name
        waited = False
        handle = locks.take(path, wait=False)
        if handle is None:
            waited = True
            handle = locks.take(path)
        assert handle is not None  # it waits
        try:
            yield waited
        finally:
            locks.give_up(path, handle)

    def is_locked(self, name: str) -> bool:
        """Does somebody hold this lock right now."""
        return locks.is_held(self.root / "locks" / name)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """This process is a build: what it finds and keeps is pinned until the end, and no cleaner takes it away."""
        self.pins = Pins(self.root)
        try:
            yield
        finally:
            self.pins.close()
            self.pins = None

    def pin(self, *names: str) -> None:
        """Have what a build is about to look at stay, if it is there: ``layers/<id>``, ``outputs/<key>`` and so on."""
        if self.pins is not None:
            with pins.gate(self.root):
                self.pins.add(names)

    def lend(self, *names: str) -> str:
        """Have these stay for a while after this build, for another container that fetches or mounts them.

        Returns the name that the other one gives to ``take_over`` ("" where this is no build).
        """
        self.pin(*names)
        return self.pins.lend(names) if self.pins is not None else ""

    def take_over(self, lent: str, *names: str) -> None:
        """Pin what another build has lent under this name."""
        self.pin(*names)
        pins.take_over(self.root, lent)

    @contextlib.contextmanager
    def workplace(self) -> Iterator[Workplace]:
        """A fresh place in ``work/`` for one stage."""
        path = self.root / "work" / secrets.token_hex(6)
        handle = locks.take(path.with_name(path.name + LOCK))
        assert handle is not None  # it waits
        fresh = Workplace(path, handle)
        try:
            path.mkdir()
            (path / "layer").mkdir()
            (path / "work").mkdir()
            yield fresh
        finally:
            fresh.close()

    # -- looking --------------------------------------------------------------------------------------

    def records(self) -> list[Record]:
        """Every usable record, oldest first."""
        looked_up = (self.look(file.stem) for file in (self.root / "keys").glob("*.json"))
        return sorted((record for record in looked_up if record is not None), key=lambda record: record.created)

    def usage(self) -> dict[str, int]:
        """Bytes on the disk by what they are for."""
        parts = ("layers", "cache", "outputs", "blocks", "work")
        return {name: occupied(self.root / name) for name in parts}

    def free(self) -> tuple[int, int]:
        """Free and total bytes of the store's file system."""
        status = os.statvfs(self.root)
        return status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
