"""Looking for a secret in files: plain, as tools write it, and as a digest that anybody could make of it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import lzma
import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

DIGESTS = ("sha256", "sha1", "md5", "sha512")
_HEX = re.compile(rb"(?<![0-9a-f])(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{128})(?![0-9a-f])")
_ZSTD, _GZIP, _XZ = b"\x28\xb5\x2f\xfd", b"\x1f\x8b", b"\xfd7zXZ\x00"


def forms(secret: str, names: Iterable[str] = ()) -> dict[bytes, str]:
    """What would give the secret away, and what that is; ``names`` are variables that have it or had it."""
    data = secret.encode()
    found = {
        data: "plain",
        data.hex().encode(): "in hex",
        quote(secret, safe="").encode(): "as in a URL",
        quote_plus(secret).encode(): "as in a form",
    }
    for before in (b"", b"x", b"xx"):  # wherever it lies among others, base64 of it has one of three forms
        whole = base64.b64encode(before + data)
        found[whole[(0, 2, 3)[len(before)] : -4]] = "in base64"
    guesses = [secret, f"{secret}\n", *(f"{name}={secret}" for name in names)]
    for guess in guesses:
        for name in DIGESTS:
            digest = hashlib.new(name, guess.encode(), usedforsecurity=False)
            found[digest.hexdigest().encode()] = f"{name} of {guess!r}"
            found[digest.digest()] = f"{name} of {guess!r}, raw"
            found[base64.b64encode(digest.digest()).rstrip(b"=")] = f"{name} of {guess!r}, in base64"
    return found


def files(roots: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    """Every file below these, with its name and its content; what is in an archive too."""
    for root in roots:
        for path in sorted(root.rglob("*")) if root.is_dir() else (root,):
            yield str(path), str(path).encode()
            if path.is_symlink():
                yield f"{path} (link)", str(path.readlink()).encode()
            elif path.is_file():
                yield from unpacked(str(path), path.read_bytes())


def unpacked(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """A file's content, and what it is without compression; the members of a tar that are compressed."""
    yield name, data
    plain = b""
    if data.startswith(_ZSTD):
        plain = subprocess.run(["zstd", "-dcq"], input=data, capture_output=True, check=True).stdout
    elif data.startswith(_GZIP):
        plain = gzip.decompress(data)
    elif data.startswith(_XZ):
        plain = lzma.decompress(data)
    if plain:
        yield from unpacked(f"{name} (unpacked)", plain)
    elif data[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is not None:
                    yield from unpacked(f"{name}:{member.name}", content.read())


def leaks(secrets: Mapping[str, str], content: Iterable[tuple[str, bytes]]) -> list[str]:
    """A sentence for each place where one of these secrets (by a name for it) can be read or guessed."""
    wanted = {
        form: f"{name} is {what}" for name, secret in secrets.items() for form, what in forms(secret, (name,)).items()
    }
    hexadecimal = {form for form in wanted if _HEX.fullmatch(form)}
    others = wanted.keys() - hexadecimal
    found = set()
    seen = set()
    for place, data in content:
        if data in seen:
            continue
        seen.add(data)
        for form in hexadecimal.intersection(_HEX.findall(data)).union(form for form in others if form in data):
            found.add(f"{wanted[form]} in {place}")
    return sorted(found)
