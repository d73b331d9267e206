"""The console: whatever pieces it comes in and whatever escapes are in it, the same is noticed."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qemu.console import LOGIN_PROMPT, RESTARTS_ALLOWED, Console, Sighting, Sign, Stage

BOOT = (
    "\x1bc\x1b[?7l\x1b[2JSeaBIOS (version 1.16.2-debian-1.16.2-1)\r\n"
    "Booting from Hard Disk...\r\nGRUB loading.\r\r\nWelcome to GRUB!\r\n\r\n"
    "\x1b]0;a title\x07\x1b[m\x1b[10;20H\x1b[0;30;47mDebian GNU/Linux\x1b[24;1H"
    "[    0.000000] Linux version 6.12.0 (x@y)\r\n"
    "\x1b[0;1;31m[  OK  ]\x1b[0m Started \x1b[0;1;39mfünf Dienste\x1b[0m.\r\n"
    "\r\nDebian GNU/Linux 13 box ttyS0\r\n\r\nbox login: "
).encode()


def fed(*chunks: bytes, expected: re.Pattern[str] | None = LOGIN_PROMPT) -> Console:
    """A console that got these."""
    console = Console(expected)
    for chunk in chunks:
        console.feed(chunk)
    return console


def sign(text: str) -> Sign | None:
    """What is noticed in a text."""
    found = fed(text.encode()).sighting
    return found.sign if found else None


@given(st.lists(st.integers(0, len(BOOT)), max_size=12))
def test_pieces_make_no_difference(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(BOOT)]
    shown = Console()
    text = "".join(shown.feed(BOOT[start:end]) for start, end in itertools.pairwise(places))
    whole = Console()
    assert text == whole.feed(BOOT)
    assert shown.lines == whole.lines
    assert shown.sighting == whole.sighting
    assert shown.stage is whole.stage is Stage.SYSTEM


def test_a_person_reads_lines_without_escapes() -> None:
    console = fed(BOOT)
    assert console.lines == [
        "SeaBIOS (version 1.16.2-debian-1.16.2-1)",
        "Booting from Hard Disk...",
        "GRUB loading.",
        "Welcome to GRUB!",
        "Debian GNU/Linux",
        "[    0.000000] Linux version 6.12.0 (x@y)",
        "[  OK  ] Started fünf Dienste.",
        "Debian GNU/Linux 13 box ttyS0",
        "box login:",
    ]
    assert console.sighting
    assert console.sighting.sign is Sign.REACHED
    assert console.in_line


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_no_bytes_upset_it_and_what_is_shown_is_harmless(chunks: list[bytes]) -> None:
    console = Console(None)
    for chunk in chunks:
        shown = console.feed(chunk)
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", shown)


def test_an_escape_that_never_ends_does_not_swallow_the_rest() -> None:
    console = fed(b"\x1b]0;" + b"x" * 600, b"\r\nbox login: ")
    assert console.sighting
    assert console.sighting.sign is Sign.REACHED


def test_a_prompt_that_a_status_line_cuts_in_two_is_one() -> None:
    console = fed(b"\r\nbox ", b"\r\x1b[K[\x1b[0;32m  OK  \x1b[0m] Reached target graphical.target.\r\n", b"login: ")
    assert console.sighting is not None
    assert console.sighting.sign is Sign.REACHED


@pytest.mark.parametrize(
    ("line", "reached"),
    [
        ("box login: ", True),
        ("(none) login: ", True),
        ("alpine-3 login: [   12.0] random: crng init done", True),
        ("login: ", True),
        (" login:", True),
        ("login: timed out after 60 seconds", False),
        ("Last login: Mon Nov 23 03:26:11 on ttyS0", False),
        ("systemd-logind[300]: New seat seat0", False),
        ("audit: pam_unix(login:session)", False),
        ("who may login:", False),
    ],
)
def test_what_is_a_login_prompt(line: str, *, reached: bool) -> None:
    assert (sign(line) is Sign.REACHED) is reached


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[    2.0] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n", Sign.PANIC),
        ("ALERT!  UUID=1234 does not exist.  Dropping to a shell!\r\n", Sign.INITRAMFS),
        ("\r\n(initramfs) ", Sign.INITRAMFS),
        ("dracut:/# ", Sign.INITRAMFS),
        ('You are in emergency mode. After logging in, type "journalctl -xb"\r\n', Sign.EMERGENCY),
        ("Give root password for maintenance\r\n", Sign.EMERGENCY),
        ("Entering rescue mode...\r\ngrub rescue> ", Sign.GRUB_RESCUE),
        ("   Minimal BASH-like line editing is supported.\r\n\r\ngrub> ", Sign.GRUB_SHELL),
        ("Boot failed: not a bootable disk\r\n\r\nNo bootable device.", Sign.NO_LOADER),
        ("BdsDxe: No bootable option or device was found.\r\n", Sign.NO_LOADER),
        ("UEFI Interactive Shell v2.2\r\n\x1b[24;1HShell> ", Sign.FIRMWARE_SHELL),
        ("TFTP error: 'Access violation' (2)\r\nNot retrying...\r\n=> ", Sign.FIRMWARE_SHELL),
        ("E3404: Not a bootable device!\r\nE3407: Load failed\r\n", Sign.NO_LOADER),
        ("zIPL load failed.\r\nFailed to load OS from hard disk\r\n", Sign.NO_LOADER),
        ("0 > ", Sign.FIRMWARE_SHELL),
        ("Starting systemd-rescue.service... not\r\n", None),
        ("a => b\r\n10 > 9\r\necho grub>x\r\n", None),
    ],
)
def test_failures_are_told_apart(text: str, expected: Sign | None) -> None:
    assert sign(text) is expected


def test_what_is_waited_for_goes_before_failures() -> None:
    console = fed(b"Kernel panic - not syncing: as wanted\r\n", expected=re.compile("panic.*as wanted"))
    assert console.sighting
    assert console.sighting.sign is Sign.REACHED


def test_the_first_thing_noticed_stays_until_no_more_is_expected() -> None:
    console = fed(b"box login: \r\nKernel panic - not syncing: later\r\n")
    assert console.sighting
    assert console.sighting.line == "box login:"
    console.expect_no_more()
    console.feed(b"box login: \r\nKernel panic - not syncing: later\r\n")
    assert console.sighting
    assert console.sighting.sign is Sign.PANIC


def test_the_line_of_a_sign_is_whole_in_the_end() -> None:
    console = fed(b"Kernel panic - not syncing:", b" ", b"no root", b"\r\n", b"another line")
    assert console.sighting
    assert console.sighting.line == "Kernel panic - not syncing: no root"


def test_a_machine_may_start_again_but_not_for_ever() -> None:
    start = b"SeaBIOS (version 1)\r\n"
    assert fed(start * (1 + RESTARTS_ALLOWED)).sighting is None
    endless = fed(*[start] * (2 + RESTARTS_ALLOWED)).sighting
    assert endless
    assert endless.sign is Sign.RESTARTS


@pytest.mark.parametrize(
    ("text", "stage"),
    [
        ("", Stage.NOTHING),
        ("BdsDxe: loading Boot0001", Stage.FIRMWARE),
        ("Loading Linux 6.12 ...", Stage.LOADER),
        ("[    0.000000] Linux version 6.12", Stage.KERNEL),
        ("Welcome to Debian GNU/Linux 13 (trixie)!", Stage.SYSTEM),
        ("Welcome to GRUB!", Stage.LOADER),
    ],
)
def test_how_far_it_came(text: str, stage: Stage) -> None:
    assert fed(text.encode()).stage is stage


def test_a_line_without_end_is_kept_short() -> None:
    console = Console(None)
    for _ in range(100):
        console.feed(b"x" * 1000)
    assert max(map(len, console.lines)) < 20_000


SHELL = (
    "\x1b[01;01H\x1b[2J\x1b[02;24HGNU GRUB  version 2.06-13\r\n\n"
    "   Words, TAB   \x1b[04;17H\r   device.   \r\n\n\ngrub> "
)


@pytest.mark.parametrize("column", range(25, 49))
@pytest.mark.parametrize("moves", ["\x1b[02;{0}H", "\x1b[02;{1}H\x1b[02;{0}H"])
def test_moves_that_come_back_are_none(moves: str, column: int) -> None:
    place = SHELL.index("GNU") + column - 24
    console = fed(f"{SHELL[:place]}{moves.format(column, column - 1)}{SHELL[place:]}".encode())
    assert console.lines == ["GNU GRUB  version 2.06-13", "   Words, TAB", "   device.", "grub>"]


@pytest.mark.parametrize("cut", range(1, len("grub> ")))
def test_a_prompt_with_moves_inside_is_one(cut: int) -> None:
    back = "\r" if cut == 1 else f"\x1b[08;{cut}H"
    moves = (back.encode(), f"\x1b[08;{cut + 1}H".encode())
    console = fed(SHELL[: -len("grub> ") + cut].encode(), *moves, "grub> "[cut:].encode())
    assert console.sighting == Sighting(Sign.GRUB_SHELL, "grub>")


def test_a_move_to_elsewhere_ends_a_line() -> None:
    assert fed(b"\x1b[5;3Hone\x1b[6;3Htwo\x1b[Hthree\x1b[9fends").lines == ["one", "two", "three", "ends"]
    assert fed(b"\x1b[5;3Hone\x1b[H\x1b[6;6Hbelow").lines == ["one", "below"]


@pytest.mark.parametrize("length", range(1, len("Welcome to GRUB!") + 1))
def test_a_line_without_end_may_become_another(length: int) -> None:
    console = fed(b"SeaBIOS (version 1)\r\n", b"Welcome to GRUB!"[:length])
    console.feed(b"Welcome to GRUB!\r\n"[length:])
    assert console.stage is Stage.LOADER
