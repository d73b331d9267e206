"""The synthetic mirrors by distribution, and the settings with which a build uses each."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.mirrors import gentoo, pacman, rpm, ubuntu
from tests.mirrors.debian import DebianTree, bootstrap
from tests.mirrors.rpmnames import DISTRIBUTIONS
from tests.mirrors.serve import serve
from tests.mirrors.subscription import registration

# A mirror of one release for an architecture, made below a folder and served while it is held; what a build is told.
Serve = Callable[[Path, str, str], AbstractContextManager[Mapping[str, str]]]
Release = tuple[str, str, str]  # distribution, release, architecture
_TREE = threading.Lock()


def _tree(folder: Path, architecture: str) -> DebianTree:
    """The tree that an architecture's RPM mirrors below a folder are made of; one of them makes it."""
    with _TREE:
        return bootstrap(folder / f"debian-tree-{architecture}", rpm.packages(architecture), architecture)


@contextlib.contextmanager
def _rpm(distribution: str, folder: Path, release: str, architecture: str) -> Iterator[Mapping[str, str]]:
    mirror = rpm.make(folder, distribution, release, _tree(folder.parent, architecture), architecture)
    with serve(mirror.folder) as address:
        more = registration(folder.with_name(f"{folder.name}.key"), address) if distribution == "rhel" else {}
        yield {"DIB_DISTRIBUTION_MIRROR": f"{address}/{mirror.base}", "DIB_RPM_KEYS": str(mirror.key), **more}


@contextlib.contextmanager
def _arch(folder: Path, release: str, architecture: str) -> Iterator[Mapping[str, str]]:
    assert (release, architecture) == ("rolling", "amd64")
    mirror = pacman.make(folder, bootstrap(folder.with_name("debian-tree-for-arch"), pacman.PACKAGES))
    with serve(mirror.folder) as address:
        yield {"DIB_DISTRIBUTION_MIRROR": address, "DIB_ARCH_KEYRING": str(mirror.keyring), "DIB_ARCH_REVOKED": ""}


@contextlib.contextmanager
def _ubuntu(folder: Path, release: str, architecture: str) -> Iterator[Mapping[str, str]]:
    packages = ubuntu.download(folder.with_name(f"packages-for-ubuntu-{architecture}"), architecture)
    mirror = ubuntu.make(folder, release, packages, architecture)
    with serve(mirror.folder) as address:
        yield {"DIB_DISTRIBUTION_MIRROR": address, "DIB_APT_KEYRING": str(mirror.keyring)}


@contextlib.contextmanager
def _gentoo(folder: Path, release: str, architecture: str) -> Iterator[Mapping[str, str]]:
    assert (release, architecture) == ("gentoo", "amd64")
    mirror = gentoo.make(folder, bootstrap(folder.with_name("debian-tree-for-gentoo"), gentoo.PACKAGES))
    with serve(mirror.folder) as address:
        yield {
            "DIB_DISTRIBUTION_MIRROR": address,
            "DIB_GENTOO_KEYS": str(mirror.keys),
            "GENTOO_PROFILE": gentoo.PROFILE,
        }


SERVERS: dict[str, Serve] = {
    **{name: partial(_rpm, name) for name in DISTRIBUTIONS},
    "arch": _arch,
    "gentoo": _gentoo,
    "ubuntu": _ubuntu,
}


@dataclass(frozen=True)
class Served:
    """What builds of each release are told; and why there is no mirror of a release where making it failed."""

    variables: dict[Release, Mapping[str, str]] = field(default_factory=dict)
    failures: dict[Release, str] = field(default_factory=dict)


@contextlib.contextmanager
def served(releases: Iterable[Release], folder: Path, jobs: int = 1) -> Iterator[Served]:
    """The mirrors of these releases, made with ``jobs`` at a time, there as long as this is held.

    Raises KeyError for a distribution that there is no synthetic mirror of.
    """
    wanted = [(SERVERS[release[0]], release) for release in dict.fromkeys(releases)]
    found = Served()
    with contextlib.ExitStack() as held:

        def enter(server: Serve, release: Release) -> None:
            try:
                found.variables[release] = held.enter_context(server(folder / "-".join(release), *release[1:]))
            except Exception as error:  # noqa: BLE001 - the rows of the others go on
                found.failures[release] = " ".join(f"{error}".split())[-300:]

        with ThreadPoolExecutor(max_workers=jobs) as pool:
            list(pool.map(enter, *zip(*wanted, strict=True)) if wanted else ())
        yield found
