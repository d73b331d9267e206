"""Fetches Alpine's static apk from a repository, believing nothing that a key or a signed index does not vouch for.

    apk_static.py REPOSITORY KEYS ARCH PROGRAM

REPOSITORY is a repository's address (below it lies ``ARCH/APKINDEX.tar.gz``), KEYS the folder of trusted public keys,
PROGRAM the file to write. The chain (apk-v2(5)): a key signs the index, the index has the checksum of the package's
control part, the control part has the SHA-256 of the package's data. Exit status 1, with a sentence, where it breaks.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import io
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TIMEOUT = 30.0  # seconds
ATTEMPTS = 3
PACKAGE = "apk-tools-static"
PROGRAM = "apk.static"
# What a signature's file name says of it: the digest that was signed.
SIGNATURES = {".SIGN.RSA.": "sha1", ".SIGN.RSA256.": "sha256", ".SIGN.RSA512.": "sha512"}
CHECKSUMS = {"Q1": "sha1", "Q2": "sha256"}
SIGNATURE_SIZE, CONTROL_SIZE = 1 << 16, 1 << 24  # bytes, unpacked: more is no signature, no control part


class Refused(Exception):  # noqa: N818 - it says what happened
    """What was read is not what was signed, or cannot be read."""


@dataclass(frozen=True)
class Listed:
    """What a signed index says of a package; ``size`` in bytes."""

    name: str
    version: str
    checksum: str
    size: int

    @property
    def file(self) -> str:
        """The package's file name, beside the index."""
        return f"{self.name}-{self.version}.apk"


def split(data: bytes, limit: int) -> tuple[bytes, bytes, bytes]:
    """The first gzip stream as it lies there, its content (at most ``limit`` bytes), and what follows it."""
    inflate = zlib.decompressobj(wbits=31)
    try:
        content = inflate.decompress(data, limit)
    except zlib.error as error:
        raise Refused(f"it is no gzip stream ({error})") from error
    if not inflate.eof:
        raise Refused("it is cut off, or bigger than it can be")
    rest = inflate.unused_data
    return data[: len(data) - len(rest)], content, rest


def members(archive: bytes) -> dict[str, bytes]:
    """The regular files of a tar archive; apk's parts have no end mark, so that they can follow each other."""
    contents = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), ignore_zeros=True) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isfile() else None
                if file is not None:
                    contents[member.name] = file.read()
    except tarfile.TarError as error:
        raise Refused(f"it holds no tar archive ({error})") from error
    return contents


def signed_part(data: bytes, keys: Path) -> bytes:
    """What follows the signature, if a key of the folder ``keys`` signed it; raises Refused."""
    _, content, signed = split(data, SIGNATURE_SIZE)
    signatures = [
        (name, name.removeprefix(prefix), digest, signature)
        for name, signature in members(content).items()
        for prefix, digest in SIGNATURES.items()
        if name.startswith(prefix)
    ]
    if not signatures:
        raise Refused("it is not signed")
    usable = [match for match in signatures if re.fullmatch(r"[\w@.+-]+", match[1]) and (keys / match[1]).is_file()]
    if not usable:
        raise Refused(f"the key that signed it is not among those in {keys}: {signatures[0][1]}")
    if not any(_verifies(keys / key, digest, signature, signed) for _, key, digest, signature in usable):
        raise Refused(f"its signature is not valid for the key {usable[0][1]}")
    return signed


def _verifies(key: Path, digest: str, signature: bytes, signed: bytes) -> bool:
    with tempfile.NamedTemporaryFile(prefix="signature-") as file:
        file.write(signature)
        file.flush()
        argv = ["openssl", "dgst", f"-{digest}", "-verify", str(key), "-signature", file.name]
        return subprocess.run(argv, input=signed, capture_output=True, check=False).returncode == 0


