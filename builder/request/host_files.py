"""Files of the user's machine that a build is given: those that build variables name, and public keys.

A build container sees none of the machine's folders, so what diskimage-builder's scripts read from it by a variable
(``DIB_APT_SOURCES=/home/me/sources.list``) travels with the request, and shows at the same path to the scripts that see
the variable. Its content is part of their keys.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

LIMIT = 64 << 20  # bytes, for all that travel with a request together
LARGEST = 32 << 30  # bytes of a file that travels when a stage needs it
LARGE = 8 << 20  # bytes from which on a file does that
FILES = 10_000  # in one folder
# A path here means the image's own file, not one of the machine's.
NEVER = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "proc", "sys", "dev", "run", "boot")
NEVER_BELOW_USR = ("bin", "sbin", "lib", "lib32", "lib64", "libexec")
NAMES = ("DIB_", "REG_")  # how the names of variables that may name files begin; the second ones are rhel-common's
KEYS = ("authorized_keys", "id_rsa.pub", "id_dsa.pub")
HOME = "/root"  # of a build's scripts


def may_be_given(path: Path) -> bool:
    """Is this a place of the user's own, and not one that an image has as well."""
    parts = path.parts[1:]
    if ".." in parts or not parts or parts[0] in NEVER:
        return False
    return not (parts[0] == "usr" and (len(parts) < 2 or parts[1] in NEVER_BELOW_USR))


def named_paths(value: str) -> Iterator[Path]:
    """The absolute paths that a variable's value consists of: one, or several with blanks, commas or colons between.

    ``file://`` before the first one does not count.
    """
    value = value.removeprefix("file://")
    words = [value, *re.split(r"[\s,:]+", value)] if value.startswith("/") else []
    for word in dict.fromkeys(words):
        path = Path(word)
        if word.startswith("/") and "\n" not in word and len(word) < 4096 and may_be_given(path):
            yield path


def _files(path: Path) -> list[Path]:
    """The file itself, or all files below a folder, which must not be one of the system's own."""
    if path.is_file():
        return [path]
    if not path.is_dir() or len(path.parts) < 3:
        return []
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return files if len(files) <= FILES else []


def given_files(variables: Mapping[str, str], home: Path) -> tuple[dict[str, Path], list[str]]:
    """What travels: each file by the path at which scripts see it; and a sentence for each that is too big to.

    ``home`` is the user's home folder, whose public SSH keys scripts see in their own.
    """
    result: dict[str, Path] = {}
    notes = []
    left = LIMIT
    candidates = [
        (f"{name} names {path}", path.is_file(), {str(file): file for file in _readable(path)})
        for name, value in sorted(variables.items())
        if name.startswith(NAMES) and not name.startswith("DIB_CTR_")
        for path in named_paths(value)
    ]
    keys = {f"{HOME}/.ssh/{name}": home / ".ssh" / name for name in KEYS if (home / ".ssh" / name).is_file()}
    for what, is_file, files in [*candidates, ("~/.ssh", False, keys)]:
        size = sum(file.stat().st_size for where, file in files.items() if where not in result)
        large = is_file and is_large(size)
        if size > (LARGEST if large else left):
            notes.append(f"{what}, which is too big to go along ({size / 1e6:.0f} MB): scripts do not see it")
            continue
        left -= 0 if large else size
        result.update(files)
    return result, notes


def is_large(size: int) -> bool:
    """Does a file of so many bytes travel when a stage needs it, and not with each request."""
    return size > LARGE


def file_digest(file: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _readable(path: Path) -> list[Path]:
    try:
        return [file for file in _files(path) if os.access(file, os.R_OK)]
    except OSError:
        return []
