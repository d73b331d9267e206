"""The boot test: a machine is started from a disk image or a kernel and watched until it is up, or surely will not be.

An image is never changed, and whatever happens no process is left: QEMU is killed on the way out, and dies with
this process where that is killed itself.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from blockdev.core.errors import BuildError, UsageError
from blockdev.core.syscalls import die_with_parent
from qemu import cloud_init_seed as seed
from qemu import disk_format as image
from qemu import firmware, ssh
from qemu.accelerator import Accelerator, Memory, choose
from qemu.architecture import ARCHITECTURES
from qemu.boot_failure import End, Failure, explain
from qemu.boot_watch import BootWatch
from qemu.console import LOGIN_PROMPT, Console
from qemu.machine import PACKAGES, Disk, Kernel, Machine, arguments, emulator

TIMEOUT = 300.0  # seconds
KERNEL = "QEMU's own loader"  # what starts a machine that has neither BIOS nor UEFI to do so


@dataclass(frozen=True)
class Request:
    """What to boot and what to wait for: a disk ``image``, or a ``kernel``, which may have a disk beside it.

    ``firmware`` is "", "bios", "uefi" or "both"; ``expect`` is searched in each line of the console, instead of the
    login prompt. ``ssh`` waits for an SSH server, and logs in where there is a ``seed`` (a folder with NoCloud's
    files) or an ``ssh_key`` (a private key, made where there is none). ``timeout`` is in seconds for each
    boot, ``memory`` in MiB; ``log`` takes the text of the console.
    """

    image: Path | None
    arch: str
    kernel: Kernel | None = None
    firmware: str = ""
    expect: re.Pattern[str] | None = None
    ssh: bool = False
    timeout: float = TIMEOUT
    memory: int = 1024
    cpus: int = 1
    seed: Path | None = None
    ssh_key: Path | None = None
    log: Path | None = None

    @property
    def wants_ssh(self) -> bool:
        """Is an answer by SSH waited for."""
        return self.ssh or self.ssh_key is not None


@dataclass(frozen=True)
class Success:
    """A boot that came to what was waited for: in how many seconds, under what, and what it was."""

    firmware: str
    accelerator: Accelerator
    seconds: float
    reached: str

    def __str__(self) -> str:
        """One line for a person."""
        return f"booted by {self.firmware} under {self.accelerator.value} in {self.seconds:.0f} s: {self.reached}"


@dataclass(frozen=True)
class _Parts:
    """All that is needed for machines, found before the first one starts."""

    program: str
    disk: Disk | None
    firmwares: tuple[firmware.Firmware, ...]
    accelerator: Accelerator
    seed_files: dict[str, bytes] | None


Show = Callable[[str], None]


def boot(request: Request, show: Show, memory: Memory | None = None) -> Iterator[Success]:
    """Boot the image once for each firmware, one after the other, and yield how each went.

    ``show`` gets the console's text as it comes. UsageError where the request is wrong, BuildError where something
    is missing or where the machine did not come up: it has the last lines of the console.
    """
    parts = _gather(request, memory)
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(_opened(request.log)) if request.log else None
        for candidate in parts.firmwares:

            def show_and_keep(text: str) -> None:
                show(text)
                if log:
                    log.write(text)
                    log.flush()

            yield _once(request, parts, candidate, show_and_keep)


def interact(request: Request, memory: Memory | None = None) -> int:
    """Start the machine with its console on this terminal, until it or the person ends it; returns QEMU's status."""
    if request.firmware == "both":
        raise UsageError("one machine at a time can have the terminal", hint="--firmware bios or --firmware uefi")
    parts = _gather(request, memory)
    with tempfile.TemporaryDirectory(prefix="dib-ctr-boot-") as name:
        folder = Path(name)
        machine, key = _machine(request, parts, parts.firmwares[0], folder, interactive=True)
        if key and machine.ssh_port:
            print(f"ssh -i {key} -p {machine.ssh_port} USER@127.0.0.1", flush=True)
        with _terminal_kept(), _running(machine, parts.program, folder) as process:
            return process.wait()


@contextlib.contextmanager
def _terminal_kept() -> Iterator[None]:
    """The terminal is in the end as it was: a QEMU that is killed leaves it without echo."""
    before = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _opened(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"the log cannot be written: {error.strerror}", where=str(path)) from error


