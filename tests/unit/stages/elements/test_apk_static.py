"""Alpine's static apk from a synthetic mirror, by the program that the element `apk` bootstraps with.

What the program is in the packages here is a few bytes: nothing of it is run, and it is not apk.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from stages.element.resolve import BUILTIN
from tests.mirrors.apk import Key, Package, archive, write_repository
from tests.unit.stages.elements.element_program import load

PROGRAM = bytes(range(256)) * 8
REPOSITORY = "v3.22/main"
SCRIPT = BUILTIN / "apk/apk.d/apk_static.py"


apk_static = load(SCRIPT)


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return Key(tmp_path_factory.mktemp("key")).made()


@pytest.fixture
def mirror(tmp_path: Path, key: Key) -> Path:
    """A synthetic mirror's folder for x86_64, with the package and another one."""
    folder = tmp_path / REPOSITORY / "x86_64"
    write_repository(
        folder,
        [
            Package("busybox", "1.37.0-r19", {"bin/busybox": b"no busybox"}),
            Package("apk-tools-static", "2.14.9-r2", {"sbin/apk.static": PROGRAM, "sbin/apk.static.sig": b"x"}),
        ],
        key,
    )
    return folder


def fetch_program(mirror: Path, key: Key) -> bytes:
    """What the program writes; raises Refused, as ``main`` hears it."""
    index = apk_static.signed_part((mirror / "APKINDEX.tar.gz").read_bytes(), key.public)
    entry = apk_static.listed(index, "apk-tools-static")
    found: bytes = apk_static.program_of(apk_static.verified_data((mirror / entry.file).read_bytes(), entry))
    return found


def test_a_vouched_for_program_is_written(mirror: Path, key: Key, tmp_path: Path) -> None:
    program = tmp_path / "apk"
    said = apk_static.main(mirror.parent.as_uri(), str(key.public), "x86_64", str(program))
    assert said == "apk-tools-static 2.14.9-r2"
    assert program.read_bytes() == PROGRAM
    assert os.access(program, os.X_OK)


def test_a_newer_signature_is_known(tmp_path: Path, key: Key) -> None:
    package = Package("apk-tools-static", "3.0.3-r1", {"usr/sbin/apk.static": PROGRAM})
    write_repository(tmp_path, [package], key, digest="sha256")
    assert fetch_program(tmp_path, key) == PROGRAM


@pytest.mark.parametrize("file", ["APKINDEX.tar.gz", "apk-tools-static-2.14.9-r2.apk"])
def test_no_changed_byte_changes_what_is_run(mirror: Path, key: Key, file: str) -> None:
    """A byte may be changed where it says nothing (gzip's header of the signature), and nowhere else."""
    original = (mirror / file).read_bytes()
    chosen = random.Random(22).sample(range(len(original)), 30)
    refused = 0
    for position in chosen:
        changed = bytearray(original)
        changed[position] ^= 0x11
        (mirror / file).write_bytes(changed)
        try:
            assert fetch_program(mirror, key) == PROGRAM, f"byte {position}"
        except apk_static.Refused:
            refused += 1
    assert refused > len(chosen) // 2


def test_a_file_that_is_cut_off_is_refused(mirror: Path, key: Key) -> None:
    for file in ("apk-tools-static-2.14.9-r2.apk", "APKINDEX.tar.gz"):
        whole = (mirror / file).read_bytes()
        for size in (0, 20, len(whole) // 2, len(whole) - 1):
            (mirror / file).write_bytes(whole[:size])
            with pytest.raises(apk_static.Refused):
                fetch_program(mirror, key)
        (mirror / file).write_bytes(whole)
    assert fetch_program(mirror, key) == PROGRAM


def test_another_key_of_the_same_name_is_refused(mirror: Path, tmp_path: Path) -> None:
    with pytest.raises(apk_static.Refused, match="its signature is not valid for the key synthetic-mirror"):
        fetch_program(mirror, Key(tmp_path / "other").made())


def test_an_unknown_key_and_one_that_leads_elsewhere_are_refused(mirror: Path, key: Key, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    index = (mirror / "APKINDEX.tar.gz").read_bytes()
    with pytest.raises(apk_static.Refused, match=r"not among those .*: synthetic-mirror-00000001.rsa.pub"):
        apk_static.signed_part(index, tmp_path / "empty")
    listing = apk_static.split(index, 1 << 16)[2]
    away = Key(key.folder, f"../keys/{key.name}").sign(listing)
    with pytest.raises(apk_static.Refused, match=r"not among those .*: \.\./keys"):
        apk_static.signed_part(away, key.public)


def test_an_unsigned_index_is_refused(key: Key) -> None:
    listing = archive({"APKINDEX": b"P:apk-tools-static\n"}, end=True)
    with pytest.raises(apk_static.Refused, match="not signed"):
        apk_static.signed_part(archive({"other": b""}) + listing, key.public)


def test_a_package_signed_by_the_key_but_not_in_the_index_is_refused(mirror: Path, key: Key) -> None:
    other = Package("apk-tools-static", "2.14.9-r2", {"sbin/apk.static": bytes(reversed(PROGRAM))})
    other.write(mirror, key)
    with pytest.raises(apk_static.Refused, match="index"):
        fetch_program(mirror, key)


def test_main_says_what_is_refused(mirror: Path, key: Key, tmp_path: Path) -> None:
    package = mirror / "apk-tools-static-2.14.9-r2.apk"
    package.write_bytes(package.read_bytes() + b"more")
    with pytest.raises(SystemExit) as stopped:
        apk_static.main(mirror.parent.as_uri(), str(key.public), "x86_64", str(tmp_path / "apk"))
    assert f"{package.as_uri()} is refused: it has not the" in str(stopped.value)
    with pytest.raises(SystemExit, match="DIB_DISTRIBUTION_MIRROR"):
        apk_static.main(tmp_path.as_uri(), str(key.public), "s390x", str(tmp_path / "apk"))
    assert not (tmp_path / "apk").exists()
