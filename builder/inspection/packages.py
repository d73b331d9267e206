"""Which package owns which file of an image's tree, as the package databases in the tree tell.

Known are dpkg (its lists of files; in images without dpkg the lists of checksums), apk, pacman, portage and RPM.
"""

from __future__ import annotations

import posixpath
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.errors import BuildError
from builder.inspection.tree import FOLDER, Tree
from stages.tree import package_database, rpm_database

DPKG = "/var/lib/dpkg"
APK = ("/lib/apk/db/installed", "/usr/lib/apk/db/installed")
PACMAN = "/var/lib/pacman/local"
VARDB = f"/{package_database.VARDB}"
RPM = tuple(f"/{folder}" for folder in rpm_database.FOLDERS)
# The end of the path is enough: on the way may be a link that is not known yet.
DATABASE = re.compile(
    r"/dpkg/(status|diversions|status\.d/[^/]+|info/[^/]+\.list)\Z|/apk/db/installed\Z|/pacman/local/[^/]+/(desc|files)\Z|"
    r"/db/pkg/[^/]+/[^/]+/(CHOST|CONTENTS|DESCRIPTION|HOMEPAGE|SIZE)\Z|"
    r"/rpm/(rpmdb\.sqlite(-wal)?|Packages\.db)\Z"
)


@dataclass(frozen=True, order=True)
class Installed:
    """An installed package under the name that tells it from the others (``libc6``, or ``libc6:i386`` if need be)."""

    name: str
    version: str
    kind: str


@dataclass(frozen=True)
class Ownership:
    """The installed packages, and by the path of a file (as it is in the tree) the name of the package that owns it.

    ``unread`` are databases that are there and could not be read.
    """

    packages: tuple[Installed, ...]
    owners: Mapping[str, str]
    unread: tuple[str, ...] = ()


def is_database(path: str) -> bool:
    """Must the content of this file be kept for :func:`ownership`."""
    return DATABASE.search(path) is not None


def ownership(tree: Tree) -> Ownership:
    """Read the databases of a tree whose contents were kept as :func:`is_database` says."""
    read: tuple[package_database.Package, ...] = ()
    headers: list[rpm_database.Header] = []
    unread: tuple[str, ...] = ()
    with _databases(tree) as folder:
        try:
            read, headers = package_database.read(folder), _rpm_headers(folder)
        except BuildError as error:
            unread = (error.where,)
    names = _names(read)
    owners: dict[str, str] = {}
    for kind, name, architecture, paths in (*_dpkg(tree), *_apk(tree), *_pacman(tree), *_portage(tree), *_rpm(headers)):
        label = names.get((kind, name, architecture)) or names.get((kind, name, ""))
        if label is None:
            continue  # removed, its configuration is still there
        for path in paths:
            path_in_tree = tree.resolved_path(path)
            entry = tree.entries.get(path_in_tree)
            if entry is not None and entry.kind != FOLDER:
                owners.setdefault(path_in_tree, label)
    packages = {names[package.kind, package.name, package.architecture]: package for package in read}
    installed = tuple(sorted(Installed(name, each.version, each.kind) for name, each in packages.items()))
    return Ownership(installed, owners, unread)


def _names(packages: Iterable[package_database.Package]) -> dict[tuple[str, str, str], str]:
    """What each (kind, name, architecture) is called; without an architecture the one or the first of that name."""
    names: dict[tuple[str, str, str], str] = {}
    for package in packages:
        key = (package.kind, package.name)
        label = f"{package.name}:{package.architecture}" if (*key, "") in names else package.name
        names.setdefault((*key, ""), label)
        names[*key, package.architecture] = label
    return names


# -- the databases' files ----------------------------------------------------------------------------


def _content(tree: Tree, path: str) -> bytes | None:
    entry = tree.entries.get(tree.resolved_path(path))
    return entry.content if entry is not None else None


def _text(tree: Tree, path: str) -> str:
    """A database's file; names in the tree are decoded in the same way."""
    return (_content(tree, path) or b"").decode("utf-8", "surrogateescape")


def _below(tree: Tree, folder: str) -> list[str]:
    """The names in a folder."""
    return tree.names(tree.folder(folder))


