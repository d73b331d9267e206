"""Where a cache can be: what each kind of place does, and the plain folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import IO, Protocol

from blockdev.core import locks
from blockdev.core.errors import BuildError
from builder.destination.partial import partial
from builder.host_state.probe_results import cache_folder
from builder.remote_cache.index import EMPTY, IndexEntry, digest_of
from builder.remote_cache.signatures import documents
from stages.outputs.formats import oci_layout

PIECE = 1 << 20  # bytes
TIMEOUT = 10.0  # seconds without a byte
SLOWEST = 256 << 10  # bytes a second: a blob that comes more slowly is given up
PATIENCE = 20.0  # seconds that a blob may take however small it is
PAUSES = (0.5, 2.0)  # seconds before another attempt
WAIT = 30.0  # seconds for a folder's lock
PARTIAL = ".partial"  # at the end of the hidden name of a file that somebody writes, locked meanwhile

Change = Callable[[bytes], bytes | None]


class CacheBackend(Protocol):
    """A cache's place. Methods raise BuildError, PassingError where the same may work later; threads may share one."""

    def index(self) -> bytes:
        """The index (``builder.remote_cache.index``); empty where there is none yet."""

    def blob(self, digest: str) -> Iterator[bytes]:
        """A blob, piece by piece; unchecked."""

    def put_blob(self, digest: str, size: int, data: IO[bytes]) -> None:
        """Keep a blob, unless it is there."""

    def put_entry(self, entry: IndexEntry) -> None:
        """Keep an entry's manifest, whose blob is there, and its signature if it has one."""

    def change_index(self, change: Change, added: Sequence[str]) -> None:
        """Replace the index by what ``change`` makes of it (None: leave it), safe against others who do the same.

        ``added`` are the manifests (digests) that must be listed afterwards.
        """


def scratch() -> Path:
    """Where blobs lie for a moment: not in /tmp, which may be memory."""
    folder = cache_folder() / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Scratch:
    """A folder for blobs, gone in the end; where its process is killed the next build removes it."""

    def __init__(self) -> None:
        self._held = contextlib.ExitStack()
        self.path = self._held.enter_context(partial(scratch() / "blobs"))

    def cleanup(self) -> None:
        """Remove it."""
        self._held.close()


def with_deadline(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """The pieces of a blob of ``size`` bytes, while they come in time; raises BuildError where they do not."""
    end = time.monotonic() + PATIENCE + size / SLOWEST
    for piece in pieces:
        if time.monotonic() > end:
            raise BuildError("it is too slow to be of use")
        yield piece


class Folder:
    """A cache in a folder, which is an OCI image layout (image-layout.md): on a shared disk, or kept by a CI."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def index(self) -> bytes:
        """See Place."""
        try:
            return (self._path / "index.json").read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise self._failed(error) from error

    def blob(self, digest: str) -> Iterator[bytes]:
        """See Place."""
        try:
            with oci_layout.blob(self._path, digest).open("rb") as file:
                while piece := file.read(PIECE):
                    yield piece
        except OSError as error:
            raise self._failed(error) from error

    def put_blob(self, digest: str, size: int, data: IO[bytes]) -> None:
        """See Place."""
        target = oci_layout.blob(self._path, digest)
        with self._explained(), contextlib.suppress(FileNotFoundError):
            if target.stat().st_size == size:
                return
        data.seek(0)
        self._write(target, iter(lambda: data.read(PIECE), b""))

    def put_entry(self, entry: IndexEntry) -> None:
        """See Place."""
        blobs = [EMPTY, entry.manifest(), *(documents(entry) if entry.signature else ())]
        for data in blobs:
            target = oci_layout.blob(self._path, digest_of(data))
            if not target.exists():
                self._write(target, [data])

    def change_index(self, change: Change, added: Sequence[str]) -> None:
        """See Place."""
        del added  # nobody else writes meanwhile
        with self._alone():
            self._sweep()
            changed = change(self.index())
            if changed is not None:
                self._write(self._path / "oci-layout", [oci_layout.encode({"imageLayoutVersion": "1.0.0"})])
                self._write(self._path / "index.json", [changed])

    def remove_blobs(self, digests: Sequence[str]) -> int:
        """Remove blobs that no entry needs any more; returns how many bytes that gave back."""
        freed = 0
        for digest in digests:
            file = oci_layout.blob(self._path, digest)
            with self._explained(), contextlib.suppress(FileNotFoundError):
                freed += file.stat().st_size
                file.unlink()
        return freed

    def remove_unlisted(self, listed: Collection[str], before: float) -> None:
        """Remove blobs that are not ``listed`` (digests) and came ``before`` then (seconds since 1970).

        Builds that failed have left them, or were cut off while they wrote; younger ones may be about to be listed.
        """
        names = {digest.removeprefix("sha256:") for digest in listed}
        with self._explained(), contextlib.suppress(FileNotFoundError):
            for file in list(oci_layout.blob(self._path, digest_of(EMPTY)).parent.iterdir()):
                if file.name not in names and file.stat().st_mtime < before:
                    file.unlink()

    def _write(self, target: Path, pieces: Iterator[bytes] | Sequence[bytes]) -> None:
        new = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PARTIAL}")
        with self._explained():
            target.parent.mkdir(parents=True, exist_ok=True)
            handle = locks.take(new, mode=0o666)
            assert handle is not None  # it waits
            try:
                with open(handle, "wb", closefd=False) as out:
                    out.writelines(pieces)
                new.rename(target)
            finally:
                locks.give_up(new, handle)

    def _sweep(self) -> None:
        """Remove what writers that were killed have begun: nobody holds the lock of it."""
        for folder in (self._path, oci_layout.blob(self._path, digest_of(EMPTY)).parent):
            for file in list(folder.glob(f".*{PARTIAL}")):
                with contextlib.suppress(OSError):
                    locks.sweep(file)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with self._explained():
            self._path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            end = time.monotonic() + WAIT
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > end:
                        raise BuildError("somebody else has held its lock for too long") from error
                    time.sleep(0.05)
            yield
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> BuildError:
        return BuildError(f"the folder {self._path} cannot be used: {error.strerror}", where=str(self._path))
