"""Ubuntu's archive is the one that has the architecture, as debootstrap's scripts name it."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.repositories.ubuntu_archive import SCRIPT, ubuntu_archive


@pytest.mark.parametrize(
    ("arch", "name"), [("amd64", "archive"), ("i386", "archive"), ("arm64", "ports"), ("riscv64", "ports")]
)
def test_ubuntus_archive_is_another_one_for_other_architectures(arch: str, name: str, tmp_path: Path) -> None:
    script = tmp_path / SCRIPT
    script.parent.mkdir(parents=True)
    lines = [f"default_mirror http://{each}.invalid/u" for each in ("old-releases", "archive", "ports")]
    script.write_text("case $ARCH in\n" + "\n".join(lines) + "\nesac\n")
    assert ubuntu_archive(arch, tmp_path) == f"http://{name}.invalid/u"


def test_where_no_debootstrap_is_none_is_known(tmp_path: Path) -> None:
    assert ubuntu_archive("amd64", tmp_path) == ""
