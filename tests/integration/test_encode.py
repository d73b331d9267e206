"""Our own encoders against the real qemu-img: small disks of every shape, far data, noise, holes."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockdev.convert import Wish, convert, qemu_img, verify
from stages.errors import UsageError

WISH = Wish(format="vmdk", name="disk", epoch=0, seed="seed", checksums=())
KINDS = ("qcow2", "vmdk")
SECTOR = 512


@dataclass(frozen=True)
class Part:
    """What lies at a sector of a disk: so many sectors of noise, words or zeros."""

    sector: int
    sectors: int
    kind: str

    def content(self) -> bytes:
        """Its bytes."""
        length = self.sectors * SECTOR
        if self.kind == "noise":
            return random.Random(self.sector).randbytes(length)
        return (b"words of a disk, " * (length // 17 + 1))[:length] if self.kind == "words" else bytes(length)


PARTS = st.builds(Part, st.integers(0, 3000), st.integers(1, 700), st.sampled_from(["noise", "words", "zeros"]))


def raw_disk(path: Path, sectors: int, parts: list[Part]) -> Path:
    """A sparse raw image; what lies beyond its end is cut off."""
    with path.open("wb") as file:
        for part in parts:
            file.seek(part.sector * SECTOR)
            file.write(part.content())
        file.truncate(sectors * SECTOR)
    return path


def made(raw: Path, target: Path, wish: Wish) -> Path:
    """An image by our encoder alone: where that does not fit, the test fails."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qemu_img, "convert", None)
        convert(raw, target, wish)
    return target


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(sectors=st.integers(1, 3500), parts=st.lists(PARTS, max_size=6))
def test_disks_of_every_shape(kind: str, sectors: int, parts: list[Part]) -> None:
    """qemu-img finds sound tables and the same disk; one, two and four threads write the same bytes."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        raw = raw_disk(folder / "raw", sectors, parts)
        sums = {convert(raw, folder / str(n), replace(WISH, format=kind), threads=n).sha256 for n in (1, 2, 4)}
        assert len(sums) == 1
        verify(raw, made(raw, folder / "image", replace(WISH, format=kind)), kind)
        assert qemu_img.info(folder / "image", kind)["virtual-size"] == sectors * SECTOR


@pytest.mark.parametrize("kind", KINDS)
def test_far_data(tmp_path: Path, kind: str) -> None:
    """5 GB with data at both ends, across tables' borders and within."""
    raw = tmp_path / "raw"
    with raw.open("wb") as file:
        file.truncate(5 << 30)
        for place in (0, (512 << 20) - 100_000, (32 << 20) - 512, 3 << 30, (5 << 30) - 512):
            file.seek(place)
            file.write(b"far away " * 22_755 if place < 5 << 29 else b"x" * 512)
    image = made(raw, tmp_path / "image", replace(WISH, format=kind))
    verify(raw, image, kind)
    assert image.stat().st_size < 2 << 20


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [512, 65536, 300 << 20])
def test_nothing_but_holes(tmp_path: Path, kind: str, size: int) -> None:
    """An empty disk is small, and whole."""
    raw = raw_disk(tmp_path / "raw", size // SECTOR, [])
    image = made(raw, tmp_path / "image", replace(WISH, format=kind))
    verify(raw, image, kind)
    assert image.stat().st_size < 512 << 10


@pytest.mark.parametrize("kind", KINDS)
def test_noise(tmp_path: Path, kind: str) -> None:
    """What does not compress takes hardly more than it is long."""
    raw = raw_disk(tmp_path / "raw", 40_001, [Part(0, 40_001, "noise")])
    image = made(raw, tmp_path / "image", replace(WISH, format=kind))
    verify(raw, image, kind)
    assert image.stat().st_size < 1.02 * raw.stat().st_size + (400 << 10)


@pytest.mark.parametrize("options", [{}, {"adapter_type": "ide", "hwversion": "13"}, {"adapter_type": "buslogic"}])
@pytest.mark.parametrize("size", [512, 3 << 20, 40 << 30])
def test_a_vmdk_descriptor_as_qemu_imgs(tmp_path: Path, options: Mapping[str, str], size: int) -> None:
    """Line by line, but for the content id; and qemu-img shows the same of both."""
    raw = raw_disk(tmp_path / "raw", size // SECTOR, [])
    image = made(raw, tmp_path / "ours", replace(WISH, options=options))
    theirs = tmp_path / "disk.vmdk"
    given_to = ",".join(
        f"{key}={value}"
        for key, value in {"subformat": "streamOptimized", "adapter_type": "lsilogic", **options}.items()
    )
    command = ["qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", given_to, str(raw), str(theirs)]
    subprocess.run(command, check=True)
    texts = [
        re.sub(rb"CID=\w{1,8}\n(?=parent)", b"", path.read_bytes()[512:10752]).rstrip(b"\0") for path in (image, theirs)
    ]
    assert texts[0] == texts[1]
    ours, other = (qemu_img.info(path, "vmdk") for path in (image, theirs))
    assert ours["virtual-size"] == other["virtual-size"]
    assert ours["cluster-size"] == other["cluster-size"]
    data, others = ours["format-specific"]["data"], other["format-specific"]["data"]
    assert data["create-type"] == others["create-type"]
    assert data["extents"][0]["compressed"] is others["extents"][0]["compressed"] is True


def test_levels_of_a_vmdk(tmp_path: Path) -> None:
    """9 is smaller than 1; with options of qemu-img's own there are none."""
    words = [word.encode() for word in Path(__file__).read_text().split()]
    raw = tmp_path / "raw"
    raw.write_bytes(b" ".join(random.Random(1).choices(words, k=400_000))[: 1 << 20])
    sizes = [made(raw, tmp_path / f"{n}", replace(WISH, level=n)).stat().st_size for n in (1, 9)]
    assert sizes[1] < sizes[0]
    with pytest.raises(UsageError, match="qemu-img has no compression levels"):
        convert(raw, tmp_path / "image", replace(WISH, level=9, options={"compat6": "on"}))
    other = tmp_path / "image"
    convert(raw, other, replace(WISH, options={"compat6": "on"}))
    assert b'ddb.virtualHWVersion = "6"' in other.read_bytes()[:10240]
