"""An image's layers laid over one another, as one tar archive: what a build's first script unpacks.

Device nodes are left out: an unprivileged build cannot make any, and no distribution's image needs its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from blockdev.core.errors import BuildError
from builder.inspection.image import ImageFile
from builder.inspection.layers import members
from builder.inspection.tree import FILE, FOLDER, LINK, Tree, TreeEntry
from stages.outputs.formats import tar_stream
from stages.outputs.formats.tar_stream import Member, TarStream

PIPE = "pipe"


def write(image: ImageFile, tree: Tree, target: Path) -> None:
    """Write the archive of ``tree``, which is the merged tree of ``image``, to ``target``.

    Folders come first, then links and pipes, then files in the order in which the layers have them; times are whole
    seconds. Raises BuildError for a damaged layer.
    """
    sources: dict[tuple[int, int], list[str]] = {}
    with target.open("wb") as out:
        stream = TarStream(out)
        for path, entry in tree.entries.items():
            if entry.kind == FOLDER and path != "/":
                stream.add(_member(path, entry, tar_stream.DIRECTORY))
            elif entry.kind == LINK:
                stream.add(_member(path, entry, tar_stream.SYMLINK, target=entry.target))
            elif entry.kind == PIPE:
                stream.add(_member(path, entry, tar_stream.FIFO))
            elif entry.kind == FILE:
                sources.setdefault(entry.source, []).append(path)
        _write_files(image, tree.entries, sources, stream)
        stream.close()


def _write_files(
    image: ImageFile, entries: Mapping[str, TreeEntry], sources: Mapping[tuple[int, int], list[str]], stream: TarStream
) -> None:
    for layer in image.layers:
        last = max((number for index, number in sources if index == layer.number), default=-1)
        with closing(members(image.place, layer)) as of_layer:
            for number, member in enumerate(of_layer):
                if number > last:
                    break
                paths = sources.get((layer.number, number), [])
                if not paths:
                    continue
                if member.content is None:
                    raise BuildError(f"{paths[0]} has no content in its layer", where=str(image.path))
                size = member.info.size
                stream.add_stream(_member(paths[0], entries[paths[0]], tar_stream.FILE, size=size), member.content)
                for other in paths[1:]:
                    stream.add(_member(other, entries[other], tar_stream.HARD_LINK, target=paths[0][1:]))


def _member(path: str, entry: TreeEntry, kind: bytes, *, size: int = 0, target: str = "") -> Member:
    return Member(
        name=path[1:].encode("utf-8", "surrogateescape"),
        kind=kind,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        mtime=entry.mtime // 10**9,
        size=size,
        target=target.encode("utf-8", "surrogateescape"),
        xattrs={} if kind == tar_stream.HARD_LINK else entry.xattrs,
    )
