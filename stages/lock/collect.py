"""What a build used, told for its lock; and the folder with all of it that a host fetches (``--vendor``)."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.digest import digest
from blockdev.core.errors import BuildError
from stages.layers.package_cache import kept_package
from stages.layers.package_lists import CHUNK, INDEX, SavedLists, file_digest, saved_name, write_checked
from stages.layers.store import Store
from stages.plan.plan import Plan
from stages.protocol.lock_record import Used, UsedPackage, UsedRepository
from stages.protocol.request import Request
from stages.repositories.download import open_address
from stages.repositories.source_state import SourceState
from stages.tree.installed_packages import SignedIndex, address, installed, signed_indices

MIRRORS = ("DIB_CTR_DEBIAN_MIRROR", "DIB_CTR_DEBIAN_SECURITY_MIRROR", "DIB_CTR_UBUNTU_MIRROR")
ZIPPED = ".gz"


@dataclass(frozen=True)
class LockCollector:
    """What can be told of a build that has made its tree from these layers (lowest first)."""

    request: Request
    plan: Plan
    store: Store
    chain: tuple[str, ...]

    def signed_indices(self) -> tuple[SignedIndex, ...]:
        """The repositories' signed indices and lists, as the layers have them."""
        return signed_indices(self._trees(), self.plan.repositories)

    def _trees(self) -> list[Path]:
        return [self.store.root / "layers" / layer / "tree" for layer in self.chain]

    def used(self) -> Used:
        """Everything that the build used; the same for a build that found all its layers in the store."""
        indices = self.signed_indices()
        repositories = {
            state.index: UsedRepository(state.index, state.digest, state.date) for state in self.plan.repositories
        }
        repositories |= {index.repository.index: index.repository for index in indices}
        snapshot = self.request.locking.locked.get("snapshot", self.request.locking.snapshot)
        result = Used(
            epoch=int(self.plan.environment["SOURCE_DATE_EPOCH"]),
            build_image=self.request.image,
            mirrors=_mirrors(self.plan.environment, repositories),
            repositories=tuple(sorted(repositories.values())),
            packages=installed(self._trees(), indices),
            snapshot=snapshot,
            sources=_sources(self.plan.sources),
            base_images=(self.request.base,) if self.request.base else (),
        )
        return result.without_credentials()

    def vendored(self, used: Used) -> Path:
        """A folder in the store with the lists and packages of the build that the host does not hold yet.

        Raises BuildError naming packages that are no longer in the package cache.
        """
        held = self.request.locking.held
        folder = (
            self.store.root
            / "outputs"
            / f"vendor-{digest(json.dumps([used.to_json(), dict(held)], sort_keys=True))[:32]}"
        )
        self.store.lend(f"outputs/{folder.name}")
        if folder.is_dir():
            return folder
        with self.store.workplace() as workplace:
            artifact = workplace.path / "vendor" / "artifact"
            artifact.mkdir(parents=True)
            self._vendor_packages(used.packages, artifact / "packages", held)
            for repository in used.repositories:
                self._vendor_lists(repository, artifact / "lists" / repository.digest, held)
            artifact.parent.rename(folder)
        return folder

    def _vendor_packages(self, packages: Iterable[UsedPackage], folder: Path, held: Mapping[str, str]) -> None:
        folder.mkdir()
        gone = []
        for package in packages:
            if not package.sha256 or held.get(f"packages/{package.cached}") == package.sha256:
                continue
            kept = kept_package(self.store, "apt", self.request.arch, package.cached, package.sha256)
            if file_digest(kept) == package.sha256:
                os.link(kept, folder / package.cached)
            elif self.request.offline or not _fetch(package, folder / package.cached):
                gone.append(str(package))
        if gone:
            more = f" and {len(gone) - 3} more" if len(gone) > 3 else ""
            raise BuildError(
                f"the package cache no longer has {', '.join(gone[:3])}{more}",
                where="--vendor",
                hint="build with --no-cache and a network: it downloads them again",
            )

    def _vendor_lists(self, repository: UsedRepository, folder: Path, held: Mapping[str, str]) -> None:
        folder.mkdir(parents=True)
        for path, file in SavedLists(self.store).files(repository).items():
            name = saved_name(path) + ("" if path == INDEX else ZIPPED)
            if held.get(f"lists/{repository.digest}/{name}") == file_digest(file):
                continue
            with file.open("rb") as data, (folder / name).open("wb") as out:
                if path == INDEX:
                    shutil.copyfileobj(data, out)
                else:
                    with gzip.GzipFile("", "wb", 6, out, mtime=0) as zipped:
                        shutil.copyfileobj(data, zipped, CHUNK)


def _fetch(package: UsedPackage, file: Path) -> bool:
    """Get a package that no cache keeps (the plan does not know its repository) once more; tells whether it is it."""
    try:
        with open_address(address(package)) as answer:
            right = write_checked(file, iter(lambda: answer.read(CHUNK), b"")) == package.sha256
    except (OSError, http.client.HTTPException):
        right = False
    if not right:
        file.unlink(missing_ok=True)
    return right


def _sources(states: Iterable[SourceState]) -> tuple[Mapping[str, str], ...]:
    return tuple(sorted((state.to_lock() for state in states), key=lambda entry: sorted(entry.items())))


def _mirrors(environment: Mapping[str, str], indices: Iterable[str]) -> dict[str, str]:
    """The machine's own mirrors that the image's package sources name."""
    mirrors = {name: environment[name] for name in MIRRORS if environment.get(name)}
    return {
        name: address
        for name, address in mirrors.items()
        if any(index.startswith(f"{address.rstrip('/')}/") for index in indices)
    }
