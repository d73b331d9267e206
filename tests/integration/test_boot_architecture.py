"""A disk says for which machines it is, before one is started."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from blockdev.assemble import Content, assemble
from blockdev.configuration.read import read
from blockdev.core.errors import UsageError
from blockdev.inspect.architecture import architectures, of
from blockdev.inspect.model import Boot, BootCode, BootPath, Loader
from blockdev.layout.options import Options
from blockdev.layout.plan import plan
from builder.commands.boot import _of_disk
from tests.unit.disk_bytes import program

CONFIGURATION = """
- local_loop: {name: image0, size: 300MiB}
- partitioning:
    base: image0
    label: gpt
    partitions:
    - {name: before, size: 100MiB}
    - {name: ESP, size: 64MiB, type: EF00, mkfs: {type: vfat, mount: {mount_point: /boot/efi}}}
    - {name: root, size: 100%, mkfs: {type: ext4, mount: {mount_point: /}}}
"""
MACHINES = {"BOOTAA64.EFI": 0xAA64, "BOOTX64.EFI": 0x8664, "BOOTRISCV64.EFI": 0x5064}


def disk(folder: Path, *names: str) -> Path:
    """A disk with these programs on its EFI system partition, which lies 101 MiB into it."""
    place = folder / "tree/boot/efi/EFI/BOOT"
    place.mkdir(parents=True)
    for name in names:
        (place / name).write_bytes(program(MACHINES[name]))
    layout = plan(read(CONFIGURATION, "f.yaml"), Options(seed="a", journal=4), 0)
    (folder / "made").mkdir()
    made = assemble(layout, Content(folder / "tree", 1_700_000_000, "a"), folder / "made", lambda _: None)
    return made.images["image0"]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["BOOTAA64.EFI"], ("arm64",)),
        (["BOOTX64.EFI"], ("amd64",)),
        (["BOOTRISCV64.EFI"], ("riscv64",)),
        (["BOOTAA64.EFI", "BOOTX64.EFI"], ("arm64", "amd64")),
        ([], ()),
    ],
)
def test_read_of_the_loaders_in_every_format(names: list[str], found: tuple[str, ...], tmp_path: Path) -> None:
    raw = disk(tmp_path, *names)
    assert architectures(raw) == found
    for kind in ("qcow2", "vmdk", "vhdx"):
        other = tmp_path / f"disk.{kind}"
        subprocess.run(["qemu-img", "convert", "-O", kind, raw, other], check=True)
        assert architectures(other) == found


def test_the_machine_is_the_disks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = disk(tmp_path, "BOOTAA64.EFI")
    assert _of_disk(raw, "arm64", asked=True) == "arm64"
    assert _of_disk(raw, "amd64", asked=False) == "arm64"
    assert "is a disk for arm64" in capsys.readouterr().err
    with pytest.raises(UsageError, match="boot loaders for arm64, none for amd64") as refused:
        _of_disk(raw, "amd64", asked=True)
    assert "--arch arm64" in refused.value.hint
    assert _of_disk(tmp_path / "none", "amd64", asked=True) == "amd64"


NO = BootPath(False, "")
YES = BootPath(True, "")


@pytest.mark.parametrize(
    ("code", "way", "machines", "found"),
    [
        ("grub", "bios", [], ("amd64", "i386")),
        ("grub", "bios", ["x64"], ("amd64", "i386")),
        ("unknown", "bios", ["aa64"], ("arm64",)),
        ("unknown", "bios", [], ("amd64", "i386")),
        ("none", "openfirmware", [], ("ppc64el",)),
        ("zipl", "channel", [], ("s390x",)),
        ("none", "", ["loongarch64"], ()),
    ],
)
def test_of_every_firmware(code: str, way: str, machines: list[str], found: tuple[str, ...]) -> None:
    ways = {name: YES if name == way else NO for name in ("bios", "uefi", "openfirmware", "channel")}
    loaders = tuple(Loader(1, "EFI/BOOT/X.EFI", "grub", machine, signed=False) for machine in machines)
    assert of(Boot(BootCode(code), None, loaders, ways)) == found
