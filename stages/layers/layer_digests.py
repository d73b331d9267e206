"""The digests of layers: made when a layer is kept, compared before an output is made of it.

``digests/<layer>`` in the store is the layer's list (``stages.layers.digest_list``); a layer without one does not
count. Small layers get theirs at once. Those of large ones are made by a process of their own while later stages run:
until then the file is empty and locked by the build that makes it, so whoever wants the layer waits, and finds nothing
where that build was killed. Reading keeps an interpreter busy, and the one that runs stages would wait for it at each
step.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from blockdev.core import locks, own_code
from blockdev.core.errors import BuildError
from blockdev.core.typed_json import read
from stages.layers.digest_list import NO_LIST, STATUS_OF_ERRNO, DigestList, check_layers

SMALL_ENTRIES, SMALL_LENGTH = 64, 2 << 20  # so many entries and bytes take a few milliseconds to read
FOLDED = "folded"  # how the names of layers begin that stand for many (see ``stages.layers.overlay.fold``)
_PROCESSES = 2


@dataclass(frozen=True)
class Damage:
    """A layer that is not what was kept, and the paths in it that differ."""

    layer: str
    paths: tuple[str, ...]

    def __str__(self) -> str:
        if self.paths == (NO_LIST,):
            return "its list of digests cannot be read"
        names = ", ".join(shown(path) for path in self.paths[:3])
        more = " and more" if len(self.paths) > 3 else ""
        return f"{'1 file differs' if len(self.paths) == 1 else 'files differ'}: {names}{more}"


def shown(path: str) -> str:
    """A path of a layer as a person knows it: what lies below ``tree`` by its path in the image."""
    return "/" + path.removeprefix("tree/") if path.startswith("tree/") else path


class DamagedError(Exception):
    """Layers that were to be used are not what was kept."""

    def __init__(self, damages: Sequence[Damage]) -> None:
        super().__init__("; ".join(f"{damage.layer}: {damage}" for damage in damages))
        self.damages = tuple(damages)


def put(scratch: Path, path: Path, data: bytes) -> None:
    """Write a file of the store, which appears whole; until then it is in ``scratch``, which goes with its owner."""
    partial = scratch / "partial"
    partial.write_bytes(data)
    partial.rename(path)


class LayerDigests:
    """The lists of the store at ``root``, and what this process makes and checks of them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lists = root / "digests"
        self._guard = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._making: dict[str, Future[None]] = {}
        self._checks: dict[str, Future[list[Damage]]] = {}

    # -- making ----------------------------------------------------------------------------------------------------

    def write(self, layer: str, kept: DigestList, scratch: Path) -> None:
        """Keep a layer's list; ``scratch`` is the folder in the store where the layer was made. Raises OSError."""
        put(scratch, self._lists / layer, kept.encode())
        self._sound(layer)

    @contextlib.contextmanager
    def hidden(self, name: str) -> Iterator[Path]:
        """An empty file that is locked while this process writes it: cleaning leaves it, and removes a dead one's."""
        path = self._lists / f".{name}.{secrets.token_hex(6)}"
        handle = locks.take(path)
        assert handle is not None  # it waits
        try:
            yield path
        finally:
            locks.give_up(path, handle)

    def begin(self, layer: str) -> None:
        """Have the list of a layer, which is in its place, made in the background. Raises OSError."""
        file = self._lists / layer
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX)
        with self._guard:
            self._making[layer] = self._threads().submit(self._make, layer, handle)
        self._sound(layer)

    def _make(self, layer: str, handle: int) -> None:
        try:
            with self.hidden(layer) as partial:
                _run(self._root, [layer], partial, compare=False)
                partial.rename(self._lists / layer)
        except OSError:
            (self._lists / layer).unlink(missing_ok=True)
            raise
        finally:
            # By name: a stage that was started meanwhile may hold a copy of the descriptor.
            fcntl.flock(handle, fcntl.LOCK_UN)
            os.close(handle)

    def _sound(self, layer: str) -> None:
        """This very process has just written the layer: there is nothing to compare."""
        done: Future[list[Damage]] = Future()
        done.set_result([])
        with self._guard:
            self._checks[layer] = done

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_PROCESSES, "digests")
        return self._pool

    def finish(self) -> None:
        """Wait until all lists that were begun are whole. Raises OSError where one could not be made."""
        with self._guard:
            making = list(self._making.values())
            self._making.clear()
        for each in making:
            each.result()

    # -- asking ----------------------------------------------------------------------------------------------------

    def has(self, layer: str) -> bool:
        """Is the layer's list there; where a build is about to make it, waits for that."""
        file = f"{self._lists}/{layer}"
        try:
            if os.stat(file).st_size:  # noqa: PTH116 (as text: asked for every layer of a plan)
                return True
            if layer in self._making:
                return True
            handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
        finally:
            os.close(handle)
        with contextlib.suppress(OSError):
            return os.stat(file).st_size > 0  # noqa: PTH116 (as above)
        return False

    def digest(self, layer: str) -> str:
        """The digest of a layer's content; "" where it has no list. Waits for one that this process makes."""
        making = self._making.get(layer)
        if making is not None:
            making.result()
        try:
            with (self._lists / layer).open("rb") as file:
                return file.readline(200).split(b" ")[0].decode("ascii", "replace")
        except OSError:
            return ""

    def forget(self, layer: str) -> None:
        """Let go of a layer's list: the layer does not count any more."""
        (self._lists / layer).unlink(missing_ok=True)
        with self._guard:
            self._checks.pop(layer, None)

    # -- checking --------------------------------------------------------------------------------------------------

    def check(self, layers: Iterable[str]) -> None:
        """Begin to compare layers with their lists, each once in a process's life."""
        with self._guard:
            new = [layer for layer in dict.fromkeys(layers) if layer not in self._checks]
            for group in _groups([(layer, self._size(layer)) for layer in new]):
                checking = self._threads().submit(self._check, [layer for layer, _ in group], _total(group))
                self._checks.update((layer, checking) for layer, _ in group)

    def require(self, layers: Iterable[str]) -> None:
        """Wait for the comparison of these layers; raises DamagedError where one is not what was kept."""
        folded = [layer for layer in self._checks if layer.startswith(FOLDED)]
        required = list(dict.fromkeys([*layers, *folded]))
        self.check(required)
        checks = dict.fromkeys(self._checks[layer] for layer in required)
        damages = [damage for check in checks for damage in check.result() if damage.layer in required]
        if damages:
            raise DamagedError(damages)

    def _size(self, layer: str) -> tuple[int, int]:
        """Entries and bytes of a layer, as its list has them."""
        try:
            with (self._lists / layer).open("rb") as file:
                _, entries, length = file.readline(200).split(b" ")
            return int(entries), int(length)
        except (OSError, ValueError):
            return 0, 0

    def _check(self, layers: Sequence[str], size: tuple[int, int]) -> list[Damage]:
        results: Sequence[Sequence[str]]
        if size[0] <= SMALL_ENTRIES and size[1] <= SMALL_LENGTH:
            results = check_layers(str(self._root), layers)
        else:
            with self.hidden("check") as answer:
                _run(self._root, layers, answer, compare=True)
                results = read(tuple[tuple[str, ...], ...], json.loads(answer.read_text(encoding="ascii")))
        return [Damage(layer, tuple(paths)) for layer, paths in zip(layers, results, strict=True) if paths]


