"""Packages and signed indexes of apk's version 2 format, made in Python as abuild and ``apk index`` make them.

A package is three gzip streams of tar archives, one after another: signature, control, data (apk-v2(5)); only the last
one has tar's end mark. Each folder of its files is an entry of its own, before what is in it: apk refuses a file
without ("no dirent in archive"). Files and links have their SHA-1 in a PAX header. The control part has the scripts, by
what apk calls them (``.post-install``, ``.trigger``). An index is two streams: signature, and the list of packages.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import os
import subprocess
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

BUILT = 1_750_000_000  # seconds since 1970: when all packages were built
PREFIXES = {"sha1": ".SIGN.RSA.", "sha256": ".SIGN.RSA256."}
CHECKSUM = "APK-TOOLS.checksum.SHA1"
LINK = b"->"  # begins the content of a file that is a link


def archive(files: Mapping[str, bytes], *, end: bool = False, mode: int = 0o644) -> bytes:
    """A gzip stream of a tar archive of these files; ``end``: with tar's end mark."""
    return _packed(((_member(name, content, mode), content) for name, content in files.items()), end=end)


def _packed(members: Iterable[tuple[tarfile.TarInfo, bytes]], *, end: bool) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
        written = tar.offset
    data = buffer.getvalue()
    return gzip.compress(data if end else data[:written], compresslevel=1, mtime=0)


def _member(name: str, content: bytes, mode: int, owner: str = "root") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mtime, member.mode, member.uname, member.gname = BUILT, mode, owner, owner
    if content.startswith(LINK):
        member.type, member.linkname = tarfile.SYMTYPE, content.removeprefix(LINK).decode()
    else:
        member.size = len(content)
    return member


@dataclass(frozen=True)
class Key:
    """A developer's key in a folder: the private one, and the public one under the name that signatures have."""

    folder: Path
    name: str = "synthetic-mirror-00000001.rsa.pub"

    @property
    def public(self) -> Path:
        """The folder that has the public key only."""
        return self.folder / "keys"

    def made(self) -> Key:
        """This key, made where it is not there."""
        if not self._private.exists():
            self.public.mkdir(parents=True)
            _openssl("genrsa", "-out", str(self._private), "2048")
            _openssl("rsa", "-in", str(self._private), "-pubout", "-out", str(self.public / self.name))
        return self

    @property
    def _private(self) -> Path:
        return self.folder / "private.rsa"

    def sign(self, data: bytes, digest: str = "sha1") -> bytes:
        """The data with their signature before them."""
        argv = ("dgst", f"-{digest}", "-sign", str(self._private))
        return archive({PREFIXES[digest] + self.name: _openssl(*argv, data=data)}) + data


def _openssl(*arguments: str, data: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=data, capture_output=True, check=True).stdout


@dataclass(frozen=True)
class Sliced:
    """Paths of a tree as a package has them: ``paths`` are theirs by those of the tree."""

    root: Path
    paths: Mapping[str, str]


