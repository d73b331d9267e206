"""The synthetic mirrors by distribution, and the settings with which a build uses each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from tests.mirrors import gentoo, pacman, rpm
from tests.mirrors.debian import bootstrap
from tests.mirrors.rpmnames import DISTRIBUTIONS
from tests.mirrors.serve import serve

# A mirror of one release, made below a folder and served while it is held; what a build is told to use it.
Serve = Callable[[Path, str], AbstractContextManager[Mapping[str, str]]]


@contextlib.contextmanager
def _rpm(distribution: str, folder: Path, release: str) -> Iterator[Mapping[str, str]]:
    tree = bootstrap(folder.parent / "debian-tree", rpm.PACKAGES)
    mirror = rpm.make(folder, distribution, release, tree)
    with serve(mirror.folder) as address:
        yield {
            "DIB_DISTRIBUTION_MIRROR": address,
            "DIB_RPM_KEYS": str(mirror.key),
            "DIB_BOOTLOADER_SIGNED": "False",  # the mirror has no shim
        }


@contextlib.contextmanager
def _arch(folder: Path, release: str) -> Iterator[Mapping[str, str]]:
    assert release == "rolling"
    mirror = pacman.make(folder, bootstrap(folder.with_name("debian-tree-for-arch"), pacman.PACKAGES))
    with serve(mirror.folder) as address:
        yield {"DIB_DISTRIBUTION_MIRROR": address, "DIB_ARCH_KEYRING": str(mirror.keyring), "DIB_ARCH_REVOKED": ""}


@contextlib.contextmanager
def _gentoo(folder: Path, release: str) -> Iterator[Mapping[str, str]]:
    assert release == "gentoo"
    mirror = gentoo.make(folder, bootstrap(folder.with_name("debian-tree-for-gentoo"), gentoo.PACKAGES))
    with serve(mirror.folder) as address:
        yield {
            "DIB_DISTRIBUTION_MIRROR": address,
            "DIB_GENTOO_KEYS": str(mirror.keys),
            "GENTOO_PROFILE": gentoo.PROFILE,
        }


SERVERS: dict[str, Serve] = {**{name: partial(_rpm, name) for name in DISTRIBUTIONS}, "arch": _arch, "gentoo": _gentoo}


@contextlib.contextmanager
def served(releases: Mapping[str, set[str]], folder: Path) -> Iterator[dict[tuple[str, str], Mapping[str, str]]]:
    """The settings for builds by distribution and release, whose mirrors are there as long as this is held.

    Raises KeyError for a distribution that there is no synthetic mirror of.
    """
    with contextlib.ExitStack() as held:
        yield {
            (distribution, release): held.enter_context(
                SERVERS[distribution](folder / f"{distribution}-{release}", release)
            )
            for distribution, known in releases.items()
            for release in sorted(known)
        }
