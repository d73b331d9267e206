"""What Gentoo releases, fetched from a synthetic mirror's folder by the program that the element `gentoo` uses."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stages.element.resolve import BUILTIN
from stages.repositories.index_date import signature_time
from tests.mirrors.keys import Key
from tests.unit.stages.elements.element_program import load

SCRIPT = BUILTIN / "gentoo/gentoo.d/release_media.py"
STAMP = "20251009T085320Z"
NAME = f"stage3-amd64-openrc-{STAMP}.tar.xz"
LIST = "latest-stage3-amd64-openrc.txt"
SNAPSHOT = "gentoo-latest.tar.xz"
SIGNED = int(datetime(2099, 11, 9, 8, 53, 20, tzinfo=UTC).timestamp())

pytestmark = pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not there")


media = load(SCRIPT)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return Key.make(tmp_path_factory.mktemp("key") / "gnupg", "Releng")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return Key.make(tmp_path_factory.mktemp("other") / "gnupg", "Somebody else")


@pytest.fixture
def mirror(tmp_path: Path, key: Key) -> Path:
    """A folder with a list, the tarball that it names, a snapshot, and all signatures."""
    folder = tmp_path / "mirror"
    (folder / STAMP).mkdir(parents=True)
    tarball = folder / STAMP / NAME
    tarball.write_bytes(b"no tarball" * 100)
    write_list(folder, key)
    write_checksums(folder, key)
    key.sign(tarball, tarball.with_name(f"{NAME}.asc"))
    (folder / SNAPSHOT).write_bytes(b"ebuilds")
    key.sign(folder / SNAPSHOT, folder / f"{SNAPSHOT}.gpgsig")
    (folder / "keys").write_bytes(key.public())
    return folder


def write_list(folder: Path, key: Key, path: str = f"{STAMP}/{NAME}", size: int = 1000) -> None:
    text = f"# Latest as of Thu, 09 Oct 2025 08:53:20 +0000\n# ts=1760000000\n{path} {size}\n"
    (folder / LIST).write_bytes(key.clear_sign(text.encode()))


def write_checksums(folder: Path, key: Key) -> None:
    data = (folder / STAMP / NAME).read_bytes()
    text = f"# BLAKE2B HASH\n{hashlib.blake2b(data).hexdigest()}  {NAME}\n"
    text += f"# SHA512 HASH\n{hashlib.sha512(data).hexdigest()}  {NAME}\n"
    (folder / STAMP / f"{NAME}.DIGESTS").write_bytes(key.clear_sign(text.encode()))


def fetch(mirror: Path, what: str, address: str) -> bytes:
    """What the program writes, as ``main`` is called."""
    target = mirror / "fetched"
    media.main(what, str(mirror / "keys"), f"{mirror.as_uri()}/{address}", str(target))
    return target.read_bytes()


def test_what_is_signed_is_fetched(mirror: Path) -> None:
    """A tarball by the newest list, or by its own checksums; and the ebuild repository."""
    assert fetch(mirror, "stage3", LIST) == b"no tarball" * 100
    assert fetch(mirror, "stage3", f"{STAMP}/{NAME}.DIGESTS") == b"no tarball" * 100
    assert fetch(mirror, "snapshot", SNAPSHOT) == b"ebuilds"


def test_keys_may_be_armored_or_not(mirror: Path, key: Key) -> None:
    (mirror / "keys").write_bytes(key.public(armor=False))
    assert fetch(mirror, "snapshot", SNAPSHOT) == b"ebuilds"


def _list_of_another(folder: Path, _: Key, other: Key) -> None:
    write_list(folder, other)


def _list_changed(folder: Path, _: Key, __: Key) -> None:
    file = folder / LIST
    file.write_bytes(file.read_bytes().replace(b" 1000\n", b" 1001\n"))


def _list_unsigned(folder: Path, _: Key, __: Key) -> None:
    (folder / LIST).write_text(f"{STAMP}/{NAME} 1000\n")


def _list_of_another_stage(folder: Path, key: Key, _: Key) -> None:
    write_list(folder, key, f"{STAMP}/{NAME}".replace("openrc", "systemd"))


def _list_out_of_its_folder(folder: Path, key: Key, _: Key) -> None:
    write_list(folder, key, f"../{STAMP}/{NAME}")


def _size_of_another(folder: Path, key: Key, _: Key) -> None:
    write_list(folder, key, size=900)


def _tarball_changed(folder: Path, _: Key, __: Key) -> None:
    (folder / STAMP / NAME).write_bytes(b"NO TARBALL" * 100)


def _tarball_and_checksums_of_another(folder: Path, _: Key, other: Key) -> None:
    _tarball_changed(folder, _, other)
    write_checksums(folder, other)


def _tarball_signed_by_another(folder: Path, _: Key, other: Key) -> None:
    other.sign(folder / STAMP / NAME, folder / STAMP / f"{NAME}.asc")


def _no_signature(folder: Path, _: Key, __: Key) -> None:
    (folder / STAMP / f"{NAME}.asc").unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_list_of_another, "not among those that are trusted"),
        (_list_changed, "changed after it was signed"),
        (_list_unsigned, "not signed"),
        (_list_of_another_stage, "names no tarball stage3-amd64-openrc"),
        (_list_out_of_its_folder, "names no tarball"),
        (_size_of_another, "more than the 900 bytes"),
        (_tarball_changed, "SHA-512"),
        (_tarball_and_checksums_of_another, "not among those that are trusted"),
        (_tarball_signed_by_another, "not among those that are trusted"),
        (_no_signature, "cannot be fetched"),
    ],
)
def test_anything_else_is_refused(
    mirror: Path, key: Key, other: Key, spoil: Callable[[Path, Key, Key], None], said: str
) -> None:
    spoil(mirror, key, other)
    with pytest.raises(SystemExit, match=said):
        fetch(mirror, "stage3", LIST)


def test_an_ebuild_repository_that_was_changed_is_refused(mirror: Path) -> None:
    (mirror / SNAPSHOT).write_bytes(b"EBUILDS")
    with pytest.raises(SystemExit, match="changed after it was signed"):
        fetch(mirror, "snapshot", SNAPSHOT)


def test_a_key_that_has_expired_is_refused(mirror: Path, tmp_path: Path) -> None:
    """The signature was good when it was made."""
    brief = Key(tmp_path / "brief", "Old")
    brief.home.mkdir(mode=0o700)
    making = ("--passphrase", "", "--quick-gen-key", "Old <old@mirror.invalid>", "rsa2048", "sign", "20200201T000000")
    brief.run("--faked-system-time", "20200101T000000", *making)
    old = mirror / f"{SNAPSHOT}.gpgsig"
    old.unlink()
    signing = ("--detach-sign", "--local-user", "Old", "--output", str(old), str(mirror / SNAPSHOT))
    brief.run("--faked-system-time", "20200102T000000", *signing)
    (mirror / "keys").write_bytes(brief.public())
    with pytest.raises(SystemExit, match="has expired"):
        fetch(mirror, "snapshot", SNAPSHOT)


def test_a_file_without_keys_is_refused(mirror: Path) -> None:
    (mirror / "keys").write_text("no keys\n")
    with pytest.raises(SystemExit, match="holds no public key"):
        fetch(mirror, "snapshot", SNAPSHOT)


@pytest.mark.parametrize("armor", [True, False])
def test_a_signature_says_when_it_was_made(tmp_path: Path, key: Key, armor: bool) -> None:
    file, signature = tmp_path / "file", tmp_path / "signature"
    file.write_text("x")
    key.run(
        "--faked-system-time",
        "20991109T085320!",
        *(("--armor",) if armor else ()),
        "--detach-sign",
        "--output",
        str(signature),
        str(file),
    )
    assert signature_time(signature.read_bytes()) == SIGNED


def test_a_signed_text_says_when_it_was_signed(key: Key) -> None:
    signed = key.run("--faked-system-time", "20991109T085320!", "--clearsign", data=b"text\n")
    assert signature_time(signed) == SIGNED


@pytest.mark.parametrize("data", [b"", b"\x88", b"text", b"-----BEGIN PGP SIGNATURE-----\n\n!!!!\n-----END"])
def test_what_is_no_signature_has_no_time(data: bytes) -> None:
    assert signature_time(data) == 0