@dataclass(frozen=True)
class Package:
    """A package: its files by path (programs; with :data:`LINK` links), and what it takes of a tree.

    ``scripts`` are by apk's names (``.post-install``), ``triggers`` the folders that run ``.trigger``. ``owners`` are
    the users of files. Without ``directories`` it is as apk refuses it.
    """

    name: str
    version: str
    files: Mapping[str, bytes] = field(repr=False)
    arch: str = "x86_64"
    depends: Sequence[str] = ()
    provides: Sequence[str] = ()
    priority: int = 0  # among those that provide the same without a version: apk takes none of them unasked without
    scripts: Mapping[str, str] = field(default_factory=dict)
    triggers: Sequence[str] = ()
    owners: Mapping[str, str] = field(default_factory=dict)
    sliced: Sliced | None = None
    folders: Mapping[str, int] = field(default_factory=dict)  # by path, with their modes
    directories: bool = True

    def _data(self) -> list[tuple[tarfile.TarInfo, bytes]]:
        """The data part's entries, by path."""
        found = {
            path: (_member(path, content, 0o755, self.owners.get(path, "root")), content)
            for path, content in self.files.items()
        }
        for path, mode in self.folders.items():
            found[path] = (_folder(path, mode), b"")
        if self.sliced:
            found |= {
                member.name: (member, content) for member, content in _of_tree(self.sliced) if member.name not in found
            }
        for path in list(found):
            for parent in PurePosixPath(path).parents:
                found.setdefault(str(parent), (_folder(str(parent)), b""))
        found.pop(".", None)
        for member, content in found.values():
            hashed = member.linkname.encode() if member.issym() else content
            if member.isreg() or member.issym():
                member.pax_headers = {CHECKSUM: hashlib.sha1(hashed).hexdigest()}
        entries = (found[path] for path in sorted(found))
        return [(member, content) for member, content in entries if self.directories or not member.isdir()]

    def _parts(self) -> tuple[bytes, bytes, int]:
        """The control and the data part, and the bytes of all files."""
        members = self._data()
        size = sum(member.size for member, _ in members)
        data = _packed(members, end=True)
        about = [
            ("pkgname", self.name),
            ("pkgver", self.version),
            ("pkgdesc", "synthetic mirror"),
            ("url", "http://mirror.invalid"),
            ("builddate", str(BUILT)),
            ("packager", "Synthetic Packager <synthetic@mirror.invalid>"),
            ("size", str(size)),
            ("arch", self.arch),
            ("origin", self.name),
            ("license", "MIT"),
            *(("depend", other) for other in self.depends),
            *(("provides", other) for other in self.provides),
            *((("provider_priority", str(self.priority)),) if self.priority else ()),
            *((("triggers", " ".join(self.triggers)),) if self.triggers else ()),
            ("datahash", hashlib.sha256(data).hexdigest()),
        ]
        text = "# synthetic mirror\n" + "".join(f"{key} = {value}\n" for key, value in about)
        control = {".PKGINFO": text.encode()} | {name: script.encode() for name, script in self.scripts.items()}
        return archive(control, mode=0o755), data, size

    def write(self, folder: Path, key: Key) -> str:
        """Write ``NAME-VERSION.apk``; returns the package's paragraph of the index."""
        control, data, size = self._parts()
        package = key.sign(control) + data
        (folder / f"{self.name}-{self.version}.apk").write_bytes(package)
        checksum = base64.b64encode(hashlib.sha1(control).digest()).decode()
        lines = {
            "C": f"Q1{checksum}",
            "P": self.name,
            "V": self.version,
            "A": self.arch,
            "S": len(package),
            "I": size,
            "T": "synthetic mirror",
            "U": "http://mirror.invalid",
            "L": "MIT",
            "o": self.name,
            "t": BUILT,
            "D": " ".join(self.depends),
            "p": " ".join(self.provides),
            "k": self.priority or "",
        }
        return "".join(f"{letter}:{value}\n" for letter, value in lines.items() if value != "")


def _folder(path: str, mode: int = 0o755) -> tarfile.TarInfo:
    member = _member(path, b"", mode)
    member.type = tarfile.DIRTYPE
    return member


def _of_tree(sliced: Sliced) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """A tree's files as entries of a package, with their owners and modes; other names of one file are hard links."""
    seen: dict[tuple[int, int], str] = {}
    for place, name in sorted(sliced.paths.items(), key=lambda pair: pair[1]):
        path = sliced.root / place
        status = path.lstat()
        if path.is_symlink():
            target = str(path.readlink())
            if place != name:  # it lies elsewhere than in the tree
                target = os.path.normpath(f"/{place}/../{target}")
            member, content = _member(name, LINK + target.encode(), 0o777), b""
        elif path.is_dir():
            member, content = _folder(name), b""
        else:
            content = path.read_bytes()
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), BUILT
            if (first := seen.setdefault((status.st_dev, status.st_ino), name)) != name:
                member.type, member.linkname, member.size, content = tarfile.LNKTYPE, first, 0, b""
        if not path.is_symlink():
            member.mode = status.st_mode & 0o7777
            member.uid, member.gid = status.st_uid, status.st_gid
            member.uname = member.gname = ""
        yield member, content


def write_repository(folder: Path, packages: Iterable[Package], key: Key, digest: str = "sha1") -> Path:
    """Write packages and their signed index into ``folder`` (``.../main/x86_64``); returns the index."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join(package.write(folder, key) for package in packages)
    index = folder / "APKINDEX.tar.gz"
    listed = archive({"DESCRIPTION": b"synthetic mirror\n", "APKINDEX": f"{text}\n".encode()}, end=True)
    index.write_bytes(key.sign(listed, digest))
    return index


def sign_again(index: Path, key: Key) -> None:
    """Have another key sign an index."""
    inflate = zlib.decompressobj(wbits=31)  # the first stream is the signature
    inflate.decompress(index.read_bytes())
    index.write_bytes(key.sign(inflate.unused_data))
