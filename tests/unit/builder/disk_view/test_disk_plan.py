"""``dib-ctr disk plan``: bars to scale, a table with everything that lies on everything, and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdev.layout.json import from_data
from builder.cli import main
from builder.disk_view.layout import bar, draw

GIB = 1 << 30
LAYOUT = """
- local_loop: {name: image0, size: 4GiB}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: ESP, type: EF00, size: 128MiB, mkfs: {type: vfat, mount: {mount_point: /boot/efi, fstab: {}}}}
      - {name: pv, type: 8E00, size: 100%}
- lvm:
    name: lvm
    pvs: [{name: pv0, base: pv}]
    vgs: [{name: vg, base: [pv0]}]
    lvs: [{name: lv_root, base: vg, size: 2GiB}, {name: lv_swap, base: vg, size: 256MiB}]
- mkfs: {name: mkfs_root, base: lv_root, mount: {mount_point: /, fstab: {fsck-passno: 1}}}
- mkfs: {name: swap, base: lv_swap, type: swap, mount: {mount_point: swap, fstab: {}}}
"""


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    file = tmp_path / "layout.yaml"
    file.write_text(LAYOUT)
    return file


def test_table_and_fstab(layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["disk", "plan", "--block-device", str(layout)]) == 0
    said = capsys.readouterr().out
    assert "image0: 4 GiB (4294967296 bytes), GPT" in said
    rows = [line.split() for line in said.splitlines()]
    assert ["1", "ESP", "1048576", "128", "MiB", "EFI", "system", "vfat", "MKFS_ESP", "/boot/efi"] in rows
    assert ["lv_root", "2", "GiB", "volume", "ext4", "cloudimg-rootfs", "/"] in rows
    assert ["lv_swap", "256", "MiB", "volume", "swap", "swap", "swap"] in rows
    assert "  LABEL=cloudimg-rootfs / ext4 defaults 0 1" in said


def test_json_is_the_layout(layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["disk", "plan", "--json", "--block-device", str(layout)]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data.pop("fstab").startswith("LABEL=cloudimg-rootfs / ext4")
    assert data.pop("crypttab") == ""
    found = from_data(data)
    assert found.disks[0].size == 4 * GIB
    assert found.storages["lv_root"].size == 2 * GIB
    assert draw(found)


def test_the_default_layouts(capsys: pytest.CaptureFixture[str]) -> None:
    for arch, kinds in (("amd64", ["ESP", "BSP", "root"]), ("arm64", ["ESP", "root"]), ("ppc64el", ["boot", "root"])):
        assert main(["disk", "plan", "--json", "--arch", arch, "debian-minimal", "vm"]) == 0
        (disk,) = json.loads(capsys.readouterr().out)["disks"]
        assert [slot["name"] for slot in disk["slots"]] == kinds


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing says what the disk is to be"),
        (("--block-device", "/not/there"), "/not/there cannot be read"),
        (("--tree-size", "much", "debian-minimal"), "--tree-size is 'much'"),
        (("--image-size", "50MiB", "--tree-size", "100MiB", "debian-minimal"), "the tree needs a root file system"),
        (("debian-minmal",), "did you mean 'debian-minimal'?"),
    ],
)
def test_refusals(arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["disk", "plan", *arguments]) == 2
    assert said in capsys.readouterr().err


@given(
    st.lists(st.tuples(st.text("ab", max_size=12), st.integers(1, 1 << 40)), min_size=1, max_size=20),
    st.integers(20, 200),
)
def test_a_bar_is_three_lines_of_one_width(cells: list[tuple[str, int]], width: int) -> None:
    lines = bar(cells, sum(length for _, length in cells), width).splitlines()
    assert len(lines) == 3
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) == max(width, 4 * len(cells) + 1)
    assert lines[1].count("\N{BOX DRAWINGS LIGHT VERTICAL}") == len(cells) + 1
