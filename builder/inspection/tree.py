"""The tree that an image's layers make, one laid over the other, without unpacking any.

Follows the OCI image specification, layer.md, "Applying Changesets": whiteouts (``.wh.NAME``) and opaque whiteouts
hide what lower layers have, never what their own layer has, wherever in it they stand. Names below a link to a folder
go to that folder, as they do when an image is unpacked.
"""

from __future__ import annotations

import hashlib
import posixpath
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from blockdev.core.errors import BuildError
from builder.inspection.blobs import PIECE
from builder.inspection.layers import Member

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
MOST_LINKS = 40  # on one way, as the kernel has it
LARGEST_KEPT = 256 << 20  # bytes of a file whose content is kept; no package database comes near

FOLDER, FILE, LINK = "folder", "file", "link"
KINDS = {
    b"0": FILE,
    b"\0": FILE,
    b"7": FILE,
    b"S": FILE,
    b"5": FOLDER,
    b"2": LINK,
    b"3": "character device",
    b"4": "block device",
    b"6": "pipe",
}
HARD_LINK = b"1"
_MOST_ID = (1 << 32) - 1


@dataclass(frozen=True)
class TreeEntry:
    """One thing in a tree.

    ``mode`` is the permission bits, ``mtime`` nanoseconds since 1970, ``length`` the bytes of a plain file, ``target``
    where a link leads (for a device its numbers). ``layer`` and ``member`` say where it comes from, counted from 0;
    entries with the same two are hard links to one file. ``sha256`` (hex) and ``content`` are there where they were
    asked for. ``implied`` is a folder that no layer has and that some file lies in.
    """

    kind: str
    mode: int
    uid: int
    gid: int
    mtime: int
    length: int = 0
    target: str = ""
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    layer: int = 0
    member: int = 0
    sha256: str = ""
    content: bytes | None = field(default=None, repr=False)
    implied: bool = False

    @property
    def source(self) -> tuple[int, int]:
        """The layer and member that it comes from."""
        return self.layer, self.member


@dataclass
class _Node:
    """A place in the tree while it is made; ``layer`` is the last one that had something here."""

    entry: TreeEntry
    layer: int
    children: dict[str, _Node] = field(default_factory=dict)


Keep = Callable[[str], bool]


class Tree:
    """A merged tree: entries by their path, which begins with ``/``."""

    def __init__(self, entries: Mapping[str, TreeEntry]) -> None:
        """``entries`` in the order of their paths, the root first."""
        self.entries = entries
        self._folders: dict[str, str] = {}
        self._names: dict[str, list[str]] = {}

    def names(self, folder: str) -> list[str]:
        """The names in the folder that is at this path; none where it is no folder."""
        if not self._names:
            for path in self.entries:
                above, name = posixpath.split(path)
                if name:
                    self._names.setdefault(above, []).append(name)
        return self._names.get(folder, [])

    def folder(self, path: str) -> str:
        """The path at which the folder is that ``path`` names, all links followed."""
        if path not in self._folders:
            self._folders[path] = self._resolved(path)
        return self._folders[path]

    def resolved_path(self, path: str) -> str:
        """The path at which the entry is that ``path`` names: links on the way followed, the last name not."""
        folder, name = posixpath.split(posixpath.normpath("/" + path.lstrip("/")))
        return posixpath.join(self.folder(folder), name) if name else "/"

    def _resolved(self, path: str) -> str:
        pending, at, links = path.split("/")[::-1], "/", 0
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                at = posixpath.dirname(at)
                continue
            entry = self.entries.get(posixpath.join(at, name))
            if entry is None or entry.kind != LINK or links == MOST_LINKS:
                at = posixpath.join(at, name)
                continue
            links += 1
            at = "/" if entry.target.startswith("/") else at
            pending.extend(entry.target.split("/")[::-1])
        return at

    def files(self) -> Iterator[tuple[str, TreeEntry]]:
        """Everything but folders, by path; of hard links the first has the bytes and the others none."""
        seen: set[tuple[int, int]] = set()
        for path, entry in self.entries.items():
            if entry.kind == FOLDER:
                continue
            yield path, replace(entry, length=0) if entry.source in seen else entry
            seen.add(entry.source)


