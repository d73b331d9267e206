"""What is installed in a tree, read from its own package databases; and which system it says it is.

The tree is the root folder of a system that others wrote, and no program of it runs. Links in it are followed as the
system itself would follow them, with the tree as the root, so that none leads to a file of this machine; whatever is
not a plain file at the end is taken as not there. The tree must not change meanwhile.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from blockdev.core.errors import BuildError
from blockdev.core.rooted_path import inside
from stages.tree import rpm_database

LARGEST = 256 << 20  # bytes; a database is read whole, and no real one comes near
VARDB = "var/db/pkg"  # portage's
BLANK_LINES = re.compile(r"\n(?:[ \t\r]*\n)+")
ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=")
# What a package manager can have for a package's name; Gentoo's has a category before it.
NAME = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._+-]*/)?[A-Za-z0-9@_.][A-Za-z0-9@._+-]*\Z")
EBUILD = re.compile(
    r"(?P<name>[A-Za-z0-9_][A-Za-z0-9_+-]*?)-(?P<version>\d+(?:\.\d+)*[a-z]?(?:_(?:alpha|beta|pre|rc|p)\d*)*(?:-r\d+)?)\Z"
)
ESCAPED = re.compile(r"\\(.)")
ESCAPED_IN_QUOTES = re.compile(r"\\([\\\"$`])")


@dataclass(frozen=True, order=True)
class Package:
    """An installed package.

    ``kind`` is the type of its package URL (``deb``, ``rpm``, ``apk``, ``alpm``, ``ebuild``), ``architecture`` its
    distribution's own name, ``bytes`` what it takes when installed. ``source`` and ``source_version`` name what it was
    built from. A text that the database does not have is empty.
    """

    kind: str
    name: str
    version: str
    architecture: str
    source: str
    source_version: str
    maintainer: str = ""
    homepage: str = ""
    summary: str = ""
    section: str = ""
    bytes: int = 0

    def to_json(self) -> dict[str, str | int]:
        """The package as a mapping for a JSON document, in the order of the fields."""
        return asdict(self)


def read(tree: Path) -> tuple[Package, ...]:
    """The installed packages of the tree by (name, architecture); a tree without a known database has none.

    Raises BuildError for a file that is too large to be one, and for an RPM database that cannot be read.
    """
    readers = (_dpkg, _apk, _pacman, _rpm, _portage)
    packages = {package for reader in readers for package in reader(tree) if NAME.match(package.name)}
    return tuple(sorted(packages, key=lambda package: (package.name, package.architecture, package)))


def os_release(tree: Path) -> dict[str, str]:
    """The tree's /etc/os-release, or else /usr/lib/os-release, by os-release(5); empty where there is neither."""
    for path in ("etc/os-release", "usr/lib/os-release"):
        text = _text(tree, path)
        if text is not None:
            return parse_os_release(text)
    return {}


def parse_os_release(text: str) -> dict[str, str]:
    """The assignments of an os-release file; lines that are none are passed over, the last of a name counts."""
    matches = (ASSIGNMENT.match(line.strip()) for line in text.split("\n"))
    return {match[1]: _unquoted(match.string[match.end() :]) for match in matches if match}


def _unquoted(value: str) -> str:
    quote = value[:1]
    if quote in ("'", '"') and len(value) > 1 and value.endswith(quote):
        inner = value[1:-1]
        return inner if quote == "'" else ESCAPED_IN_QUOTES.sub(r"\1", inner)
    return ESCAPED.sub(r"\1", value)


def _dpkg(tree: Path) -> Iterator[Package]:
    """Packages of dpkg: the one file ``status``, and the files of ``status.d`` that images without dpkg have."""
    for stanza in _stanzas(_text(tree, "var/lib/dpkg/status")):
        package = _deb(_deb_fields(stanza), "")
        if package:
            yield package
    for name in _names(tree, "var/lib/dpkg/status.d"):
        if name.endswith(".md5sums"):
            continue
        for stanza in _stanzas(_text(tree, f"var/lib/dpkg/status.d/{name}")):
            package = _deb(_deb_fields(stanza), "install ok installed")  # that a file is there says it all
            if package:
                yield package


def _deb_fields(stanza: str) -> dict[str, str]:
    """The fields of a control stanza by lower-case name (they are case-insensitive), each with its first line."""
    fields: dict[str, str] = {}
    for line in stanza.split("\n"):
        if line[:1] not in (" ", "\t", "#"):
            name, _, value = line.partition(":")
            fields.setdefault(name.lower(), value.strip())
    return fields


def _deb(fields: Mapping[str, str], status: str) -> Package | None:
    """A package of dpkg, or None for one that is not (or only half) installed."""
    name, version = fields.get("package", ""), fields.get("version", "")
    if not name or not fields.get("status", status).endswith(" installed"):
        return None
    source, _, rest = fields.get("source", "").partition(" ")  # NAME, or NAME (VERSION) where the version is another
    return Package(
        kind="deb",
        name=name,
        version=version,
        architecture=fields.get("architecture", ""),
        source=source or name,
        source_version=rest.strip().strip("()").strip() or version,
        maintainer=fields.get("maintainer", ""),
        homepage=fields.get("homepage", ""),
        summary=fields.get("description", ""),
        section=fields.get("section", ""),
        bytes=_number(fields.get("installed-size", "")) * 1024,
    )


