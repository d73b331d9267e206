"""Whose layers count: what is poisoned, not signed, from a fork, or behind a password."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from builder.remote_cache.index import write_index
from tests.integration.cache.machines import FIRST, STAGES, Machines, at, listed, warnings
from tests.integration.command import script, write_element
from tests.integration.registry import PASSWORD, USER, Running, registry


def poison(folder: Path, title: str, data: bytes) -> None:
    """Give a stage another blob, with an index that fits."""
    from builder.remote_cache.index import digest_of

    changed = []
    for entry in listed(folder):
        if entry.parts == ("output",):  # it would come alone, and no layer be asked for
            continue
        if entry.title == title:
            entry = replace(entry, blob=digest_of(data), size=len(data), unpacked=1 << 20)
            (folder / "blobs/sha256" / entry.blob.removeprefix("sha256:")).write_bytes(data)
        changed.append(entry)
    (folder / "index.json").write_bytes(write_index(changed))


def test_a_poisoned_layer_is_refused_and_its_stage_runs(
    machines: Machines, place: Path, filled: tuple[str, str]
) -> None:
    folder = place / "shared"
    machines().build("--cache-to", f"type=dir,path={folder}", *FIRST)
    by_title = {entry.title: entry for entry in listed(folder)}
    good = by_title["root/dib-ctr/prepare-tree"].blob.removeprefix("sha256:")
    other = (folder / "blobs/sha256" / good).read_bytes()
    hostile = subprocess.run(
        ["bash", "-c", "cd /tmp && tar -c --transform 's,^,../../,' -P /etc/hostname | zstd -qc"], capture_output=True
    ).stdout
    for data in (other, hostile, b"", b"nonsense" * 99):
        shutil.copytree(folder, place / "poisoned")
        poison(place / "poisoned", "install/greeting/50-greet", data)
        machine = machines()
        outcome = machine.build("--cache-from", f"type=dir,path={place / 'poisoned'}", *FIRST)
        assert outcome.titles("hit") == STAGES[:2]
        assert outcome.digest() == filled[1]
        assert len(warnings(outcome)) == bool(data), "what has no bytes is not even asked for"
        assert machine("cache", "verify").status == 0
        shutil.rmtree(place / "poisoned")


def changed(blob: bytes, old: bytes, new: bytes) -> bytes:
    """A packed layer with one file's content changed, its length and times as before."""
    assert len(old) == len(new)
    plain = subprocess.run(["zstd", "-dc"], input=blob, capture_output=True, check=True).stdout
    assert plain.count(old) == 1
    return subprocess.run(["zstd", "-qc"], input=plain.replace(old, new), capture_output=True, check=True).stdout


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_an_archive_with_one_file_changed_is_refused_though_index_and_blob_agree(
    machines: Machines, place: Path, filled: tuple[str, str]
) -> None:
    folder = place / "shared"
    machines().build("--cache-to", f"type=dir,path={folder}", *FIRST)
    blob = next(each.blob for each in listed(folder) if each.title == "install/greeting/50-greet")
    data = (folder / "blobs/sha256" / blob.removeprefix("sha256:")).read_bytes()
    poison(folder, "install/greeting/50-greet", changed(data, b"hello\n", b"hellO\n"))
    machine = machines()
    outcome = machine.build("--cache-from", f"type=dir,path={folder}", *FIRST)
    assert "its files are not those that were kept" in warnings(outcome)[0]
    assert outcome.titles("start") == STAGES[2:]
    assert outcome.digest() == filled[1]


def make_keys(folder: Path, name: str) -> None:
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    curve = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(private)]
    subprocess.run(curve, check=True, capture_output=True)
    subprocess.run(
        ["openssl", "ec", "-in", str(private), "-pubout", "-out", str(public)], check=True, capture_output=True
    )


