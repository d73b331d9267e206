"""Packages and files of a lock: what lies beside it, apt's lists, and what layers and the store tell."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import os
from pathlib import Path

import pytest

from blockdev.core.errors import BuildError, UsageError
from builder.request import lock_file
from stages.layers.package_lists import SavedLists, delivered
from stages.layers.prune import prune
from stages.layers.store import Store
from stages.lock import replay, steps
from stages.protocol.lock_record import Used, UsedPackage, UsedRepository
from stages.protocol.locking import Locking
from stages.repositories.apt_lists import archive_of, hashes, list_name, look_up
from stages.repositories.state import State
from stages.tree.installed_packages import identities, installed, signed_indices
from tests.unit.stages.lock.lock_cases import INDEX, PACKAGE, REQUEST, SUM, USED


def test_packages_that_differ_are_named() -> None:
    other = dataclasses.replace(PACKAGE, sha256=SUM[::-1])
    assert USED.differences([PACKAGE]) == []
    assert USED.differences([other]) == ["hello 1:2.10-3+b1 (amd64) is another file than the lock's"]
    assert USED.differences([]) == ["hello 1:2.10-3+b1 (amd64) was not installed"]
    many = [UsedPackage(f"package{number}", "1", "all") for number in range(40)]
    with pytest.raises(BuildError) as failed:
        replay.check(USED, [PACKAGE, *many])
    assert "package0 1 (all) is not in the lock" in failed.value.what
    assert failed.value.what.endswith("and 28 more")


def test_the_states_of_a_lock_are_those_of_its_repositories() -> None:
    environment = {"DIB_APT_SOURCES_CONF": "default:deb http://mirror.localhost/debian trixie main"}
    request = dataclasses.replace(REQUEST, locking=Locking(locked=USED.to_json()))
    assert steps.states(request, environment, Path("/nowhere")) == (State(INDEX, SUM, 1789199741),)
    assert environment["SOURCE_DATE_EPOCH"] == "1789199741"
    other = {"DIB_APT_SOURCES_CONF": "default:deb http://mirror.localhost/debian sid main"}
    with pytest.raises(UsageError, match="does not know the repository 'default'"):
        steps.states(request, other, Path("/nowhere"))


# -- files beside a lock --------------------------------------------------------------------------------------------


def vendored(folder: Path) -> Used:
    """A folder of --vendor with one list and one package, and what its lock says."""
    text = b"Package: hello\n"
    signed = f"SHA256:\n {hashlib.sha256(text).hexdigest()} {len(text)} main/binary-amd64/Packages\n".encode()
    repository = UsedRepository(INDEX, hashlib.sha256(signed).hexdigest(), 1, ("main/binary-amd64/Packages",))
    lists = folder / "lists" / repository.digest
    lists.mkdir(parents=True)
    (lists / "InRelease").write_bytes(signed)
    (lists / "main_binary-amd64_Packages.gz").write_bytes(gzip.compress(text))
    package = dataclasses.replace(PACKAGE, sha256=hashlib.sha256(b"deb").hexdigest())
    (folder / "packages").mkdir()
    (folder / "packages" / package.cached).write_bytes(b"deb")
    (folder / "packages" / "other_1_all.deb").write_bytes(b"of another lock")
    return dataclasses.replace(USED, repositories=(repository,), packages=(package,))


def test_what_lies_beside_a_lock_is_offered_if_it_is_right(tmp_path: Path) -> None:
    used = vendored(tmp_path)
    lists = f"lists/{used.repositories[0].digest}"
    assert set(lock_file.offered(tmp_path, used)) == {
        f"{lists}/InRelease",
        f"{lists}/main_binary-amd64_Packages.gz",
        "packages/hello_1%3a2.10-3+b1_amd64.deb",
    }
    (tmp_path / lists / "main_binary-amd64_Packages.gz").write_bytes(b"no gzip at all")
    with pytest.raises(UsageError, match=r"Packages\.gz is not what the lock says"):
        lock_file.offered(tmp_path, used)


# -- apt's files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://h/debian/dists/trixie/InRelease", "h_debian_dists_trixie_InRelease"),
        ("https://u:p@h:80/a~b_c/./InRelease", "h:80_a%7eb%5fc_._InRelease"),
        ("file:/srv/x/InRelease", "_srv_x_InRelease"),
    ],
)
def test_lists_are_named_as_apt_names_them(url: str, name: str) -> None:
    assert list_name(url) == name


def test_where_a_repositorys_files_are() -> None:
    assert archive_of("http://h/debian/dists/trixie/updates/InRelease") == "http://h/debian"
    assert archive_of("http://h/flat/InRelease") == "http://h/flat"


STANZAS = (
    "Package: a\nVersion: 1\nArchitecture: all\nSHA256: x\nFilename: pool/a.deb\nSize: 1\nTag: one\n Package: b\n",
    "Package: a\nVersion: 2\nArchitecture: all\nSHA256: y\nFilename: ./pool/a2.deb\nSize: 2\n",
    "Origin: late\nPackage: b\nVersion: 1\nArchitecture: amd64\nSHA256: z\nFilename: pool/b.deb\nSize: 3\n",
)


def test_packages_are_found_in_a_list_wherever_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "list"
    file.write_text("\n".join(STANZAS))
    wanted = [("a", "1", "all"), ("a", "2", "all"), ("b", "1", "amd64"), ("a", "2", "amd64"), ("c", "1", "all")]
    found = look_up(file, wanted)
    assert {identity: fields["SHA256"] for identity, fields in found.items()} == {
        ("a", "1", "all"): "x",
        ("a", "2", "all"): "y",
        ("b", "1", "amd64"): "z",
    }
    file.write_text("")
    assert look_up(file, wanted) == {}


def test_the_hashes_of_a_signed_index_are_the_sha256_ones() -> None:
    text = b"MD5Sum:\n aa 1 main/x\nSHA256:\n bb 2 main/x\n cc 3 main/y\nSHA512:\n dd 4 main/x\n"
    assert hashes(text) == {"main/x": ("bb", 2), "main/y": ("cc", 3)}
    assert hashes(b"Origin: nobody\n") == {}


def test_what_layers_tell_of_packages(tmp_path: Path) -> None:
    low, high = tmp_path / "low", tmp_path / "high"
    status = "Package: {}\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n"
    for tree, name in ((low, "a"), (high, "b")):
        (tree / "var/lib/dpkg").mkdir(parents=True)
        (tree / "var/lib/dpkg/status").write_text(status.format(name))
    (high / "var/log").mkdir(parents=True)
    (high / "var/log/dpkg.log").write_text(
        "2026-11-01 10:00:00 startup archives unpack\n"
        "2026-11-01 10:00:00 install c:amd64 <none> 1:2-3\n"
        "2026-11-01 10:00:00 upgrade a:all 1 2\n"
        "2026-11-01 10:00:01 status installed c:amd64 1:2-3\n"
        "2026-11-01 10:00:02 remove c:amd64 1:2-3 <none>\n"
    )
    assert identities(low) == {("a", "1", "all")}
    assert identities(high) == {("b", "1", "all"), ("c", "1:2-3", "amd64"), ("a", "2", "all")}
    lists = low / "var/lib/apt/lists"
    lists.mkdir(parents=True)
    text = "\n".join(STANZAS)
    (lists / "s_debian_dists_t_main_Packages").write_text(text)
    signed = (
        f"Date: Sat, 12 Sep 2026 07:55:41 UTC\nSHA256:\n {SUM} {len(text)} main/Packages\n {SUM} 9 main/Packages.xz\n"
    )
    (lists / "s_debian_dists_t_InRelease").write_text(signed)
    state = State("http://h/debian/dists/t/InRelease", SUM, 0, "http://s/debian/dists/t/InRelease")
    (index,) = signed_indices([low, high], [state])
    digest = hashlib.sha256(signed.encode()).hexdigest()
    assert index.repository == UsedRepository(state.index, digest, 1789199741, ("main/Packages",))
    assert installed([low, high], [index]) == (
        UsedPackage("a", "1", "all", "x", 1, "pool/a.deb", state.index),
        UsedPackage("a", "2", "all", "y", 2, "pool/a2.deb", state.index),
        UsedPackage("b", "1", "all"),
        UsedPackage("c", "1:2-3", "amd64"),
    )


# -- the store ------------------------------------------------------------------------------------------------------


def test_saved_lists_are_taken_checked_and_pruned(tmp_path: Path) -> None:
    text = b"Package: hello\n"
    signed = f"SHA256:\n {hashlib.sha256(text).hexdigest()} {len(text)} main/Packages\n".encode()
    repository = UsedRepository(INDEX, hashlib.sha256(signed).hexdigest(), 1, ("main/Packages",))
    saved = SavedLists(Store(tmp_path))
    assert saved.missing(repository) == ["InRelease", "main/Packages"]
    assert not saved.take(repository, "InRelease", [b"another"])
    assert saved.take(repository, "InRelease", [signed[:5], signed[5:]])
    assert not saved.take(repository, "main/Packages", [b"another"])
    assert saved.missing(repository) == ["main/Packages"]
    assert saved.take(repository, "main/Packages", [text])
    here = saved.files(repository)
    assert set(here) == {"InRelease", "main/Packages"}
    assert set(delivered(repository, here)) == {
        "apt/mirror.localhost_debian_dists_trixie_InRelease",
        "apt/mirror.localhost_debian_dists_trixie_main_Packages",
        "archive/mirror.localhost/debian/dists/trixie/InRelease",
        "archive/mirror.localhost/debian/dists/trixie/main/Packages",
    }
    layer = tmp_path / "layers" / "list"
    layer.hardlink_to(here["main/Packages"])
    prune(saved.store, older_than=None, max_bytes=0, everything=False)  # the layer goes with it: nothing names it
    assert saved.missing(repository) == ["InRelease", "main/Packages"]
    saved.take(repository, "InRelease", [signed])
    prune(saved.store, older_than=60, max_bytes=None, everything=False)
    assert saved.missing(repository) == ["main/Packages"]
    os.utime(saved.folder(repository), (1, 1))
    prune(saved.store, older_than=60, max_bytes=None, everything=False)
    assert not saved.folder(repository).exists()


def test_a_saved_list_that_was_damaged_is_none(tmp_path: Path) -> None:
    repository = UsedRepository(INDEX, hashlib.sha256(b"signed").hexdigest(), 1)
    saved = SavedLists(Store(tmp_path))
    saved.take(repository, "InRelease", [b"signed"])
    (saved.folder(repository) / "InRelease").write_bytes(b"")
    assert saved.files(repository) == {}
    assert list(saved.folder(repository).iterdir()) == []
