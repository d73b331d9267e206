"""`dib-ctr disk inspect` on whole disks and images: what boots, what is damaged, and what reads other files."""

from __future__ import annotations

import json
import random
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from blockdev.convert import FORMATS, Wish, convert
from blockdev.core.errors import BuildError
from blockdev.inspect.model import Inspection
from blockdev.inspect.survey import inspect
from tests.integration.bootdisk import grub_disk, tool
from tests.integration.foreign_disks import FSTAB, LINUX, MIB, SECTOR, run, sparse


def dib_ctr(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command, as a user runs it."""
    program = [sys.executable, "-m", "builder.cli"]
    return subprocess.run([*program, *arguments], check=False, capture_output=True, text=True)


def wish(name: str) -> Wish:
    return Wish(name, name="disk", epoch=1, seed="inspect")


RELEASE = 'PRETTY_NAME="Test Linux 12 (one)"\n'


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


SLOW = pytest.mark.thorough("packs and unpacks for seconds; `just test` has zstd")


@pytest.mark.parametrize(
    "name", [pytest.param(one.name, marks=SLOW if one.name in ("raw.xz", "raw.gz") else ()) for one in FORMATS]
)
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
