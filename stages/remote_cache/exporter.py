"""Layers, and finished outputs, packed for caches elsewhere while the build goes on.

A folder in the store with a file for each blob, named after the hexadecimal digits of its digest, and ``entries.json``:
a list of {key, below, layer, blob, size, unpacked, parts, title, created, content}. The host fetches it whole. A large
blob lies in a folder of its own, which the host is told of as soon as it is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO, cast

from blockdev.core import own_code, tools
from stages.layers.digest_list import list_folder
from stages.layers.store import Record, Store, Workplace
from stages.protocol import events
from stages.protocol.emit import emit
from stages.protocol.events import CacheEntry
from stages.remote_cache.layer_archive import NotPortableError, PackedRecord, pack
from stages.remote_cache.offers import chain_digest

ENTRIES = "entries.json"
LEVEL = "-3"  # of zstd: what takes longer to compress would take longer than what it saves
SMALL = 1 << 20  # bytes of a layer, or of a blob; below this no process, thread or folder of its own is of use
# Packing keeps an interpreter busy, and the one that runs stages would wait for it at each step: so large layers are
# packed by another one, and stages come first.
_CHILD = """\
import json, os, sys
os.nice(10)
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from stages.remote_cache.layer_archive import NotPortableError, PackedRecord, pack
try:
    record = PackedRecord(**json.load(sys.stdin))
    print(pack(Path(sys.argv[2]), record, sys.stdout.buffer).bytes, file=sys.stderr)
except NotPortableError:
    sys.exit(3)
"""
_NOT_PORTABLE = 3


def described(record: Record, content: str) -> PackedRecord:
    """What travels of a record, beside the files, whose digest ``content`` is."""
    return PackedRecord(
        key=record.key,
        below=chain_digest(record.below),
        layer=record.layer,
        parts=record.parts,
        title=record.title,
        created=record.created,
        content=content,
        seconds=record.seconds,
    )


@dataclass
class Packer:
    """Packs layers of a store into a place in it, one after the other, in a thread of its own."""

    store: Store
    workplace: Workplace
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _packed: dict[tuple[str, str], Future[CacheEntry | None]] = field(default_factory=dict)
    _outputs: list[tuple[str, str]] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """Begin to pack a stage's layer."""
        name = (record.key, record.layer)
        if name not in self._packed:
            self._packed[name] = self._pool.submit(self._pack, record)

    def add_output(self, key: str, kind: str, chain: Sequence[str]) -> None:
        """Begin to pack a finished output of the store, made from this chain of layers."""
        folder = self.store.root / "outputs" / key
        packed = PackedRecord(
            key=key,
            below=chain_digest(chain),
            layer="",
            parts=("output",),
            title=f"output/{kind}",
            created=time.time(),
            content="",
        )
        self._packed[key, ""] = self._pool.submit(self._pack_output, folder, packed)
        self._outputs.append((key, ""))

    def finish(self, records: Iterable[Record]) -> Path | None:
        """The folder, with the layers of these records and no others; None where there are none. Raises OSError."""
        listed = list(records)
        for record in listed:
            self.add(record)
        names_of = [*((record.key, record.layer) for record in listed), *self._outputs]
        results = [self._packed[name].result() for name in names_of]
        entries = [entry for entry in results if entry is not None]
        names = {entry.blob.removeprefix("sha256:") for entry in entries}
        for file in self.workplace.upper.iterdir():  # of a plan that was given up: a mirror moved
            if file.name not in names:
                file.unlink()
        if not entries:
            return None
        (self.workplace.upper / ENTRIES).write_text(json.dumps(entries, default=vars), encoding="utf-8")
        return self.workplace.upper

    def close(self) -> None:
        """Pack no more."""
        self._pool.shutdown(cancel_futures=True)

    def _pack_output(self, folder: Path, packed: PackedRecord) -> CacheEntry | None:
        content = list_folder(str(folder))
        return self._write(folder, packed.replace(content=content.digest), content.length)

    def _pack(self, record: Record) -> CacheEntry | None:
        layer = self.store.root / "layers" / record.layer if record.layer else None
        content = self.store.digests.digest(record.layer) if record.layer else ""
        return self._write(layer, described(record, content), record.bytes)

    def _write(self, folder: Path | None, packed: PackedRecord, length: int) -> CacheEntry | None:
        """Pack one folder of about ``length`` bytes; its entry, or None where it cannot travel."""
        is_large = length > SMALL
        partial = self.workplace.path / "partial"
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
        zstd_argv = ["nice", "-n", "10", "zstd", "-q", "-c", "-T0" if is_large else "--single-thread", LEVEL]
        with (
            partial.open("wb") as out,
            subprocess.Popen(zstd_argv, stdin=subprocess.PIPE, stdout=out, env=environment) as zstd,
        ):
            assert zstd.stdin is not None
            try:
                with zstd.stdin:
                    if folder and is_large:
                        unpacked = _packed_apart(folder, packed, zstd.stdin)
                    else:
                        unpacked = pack(folder, packed, cast("BinaryIO", zstd.stdin)).bytes
            except NotPortableError:
                zstd.kill()
                return None
        if zstd.returncode != 0:
            raise OSError(f"zstd ended with status {zstd.returncode}")
        with partial.open("rb") as data:
            blob = hashlib.file_digest(data, "sha256").hexdigest()
        size = partial.stat().st_size
        entry = CacheEntry(
            key=packed.key,
            below=packed.below,
            layer=packed.layer,
            parts=packed.parts,
            title=packed.title,
            created=packed.created,
            content=packed.content,
            blob=f"sha256:{blob}",
            size=size,
            unpacked=unpacked,
        )
        if size <= SMALL:
            partial.rename(self.workplace.upper / blob)
            return entry
        own = self.workplace.path / f"blob-{blob}"
        own.mkdir(exist_ok=True)
        partial.rename(own / blob)
        emit(events.Packed(path=str(own), entry=entry))
        return entry


def _packed_apart(folder: Path, packed: PackedRecord, out: IO[bytes]) -> int:
    """Write a layer's archive to ``out``, by a process of its own; its length in bytes."""
    argv = [sys.executable, "-I", "-c", _CHILD, str(own_code.folder()), str(folder)]
    done = tools.run(argv, data=json.dumps(vars(packed)).encode(), stdout=cast("BinaryIO", out))
    if done.status == _NOT_PORTABLE:
        raise NotPortableError("something that no archive can hold", where=str(folder))
    last = tools.last_line(done.err, "")
    if done.status != 0:
        raise OSError(last or f"packing ended with status {done.status}")
    return int(last)