class Merging:
    """A tree that grows layer by layer."""

    def __init__(self, *, hashes: bool = False, keep: Keep = lambda _: False) -> None:
        """``hashes`` asks for the digest of every file, ``keep`` for the content of those whose path it takes."""
        self._root = _Node(TreeEntry(FOLDER, 0o755, 0, 0, 0, implied=True), -1)
        self._hashes = hashes
        self._keep = keep
        self._layer = -1

    def lay(self, members: Iterable[Member]) -> None:
        """Lay one more layer over the tree; raises BuildError for what no layer can have."""
        self._layer += 1
        try:
            for number, member in enumerate(members):
                self._take(posixpath.normpath("/" + member.info.name.lstrip("/")), member, number)
        except RecursionError as error:
            raise BuildError("folders lie in one another too deep", where=f"layer {self._layer + 1}") from error

    def _take(self, path: str, member: Member, number: int) -> None:
        folder, name = posixpath.split(path)
        if "\0" in path:
            raise BuildError(f"no file can be named {path!r}", where=f"layer {self._layer + 1}")
        if name == OPAQUE:
            self._hide_below(folder)
        elif name.startswith(WHITEOUT):
            self._hide(folder, name.removeprefix(WHITEOUT))
        else:
            self._put(path, member, number)

    def tree(self) -> Tree:
        """What it is now."""
        entries: list[tuple[str, TreeEntry]] = []
        pending = [("/", self._root)]
        while pending:
            path, node = pending.pop()
            entries.append((path, node.entry))
            pending += [(posixpath.join(path, name), child) for name, child in node.children.items()]
        entries.sort(key=lambda pair: pair[0].split("/"))
        return Tree(dict(entries))

    # -- finding a place -------------------------------------------------------------------------

    def _walk(self, path: str, *, make: bool) -> _Node | None:
        """The folder at ``path``, links followed; where it is missing: None, or a new one."""
        pending, trail, links = path.split("/")[::-1], [self._root], 0
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                trail = trail[:-1] or trail
                continue
            node = trail[-1].children.get(name)
            if node is not None and node.entry.kind == LINK:
                links += 1
                if links > MOST_LINKS:
                    raise BuildError(f"the links on the way to {path} go in circles", where=f"layer {self._layer + 1}")
                trail = trail[:1] if node.entry.target.startswith("/") else trail
                pending.extend(node.entry.target.split("/")[::-1])
                continue
            if node is None or node.entry.kind != FOLDER:
                if not make:
                    return None
                node = _Node(TreeEntry(FOLDER, 0o755, 0, 0, 0, layer=self._layer, member=-1, implied=True), self._layer)
                trail[-1].children[name] = node
            trail.append(node)
        return trail[-1]

    # -- what lower layers have --------------------------------------------------------------------

    def _hide(self, folder: str, name: str) -> None:
        parent = self._walk(folder, make=False)
        node = parent.children.get(name) if parent else None
        if parent and node and not self._stays(node):
            del parent.children[name]

    def _hide_below(self, folder: str) -> None:
        node = self._walk(folder, make=False)
        if node:
            self._strip(node)

    def _strip(self, node: _Node) -> None:
        node.children = {name: child for name, child in node.children.items() if self._stays(child)}

    def _stays(self, node: _Node) -> bool:
        """Take what is older than this layer from the node; is there anything left of it."""
        self._strip(node)
        return node.layer == self._layer or bool(node.children)

    # -- what this layer has -------------------------------------------------------------------------

    def _put(self, path: str, member: Member, number: int) -> None:
        if member.info.type == HARD_LINK:
            entry = self._linked(path, member.info.linkname)
        else:
            entry = self._entry(path, member, number)
        if path == "/":
            if entry.kind != FOLDER:
                raise BuildError(f"the root is a {entry.kind}", where=f"layer {self._layer + 1}")
            self._root.entry = entry
            return
        folder, name = posixpath.split(path)
        parent = self._walk(folder, make=True)
        assert parent is not None
        old = parent.children.get(name)
        children = old.children if old and entry.kind == FOLDER else {}
        parent.children[name] = _Node(entry, self._layer, children)

    def _linked(self, path: str, target: str) -> TreeEntry:
        """The file that a hard link shares with another name."""
        folder, name = posixpath.split(posixpath.normpath("/" + target.lstrip("/")))
        parent = self._walk(folder, make=False)
        node = parent.children.get(name) if parent else None
        if node is None or node.entry.kind == FOLDER:
            what = f"{path} is a hard link to {target}, which is {'a folder' if node else 'not there'}"
            raise BuildError(what, where=f"layer {self._layer + 1}")
        return node.entry

    def _entry(self, path: str, member: Member, number: int) -> TreeEntry:
        info = member.info
        kind = KINDS.get(info.type)
        if kind is None:
            what = f"{path} is of a kind that no layer can have: {info.type.decode(errors='replace')!r}"
            raise BuildError(what, where=f"layer {self._layer + 1}")
        target = info.linkname if kind == LINK else f"{info.devmajor}:{info.devminor}" if "device" in kind else ""
        if not (0 <= info.uid < _MOST_ID and 0 <= info.gid < _MOST_ID):
            raise BuildError(f"{path} belongs to {info.uid}:{info.gid}", where=f"layer {self._layer + 1}")
        sha256, content = self._content(path, member) if kind == FILE else ("", None)
        return TreeEntry(
            kind=kind,
            mode=stat.S_IMODE(info.mode),
            uid=info.uid,
            gid=info.gid,
            mtime=member.mtime,
            length=info.size if kind == FILE else 0,
            target=target,
            xattrs=member.xattrs,
            layer=self._layer,
            member=number,
            sha256=sha256,
            content=content,
        )

    def _content(self, path: str, member: Member) -> tuple[str, bytes | None]:
        if member.content is None:
            return "", None
        if self._keep(path):
            if member.info.size > LARGEST_KEPT:
                raise BuildError(f"{path} is too large for what it should be", where=f"layer {self._layer + 1}")
            content = member.content.read()
            return hashlib.sha256(content).hexdigest(), content
        if not self._hashes:
            return "", None
        digest = hashlib.sha256()
        while piece := member.content.read(PIECE):
            digest.update(piece)
        return digest.hexdigest(), None
