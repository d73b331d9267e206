"""What builds have written where: so that nothing is written twice, and nothing replaced that is not theirs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockdev.core.atomic_file import write_file
from blockdev.core.typed_json import Struct, read
from builder.host_state.probe_results import cache_folder, exclusive


def fingerprint(path: Path) -> str:
    """What an output on the disk looks like: names, sizes and times of all its files ("" where it is not there)."""
    if path.is_symlink():
        return hashlib.sha256(b"link " + os.fsencode(path.readlink())).hexdigest()
    if not path.exists():
        return ""
    entries = []
    for directory, folders, files in os.walk(path):
        folders.sort()
        entries += [Path(directory, name) for name in sorted(files)]
    digest = hashlib.sha256()
    for file in entries or [path]:
        status = file.lstat()
        digest.update(
            f"{file.relative_to(path)} {status.st_size} {status.st_mtime_ns}\n".encode(errors="surrogateescape")
        )
    return digest.hexdigest()


_NOTHING: Mapping[str, Any] = {}


class Written(Struct):
    """What is remembered of one path (see :class:`Memory`).

    ``key`` is of an output, ``known`` what was told of it; ``beside``: what lies beside it is remembered, too.
    """

    key: str = ""
    fingerprint: str = ""
    known: Mapping[str, Any] = _NOTHING
    beside: bool = False
    coming: str = ""


def _record(data: Mapping[str, Any], path: Path) -> Written | None:
    try:
        return read(Written, data[str(path)])
    except (KeyError, ValueError):
        return None


@dataclass(frozen=True)
class Memory:
    """Which output key lies at which path, and what else builds wrote beside outputs; kept between builds.

    A record has the ``fingerprint`` of what lies there. ``coming`` is that of what is about to: a build that is killed
    between its renames leaves files of which both are its own.
    """

    file: Path

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            data = json.loads(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def recall(self, target: Path) -> str:
        """The key of the output that still lies at ``target`` unchanged, or ""."""
        return str(self.recall_all(target)["have"])

    def recall_all(self, target: Path) -> dict[str, Any]:
        """The same as ``have``, and what was told of that output as ``known`` (empty where nothing was)."""
        record = _record(self._read(), target)
        if record is None or record.fingerprint != fingerprint(target):
            return {"have": "", "known": {}}
        return {"have": record.key, "known": record.known}

    def knows(self, target: Path) -> bool:
        """Did a build write to ``target``, whatever lies there now?"""
        return str(target) in self._read()

    def wrote(self, *paths: Path) -> bool:
        """Is what lies at each of these paths just what a build wrote there?"""
        data = self._read()
        for path in paths:
            record = _record(data, path) or Written()
            if fingerprint(path) not in {record.fingerprint, record.coming} - {""}:
                return False
        return True

    def knew_documents(self, target: Path) -> bool:
        """Was the output at ``target`` remembered by a version that remembered nothing of the files beside one?"""
        record = _record(self._read(), target)
        return record is not None and not record.beside

    def folders(self) -> list[Path]:
        """The folders that outputs were written to and that are there."""
        return [folder for folder in sorted({Path(path).parent for path in self._read()}) if folder.is_dir()]

    def announce(self, coming: Mapping[Path, Path]) -> None:
        """Note what is about to appear, by path, as what lies elsewhere still."""
        self._change({target: {"coming": fingerprint(new)} for target, new in coming.items()}, keep=True)

    def remember(self, target: Path, key: str, facts: Mapping[str, Any] | None = None) -> None:
        """Note what was just written, and what was told of it; forgets paths that are gone."""
        self.remember_all([target], {target: (key, dict(facts or {}))})

    def remember_all(self, paths: Iterable[Path], outputs: Mapping[Path, tuple[str, Mapping[str, Any]]]) -> None:
        """Note all that was just written; of those that are ``outputs`` also the key and what was told."""
        records = {}
        for path in {*paths, *outputs}:
            key, facts = outputs.get(path, ("", {}))
            records[path] = {"key": key, "fingerprint": fingerprint(path), "known": dict(facts), "beside": True}
        self._change(records, keep=False)

    def _change(self, records: Mapping[Path, Mapping[str, Any]], *, keep: bool) -> None:
        if not records:
            return
        with exclusive(self.file):
            before = self._read()
            data = {path: record for path, record in before.items() if keep or os.path.lexists(path)}
            for path, record in records.items():
                base = before.get(str(path), {"key": "", "fingerprint": "", "known": {}}) if keep else {}
                data[str(path)] = {**base, **record}
            write_file(self.file, json.dumps(data, indent=1, sort_keys=True))


def memory() -> Memory:
    """The caller's own memory."""
    return Memory(cache_folder() / "outputs.json")
