"""`dib-ctr disk inspect` on disks that other programs have written, beside what further programs say of them."""

from __future__ import annotations

import json
import random
import shutil
import struct
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blockdev.convert import FORMATS, Wish, convert
from blockdev.core.errors import BuildError
from blockdev.filesystems.region import Region, copy_range
from blockdev.inspect import typenames
from blockdev.inspect.bytes_view import view
from blockdev.inspect.model import Content, Inspection
from blockdev.inspect.signatures import identify
from blockdev.inspect.survey import inspect
from blockdev.lvm.allocate import VolumeSpec, allocate
from blockdev.lvm.model import places as lvm_places
from blockdev.lvm.write import write
from builder.disk_view.inspection import draw
from tests.integration.bootdisk import grub_disk, tool

MIB = 1 << 20
SECTOR = 512
ID = "12345678-9abc-4def-8123-456789abcdef"
LINUX, SWAP, ESP = (
    "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
    "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",
    "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
)
LVM = "E6D6D379-F507-44C2-A23C-238F2A3DF928"
PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"


def run(*arguments: str | Path, stdin: bytes = b"", check: bool = True) -> str:
    """A tool's output; those of administrators are found as well."""
    found = shutil.which(str(arguments[0]), path=PATH)
    assert found, f"{arguments[0]} is not installed (tests/debian-packages.txt)"
    done = subprocess.run([found, *arguments[1:]], input=stdin, check=False, capture_output=True)
    assert not check or not done.returncode, done.stderr.decode()
    return done.stdout.decode()


