"""QEMU's command line for every architecture, as a value."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qemu.accelerator import Accelerator
from qemu.architecture import ARCHITECTURES
from qemu.firmware import KINDS, Firmware
from qemu.machine import MODELS, PACKAGES, SYSTEMS, Disk, Kernel, Machine, arguments, emulator

PLAIN = Machine("amd64", Firmware("bios"), Accelerator.TCG, Disk(Path("/srv/a.qcow2"), "qcow2"))


def value(words: list[str], option: str) -> list[str]:
    """All values of an option."""
    return [words[place + 1] for place, word in enumerate(words) if word == option]


def test_every_architecture_has_a_machine() -> None:
    assert set(MODELS) == set(SYSTEMS) == set(PACKAGES) == set(KINDS) == set(ARCHITECTURES)


@pytest.mark.parametrize(
    ("arch", "program", "machine", "processor", "disk"),
    [
        ("amd64", "qemu-system-x86_64", "q35,graphics=off", ["max"], "virtio-blk-pci"),
        ("i386", "qemu-system-i386", "q35,graphics=off", ["max"], "virtio-blk-pci"),
        ("arm64", "qemu-system-aarch64", "virt,gic-version=max", ["max,pauth-impdef=on"], "virtio-blk-pci"),
        ("armhf", "qemu-system-arm", "virt", ["max"], "virtio-blk-pci"),
        ("ppc64el", "qemu-system-ppc64", "pseries", [], "virtio-blk-pci"),
        ("riscv64", "qemu-system-riscv64", "virt", [], "virtio-blk-pci"),
        ("s390x", "qemu-system-s390x", "s390-ccw-virtio", ["max"], "virtio-blk-ccw"),
    ],
)
def test_models(arch: str, program: str, machine: str, processor: list[str], disk: str) -> None:
    words = arguments(replace(PLAIN, arch=arch))
    assert words[0] == program == emulator(arch)
    assert value(words, "-machine") == [machine]
    assert value(words, "-cpu") == processor
    assert f"{disk},drive=disk,bootindex=0" in value(words, "-device")
    assert value(words, "-accel") == ["tcg,thread=single"]


def test_the_image_is_behind_an_overlay_and_its_format_is_said() -> None:
    (drive,) = value(arguments(PLAIN), "-drive")
    assert "snapshot=on" in drive
    assert "format=qcow2" in drive
    (drive,) = value(arguments(replace(PLAIN, disk=Disk(Path("/srv/a,b.img"), "raw"))), "-drive")
    assert "format=raw" in drive
    assert drive.endswith("file=/srv/a,,b.img")


def test_kvm() -> None:
    words = arguments(replace(PLAIN, accelerator=Accelerator.KVM))
    assert value(words, "-accel") == ["kvm"]
    assert value(words, "-cpu") == ["host"]


def test_flash_of_uefi() -> None:
    firmware = Firmware("uefi", code=Path("/f/code.fd"), variables=Path("/t/vars"), variables_format="qcow2")
    code, variables, _ = value(arguments(replace(PLAIN, firmware=firmware)), "-drive")
    assert code == "if=pflash,unit=0,readonly=on,format=raw,file=/f/code.fd"
    assert variables == "if=pflash,unit=1,format=qcow2,file=/t/vars"


def test_a_loader_is_started_as_a_kernel() -> None:
    words = arguments(replace(PLAIN, arch="riscv64", firmware=Firmware("uefi", loader=Path("/u/u-boot.bin"))))
    assert value(words, "-kernel") == ["/u/u-boot.bin"]


def test_the_network_is_closed_but_for_the_way_to_ssh() -> None:
    assert value(arguments(PLAIN), "-netdev") == ["user,id=net,restrict=on"]
    words = arguments(replace(PLAIN, ssh_port=4022))
    assert value(words, "-netdev") == ["user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:4022-:22"]
    assert value(arguments(replace(PLAIN, online=True)), "-netdev") == ["user,id=net"]


def test_a_seed_is_read_only_and_not_booted_from() -> None:
    words = arguments(replace(PLAIN, seed=Path("/t/seed.img")))
    assert "if=none,id=seed,readonly=on,format=raw,file=/t/seed.img" in value(words, "-drive")
    assert "virtio-blk-pci,drive=seed" in value(words, "-device")
    assert value(words, "-boot") == ["strict=on"]


def test_who_has_the_console() -> None:
    assert value(arguments(PLAIN), "-monitor") == ["none"]
    assert value(arguments(PLAIN), "-chardev") == ["stdio,id=console,signal=off"]
    words = arguments(replace(PLAIN, interactive=True))
    assert value(words, "-chardev") == ["stdio,id=console,signal=off,mux=on"]
    assert value(words, "-mon") == ["chardev=console"]


def test_size() -> None:
    words = arguments(replace(PLAIN, memory=2048, cpus=3))
    assert value(words, "-m") == ["2048"]
    assert value(words, "-smp") == ["3"]


@pytest.mark.parametrize(("arch", "console"), [("amd64", "ttyS0"), ("arm64", "ttyAMA0"), ("ppc64el", "hvc0")])
def test_a_kernel_speaks_on_the_serial_line(arch: str, console: str) -> None:
    kernel = Kernel(Path("/srv/k"), Path("/srv/i"), "quiet ip=dhcp")
    words = arguments(replace(PLAIN, arch=arch, disk=None, kernel=kernel))
    assert value(words, "-kernel") == ["/srv/k"]
    assert value(words, "-initrd") == ["/srv/i"]
    assert value(words, "-append") == [f"console={console} quiet ip=dhcp"]
    assert not value(words, "-drive")


def test_a_disk_beside_a_kernel_is_not_booted_from() -> None:
    words = arguments(replace(PLAIN, kernel=Kernel(Path("/srv/k"))))
    assert "virtio-blk-pci,drive=disk" in value(words, "-device")
    assert "-initrd" not in words
    assert "-boot" not in words
