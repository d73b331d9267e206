"""The matrix of distributions: which rows there are, what is tried for each, and the table that tells of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from stages.distributions.table import names
from stages.element.resolve import BUILTIN
from tests.matrix.__main__ import DOCUMENT, UNTRIED
from tests.matrix.results import (
    BEGIN,
    BOOTED,
    BUILT,
    END,
    FAILED,
    Result,
    add,
    add_facts,
    distributions,
    known,
    placed,
    table,
)
from tests.matrix.rows import REAL, SYNTHETIC, Row, chosen, rows
from tests.matrix.run import Outcome, Runner
from tests.matrix.verify import Step, steps, tried
from tests.mirrors.catalogue import served

FEDORA = Row("fedora", "fedora-minimal", "43", "amd64", SYNTHETIC, disk=True)
ARM = Row("debian", "debian-minimal", "trixie", "arm64", REAL, disk=False)


def test_every_row_names_an_element_and_no_row_is_there_twice() -> None:
    names = [row.name for row in rows()]
    assert len(names) == len(set(names))
    assert [row.element for row in rows() if not (BUILTIN / row.element).is_dir()] == []


def test_words_choose_rows() -> None:
    table_ = (FEDORA, ARM, dataclasses.replace(ARM, arch="amd64"))
    assert chosen([], table_) == table_
    assert chosen(["debian"], table_) == table_[1:]
    assert chosen(["amd64"], table_) == (FEDORA, table_[2])
    assert chosen(["debian", "arm64"], table_) == (ARM,)
    assert chosen(["43"], table_) == (FEDORA,)
    assert chosen(["fedora-43-amd64"], table_) == (FEDORA,)
    with pytest.raises(ValueError, match="'suse' is in no row"):
        chosen(["suse"], table_)


def test_the_table_tells_of_each_row_that_was_tried() -> None:
    found = {
        FEDORA.name: Result(FEDORA.name, BUILT, 31.4, 40_000_000, BOOTED, 95.0, 300_000_000, "", "2026-11-29", "abc"),
        ARM.name: Result(ARM.name, FAILED, 2.0, reason="a | b", day="2026-11-30"),
    }
    old = dataclasses.replace(ARM, release="bookworm", main_only=True)
    found[old.name] = Result(old.name, BUILT, 100.0, 30_000_000)
    lines = table((FEDORA, ARM, dataclasses.replace(ARM, arch="s390x"), old), found).splitlines()
    assert lines[2:] == [
        "| fedora | 43 | amd64 | synthetic | 2026-11-29 (abc) | built, 40.0 MB | 31 | booted, 300.0 MB | 95 |",
        "| debian | trixie | arm64 | real | 2026-11-30 | failed: a \\| b | 2 |  |  |",
        "| debian | bookworm | arm64 | real, main suite alone |  | built, 30.0 MB | 100 |  |  |",
    ]
    assert placed(f"before\n{BEGIN}\nold\n{END}\nafter", "new") == f"before\n{BEGIN}\nnew\n{END}\nafter"
    with pytest.raises(ValueError, match="has no"):
        placed("nothing", "new")
    page = DOCUMENT.read_text(encoding="utf-8")
    assert placed(page, "new").count("\n| ") < page.count("\n| "), "the page has the table between its marks"


def test_a_verification_goes_on_after_a_failure_and_compares_digests() -> None:
    said = {"image": Outcome(1, digest="a"), "again": Outcome(2, digest="b"), "package": Outcome(3, error="no")}

    def build(step: Step) -> Outcome:
        return said.get(step.name, Outcome(4, digest="c"))

    found = tried(steps(FEDORA), build)
    assert [(each["step"], each["error"]) for each in found] == [
        ("image", ""),
        ("again", "the digest is another one than that of 'image'"),
        ("package", "no"),
        ("disk", ""),
    ]
    assert {each.store for each in steps(FEDORA)} == {"store", "store-2"}


def test_a_failed_build_is_told_in_one_line(tmp_path: Path) -> None:
    runner = Runner(tmp_path, "host", {FEDORA.source: {"DIB_RELEASE": "no"}})
    outcome = runner.build(FEDORA, ["-o", "oic", "debian-minimal"])
    assert (outcome.error, outcome.bytes) == ("'oic' is no output type", 0)


def test_a_build_that_hangs_ends_its_row(tmp_path: Path) -> None:
    runner = Runner(tmp_path, "host", {}, build_time=0.01)
    result = runner.row(FEDORA)
    assert (result.image, result.disk, result.reason) == (FAILED, "", "not built within 0 s")


def test_a_disk_is_started_in_a_machine_of_its_architecture(tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(bytes(512))
    said = Runner(tmp_path, "host", {}, firmware="bios").boot(disk, "ppc64el").error
    assert said == "ppc64el machines start by Open Firmware only"


def test_results_of_several_runs_are_kept_in_one_file(tmp_path: Path) -> None:
    file = tmp_path / "matrix.json"
    assert known(file) == {}
    fedora, arm = Result(FEDORA.name, FAILED, reason="no"), Result(ARM.name, BUILT, 2.0)
    add(file, fedora)
    add(file, arm)
    add(file, dataclasses.replace(fedora, image=BUILT, reason=""))
    assert known(file) == {FEDORA.name: Result(FEDORA.name, BUILT), ARM.name: arm}


def test_a_mirror_that_cannot_be_made_fails_its_rows_alone(tmp_path: Path) -> None:
    with served([("arch", "no-such-release", "amd64")], tmp_path) as found:
        assert found.variables == {}
        assert list(found.failures) == [("arch", "no-such-release", "amd64")]


def test_what_mirrors_said_is_told_beside_what_is_untried(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    add(file, Result(FEDORA.name, BUILT, day="2026-11-29"))
    add_facts(file, FEDORA.name, {"not reached": 9}, "2026-11-30")
    add_facts(file, ARM.name, {"verified": 12, "differs": 1}, "2026-11-28")
    other = dataclasses.replace(ARM, arch="amd64")
    add_facts(file, other.name, {"verified": 12}, "2026-11-30")
    said = {name: {"page": "p.md", "untried": "much"} for name in ("debian", "fedora", "alpine")}
    assert distributions((FEDORA, ARM, other), known(file), said).splitlines()[2:] == [
        "| debian | real | never | 2026-11-28: 24 verified, 1 differs, 0 not reached | much ([more](p.md)) |",
        "| fedora | synthetic | 2026-11-29 | 2026-11-30: not reached | much ([more](p.md)) |",
        "| alpine | no row | never | never | much ([more](p.md)) |",
    ]
    add(file, Result(FEDORA.name, FAILED, day="2026-12-01"))
    assert known(file)[FEDORA.name].facts == {"not reached": 9}, "a run of the row leaves it"


def test_every_distribution_says_what_of_it_is_untried() -> None:
    assert set(yaml.safe_load(UNTRIED.read_text(encoding="utf-8"))) == set(names())


def test_a_run_without_disks_keeps_the_disks_of_an_earlier_one(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    add(file, Result("x", BUILT, 10.0, 1000, BOOTED, 20.0, 2000))
    add(file, Result("x", BUILT, 11.0, 1001))
    assert known(file)["x"] == Result("x", BUILT, 11.0, 1001, BOOTED, 20.0, 2000)
    add(file, Result("x", FAILED, reason="broken"))
    assert known(file)["x"] == Result("x", FAILED, reason="broken")
