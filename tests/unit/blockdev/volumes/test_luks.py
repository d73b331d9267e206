"""What cryptsetup is told, and which containers are refused before it starts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from blockdev.core.errors import BuildError
from blockdev.filesystems.region import Region
from blockdev.layout.model import LUKS_HEADER
from blockdev.volumes import luks
from blockdev.volumes.luks import Luks

SECRET = b"correct horse\n\0battery"


def test_no_stopwatch_and_no_secret_in_what_is_told() -> None:
    """Iterations are forced for either derivation, memory for Argon2 only; the passphrase is nowhere, nor in a repr."""
    argon, plain = Luks(SECRET, label="root", seed="a"), Luks(SECRET, pbkdf="pbkdf2", memory=7)
    told = luks.encryption(argon)
    assert told[told.index("--pbkdf-force-iterations") + 1] == "4"
    assert told[told.index("--pbkdf-memory") + 1] == "65536"
    assert told[told.index("--label") + 1] == "root"
    old = luks.encryption(plain)
    assert old[old.index("--pbkdf-force-iterations") + 1] == "600000"
    assert "--pbkdf-memory" not in old
    assert "--label" not in old
    assert "--iter-time" not in told + old
    assert "horse" not in f"{told} {old} {argon!r} {plain!r}"


def test_identity_follows_from_the_seed() -> None:
    """Two containers differ by seed; a given UUID stays."""
    assert Luks(SECRET, seed="a").volume_id == Luks(b"other", seed="a").volume_id != Luks(SECRET, seed="b").volume_id
    given = "5d8a0f00-0000-4000-8000-000000000001"
    assert Luks(SECRET, uuid=given, seed="a").volume_id == given


@pytest.mark.parametrize(
    ("change", "size", "said"),
    [
        ({"pbkdf": "scrypt"}, 1 << 20, "there is no key derivation 'scrypt'"),
        ({"iterations": 3}, 1 << 20, "3 iterations of argon2id are too few: 4 at least"),
        ({"pbkdf": "pbkdf2", "iterations": 4}, 1 << 20, "4 iterations of pbkdf2 are too few: 1000 at least"),
        ({"key": b""}, 1 << 20, "the passphrase is empty"),
        ({}, (1 << 20) - 512, f"has {(1 << 20) - 512} bytes, and its container has room for {1 << 20}"),
        ({"sector_size": 1 << 21}, 1 << 20, f"no whole sectors of {1 << 21}"),
    ],
)
def test_refused(tmp_path: Path, change: dict[str, object], size: int, said: str) -> None:
    """Nothing is written where the wish cannot be fulfilled."""
    plain = tmp_path / "plain"
    plain.write_bytes(bytes(size))
    region = Region(tmp_path / "image", 512, LUKS_HEADER + (1 << 20))
    wish = dataclasses.replace(Luks(SECRET), **change)  # type: ignore[arg-type]
    with pytest.raises(BuildError) as caught:
        luks.encrypt(plain, region, wish)
    assert said in str(caught.value)
    assert not region.image.exists()
    assert "horse" not in str(caught.value)


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    """A region with something in it is refused."""
    plain = tmp_path / "plain"
    plain.write_bytes(bytes(1 << 20))
    region = Region(tmp_path / "image", 0, LUKS_HEADER + (1 << 20))
    region.image.write_bytes(b"x")
    with pytest.raises(BuildError, match="not blank"):
        luks.encrypt(plain, region, Luks(SECRET))


def test_cryptsetup_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the package."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("blockdev.core.tools._SYSTEM", ())
    plain = tmp_path / "plain"
    plain.write_bytes(bytes(1 << 20))
    with pytest.raises(BuildError) as caught:
        luks.encrypt(plain, Region(tmp_path / "image", 0, LUKS_HEADER + (1 << 20)), Luks(SECRET))
    assert "cryptsetup is not installed" in str(caught.value)
    assert "cryptsetup-bin" in caught.value.hint
