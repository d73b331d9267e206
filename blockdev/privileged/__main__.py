"""``python3 -m blockdev.privileged FOLDER``: the privileged assembly as a program.

The folder has ``layout.json`` (``blockdev.layout.json``), ``environment.json`` (variables of scripts) and ``hooks/``,
for those who run scripts (:func:`main`), ``tree.tar`` or ``tree/``; and, where there are any, ``elements.json``
(element by ``phase.d/script``) and ``job.json`` with ``epoch`` and ``seed``. Passphrases of encrypted containers come
as one JSON object (base64 by name) on standard input where the layout has such containers. It gets
``images/DISK.raw``, ``beside/`` and ``done.json`` (images, root hashes, remarks). Ledgers are in ``FOLDER/ledgers``, or
in the folder that ``--ledgers`` names.
Exit status: 0; 1 the build failed; 2 the job is wrong.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from blockdev.core import syscalls
from blockdev.core.errors import BuildError, UsageError
from blockdev.core.typed_json import Struct, read
from blockdev.layout.json import from_data
from blockdev.privileged.release import release_left_over
from blockdev.privileged.run import Job, Mounted, assemble

T = TypeVar("T")


def read_job(folder: Path, ledgers: Path) -> Job:
    """The job that a folder holds; UsageError where a file of it is missing or is not what it should be."""
    tar, tree = folder / "tree.tar", folder / "tree"
    if not tar.is_file() and not tree.is_dir():
        raise UsageError("the job has no tree", where=str(folder), hint="put tree.tar there, or the folder tree")
    try:
        layout = from_data(_json(folder / "layout.json"))
    except ValueError as error:
        raise UsageError(f"this is no layout: {error}", where=str(folder / "layout.json")) from error
    settings = _read(JobSettings, folder / "job.json", {})
    passphrases = read(dict[str, str], json.loads(sys.stdin.read() or "{}")) if layout.luks else {}
    return Job(
        layout=layout,
        tree=tar if tar.is_file() else tree,
        hooks=folder / "hooks",
        environment=_read(dict[str, str], folder / "environment.json"),
        images=folder / "images",
        beside=folder / "beside",
        work=folder / "work",
        ledgers=ledgers,
        epoch=settings.epoch,
        element_of=_read(dict[str, str], folder / "elements.json", {}),
        passphrases={name: base64.b64decode(text) for name, text in passphrases.items()},
        seed=settings.seed,
    )


class JobSettings(Struct):
    """What ``job.json`` may say: ``epoch`` in seconds, and the seed of everything that is drawn."""

    epoch: int = 0
    seed: str = ""


def _read(of: type[T], path: Path, default: Any = None) -> T:
    try:
        return read(of, _json(path, default))
    except ValueError as error:
        raise UsageError(f"this is not what it should be: {error}", where=str(path)) from error


def _json(path: Path, default: Any = None) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if default is None:
            raise UsageError(f"the job has no {path.name}", where=str(path.parent)) from None
        return default
    except ValueError as error:
        raise UsageError(f"this is not JSON: {error}", where=str(path)) from error


def main(argv: Sequence[str] | None = None, scripts: Callable[[Job, Mounted], None] | None = None) -> int:
    """Do the job of a folder; returns the exit status. Steps and the scripts' lines go to standard output.

    ``scripts``: see ``blockdev.privileged.run.Job``; the folder names none.
    """
    parser = argparse.ArgumentParser(prog="python3 -m blockdev.privileged", description="Make disk images as root.")
    parser.add_argument("folder", type=Path, help="the folder of the job")
    parser.add_argument("--ledgers", type=Path, help="where it is written down what is held (default: in the folder)")
    arguments = parser.parse_args(argv)
    folder = arguments.folder.resolve()
    ledgers = (arguments.ledgers or folder / "ledgers").resolve()
    try:
        _own_mounts()
        left_over = release_left_over(ledgers)
        for text in left_over.released:
            note(f"released what an earlier run left: {text}")
        for text in left_over.problems:
            note(f"an earlier run left something: {text}")
        assembled = assemble(replace(read_job(folder, ledgers), scripts=scripts), lambda text: print(text, flush=True))
    except BuildError as error:
        note(str(error))
        return error.exit_status
    done = {
        "images": {name: str(path) for name, path in assembled.images.items()},
        "root_hashes": dict(assembled.root_hashes),
        "remarks": list(assembled.remarks),
    }
    (folder / "done.json").write_text(json.dumps(done), encoding="utf-8")
    return 0


def note(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr, flush=True)


def _own_mounts() -> None:
    """A mount namespace of this process's own: whatever ends it, its mounts end with it."""
    if os.geteuid() != 0:
        raise UsageError("this needs root", hint="run it in a container with --privileged")
    try:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    except OSError as error:
        raise BuildError(f"mounts are out of reach: {error}", hint="run it in a container with --privileged") from error


if __name__ == "__main__":
    sys.exit(main())
