"""Who has signed something: by what the signature says, and by GnuPG where the key is there."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

_ARMOR = re.compile(rb"-----BEGIN PGP SIGNATURE-----\r?\n(?:.+\r?\n)*?\r?\n(.*?)-----END", re.DOTALL)
_SIGNATURES = frozenset((267, 268, 278, 1002, 1005))  # tags of an RPM's signature header that hold OpenPGP packets
_SIGNATURE, _ISSUER, _FINGERPRINT = 2, 16, 33  # RFC 9580: the packet, and its subpackets


@dataclass(frozen=True)
class Signers:
    """Keys by their fingerprints (of apk: by their files' names), and the files that have them here."""

    files: tuple[Path, ...]
    fingerprints: frozenset[str]

    def knows(self, signer: str) -> bool:
        """Is this one of the keys: by its fingerprint, or by the end of one, which old signatures have."""
        return any(each == signer or (len(signer) == 16 and each.endswith(signer)) for each in self.fingerprints)

    def verify(self, signature: bytes, data: bytes | None = None) -> set[str]:
        """The fingerprints of the keys here that have made a good signature; of signed text, where there is no data."""
        with tempfile.TemporaryDirectory() as name:
            home = Path(name)
            self._gpg(home, "--import", *map(str, self.files))
            (home / "signature").write_bytes(signature)
            (home / "data").write_bytes(data or b"")
            more = [] if data is None else [str(home / "data")]
            said = self._gpg(home, "--status-fd", "1", "--verify", str(home / "signature"), *more)
        # The last word of VALIDSIG is the primary key, whichever part of it has signed (GnuPG's doc/DETAILS).
        return {line.split()[-1] for line in said.splitlines() if " VALIDSIG " in line}

    def verify_apk(self, index: bytes) -> set[str]:
        """The key's name where the signature of an apk index is good by the file of that name."""
        name = apk_signer(index)
        file = next((each for each in self.files if each.name == name), None)
        if file is None:
            return set()
        first = zlib.decompressobj(wbits=31)
        with tarfile.open(fileobj=io.BytesIO(first.decompress(index) + bytes(1024))) as archive:
            member = archive.getmembers()[0]
            signature = archive.extractfile(member)
        key = load_pem_public_key(file.read_bytes())
        kind = SHA256() if ".RSA256." in member.name else SHA1()
        if signature is None or not isinstance(key, RSAPublicKey):
            return set()
        try:
            key.verify(signature.read(), first.unused_data, PKCS1v15(), kind)
        except InvalidSignature:
            return set()
        return {name}

    def verify_rpm(self, package: bytes) -> bool:
        """Is a package's signature good by one of the keys? Without rpm nothing is."""
        with tempfile.TemporaryDirectory() as name:
            file, base = Path(name, "package.rpm"), ("rpmkeys", "--dbpath", f"{name}/db")
            file.write_bytes(package)
            try:
                subprocess.run([*base, "--import", *map(str, self.files)], check=True, capture_output=True)
                done = subprocess.run(
                    [*base, "--checksig", "-v", str(file)], capture_output=True, text=True, check=False
                )
            except (OSError, subprocess.CalledProcessError):
                return False
        return done.returncode == 0 and "ignature" in done.stdout and "NOKEY" not in done.stdout

    def _gpg(self, home: Path, *arguments: str) -> str:
        command = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--no-auto-key-retrieve", *arguments]
        return subprocess.run(command, capture_output=True, check=False).stdout.decode("utf-8", "replace")


def apk_signer(index: bytes) -> str:
    """The name of the key's file that an apk index says it is signed with; "" where it has no signature."""
    with tarfile.open(fileobj=io.BytesIO(index), ignore_zeros=True) as archive:
        first = archive.next()
    found = re.fullmatch(r"\.SIGN\.RSA(?:256)?\.(.+)", first.name if first else "")
    return found[1] if found else ""


def signature_keys(data: bytes) -> set[str]:
    """The fingerprints, or the ends of them, that signatures name: of a text, of a signature's file, of an RPM."""
    if data.startswith(b"\xed\xab\xee\xdb"):
        packets = b"".join(_rpm_signatures(data))
    elif found := _ARMOR.search(data):
        packets = base64.b64decode(re.sub(rb"\n=.{4}\s*\Z", b"", found[1].rstrip()))
    else:
        packets = data
    return {signer for tag, body in _packets(packets) if tag == _SIGNATURE and (signer := _signer(body))}


def _rpm_signatures(package: bytes) -> Iterator[bytes]:
    """The values of a package's signature header that are OpenPGP's."""
    start = 96  # of the lead
    count, _ = int.from_bytes(package[start + 8 : start + 12]), package[start + 12 : start + 16]
    store = start + 16 + 16 * count
    for number in range(count):
        entry = package[start + 16 + 16 * number : start + 32 + 16 * number]
        tag, kind, offset, length = (int.from_bytes(entry[at : at + 4]) for at in (0, 4, 8, 12))
        if tag in _SIGNATURES and kind == 7:
            yield package[store + offset : store + offset + length]


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The packets of OpenPGP data, each with its tag; what is none ends them."""
    at = 0
    while at + 1 < len(data) and data[at] & 0x80:
        head = data[at]
        if head & 0x40:
            tag, (length, width) = head & 0x3F, _length(data, at + 1)
        else:
            tag, width = head >> 2 & 0xF, 1 << (head & 3)
            length = int.from_bytes(data[at + 1 : at + 1 + width])
        begin = at + 1 + width
        yield tag, data[begin : begin + length]
        at = begin + length


def _length(data: bytes, at: int) -> tuple[int, int]:
    """A length of the new form, and how many bytes it takes."""
    first = data[at]
    if first < 192:
        return first, 1
    if first < 224:
        return (first - 192 << 8) + data[at + 1] + 192, 2
    return int.from_bytes(data[at + 1 : at + 5]), 5


def _signer(body: bytes) -> str:
    """Whom a signature names: by fingerprint where it has one, else by the end of one; "" where it names nobody."""
    if body[:1] not in (b"\x04", b"\x06"):
        return body[7:15].hex().upper() if body[:1] == b"\x03" else ""
    wide = 4 if body[0] == 6 else 2
    found, at = {}, 4
    for _ in range(2):  # the hashed ones, and the others
        length = int.from_bytes(body[at : at + wide])
        area, at = body[at + wide : at + wide + length], at + wide + length
        place = 0
        while place < len(area):
            size, width = _length(area, place)
            kind = area[place + width] & 0x7F
            found[kind] = area[place + width + 1 : place + width + size]
            place += width + size
    if _FINGERPRINT in found:
        return found[_FINGERPRINT][1:].hex().upper()
    return found.get(_ISSUER, b"").hex().upper()
