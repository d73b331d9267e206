"""Build images travel, too: a machine that lacks one takes it from a cache instead of making it.

A build image is an entry like a layer's; its key stands for the recipe's name, its blob is the engine's own archive of
it, compressed. It is trusted as layers are, by the cache's keys and writers.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from blockdev.core import tools
from blockdev.core.errors import BuildError
from builder.build_image import ensure
from builder.engines.protocol import Engine
from builder.host_state.probe_results import cache_folder, exclusive
from builder.remote_cache.download import Candidate, Download
from builder.remote_cache.folder import scratch
from builder.remote_cache.index import IndexEntry, merged
from builder.remote_cache.open import Cache, IndexFetch, now
from builder.remote_cache.upload import add
from stages.redaction.patterns import parts

PART = "build-image"
LEVEL = "-3"  # of zstd
ABOUT = 1 << 20  # bytes that a list of images may have


def key_of(reference: str) -> str:
    """The key of the build image of this name (of its recipe and architecture), as this machine would make it.

    The machine's mirror and apt's settings go into an image, so those that have others share none.
    """
    machine = sorted(ensure.of_this_machine().items())
    return hashlib.sha256(f"build image {reference} {machine}".encode()).hexdigest()


def has_secrets() -> bool:
    """Would a build image made here tell a user's name or password of the mirror or a proxy."""
    return any(True for text in ensure.of_this_machine().values() for _ in parts(text))


@dataclass
class BuildImages:
    """The build images that one build uses, and the caches it may take them from and gives them to."""

    sources: Sequence[Cache]
    targets: Sequence[Cache]
    note: Callable[[str], None]
    asked: IndexFetch | None = None
    _used: dict[str, Engine] = field(default_factory=dict)

    def use(self, engine: Engine, reference: str) -> None:
        """The build uses this image."""
        if engine.name != "host":
            self._used[reference] = engine

    def bring(self, engine: Engine, reference: str) -> bool:
        """Take an image from a cache; tells whether it is there now."""
        if self.asked is None:
            return False
        key = key_of(reference)
        listed = self.asked.all()[: len(self.sources)]
        matching = [Candidate(cache, entry) for cache, entries in listed for entry in entries if entry.key == key]
        if not matching:
            return False
        self.note(f"taking the build image from the cache {matching[0].cache.spec.name} (once)")
        by_blob = {
            candidate.entry.blob: [each for each in matching if each.entry.blob == candidate.entry.blob]
            for candidate in matching
        }
        return any(self._bring(engine, reference, candidates) for candidates in by_blob.values())

    def _bring(self, engine: Engine, reference: str, candidates: Sequence[Candidate]) -> bool:
        entry = candidates[0].entry
        fetching = Download([entry.blob], {entry.blob: candidates})
        try:
            file = fetching.file(entry.blob)
            if file is None:
                return False
            archive = file.with_name("image.tar")
            _run("zstd", "-d", "-q", "-f", str(file), "-o", str(archive))
            if archive.stat().st_size != entry.unpacked:
                raise BuildError("a build image is not as long as announced, and was refused")
            check_archive(archive, reference)
            engine.restore_image(archive, reference)
            return engine.has_image(reference)
        except BuildError as error:
            candidates[0].cache.warn(error.what)
        except OSError as error:
            candidates[0].cache.warn(f"a build image cannot be kept for a moment: {error.strerror}")
        finally:
            fetching.close()
        return False

    def send(self) -> list[str]:
        """Give the images that were used to the caches that lack them; sentences about it.

        What goes wrong is said: the build has succeeded.
        """
        if self.asked is None or not self._used or not self.targets or has_secrets():
            return []
        listed = self.asked.all()[len(self.sources) :]
        lines = []
        for cache, entries in listed:
            for reference, engine in self._used.items():
                own = [entry for entry in entries if entry.key == key_of(reference)]
                fresh = own and merged(own, [], [entry.identity for entry in own], now()) is None
                if cache.why or fresh:
                    continue
                try:
                    lines += self._send(cache, engine, reference)
                except BuildError as error:
                    cache.give_up(error)
                except OSError as error:
                    cache.warn(f"a build image cannot be kept for a moment: {error.strerror}")
        return lines

    def _send(self, cache: Cache, engine: Engine, reference: str) -> list[str]:
        """One image to one cache; builds that run side by side send it once."""
        with exclusive(cache_folder() / "build-images"):
            there = [entry for entry in cache.entries() if entry.key == key_of(reference)]
            if cache.why:
                return []
            if there:
                add(cache, [], {}, [entry.identity for entry in there])
                return []
            with tempfile.TemporaryDirectory(prefix="cache-", dir=scratch()) as folder:
                entry, file = _packed(engine, reference, Path(folder))
                add(cache, [entry], {entry.blob: file}, [])
        return [f"cache: the build image sent to {cache.spec.name} ({entry.size / 1e6:.1f} MB)"]


def _packed(engine: Engine, reference: str, folder: Path) -> tuple[IndexEntry, Path]:
    archive, file = folder / "image.tar", folder / "image.tar.zst"
    engine.save_image(reference, archive)
    length = archive.stat().st_size
    _run("zstd", "-q", "-T0", LEVEL, "--rm", str(archive), "-o", str(file))
    with file.open("rb") as data:
        blob = f"sha256:{hashlib.file_digest(data, 'sha256').hexdigest()}"
    title = f"build-image/{reference.rpartition('/')[2].partition(':')[0]}"
    entry = IndexEntry(key_of(reference), "", "", blob, file.stat().st_size, length, (PART,), title, now())
    return replace(entry, used=now()), file


def check_archive(archive: Path, reference: str) -> None:
    """Raise BuildError for an archive that brings another image than this one, or more: no image of the user's changes.

    (Docker's image archives: manifest.json; older ones name images in ``repositories``, newer ones in ``index.json``.)
    """
    repository, _, tag = reference.rpartition(":")
    names = {"manifest.json": [[reference]], "repositories": {repository: [tag]}, "index.json": 1}
    documents: dict[str, Any] = {}
    try:
        with tarfile.open(archive) as members:
            for member in members:
                name = member.name.removeprefix("./")
                if name in names and member.size < ABOUT:
                    data = members.extractfile(member)
                    documents[name] = json.loads(data.read()) if data else None
        shown = {
            "manifest.json": [image["RepoTags"] for image in documents["manifest.json"]],
            "repositories": {
                name: [*tags] for name, tags in documents.get("repositories", {repository: [tag]}).items()
            },
            "index.json": len(documents["index.json"]["manifests"]) if "index.json" in documents else 1,
        }
    except (tarfile.TarError, OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise BuildError("a build image is no archive of an image, and was refused") from error
    if shown != names:
        raise BuildError("a build image's archive names other images, and was refused")


def _run(*argv: str) -> None:
    done = tools.run(argv)
    if done.status != 0:
        raise BuildError(f"{argv[0]} failed: {done.errors.strip()}")
