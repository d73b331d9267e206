"""Fetches what Gentoo releases, believing nothing that a key does not vouch for.

    release_media.py stage3 KEYS LIST FILE       the tarball that a list names; LIST is the address of
                                                 latest-stage3-NAME.txt, or of one tarball's checksums
                                                 (NAME.tar.xz.DIGESTS)
    release_media.py snapshot KEYS TARBALL FILE  the ebuild repository at the address TARBALL
    release_media.py keyring KEYS FOLDER         a folder for GnuPG that trusts these keys and no other

KEYS is a file of public keys, armored or not. The list and the checksums are signed texts, tarballs have signatures
beside them (NAME.asc, NAME.gpgsig). Exit status 1, with a sentence, where one is not right.
"""

from __future__ import annotations

import hashlib
import http.client
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TIMEOUT = 30.0  # seconds
ATTEMPTS = 3
SMALL = 1 << 20  # bytes; no list and no signature comes near
LARGEST = 1 << 34  # bytes
NAMED = re.compile(r"(?P<folder>\d{8}T\d{6}Z)/(?P<file>stage3-[A-Za-z0-9_+-]+-(?P=folder)\.tar\.(xz|bz2))")
REFUSALS = {  # what GnuPG says of a signature that is not good, by the word that it begins with (doc/DETAILS)
    "BADSIG": "its signature is not its own: it was changed after it was signed",
    "EXPSIG": "its signature has expired",
    "EXPKEYSIG": "the key that signed it has expired",
    "REVKEYSIG": "the key that signed it was revoked",
    "NO_PUBKEY": "the key that signed it is not among those that are trusted",
    "ERRSIG": "its signature cannot be checked",
}


class Refused(Exception):  # noqa: N818 - it says what happened
    """What was read is not what was signed, or cannot be read."""


@dataclass(frozen=True)
class Listed:
    """What a list says of the newest stage 3: where its tarball is, relative to the list, and its size in bytes."""

    path: str
    size: int


