"""What the store knows of a finished output: ``done.json``, with the digest of each of its files.

An output is compared with it before it goes anywhere: where a bit of it has flipped since, it is written anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blockdev.core.atomic_file import write_file
from blockdev.core.boot_id import boot_id
from stages.layers.digest_list import file_digest

DONE = "done.json"
_BLOBS = "artifact/blobs/sha256/"


def _files(folder: Path) -> Iterator[str]:
    """The names, below the folder, of all files in it but ``done.json``."""
    for directory, _, names in os.walk(folder):
        for name in names:
            path = os.path.relpath(f"{directory}/{name}", folder)
            if path != DONE:
                yield path


def _sum(done: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(done, sort_keys=True).encode()).hexdigest()[:32]


def _digest(path: str) -> str:
    """A file's digest; of a link (scripts make them beside an image) where it leads. Raises OSError."""
    if os.path.islink(path):  # noqa: PTH114 (text)
        return f"link to {os.readlink(path)}"  # noqa: PTH115 (text)
    return file_digest(path)


def write_done(folder: Path, done: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Any]:
    """Write down what is known of the output in ``folder``; returns that.

    ``digests`` are those (``sha256:...``) that are known by file already. Raises OSError.
    """
    files = {}
    for path in sorted(_files(folder)):
        digest = path.removeprefix(_BLOBS) if path.startswith(_BLOBS) else digests.get(path, "").removeprefix("sha256:")
        files[path] = digest or _digest(f"{folder}/{path}")
    whole = {**done, "boot": boot_id(), "files": files}
    write_file(folder / DONE, json.dumps({**whole, "sum": _sum(whole)}))
    return whole


def read_done(folder: Path, *, any_boot: bool = False) -> dict[str, Any] | None:
    """What is known of the output in ``folder``; None where it does not count.

    That is where it is not whole, or (unless ``any_boot``) may not have reached the disk before the last power loss:
    nobody notes that.
    """
    try:
        done: dict[str, Any] = json.loads((folder / DONE).read_text(encoding="utf-8"))
        right = done.pop("sum") == _sum(done) and (any_boot or done["boot"] == boot_id())
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    return done if right else None


def adopt_done(folder: Path) -> None:
    """Make an output that came from another machine one of this one. Raises ValueError for none, OSError."""
    done = json.loads((folder / DONE).read_text(encoding="utf-8"))
    if not isinstance(done, dict) or not isinstance(done.get("files"), dict) or damaged(folder, done):
        raise ValueError("its files are not those that were written")
    whole = {**{name: value for name, value in done.items() if name != "sum"}, "boot": boot_id()}
    write_file(folder / DONE, json.dumps({**whole, "sum": _sum(whole)}))


def damaged(folder: Path, done: Mapping[str, Any]) -> list[str]:
    """The files of an output that are not what was written, or missing, or too many."""
    expected: Mapping[str, str] = done["files"]
    wrong = set(expected) ^ set(_files(folder))
    for path in expected.keys() - wrong:
        try:
            if _digest(f"{folder}/{path}") != expected[path]:
                wrong.add(path)
        except OSError:
            wrong.add(path)
    return sorted(wrong)


def damage(paths: list[str]) -> str:
    """The sentence about damaged files."""
    return f"{'1 file differs' if len(paths) == 1 else 'files differ'}: {', '.join(paths[:3])}"
