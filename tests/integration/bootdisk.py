"""Disks to boot, made by hand and without root: boot sectors of a few bytes, and a whole Linux on GRUB.

The kernel comes from the distribution's packages, and what runs on it is busybox and dropbear from this machine.
"""

from __future__ import annotations

import gzip
import re
import shutil
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SECTOR = 512
MIB = 1 << 20
GRUB = Path("/usr/lib/grub")
_BIOS_BOOT, _ESP = "21686148-6449-6E6F-744E-656564454649", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"

# What a boot sector does after it has spoken: x86 code for real mode.
HALT = b"\xf4\xeb\xfd"
SWITCH_OFF = b"\xba\x04\x06\xb8\x00\x20\xef" + HALT  # the sleep state S5, at q35's port of ACPI
START_AGAIN = b"\xea\x00\x00\xff\xff"


def tool(*command: str | Path, stdin: bytes = b"") -> bytes:
    """Run a tool to the end; its output."""
    return subprocess.run(command, input=stdin, check=True, stdout=subprocess.PIPE).stdout


def sector(text: str, then: bytes = HALT) -> bytes:
    """A boot sector that says ``text`` on the first serial line.

    It waits for ten ticks of the clock (55 ms each) before: SeaBIOS writes the end of its own words at such ticks.
    """
    start = b"\x31\xc0\x8e\xd8"  # xor ax, ax; mov ds, ax
    start += b"\xfb\xb9\x0a\x00\xf4\xe2\xfd"  # sti; mov cx, 10; hlt; loop
    loop = b"\xac\x84\xc0\x74\x06\xba\xf8\x03\xee\xeb\xf5"  # lodsb; test al, al; jz end; mov dx, 3f8h; out dx, al; jmp
    place = 0x7C00 + len(start) + 3 + len(loop) + len(then)
    code = start + b"\xbe" + struct.pack("<H", place) + loop + then + text.encode() + b"\0"
    return code.ljust(510, b"\0") + b"\x55\xaa"


def sector_disk(path: Path, text: str, then: bytes = HALT) -> Path:
    """A raw disk of one MiB with nothing but a boot sector."""
    path.write_bytes(sector(text, then).ljust(MIB, b"\0"))
    return path


# -- Linux -----------------------------------------------------------------------------------

# In the order of what needs what; some are built in, in some kernels.
MODULES = (
    *("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"),
    *("failover", "net_failover", "virtio_net", "fat", "vfat", "nls_cp437", "nls_ascii", "nls_utf8"),
)
REFUSAL = """#!/bin/sh
echo 'Please login as the user "guest" rather than the user "root".'
exit 142
"""
INIT = rf"""#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t devtmpfs none /dev
for module in {" ".join(MODULES)}; do insmod /modules/$module.ko 2>/dev/null; done
hostname bootdisk
chmod 755 / /root /home /home/guest
echo "this was written by the machine" | dd of=/dev/vda bs=512 seek=60 conv=notrunc,fsync 2>/dev/null &&
    dd if=/dev/vda bs=512 skip=60 count=1 2>/dev/null | grep -q "by the machine" && echo "the disk was written to"
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0 && ip link set eth0 up
if mount -t vfat -o ro /dev/vdb /seed; then
    echo "seed: $(ls /seed | tr '\n' ' ')"
    key=$(sed -n 's/^- ssh-/ssh-/p' /seed/meta-data)
    # As cloud-init does it: root's key only names the user to log in as.
    echo "command=\"/bin/refusal\" $key" >/root/.ssh/authorized_keys
    echo "$key" >/home/guest/.ssh/authorized_keys
    chown -R 1000:1000 /home/guest
    chmod -R go= /root/.ssh /home/guest/.ssh
fi
dropbear -R -E
while :; do getty -L 115200 ttyS0 vt100; done
"""


# Debian's and Ubuntu's.
KERNELS = ("linux-image-cloud-amd64", "linux-image-virtual")
_UNPACK = {".ko": "", ".xz": "xz", ".zst": "zstd"}


@dataclass(frozen=True)
class Linux:
    """A kernel and its initramfs."""

    kernel: bytes
    initramfs: bytes


def linux(folder: Path) -> Linux:
    """Fetch the distribution's small kernel, and make an initramfs with a login prompt and an SSH server."""
    image = next(found for name in KERNELS for found in _depends(name, "linux-image-"))
    packages = [image, *_depends(image, "linux-modules-")]  # Ubuntu's modules have a package of their own
    subprocess.run(["apt-get", "-qq", "download", *packages], cwd=folder, check=True, stderr=subprocess.DEVNULL)
    for package in folder.glob("*.deb"):
        tool("dpkg-deb", "-x", package, folder / "root")
    (kernel,) = (folder / "root/boot").glob("vmlinuz-*")
    return Linux(kernel.read_bytes(), _initramfs(folder / "root"))


def _depends(package: str, prefix: str) -> list[str]:
    """What a package depends on whose name begins so; nothing where there is no such package."""
    command = ["apt-cache", "depends", package]
    said = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return re.findall(rf"^ *Depends: ({prefix}\S+)", said, re.MULTILINE)


