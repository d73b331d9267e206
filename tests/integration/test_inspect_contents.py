"""File systems, containers and volumes that other programs have written, as an inspection sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from blockdev.filesystems.region import Region, copy_range
from blockdev.inspect.bytes_view import view
from blockdev.inspect.model import Content
from blockdev.inspect.signatures import identify
from blockdev.inspect.survey import inspect
from blockdev.lvm.allocate import VolumeSpec, allocate
from blockdev.lvm.model import places as lvm_places
from blockdev.lvm.write import write
from builder.disk_view.inspection import draw
from tests.integration.foreign_disks import FSTAB, ID, LVM, MIB, SECTOR, run, sparse

# -- file systems and containers --------------------------------------------------------------

MKFS = {
    "ext2": ["mkfs.ext2", "-q", "-L", "my label", "-U", ID],
    "ext3": ["mkfs.ext3", "-q", "-L", "my label", "-U", ID],
    "ext4": ["mkfs.ext4", "-q", "-L", "my label", "-U", ID],
    "ext4-64bit": ["mkfs.ext4", "-q", "-L", "my label", "-U", ID, "-O", "64bit,casefold", "-b", "4096"],
    "ext4-nojournal": ["mkfs.ext4", "-q", "-L", "my label", "-O", "^has_journal"],
    "vfat12": ["mkfs.vfat", "-F", "12", "-n", "MY LABEL", "-i", "cafe0001"],
    "vfat16": ["mkfs.vfat", "-F", "16", "-n", "MY LABEL", "-i", "cafe0001"],
    "vfat32": ["mkfs.vfat", "-F", "32", "-n", "MY LABEL", "-i", "cafe0001"],
    "vfat-plain": ["mkfs.vfat"],
    "vfat-large": ["mkfs.vfat", "-F", "16", "-S", "4096", "-n", "LARGE"],
    "xfs": ["mkfs.xfs", "-q", "-L", "my label", "-m", f"uuid={ID}"],
    "btrfs": ["mkfs.btrfs", "-q", "-L", "my label", "-U", ID, "--csum", "sha256"],
    "swap": ["mkswap", "-q", "-L", "my label", "-U", ID],
    "swap-large": ["mkswap", "-q", "-L", "my label", "-p", "65536"],
    "luks1": ["cryptsetup", "-q", "luksFormat", "--type", "luks1", "--uuid", ID],
    "luks2": ["cryptsetup", "-q", "luksFormat", "--type", "luks2", "--uuid", ID, "--label", "my label"],
}
SIZES = {"xfs": 400, "btrfs": 200, "vfat12": 4, "vfat32": 80, "vfat-large": 300}
QUICK = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file", "-"]


def read(path: Path) -> Content:
    with path.open("rb") as file:
        return identify(view(file.read()))


def blkid(path: Path) -> dict[str, str]:
    lines = run("blkid", "-p", "-o", "export", path).splitlines()
    return {key: value.replace("\\ ", " ") for key, _, value in (line.partition("=") for line in lines)}


@pytest.mark.parametrize("name", MKFS)
def test_what_mkfs_wrote_as_blkid_sees_it(tmp_path: Path, name: str) -> None:
    image = sparse(tmp_path / "image", SIZES.get(name, 32) * MIB)
    image.chmod(0o600)
    locked = name.startswith("luks")
    run(*MKFS[name], *(QUICK if locked else []), image, stdin=b"secret")
    ours, theirs = read(image), blkid(image)
    assert {"luks": "crypto_LUKS"}.get(ours.kind, ours.kind) == theirs["TYPE"]
    assert ours.label == theirs.get("LABEL", "")
    assert ours.uuid == theirs["UUID"]
    assert ours.remarks == ()
    assert ours.clean in (True, None)
    if locked:
        assert str(ours.details["version"]) == theirs["VERSION"] == name[-1]
        assert (ours.details["cipher"], ours.details["key_slots"]) == ("aes-xts-plain64", 1)
    elif name not in ("xfs", "swap-large"):
        assert ours.size is not None
        assert image.stat().st_size - 65536 <= ours.size <= image.stat().st_size
    if name.startswith("vfat") and name[4:].isdigit():
        assert str(ours.details["fat"]) == name[4:]


def test_free_space_of_ext_and_fat(tmp_path: Path) -> None:
    ext = sparse(tmp_path / "ext", 32 * MIB)
    run("mkfs.ext4", "-q", ext)
    said = run("dumpe2fs", "-h", ext)
    fields = {key: value.strip() for key, _, value in (line.partition(":") for line in said.splitlines())}
    found = read(ext)
    assert found.free == int(fields["Free blocks"]) * int(fields["Block size"])
    assert sorted(found.details["features"]) == sorted(fields["Filesystem features"].split())
    for bits in (12, 16, 32):
        fat = sparse(tmp_path / f"fat{bits}", SIZES.get(f"vfat{bits}", 32) * MIB)
        run("mkfs.vfat", "-F", str(bits), fat)
        before = read(fat).free
        run("mcopy", "-i", fat, "-", "::/file", stdin=b"x" * 50000)
        cluster = read(fat).details["cluster_size"]
        assert before is not None
        assert read(fat).free == before - -(-50000 // cluster) * cluster


def test_ext_that_is_not_clean(tmp_path: Path) -> None:
    image = sparse(tmp_path / "image", 32 * MIB)
    run("mkfs.ext4", "-q", image)
    run("debugfs", "-w", "-R", "ssv state 0", image)
    assert read(image).clean is False


@pytest.mark.parametrize("packing", ["gzip", "xz", "zstd"])
def test_squashfs(tmp_path: Path, packing: str) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("x")
    run("mksquashfs", tmp_path / "tree", tmp_path / "image", "-quiet", "-no-progress", "-comp", packing)
    found = read(tmp_path / "image")
    assert (found.kind, found.details["compression"], found.details["inodes"]) == ("squashfs", packing, 2)
    assert found.remarks == ()


def test_erofs_and_iso(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("x")
    image = tmp_path / "erofs"
    run("mkfs.erofs", "-U", ID, image, tmp_path / "tree")
    found = read(image)
    assert (found.kind, found.uuid, found.size) == ("erofs", ID, image.stat().st_size)
    image = tmp_path / "iso"
    run("xorriso", "-as", "mkisofs", "-quiet", "-V", "MY_LABEL", "-o", image, tmp_path / "tree")
    found, theirs = read(image), blkid(image)
    assert (found.kind, found.label, found.uuid) == ("iso9660", "MY_LABEL", theirs["UUID"])


def test_iso_with_partitions_over_it(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("x")
    esp = sparse(tmp_path / "esp", 4 * MIB)
    run("mkfs.vfat", esp)
    image = tmp_path / "image"
    appended = ["-append_partition", "2", "0xef", str(esp)]
    run("xorriso", "-as", "mkisofs", "-quiet", "-V", "DISC", *appended, "-o", image, tmp_path / "tree")
    found = inspect(image)
    assert found.table.kind == "mbr"
    shown = [(place.partition.number if place.partition else 0, place.content.kind) for place in found.places]
    assert shown[0] == (0, "iso9660")
    assert (2, "vfat") in shown
    assert found.remarks == ()  # a FAT with nothing on it can be read
    assert found.boot.ways["uefi"].why == "the EFI system partition has no EFI/BOOT/BOOT*.EFI"


def test_verity(tmp_path: Path) -> None:
    data = sparse(tmp_path / "data", MIB)
    hashes = tmp_path / "hashes"
    hashes.touch()
    run("veritysetup", "format", "--uuid", ID, "--salt", "ab" * 32, data, hashes)
    found = read(hashes)
    assert (found.kind, found.uuid) == ("verity", ID)
    assert (found.details["data_blocks"], found.details["algorithm"]) == (256, "sha256")
    assert found.details["salt"] == "ab" * 32


# -- volumes ----------------------------------------------------------------------------------


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """A disk with a group over two partitions, an LV in one piece with a system on it, and one in two pieces."""
    disk = sparse(tmp_path / "disk", 400 * MIB)
    starts = (2 * MIB, 200 * MIB)
    table = "".join(f"start={start // SECTOR}, size={190 * MIB // SECTOR}, type={LVM}\n" for start in starts)
    run("sfdisk", "--quiet", disk, stdin=f"label: gpt\n{table}".encode())
    wanted = [VolumeSpec("root", size=100 * MIB), VolumeSpec("data", size=200 * MIB)]
    regions = {name: Region(disk, start, 190 * MIB) for name, start in zip(("one", "two"), starts, strict=True)}
    sizes = [(name, region.length) for name, region in regions.items()]
    group = allocate("system", sizes, wanted, seed="inspect", epoch=1)
    write(group, regions)
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/fstab").write_text(FSTAB)
    pieces = {one.name: lvm_places(group, one) for one in group.logical}
    assert [len(pieces[name]) for name in ("root", "data")] == [1, 2]
    place = regions["one"].offset + pieces["root"][0][1]
    run("mkfs.ext4", "-q", "-L", "in-lvm", "-d", root, "-E", f"offset={place}", disk, "90M")
    spare = sparse(tmp_path / "spare", 200 * MIB)
    run("mkfs.ext4", "-q", "-L", "in-two", spare)
    at = 0
    for name, offset, length in pieces["data"]:
        copy_range(Region(spare, at, length), Region(disk, regions[name].offset + offset, length))
        at += length
    return disk


def test_volumes(volumes: Path) -> None:
    found = inspect(volumes)
    first, second = (place.group for place in found.places)
    assert first is not None
    assert second is not None
    assert (first.name, first.uuid, second.volumes, first.remarks) == ("system", second.uuid, (), ())
    told = {one.name: (one.content.kind, one.content.label, one.size, one.content.remarks) for one in first.volumes}
    assert told == {"root": ("ext4", "in-lvm", 100 * MIB, ()), "data": ("ext4", "in-two", 200 * MIB, ())}
    assert [one.offset is None for one in first.volumes] == [False, True]
    assert first.size - first.free == 300 * MIB
    assert found.system is not None
    assert (found.system.where, found.system.fstab) == ("volume system/root", FSTAB)
    drawn = draw(found)
    assert "LVM group system" in drawn
    assert "volume root" in drawn


def test_group_with_a_part_elsewhere(volumes: Path) -> None:
    with volumes.open("r+b") as file:
        file.seek(200 * MIB)
        file.write(bytes(MIB))
    found = inspect(volumes)
    group = found.places[0].group
    assert group is not None
    assert group.remarks == ("the group system has 1 of its 2 physical volumes elsewhere",)
    assert {one.name: one.content.kind for one in group.volumes} == {"root": "ext4", "data": "not read"}


def test_group_with_damaged_metadata(volumes: Path) -> None:
    with volumes.open("r+b") as file:
        file.seek(2 * MIB + 4096 + 8)
        file.write(b"\xff" * 8)
    found = inspect(volumes)
    assert found.places[0].group is None
    assert found.places[0].content.remarks == ("the LVM physical volume has a metadata area with a wrong checksum",)
    assert found.places[1].group is not None
