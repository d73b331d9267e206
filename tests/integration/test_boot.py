"""`dib-ctr boot` with real machines: disks that come up, and disks that do not, each told in its own words."""

from __future__ import annotations

import hashlib
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockdev.core.errors import UsageError
from builder.host_state import probe_results
from qemu import fat12
from qemu.accelerator import GUESTS, Accelerator, choose, guest_runs
from qemu.disk_format import probe
from tests.integration import bootdisk
from tests.integration.bootdisk import HALT, START_AGAIN, SWITCH_OFF, Linux, grub_disk, sector_disk, tool
from tests.integration.command import Outcome

PROMPT = "\r\nbox login: "
TCG = ("-accel", "tcg,thread=single", "-cpu", "max")


def start(*arguments: str | Path, temporary: Path) -> subprocess.Popen[str]:
    """Start the command; whatever it writes aside lies in ``temporary``."""
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "builder.cli", "boot", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary), "XDG_CACHE_HOME": str(temporary.parent / "cache")},
    )


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[Path]:
    """A folder for what is written aside, where nothing may be left; nor may a machine."""
    folder = tmp_path / "aside"
    folder.mkdir()
    yield folder
    assert list(folder.iterdir()) == []
    assert machines(tmp_path) == []


def machines(folder: Path) -> list[str]:
    """The command lines of all QEMU processes whose image lies in ``folder``."""
    found = []
    for folder_of_process in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder_of_process / "cmdline").read_text().replace("\0", " ")
        except OSError:  # it has just ended
            continue
        if "qemu-system" in line and str(folder) in line:
            found.append(line)
    return found


def boot(*arguments: str | Path, temporary: Path) -> Outcome:
    """Run the command to the end."""
    process = start(*arguments, temporary=temporary)
    stdout, stderr = process.communicate()
    assert "Traceback" not in stderr
    return Outcome(process.returncode, stdout, stderr)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# -- a few bytes that speak ------------------------------------------------------------------------


MORE = pytest.mark.thorough("one more machine; `just test` has each format")


@pytest.mark.parametrize(
    ("form", "suffix", "options"),
    [
        ("raw", "raw", ()),
        pytest.param("raw", "img", (), marks=MORE),
        ("qcow2", "qcow2", ("-c", "-o", "compression_type=zstd")),
        ("qcow2", "img", ()),
        ("vmdk", "vmdk", ("-o", "subformat=streamOptimized")),
        pytest.param("vmdk", "vmdk", ("-o", "subformat=monolithicSparse"), marks=MORE),
        ("vdi", "vdi", ()),
        ("vhdx", "vhdx", ()),
        ("vpc", "vhd", ("-o", "subformat=dynamic")),
        pytest.param("vpc", "vhd", ("-o", "subformat=fixed"), marks=MORE),
    ],
)
def test_every_format_boots_and_stays_as_it_is(
    form: str, suffix: str, options: tuple[str, ...], tmp_path: Path, temporary: Path
) -> None:
    raw = sector_disk(tmp_path / "made", PROMPT)
    image = tmp_path / f"a disk, with a comma.{suffix}"
    tool("qemu-img", "convert", "-f", "raw", "-O", form, *options, raw, image)
    before = digest(image)
    done = boot(image, "--timeout", "60", temporary=temporary)
    assert done.status == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("booted by bios under ")
    assert "box login:" in done.stdout
    assert digest(image) == before


@pytest.mark.parametrize(
    ("text", "then", "arguments", "said"),
    [
        ("\r\nstarting\r\n", HALT, ("--timeout", "{}"), ("a login prompt did not come within {} s", "console=ttyS0")),
        (
            "",
            HALT,
            ("--timeout", "{}", "--expect", "up and.*"),
            ("/up and.*/ did not come", "| Booting from Hard Disk"),
        ),
        ("\r\nbye\r\n", SWITCH_OFF, (), ("the machine switched itself off", "| bye")),
        ("again\r\n", START_AGAIN, (), ("restarts again and again", "--interactive")),
        (PROMPT, HALT, ("--cpus", "100000"), ("QEMU ended", "CPUs")),
        (PROMPT, HALT, ("--ssh", "--timeout", "{}"), ("an SSH server's answer did not come", "sshd")),
        ("[    1.0] Kernel panic - not syncing: gone\r\n", HALT, (), ("the kernel panicked", "syncing: gone")),
    ],
)
def test_failures_in_their_own_words(
    text: str, then: bytes, arguments: tuple[str, ...], said: tuple[str, ...], tmp_path: Path, temporary: Path
) -> None:
    image = sector_disk(tmp_path / "disk.raw", text, then)
    for seconds in (4, 16, 64):  # beside other tests a machine may take longer to say its words
        done = boot(image, *(word.format(seconds) for word in arguments), temporary=temporary)
        if all(words.format(seconds) in done.stderr for words in said):
            break
    assert done.status == 1
    for words in said:
        assert words.format(seconds) in done.stderr
    assert "  next:  " in done.stderr