Sized = tuple[str, tuple[int, int]]


def _total(group: Sequence[Sized]) -> tuple[int, int]:
    return sum(size[0] for _, size in group), sum(size[1] for _, size in group)


def _groups(layers: Sequence[Sized]) -> list[list[Sized]]:
    """Layers in groups of about the same work; one where it is little."""
    entries, length = _total(layers)
    if not layers or (entries <= SMALL_ENTRIES and length <= SMALL_LENGTH):
        return [list(layers)] if layers else []
    groups: list[list[Sized]] = [[] for _ in range(_PROCESSES)]
    for layer in sorted(layers, key=lambda each: -_work(each[1])):
        min(groups, key=lambda group: _work(_total(group))).append(layer)
    return [group for group in groups if group]


def _work(size: tuple[int, int]) -> int:
    """Reading an entry takes as long as some tens of thousands of bytes more."""
    return size[0] * 40_000 + size[1]


def _run(root: Path, layers: Sequence[str], out: Path, *, compare: bool) -> None:
    """Have another process make a layer's list or compare lists. Raises OSError with what went wrong in it.

    It is started without any pipe: a stage that starts at the same instant would inherit that, and keep it open.
    """
    argv = [
        sys.executable,
        "-I",
        "-S",
        str(own_code.program("stages.layers.digest_list")),
        "compare" if compare else "list",
        str(root),
        str(out),
        *layers,
    ]
    devnull = subprocess.DEVNULL
    done = subprocess.run(argv, stdin=devnull, stdout=devnull, stderr=devnull, close_fds=False, check=False)
    if done.returncode > STATUS_OF_ERRNO:
        number = done.returncode - STATUS_OF_ERRNO
        raise OSError(number, os.strerror(number))
    if done.returncode:
        raise BuildError(f"the digests of a layer cannot be made (status {done.returncode})", hint="run it again")
