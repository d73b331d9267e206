"""What package repositories' indices list: the files of packages, by name and checksum.

The plan's state of a repository is the SHA-256 of one file (``InRelease``, ``repomd.xml``, ``NAME.db``,
``APKINDEX.tar.gz``). Everything else here is found from that file by checksums, so it does not matter who left it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from urllib.parse import urlsplit

from stages.repositories.apt_lists import hashes
from stages.repositories.decompress import unpacked

CHUNK = 1 << 20  # bytes
LARGEST_CONTROL = 16 << 20  # bytes of an apk package's description, unpacked
APT, RPM, PACMAN, APK = "apt", "rpm", "pacman", "apk"
ALGORITHMS = ("sha256", "sha512", "sha1")  # of files as a whole
_APK_CACHED = re.compile(r"\.[0-9a-f]{8}\.apk$")


@dataclass(frozen=True)
class ListedFile:
    """One package's file as an index lists it: ``digest`` is of ``algorithm``, for apk see ``apk_digest``."""

    name: str
    algorithm: str
    digest: str


@dataclass(frozen=True)
class PackageList:
    """A list of packages that a signed index names, by its path below the index's folder ("": the index itself)."""

    path: str
    algorithm: str
    digest: str


def kind_of(address: str) -> str:
    """Which kind of index an address leads to; "" for one that lists no packages' files."""
    if address.startswith(("metalink=", "mirrorlist=")):
        return RPM
    name = urlsplit(address).path.rpartition("/")[2]
    kinds = {"InRelease": APT, "Release": APT, "repomd.xml": RPM, "APKINDEX.tar.gz": APK}
    return kinds.get(name, PACMAN if name.endswith(".db") else "")


def lists_of(kind: str, digest: str, signed: bytes) -> list[PackageList]:
    """The lists of packages that a signed index names; ``digest`` is the index's own SHA-256."""
    if kind == APT:
        sums = hashes(signed).items()
        return [PackageList(path, "sha256", sha256) for path, (sha256, _) in sums if path.split("/")[-1] == "Packages"]
    if kind == RPM:
        return [part for name, part in repomd_parts(signed).items() if name == "primary"]
    return [PackageList("", "sha256", digest)]


def repomd_parts(signed: bytes) -> dict[str, PackageList]:
    """The lists that a ``repomd.xml`` names, by type; those with a checksum that nothing here knows are left out."""
    parts = {}
    for kind, body in re.findall(rb"<data\s+type=[\"']([\w.-]+)[\"']\s*>(.*?)</data>", signed, re.DOTALL):
        sum_ = re.search(rb"<checksum\s+type=[\"'](\w+)[\"']\s*>\s*([0-9a-f]+)\s*</checksum>", body)
        location = re.search(rb"<location\b[^>]*?\bhref=[\"']([^\"']+)[\"']", body)
        if sum_ and location and sum_[1].decode() in ALGORITHMS:
            path = location[1].decode("utf-8", "replace").rpartition("/")[2]
            parts[kind.decode()] = PackageList(path, sum_[1].decode(), sum_[2].decode())
    return parts


def listed_files(kind: str, file: Path) -> Iterator[ListedFile]:
    """The packages' files of a list that has been checked; raises OSError or ValueError where it cannot be read."""
    readers = {APT: _apt, RPM: _rpm, PACMAN: _pacman, APK: _apk}
    return readers[kind](file)


def cached_name(name: str) -> str:
    """The name by which a cached file is listed: apk puts a part of its checksum into the name in its cache."""
    return _APK_CACHED.sub(".apk", name)


def file_digest(file: BufferedReader, algorithm: str) -> str:
    """The digest of an open file from its beginning; "" where it has none of that kind."""
    file.seek(0)
    if algorithm == APK:
        return apk_digest(file)
    return hashlib.file_digest(file, algorithm).hexdigest()


# -- Debian ---------------------------------------------------------------------------------------------------------


def _apt(file: Path) -> Iterator[ListedFile]:
    with file.open("rb") as data:
        for stanza in _pieces(iter(lambda: data.read(CHUNK), b""), b"\n\n"):
            fields = dict(re.findall(rb"^(Package|Version|Architecture|SHA256): *(.*)$", stanza, re.MULTILINE))
            if len(fields) == 4:
                name, version, arch, sha256 = (
                    fields[key].decode("utf-8", "replace").strip()
                    for key in (b"Package", b"Version", b"Architecture", b"SHA256")
                )
                yield ListedFile(deb_name(name, version, arch), "sha256", sha256)


def deb_name(name: str, version: str, arch: str) -> str:
    """The name of a package's file in apt's cache."""
    return f"{_quoted(name, '_:')}_{_quoted(version, '_:')}_{_quoted(arch, '_:.')}.deb"


def _quoted(text: str, special: str) -> str:
    return "".join(
        f"%{byte:02x}" if chr(byte) in special or byte == 0x25 or not 0x20 < byte < 0x7F else chr(byte)
        for byte in text.encode()
    )


# -- RPM ------------------------------------------------------------------------------------------------------------


