"""Gives packages that are signed as RPM v6 alone a signature that rpm 4 reads.

    rpm_signatures.py unreadable FOLDER        the names of the packages below FOLDER that are signed as v6 alone
    rpm_signatures.py translate FROM TO        the packages in the folder FROM as packages in the new folder TO

A v6 signature (tag OPENPGP of a package's signature header, rpm's docs/manual/format_v6.md) is an OpenPGP signature of
the same bytes as one of v4 (tags RSA and DSA): the package's header, which has the payload's digest. Nothing is
checked here: the same signature is put where rpm 4 looks for it, and that checks it as any other. Packages with a
signature of v4 stay as they are. Exit status 1, with a sentence, for a package that cannot be read, or whose
signatures rpm 4 cannot read (OpenPGP's own version 6, as of post-quantum keys).
"""

from __future__ import annotations

import base64
import binascii
import os
import shutil
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

LEAD = b"\xed\xab\xee\xdb"
LEAD_SIZE = 96  # bytes
MAGIC = b"\x8e\xad\xe8\x01\0\0\0\0"
MOST_ENTRIES, MOST_DATA = 1 << 12, 1 << 26  # of a signature header; bytes
REGION, DSA, RSA, OPENPGP, SHA3_256, RESERVED = 62, 267, 268, 278, 279, 999
# Signatures of v4, and of v3: of the header, and of header and payload.
READABLE = frozenset({DSA, RSA, 1002, 1005})
UNKNOWN = frozenset({OPENPGP, SHA3_256, RESERVED})  # what rpm 4 has no use for
STRING, BINARY, STRINGS = 6, 7, 8
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, BINARY: 1}  # bytes of one value
RSA_ALGORITHMS = frozenset({1, 3})  # RFC 9580, public key algorithms
OTHER_ALGORITHMS = frozenset({17, 19, 22})  # DSA, ECDSA, EdDSA: all are rpm 4's tag DSA


class Refused(Exception):  # noqa: N818 - it says what happened
    """A package that cannot be read, or whose signatures rpm 4 cannot read."""


@dataclass(frozen=True)
class Value:
    """A tag's value as it lies in a header: its type, how many there are, and the bytes."""

    kind: int
    count: int
    data: bytes


@dataclass(frozen=True)
class Signatures:
    """A package's signature header by tag; ``end`` is where the package's own header begins, in bytes."""

    values: Mapping[int, Value]
    end: int

    @property
    def is_unreadable(self) -> bool:
        """Whether rpm 4 takes the package for one that is not signed, while it is."""
        return OPENPGP in self.values and not READABLE & self.values.keys()


def read(file: Path) -> Signatures:
    """The signature header of a package. Raises Refused where it has none that can be read."""
    with file.open("rb") as data:
        lead = data.read(LEAD_SIZE)
        head = data.read(16)
        if len(lead) != LEAD_SIZE or not lead.startswith(LEAD) or head[:8] != MAGIC:
            raise Refused(f"{file.name} is no RPM package")
        entries, size = struct.unpack(">II", head[8:])
        if entries > MOST_ENTRIES or size > MOST_DATA:
            raise Refused(f"{file.name} has a signature header of {entries} entries and {size} bytes")
        index, store = data.read(16 * entries), data.read(size)
    if len(index) != 16 * entries or len(store) != size:
        raise Refused(f"{file.name} ends within its signature header")
    values = {}
    for tag, kind, offset, count in struct.iter_unpack(">IIiI", index):
        if tag != REGION:
            values[tag] = Value(kind, count, _bytes(file, store, kind, offset, count))
    end = LEAD_SIZE + 16 + 16 * entries + size
    return Signatures(values, end + -end % 8)


