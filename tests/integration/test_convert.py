"""One raw image in every format by the real qemu-img, zstd, xz: the same disk, the same bytes, sparse."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blockdev import convert as conversion
from blockdev.convert import FORMATS, Wish, convert, convert_all, verify
from blockdev.core.errors import BuildError, UsageError

SIZE = 64 << 20
WISH = Wish(format="qcow2", name="disk", epoch=1_763_800_000, seed="some seed")
NAMES = [form.name for form in FORMATS]
DRIVERS = {form.name: form.driver for form in FORMATS if form.driver}
UNPACK = {"raw.zst": "zstd", "raw.gz": "gzip", "raw.xz": "xz"}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk of 64 MB with data at its ends and between, text and noise, and holes."""
    path = tmp_path_factory.mktemp("source") / "source.raw"
    chance = random.Random(4)
    with path.open("wb") as file:
        file.truncate(SIZE)
        for place, length in ((0, 700_000), (3 << 20, 300_001), ((40 << 20) + 512, 65_536), (SIZE - 4096, 4096)):
            file.seek(place)
            file.write(chance.randbytes(length))
        file.seek(20 << 20)
        file.write(b"words that compress well, " * 40_000)
    return path


@pytest.fixture(scope="module")
def twice(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[Path, Path]]:
    """Every format, made twice, more than a second apart, under different names."""
    folder = tmp_path_factory.mktemp("twice")
    dense = folder / "dense.raw"
    dense.write_bytes(raw.read_bytes())  # the same disk, with zeros in the place of holes
    wishes = [replace(WISH, format=name, checksums=("sha256", "md5")) for name in NAMES]
    results: list[list[Path]] = []
    for run, source in (("first", raw), ("another-name", dense)):
        targets = [folder / f"{run}-{number}" for number in range(len(wishes))]
        written = convert_all(source, list(zip(targets, wishes, strict=True)))
        assert [one.bytes for one in written] == [target.stat().st_size for target in targets]
        results.append(targets)
        time.sleep(1.1)
    return dict(zip(NAMES, zip(*results, strict=True), strict=True))


def info(image: Path, driver: str) -> dict[str, Any]:
    """What qemu-img says of an image."""
    command = ["qemu-img", "info", "--output=json", "-f", driver, str(image)]
    document: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return document


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bytes_again(twice: Mapping[str, tuple[Path, Path]], name: str) -> None:
    """Neither the time, nor the target's name, nor where the source has holes, can be seen in an output."""
    first, second = (path.read_bytes() for path in twice[name])
    places = (
        [number for number, (a, b) in enumerate(zip(first, second, strict=False)) if a != b] if first != second else []
    )
    assert (len(first), places[:20]) == (len(second), [])


@pytest.mark.parametrize("name", DRIVERS)
def test_it_is_the_same_disk(raw: Path, twice: Mapping[str, tuple[Path, Path]], name: str) -> None:
    """qemu-img finds sound tables and the source's content; ours and its own words agree."""
    verify(raw, twice[name][0], name)
    command = ["qemu-img", "compare", "-f", "raw", "-F", DRIVERS[name], str(raw), str(twice[name][0])]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"Images are identical.\n"
    assert info(twice[name][0], DRIVERS[name])["virtual-size"] == SIZE


@pytest.mark.parametrize("name", UNPACK)
def test_it_unpacks_to_the_source(raw: Path, twice: Mapping[str, tuple[Path, Path]], name: str) -> None:
    """The ordinary programs read what we write."""
    with twice[name][0].open("rb") as packed:
        done = subprocess.run([UNPACK[name], "-dc"], stdin=packed, capture_output=True, check=True)
    assert done.stdout == raw.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_sparse_stays_sparse(raw: Path, twice: Mapping[str, tuple[Path, Path]], name: str) -> None:
    """No output takes much more than the source's data, whatever its length (formats work in blocks of MBs)."""
    allocated = [path.stat().st_blocks * 512 for path in twice[name]]
    assert max(allocated) <= raw.stat().st_blocks * 512 + (4 << 20)