def _rpm(file: Path) -> Iterator[ListedFile]:
    with unpacked(file) as pieces:
        for package in _pieces(pieces, b"</package>"):
            sum_ = re.search(rb"<checksum\s+type=[\"'](\w+)[\"'][^>]*>\s*([0-9a-f]+)\s*</checksum>", package)
            location = re.search(rb"<location\b[^>]*?\bhref=[\"']([^\"']+)[\"']", package)
            if sum_ and location and sum_[1].decode() in ALGORITHMS:
                name = location[1].decode("utf-8", "replace").rpartition("/")[2]
                yield ListedFile(_unescaped(name), sum_[1].decode(), sum_[2].decode())


def _unescaped(text: str) -> str:
    for name, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&")):
        text = text.replace(name, character)
    return text


def _pieces(data: Iterable[bytes], end: bytes) -> Iterator[bytes]:
    """What lies between one ``end`` and the next, and after the last one."""
    rest = b""
    for chunk in data:
        *whole, rest = (rest + chunk).split(end)
        yield from whole
    yield rest


# -- pacman ---------------------------------------------------------------------------------------------------------


def _pacman(file: Path) -> Iterator[ListedFile]:
    for content in _members(file, "desc"):
        name = re.search(rb"^%FILENAME%\n(.+)$", content, re.MULTILINE)
        sum_ = re.search(rb"^%SHA256SUM%\n([0-9a-f]{64})$", content, re.MULTILINE)
        if name and sum_:
            yield ListedFile(name[1].decode("utf-8", "replace"), "sha256", sum_[1].decode())


def _members(file: Path, name: str) -> Iterator[bytes]:
    """The content of an archive's members of that file name; apk puts several archives one after another."""
    with unpacked(file) as pieces:
        try:
            with tarfile.open(fileobj=_Stream(pieces), mode="r|", ignore_zeros=True) as archive:
                for member in archive:
                    if member.name.rpartition("/")[2] == name:
                        data = archive.extractfile(member)
                        if data is not None:
                            yield data.read()
        except tarfile.TarError as error:
            raise ValueError(str(error)) from error


class _Stream(io.RawIOBase):
    """Pieces of bytes as a file that is read once."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__()
        self._pieces = iter(pieces)
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        parts, left = [], size
        while left != 0:
            if not self._rest:
                self._rest = next(self._pieces, b"")
                if not self._rest:
                    break
            part = self._rest if left < 0 else self._rest[:left]
            self._rest = self._rest[len(part) :]
            parts.append(part)
            left -= len(part) if left > 0 else 0
        return b"".join(parts)


# -- apk ------------------------------------------------------------------------------------------------------------


def _apk(file: Path) -> Iterator[ListedFile]:
    for content in _members(file, "APKINDEX"):
        for package in content.split(b"\n\n"):
            fields = dict(re.findall(rb"^([PVCS]):(.*)$", package, re.MULTILINE))
            sum_ = fields.get(b"C", b"")
            if len(fields) < 4 or not sum_.startswith(b"Q1"):
                continue
            try:
                sha1 = base64.b64decode(sum_[2:], validate=True).hex()
            except binascii.Error:
                continue
            name = f"{fields[b'P'].decode('utf-8', 'replace')}-{fields[b'V'].decode('utf-8', 'replace')}.apk"
            yield ListedFile(name, APK, f"{sha1}:{fields[b'S'].decode('ascii', 'replace')}")


def apk_digest(file: BufferedReader) -> str:
    """What an ``APKINDEX`` says of a package: the SHA-1 of the part that describes it, and the length of the whole.

    That part holds the SHA-256 of all that follows it. "" where that is another one, or this is no such package.
    """
    size = file.seek(0, io.SEEK_END)
    start = 0
    try:
        for _ in range(2):  # a signature, perhaps, and the description
            text, end = _gzip_member(file, start)
            name, content = _first_member(text)
            if name.startswith(".SIGN."):
                start = end
                continue
            datahash = re.search(rb"^datahash = ([0-9a-f]{64})$", content, re.MULTILINE)
            file.seek(end)
            if (
                name != ".PKGINFO"
                or datahash is None
                or hashlib.file_digest(file, "sha256").hexdigest() != datahash[1].decode()
            ):
                return ""
            file.seek(start)
            return f"{hashlib.sha1(file.read(end - start), usedforsecurity=False).hexdigest()}:{size}"
    except (zlib.error, tarfile.TarError, EOFError, ValueError):
        pass
    return ""


def _gzip_member(file: BufferedReader, start: int) -> tuple[bytes, int]:
    """What the gzip member at a position holds, and where it ends; raises ValueError for a large one."""
    file.seek(start)
    reader, text, end = zlib.decompressobj(wbits=31), b"", start
    while not reader.eof:
        data = file.read(CHUNK)
        if not data:
            raise EOFError
        end += len(data)
        text += reader.decompress(data, LARGEST_CONTROL + 1 - len(text))
        if len(text) > LARGEST_CONTROL or reader.unconsumed_tail:
            raise ValueError("too large")
    return text, end - len(reader.unused_data)


def _first_member(text: bytes) -> tuple[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(text), mode="r:", ignore_zeros=True) as archive:
        member = archive.next()
        data = archive.extractfile(member) if member else None
        return (member.name if member else ""), (data.read() if data else b"")