def _bytes(file: Path, store: bytes, kind: int, offset: int, count: int) -> bytes:
    if not 0 <= offset < len(store):
        raise Refused(f"{file.name} has a signature header that points outside itself")
    if kind in SIZES:
        end = offset + SIZES[kind] * count
    else:
        end = offset
        for _ in range(1 if kind == STRING else count):
            end = store.find(b"\0", end) + 1
            if not end:
                break
    if not offset < end <= len(store):
        raise Refused(f"{file.name} has a signature header that points outside itself")
    return store[offset:end]


def write(values: Mapping[int, Value]) -> bytes:
    """A signature header of these values, padded as it lies in a package."""
    store, index = bytearray(), bytearray()
    for tag, value in sorted(values.items()):
        store += bytes(-len(store) % SIZES.get(value.kind, 1))
        index += struct.pack(">IIiI", tag, value.kind, len(store), value.count)
        store += value.data
    entries = len(values) + 1
    region = struct.pack(">IIiI", REGION, BINARY, len(store), 16)
    store += struct.pack(">IIiI", REGION, BINARY, -16 * entries, 16)
    header = MAGIC + struct.pack(">II", entries, len(store)) + region + index + store
    return header + bytes(-len(header) % 8)


def translated(values: Mapping[int, Value]) -> dict[int, Value] | None:
    """The values with a v6 signature as one of v4; None where no signature is of a kind that rpm 4 reads."""
    for text in values[OPENPGP].data.rstrip(b"\0").split(b"\0"):
        try:
            signature = base64.b64decode(text, validate=False)
        except binascii.Error:
            continue
        algorithm = _algorithm(signature)
        if algorithm in RSA_ALGORITHMS or algorithm in OTHER_ALGORITHMS:
            tag = RSA if algorithm in RSA_ALGORITHMS else DSA
            kept = {other: value for other, value in values.items() if other not in UNKNOWN}
            return {**kept, tag: Value(BINARY, len(signature), signature)}
    return None


def _algorithm(packet: bytes) -> int:
    """The public key algorithm of an OpenPGP signature packet of version 4; 0 for anything else."""
    if len(packet) < 8 or not packet[0] & 0x80:
        return 0
    if packet[0] & 0x40:
        kind = packet[0] & 0x3F
        start = 2 if packet[1] < 192 else 3 if packet[1] < 224 else 6
    else:
        kind = packet[0] >> 2 & 0xF
        start = {0: 2, 1: 3, 2: 5}.get(packet[0] & 3, 1)
    body = packet[start : start + 4]
    return body[2] if kind == 2 and len(body) == 4 and body[0] == 4 else 0


def translate(source: Path, target: Path) -> None:
    """Put the package ``source`` to ``target``, with a signature that rpm 4 reads. Raises Refused."""
    signatures = read(source)
    if not signatures.is_unreadable:
        os.link(source, target)
        return
    values = translated(signatures.values)
    if values is None:
        raise Refused(
            f"{source.name} is signed as RPM v6 alone, by keys that rpm 4 cannot read; a build image with rpm 6 can"
        )
    with source.open("rb") as before, target.open("xb") as after:
        after.write(before.read(LEAD_SIZE) + write(values))
        before.seek(signatures.end)
        shutil.copyfileobj(before, after, 1 << 20)


def unreadable(folder: Path) -> Iterator[str]:
    """The names of the packages below a folder that rpm 4 takes for unsigned ones, sorted."""
    for file in sorted(folder.rglob("*.rpm")):
        try:
            if read(file).is_unreadable:
                yield file.name
        except (OSError, Refused):  # what cannot be read is the package manager's to tell
            continue


def main(arguments: list[str]) -> int:
    """Run the program; its exit status."""
    match arguments:
        case ["unreadable", folder]:
            for name in unreadable(Path(folder)):
                print(name)
        case ["translate", source, target]:
            Path(target).mkdir()
            try:
                for file in sorted(Path(source).glob("*.rpm")):
                    translate(file, Path(target) / file.name)
            except Refused as refusal:
                print(refusal, file=sys.stderr)
                return 1
        case _:
            print("usage: rpm_signatures.py unreadable FOLDER, or translate FROM TO", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