def test_an_expression_and_the_log(tmp_path: Path, temporary: Path) -> None:
    image = sector_disk(tmp_path / "disk.raw", "\r\n\x1b[31mall services are up\x1b[0m\r\n" + PROMPT)
    log = tmp_path / "logs/console.txt"
    done = boot(image, "--expect", r"services? .* up$", "--log", log, temporary=temporary)
    assert done.status == 0
    assert "all services are up" in log.read_text().splitlines()


NO_LOADER = [
    ("bios", "found nothing to boot"),
    pytest.param("uefi", "opened its shell", marks=pytest.mark.thorough("a boot to the end of UEFI's patience")),
]


@pytest.mark.parametrize(("firmware", "said"), NO_LOADER)
def test_a_disk_without_a_boot_loader(firmware: str, said: str, tmp_path: Path, temporary: Path) -> None:
    image = tmp_path / "disk.raw"
    image.write_bytes(bytes(bootdisk.MIB))
    done = boot(image, "--firmware", firmware, "--timeout", "90", temporary=temporary)
    assert done.status == 1
    assert said in done.stderr


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_no_machine_is_left_when_it_is_stopped(number: signal.Signals, status: int, tmp_path: Path) -> None:
    aside = tmp_path / "aside"
    aside.mkdir()
    process = start(sector_disk(tmp_path / "disk.raw", "I wait\r\n"), temporary=aside)
    assert process.stdout
    for line in process.stdout:
        if "I wait" in line:
            break
    assert len(machines(tmp_path)) == 1
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == status
    deadline = time.monotonic() + 5
    while machines(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert machines(tmp_path) == []
    if number is not signal.SIGKILL:
        assert list(aside.iterdir()) == []


def test_a_person_at_the_console(tmp_path: Path, temporary: Path) -> None:
    """Ctrl-C goes to the machine, Ctrl-A X ends it, and the terminal is as it was."""
    image = sector_disk(tmp_path / "disk.raw", "I wait\r\n")
    outer, inner = pty.openpty()
    before = termios.tcgetattr(inner)
    process = subprocess.Popen(
        [sys.executable, "-m", "builder.cli", "boot", "--interactive", str(image)],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    seen = b""
    while b"I wait" not in seen:
        seen += os.read(outer, 1024)
    os.write(outer, b"\x03")
    time.sleep(0.5)
    assert process.poll() is None
    os.write(outer, b"\x01x")
    assert process.wait(timeout=20) == 0
    assert termios.tcgetattr(inner) == before
    os.close(outer)
    os.close(inner)


# -- what is refused before anything starts --------------------------------------------------------


def test_what_a_raw_image_contains_does_not_make_it_another(tmp_path: Path) -> None:
    """A guest can write a header into its own disk, by which QEMU would read any file of the host."""
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(bootdisk.MIB))
    image = tmp_path / "disk.img"
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", image)
    with pytest.raises(UsageError, match=r"reads another file: .*secret"):
        probe(image)
    assert probe(image.rename(tmp_path / "disk.raw")).format == "raw"
    assert probe((tmp_path / "disk.raw").rename(tmp_path / "disk.qcow2")).format == "qcow2"


@pytest.mark.parametrize(
    ("name", "content", "arguments", "said"),
    [
        ("gone.raw", None, (), "there is no image"),
        ("disk.raw", b"", (), "is empty"),
        ("disk.qcow2", bytes(4096), (), "no qcow2 image, though it is called so"),
        ("disk.raw.zst", b"x", (), "unzstd -k"),
        ("disk.raw", bytes(4096), ("--expect", "("), "no regular expression"),
        ("disk.raw", bytes(4096), ("--arch", "arm64", "--firmware", "bios"), "by UEFI only"),
        ("disk.raw", bytes(4096), ("--arch", "vax"), "'vax' is no architecture"),
        ("disk.raw", bytes(4096), ("--interactive",), "needs a terminal"),
        ("disk.raw", bytes(4096), ("--seed", "."), "user-data"),
        ("disk.raw", bytes(4096), ("--log", "/proc/none/log"), "the log cannot be written"),
    ],
)
def test_bad_requests(
    name: str, content: bytes | None, arguments: tuple[str, ...], said: str, tmp_path: Path, temporary: Path
) -> None:
    image = tmp_path / name
    if content is not None:
        image.write_bytes(content)
    done = boot(image, *arguments, temporary=temporary)
    assert done.status == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_what_is_not_installed_is_named(tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = sector_disk(tmp_path / "disk.raw", PROMPT)
    monkeypatch.setenv("PATH", str(tmp_path))
    done = boot(image, temporary=temporary)
    assert done.status == 1
    assert "apt-get install qemu-utils" in done.stderr
    (tmp_path / "qemu-img").symlink_to("/usr/bin/qemu-img")
    done = boot(image, temporary=temporary)
    assert done.status == 1
    assert "apt-get install qemu-system-x86" in done.stderr


# -- parts that need tools to be believed ---------------------------------------------------------


def test_the_guest_of_the_kvm_probe_runs_where_anything_does() -> None:
    emulator = "/usr/bin/qemu-system-x86_64"
    assert guest_runs(GUESTS["amd64"], emulator, TCG)
    kvm = guest_runs(GUESTS["amd64"], emulator, ("-accel", "kvm", "-cpu", "host"))
    assert choose("amd64", emulator, probe_results) is (Accelerator.KVM if kvm else Accelerator.TCG)


def test_other_tools_find_the_seeds_file_system_sound(tmp_path: Path) -> None:
    files = {"user-data": b"#!/bin/sh\n" * 3000, "meta-data": b"instance-id: x\n", "network-config": b""}
    image = tmp_path / "seed.img"
    image.write_bytes(fat12.image("CIDATA", files))
    tool("fsck.vfat", "-n", image)
    for name, content in files.items():
        assert tool("mtype", "-i", image, f"::{name}") == content


# -- Linux on GRUB, without root -------------------------------------------------------------------


@pytest.fixture(scope="module")
def linux(tmp_path_factory: pytest.TempPathFactory) -> Linux:
    """A kernel and an initramfs, made once."""
    return bootdisk.linux(tmp_path_factory.mktemp("linux"))


def files_of(linux: Linux, configuration: str) -> dict[str, bytes]:
    return {"linux": linux.kernel, "initramfs": linux.initramfs, "grub/grub.cfg": configuration.encode()}


@pytest.mark.thorough("two boots under emulation; `just test` has two (test_bootloader.py)")
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_one_disk_boots_both_ways(linux: Linux, tmp_path: Path, temporary: Path) -> None:
    image = grub_disk(tmp_path, files_of(linux, bootdisk.BOOT_LINUX))
    before = digest(image)
    done = boot(image, "--firmware", "both", "--timeout", "200", temporary=temporary)
    assert done.status == 0, done.stderr
    ways = [line for line in done.stdout.splitlines() if line.startswith("booted by")]
    assert [way.split()[2] for way in ways] == ["bios", "uefi"]
    assert all(way.endswith(": bootdisk login:") for way in ways)
    assert done.stdout.count("the disk was written to") == 2
    assert digest(image) == before


@pytest.mark.thorough("a boot under emulation")
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_logging_in_with_a_key_from_the_seed(linux: Linux, tmp_path: Path, temporary: Path) -> None:
    image, key, seed = grub_disk(tmp_path, files_of(linux, bootdisk.BOOT_LINUX)), tmp_path / "key", tmp_path / "seed"
    seed.mkdir()
    (seed / "user-data").write_text("#cloud-config\n")
    arguments = ("--seed", seed, "--ssh-key", key, "--expect", "login:", "--timeout", "200")
    done = boot(image, *arguments, temporary=temporary)
    assert done.status == 0, done.stdout + done.stderr
    # The files have their long names, and the machine names another user than root.
    assert "seed: meta-data user-data" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("login:; logged in by SSH as guest")
    assert key.exists()


@pytest.mark.thorough("a boot under emulation")
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_kernel_without_a_root(linux: Linux, tmp_path: Path, temporary: Path) -> None:
    image = grub_disk(tmp_path, files_of(linux, bootdisk.BOOT_KERNEL_ONLY))
    done = boot(image, "--timeout", "200", temporary=temporary)
    assert done.status == 1
    assert "the kernel panicked after" in done.stderr.splitlines()[0]
    assert "Unable to mount root fs" in done.stderr.splitlines()[0]


@pytest.mark.parametrize(
    ("prefix", "modules", "said"),
    [
        ("(hd0,gpt9)/grub", ("part_gpt", "fat"), "GRUB did not find its own files"),
        ("(hd0,gpt2)/grub", ("part_gpt", "fat", "normal"), "GRUB found no configuration"),
    ],
)
def test_grub_that_finds_nothing(
    prefix: str, modules: tuple[str, ...], said: str, tmp_path: Path, temporary: Path
) -> None:
    done = boot(grub_disk(tmp_path, {}, prefix, modules), "--timeout", "90", temporary=temporary)
    assert done.status == 1
    assert said in done.stderr
