"""The request archive: what a build container is handed, as one tar in memory.

``request.json`` and ``elements/NAME/...`` (the resolved elements' files). The elements travel so that a build container
sees none of the host's folders, and works as well on a remote engine. The agent's code comes before it
(``builder.build.agent_code``).
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from stages.element.files import SKIPPED, files_of, is_kept, merged_target, read_file
from stages.element.hooks import is_dangling
from stages.element.resolve import Element
from stages.protocol.request import Request


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), mode
    archive.addfile(member, io.BytesIO(data))


def request_archive(
    request: Request, elements: Sequence[Element], host_files: Mapping[str, Path] | None = None
) -> bytes:
    """The archive of a request with its elements' files and the ``host_files`` ones (``builder.request.host_files``).

    Raises UsageError for a file that cannot be read.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        _add(archive, "request.json", request.to_json().encode(), 0o644)
        for element in elements:
            _add_element(archive, element, elements)
        for digest, path in {digest: path for path, digest in request.given.items()}.items():
            if path in (host_files or {}):  # the others travel when a stage needs them
                _add(archive, f"given/{digest}", (host_files or {})[path].read_bytes(), 0o644)
    return buffer.getvalue()


def _add_element(archive: tarfile.TarFile, element: Element, elements: Sequence[Element]) -> None:
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
        owner = element
        if is_dangling(file):
            target = merged_target(element, file, elements)
            if target is None:
                continue  # left out, and told of (check_links)
            owner, file = target
        data, mode = read_file(owner, file)
        _add(archive, name, data, 0o755 if mode & 0o111 else 0o644)
