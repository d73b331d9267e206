"""Which package files the repositories' indices list: for each family, a file of the same name and size is refused."""

from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import io
import lzma
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.layers.listed_packages import WIDTH, ListedPackages, StagePlaces, Table, entry_of
from stages.layers.store import Store
from stages.repositories import package_index
from stages.repositories.apt_lists import list_name
from stages.repositories.package_index import ListedFile
from stages.repositories.state import State
from tests.examples import examples


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def tar(members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@dataclass(frozen=True)
class Archive:
    """A repository of one package: the address of its index, the files that a stage leaves, the package's file name."""

    index: str
    signed: bytes
    left: Mapping[str, bytes]
    name: str
    package: bytes

    @property
    def state(self) -> State:
        return State(self.index, sha256(self.signed), 0)


def debian() -> Archive:
    package = b"the package"
    listed = (
        "Package: base\nVersion: 1\nArchitecture: all\nSHA256: 00\n\n"
        f"Package: libx\nVersion: 1:2.0~rc1+b1\nArchitecture: amd64\nDescription: x\nSHA256: {sha256(package)}\n\n"
    ).encode()
    signed = f"Suite: x\nSHA256:\n {sha256(listed)} {len(listed)} main/binary-amd64/Packages\n".encode()
    index = "http://m/debian/dists/x/InRelease"
    folder = "tree/var/lib/apt/lists"
    lists = f"{folder}/{list_name('http://m/debian/dists/x/main/binary-amd64/Packages')}"
    left = {f"{folder}/{list_name(index)}": signed, lists: listed}
    return Archive(index, signed, left, "libx_1%3a2.0~rc1+b1_amd64.deb", package)


def rpm(pack: Callable[[bytes], bytes] = lambda data: data, algorithm: str = "sha256") -> Archive:
    package = b"the package"
    sum_ = hashlib.new(algorithm, package).hexdigest()
    listed = pack(
        (
            f"<metadata>{'<package></package>' * 10}<package type='rpm'><name>a</name>"
            f'<checksum type="{algorithm}" pkgid="YES">{sum_}</checksum>'
            '<location href="Packages/a/a&amp;b-1.rpm"/></package>'
            "</metadata>"
        ).encode()
    )
    signed = (
        f'<repomd><data type="filelists"><checksum type="sha256">00</checksum><location href="repodata/f.xml"/></data>'
        f'<data type="primary">\n<checksum type="{algorithm}">{hashlib.new(algorithm, listed).hexdigest()}</checksum>'
        f'<open-checksum type="sha256">{"0" * 64}</open-checksum>'
        '<location href="repodata/x-primary.xml.gz"/></data></repomd>'
    ).encode()
    left = {"cache/f-0/repodata/repomd.xml": signed, "cache/f-0/repodata/x-primary.xml.gz": listed}
    return Archive("metalink=http://m/metalink?repo=f", signed, left, "a&b-1.rpm", package)


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout


def arch(pack: Callable[[bytes], bytes] = gzip.compress) -> Archive:
    package = b"the package"
    desc = f"%FILENAME%\nx-1-1-any.pkg.tar.zst\n\n%SHA256SUM%\n{sha256(package)}\n\n".encode()
    signed = pack(tar({"a-1/desc": b"%FILENAME%\na\n", "x-1-1/desc": desc}))
    left = {"tree/var/lib/pacman/sync/core.db": signed}
    return Archive("http://m/core/os/x86_64/core.db", signed, left, "x-1-1-any.pkg.tar.zst", package)


def apk_package(data: bytes, name: str = "x") -> tuple[bytes, bytes]:
    """A package and the part of it that describes it."""
    rest = gzip.compress(tar({"usr/bin/x": data}), 0, mtime=0)
    info = f"pkgname = {name}\ndatahash = {sha256(rest)}\n".encode()
    control = gzip.compress(tar({".PKGINFO": info})[:1024], 0, mtime=0)
    return gzip.compress(tar({".SIGN.RSA.key": b"signed"})[:1024], mtime=0) + control + rest, control


def alpine() -> Archive:
    package, control = apk_package(b"the program")
    sum_ = base64.b64encode(hashlib.sha1(control).digest()).decode()
    text = f"C:Q1{'A' * 27}=\nP:a\nV:1\nS:5\n\nC:Q1{sum_}\nP:x\nV:1-r0\nS:{len(package)}\nt:1\n\n".encode()
    signed = gzip.compress(tar({".SIGN.RSA.key": b"s"})[:1024]) + gzip.compress(
        tar({"DESCRIPTION": b"", "APKINDEX": text})
    )
    left = {"cache/APKINDEX.0123abcd.tar.gz": signed}
    return Archive("http://m/v3/main/x86_64/APKINDEX.tar.gz", signed, left, "x-1-r0.0a1b2c3d.apk", package)


ARCHIVES = {
    "debian": debian,
    "rpm": rpm,
    "rpm gzip": lambda: rpm(gzip.compress),
    "rpm xz": lambda: rpm(lzma.compress),
    "rpm bzip2": lambda: rpm(bz2.compress),
    "rpm sha512": lambda: rpm(gzip.compress, "sha512"),
    "arch": arch,
    "alpine": alpine,
}
if shutil.which("zstd"):
    ARCHIVES |= {"rpm zstd": lambda: rpm(zstd), "arch zstd": lambda: arch(zstd)}


@dataclass(frozen=True)
class Stage:
    """A folder with what a stage has left, and what is learned from it for the archive's state."""

    place: Path
    archive: Archive

    def leave(self, files: Mapping[str, bytes]) -> None:
        for name, data in files.items():
            file = self.place / "stage" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)

    def listed(self) -> ListedPackages:
        (self.place / "store").mkdir(exist_ok=True)
        listed = ListedPackages(Store(self.place / "store"), [self.archive.state])
        listed.learn(StagePlaces(self.place / "stage/tree", [self.place / "stage/cache"]))
        return listed

    def takes(self, name: str, data: bytes) -> bool:
        file = self.place / "file"
        file.write_bytes(data)
        return self.listed().entry_of_file(name, file) is not None


