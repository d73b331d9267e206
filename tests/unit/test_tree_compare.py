"""Comparing two trees, and the table of upstream's elements that says what is compared."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from tests import upstream
from tests.compat import compare, results, table
from tests.compat.compare import Difference, Entry, Expectation, Tree

FILE = Entry("file", 0o644, (0, 0), digest="aa")


def tar(folder: Path, name: str, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    """A tar file of these members."""
    with tarfile.open(folder / name, "w", format=tarfile.PAX_FORMAT) as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return folder / name


def member(name: str, kind: bytes = tarfile.REGTYPE, mode: int = 0o644, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.mode, found.linkname = kind, mode, link
    return found


def kinds(ours: Tree, theirs: Tree) -> list[tuple[str, str]]:
    return [(each.kind, each.path) for each in compare.differences(ours, theirs)]


def test_read_takes_all_that_is_compared(tmp_path: Path) -> None:
    marked = member("./usr/bin/ping", mode=0o4755)
    marked.pax_headers = {"SCHILY.xattr.security.capability": "x"}
    node = member("./dev/null", tarfile.CHRTYPE, 0o666)
    node.devmajor, node.devminor = 1, 3
    status = b"Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5\n\n"
    tree = compare.read(
        tar(
            tmp_path,
            "a.tar",
            (marked, b"elf"),
            (node, b""),
            (member("./bin", tarfile.SYMTYPE, 0o777, "usr/bin"), b""),
            (member("./usr/bin/ping4", tarfile.LNKTYPE, link="./usr/bin/ping"), b""),
            (member("./var/lib/dpkg/status"), status),
        )
    )
    assert tree.packages == {"bash:amd64": "5"}
    assert tree.files["usr/bin/ping"].xattrs == (("security.capability", "x"),)
    assert tree.files["usr/bin/ping"].mode == 0o4755
    assert tree.files["usr/bin/ping4"] == tree.files["usr/bin/ping"]
    assert tree.files["dev/null"].device == (1, 3)
    assert tree.files["bin"].target == "usr/bin"


def test_same_trees_do_not_differ() -> None:
    assert kinds(Tree({"a": FILE}, {"p": "1"}), Tree({"a": FILE}, {"p": "1"})) == []


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        (Entry("file", 0o755, (0, 0), digest="aa"), "mode"),
        (Entry("file", 0o644, (0, 7), digest="aa"), "owner"),
        (Entry("file", 0o644, (0, 0), digest="bb"), "content"),
        (Entry("file", 0o644, (0, 0), digest="aa", xattrs=(("user.a", "1"),)), "xattr"),
        (Entry("folder", 0o755, (3, 3)), "type"),
    ],
)
def test_one_difference_of_each_kind(other: Entry, kind: str) -> None:
    assert kinds(Tree({"a": FILE}, {}), Tree({"a": other}, {})) == [(kind, "a")]


def test_links_and_nodes() -> None:
    link = Entry("symlink", 0, (0, 0), target="b")
    node = Entry("character device", 0o666, (0, 0), device=(1, 3))
    ours = Tree({"l": link, "n": node}, {})
    theirs = Tree({"l": Entry("symlink", 0, (0, 0), target="c"), "n": Entry(node.kind, 0o666, (0, 0), "", (1, 5))}, {})
    assert kinds(ours, theirs) == [("link", "l"), ("device", "n")]


def test_files_and_packages_that_one_side_lacks() -> None:
    found = compare.differences(Tree({"a": FILE}, {"p": "1", "q": "1"}), Tree({"b": FILE}, {"p": "2", "r": "1"}))
    assert found == [
        Difference("version", "p", "1", "2"),
        Difference("package", "q", "1", ""),
        Difference("package", "r", "", "1"),
        Difference("file", "a", "file", ""),
        Difference("file", "b", "", "file"),
    ]


def test_expected_differences_and_entries_that_match_nothing() -> None:
    log, other = (
        Difference("content", "var/log/apt/term.log", "a", "b"),
        Difference("mode", "var/log/apt/term.log", "", ""),
    )
    used, unused = Expectation("var/log/*", "times", ("content",)), Expectation("tmp/*", "nothing")
    report = compare.judge([log, other], [used, unused])
    assert report.unexpected == (other,)
    assert report.expected == ((log, used),)
    assert report.unused == (unused,)
    assert not report.same
    said = compare.text(report)
    assert "mode: 1" in said
    assert "not needed: tmp/* (nothing)" in said
    assert json.loads(compare.as_json(report))["expected"][0]["reason"] == "times"


@pytest.mark.parametrize("bad", ["[{pattern: a}]", "[{reason: a}]", "[{pattern: a, reason: b, kinds: [colour]}]"])
def test_a_bad_list_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="entry 1"):
        compare.expectations(bad)


def test_the_written_list_can_be_read() -> None:
    compare.expectations(compare.EXPECTED.read_text())


def test_every_upstream_element_is_in_the_table_once() -> None:
    names = [line.partition(":")[0] for line in table.TABLE.read_text().splitlines() if line and line[0] not in "# "]
    found = sorted(each.name for each in upstream.elements().iterdir() if each.is_dir() and each.name != "__pycache__")
    assert sorted(names) == found
    assert [row.name for row in table.rows()] == names


def test_rows_name_elements_and_files_that_are_there() -> None:
    names = {row.name for row in table.rows()}
    for row in table.rows():
        assert set(row.elements) <= names
        for value in row.given(Path("/sources.list")).values():
            assert "{" not in value
            if value.startswith(str(table.FILES)):
                assert Path(value).exists()


def test_a_row_that_cannot_be_needs_its_kind(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("a: {cannot: because}\n")
    with pytest.raises(ValueError, match="a: "):
        table.rows(tmp_path / "t.yaml")


def test_a_failure_in_one_line() -> None:
    said = "[8/35] x\nerror: the stage root/a/75-b failed with status 100\n  | E: no key\n  | dib-ctr: changed 1\n"
    assert results.failure(said) == "the stage root/a/75-b failed with status 100: E: no key"


def test_the_document_has_a_line_for_each_element_and_the_work_list_its_reasons() -> None:
    rows = [table.Row("a"), table.Row("b", cannot="a licence", kind="licence"), table.Row("c"), table.Row("d")]
    found = {"a": results.Result("a", results.BUILDS, seconds=3.2), "c": results.Result("c", results.FAILS, "x | y")}
    text = results.markdown(rows, found, "trixie", "1 May 2026")
    assert "1 builds, 1 fails, 1 not tried, 1 cannot; 4 in all." in text
    assert "| a |  | builds | 3 |  |" in text
    assert "| b |  | cannot |  | a licence (licence) |" in text
    assert "x \\| y" in text
    assert results.work_list(found.values()) == "1: x | y\n   c"
