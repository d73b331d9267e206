"""Which of this machine's own programs serve a foreign tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.sandbox.native_tools import TOOLS, Programs, upstream

HERE = {"dpkg-deb": "1.22.22", "tar": "1.35+dfsg", "cp": "9.7", "rm": "9.7", "depmod": "34.2"}
STANZA = "Package: {}\nStatus: install ok installed\nArchitecture: arm64\nVersion: {}\nDescription: x\n\n"


def tree_with(folder: Path, **versions: str) -> Path:
    status = folder / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text("".join(STANZA.format(name, version) for name, version in versions.items()))
    return folder


def names(programs: Programs, tree: Path) -> list[str]:
    return [tool.name for tool in programs.serving(tree)]


@pytest.mark.parametrize(
    ("version", "expected"),
    [("2:9.7-3+b1", "9.7"), ("1.22.22", "1.22.22"), ("1.35+dfsg-3.1", "1.35+dfsg"), ("1-2-3", "1-2"), ("", "")],
)
def test_upstreams_part_of_a_version(version: str, expected: str) -> None:
    assert upstream(version) == expected


def test_a_tree_with_another_version_gets_only_what_any_version_does(tmp_path: Path) -> None:
    programs = Programs(tmp_path / "own", HERE)
    same = tree_with(tmp_path / "same", coreutils="9.7-1", tar="1.34-1", dpkg="1.22.0")
    assert names(programs, same) == ["dpkg-deb", "tar", "cp", "rm", "depmod"]
    other = tree_with(tmp_path / "other", coreutils="9.1-1", tar="1.34-1", dpkg="1.22.0")
    assert names(programs, other) == ["dpkg-deb", "tar", "rm", "depmod"]
    assert names(programs, tmp_path / "no tree yet") == ["dpkg-deb", "tar", "rm", "depmod"]


def test_what_compresses_and_indexes_is_compared_when_it_is_called() -> None:
    assert {tool.name for tool in TOOLS if tool.late} == {
        *("cpio", "depmod", "dracut-install", "gzip", "modinfo", "modprobe", "xz", "zstd")
    }
    assert not {tool.name for tool in TOOLS if tool.late and tool.any_version}
