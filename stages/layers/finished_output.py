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

from blockdev.core import typed_json
from blockdev.core.atomic_file import write_file
from blockdev.core.boot_id import boot_id
from blockdev.core.typed_json import Struct
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


_NO_HASHES: Mapping[str, str] = {}


class FinishedOutput(Struct):
    """What is known of an output: its digest and that of the image in it (``sha256:...``), and of each of its files.

    ``more`` names the further disks beside the first one, ``root_hashes`` are by verity node. ``seconds`` is how long
    it took to write, ``boot`` the boot of the machine in which that was. What outside scripts leave beside an image
    has files alone.
    """

    type: str = ""
    name: str = ""
    digest: str = ""
    bytes: int = 0
    image: str = ""
    seconds: float = 0.0
    more: tuple[str, ...] = ()
    root_hashes: Mapping[str, str] = _NO_HASHES
    boot: str
    files: Mapping[str, str]


def _sum(data: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:32]


def _write(folder: Path, finished: FinishedOutput) -> None:
    data = vars(finished)
    write_file(folder / DONE, json.dumps({**data, "sum": _sum(data)}))


def _read(folder: Path) -> FinishedOutput:
    """Raises OSError, and ValueError for what is not whole."""
    data = json.loads((folder / DONE).read_text(encoding="utf-8"))
    if not isinstance(data, dict) or data.pop("sum", "") != _sum(data):
        raise ValueError("it is not what was written")
    return typed_json.read(FinishedOutput, data)


def _digest(path: str) -> str:
    """A file's digest; of a link (scripts make them beside an image) where it leads. Raises OSError."""
    if os.path.islink(path):  # noqa: PTH114 (text)
        return f"link to {os.readlink(path)}"  # noqa: PTH115 (text)
    return file_digest(path)


def write_done(folder: Path, digests: Mapping[str, str], **facts: Any) -> FinishedOutput:
    """Write down what is known of the output in ``folder``, its other fields; returns all of it.

    ``digests`` are those (``sha256:...``) that are known by file already. Raises OSError.
    """
    files = {}
    for path in sorted(_files(folder)):
        digest = path.removeprefix(_BLOBS) if path.startswith(_BLOBS) else digests.get(path, "").removeprefix("sha256:")
        files[path] = digest or _digest(f"{folder}/{path}")
    finished = FinishedOutput(**facts, boot=boot_id(), files=files)
    _write(folder, finished)
    return finished


def read_done(folder: Path, *, any_boot: bool = False) -> FinishedOutput | None:
    """What is known of the output in ``folder``; None where it does not count.

    That is where it is not whole, or (unless ``any_boot``) may not have reached the disk before the last power loss:
    nobody notes that.
    """
    try:
        finished = _read(folder)
    except (OSError, ValueError):
        return None
    return finished if any_boot or finished.boot == boot_id() else None


def adopt_done(folder: Path) -> None:
    """Make an output that came from another machine one of this one. Raises ValueError for none, OSError."""
    finished = _read(folder)
    if damaged(folder, finished):
        raise ValueError("its files are not those that were written")
    _write(folder, finished.replace(boot=boot_id()))


def damaged(folder: Path, finished: FinishedOutput) -> list[str]:
    """The files of an output that are not what was written, or missing, or too many."""
    expected = finished.files
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
