"""The elements of layouts and boot loaders: what they lay out, on which architectures, and what they refuse."""

from __future__ import annotations

import re

import pytest
import yaml

from blockdev.configuration.read import read as read_configuration
from blockdev.configuration.source import find as find_configuration
from tests.unit.stages.elements.builtin import ELEMENTS, LAYOUTS, source

LAYOUT = "{}/environment.d/15-block-device.bash"
LOADER = "bootloader/environment.d/50-bootloader.bash"


@pytest.mark.parametrize(
    ("name", "arch", "said"),
    [
        ("block-device-mbr", "arm64", "arm64 boots by UEFI"),
        ("block-device-gpt", "aarch64", "use block-device-efi."),
        ("block-device-efi", "ppc64el", "does not boot by UEFI"),
        ("block-device-efi-4k", "ppc64", "use block-device-gpt."),
        ("block-device-efi-lvm", "ppc64le", "block-device-efi-lvm: ppc64le"),
        ("block-device-hybrid", "ppc64el", "use block-device-gpt."),
    ],
)
def test_a_layout_refuses_an_architecture_that_it_cannot_boot(name: str, arch: str, said: str) -> None:
    result = source(LAYOUT.format(name), {"ARCH": arch})
    assert result.returncode != 0
    assert said in result.stderr
    allowed = source(LAYOUT.format(name), {"ARCH": "amd64"})
    assert re.search(r"^DIB_BLOCK_DEVICE=(mbr|gpt|efi|hybrid)$", allowed.stdout, re.MULTILINE)


# What each layout has beside its root, by the architectures that take it.
UEFI = {"ESP": "550MiB", "BSP": "8MiB"}
PARTITIONS: dict[tuple[str, str], dict[str, str]] = {
    ("block-device-mbr", "amd64"): {},
    ("block-device-mbr", "ppc64el"): {"boot": "8MiB"},
    ("block-device-mbr", "s390x"): {"zipl": "128MiB"},
    ("block-device-gpt", "amd64"): {"BSP": "8MiB"},
    ("block-device-gpt", "ppc64el"): {"boot": "8MiB"},
    ("block-device-gpt", "s390x"): {"zipl": "128MiB"},
    ("block-device-efi", "amd64"): UEFI,
    ("block-device-efi", "arm64"): UEFI,
    ("block-device-efi-4k", "amd64"): {"ESP": "500MiB", "BSP": "8MiB"},
    ("block-device-efi-4k", "arm64"): {"ESP": "500MiB", "BSP": "8MiB"},
    ("block-device-efi-lvm", "amd64"): {**UEFI, "root": "40G"},
    ("block-device-efi-lvm", "arm64"): {**UEFI, "root": "40G"},
    ("block-device-hybrid", "amd64"): {"ESP": "128MiB", "BSP": "1MiB"},
    ("block-device-hybrid", "arm64"): {"ESP": "128MiB"},
}


def test_every_layout_is_in_the_table() -> None:
    assert {name for name, _ in PARTITIONS} == set(LAYOUTS)


@pytest.mark.parametrize(("name", "arch"), PARTITIONS)
def test_a_layout_can_be_laid_out(name: str, arch: str) -> None:
    """The layout's configuration is one that we take, with a root, and with the partitions that its loader needs."""
    assert source(LAYOUT.format(name), {"ARCH": arch}).returncode == 0
    found = find_configuration([(name, ELEMENTS[name].path)], {}, arch)
    text = found.text
    assert read_configuration(text, found.file)
    points = re.findall(r"mount_point: (\S+)", text)
    assert "/" in points
    assert ("/boot/efi" in points) == ("EF00" in text) == ("efi" in name or "hybrid" in name)
    if arch == "ppc64el":
        assert "0x41" in text
    data = yaml.safe_load(text)
    assert data[0] == {"local_loop": {"name": "image0", **({"block_size": 4096} if "4k" in name else {})}}
    partitions = next(entry["partitioning"]["partitions"] for entry in data if "partitioning" in entry)
    sizes = {partition["name"]: partition["size"] for partition in partitions}
    assert {partition: size for partition, size in sizes.items() if "%" not in str(size)} == PARTITIONS[name, arch]


