"""The request archive: what a build container is handed, as one tar in memory.

``request.json``, ``code.tar`` (the agent) and ``elements/NAME/...`` (the resolved elements' files). The elements travel
so that a build container sees none of the host's folders, and works as well on a remote engine.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import blockdev
import qemu
import stages
from stages.element import Element
from stages.errors import UsageError
from stages.request import Request

SKIPPED = ("__pycache__", "tests", "test-elements", ".git")


def files_of(root: Path, skipped: Iterable[str]) -> Iterator[Path]:
    """All files below ``root`` in a fixed order; what lies in ``static`` is for the image and all of it travels."""
    for directory, folders, names in os.walk(root, followlinks=True):
        image = Path(directory).relative_to(root).parts[:1] == ("static",)
        folders[:] = sorted(name for name in folders if image or name not in skipped)
        static = [name for name in folders if is_kept(Path(directory, name), root)]
        folders[:] = [name for name in folders if name not in static]
        names += static
        yield from (Path(directory, name) for name in sorted(names) if image or not name.endswith(".pyc"))


def is_kept(path: Path, root: Path) -> bool:
    """Is this a symbolic link for the image: ``static`` is copied as it is, links elsewhere are followed."""
    return path.is_symlink() and path.relative_to(root).parts[0] == "static"


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), mode
    archive.addfile(member, io.BytesIO(data))


@cache
def code_archive() -> bytes:
    """The agent's code as a tar; the same code gives the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for package in (blockdev, stages, qemu):
            root = Path(str(package.__file__)).parent
            for file in files_of(root, (*SKIPPED, "elements")):
                name = f"{package.__name__}/{file.relative_to(root).as_posix()}"
                _add(archive, name, file.read_bytes(), 0o755 if file.stat().st_mode & 0o111 else 0o644)
    return buffer.getvalue()


def code_digest() -> str:
    """The name under which the store keeps the agent's code (see ``stages.boot``)."""
    return hashlib.sha256(code_archive()).hexdigest()[:24]


def request_archive(request: Request, elements: Iterable[Element], given: Mapping[str, Path] | None = None) -> bytes:
    """The archive of a request with its elements' files and the ``given`` ones (``builder.given``).

    Raises UsageError for a file that cannot be read.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        _add(archive, "request.json", request.to_json().encode(), 0o644)
        _add(archive, "code.tar", code_archive(), 0o644)
        for element in elements:
            _add_element(archive, element)
        for digest, place in {digest: place for place, digest in request.given.items()}.items():
            if place in (given or {}):  # the others travel when a stage needs them
                _add(archive, f"given/{digest}", (given or {})[place].read_bytes(), 0o644)
    return buffer.getvalue()


def _add_element(archive: tarfile.TarFile, element: Element) -> None:
    folder = tarfile.TarInfo(f"elements/{element.name}")  # it may have no file at all
    folder.type, folder.mode = tarfile.DIRTYPE, 0o755
    archive.addfile(folder)
    for file in files_of(element.path, SKIPPED):
        name = f"{folder.name}/{file.relative_to(element.path).as_posix()}"
        if is_kept(file, element.path):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, str(file.readlink())
            archive.addfile(link)
            continue
        try:
            mode = file.stat().st_mode
            if not stat.S_ISREG(mode):  # reading a pipe would wait for ever
                raise UsageError(f"{file} is neither a file nor a folder", where=f"element {element.name}")
            data = file.read_bytes()
        except OSError as error:
            what = f"the file {file} cannot be read: {error.strerror}"
            raise UsageError(what, where=f"element {element.name}") from error
        _add(archive, name, data, 0o755 if mode & 0o111 else 0o644)