def _initramfs(root: Path) -> bytes:
    files: dict[str, bytes] = {"init": INIT.encode(), "bin/busybox": _program("busybox")}
    for found in root.rglob("*.ko*"):
        name = found.name.split(".")[0]
        if name in MODULES:
            unpack = _UNPACK[found.suffix]
            files[f"modules/{name}.ko"] = tool(unpack, "-dc", found) if unpack else found.read_bytes()
    files["bin/dropbear"] = _program("dropbear")
    for library in re.findall(r"(/\S+) \(0x", tool("ldd", _which("dropbear")).decode()):
        files[library.lstrip("/")] = Path(library).read_bytes()
    files["bin/refusal"] = REFUSAL.encode()
    files["etc/passwd"] = b"root:x:0:0::/root:/bin/sh\nguest:x:1000:1000::/home/guest:/bin/sh\n"
    files["etc/group"] = b"root:x:0:\nguest:x:1000:\n"
    files["etc/shells"] = b"/bin/sh\n"
    empty = ("proc", "dev", "seed", "root/.ssh", "home/guest/.ssh", "etc/dropbear", "var/run", "tmp")
    return gzip.compress(archive(files, empty), 1, mtime=0)


def _which(program: str) -> str:
    found = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert found, f"{program} is not installed (tests/debian-packages.txt)"
    return found


def _program(program: str) -> bytes:
    return Path(_which(program)).read_bytes()


def archive(files: Mapping[str, bytes], empty: tuple[str, ...] = ()) -> bytes:
    """A cpio archive as the kernel takes it (Documentation/driver-api/early-userspace/buffer-format)."""
    folders = {str(parent) for name in (*files, *empty) for parent in (Path(name) / "x").parents} - {".", *files}
    entries = [(name, 0o040755, b"") for name in sorted(folders)]
    entries += [(name, 0o100755, files[name]) for name in sorted(files)]
    packed = b""
    for number, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")]):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        packed += head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
    return packed


# -- GRUB on a GPT disk that boots both ways ----------------------------------------------------

_MODULES = ("part_gpt", "fat", "normal", "linux", "serial", "configfile", "echo", "test")
SPEAKING = "serial --unit=0\nterminal_output serial\n"
BOOT_LINUX = f"""{SPEAKING}linux /linux console=ttyS0 panic=-1
initrd /initramfs
boot
"""
BOOT_KERNEL_ONLY = f"""{SPEAKING}linux /linux console=ttyS0 panic=-1 root=/dev/nothing
boot
"""


def grub_disk(
    folder: Path,
    files: Mapping[str, bytes],
    prefix: str = "(hd0,gpt2)/grub",
    modules: tuple[str, ...] = _MODULES,
) -> Path:
    """A raw disk with a BIOS boot partition and an ESP, which has ``files`` and GRUB for UEFI."""
    core = folder / "core.img"
    _grub_image("i386-pc", core, prefix, "biosdisk", *modules)
    loader = folder / "BOOTX64.EFI"
    _grub_image("x86_64-efi", loader, "/grub", *modules)
    disk, first, length = folder / "disk.raw", 2 * MIB, 48 * MIB
    with disk.open("wb") as file:
        file.truncate(first + length + MIB)
    table = f"label: gpt\nstart=2048, size=2048, type={_BIOS_BOOT}\nstart=4096, size={length // SECTOR}, type={_ESP}\n"
    tool("sfdisk", "--quiet", disk, stdin=table.encode())
    _write(disk, first, _esp(folder, length, {**files, "EFI/BOOT/BOOTX64.EFI": loader.read_bytes()}))
    _install(disk, core.read_bytes())
    return disk


def _grub_image(form: str, path: Path, prefix: str, *modules: str) -> None:
    tool("grub-mkimage", "-d", GRUB / form, "-O", form, "-o", path, "-p", prefix, *modules)


def _esp(folder: Path, length: int, files: Mapping[str, bytes]) -> bytes:
    image = folder / "esp.img"
    with image.open("wb") as file:
        file.truncate(length)
    tool("mkfs.vfat", "--invariant", "-n", "ESP", image)
    made: set[Path] = set()
    for name, data in files.items():
        for parent in reversed(Path(name).parents[:-1]):
            if parent not in made:
                tool("mmd", "-i", image, f"::{parent}")
                made.add(parent)
        tool("mcopy", "-i", image, "-", f"::{name}", stdin=data)
    return image.read_bytes()


def _install(disk: Path, core: bytes) -> None:
    """What grub-bios-setup does: boot.img is told where the core image begins, and that one where its rest is."""
    start = MIB // SECTOR
    boot = bytearray((GRUB / "i386-pc/boot.img").read_bytes())
    boot[0x5C:0x64] = struct.pack("<Q", start)
    # Two bytes that keep a BIOS's drive number: this jump is only for floppies.
    boot[0x66:0x68] = b"\x90\x90"
    blocks = -(-len(core) // SECTOR) - 1
    linked = bytearray(core)
    linked[SECTOR - 12 : SECTOR] = struct.pack("<QHH", start + 1, blocks, 0x820)
    _write(disk, 0, bytes(boot[:440]))
    _write(disk, MIB, bytes(linked))


def _write(disk: Path, place: int, data: bytes) -> None:
    with disk.open("r+b") as file:
        file.seek(place)
        file.write(data)