@pytest.fixture(params=ARCHIVES)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    return Stage(tmp_path, ARCHIVES[request.param]())


def test_a_listed_package_is_taken_and_another_one_of_its_name_and_size_is_not(stage: Stage) -> None:
    archive = stage.archive
    assert not stage.takes(archive.name, archive.package)
    stage.leave(archive.left)
    assert stage.takes(archive.name, archive.package)
    assert not stage.takes("other" + archive.name, archive.package)
    for place in {0, len(archive.package) // 2, len(archive.package) - 1}:
        planted = bytearray(archive.package)
        planted[place] ^= 1
        if archive.name.endswith(".apk") and place == 0:
            continue  # (its signature is not covered by the index; apk checks that itself)
        assert not stage.takes(archive.name, bytes(planted))


def test_what_was_learned_stays_without_the_lists(stage: Stage) -> None:
    stage.leave(stage.archive.left)
    stage.listed()
    shutil.rmtree(stage.place / "stage")
    assert stage.takes(stage.archive.name, stage.archive.package)


def test_an_index_or_a_list_with_one_other_byte_vouches_for_nothing(stage: Stage) -> None:
    for name in stage.archive.left:
        changed = bytearray(stage.archive.left[name])
        changed[len(changed) // 2] ^= 1
        stage.leave({**stage.archive.left, name: bytes(changed)})
        assert not stage.takes(stage.archive.name, stage.archive.package)
        shutil.rmtree(stage.place / "store")


def test_a_list_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    """Its checksum is right: a mirror may have signed anything."""
    archive = rpm(lambda _: b"\x1f\x8bno gzip")
    stage = Stage(tmp_path, archive)
    stage.leave(archive.left)
    assert not stage.takes(archive.name, archive.package)
    signed = b"no archive at all"
    stage = Stage(tmp_path, Archive("http://m/core.db", signed, {"tree/var/lib/pacman/sync/core.db": signed}, "x", b""))
    stage.leave(stage.archive.left)
    assert not stage.takes("x", b"")


def test_an_apk_package_is_its_description_and_what_that_says_of_the_rest(tmp_path: Path) -> None:
    archive = alpine()
    stage = Stage(tmp_path, archive)
    stage.leave(archive.left)
    other, _ = apk_package(b"THE PROGRAM")
    assert len(other) == len(archive.package)
    assert not stage.takes(archive.name, other)
    signature = gzip.compress(tar({".SIGN.RSA.key": b"signed"})[:1024], mtime=0)
    assert not stage.takes(archive.name, archive.package + signature)
    for broken in (b"", b"\x1f\x8b", archive.package[:40], signature, gzip.compress(b"\0" * (17 << 20))):
        assert not stage.takes(archive.name, broken)


def test_links_and_pipes_in_the_place_of_lists_are_not_waited_for(tmp_path: Path) -> None:
    archive = debian()
    stage = Stage(tmp_path, archive)
    stage.leave(archive.left)
    for name in archive.left:
        file = tmp_path / "stage" / name
        file.unlink()
        os.mkfifo(file)
    assert not stage.takes(archive.name, archive.package)


@settings(max_examples=examples(50), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sets(st.binary(min_size=WIDTH, max_size=WIDTH), max_size=40), st.binary(min_size=WIDTH, max_size=WIDTH))
def test_a_table_has_its_entries_and_no_others(entries: set[bytes], other: bytes) -> None:
    table = Table(("sha256",), b"".join(sorted(entries)))
    assert all(entry in table for entry in entries)
    assert (other in table) == (other in entries)


def test_an_entry_is_of_name_algorithm_and_digest() -> None:
    listed = [("a", "sha256", "00"), ("b", "sha256", "00"), ("a", "sha512", "00"), ("a", "sha256", "01")]
    assert len({entry_of(ListedFile(*each)) for each in listed}) == len(listed)


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("http://m/dists/x/InRelease", "apt"),
        ("http://m/x/repodata/repomd.xml", "rpm"),
        ("mirrorlist=http://m/list repodata/repomd.xml", "rpm"),
        ("http://m/core.db?x=1", "pacman"),
        ("http://m/x86_64/APKINDEX.tar.gz", "apk"),
        ("http://m/latest-stage3-amd64.txt", ""),
    ],
)
def test_the_kind_of_an_index(address: str, kind: str) -> None:
    assert package_index.kind_of(address) == kind


def test_a_note_of_lists_that_cannot_be_read_is_as_good_as_none(stage: Stage) -> None:
    """A power loss, or another version, may have left anything there."""
    stage.leave(stage.archive.left)
    stage.listed()
    (note,) = (stage.place / "store/cache/listed").glob("*.lists")
    for text in ("", "[]", "{}", '{"index": "x", "lists": [1]}', '{"index": "x", "lists": [["a"]]}'):
        note.write_text(text)
        assert stage.takes(stage.archive.name, stage.archive.package)
