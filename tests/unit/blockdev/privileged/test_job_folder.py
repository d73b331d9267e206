"""The folder of a job of ``python3 -m blockdev.privileged``: each file is read as what it should be, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from blockdev.configuration.read import read
from blockdev.core.errors import UsageError
from blockdev.layout.json import to_data
from blockdev.layout.options import Options
from blockdev.layout.plan import plan
from blockdev.privileged.__main__ import read_job

DISK = "- local_loop: {name: image0}\n- mkfs: {name: root, base: image0, type: ext4, mount: {mount_point: /}}\n"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    layout = plan(read(DISK, "disk.yaml"), Options(seed="x"), 1 << 20)
    (tmp_path / "layout.json").write_text(json.dumps(to_data(layout)))
    (tmp_path / "environment.json").write_text('{"A": "b"}')
    return tmp_path


def test_what_is_optional_has_its_default(job: Path) -> None:
    read_in = read_job(job, job / "ledgers")
    assert (read_in.epoch, read_in.seed, read_in.element_of, read_in.environment) == (0, "", {}, {"A": "b"})
    assert read_in.tree == job / "tree"


def test_what_is_there_is_read(job: Path) -> None:
    (job / "job.json").write_text('{"epoch": 7, "seed": "s"}')
    (job / "elements.json").write_text('{"finalise.d/50-x": "e"}')
    read_in = read_job(job, job / "ledgers")
    assert (read_in.epoch, read_in.seed, read_in.element_of) == (7, "s", {"finalise.d/50-x": "e"})


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("job.json", {"epoch": "7"}, "epoch is no number"),
        ("job.json", {"epoc": 7}, "'epoc' is no field of it"),
        ("job.json", [], "a list is no mapping"),
        ("environment.json", {"A": 1}, "A is no text"),
        ("elements.json", ["e"], "is no mapping"),
    ],
)
def test_what_is_something_else_is_refused(job: Path, name: str, data: Any, what: str) -> None:
    (job / name).write_text(json.dumps(data))
    with pytest.raises(UsageError) as error:
        read_job(job, job / "ledgers")
    assert error.value.what == f"this is not what it should be: {what}"
    assert error.value.where == str(job / name)


@pytest.mark.parametrize("name", ["environment.json", "layout.json"])
def test_what_is_missing_is_named(job: Path, name: str) -> None:
    (job / name).unlink()
    with pytest.raises(UsageError, match=f"the job has no {name}"):
        read_job(job, job / "ledgers")


def test_what_is_no_json_is_named(job: Path) -> None:
    (job / "job.json").write_text("{")
    with pytest.raises(UsageError, match="this is not JSON"):
        read_job(job, job / "ledgers")
