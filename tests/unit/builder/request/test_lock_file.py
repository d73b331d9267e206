"""The lock file: what is written is read, what is none is refused, and what a locked request takes from it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdev.core.errors import UsageError
from builder.request import lock_file
from builder.request.lock_file import LockFile
from builder.request.options import LockOptions
from stages.protocol.lock_record import Used, UsedPackage, UsedRepository
from stages.protocol.request import Request
from tests.unit.stages.lock.lock_cases import INDEX, PACKAGE, REQUEST, SOURCE, USED, written

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