@pytest.mark.parametrize(
    ("variables", "platforms"),
    [
        ({"ARCH": "amd64", "DIB_BLOCK_DEVICE": "hybrid"}, "i386-pc x86_64-efi"),
        ({"ARCH": "amd64", "DIB_BLOCK_DEVICE": "mbr"}, "i386-pc"),
        ({"ARCH": "arm64", "DIB_BLOCK_DEVICE": "efi"}, "arm64-efi"),
        ({"ARCH": "ppc64el", "DIB_BLOCK_DEVICE": "gpt"}, "powerpc-ieee1275"),
        ({"ARCH": "armhf", "DIB_BLOCK_DEVICE": "hybrid"}, "arm-efi"),
        ({"ARCH": "riscv64", "DIB_BLOCK_DEVICE": "hybrid"}, "riscv64-efi"),
        ({"ARCH": "amd64", "DIB_BLOCK_DEVICE": "efi", "DIB_BOOTLOADER": "systemd-boot"}, "x86_64-efi"),
        ({"ARCH": "amd64"}, ""),
    ],
)
def test_firmware_of_the_layout(variables: dict[str, str], platforms: str) -> None:
    result = source(LOADER, variables)
    assert result.returncode == 0, result.stderr
    assert f"\nDIB_BOOTLOADER_PLATFORMS={platforms}\n" in "\n" + result.stdout


@pytest.mark.parametrize(
    ("distribution", "arch", "signed"),
    [
        ("debian", "amd64", "True"),
        ("ubuntu", "arm64", "True"),
        ("debian", "i386", "False"),
        ("gentoo", "amd64", "False"),
    ],
)
def test_loaders_are_signed_where_the_distribution_signs_them(distribution: str, arch: str, signed: str) -> None:
    result = source(LOADER, {"ARCH": arch, "DISTRO_NAME": distribution, "DIB_BLOCK_DEVICE": "hybrid"})
    assert f"\nDIB_BOOTLOADER_SIGNED={signed}\n" in "\n" + result.stdout


def test_s390x_starts_by_zipl_and_has_no_words_for_a_pc() -> None:
    exported = dict(
        line.split("=", 1)
        for line in source(LOADER, {"ARCH": "s390x", "DIB_BLOCK_DEVICE": "mbr"}).stdout.splitlines()
        if line.startswith("DIB_")
    )
    assert (exported["DIB_BOOTLOADER"], exported["DIB_BOOTLOADER_PLATFORMS"]) == ("zipl", "zipl")
    assert exported["DIB_BOOTLOADER_SERIAL_CONSOLE"] == "ttysclp0"
    assert exported["DIB_BOOTLOADER_VIRTUAL_TERMINAL"] == exported["DIB_BOOTLOADER_DEFAULT_CMDLINE"] == ""
    assert exported["DIB_NO_TIMER_CHECK"] == "False"


@pytest.mark.parametrize("layout", ["hybrid", "efi", "efi-4k", "efi-lvm"])
def test_layouts_for_uefi_are_refused_on_s390x(layout: str) -> None:
    result = source(f"block-device-{layout}/environment.d/15-block-device.bash", {"ARCH": "s390x"})
    assert result.returncode != 0
    assert "s390x does not boot by UEFI; use block-device-gpt" in result.stderr


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"DIB_BOOTLOADER": "uki", "DIB_BLOCK_DEVICE": "efi", "DIB_RELEASE": "bookworm"}, "has no ukify"),
        ({"DIB_BOOTLOADER": "lilo"}, "expected grub, systemd-boot or uki"),
        ({"DIB_BOOTLOADER": "uki", "DIB_BLOCK_DEVICE": "mbr"}, "needs a layout with an EFI system partition"),
        ({"DIB_EXTLINUX": "1"}, "extlinux"),
        ({"DIB_BLOCK_DEVICE": "floppy"}, "expected mbr, gpt, efi or hybrid"),
        ({"ARCH": "s390x", "DIB_BOOTLOADER": "systemd-boot"}, "start by zipl's boot record alone"),
        ({"ARCH": "s390x", "DIB_BOOTLOADER": "uki"}, "start by zipl's boot record alone"),
        ({"ARCH": "s390x", "DIB_BOOTLOADER": "grub"}, "start by zipl's boot record alone"),
        ({"DIB_BOOTLOADER": "zipl"}, "zipl is s390x's boot loader, and this image is for amd64"),
    ],
)
def test_a_boot_loader_that_cannot_be_is_refused(variables: dict[str, str], said: str) -> None:
    result = source(LOADER, {"ARCH": "amd64", **variables})
    assert result.returncode != 0
    assert said in result.stderr