def _apk(tree: Path) -> Iterator[Package]:
    """Packages of apk; its fields have one letter, in which case matters."""
    for path in ("lib/apk/db/installed", "usr/lib/apk/db/installed"):
        for stanza in _stanzas(_text(tree, path)):
            fields: dict[str, str] = {}
            for line in stanza.split("\n"):
                name, _, value = line.partition(":")
                fields.setdefault(name, value.strip())
            if "P" in fields:
                yield Package(
                    kind="apk",
                    name=fields["P"],
                    version=fields.get("V", ""),
                    architecture=fields.get("A", ""),
                    source=fields.get("o") or fields["P"],
                    source_version=fields.get("V", ""),
                    maintainer=fields.get("m", ""),
                    homepage=fields.get("U", ""),
                    summary=fields.get("T", ""),
                    bytes=_number(fields.get("I", "")),
                )


def _pacman(tree: Path) -> Iterator[Package]:
    """Packages of pacman: a folder for each, whose file ``desc`` has ``%NAME%`` and the values in the lines below."""
    for folder in _names(tree, "var/lib/pacman/local"):
        fields: dict[str, str] = {}
        for block in _stanzas(_text(tree, f"var/lib/pacman/local/{folder}/desc")):
            name, _, values = block.strip().partition("\n")
            fields.setdefault(name.strip(), values.partition("\n")[0].strip())
        if "%NAME%" in fields:
            yield Package(
                kind="alpm",
                name=fields["%NAME%"],
                version=fields.get("%VERSION%", ""),
                architecture=fields.get("%ARCH%", ""),
                source=fields.get("%BASE%") or fields["%NAME%"],
                source_version=fields.get("%VERSION%", ""),
                maintainer=fields.get("%PACKAGER%", ""),
                homepage=fields.get("%URL%", ""),
                summary=fields.get("%DESC%", ""),
                bytes=_number(fields.get("%SIZE%", "")),
            )


def _rpm(tree: Path) -> Iterator[Package]:
    """Packages of RPM; a version is ``[EPOCH:]VERSION-RELEASE``."""
    for folder in rpm_database.FOLDERS:
        path = inside(tree, folder)
        for header in rpm_database.read(path, f"/{folder}") if path and path.is_dir() else ():
            built_from = header.text("source").removesuffix(".src.rpm").removesuffix(".nosrc.rpm")
            source, _, rest = built_from.rpartition("-")[0].rpartition("-")
            yield Package(
                kind="rpm",
                name=header.text("name"),
                version=header.version,
                architecture=header.text("arch"),
                source=source or header.text("name"),
                source_version=f"{rest}-{built_from.rpartition('-')[2]}" if source else header.version,
                maintainer=header.text("packager") or header.text("vendor"),
                homepage=header.text("url"),
                summary=header.text("summary"),
                section=header.text("group"),
                bytes=header.number("size"),
            )


def _portage(tree: Path) -> Iterator[Package]:
    """Packages of portage: a folder CATEGORY/NAME-VERSION for each (PMS, section 3.2), with a file for each value."""
    for category in _names(tree, VARDB):
        for folder in _names(tree, f"{VARDB}/{category}"):
            match = EBUILD.match(folder)
            if not match:
                continue
            values = {
                key: (_text(tree, f"{VARDB}/{category}/{folder}/{key}") or "").strip()
                for key in ("CHOST", "DESCRIPTION", "HOMEPAGE", "SIZE")
            }
            yield Package(
                kind="ebuild",
                name=f"{category}/{match['name']}",
                version=match["version"],
                architecture=values["CHOST"].partition("-")[0],
                source=f"{category}/{match['name']}",
                source_version=match["version"],
                homepage=values["HOMEPAGE"].partition(" ")[0],
                summary=values["DESCRIPTION"],
                section=category,
                bytes=_number(values["SIZE"]),
            )


def _stanzas(text: str | None) -> Iterable[str]:
    return BLANK_LINES.split(text) if text else ()


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else 0


def _text(tree: Path, path: str) -> str | None:
    """The text of a plain file of the tree, odd bytes replaced; None where there is none that can be read."""
    file_path = inside(tree, path)
    try:
        if file_path is None or not stat.S_ISREG(file_path.lstat().st_mode):  # opening a pipe would wait for ever
            return None
        with os.fdopen(os.open(file_path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            if os.fstat(file.fileno()).st_size > LARGEST:
                what = f"/{path} of the tree has more than {LARGEST >> 20} MB, too many for what it should be"
                raise BuildError(what, hint="find the stage that writes it: dib-ctr shell opens the tree")
            return file.read(LARGEST).decode("utf-8", "replace")
    except OSError:
        return None


def _names(tree: Path, path: str) -> list[str]:
    """The names in a folder of the tree, sorted; none where it is no folder."""
    folder = inside(tree, path)
    try:
        return sorted(each.name for each in folder.iterdir()) if folder and stat.S_ISDIR(folder.lstat().st_mode) else []
    except OSError:
        return []