def dib_ctr(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command, as a user runs it."""
    program = [sys.executable, "-m", "builder.cli"]
    return subprocess.run([*program, *arguments], check=False, capture_output=True, text=True)


def wish(name: str) -> Wish:
    return Wish(name, name="disk", epoch=1, seed="inspect")


def sparse(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


# -- partition tables -----------------------------------------------------------------------


def spans(chance: random.Random, count: int, first: int, end: int, gap: int) -> list[tuple[int, int]]:
    """Starts and lengths of ``count`` ranges, with at least ``gap`` before each."""
    marks = sorted(chance.sample(range(first + gap, end, gap + 1), 2 * count))
    return [
        (low + gap, high - low - gap) for low, high in zip(marks[::2], marks[1::2], strict=True) if high > low + gap
    ]


def gpt_script(chance: random.Random, sectors: int) -> str:
    lines = ["label: gpt", f"label-id: {uuid.UUID(int=chance.getrandbits(128), version=4)}"]
    numbers = chance.sample(range(1, 20), 8)
    for number, (start, length) in zip(numbers, spans(chance, 8, 2048, sectors - 40, 40), strict=False):
        flags = chance.choice(["", ", attrs=LegacyBIOSBootable", ', attrs="RequiredPartition,60"'])
        kind = chance.choice([LINUX, SWAP, ESP])
        lines.append(f'{number}: start={start}, size={length}, type={kind}, name="part {number} ä"{flags}')
    return "\n".join(lines)


def mbr_script(chance: random.Random, sectors: int) -> str:
    lines = ["label: dos", f"label-id: {chance.getrandbits(32):#010x}"]
    found = spans(chance, 4, 2048, sectors, 500)
    numbers = chance.sample(range(1, 5), len(found))
    inside: list[str] = []
    active = chance.randrange(4)
    for at, (number, (start, length)) in enumerate(zip(numbers, found, strict=True)):
        if at == 1:
            lines.append(f"{number}: start={start}, size={length}, type={chance.choice('5f')}")
            logical = spans(chance, 6, start, start + length, 2100) if length > 60000 else []
            inside = [f"{five}: start={first}, size={count}, type=83" for five, (first, count) in enumerate(logical, 5)]
        else:
            kind = chance.choice(("83", "82", "ef", "c"))
            lines.append(f"{number}: start={start}, size={length}, type={kind}{', bootable' * (at == active)}")
    return "\n".join([*lines, *inside])


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("script", [gpt_script, mbr_script])
def test_layouts_as_sfdisk_sees_them(tmp_path: Path, script: Any, seed: int) -> None:
    chance = random.Random(seed)
    size = chance.randrange(40, 400) * MIB
    image = sparse(tmp_path / "disk", size)
    run("sfdisk", "--quiet", "--no-reread", image, stdin=script(chance, size // SECTOR).encode())
    theirs = json.loads(run("sfdisk", "--json", image))["partitiontable"]
    ours = inspect(image).table
    assert ours.kind == {"gpt": "gpt", "dos": "mbr"}[theirs["label"]]
    assert ours.id == theirs["id"].removeprefix("0x")
    assert ours.sector_size == theirs["sectorsize"]
    assert {remark.partition(" of the partitions")[0] for remark in ours.remarks} <= {"the numbers"}
    wanted = {
        int(one["node"].removeprefix(str(image))): (
            one["start"] * SECTOR,
            one["size"] * SECTOR,
            one["type"].zfill(2),
            one.get("name", ""),
            one.get("bootable", False) or "LegacyBIOSBootable" in one.get("attrs", ""),
        )
        for one in theirs["partitions"]
    }
    assert len(wanted) > 2
    assert {one.number: (one.start, one.length, one.type, one.name, one.bootable) for one in ours.partitions} == wanted
    if ours.kind == "gpt":
        assert [one.uuid for one in sorted(ours.partitions, key=lambda one: one.number)] == [
            one["uuid"] for one in sorted(theirs["partitions"], key=lambda one: int(one["node"][len(str(image)) :]))
        ]


def fdisk(image: Path, *answers: str | int) -> list[list[int]]:
    """Write a table for sectors of 4096 bytes, which sfdisk does not for a file; the starts and lengths in bytes."""
    run("fdisk", "-b", "4096", image, stdin="".join(f"{one}\n" for one in (*answers, "w")).encode())
    listed = run("fdisk", "-b", "4096", "-l", "-o", "Start,Sectors", image).partition("Sectors\n")[2]
    return [[int(field) * 4096 for field in line.split()] for line in listed.splitlines() if line.strip()]


@pytest.mark.parametrize("kind", ["gpt", "mbr"])
def test_large_sectors(tmp_path: Path, kind: str) -> None:
    image = sparse(tmp_path / "disk", 128 * MIB)
    if kind == "gpt":
        theirs = fdisk(image, "g", "n", 1, 256, "+511", "n", 5, 1024, "+2047")
    else:
        one, extended = ("n", "p", 1, 256, "+511"), ("n", "e", 2, 1024, "+8191")
        theirs = fdisk(image, "o", *one, *extended, "n", "l", 1280, "+1023", "n", "l", 4096, "+511")
    assert len(theirs) == {"gpt": 2, "mbr": 4}[kind]
    # An MBR does not say how large its sectors are: what is in its partitions does.
    run("mkfs.ext4", "-q", "-E", f"offset={256 * 4096}", image, "2M")
    found = inspect(image)
    assert (found.table.kind, found.table.sector_size, found.table.remarks) == (kind, 4096, ())
    assert [[one.start, one.length] for one in found.table.partitions] == theirs
    assert found.places[0].content.kind == "ext4"


def test_names_of_types_are_those_of_sfdisk() -> None:
    ours = {kind: name for kind in _listed("gpt") if (name := typenames.gpt(kind))}
    assert len(ours) > 25
    for kind, theirs in _listed("gpt").items():
        if kind in ours and "boot" not in theirs:
            words = {word.strip("/()").lower() for word in theirs.split()}
            assert words & {word.strip("/()").lower() for word in ours[kind].split()}, (kind, theirs, ours[kind])


def _listed(label: str) -> dict[str, str]:
    lines = run("sfdisk", "--list-types", "--label", label).splitlines()[2:]
    return {line.split()[0]: line.split(maxsplit=1)[1] for line in lines if line}


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


# -- whole disks ------------------------------------------------------------------------------

RELEASE = 'PRETTY_NAME="Test Linux 12 (one)"\n'
FSTAB = "LABEL=root / ext4 defaults 0 1\n"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with GRUB for BIOS and UEFI, and an ext4 root behind."""
    folder = tmp_path_factory.mktemp("system")
    disk = grub_disk(folder, {"grub/grub.cfg": b"boot\n"})
    with disk.open("r+b") as file:
        file.truncate(disk.stat().st_size + 64 * MIB)
    start = 51 * MIB
    run("sfdisk", "--quiet", "--relocate", "gpt-bak-std", disk)
    run("sfdisk", "--quiet", "--append", disk, stdin=f'start={start // SECTOR}, type={LINUX}, name="root"\n'.encode())
    root = folder / "root"
    (root / "etc").mkdir(parents=True)
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/lib/os-release").write_text(RELEASE)
    (root / "etc/os-release").symlink_to("../usr/lib/os-release")
    (root / "etc/fstab").write_text(FSTAB)
    run("mkfs.ext4", "-q", "-L", "root", "-d", root, "-E", f"offset={start}", disk, "60M")
    return disk


def same(found: Inspection) -> Inspection:
    """Without what tells of the file."""
    return replace(found, path="", format="", allocated=0)


def test_system(system: Path) -> None:
    found = inspect(system)
    assert found.format == "raw"
    assert found.table.remarks == ()
    assert [place.content.kind for place in found.places] == ["grub core", "vfat", "ext4"]
    assert found.boot.ways["bios"].possible
    assert "its core image at sector 2048, in partition 1 (BIOS boot)" in found.boot.ways["bios"].why
    assert found.boot.ways["uefi"].possible
    assert "x64: grub (not signed), EFI/BOOT/BOOTX64.EFI" in found.boot.ways["uefi"].why
    assert not found.boot.ways["openfirmware"].possible
    assert [(one.path, one.partition) for one in found.boot.loaders] == [("EFI/BOOT/BOOTX64.EFI", 2)]
    assert found.boot.remarks == ()
    assert found.system is not None
    assert (found.system.where, found.system.name) == ("partition 3", "Test Linux 12 (one)")
    assert found.system.fstab == FSTAB


@pytest.mark.parametrize("name", [one.name for one in FORMATS])
def test_all_formats(system: Path, tmp_path: Path, name: str) -> None:
    # No suffix that would tell, and signs that other programs take for more than a name.
    image = tmp_path / "a:b?c=d@@9, ä.img"
    convert(system, image, wish(name))
    before = image.stat()
    found = inspect(image)
    assert same(found) == same(inspect(system))
    own = {"vmdk-sparse": "vmdk", "vhd-fixed": "vhd"}.get(name, name)
    assert found.format == own
    assert image.stat().st_mtime_ns == before.st_mtime_ns
    assert sorted(one.name for one in tmp_path.iterdir()) == [image.name, f"{image.name}.sha256"]


def test_packed_qcow2(system: Path, tmp_path: Path) -> None:
    convert(system, tmp_path / "disk", wish("qcow2"))
    (tmp_path / "packed").write_bytes(tool("xz", "-0", "-c", tmp_path / "disk"))
    assert same(inspect(tmp_path / "packed")) == same(inspect(system))


def test_boot_code_that_leads_elsewhere(system: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    shutil.copy(system, disk)
    with disk.open("r+b") as file:
        file.seek(0x5C)
        file.write(struct.pack("<Q", 4000))
    found = inspect(disk).boot
    assert not found.ways["bios"].possible
    assert found.remarks == ("GRUB's boot code leads to sector 4000; its core image is at 2048",)


def test_damaged_file_systems_are_remarks(system: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    shutil.copy(system, disk)
    chance = random.Random(7)
    with disk.open("r+b") as file:
        for start in (2 * MIB + 1024, 51 * MIB + 4096):
            file.seek(start)
            file.write(chance.randbytes(256 << 10))
    found = inspect(disk)
    assert [place.content.kind for place in found.places] == ["grub core", "vfat", "ext4"]
    assert any(one.startswith("the files of partition 2 cannot be read: m") for one in found.remarks)
    assert any(one.startswith("the files of partition 3 cannot be read: debugfs: ") for one in found.remarks)
    assert found.system is None


def test_damaged_images(system: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    convert(system, image, wish("qcow2"))
    with image.open("r+b") as file:
        file.seek(40)
        file.write(b"\xff" * 8)
    done = dib_ctr("disk", "inspect", image)
    assert done.returncode == 1
    assert done.stderr.startswith("error: qemu-img cannot read this qcow2 image")
    assert "Traceback" not in done.stderr
    for name in ("raw.zst", "raw.xz", "raw.gz"):
        packed = tmp_path / "packed"
        convert(system, packed, wish(name))
        content = packed.read_bytes()
        packed.write_bytes(content[: len(content) // 2])
        with pytest.raises(BuildError, match="damaged"):
            inspect(packed)
        packed.unlink()
    assert {one.name for one in tmp_path.iterdir()} == {"image", "image.sha256", "packed.sha256"}


OUTSIDE: dict[str, tuple[list[str | Path], str]] = {
    "backing": (["-f", "qcow2", "-F", "raw", "-b", "{base}", "{image}"], "only the difference to another image"),
    "data": (["-f", "qcow2", "-o", "data_file={image}.data", "{image}", "8M"], "its data are in another file"),
    "flat": (["-f", "vmdk", "-o", "subformat=monolithicFlat", "{image}", "8M"], "only a description"),
    "parent": (["-f", "vmdk", "-F", "vmdk", "-b", "{base}.vmdk", "{image}"], "it reads another file"),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_image_that_reads_other_files(tmp_path: Path, name: str) -> None:
    """What it names could be any file of this machine."""
    base, image = sparse(tmp_path / "base", 8 * MIB), tmp_path / "image"
    run("qemu-img", "create", "-q", "-f", "vmdk", f"{base}.vmdk", "8M")
    arguments, said = OUTSIDE[name]
    run("qemu-img", "create", "-q", *(str(one).format(base=base, image=image) for one in arguments))
    with pytest.raises(BuildError, match=f"not whole: .*{said}"):
        inspect(image)


def test_command_line(system: Path, tmp_path: Path) -> None:
    done = dib_ctr("disk", "inspect", system)
    assert (done.returncode, done.stderr) == (0, "")
    assert "boots by BIOS: yes, GRUB" in done.stdout
    assert "Test Linux 12 (one)" in done.stdout
    data = json.loads(dib_ctr("disk", "inspect", "--json", system).stdout)
    assert data["system"]["fstab"] == FSTAB
    assert [one["content"]["label"] for one in data["table"]["partitions"]] == ["", "ESP", "root"]
    assert dib_ctr("disk", "inspect", tmp_path / "none").returncode == 2
    (tmp_path / "short").write_text("no image")
    assert dib_ctr("disk", "inspect", tmp_path / "short").returncode == 2
    broken = tmp_path / "broken"
    shutil.copy(system, broken)
    size = broken.stat().st_size
    with broken.open("r+b") as file:
        for place in (512 + 56, size - 512 + 56):
            file.seek(place)
            file.write(b"\xff" * 16)
    done = dib_ctr("disk", "inspect", broken)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the GPT is damaged: the primary GPT header is damaged")


def test_boot_loaders_of_the_distribution(tmp_path: Path) -> None:
    packages = ("shim-signed", "grub-efi-amd64-signed", "systemd-boot-efi")
    subprocess.run(["apt-get", "-qq", "download", *packages], cwd=tmp_path, check=True, stderr=subprocess.DEVNULL)
    for package in tmp_path.glob("*.deb"):
        tool("dpkg-deb", "-x", package, tmp_path / "root")
    image = sparse(tmp_path / "esp", 64 * MIB)
    run("mkfs.vfat", image)
    run("mmd", "-i", image, "::/EFI", "::/EFI/BOOT", "::/EFI/a[b]")
    sources = {
        "EFI/BOOT/BOOTX64.EFI": "shimx64.efi.signed*",
        "EFI/BOOT/grubx64.efi": "grubx64.efi.signed",
        "EFI/a[b]/systemd-bootx64.efi": "systemd-bootx64.efi",
    }
    for target, pattern in sources.items():
        source = min(tmp_path.glob(f"root/**/{pattern}"), key=lambda path: len(path.name))
        run("mcopy", "-i", image, source, "::/" + target.replace("[", "\\["))
    found = inspect(image).boot
    told = {one.path: (one.kind, one.machine, one.signed) for one in found.loaders}
    assert told == {
        "EFI/BOOT/BOOTX64.EFI": ("shim", "x64", True),
        "EFI/BOOT/grubx64.efi": ("grub", "x64", True),
        "EFI/a[b]/systemd-bootx64.efi": ("systemd-boot", "x64", False),
    }
    assert found.ways["uefi"].possible
