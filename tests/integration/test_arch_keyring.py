"""Arch Linux by a keyring older than a packager's key: what the mirror's own archlinux-keyring may do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.integration.command import Command, Outcome
from tests.integration.synthetic import mirrors_folder
from tests.mirrors import arch_keyring, pacman
from tests.mirrors.arch_keyring import Keys
from tests.mirrors.debian import DebianTree
from tests.mirrors.keys import Key
from tests.mirrors.serve import serve

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough("each distribution's family takes minutes; `just test` has Fedora's"),
]
Build = Callable[..., Outcome]


@pytest.fixture(scope="module")
def folder(open_folder: Path) -> Iterator[Path]:
    yield from mirrors_folder(open_folder, "arch-keyring")


@pytest.fixture(scope="module")
def mirror(folder: Path, small_tree: DebianTree) -> pacman.Mirror:
    return pacman.make(folder / "mirror", small_tree)


@pytest.fixture
def served(folder: Path, mirror: pacman.Mirror, tmp_path: Path) -> Callable[..., AbstractContextManager[Build]]:
    """Serves the mirror with an archlinux-keyring: by whom, and who has signed the newcomer's key."""

    @contextmanager
    def serving(
        signer: Key | None = None, *, signatures: int = 3, revoked: bool = False, trusted: bool = True
    ) -> Iterator[Build]:
        keys = Keys.make(tmp_path, signatures)
        arch_keyring.add(mirror, keys, signer or mirror.key, revoked=arch_keyring.revocation(keys) if revoked else "")
        keyring = arch_keyring.older_keyring(mirror, keys, folder / "older.gpg")
        shutil.copy(keys.trusted, folder / "trusted")
        command = Command("host", folder / "store", folder / "out", ())
        with serve(mirror.folder) as address:
            settings = {
                "DIB_DISTRIBUTION_MIRROR": address,
                "DIB_ARCH_KEYRING": str(keyring),
                "DIB_ARCH_TRUSTED": str(folder / "trusted") if trusted else "",
                "DIB_ARCH_REVOKED": "",
            }
            options = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
            ask = ("--output", "dir,slim=no", "-p", pacman.EXTRA, "--name", "later", "arch-minimal")
            yield lambda: command("build", *options, *ask)

    return serving


def test_a_key_that_only_the_newer_keyring_has_is_known(
    served: Callable[..., AbstractContextManager[Build]], folder: Path
) -> None:
    with served() as build:
        outcome = build()
    assert outcome.status == 0, outcome.stderr
    tree = folder / "out/later.dir"
    assert (tree / f"usr/bin/{pacman.EXTRA}").is_file()
    assert sorted(file.name for file in (tree / "etc/pacman.d").iterdir()) == ["mirrorlist"]


@pytest.mark.parametrize(
    "how", [{"signatures": 2}, {"revoked": True}, {"trusted": False}], ids=["two main keys", "revoked", "no main keys"]
)
def test_a_key_that_the_main_keys_do_not_vouch_for_is_none(
    served: Callable[..., AbstractContextManager[Build]], how: dict[str, int | bool]
) -> None:
    with served(**how) as build:
        failed = build()
    assert failed.status == 1
    assert "named-packages" in failed.stderr
    assert "required key missing from keyring" in failed.stderr


def test_a_forged_keyring_is_refused(
    served: Callable[..., AbstractContextManager[Build]], tmp_path: Path, folder: Path
) -> None:
    with served(Key.make(tmp_path / "forger", "Forger")) as build:
        failed = build()
    assert failed.status == 1
    assert "08-arch-minimal" in failed.stderr
    assert "archlinux-keyring is not signed by a key of" in failed.stderr