def listed(index: bytes, name: str) -> Listed:
    """What the index (verified) says of a package; of several versions the one built last. Raises Refused."""
    try:
        text = members(gzip.decompress(index))["APKINDEX"].decode()
    except (OSError, EOFError, zlib.error, KeyError, UnicodeDecodeError) as error:
        raise Refused(f"there is no list of packages in it ({error})") from error
    packages: list[tuple[int, Listed]] = []
    for paragraph in text.split("\n\n"):
        entry = {line[0]: line[2:] for line in paragraph.splitlines() if line[1:2] == ":"}
        if entry.get("P") == name:
            try:
                package = Listed(name, entry["V"], entry["C"], int(entry["S"]))
                packages.append((int(entry.get("t", "0")), package))
            except (KeyError, ValueError) as error:
                raise Refused(f"what it says of {name} is not complete ({error})") from error
    if not packages:
        raise Refused(f"it lists no package {name}")
    return max(packages, key=lambda dated: dated[0])[1]


def verified_data(package: bytes, entry: Listed) -> bytes:
    """The data part of a package (gzip), if all of it is what the index says; raises Refused."""
    if len(package) != entry.size:
        raise Refused(f"it has not the {entry.size} bytes that the index says")
    control, content, data = split(package, CONTROL_SIZE)
    if any(name.startswith(".SIGN.") for name in members(content)):  # the index is signed, and has the checksum
        control, content, data = split(data, CONTROL_SIZE)
    digest = CHECKSUMS.get(entry.checksum[:2])
    if digest is None:
        raise Refused(f"the index has a checksum of an unknown kind: {entry.checksum}")
    if base64.b64encode(hashlib.new(digest, control).digest()).decode() != entry.checksum[2:]:
        raise Refused("its control part is not the one that the index has the checksum of")
    about = _fields(members(content).get(".PKGINFO", b""))
    if about.get("datahash") != hashlib.sha256(data).hexdigest():
        raise Refused("its data are not those that its control part has the digest of")
    return data


def _fields(text: bytes) -> Mapping[str, str]:
    lines = (line.partition(" = ") for line in text.decode("utf-8", "replace").splitlines())
    return {key: value for key, _, value in lines}


def program_of(data: bytes) -> bytes:
    """The static apk in a package's verified data; raises Refused."""
    try:
        files = members(gzip.decompress(data))
    except (OSError, EOFError, zlib.error) as error:
        raise Refused(f"its data cannot be unpacked ({error})") from error
    contents = [content for name, content in files.items() if name.rpartition("/")[2] == PROGRAM]
    if not contents:
        raise Refused(f"there is no {PROGRAM} in it")
    return contents[0]


def fetch(address: str, limit: int = -1) -> bytes:
    """What lies at an address, at most ``limit`` bytes and one more; raises Refused."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT) as answer:
                read: bytes = answer.read() if limit < 0 else answer.read(limit + 1)
                return read
        except (OSError, ValueError, http.client.HTTPException) as error:
            gone = isinstance(error, urllib.error.HTTPError) and error.code in (403, 404, 410)
            if gone or attempt == ATTEMPTS:
                raise Refused(f"it cannot be fetched ({error})") from error
            time.sleep(0.5 * attempt)
    raise AssertionError("the loop returns or raises")


def main(repository: str, keys: str, arch: str, program: str) -> str:
    """Write the program; returns its package's name and version. Exits with a sentence where something is refused."""
    folder = f"{repository.rstrip('/')}/{arch}"
    address = f"{folder}/APKINDEX.tar.gz"
    try:
        entry = listed(signed_part(fetch(address), Path(keys)), PACKAGE)
        address = f"{folder}/{entry.file}"
        data = verified_data(fetch(address, entry.size), entry)
        Path(program).write_bytes(program_of(data))
    except Refused as refused:
        hint = "Try another mirror (DIB_DISTRIBUTION_MIRROR) or newer keys (DIB_ALPINE_KEYS)."
        sys.exit(f"apk: {address} is refused: {refused}.\n{hint}")
    Path(program).chmod(0o755)
    return f"{entry.name} {entry.version}"


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit("usage: apk_static.py REPOSITORY KEYS ARCH PROGRAM")
    print(main(*sys.argv[1:]))
