"""The agent's code, as every request carries it (``stages.agent.bootstrap``), and its bytecode of earlier builds.

Bytecode is of use to the Python that made it, and that is the build image's. So a container makes it, of our code and
before it has looked at anything else; what it sends later is not taken for bytecode any more. It lies in the user's own
cache, where no build can write.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import json
import os
import re
import secrets
import stat
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import blockdev
import qemu
import stages
from blockdev.core.errors import BuildError
from builder.host_state.probe_results import cache_folder
from stages.protocol import events

SKIPPED = ("__pycache__", "elements")  # folders by name
# What only the machine of the user runs: each request would have it along.
AT_HOME = re.compile(r"blockdev/inspect/|qemu/(?!__init__|architecture|binfmt)|stages/distributions/.*\.yaml\Z")
KEPT = 12  # bytecode of so many versions and build images
ARGUMENT = 100_000  # characters in one argument: the kernel takes 128 KiB
MOST = 64 << 20  # bytes of bytecode

File = tuple[str, int, bytes]  # path, mode, content


def bundle(files: Iterable[File], magic: str = "") -> bytes:
    """Files as ``stages.agent.bootstrap`` unpacks them."""
    files = list(files)
    head = {"magic": magic, "files": [[path, mode, len(data)] for path, mode, data in files]}
    return b"".join((json.dumps(head).encode(), b"\n", *(data for _, _, data in files)))


@functools.cache
def _listed() -> tuple[tuple[str, Path, os.stat_result], ...]:
    """Every file of the agent's code: its path in the bundle, where it lies, and its state."""
    files = []
    for package in (blockdev, stages, qemu):
        root = Path(str(package.__file__)).parent
        for directory, folders, names in os.walk(root):
            folders[:] = sorted(name for name in folders if name not in SKIPPED)
            for name in sorted(names):
                file = Path(directory, name)
                path = f"{package.__name__}/{file.relative_to(root).as_posix()}"
                if not name.endswith(".pyc") and not AT_HOME.match(path):
                    files.append((path, file, file.stat()))
    return tuple(files)


def _bundled(*, sources: bool) -> bytes:
    return bundle(
        (path, 0o755 if state.st_mode & 0o111 else 0o644, file.read_bytes())
        for path, file, state in _listed()
        if sources or not path.endswith(".py")
    )


@functools.cache
def code() -> bytes:
    """The agent's code as a bundle; the same code gives the same bytes."""
    return _bundled(sources=True)


@functools.cache
def _sources() -> frozenset[str]:
    return frozenset(path for path, _, _ in _listed() if path.endswith(".py"))


def code_arguments() -> tuple[str, ...]:
    """The agent's code as arguments of a command, for a container that has the terminal as its standard input."""
    text = base64.b64encode(zlib.compress(code(), 9)).decode()
    return tuple(text[start : start + ARGUMENT] for start in range(0, len(text), ARGUMENT))


@dataclass
class Bytecode:
    """The bytecode for the build containers of one image: ``name`` is the engine's and the image's.

    It is taken from a container's first events (:meth:`take`), and from none that come after another one.
    """

    name: str
    outdated: bool = False  # what was kept is of no use to the container's Python, and is gone
    _closed: bool = False
    _new: dict[str, bytes] = field(default_factory=dict)
    _bytes: int = 0

    @property
    def _file(self) -> Path:
        # (Like Python's own files beside a source, it is of a file's size and time of change.)
        states = [(path, str(file), state.st_size, state.st_mtime_ns) for path, file, state in _listed()]
        identity = hashlib.sha256(repr((states, self.name)).encode()).hexdigest()[:32]
        return cache_folder() / "code" / identity

    def kept(self) -> bytes:
        """What an earlier container made; empty where there is none, or where others could have written it."""
        try:
            handle = os.open(self._file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return b""
        with os.fdopen(handle, "rb") as file:
            state = os.fstat(handle)
            own = state.st_uid == os.getuid() and not state.st_mode & 0o022 and stat.S_ISREG(state.st_mode)
            data = file.read() if own else b""
            with contextlib.suppress(OSError):
                os.utime(handle)
        digest, _, content = data.partition(b"\n")
        return content if hashlib.sha256(content).hexdigest().encode() == digest else b""

    def take(self, event: events.Event) -> bool:
        """Take an event if it is about bytecode; tells whether it was. Raises BuildError for one that cannot be."""
        if not isinstance(event, events.Bytecode | events.Compiled):
            self._closed = True
            return False
        if self._closed:
            raise BuildError("the build container sent bytecode where none was asked for")
        if isinstance(event, events.Compiled):
            self._closed = True
            if self._new:
                self._keep(event.magic)
            else:
                self.outdated = True
                self._file.unlink(missing_ok=True)
            return True
        path = event.path
        data = base64.b64decode(event.data)
        self._bytes += len(data)
        if path.removesuffix("c") not in _sources() or path in _sources() or path in self._new or self._bytes > MOST:
            raise BuildError(f"the build container sent bytecode of something else: {path!r}")
        self._new[path] = data
        return True

    def _keep(self, magic: str) -> None:
        data = bundle(((path, 0o644, data) for path, data in self._new.items()), magic)
        folder = self._file.parent
        with contextlib.suppress(OSError):  # it is made again next time
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
            partial = folder / f".{self._file.name}.{secrets.token_hex(4)}"
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(hashlib.sha256(data).hexdigest().encode() + b"\n" + data)
            partial.rename(self._file)
            for old in sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime)[:-KEPT]:
                old.unlink()


def with_code(archive: bytes, bytecode: bytes) -> bytes:
    """A request as a build container finds it: the agent's code, its bytecode, and the request's archive.

    Where there is bytecode, the sources stay at home.
    """
    sent = _bundled(sources=False) if bytecode else code()
    return b"".join((b"%d %d\n" % (len(sent), len(bytecode)), sent, bytecode, archive))
