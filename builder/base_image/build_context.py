"""The folder that a Containerfile copies from: which of its files count, their digest, and a copy of just these."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

IGNORE = (".containerignore", ".dockerignore")


@dataclass(frozen=True)
class Context:
    """``paths`` of files, links and folders below ``root``, sorted, and what stands for their content in keys."""

    root: Path
    paths: tuple[str, ...]
    digest: str

    def copy(self, target: Path) -> None:
        """Make a folder of the context's files; raises OSError."""
        target.mkdir(parents=True)
        for path in self.paths:
            source, copied = self.root / path, target / path
            copied.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir() and not source.is_symlink():
                copied.mkdir(exist_ok=True)
            else:
                shutil.copy2(source, copied, follow_symlinks=False)


def read(root: Path, sources: tuple[str, ...] | None, file: Path) -> Context:
    """What a build with this context can see; ``sources`` are the patterns that are copied (None: all).

    ``file`` is the Containerfile: what is to be left out stands beside it under its name, or in the context
    (containerignore(5)). Raises OSError.
    """
    paths = tuple(sorted(_chosen(root, sources, _ignored(root, file)))) if sources != () else ()
    digest = hashlib.sha256()
    for path in paths:
        state = (root / path).lstat()
        digest.update(f"{path}\0{state.st_mode & 0o777:o}\0".encode("utf-8", "surrogateescape"))
        if stat.S_ISLNK(state.st_mode):
            digest.update(b"link\0" + os.fsencode((root / path).readlink()) + b"\0")
        elif stat.S_ISREG(state.st_mode):
            with (root / path).open("rb") as content:
                digest.update(b"file\0" + hashlib.file_digest(content, "sha256").digest())
    return Context(root, paths, digest.hexdigest())


def _ignored(root: Path, file: Path) -> list[str]:
    places = [*(file.with_name(file.name + name) for name in IGNORE), *(root / name for name in IGNORE)]
    file_of_patterns = next((each for each in places if each.is_file()), None)
    if file_of_patterns is None:
        return []
    lines = [line.strip() for line in file_of_patterns.read_text(encoding="utf-8", errors="replace").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _chosen(root: Path, sources: tuple[str, ...] | None, ignored: list[str]) -> Iterator[str]:
    from docker.utils.build import exclude_paths  # only now: it takes its time to load

    for path in exclude_paths(str(root), ignored):
        kind = (root / path).lstat().st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISLNK(kind) or stat.S_ISDIR(kind)):
            continue
        if path and (sources is None or any(_is_below(path, pattern) for pattern in sources)):
            yield path


def _is_below(path: str, pattern: str) -> bool:
    """Is this path, or a folder that it lies in, one of the pattern's."""
    parts, patterns = path.split("/"), pattern.split("/")
    return len(parts) >= len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))
