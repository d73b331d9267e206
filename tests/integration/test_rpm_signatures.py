"""Packages signed as RPM v6 alone: rpm 4 takes them for unsigned ones, and reads the same signature where v4 has it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.integration.command import has
from tests.integration.engine_cases import missing
from tests.mirrors import rpm
from tests.mirrors.keys import Key
from tests.mirrors.rpmv6 import sign_as_v6
from tests.mirrors.rpmversions import Version
from tests.unit.stages.elements.element_program import load

rpm_signatures = load(Path(__file__).parents[2] / "stages/elements/rpm/rpm.d/rpm_signatures.py")


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a signed package, and a database of rpm's that has its key."""
    if not has("rpmbuild", "rpmsign", "gpg"):
        missing("there is no rpmbuild")
    folder = tmp_path_factory.mktemp("signed")
    (folder / "from").mkdir()
    package = Version("tool", "1").build(folder, folder / "from", "x86_64", rpm.EPOCH)
    key = Key.make(folder / "gnupg", "Synthetic Mirror")
    rpm.sign([package], key)
    (folder / "key").write_bytes(key.public())
    subprocess.run(["rpm", "--dbpath", str(folder / "db"), "--import", str(folder / "key")], check=True)
    return folder


def _checked(folder: Path, package: Path) -> tuple[bool, str]:
    """Whether rpm takes the package's signature, and what it says."""
    options = ["--dbpath", str(folder / "db"), "--define", "_pkgverify_level signature"]
    done = subprocess.run(
        ["rpmkeys", *options, "--checksig", "--verbose", str(package)], capture_output=True, text=True, check=False
    )
    return done.returncode == 0, done.stdout


def _translated(signed: Path, folder: Path, package: Path) -> Path:
    (folder / "from").mkdir(exist_ok=True)
    package.rename(folder / "from" / package.name)
    rpm_signatures.main(["translate", str(folder / "from"), str(folder / "to")])
    return folder / "to" / package.name


def _v6(signed: Path, folder: Path) -> Path:
    package = folder / "tool-1-1.x86_64.rpm"
    package.write_bytes((signed / "from" / package.name).read_bytes())
    sign_as_v6(package)
    return package


def test_a_v6_signature_becomes_one_that_rpm_checks(signed: Path, tmp_path: Path) -> None:
    package = _v6(signed, tmp_path)
    taken, told = _checked(signed, package)
    assert not taken, told
    assert [*rpm_signatures.unreadable(tmp_path)] == [package.name]
    made = _translated(signed, tmp_path, package)
    taken, told = _checked(signed, made)
    assert taken, told
    assert "V4 RSA/SHA" in told
    assert [*rpm_signatures.unreadable(tmp_path / "to")] == []


@pytest.mark.parametrize("place", ["header", "payload"])
def test_what_was_changed_is_refused_by_rpm(signed: Path, tmp_path: Path, place: str) -> None:
    """Translating lets nothing through: rpm checks the signature, and the payload's digest in what is signed."""
    package = _v6(signed, tmp_path)
    data = bytearray(package.read_bytes())
    where = data.index(b"One of two versions") if place == "header" else len(data) - 40
    data[where] ^= 1
    package.write_bytes(data)
    taken, told = _checked(signed, _translated(signed, tmp_path, package))
    assert not taken, told


def test_a_signature_of_v4_stays_as_it_is(signed: Path, tmp_path: Path) -> None:
    package = tmp_path / "tool-1-1.x86_64.rpm"
    package.write_bytes((signed / "from" / package.name).read_bytes())
    sign_as_v6(package, beside=True)
    before = package.read_bytes()
    assert [*rpm_signatures.unreadable(tmp_path)] == []
    made = _translated(signed, tmp_path, package)
    assert made.read_bytes() == before
    assert _checked(signed, made)[0]
