"""Our own encoders against the real qemu-img: small disks of every shape, far data, noise, holes."""

from __future__ import annotations

import json
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

from blockdev.convert import Wish, convert, libzstd, qemu_img, verify
from blockdev.core.errors import UsageError
from tests.examples import examples

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


def said(*arguments: str | Path) -> str:
    """What qemu-img says."""
    return subprocess.run(["qemu-img", *arguments], check=True, capture_output=True, text=True).stdout


def made(raw: Path, target: Path, wish: Wish) -> Path:
    """An image by our encoder alone: where that does not fit, the test fails."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qemu_img, "convert", None)
        convert(raw, target, wish)
    return target


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=examples(25), deadline=None)
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


QCOW2 = replace(WISH, format="qcow2")


@settings(max_examples=examples(40), deadline=None)
@given(
    sectors=st.integers(1, 3500),
    parts=st.lists(PARTS, max_size=6),
    bits=st.integers(12, 21),
    compression=st.sampled_from(["zlib", "zstd"]),
    lazy=st.sampled_from(["on", "off"]),
)
def test_qcow2_of_every_kind(sectors: int, parts: list[Part], bits: int, compression: str, lazy: str) -> None:
    """Every cluster size, both compressions: no error, no leak, nothing beyond the end, the same disk."""
    options = {"cluster_size": str(1 << bits), "lazy_refcounts": lazy, "compat": "1.1"}
    with TemporaryDirectory() as name:
        raw, image = raw_disk(Path(name, "raw"), sectors, parts), Path(name, "image")
        made(raw, image, replace(QCOW2, compression=compression, options=options))
        verify(raw, image, "qcow2")
        found = json.loads(said("check", "--output=json", image))
        assert {"leaks", "corruptions", "check-errors"} & found.keys() <= {"check-errors"}
        assert found["check-errors"] == 0
        assert found["image-end-offset"] == image.stat().st_size
        assert found.get("compressed-clusters", 0) <= found.get("allocated-clusters", 0)


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
def test_a_qcow2_looks_as_qemu_imgs(tmp_path: Path, compression: str) -> None:
    """qemu-img tells the same of both, and ours takes no more."""
    raw = raw_disk(tmp_path / "raw", 40_000, [Part(0, 9000, "words"), Part(20_000, 3000, "noise")])
    wish = replace(QCOW2, compression=compression)
    ours, theirs = made(raw, tmp_path / "ours", wish), tmp_path / "theirs"
    said("convert", "-f", "raw", "-O", "qcow2", "-c", "-o", f"compression_type={compression}", raw, theirs)
    one, other = (qemu_img.info(path, "qcow2") for path in (ours, theirs))
    same = ("virtual-size", "cluster-size", "format", "format-specific", "dirty-flag")
    assert [one[key] for key in same] == [other[key] for key in same]
    assert ours.stat().st_size < theirs.stat().st_size + 65536  # ends with a whole cluster
    checked = [json.loads(said("check", "--output=json", path)) for path in (ours, theirs)]
    counts = ("total-clusters", "allocated-clusters", "compressed-clusters")
    assert [checked[0][key] for key in counts] == [checked[1][key] for key in counts]


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
def test_a_qcow2_can_be_written_to(tmp_path: Path, compression: str) -> None:
    """A guest that writes onto compressed clusters, and into holes, leaves sound tables: they count rightly."""
    raw = raw_disk(tmp_path / "raw", 20_000, [Part(0, 3000, "words"), Part(3001, 300, "noise")])
    image = made(raw, tmp_path / "image", replace(QCOW2, compression=compression))
    change = ("write -P 7 100k 900k", "write -P 8 5M 3M", "discard 0 64k", "write -P 9 1500k 200k")
    command = ["qemu-io", "-f", "qcow2", *(word for one in change for word in ("-c", one)), str(image)]
    subprocess.run(command, check=True, capture_output=True)
    said("check", image)
    back = tmp_path / "back"
    said("convert", "-O", "raw", image, back)
    expected = bytearray(raw.read_bytes())
    for start, length, byte in ((100, 900, 7), (5 << 10, 3 << 10, 8), (1500, 200, 9), (0, 64, 0)):
        expected[start << 10 : (start + length) << 10] = bytes([byte]) * (length << 10)
    assert back.read_bytes() == expected


def test_a_qcow2_without_libzstd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """qemu-img writes it then."""
    raw = raw_disk(tmp_path / "raw", 4000, [Part(0, 900, "words")])
    libzstd.library.cache_clear()
    monkeypatch.setattr(libzstd, "_LIBRARY", "libnone.so.1")
    try:
        convert(raw, tmp_path / "image", QCOW2)
    finally:
        libzstd.library.cache_clear()
    verify(raw, tmp_path / "image", "qcow2")
    data = qemu_img.info(tmp_path / "image", "qcow2")["format-specific"]["data"]
    assert data["compression-type"] == "zstd"


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
    said("convert", "-f", "raw", "-O", "vmdk", "-o", given_to, raw, theirs)
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


@pytest.mark.parametrize(("kind", "reader"), [("vmdk", "VMDK"), ("qcow2", "QCOW")])
def test_another_reader(tmp_path: Path, kind: str, reader: str) -> None:
    """7-Zip, which has nothing of QEMU's, finds the same disk (it knows no zstd within qcow2)."""
    raw = raw_disk(
        tmp_path / "raw", 140_001, [Part(0, 700, "noise"), Part(65_000, 3000, "words"), Part(140_000, 1, "noise")]
    )
    image = made(raw, tmp_path / "image", replace(WISH, format=kind, compression="zlib"))
    found = subprocess.run(["7zz", "e", "-so", f"-t{reader}", image], capture_output=True, check=True).stdout
    assert found == raw.read_bytes()


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