def _gather(request: Request, memory: Memory | None) -> _Parts:
    """Look for everything; what is wrong or missing is said before anything starts."""
    if request.arch not in ARCHITECTURES:
        raise UsageError(f"{request.arch!r} is no architecture", hint=f"there is: {', '.join(ARCHITECTURES)}")
    kinds = firmware.kinds(request.arch, request.firmware)
    if request.image is None and request.kernel is None:
        raise UsageError("there is nothing to boot", hint="name a disk image, or a kernel with --kernel FILE")
    kernel = request.kernel
    for file in (kernel.path, kernel.initrd) if kernel else ():
        if file and not (file.is_file() and file.stat().st_size):
            raise UsageError("there is no such file, or nothing is in it", where=str(file))
    disk = image.probe(request.image) if request.image else None
    files = seed.read(request.seed) if request.seed else None
    program = shutil.which(emulator(request.arch))
    if not program:
        raise BuildError(
            f"QEMU for {request.arch} machines is not installed", hint=f"apt-get install {PACKAGES[request.arch]}"
        )
    if request.wants_ssh and not shutil.which("ssh"):
        raise BuildError("ssh is not installed", hint="apt-get install openssh-client")
    if kernel:  # QEMU loads it with the help of its built-in firmware, where there is one
        if request.firmware:
            raise UsageError("a kernel of its own is started without firmware", hint="leave --firmware out")
        firmwares: tuple[firmware.Firmware, ...] = (firmware.Firmware(KERNEL),)
    else:
        firmwares = tuple(firmware.find(request.arch, kind) for kind in kinds)
    if request.ssh_key and files is None:
        files = {}
    return _Parts(program, disk, firmwares, choose(request.arch, program, memory), files)


def _machine(
    request: Request, parts: _Parts, chosen: firmware.Firmware, folder: Path, *, interactive: bool = False
) -> tuple[Machine, Path | None]:
    """The machine, its seed and its store of variables in ``folder``; and the key to log in with, if there is one."""
    private, public, disk = None, "", None
    if parts.seed_files is not None:
        if request.wants_ssh:
            private, public = ssh.key_pair(request.ssh_key, folder)
        disk = seed.write(folder / "seed.img", seed.contents(parts.seed_files, public))
    machine = Machine(
        arch=request.arch,
        firmware=chosen.prepared(folder),
        accelerator=parts.accelerator,
        disk=parts.disk,
        kernel=request.kernel,
        memory=request.memory,
        cpus=request.cpus,
        seed=disk,
        ssh_port=ssh.free_port() if request.wants_ssh else None,
        online=interactive,
        interactive=interactive,
    )
    return machine, private


@contextlib.contextmanager
def _running(machine: Machine, program: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """QEMU at work, and killed in the end. What it says about itself goes to ``folder``/said."""
    terminal = machine.interactive
    with (folder / "said").open("wb") as messages:
        process = subprocess.Popen(
            [program, *arguments(machine)[1:]],
            stdin=None if terminal else subprocess.DEVNULL,
            stdout=None if terminal else subprocess.PIPE,
            stderr=None if terminal else messages,
            # Ctrl-C is this process's business, which ends QEMU itself.
            start_new_session=not terminal,
            preexec_fn=die_with_parent,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def _once(request: Request, parts: _Parts, chosen: firmware.Firmware, show: Show) -> Success:
    with tempfile.TemporaryDirectory(prefix="dib-ctr-boot-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        machine, key = _machine(request, parts, chosen, folder)
        started = time.monotonic()
        # QEMU goes first in the end: what the watch waits for then ends as well.
        watch = stack.enter_context(ssh.SshWatch(machine.ssh_port, key)) if machine.ssh_port else None
        process = stack.enter_context(_running(machine, parts.program, folder))
        console = Console(request.expect or (None if watch else LOGIN_PROMPT))
        ending = BootWatch(process, console, show, watch).run(started + request.timeout)
        seconds = time.monotonic() - started
        if console.in_line:
            show("\n")
        if ending.why is None:
            return Success(chosen.kind, parts.accelerator, seconds, ending.reached)
        failure = Failure(
            why=ending.why,
            seconds=seconds,
            stage=console.stage,
            lines=tuple(console.lines),
            firmware=chosen.kind,
            awaited=ending.awaited,
            reason=_last_message(folder) if ending.why is End.DIED else ending.reason,
            emulated=parts.accelerator is Accelerator.TCG,
        )
        raise explain(failure)


def _last_message(folder: Path) -> str:
    """The last thing that QEMU said about itself."""
    lines = (folder / "said").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it did not say why"