def test_raw_is_raw(raw: Path, twice: Mapping[str, tuple[Path, Path]]) -> None:
    """Byte for byte, and with holes even from a source that had none."""
    assert all(path.read_bytes() == raw.read_bytes() for path in twice["raw"])
    assert twice["raw"][1].stat().st_blocks * 512 < SIZE // 8


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_checksum_files_verify(twice: Mapping[str, tuple[Path, Path]], name: str, kind: str) -> None:
    """sha256sum -c and md5sum -c accept them where they lie."""
    image = twice[name][0]
    command = [f"{kind}sum", "--strict", "-c", f"{image.name}.{kind}"]
    done = subprocess.run(command, cwd=image.parent, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{image.name}: OK\n")


def test_qemu_img_sees_what_was_asked(raw: Path, tmp_path: Path) -> None:
    """Compressions, extra options, subformats, the name within, and ids that follow from the seed."""

    def made(kind: str, /, **changes: Any) -> Path:
        target = tmp_path / f"{kind}.{len(list(tmp_path.iterdir()))}"
        convert(raw, target, replace(WISH, format=kind, **changes))
        return target

    asked = made("qcow2", compression="zlib", options={"cluster_size": "131072", "lazy_refcounts": "on"})
    seen = info(asked, "qcow2")
    assert (seen["cluster-size"], seen["format-specific"]["data"]["compression-type"]) == (131072, "zlib")
    assert seen["format-specific"]["data"]["lazy-refcounts"] is True
    assert info(made("qcow2"), "qcow2")["format-specific"]["data"]["compression-type"] == "zstd"
    assert info(made("qcow2", options={"compat": "0.10"}), "qcow2")["format-specific"]["data"]["compat"] == "0.10"
    plain, packed = made("qcow2", compression="none"), made("qcow2")
    assert plain.stat().st_size > packed.stat().st_size + (512 << 10)
    data = info(made("vmdk", name="web server"), "vmdk")["format-specific"]["data"]
    assert data["create-type"] == "streamOptimized"
    same = info(made("vmdk-sparse"), "vmdk")["format-specific"]["data"]
    assert (same["create-type"], same["cid"]) == ("monolithicSparse", data["cid"])
    other = info(made("vmdk", seed="another"), "vmdk")["format-specific"]["data"]
    assert other["cid"] != data["cid"]
    descriptor = made("vmdk", name="web server").read_bytes()[512:2048]
    assert b'SPARSE "web server.vmdk"' in descriptor
    assert b'ddb.adapterType = "lsilogic"' in descriptor
    assert made("vhd-fixed").stat().st_size == SIZE + 512


MORE = pytest.mark.thorough("slow compressors, three times each; `just test` has the other kinds")


@pytest.mark.parametrize(
    "name", ["qcow2", "vmdk", "raw.zst", *(pytest.param(name, marks=MORE) for name in ("raw.gz", "raw.xz"))]
)
def test_the_number_of_processors_cannot_be_seen(raw: Path, tmp_path: Path, name: str) -> None:
    """One thread or five: the same bytes."""
    sums = {convert(raw, tmp_path / str(n), replace(WISH, format=name), threads=n).sha256 for n in (1, 2, 5)}
    assert len(sums) == 1


def test_options_that_qemu_img_does_not_know(raw: Path, tmp_path: Path) -> None:
    """Refused before anything is written, and all of several together."""
    bad = replace(WISH, format="vdi", options={"colour": "red"})
    with pytest.raises(UsageError, match="qemu-img knows no option 'colour' for vdi"):
        convert_all(raw, [(tmp_path / "a.qcow2", WISH), (tmp_path / "b.vdi", bad)])
    assert list(tmp_path.iterdir()) == []


def test_a_raw_image_nobody_needs_any_more(raw: Path, tmp_path: Path) -> None:
    """The first raw output is the file itself, with a new one's rights; all outputs are as otherwise."""
    own = tmp_path / "own.raw"
    subprocess.run(["cp", "--sparse=always", raw, own], check=True)
    own.chmod(0o600)
    number = own.stat().st_ino
    kinds = ("qcow2", "raw", "vmdk", "raw", "raw.gz")
    wishes = [replace(WISH, format=kind, checksums=("md5",)) for kind in kinds]
    here, there = ([(tmp_path / f"{run}-{n}", wish) for n, wish in enumerate(wishes)] for run in "ab")
    ours_done, theirs_done = convert_all(own, here, consume=True), convert_all(raw, there)
    # (What is allocated for a file's extents differs from file to file.)
    assert [replace(each, allocated=0) for each in ours_done[0::2]] == [
        replace(each, allocated=0) for each in theirs_done[0::2]
    ]
    assert not own.exists()
    assert [target.stat().st_ino == number for target, _ in here] == [False, True, False, False, False]
    assert here[1][0].stat().st_mode == there[1][0].stat().st_mode
    for (ours, _), (theirs, _) in zip(here, there, strict=True):
        assert ours.read_bytes() == theirs.read_bytes()
        sums = [path.with_name(f"{path.name}.md5").read_text().split()[0] for path in (ours, theirs)]
        assert sums[0] == sums[1]


def test_a_raw_image_that_stays(raw: Path, tmp_path: Path) -> None:
    """Without being told so, with another name, without a raw output, and where another output fails."""
    own = tmp_path / "own.raw"
    subprocess.run(["cp", "--sparse=always", raw, own], check=True)
    one, bad = replace(WISH, format="raw"), replace(WISH, options={"cluster_size": "3"})
    convert_all(own, [(tmp_path / "a", one)])
    convert_all(own, [(tmp_path / "b", WISH)], consume=True)
    with pytest.raises(BuildError, match="Cluster size"):
        convert_all(own, [(tmp_path / "c", one), (tmp_path / "d", bad)], consume=True)
    assert not (tmp_path / "c").exists()
    (tmp_path / "name").hardlink_to(own)
    convert_all(own, [(tmp_path / "e", one)], consume=True)
    assert own.samefile(tmp_path / "name")
    assert not own.samefile(tmp_path / "e")
    assert (tmp_path / "e").read_bytes() == raw.read_bytes()


def test_a_raw_output_on_another_file_system(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where renaming is refused after all, the image is copied."""
    own, target = tmp_path / "own.raw", tmp_path / "target"
    subprocess.run(["cp", "--sparse=always", raw, own], check=True)
    replace_path = Path.replace

    def refused(self: Path, to: Path) -> Path:
        if self == own:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return replace_path(self, to)

    monkeypatch.setattr(Path, "replace", refused)
    convert_all(own, [(target, replace(WISH, format="raw"))], consume=True)
    assert own.read_bytes() == target.read_bytes() == raw.read_bytes()


def test_two_outputs_in_one_place(raw: Path, tmp_path: Path) -> None:
    """Two kinds of VMDK under one name cannot both be had."""
    wishes = [(tmp_path / "d.vmdk", replace(WISH, format=name)) for name in ("vmdk", "vmdk-sparse")]
    with pytest.raises(UsageError, match="two outputs would be written to"):
        convert_all(raw, wishes)


def test_no_disk_at_all(tmp_path: Path) -> None:
    """A source that is missing, of odd length, the target itself, or a target without a folder."""
    odd = tmp_path / "odd.raw"
    odd.write_bytes(b"x" * 1000)
    with pytest.raises(UsageError, match="1000 bytes, which is no disk"):
        convert(odd, tmp_path / "x.qcow2", WISH)
    with pytest.raises(UsageError, match="there is no raw image"):
        convert(tmp_path / "none", tmp_path / "x.qcow2", WISH)
    with pytest.raises(UsageError, match="onto itself"):
        convert(odd, odd, replace(WISH, format="raw"))
    with pytest.raises(UsageError, match="there is no folder"):
        convert(odd, tmp_path / "none" / "x", replace(WISH, format="raw"))


def test_qemu_imgs_own_sentence(raw: Path, tmp_path: Path) -> None:
    """A value that only qemu-img can judge: its words, and an older output untouched."""
    target = tmp_path / "disk.qcow2"
    target.write_text("older")
    with pytest.raises(BuildError, match="Cluster size must be a power of two"):
        convert(raw, target, replace(WISH, options={"cluster_size": "3"}))
    assert target.read_text() == "older"
    assert [path.name for path in tmp_path.iterdir()] == ["disk.qcow2"]


@pytest.mark.parametrize(("name", "package"), [("vdi", "qemu-utils"), ("raw.zst", "zstd"), ("raw.xz", "xz-utils")])
def test_a_missing_program(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str) -> None:
    """Its name, and how to install it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError) as caught:
        convert(raw, tmp_path / "x", replace(WISH, format=name))
    assert caught.value.hint == f"apt-get install {package}"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
@pytest.mark.parametrize("name", ["qcow2", "vmdk", "raw", "raw.gz", "raw.zst", "vhdx"])
def test_a_full_disk(raw: Path, tmp_path: Path, name: str) -> None:
    """A sentence and a way out; nothing is left behind."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder], check=False)
    if mount.returncode:
        pytest.skip("no right to mount a tmpfs")
    try:
        with pytest.raises(BuildError) as caught:
            convert(raw, folder / "disk", replace(WISH, format=name))
        assert caught.value.what == "the disk is full"
        assert list(folder.iterdir()) == []
    finally:
        subprocess.run(["umount", folder], check=True)


def test_an_image_that_is_another_disk(raw: Path, tmp_path: Path) -> None:
    """verify() tells when an image does not hold its source."""
    image, other = tmp_path / "disk.qcow2", tmp_path / "other.raw"
    conversion.convert(raw, image, WISH)
    content = bytearray(raw.read_bytes())
    content[SIZE // 2] ^= 1
    other.write_bytes(content)
    with pytest.raises(BuildError, match="the image differs from its source"):
        verify(other, image, "qcow2")