@pytest.mark.thorough("eight builds; tests/unit/builder/remote_cache/test_layercache.py has the decisions")
def test_only_what_the_right_ones_signed_counts(running: Running, machines: Machines, place: Path) -> None:
    for name in ("good", "other"):
        make_keys(place, name)
    spec, key = at(running, "signed"), f",key={place / 'good.pub'}"
    machine = machines()
    first = machine.build("--cache-to", spec, *FIRST)
    unsigned = machines().build("--cache-from", spec + key, *FIRST)
    assert unsigned.titles("start") == STAGES
    assert "signed" in warnings(unsigned)[0]
    machine.build("--cache-to", f"{spec},sign={place / 'other.pem'},writer=ci", *FIRST)
    assert machines().build("--cache-from", spec + key, *FIRST).titles("start") == STAGES
    machine.build("--cache-to", f"{spec},sign={place / 'good.pem'},writer=ci", *FIRST)
    good = machines().build("--cache-from", spec + key + ",writers=nightly+ci", *FIRST)
    assert good.titles("start") == []
    assert good.digest() == first.digest()
    assert machines().build("--cache-from", spec + key + ",writers=nightly", *FIRST).titles("start") == STAGES


@pytest.mark.thorough("more builds; tests/unit/builder/remote_cache/test_layercache.py knows forks")
def test_a_pull_request_from_a_fork_reads_and_does_not_write(machines: Machines, place: Path) -> None:
    folder = f"type=dir,path={place / 'shared'}"
    machines().build("--cache-to", folder, "tiny-os")
    before = (place / "shared/index.json").read_bytes()
    request = {"head": {"repo": {"full_name": "somebody/x"}}, "base": {"repo": {"full_name": "team/x"}}}
    (place / "event.json").write_text(json.dumps({"pull_request": request}))
    fork = {"GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": str(place / "event.json")}
    outcome = machines().build("--cache-from", folder, "--cache-to", folder, *FIRST, variables=fork)
    assert outcome.titles("hit") == STAGES[:2]
    assert "pull request from a fork" in outcome.stderr
    assert (place / "shared/index.json").read_bytes() == before
    machines().build("--cache-from", folder, "--cache-to", f"{folder},force=true", *FIRST, variables=fork)
    assert (place / "shared/index.json").read_bytes() != before


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_passwords_come_from_the_engines_file_and_no_script_sees_them(
    open_folder: Path, machines: Machines, place: Path
) -> None:
    import base64

    secret = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    processes = "{ cat /proc/*/environ /proc/*/cmdline 2>/dev/null || true; } | tr '\\0' '\\n'"
    look = f"env; {processes}; find / -xdev -name 'auth.json' 2>/dev/null || true"
    write_element(place / "elements", "curious", {"root.d/60-look": script(f'({look}) > "$TARGET_ROOT/seen"')})
    with registry(open_folder / "locked-cache", password=True) as locked:
        (place / "auth.json").write_text(json.dumps({"auths": {locked.host: {"auth": secret}}}))
        spec = at(locked, "x")
        refused = machines().build("--cache-to", spec, *FIRST, variables={"REGISTRY_AUTH_FILE": "/nonexistent"})
        assert "refuses" in warnings(refused)[0]
        given = {"REGISTRY_AUTH_FILE": str(place / "auth.json")}
        machine = machines()
        machine.build("--cache-to", spec, "-o", "tar", "tiny-os", "curious", variables=given)
        named = f"{spec},authfile={place / 'auth.json'}"
        assert machines().build("--cache-from", named, "tiny-os", "curious").titles("start") == []
    seen = subprocess.run(
        ["tar", "-xOf", str(machine.destination / "tiny-os.tar"), "seen"], capture_output=True, text=True, check=True
    ).stdout
    assert "PATH=" in seen
    assert secret not in seen
    assert PASSWORD + ":" not in seen
    assert "/auth.json" not in seen


def test_what_makes_no_sense_is_bad_usage_before_any_work(machines: Machines, place: Path) -> None:
    for spec, word in (
        ("--cache-from=type=s3,bucket=x", "no type of cache"),
        (f"--cache-from=type=dir,path=x,key={place / 'none.pub'}", "cannot be read"),
        ("--cache-to=type=gha", "ACTIONS_RESULTS_URL"),
    ):
        outcome = machines()("build", spec, "tiny-os", variables={"ACTIONS_RESULTS_URL": ""})
        assert outcome.status == 2, outcome.stderr
        assert word in outcome.stderr
        assert outcome.events == []
