"""What is in a folder, entry by entry, with the SHA-256 of every file: what tells later that a bit has flipped.

A list is text, one JSON array a line, in bytewise order of the paths: path, file type and mode, owner, group, size,
time of change (nanoseconds), and what it holds: a file's SHA-256, a link's target, a device's numbers, the first name
of a hard link; then its extended attributes. The same folder gives the same list on every machine that it travels to
(see ``stages.remote_cache.layer_archive``), so the SHA-256 of the list is the digest of the folder. Other digests
(without times, say) can be made from a list without the files.

Kept, a list has a first line before it: that digest, the number of entries, and the bytes of all files.

As a program it reads layers of a store: ``python -I -S digest_list.py list|compare STORE OUT LAYER...`` writes to OUT
the layer's list as it is kept, or a JSON array with, for each layer, the paths in which it differs from its list.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

OVERLAY = "user.overlay."  # how the names of the overlay's own attributes begin
ORIGIN = f"{OVERLAY}origin"  # the overlay's note of where a file was copied up from: a handle of one machine's
CAPABILITY = "security.capability"
ACCESS_LISTS = ("system.posix_acl_access", "system.posix_acl_default")
STATUS_OF_ERRNO = 100  # added to it in the program's status
NO_LIST = "(list)"  # in place of paths: the list is not there, or not what was written
_CHUNK = 1 << 20
_MOST = 8  # differences that are named


@dataclass(frozen=True)
class DigestList:
    """A folder's list: ``text`` is its lines, ``length`` the bytes of all files in it."""

    text: bytes
    entries: int
    length: int

    @property
    def digest(self) -> str:
        """``sha256:...`` over all of it."""
        return f"sha256:{hashlib.sha256(self.text).hexdigest()}"

    def encode(self) -> bytes:
        """As it is kept."""
        return f"{self.digest} {self.entries} {self.length}\n".encode() + self.text

    @classmethod
    def decode(cls, data: bytes) -> DigestList | None:
        """A kept list; None where it is no longer what was written."""
        first, _, text = data.partition(b"\n")
        try:
            digest, entries, length = first.decode("ascii").split(" ")
            decoded = cls(text, int(entries), int(length))
        except ValueError:
            return None
        return decoded if decoded.digest == digest else None


def list_folder(root: str) -> DigestList:
    """The list of a folder and all below it. What cannot be read stands in it as such. Raises OSError for ``root``."""
    lines: list[bytes] = []
    length = 0
    names: dict[tuple[int, int], str] = {}
    os.lstat(root)
    for path, name, status in _walk(os.fsencode(root)):
        held, error = "", ""
        size = status.st_size if stat.S_ISREG(status.st_mode) else 0
        first = names.setdefault((status.st_dev, status.st_ino), name) if status.st_nlink > 1 else name
        if first != name and not stat.S_ISDIR(status.st_mode):
            lines.append(json.dumps([name, "link", first]).encode() + b"\n")
            continue
        attributes: dict[str, str] = {}
        try:
            held = _held(path, status)
            attributes = _attributes(path)
        except OSError as failed:
            error = f"!{failed.strerror}"
        length += size
        entry = [name, f"{status.st_mode:o}", status.st_uid, status.st_gid, size, status.st_mtime_ns, error or held]
        lines.append(json.dumps([*entry, attributes] if attributes else entry).encode() + b"\n")
    return DigestList(b"".join(lines), len(lines), length)


def _walk(root: bytes) -> Iterator[tuple[bytes, str, os.stat_result]]:
    """Path, name below the root ("." for the root itself) and status of everything, in bytewise order of the names."""
    entries = [(b".", root, os.lstat(root))]
    folders = [(root, b"")]
    while folders:
        folder, prefix = folders.pop()
        try:
            with os.scandir(folder) as inside:
                for entry in inside:
                    status = entry.stat(follow_symlinks=False)
                    entries.append((prefix + entry.name, entry.path, status))
                    if stat.S_ISDIR(status.st_mode):
                        folders.append((entry.path, prefix + entry.name + b"/"))
        except OSError:  # a damaged folder: that differs from what was kept
            entries.append((prefix + b"!", folder, os.stat_result((0,) * 10)))
    for name, path, status in sorted(entries, key=lambda each: each[0]):
        yield path, os.fsdecode(name), status


def _held(path: bytes, status: os.stat_result) -> str:
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFREG:
        return file_digest(path)
    if kind == stat.S_IFLNK:
        return os.fsdecode(os.readlink(path))  # noqa: PTH115 (bytes)
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return ""


def file_digest(path: bytes | str) -> str:
    """The SHA-256 of a regular file, in hexadecimal digits. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        digest = hashlib.sha256()
        while data := os.read(handle, _CHUNK):
            digest.update(data)
        return digest.hexdigest()
    finally:
        os.close(handle)


def _attributes(path: bytes) -> dict[str, str]:
    """The extended attributes that a layer keeps wherever it goes, in hexadecimal digits."""
    attributes = {}
    for name in sorted(os.listxattr(path, follow_symlinks=False)):
        if name != ORIGIN and (name.startswith("user.") or name == CAPABILITY or name in ACCESS_LISTS):
            attributes[name] = _plain(name, os.getxattr(path, name, follow_symlinks=False)).hex()
    return attributes


def _plain(name: str, value: bytes) -> bytes:
    """A file capability of revision 3 without the id of the namespace it was set in: that differs between machines."""
    if name == CAPABILITY and len(value) == 24 and value[3] == 3:
        return value[:3] + b"\x02" + value[4:20]
    return value


def differing(kept: DigestList, now: DigestList) -> list[str]:
    """The paths of the entries that differ, sorted."""
    before, after = (set(each.text.splitlines()) for each in (kept, now))
    return sorted({str(json.loads(line)[0]) for line in before ^ after})


def check_folder(folder: str, kept_list: str) -> list[str]:
    """The paths in which a folder differs from its kept list, at most some; "(list)" where that cannot be told."""
    try:
        with open(kept_list, "rb") as file:  # noqa: PTH123 (the program runs without pathlib: it starts in less time)
            kept = DigestList.decode(file.read())
        if kept is None:
            return [NO_LIST]
        now = list_folder(folder)
    except OSError:
        return [NO_LIST]
    return differing(kept, now)[:_MOST] if now.text != kept.text else []


def check_layers(root: str, layers: Sequence[str]) -> list[list[str]]:
    """The same of each of these layers of the store at ``root``."""
    return [check_folder(f"{root}/layers/{layer}", f"{root}/digests/{layer}") for layer in layers]


def main(what: str, root: str, out: str, *layers: str) -> int:
    """The program; its status tells the number of the error where the system refused something."""
    os.nice(10)  # stages and outputs come first
    try:
        if what == "compare":
            result = json.dumps(check_layers(root, layers)).encode()
        else:
            result = list_folder(f"{root}/layers/{layers[0]}").encode()
        with open(out, "wb") as file:  # noqa: PTH123 (as above)
            file.write(result)
    except OSError as error:
        return STATUS_OF_ERRNO + (error.errno or 0)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