@contextmanager
def _databases(tree: Tree) -> Iterator[Path]:
    """A tree that has the databases alone, for what reads them in a build."""
    paths = [f"{DPKG}/status", *APK]
    paths += [f"{DPKG}/status.d/{name}" for name in _below(tree, f"{DPKG}/status.d")]
    paths += [f"{PACMAN}/{name}/desc" for name in _below(tree, PACMAN)]
    paths += [f"{base}/{name}" for base in RPM for name in _below(tree, base)]
    folders = [
        f"{VARDB}/{category}/{name}" for category in _below(tree, VARDB) for name in _below(tree, f"{VARDB}/{category}")
    ]
    paths += [f"{folder}/{name}" for folder in folders for name in ("CHOST", "DESCRIPTION", "HOMEPAGE", "SIZE")]
    with tempfile.TemporaryDirectory(prefix="dib-ctr-packages-") as folder:
        for path in paths:
            content = _content(tree, path)
            if content is not None:
                file = Path(folder + path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        yield Path(folder)


Owned = tuple[str, str, str, Iterable[str]]  # kind, name, architecture, paths


def _dpkg(tree: Tree) -> Iterator[Owned]:
    diversions = _diversions(_text(tree, f"{DPKG}/diversions"))
    for file in _below(tree, f"{DPKG}/info"):
        if file.endswith(".list"):
            name, _, architecture = file.removesuffix(".list").partition(":")
            paths = _text(tree, f"{DPKG}/info/{file}").split("\n")
            yield "deb", name, architecture, [_diverted(path, name, diversions) for path in paths if path]
    for file in _below(tree, f"{DPKG}/status.d"):
        if file.endswith(".md5sums"):
            lines = _text(tree, f"{DPKG}/status.d/{file}").split("\n")
            yield "deb", file.removesuffix(".md5sums"), "", [line[32:].strip() for line in lines if len(line) > 34]


def _diversions(text: str) -> dict[str, tuple[str, str]]:
    """Where a path was diverted to, and for which package (dpkg-divert(1): three lines each)."""
    lines = text.split("\n")
    return {path: (to, owner) for path, to, owner in zip(lines[::3], lines[1::3], lines[2::3], strict=False)}


def _diverted(path: str, package: str, diversions: Mapping[str, tuple[str, str]]) -> str:
    to, owner = diversions.get(path, (path, package))
    return path if owner == package else to


def _apk(tree: Tree) -> Iterator[Owned]:
    for database in APK:
        for stanza in _text(tree, database).split("\n\n"):
            name = architecture = folder = ""
            paths = []
            for line in stanza.split("\n"):
                letter, _, value = line.partition(":")
                if letter == "P":
                    name = value
                elif letter == "A":
                    architecture = value
                elif letter == "F":
                    folder = value
                elif letter == "R":
                    paths.append(posixpath.join(folder, value))
            yield "apk", name, architecture, paths


def _rpm_headers(folder: Path) -> list[rpm_database.Header]:
    return [header for path in RPM for header in rpm_database.read(Path(f"{folder}{path}"), path)]


def _rpm(headers: Iterable[rpm_database.Header]) -> Iterator[Owned]:
    for header in headers:
        yield "rpm", header.text("name"), header.text("arch"), header.paths


def _pacman(tree: Tree) -> Iterator[Owned]:
    for name in _below(tree, PACMAN):
        _, _, rest = _text(tree, f"{PACMAN}/{name}/files").partition("%FILES%\n")
        paths = rest.partition("\n\n")[0].split("\n")
        yield "alpm", name.rsplit("-", 2)[0], "", [path for path in paths if path]  # the folder is NAME-VERSION-RELEASE


def _portage(tree: Tree) -> Iterator[Owned]:
    for category in _below(tree, VARDB):
        for name in _below(tree, f"{VARDB}/{category}"):
            match = package_database.EBUILD.match(name)
            if match:
                contents = _text(tree, f"{VARDB}/{category}/{name}/CONTENTS").split("\n")
                yield (
                    "ebuild",
                    f"{category}/{match['name']}",
                    "",
                    [path for line in contents if (path := _recorded(line))],
                )


def _recorded(line: str) -> str:
    """The path of a line of CONTENTS: ``obj PATH MD5 TIME`` or ``sym PATH -> TARGET TIME``; empty for a folder."""
    kind, _, rest = line.partition(" ")
    if kind == "obj":
        return rest.rsplit(" ", 2)[0]
    return rest.partition(" -> ")[0] if kind == "sym" else ""
