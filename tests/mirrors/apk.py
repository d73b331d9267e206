"""A synthetic mirror in Alpine's layout: packages and signed indexes of apk's version 2 format, made in Python.

A package is three gzip streams of tar archives, one after another: signature, control, data (apk-v2(5)); only the last
one has tar's end mark. An index is two: signature, and the list of packages.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

BUILT = 1_750_000_000  # seconds since 1970: when all packages were built
PREFIXES = {"sha1": ".SIGN.RSA.", "sha256": ".SIGN.RSA256."}


def archive(files: Mapping[str, bytes], *, end: bool, mode: int = 0o644) -> bytes:
    """A gzip stream of a tar archive of these files; ``end``: with tar's end mark."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(content), BUILT, mode
            if end:  # data: each file has its digest
                member.pax_headers = {"APK-TOOLS.checksum.SHA1": hashlib.sha1(content).hexdigest()}
            tar.addfile(member, io.BytesIO(content))
        written = tar.offset
    data = buffer.getvalue()
    return gzip.compress(data if end else data[:written], mtime=0)


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
        return archive({PREFIXES[digest] + self.name: _openssl(*argv, data=data)}, end=False) + data


def _openssl(*arguments: str, data: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=data, capture_output=True, check=True).stdout


@dataclass(frozen=True)
class Package:
    """A package of the synthetic mirror: its files by path, all of them programs."""

    name: str
    version: str
    files: Mapping[str, bytes] = field(repr=False)
    arch: str = "x86_64"

    def _parts(self) -> tuple[bytes, bytes]:
        """The control and the data part."""
        data = archive(self.files, end=True, mode=0o755)
        about = {
            "pkgname": self.name,
            "pkgver": self.version,
            "arch": self.arch,
            "size": str(sum(map(len, self.files.values()))),
            "builddate": str(BUILT),
            "datahash": hashlib.sha256(data).hexdigest(),
        }
        text = "# synthetic mirror\n" + "".join(f"{key} = {value}\n" for key, value in about.items())
        return archive({".PKGINFO": text.encode()}, end=False), data

    def write(self, folder: Path, key: Key) -> str:
        """Write ``NAME-VERSION.apk``; returns the package's paragraph of the index."""
        control, data = self._parts()
        package = key.sign(control) + data
        (folder / f"{self.name}-{self.version}.apk").write_bytes(package)
        checksum = base64.b64encode(hashlib.sha1(control).digest()).decode()
        lines = {
            "C": f"Q1{checksum}",
            "P": self.name,
            "V": self.version,
            "A": self.arch,
            "S": len(package),
            "T": "synthetic mirror",
            "t": BUILT,
        }
        return "".join(f"{letter}:{value}\n" for letter, value in lines.items())


def write_repository(folder: Path, packages: Iterable[Package], key: Key, digest: str = "sha1") -> Path:
    """Write packages and their signed index into ``folder`` (``.../main/x86_64``); returns the index."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join(package.write(folder, key) for package in packages)
    index = folder / "APKINDEX.tar.gz"
    listed = archive({"DESCRIPTION": b"synthetic mirror\n", "APKINDEX": text.encode()}, end=True)
    index.write_bytes(key.sign(listed, digest))
    return index
