"""A process that waits for an answer: what it asked, and standing where it stands."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from blockdev.core.syscalls import AT_FDCWD, CLONE_NEWNS
from stages.sandbox.seccomp import syscalls

_PAGE = 4096
HERE = AT_FDCWD


class UnreadableError(Exception):
    """A caller cannot be looked into, or asked with an address that is none: the kernel answers."""


@contextmanager
def _looking() -> Iterator[None]:
    try:
        yield
    except (OSError, OverflowError) as error:
        raise UnreadableError from error


@dataclass(frozen=True)
class Home:
    """Where the supervisor itself stands: descriptors of its mount namespace and root."""

    namespace: int
    root: int

    @classmethod
    def here(cls) -> Home:
        """That of this process."""
        return cls(os.open("/proc/self/ns/mnt", os.O_RDONLY), os.open("/", os.O_PATH | os.O_DIRECTORY))

    def go(self) -> None:
        """Stand there again."""
        syscalls.enter(self.namespace, CLONE_NEWNS)
        os.fchdir(self.root)
        os.chroot(".")


@dataclass(frozen=True)
class Caller:
    """A process by its id, as the supervisor's own ``/proc`` knows it. Its thread's id does as well.

    ``waits`` tells whether it still waits for its answer: what was opened or read of it before is its own then, and not
    of another process that has got its id meanwhile.
    """

    pid: int
    home: Home
    waits: Callable[[], bool] = lambda: True

    @property
    def proc(self) -> str:
        """Its folder in /proc."""
        return f"/proc/{self.pid}"

    def confirm(self) -> None:
        """Raise UnreadableError where what was read may be another process's."""
        if not self.waits():
            raise UnreadableError

    @contextmanager
    def _memory(self, mode: str) -> Iterator[IO[bytes]]:
        with _looking(), open(f"{self.proc}/mem", mode, buffering=0) as memory:  # noqa: PTH123
            self.confirm()
            yield memory

    def text(self, address: int, longest: int = _PAGE) -> bytes:
        """The string at an address, without its end; empty for none."""
        data = b""
        if not address:
            return data
        with self._memory("rb") as memory:
            while len(data) < longest:
                memory.seek(address + len(data))
                piece = memory.read(_PAGE - (address + len(data)) % _PAGE)
                text, end, _ = piece.partition(b"\0")
                data += text
                if end or not piece:
                    break
        return data

    def data(self, address: int, size: int) -> bytes:
        """So many bytes at an address."""
        if not size:
            return b""
        with self._memory("rb") as memory:
            memory.seek(address)
            return memory.read(size)

    def write(self, address: int, data: bytes) -> None:
        """Put bytes at an address."""
        with self._memory("r+b") as memory:
            memory.seek(address)
            memory.write(data)

    def shares(self, kind: str) -> bool:
        """Is its namespace of this kind (``user``, ``net``) the supervisor's own."""
        with _looking():
            theirs = Path(f"{self.proc}/ns/{kind}").readlink()
        self.confirm()
        return theirs == Path(f"/proc/self/ns/{kind}").readlink()

    def status(self, field: str, base: int) -> int:
        """A number from its ``/proc/PID/status``: ``Umask`` (8), ``CapEff`` (16)."""
        with _looking():
            text = Path(f"{self.proc}/status").read_text(encoding="utf-8", errors="replace")
        self.confirm()
        for line in text.splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1], base)
        return 0

    def may(self, capability: int) -> bool:
        """Has it this capability, in the user namespace that is the supervisor's too."""
        return bool(self.status("CapEff", 16) >> capability & 1) and self.shares("user")

    @contextmanager
    def standing(self, folder: int = HERE, *, before: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Have its mounts, root and folder (its current one, or that of a descriptor) while the context lasts.

        ``before`` is called at the root of its mount namespace, above the folder that it may have as its root.
        """
        where = "cwd" if folder == HERE else f"fd/{folder}"
        with ExitStack() as closing:
            opened = []
            for path, flags in (("ns/mnt", os.O_RDONLY), ("root", os.O_PATH), (where, os.O_PATH)):
                with _looking():
                    opened.append(os.open(f"{self.proc}/{path}", flags))
                closing.callback(os.close, opened[-1])
            self.confirm()
            namespace, root, here = opened
            syscalls.enter(namespace, CLONE_NEWNS)
            closing.callback(self.home.go)
            before()
            os.fchdir(root)
            os.chroot(".")
            if stat.S_ISDIR(os.fstat(here).st_mode):
                os.fchdir(here)
            yield

    def described(self, descriptor: int) -> os.stat_result:
        """What a descriptor of its is of."""
        with _looking():
            status = os.stat(f"{self.proc}/fd/{descriptor}")  # noqa: PTH116 (the link is the kernel's own)
        self.confirm()
        return status

    def descriptor(self, number: int) -> int:
        """A copy of a descriptor of its: one open file, with one position, for both."""
        with _looking():
            try:
                copy = syscalls.descriptor_of(self.pid, number)
            except OSError:  # a thread that is not its process's first
                copy = syscalls.descriptor_of(self.status("Tgid", 10), number)
        return self._confirmed(copy)

    def _confirmed(self, opened: int) -> int:
        if not self.waits():
            os.close(opened)
            raise UnreadableError
        return opened

    def open(self, folder: int, path: bytes, *, follow: bool) -> int:
        """A descriptor (O_PATH) of what a path is for it; where the path is empty, of what ``folder`` describes."""
        if not path:
            with _looking():
                opened = os.open(f"{self.proc}/fd/{folder}", os.O_PATH | os.O_CLOEXEC)
            return self._confirmed(opened)
        with self.standing(folder):
            return os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
