"""Machine models: what QEMU is told for a machine of each architecture. Nothing here runs or looks at anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qemu.accelerator import Accelerator
from qemu.firmware import Firmware

SYSTEMS = {
    "amd64": "x86_64",
    "i386": "i386",
    "arm64": "aarch64",
    "armhf": "arm",
    "ppc64el": "ppc64",
    "riscv64": "riscv64",
    "s390x": "s390x",
}
PACKAGES = {  # of Debian and Ubuntu; those named as the program are at times provided by another one
    "amd64": "qemu-system-x86",
    "i386": "qemu-system-x86",
    "arm64": "qemu-system-arm",
    "armhf": "qemu-system-arm",
    "ppc64el": "qemu-system-ppc",
    "riscv64": "qemu-system-riscv64",
    "s390x": "qemu-system-s390x",
}


@dataclass(frozen=True)
class Model:
    """A machine: QEMU's name for it, the bus of its virtio devices, and what it needs beside them.

    ``emulated`` is the processor under TCG; "" is the machine's own choice, where "max" is none or is not better.
    ``serial`` is Linux's name for its serial line.
    """

    machine: str
    bus: str = "pci"
    emulated: str = "max"
    serial: str = "ttyS0"
    extra: tuple[str, ...] = ()


# With graphics=off the BIOS speaks on the serial line as well; a graphics card is there for what expects one.
_PC = Model("q35,graphics=off", extra=("-vga", "std"))
MODELS = {
    "amd64": _PC,
    "i386": _PC,
    # The processor's own pointer signatures cost a third of the time when they are emulated.
    "arm64": Model("virt,gic-version=max", emulated="max,pauth-impdef=on", serial="ttyAMA0"),
    "armhf": Model("virt", serial="ttyAMA0"),
    "ppc64el": Model("pseries", emulated="", serial="hvc0"),
    "riscv64": Model("virt", emulated=""),
    "s390x": Model("s390-ccw-virtio", bus="ccw", serial="ttysclp0"),
}


@dataclass(frozen=True)
class Disk:
    """An image and its format, as qemu-img calls it. QEMU is always told the format: it must not guess."""

    path: Path
    format: str


@dataclass(frozen=True)
class Kernel:
    """A kernel that QEMU loads itself, with its initial ram disk and what is added to its command line."""

    path: Path
    initrd: Path | None = None
    append: str = ""


@dataclass(frozen=True)
class Machine:
    """A machine to start, from a disk or a kernel or both. Memory is in MiB.

    ``ssh_port`` is a port of 127.0.0.1 that leads to the machine's port 22. ``online`` lets it reach
    the network, else it is alone with its DHCP server. ``interactive`` gives it the terminal.
    """

    arch: str
    firmware: Firmware
    accelerator: Accelerator
    disk: Disk | None = None
    kernel: Kernel | None = None
    memory: int = 1024
    cpus: int = 1
    seed: Path | None = None
    ssh_port: int | None = None
    online: bool = False
    interactive: bool = False


def emulator(arch: str) -> str:
    """The name of QEMU's program for an architecture."""
    return f"qemu-system-{SYSTEMS[arch]}"


def quoted(path: Path) -> str:
    """A path as a value of one of QEMU's options, where a comma is written twice."""
    return str(path).replace(",", ",,")


def arguments(machine: Machine) -> list[str]:
    """QEMU's command line. Its serial line is standard input and output; the image is never written to."""
    model = MODELS[machine.arch]
    return [
        emulator(machine.arch),
        "-name",
        "dib-ctr-boot",
        "-machine",
        model.machine,
        *_processor(machine, model),
        *("-m", str(machine.memory), "-smp", str(machine.cpus)),
        *("-nodefaults", "-no-user-config", "-display", "none", *model.extra),
        *_console(machine.interactive),
        *_firmware(machine.firmware),
        *(_kernel(machine.kernel, model) if machine.kernel else ()),
        *_disks(machine, model),
        *_network(machine, model),
        *("-device", f"virtio-rng-{model.bus}"),
    ]


def _processor(machine: Machine, model: Model) -> list[str]:
    if machine.accelerator is Accelerator.KVM:
        return ["-accel", "kvm", "-cpu", "host"]
    # Several threads corrupt recent kernels under QEMU 7.2, and one is not slower for a boot.
    return ["-accel", "tcg,thread=single", *(("-cpu", model.emulated) if model.emulated else ())]


def _console(interactive: bool) -> list[str]:
    """Interactive: the keys Ctrl-A X end QEMU, and Ctrl-C goes to the machine."""
    mux = ",mux=on" if interactive else ""
    monitor = ("-mon", "chardev=console") if interactive else ("-monitor", "none")
    return ["-chardev", f"stdio,id=console,signal=off{mux}", "-serial", "chardev:console", *monitor]


def _firmware(firmware: Firmware) -> list[str]:
    words = []
    if firmware.code:
        words += ["-drive", f"if=pflash,unit=0,readonly=on,format={firmware.code_format},file={quoted(firmware.code)}"]
    if firmware.variables:
        words += ["-drive", f"if=pflash,unit=1,format={firmware.variables_format},file={quoted(firmware.variables)}"]
    if firmware.loader:
        words += ["-kernel", str(firmware.loader)]
    return words


def _kernel(kernel: Kernel, model: Model) -> list[str]:
    """The serial line is the console, unless the caller's words name another one: the last of them counts."""
    line = f"console={model.serial} {kernel.append}".strip()
    words = ["-kernel", str(kernel.path), "-append", line]
    return [*words, "-initrd", str(kernel.initrd)] if kernel.initrd else words


def _disks(machine: Machine, model: Model) -> list[str]:
    """The image behind an overlay that QEMU throws away; what has no boot index is not booted from."""
    words = []
    if disk := machine.disk:
        boots = "" if machine.kernel else ",bootindex=0"
        words += [
            *("-drive", f"if=none,id=disk,snapshot=on,discard=unmap,format={disk.format},file={quoted(disk.path)}"),
            *("-device", f"virtio-blk-{model.bus},drive=disk{boots}"),
        ]
    if not machine.kernel and machine.arch != "s390x":  # its loader knows no other boot order
        words += ["-boot", "strict=on"]
    if machine.seed:
        words += ["-drive", f"if=none,id=seed,readonly=on,format=raw,file={quoted(machine.seed)}"]
        words += ["-device", f"virtio-blk-{model.bus},drive=seed"]
    return words


def _network(machine: Machine, model: Model) -> list[str]:
    forward = f",hostfwd=tcp:127.0.0.1:{machine.ssh_port}-:22" if machine.ssh_port else ""
    alone = "" if machine.online else ",restrict=on"
    # No boot ROM: a disk is to be booted, not the network.
    rom = ",romfile=" if model.bus == "pci" else ""
    return ["-netdev", f"user,id=net{alone}{forward}", "-device", f"virtio-net-{model.bus},netdev=net{rom}"]
