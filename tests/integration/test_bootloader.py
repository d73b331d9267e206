"""The element bootloader: GRUB's files made in a stage, the disk made without root, and booted by BIOS and by UEFI.

The system is a kernel of the distribution with busybox in its initial ram disk; GRUB is this machine's.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockdev.bootloader.grub import find
from tests.integration import bootdisk
from tests.integration.bootdisk import GRUB, Linux, tool
from tests.integration.command import ELEMENTS, Command, script, write_element

PROMPT = "bootdisk login:"
KERNEL = "6.0.10-mine"
TOOLS = ("grub-mkimage", "dirname", "awk", "mktemp")  # beside those of tiny-os
ON = "DIB_SKIP_GRUB_PACKAGE_INSTALL=True", "DIB_BOOTLOADER_SIGNED=False", "DIB_GRUB_TIMEOUT=0"


@pytest.fixture(scope="module")
def linux(tmp_path_factory: pytest.TempPathFactory) -> Linux:
    return bootdisk.linux(tmp_path_factory.mktemp("linux"))


@pytest.fixture(scope="module")
def host(open_folder: Path, linux: Linux) -> Iterator[Command]:
    """Builds on this machine, with an element that has a kernel, an older one, and this machine's GRUB."""
    folder = open_folder / "bootloader"
    element = folder / "elements" / "machine"
    write_element(
        folder / "elements",
        "machine",
        {
            "install.d/50-machine": script(
                "cp -R /tmp/in_target.d/machine.d/. /",
                "printf 'PRETTY_NAME=\"The test'\\''s system\"\\n' > /etc/os-release",
            ),
        },
    )
    files = element / "machine.d"
    (files / "boot").mkdir(parents=True)
    (files / "usr/lib/grub").mkdir(parents=True)
    (files / "usr/bin").mkdir(parents=True)
    (files / f"boot/vmlinuz-{KERNEL}").write_bytes(linux.kernel)
    (files / f"boot/initrd.img-{KERNEL}").write_bytes(linux.initramfs)
    (files / "boot/vmlinuz-6.0.9-mine").write_bytes(b"not a kernel")
    for platform in ("i386-pc", "x86_64-efi"):
        shutil.copytree(GRUB / platform, files / "usr/lib/grub" / platform, ignore=shutil.ignore_patterns("monolithic"))
    for name in TOOLS:
        program = shutil.which(name)
        assert program, f"{name} is not installed (tests/debian-packages.txt)"
        shutil.copy(program, files / "usr/bin" / name)
        for library in re.findall(r"(/\S+) \(0x", tool("ldd", program).decode()):
            place = files / "usr" / library.removeprefix("/usr").lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, place)
    command = Command("host", folder / "store", folder / "out", (folder / "elements", ELEMENTS))
    yield command
    if os.geteuid() != 0:
        subprocess.run(["unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf", command.store], check=False)


# A file system of its own for /boot, which GRUB finds by its label, and which has the ESP below it.
SEPARATE = """
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
    - {name: BSP, type: EF02, size: 1MiB}
    - name: ESP
      type: EF00
      size: 64MiB
      mkfs: {type: vfat, mount: {mount_point: /boot/efi, fstab: {options: umask=0077}}}
    - name: boot
      type: '8300'
      size: 200MiB
      mkfs: {type: ext4, label: my-boot, mount: {mount_point: /boot, fstab: {}}}
    - name: root
      type: '8300'
      size: 100%
      mkfs: {name: mkfs_root, type: ext4, label: my-root, mount: {mount_point: /, fstab: {}}}
"""


def built(host: Command, name: str, layout: str, *arguments: str) -> Path:
    """A raw disk with this layout."""
    settings = [word for setting in ON for word in ("--set", setting)]
    host.build("-o", "raw", "--name", name, *settings, *arguments, "tiny-os", "machine", "bootloader", layout)
    return host.destination / f"{name}.raw"


def boots(image: Path, firmware: str, expected: str = PROMPT) -> None:
    """The machine comes up: it says what is expected on its serial line."""
    done = subprocess.run(
        [sys.executable, "-m", "builder.cli", "boot", "--firmware", firmware, "--expect", expected, image],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.thorough("a boot under emulation for each layout")
@pytest.mark.parametrize("layout", ["block-device-mbr", "block-device-gpt"])
def test_a_disk_for_bios(host: Command, layout: str) -> None:
    boots(built(host, layout, layout), "bios")


def test_a_hybrid_disk_boots_both_ways(host: Command) -> None:
    image = built(host, "hybrid", "block-device-hybrid")
    boots(image, "bios")
    boots(image, "uefi")


@pytest.mark.thorough("two more boots under emulation")
def test_a_boot_file_system_of_its_own(host: Command) -> None:
    image = built(host, "separate", "block-device-hybrid", "--set", f"DIB_BLOCK_DEVICE_CONFIG={SEPARATE}")
    boots(image, "bios", r"Command line: BOOT_IMAGE=/vmlinuz-.* root=LABEL=my-root .* boot=LABEL=my-boot")
    boots(image, "uefi")


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_what_is_written_and_that_it_is_the_same_again(host: Command) -> None:
    """The tree as such: the menu's kernels in order, one loader for each firmware, and all of it the same twice."""
    settings = [word for setting in ON for word in ("--set", setting)]
    digests = []
    for more in ((), ("--no-cache",)):
        outcome = host.build(
            *("-o", "dir", "--name", "tree", *settings, *more),
            *("tiny-os", "machine", "bootloader", "block-device-hybrid"),
        )
        digests.append(outcome.digest("dir"))
    tree = host.destination / "tree.dir"
    found = find(tree)
    assert found.efi == ("boot/efi/EFI/BOOT/BOOTX64.EFI",)
    assert found.bios and found.bios[1].stat().st_size < 900 << 10
    menu = (tree / "boot/grub/grub.cfg").read_text(encoding="utf-8")
    kernels = re.findall(r"linux /boot/vmlinuz-(\S+) root=LABEL=cloudimg-rootfs ro (.*)", menu)
    assert [version for version, _ in kernels] == [KERNEL, KERNEL, KERNEL, "6.0.9-mine", "6.0.9-mine"]
    assert kernels[0][1] == "console=tty0 console=ttyS0,115200 no_timer_check nofb nomodeset gfxpayload=text"
    assert menu.count(f"initrd /boot/initrd.img-{KERNEL}\n") == 3
    assert "initrd.img-6.0.9" not in menu
    checked = subprocess.run(["grub-script-check"], input=menu, text=True, check=False)
    assert checked.returncode == 0
    defaults = (tree / "etc/default/grub").read_text(encoding="utf-8")
    assert 'GRUB_DEVICE="LABEL=cloudimg-rootfs"\n' in defaults
    assert digests[0] == digests[1]


def test_without_a_kernel_it_says_so(host: Command) -> None:
    settings = [word for setting in ON for word in ("--set", setting)]
    write_element(host.elements[0], "no-kernel", {"install.d/60-no-kernel": script("rm /boot/*-*")})
    words = ("tiny-os", "machine", "no-kernel", "bootloader", "block-device-hybrid")
    outcome = host("build", "-o", "dir", "--name", "none", *settings, *words)
    assert outcome.status == 1
    assert "there is no kernel in /boot; add the element vm" in outcome.stdout + outcome.stderr
