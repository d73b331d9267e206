"""Lock files as data: read, refused, compared; and what apt's own files say."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdev.core.errors import BuildError, UsageError
from builder.request import lock_file
from builder.request.lock_file import LockFile
from builder.request.options import LockOptions
from stages.layers.package_lists import SavedLists, delivered
from stages.layers.prune import prune
from stages.layers.store import Store
from stages.lock import replay, steps
from stages.protocol.lock_record import Used, UsedPackage, UsedRepository
from stages.protocol.locking import Locking
from stages.protocol.request import Request
from stages.repositories import snapshot
from stages.repositories.apt_lists import archive_of, hashes, list_name, look_up
from stages.repositories.state import Repository, State
from stages.tree.installed_packages import identities, installed, signed_indices

INDEX = "http://mirror.localhost/debian/dists/trixie/InRelease"
SUM = "0123456789abcdef" * 4
PACKAGE = UsedPackage("hello", "1:2.10-3+b1", "amd64", SUM, 53, "pool/main/h/hello/hello_2.10-3+b1_amd64.deb", INDEX)
USED = Used(
    epoch=1789199741,
    build_image="7b56c83be285",
    mirrors={"DIB_CTR_DEBIAN_MIRROR": "http://mirror.localhost/debian"},
    repositories=(UsedRepository(INDEX, SUM, 1789199741, ("main/binary-amd64/Packages",)),),
    packages=(PACKAGE,),
)
SOURCE = {"name": "x", "type": "git", "location": "https://h/x.git", "ref": "main", "commit": SUM[:40]}
REQUEST = Request(
    "build", asked=("debian-minimal",), packages=("hello",), variables={"DIB_RELEASE": "trixie"}, arch="amd64"
)


def written(tmp_path: Path, lock: LockFile | None = None, **changes: Any) -> Path:
    document = (lock or LockFile.of(REQUEST, {"amd64": USED})).to_json()
    file = tmp_path / "lock.json"
    file.write_text(json.dumps({**document, **changes}))
    return file


# -- the document ---------------------------------------------------------------------------------------------------

names = st.from_regex(r"[a-z0-9][a-z0-9.+~-]{0,8}", fullmatch=True)
sums = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
packages = st.builds(
    UsedPackage, names, names, names, st.just("") | sums, st.integers(0, 1 << 40), names, st.sampled_from(["", INDEX])
)
repositories = st.builds(
    UsedRepository, st.text(min_size=1, max_size=20), sums, st.integers(0, 1 << 40), st.lists(names).map(tuple)
)


@given(
    st.lists(packages, unique_by=lambda package: package.identity),
    st.lists(repositories),
    st.dictionaries(st.text(), st.text()),
    st.integers(0, 1 << 40),
)
def test_what_is_written_is_read_again(
    some: list[UsedPackage], sources: list[UsedRepository], mirrors: dict[str, str], epoch: int
) -> None:
    used = Used(epoch, "image", mirrors, tuple(sources), tuple(some))
    document = json.loads(json.dumps(used.to_json()))
    assert Used.from_json(document).to_json() == document
    assert Used.from_json(document).packages == tuple(sorted(some))
    assert Used.from_json(document).differences(some) == []


def test_sources_are_written_and_read_again() -> None:
    file = {"name": "f", "type": "file", "location": "https://h/f", "ref": "", "state": "ETag: 1"}
    document = dataclasses.replace(USED, sources=(SOURCE, file)).to_json()
    assert document["sources"] == [SOURCE, file]
    assert Used.from_json(document).sources == (SOURCE, file)


def test_the_file_is_sorted_and_the_same_whatever_the_order(tmp_path: Path) -> None:
    other = UsedPackage("bash", "5", "amd64")
    one = LockFile.of(REQUEST, {"amd64": dataclasses.replace(USED, packages=(PACKAGE, other))})
    two = LockFile.of(
        dataclasses.replace(REQUEST, asked=("debian-minimal", "debian-minimal")),
        {"amd64": dataclasses.replace(USED, packages=(other, PACKAGE))},
    )
    assert one.text() == two.text()
    assert one.text().endswith("}\n")
    (tmp_path / "lock.json").write_text(one.text())
    assert lock_file.read(tmp_path / "lock.json").text() == one.text()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 2}, "the lock has version 2, this dib-ctr reads version 1"),
        ({"version": "1"}, "this is no lock file"),
        ({"elements": "debian-minimal"}, "elements has the wrong type"),
        ({"elements": [1]}, "a name or a value is no text"),
        ({"more": 1}, "its fields are not"),
        ({"architectures": {"amd64": []}}, "an architecture is no mapping"),
        ({"architectures": {"amd64": {**USED.to_json(), "epoch": "now"}}}, "epoch is no number"),
        ({"architectures": {"amd64": {**USED.to_json(), "colour": 1}}}, "unknown field 'colour'"),
        (
            {"architectures": {"amd64": {**USED.to_json(), "packages": [PACKAGE.__dict__] * 2}}},
            "hello 1:2.10-3+b1 (amd64) is there twice",
        ),
        (
            {"architectures": {"amd64": {**USED.to_json(), "packages": [{**PACKAGE.__dict__, "sha256": "12"}]}}},
            "'12' is no SHA-256",
        ),
        (
            {"architectures": {"amd64": {**USED.to_json(), "packages": [{**PACKAGE.__dict__, "name": "../x"}]}}},
            "'../x' is no name",
        ),
        (
            {"architectures": {"amd64": {**USED.to_json(), "packages": [{**PACKAGE.__dict__, "file": "../../x"}]}}},
            "'../../x' is no path in a repository",
        ),
        ({"architectures": {"amd64": {**USED.to_json(), "sources": [{**SOURCE, "colour": "1"}]}}}, "field 'colour'"),
        ({"architectures": {"amd64": {**USED.to_json(), "sources": [{**SOURCE, "commit": "1"}]}}}, "neither commit"),
        ({"architectures": {"amd64": {**USED.to_json(), "sources": [{**SOURCE, "state": "1"}]}}}, "neither commit"),
        ({"architectures": {"amd64": {**USED.to_json(), "sources": [{**SOURCE, "ref": 1}]}}}, "ref is no text"),
    ],
)
def test_a_lock_that_is_none_is_refused_with_its_path(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match="lock") as refused:
        lock_file.read(written(tmp_path, **changes))
    assert said in str(refused.value)
    assert refused.value.where == str(tmp_path / "lock.json")


plain = st.none() | st.booleans() | st.integers() | st.text()
anything = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(anything)
def test_no_document_is_taken_for_what_it_is_not(data: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        Used.from_json(data)


@given(st.sampled_from(sorted(USED.to_json())), anything)
def test_a_field_of_any_shape_is_taken_or_refused(name: str, data: Any) -> None:
    with contextlib.suppress(ValueError):
        Used.from_json({**USED.to_json(), name: data})


def test_a_lock_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        lock_file.read(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(UsageError, match="no JSON"):
        lock_file.read(tmp_path / "broken.json")


# -- requests -------------------------------------------------------------------------------------------------------


def test_secrets_are_not_in_a_lock() -> None:
    request = dataclasses.replace(REQUEST, variables={"DIB_DEV_USER_PASSWORD": "geheim", "http_proxy": "http://u:p@h"})
    lock = LockFile.of(request, {})
    assert "geheim" not in lock.text()
    assert "u:p@h" not in lock.text()
    assert lock.variables == {"DIB_DEV_USER_PASSWORD": "(withheld)"}
    other = LockFile.of(dataclasses.replace(request, variables={"DIB_DEV_USER_PASSWORD": "anders"}), {})
    assert lock_file.differences(lock, other) == []
    assert lock_file.differences(lock, lock) == []


def test_a_locked_request_takes_the_locks_mirrors_and_not_this_machines(tmp_path: Path) -> None:
    here = {
        "DIB_RELEASE": "trixie",
        "DIB_CTR_DEBIAN_MIRROR": "http://other.localhost/debian",
        "DIB_CTR_UBUNTU_MIRROR": "http://other.localhost/ubuntu",
        "DIB_CTR_APT_OPTIONS": "Acquire::Retries 5;",
    }
    file = written(tmp_path)
    request = lock_file.with_locks(dataclasses.replace(REQUEST, variables=here), LockOptions(locked=file), {})
    assert request.variables == {
        "DIB_RELEASE": "trixie",
        "DIB_CTR_DEBIAN_MIRROR": "http://mirror.localhost/debian",
        "DIB_CTR_APT_OPTIONS": "Acquire::Retries 5;",
    }
    assert Used.from_json(dict(request.locking.locked)) == USED
    assert Request.from_json(request.to_json()).locking == request.locking


def test_where_nothing_can_be_written_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        lock_file.with_locks(REQUEST, LockOptions(lock=tmp_path), {})
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is not a folder"):
        lock_file.with_locks(REQUEST, LockOptions(vendor=tmp_path / "file"), {})


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


# -- snapshots ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "stamp"),
    [
        ("20261101T000000Z", "20261101T000000Z"),
        ("2026-11-01", "20261101T000000Z"),
        ("2026-11-01T12:30:00+02:00", "20261101T103000Z"),
        ("20261101", "20261101T000000Z"),
    ],
)
def test_times_of_snapshots(given_: str, stamp: str) -> None:
    assert snapshot.timestamp(given_) == stamp


@pytest.mark.parametrize("wrong", ["yesterday", "2026-13-01", "20261101T000000X", "9999-01-01", ""])
def test_what_is_no_time_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError):
        snapshot.timestamp(wrong)


@pytest.mark.parametrize("wrong", ["http://h/debian", "{timestamp}", "h/{timestamp}"])
def test_what_is_no_scheme_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="does not say where snapshots are"):
        snapshot.check_scheme(wrong)


def test_repositories_are_read_from_their_snapshots() -> None:
    index = "http://h/debian-security/dists/trixie-security/InRelease"
    flat = Repository("flat", "http://h/flat/InRelease")
    (found, same) = snapshot.at(
        [Repository("security", index), flat], "20261101T000000Z", "http://s/archive/{archive}/{timestamp}/"
    )
    assert found.source == "http://s/archive/debian-security/20261101T000000Z/dists/trixie-security/InRelease"
    assert found.index == index
    assert same == flat
    assert snapshot.replacements([found, same]) == (
        "http://h/debian-security http://s/archive/debian-security/20261101T000000Z\n"
    )
    with pytest.raises(UsageError) as refused:
        snapshot.at([Repository("security", index)], "20261101T000000Z", "", offline=True)
    assert "DIB_CTR_SNAPSHOT_URL=" in refused.value.hint
