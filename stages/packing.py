"""Layers, and finished outputs, packed for caches elsewhere while the build goes on.

A folder in the store with a file for each blob, named after the hexadecimal digits of its digest, and ``entries.json``:
a list of {key, below, layer, blob, size, unpacked, parts, title, created}. The host fetches it whole.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from stages.layertar import NotPortableError, pack
from stages.offers import chain_digest
from stages.store import Record, Store, Workplace, measure

ENTRIES = "entries.json"
LEVEL = "-3"  # of zstd: what takes longer to compress would take longer than what it saves
SMALL = 1 << 20  # bytes of a layer; below this more than one thread is of no use


def described(record: Record) -> dict[str, Any]:
    """What travels of a record, beside the files: everything that holds on any machine."""
    kept = dataclasses.asdict(record)
    for name in ("boot", "bytes", "inputs"):
        del kept[name]
    return {**kept, "below": chain_digest(record.below)}


@dataclass
class Packer:
    """Packs layers of a store into a place in it, one after the other, in a thread of its own."""

    store: Store
    place: Workplace
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _packed: dict[tuple[str, str], Future[dict[str, Any] | None]] = field(default_factory=dict)
    _outputs: list[tuple[str, str]] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """Begin to pack a stage's layer."""
        name = (record.key, record.layer)
        if name not in self._packed:
            self._packed[name] = self._pool.submit(self._pack, record)

    def add_output(self, key: str, kind: str, chain: Sequence[str]) -> None:
        """Begin to pack a finished output of the store, made from this chain of layers."""
        folder = self.store.root / "outputs" / key
        about = {
            "key": key,
            "below": chain_digest(chain),
            "layer": "",
            "parts": ["output"],
            "title": f"output/{kind}",
            "created": time.time(),
        }
        self._packed[key, ""] = self._pool.submit(self._pack_output, folder, about)
        self._outputs.append((key, ""))

    def finish(self, records: Iterable[Record]) -> Path | None:
        """The folder, with the layers of these records and no others; None where there are none. Raises OSError."""
        wanted = list(records)
        for record in wanted:
            self.add(record)
        names_of = [*((record.key, record.layer) for record in wanted), *self._outputs]
        found = [self._packed[name].result() for name in names_of]
        entries = [entry for entry in found if entry is not None]
        names = {entry["blob"].removeprefix("sha256:") for entry in entries}
        for file in self.place.upper.iterdir():  # of a plan that was given up: a mirror moved
            if file.name not in names:
                file.unlink()
        if not entries:
            return None
        (self.place.upper / ENTRIES).write_text(json.dumps(entries), encoding="utf-8")
        return self.place.upper

    def close(self) -> None:
        """Pack no more."""
        self._pool.shutdown(cancel_futures=True)

    def _pack_output(self, folder: Path, about: dict[str, Any]) -> dict[str, Any] | None:
        extent = measure(folder)
        return self._write(folder, {**about, "fingerprint": extent.fingerprint}, extent.bytes)

    def _pack(self, record: Record) -> dict[str, Any] | None:
        layer = self.store.root / "layers" / record.layer if record.layer else None
        return self._write(layer, described(record), record.bytes)

    def _write(self, folder: Path | None, about: Mapping[str, Any], length: int) -> dict[str, Any] | None:
        """Pack one folder of about ``length`` bytes; its entry, or None where it cannot travel."""
        threads = "-T0" if length > SMALL else "--single-thread"
        partial = self.place.path / "partial"
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
        with (
            partial.open("wb") as out,
            subprocess.Popen(
                ["zstd", "-q", "-c", threads, LEVEL], stdin=subprocess.PIPE, stdout=out, env=environment
            ) as zstd,
        ):
            assert zstd.stdin is not None
            try:
                with zstd.stdin:
                    written = pack(folder, about, cast("BinaryIO", zstd.stdin))
            except NotPortableError:
                zstd.kill()
                return None
        if zstd.returncode != 0:
            raise OSError(f"zstd ended with status {zstd.returncode}")
        with partial.open("rb") as data:
            found = hashlib.file_digest(data, "sha256").hexdigest()
        size = partial.stat().st_size
        partial.rename(self.place.upper / found)
        same = {name: about[name] for name in ("key", "below", "layer", "parts", "title", "created")}
        return {**same, "blob": f"sha256:{found}", "size": size, "unpacked": written.bytes}