@dataclass(frozen=True)
class Keys:
    """GnuPG's folder with the trusted keys and no other."""

    home: Path

    def run(self, *arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run gpg, which asks nobody for keys."""
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--no-tty", "--no-autostart"]
        command += ["--disable-dirmngr", "--no-auto-key-retrieve", "--no-permission-warning", *arguments]
        # (Not the whole environment: then each of its variables would count for the stage's key.)
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
        return subprocess.run(command, input=data, capture_output=True, check=False, env=environment)

    def add(self, file: Path) -> None:
        """Add the keys of a file; raises Refused."""
        try:
            data = file.read_bytes()
        except OSError as error:
            raise Refused(f"the keys cannot be read ({error.strerror})") from error
        (self.home / "pubring.gpg").touch()  # an old keyring: it needs no daemon
        done = self.run("--import", data=data)
        if done.returncode != 0 or not self.fingerprints():
            raise Refused(f"it holds no public key ({_last_line(done.stderr)})")

    def fingerprints(self) -> list[str]:
        """The fingerprints of the keys themselves, without those of their subkeys."""
        lines = self.run("--with-colons", "--list-keys").stdout.decode("utf-8", "replace").splitlines()
        return [after.split(":")[9] for line, after in itertools.pairwise(lines) if line.startswith("pub:")]

    def trust(self) -> None:
        """Mark all keys as fully trusted, for programs that ask for it."""
        lines = "".join(f"{fingerprint}:6:\n" for fingerprint in self.fingerprints())
        self.run("--import-ownertrust", data=lines.encode())
        self.run("--check-trustdb")

    def _check(self, *arguments: str, data: bytes = b"") -> bytes:
        done = self.run("--trust-model", "always", "--status-fd", "2", *arguments, data=data)
        status_lines = [
            line.split()[1:2] for line in done.stderr.decode("utf-8", "replace").splitlines() if "[GNUPG:]" in line
        ]
        words = {word for line_words in status_lines for word in line_words}
        for word, refusal in REFUSALS.items():
            if word in words and not (word == "ERRSIG" and "NO_PUBKEY" in words):
                raise Refused(refusal)
        if done.returncode != 0 or "GOODSIG" not in words or "VALIDSIG" not in words:
            raise Refused("it is not signed")
        return done.stdout

    def signed_text(self, data: bytes) -> bytes:
        """The part of a text that is signed; raises Refused."""
        return self._check("--output", "-", "--decrypt", data=data)

    def check(self, file: Path, signature: bytes) -> None:
        """Check a file's detached signature; raises Refused."""
        with tempfile.NamedTemporaryFile(prefix="signature-") as beside:
            beside.write(signature)
            beside.flush()
            self._check("--verify", beside.name, str(file))


def _last_line(output: bytes) -> str:
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "gpg says nothing"


def listed(text: bytes, name: str) -> Listed:
    """What a list (verified) says of the newest stage 3 called ``name``; raises Refused."""
    for line in text.decode("utf-8", "replace").splitlines():
        path, _, size = line.strip().partition(" ")
        match = NAMED.fullmatch(path)
        if match and match["file"].startswith(f"stage3-{name}-{match['folder']}.") and size.strip().isdigit():
            return Listed(path, int(size))
    raise Refused(f"it names no tarball stage3-{name}")


def checksum(text: bytes, name: str) -> str:
    """The SHA-512 of a file, as its checksums (verified) have it; raises Refused."""
    kind = ""
    for line in text.decode("utf-8", "replace").splitlines():
        if line.startswith("#"):
            kind = line.strip("# ").removesuffix(" HASH")
            continue
        sum_, _, file = line.strip().partition(" ")
        if kind == "SHA512" and file.strip() == name and re.fullmatch(r"[0-9a-f]{128}", sum_):
            return sum_
    raise Refused(f"it has no SHA-512 of {name}")


def fetch(address: str, limit: int = SMALL) -> bytes:
    """What lies at an address; raises Refused, also for more than ``limit`` bytes."""
    with tempfile.TemporaryDirectory(prefix="fetch-") as folder:
        file = Path(folder) / "file"
        fetch_to(address, file, limit)
        return file.read_bytes()


def fetch_to(address: str, file: Path, limit: int) -> None:
    """Write what lies at an address to a file; raises Refused, also for more than ``limit`` bytes."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT) as answer, file.open("wb") as target:
                expected = answer.headers.get("Content-Length")
                while block := answer.read(1 << 20):
                    target.write(block)
                    if target.tell() > limit:
                        raise Refused(f"it has more than the {limit} bytes that it may have")
                if expected is not None and target.tell() != int(expected):
                    raise OSError(f"{target.tell()} bytes of {expected} came")
                return
        except (OSError, ValueError, http.client.HTTPException) as error:
            gone = isinstance(error, urllib.error.HTTPError) and error.code in (403, 404, 410)
            if gone or attempt == ATTEMPTS:
                raise Refused(f"it cannot be fetched ({error})") from error
            time.sleep(0.5 * attempt)


def sha512(file: Path) -> str:
    """The SHA-512 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha512").hexdigest()


def stage3(keys: Keys, address: str, file: Path) -> str:
    """Write the verified tarball of a list; returns its name. Raises Refused with the address that is wrong."""
    folder, _, name = address.rpartition("/")
    limit = LARGEST
    if name.endswith(".DIGESTS"):
        tarball, exact = address.removesuffix(".DIGESTS"), 0
    else:
        with at(address):
            entry = listed(keys.signed_text(fetch(address)), name.removeprefix("latest-stage3-").removesuffix(".txt"))
        tarball, exact = f"{folder}/{entry.path}", entry.size
        limit = exact
    with at(f"{tarball}.DIGESTS"):
        expected = checksum(keys.signed_text(fetch(f"{tarball}.DIGESTS")), tarball.rpartition("/")[2])
    with at(tarball):
        fetch_to(tarball, file, limit)
        if exact and file.stat().st_size != exact:
            raise Refused(f"it has not the {exact} bytes that the list says")
        if sha512(file) != expected:
            raise Refused("its SHA-512 is not the one that is signed")
    with at(f"{tarball}.asc"):
        signature = fetch(f"{tarball}.asc")
    with at(tarball):
        keys.check(file, signature)
    return tarball.rpartition("/")[2]


def snapshot(keys: Keys, address: str, file: Path) -> str:
    """Write the verified ebuild repository; returns its name. Raises Refused with the address that is wrong."""
    with at(f"{address}.gpgsig"):
        signature = fetch(f"{address}.gpgsig")
    with at(address):
        fetch_to(address, file, LARGEST)
        keys.check(file, signature)
    return address.rpartition("/")[2]


@contextmanager
def at(address: str) -> Iterator[None]:
    """Say in what is refused where it lies."""
    try:
        yield
    except Refused as refused:
        raise Refused(f"{address} is refused: {refused}") from refused


def keyring(file: Path, folder: Path) -> str:
    """Make GnuPG's folder with the keys of a file, which anybody can read and which trusts them; raises Refused."""
    folder.mkdir(mode=0o755)
    keys = Keys(folder)
    with at(str(file)):
        keys.add(file)
        keys.trust()
    for path in folder.iterdir():
        if path.suffix in (".gpg", ".kbx"):
            path.chmod(0o644)
        elif not path.is_dir():
            path.unlink()
    return str(folder)


def main(what: str, file: str, *arguments: str) -> str:
    """Do what the first word says; returns what was made. Exits with a sentence where something is refused."""
    try:
        if what == "keyring":
            return keyring(Path(file), Path(arguments[0]))
        with tempfile.TemporaryDirectory(prefix="keys-") as folder:
            keys = Keys(Path(folder))
            with at(file):
                keys.add(Path(file))
            address, target = arguments
            return {"stage3": stage3, "snapshot": snapshot}[what](keys, address, Path(target))
    except Refused as refused:
        hint = "Try another mirror (DIB_DISTRIBUTION_MIRROR) or newer keys (DIB_GENTOO_KEYS)."
        sys.exit(f"gentoo: {refused}.\n{hint}")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit("usage: release_media.py stage3|snapshot KEYS ADDRESS FILE, or release_media.py keyring KEYS FOLDER")
    print(main(*sys.argv[1:]))
