"""What is kept of builds: bounded, whole, each build's own; and how two of them differ."""

from __future__ import annotations

import concurrent.futures
import json
from pathlib import Path

import pytest

from builder.history import record
from builder.history.record import Build, BuiltOutput


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def build(
    name: str = "base", packages: dict[str, str] | None = None, digest: str = "sha256:1", **more: object
) -> Build:
    fields = {
        "format": record.FORMAT,
        "name": name,
        "arch": "amd64",
        "started": 1.0,
        "seconds": 2.0,
        "stages": 3,
        "hits": 1,
        "outputs": (BuiltOutput(type="oci", place=f"/out/{name}.oci", digest=digest, bytes=1000),),
        "packages": packages or {},
        **more,
    }
    return Build(**fields)  # type: ignore[arg-type]


def test_what_is_kept_is_what_was_told() -> None:
    kept = build(packages={"curl": "8.1"}, again=("dib-ctr", "build", "base"), elements=("a", "b"), lock="/l.json")
    file = record.keep(kept)
    assert list(record.builds()) == [(file, kept)]
    assert file.stat().st_mode & 0o077 == 0 or file.parent.parent.stat().st_mode & 0o077 == 0


def test_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "KEPT", 3)
    for number in range(5):
        record.keep(build(f"n{number}"))
    assert [each.name for _, each in record.builds()] == ["n4", "n3", "n2"]


def test_builds_at_one_time_keep_each_their_own() -> None:
    names = [f"n{number}" for number in range(40)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: record.keep(build(name)), names))
    assert sorted(each.name for _, each in record.builds()) == sorted(names)
    assert [path.name for path in record.folder().iterdir() if path.name.startswith(".")] == []


def test_what_is_half_or_of_another_version_is_passed_over() -> None:
    record.keep(build("good"))
    for number, text in enumerate(["", "{", "[]", '{"format": 1}', json.dumps({"format": 99})]):
        (record.folder() / f"{10**18 + number:019d}-1-bad.json").write_text(text)
    (record.folder() / "notes.txt").write_text("not ours")
    assert [each.name for _, each in record.builds()] == ["good"]


def test_a_name_that_is_the_beginning_of_another_is_another() -> None:
    record.keep(build("base"))
    record.keep(build("base-2"))
    assert [each.name for _, each in record.builds("base")] == ["base"]


def test_before_is_the_last_of_the_same_name_and_architecture() -> None:
    first = build(digest="sha256:1")
    record.keep(first)
    record.keep(build(digest="sha256:2", arch="arm64"))
    record.keep(build("other"))
    last = build(digest="sha256:3")
    file = record.keep(last)
    assert record.before(file, last) == first


def test_packages_are_those_of_the_same_digest_alone() -> None:
    record.keep(build(packages={"curl": "8.1"}, digest="sha256:1"))
    assert record.same_packages("base", {"sha256:1"}) == {"curl": "8.1"}
    assert record.same_packages("base", {"sha256:2"}) == {}
    assert record.same_packages("base", set()) == {}
    assert record.same_packages("other", {"sha256:1"}) == {}


def test_what_changed() -> None:
    old = build(packages={"a": "1", "b": "1", "c": "1"}, elements=("x", "y"))
    new = build(packages={"b": "2", "c": "1", "d": "1"}, elements=("y", "z"), digest="sha256:2")
    changes = record.compare(old, new)
    assert [(each.name, record.kind_of(each)) for each in changes.packages] == [
        ("a", "removed"),
        ("b", "changed"),
        ("d", "added"),
    ]
    assert str(changes) == "packages: 1 added, 1 removed, 1 changed; +z; -x"
    assert str(record.compare(new, new)) == "the same"
    assert str(record.compare(old, build(packages=dict(old.packages), elements=("x", "y"), digest="sha256:9"))) == (
        "other bytes, the same packages"
    )


def test_packages_that_nobody_knows_are_not_told_as_gone() -> None:
    changes = record.compare(build(packages={"a": "1"}), build(digest="sha256:2"))
    assert (changes.packages, changes.known) == ((), False)


def test_the_last_report_is_one_that_is_there(tmp_path: Path) -> None:
    assert record.last_report() is None
    file = tmp_path / "r.html"
    file.write_text("x")
    record.remember_report(file)
    assert record.last_report() == file
    file.unlink()
    assert record.last_report() is None


def test_a_folder_that_cannot_be_made_is_no_history(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert list(record.builds()) == []
    with pytest.raises(OSError):
        record.keep(build())
