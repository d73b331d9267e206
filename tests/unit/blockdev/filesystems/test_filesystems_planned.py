"""File systems: what is decided before a tool runs, and what is said when one is not there."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdev.core import tools
from blockdev.core.errors import BuildError
from blockdev.filesystems import KINDS, Spec, Statistics, ext, measure, minimum_size, swap, vfat
from blockdev.filesystems.region import Region, copy_in, copy_out, holds, require_blank
from blockdev.tree.walk import travels, walk

MIB = 1 << 20
sizes = st.lists(st.integers(0, 1 << 32), max_size=50)


@given(sizes, st.integers(0, 1 << 30), st.sampled_from(KINDS))
def test_more_to_hold_never_needs_less(files: list[int], more: int, kind: str) -> None:
    """Whole MiB, at least the contents, and no smaller for one file more."""

    def need(contents: list[int]) -> int:
        names = (12,) * len(contents)
        return minimum_size(kind, Statistics(tuple(contents), names, folders=1, inodes=len(contents) + 1))

    assert need(files) % MIB == 0
    if kind != "swap":
        assert need(files) > sum(files)
        assert need([*files, more]) >= need(files)


def test_identities_follow_from_the_seed() -> None:
    """Two objects differ, one is always the same, and what was asked for is left as it is."""
    assert Spec("ext4", seed="a").volume_id == Spec("ext4", seed="a").volume_id
    assert Spec("ext4", seed="a").volume_id != Spec("ext4", seed="b").volume_id
    assert uuid.UUID(Spec("xfs", seed="a").volume_id).version == 5
    fat = Spec("vfat", seed="a").volume_id
    assert len(fat) == 9
    assert int(fat.replace("-", ""), 16) >= 0
    assert Spec("vfat", uuid="AB12-34CD").volume_id == "AB12-34CD"


def test_walk_follows_names_and_not_folders(tmp_path: Path) -> None:
    """Sorted, folders before their content, what belongs elsewhere left out, sockets too."""
    for name in ("b/z", "b/a", "a-", "a/x", "boot/efi/hidden", "boot/kernel"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    names = [entry.name for entry in walk(tmp_path, without=["boot/efi"])]
    assert names[0] == b""
    assert b"boot/efi" in names
    assert b"boot/efi/hidden" not in names
    assert [name for name in names if b"/" not in name] == [b"", b"a", b"a-", b"b", b"boot"]
    assert names.index(b"b") < names.index(b"b/a") < names.index(b"b/z")
    counted = measure(tmp_path, without=["boot/efi"])
    assert (counted.inodes, counted.folders, len(counted.sizes)) == (10, 5, 5)


@pytest.mark.parametrize(
    ("attribute", "kept"),
    [
        ("user.note", True),
        ("user.overlay.opaque", False),
        ("security.capability", True),
        ("security.selinux", False),
        ("system.posix_acl_default", True),
        ("trusted.x", False),
    ],
)
def test_attributes_that_travel(attribute: str, *, kept: bool) -> None:
    """Those of the image and none of the machine."""
    assert travels(attribute) is kept


def test_extended_options_of_ext_are_joined() -> None:
    """mke2fs would heed the last only."""
    assert ext._extended(("-E", "a=1,b", "-m", "0", "-Ec")) == (["-m", "0"], ["a=1", "b", "c"])
    assert ext.block_size(("-m", "0", "-b", "1024")) == 1024
    assert ext.block_size(("-b2048",)) == 2048
    assert ext.block_size(("-m", "0")) == 4096


def test_swap_pages() -> None:
    """The signature stands at the end of the first page, whatever its size."""
    assert swap.header(Spec("swap", options=("-p", "65536")), MIB)[-10:] == b"SWAPSPACE2"
    assert len(swap.header(Spec("swap"), MIB)) == 4096
    for options in (("-p", "5000"), ("--pagesize",), ("-c",)):
        with pytest.raises(BuildError):
            swap.header(Spec("swap", options=options), MIB)
    with pytest.raises(BuildError, match="too small for swap"):
        swap.header(Spec("swap"), 9 * 4096)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (b"a:b", "it has ':' in it"),
        (b"dot.", "it begins or ends with a space"),
        (b"\xff", "it is not UTF-8"),
        ("\N{GRINNING FACE}".encode() * 128, "it is longer than 255"),
        (b"grub.cfg", ""),
    ],
)
def test_names_on_fat(name: bytes, reason: str) -> None:
    """What FAT cannot keep has a reason."""
    assert vfat._reason(name).startswith(reason)
    assert bool(vfat._reason(name)) is bool(reason)


def test_a_missing_tool_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what else there is to do."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(tools, "_SYSTEM", ())
    with pytest.raises(BuildError, match=r"mkfs\.erofs is not installed") as caught:
        tools.find("mkfs.erofs")
    assert "erofs-utils" in caught.value.hint


def test_regions_stay_sparse(tmp_path: Path) -> None:
    """Copies have the bytes and not more blocks; a region that is not blank is refused."""
    source, image, out = tmp_path / "source", tmp_path / "image", tmp_path / "out"
    with source.open("wb") as file:
        file.truncate(64 * MIB)
        for place in (0, 20 * MIB + 7, 64 * MIB - 1):
            file.seek(place)
            file.write(b"x")
    region = Region(image, 5 * MIB, 64 * MIB)
    require_blank(region)
    assert image.stat().st_size == 69 * MIB
    assert holds(region) == 0
    copy_in(source, region)
    copy_out(region, out)
    assert out.read_bytes() == source.read_bytes()
    assert image.stat().st_blocks * 512 < MIB
    assert 3 <= holds(region) < MIB
    require_blank(Region(image, 0, 5 * MIB))
    with pytest.raises(BuildError, match="not blank"):
        require_blank(Region(image, 0, 5 * MIB + 1))
    assert out.stat().st_blocks * 512 < MIB
