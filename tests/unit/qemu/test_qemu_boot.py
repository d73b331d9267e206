"""Around the machine: is KVM usable, what SSH says, and the words for boots that fail."""

from __future__ import annotations

import socket
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from blockdev.core.errors import BuildError, UsageError
from qemu import accelerator, boot_failure, ssh
from qemu.accelerator import GUESTS, Accelerator, choose
from qemu.boot import Request, boot
from qemu.boot_failure import End, Failure, explain
from qemu.console import Sign, Stage
from qemu.firmware import KINDS
from qemu.machine import Kernel

# -- KVM -------------------------------------------------------------------------------------------


class Notes:
    """A memory that lasts as long as the test."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Any] = {}

    def recall(self, name: str, valid: str) -> Any | None:
        return self.kept.get((name, valid))

    def remember(self, name: str, valid: str, data: Any) -> None:
        self.kept[name, valid] = data


@pytest.fixture
def amd64_with_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine that has the device, and a program called QEMU."""
    (tmp_path / "kvm").touch()
    (tmp_path / "qemu").touch()
    monkeypatch.setattr(accelerator, "_KVM", tmp_path / "kvm")
    monkeypatch.setattr(accelerator, "native", lambda: "amd64")
    return tmp_path / "qemu"


@pytest.mark.parametrize(("ran", "expected"), [(True, Accelerator.KVM), (False, Accelerator.TCG)])
def test_a_guest_decides_and_the_answer_is_kept(
    *, ran: bool, expected: Accelerator, amd64_with_device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[object] = []

    def runs(*arguments: object) -> bool:
        tried.append(arguments)
        return ran

    monkeypatch.setattr(accelerator, "guest_runs", runs)
    notes, program = Notes(), str(amd64_with_device)
    assert choose("amd64", program, notes) is expected
    assert choose("amd64", program, notes) is expected
    assert len(tried) == 1
    amd64_with_device.write_text("another version")  # what was found does not hold for it
    assert choose("amd64", program, notes) is expected
    assert len(tried) == 2
    assert choose("amd64", program) is expected  # without a memory it is tried each time
    assert len(tried) == 3


def test_no_guest_is_tried_where_it_cannot_run(amd64_with_device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "guest_runs", lambda *_: pytest.fail("tried"))
    assert choose("arm64", str(amd64_with_device)) is Accelerator.TCG  # a foreign one
    assert choose("s390x", str(amd64_with_device)) is Accelerator.TCG
    monkeypatch.setattr(accelerator, "_KVM", amd64_with_device / "nothing")
    assert choose("amd64", str(amd64_with_device)) is Accelerator.TCG


@pytest.mark.parametrize(
    ("program", "runs"),
    [
        ("exit 85", True),
        ("exit 0", False),  # QEMU ended by itself
        ("exit 1", False),  # it does not know the accelerator
        ("exec sleep 30", False),  # nothing happens in the guest
    ],
)
def test_only_the_guests_own_status_counts(program: str, *, runs: bool, tmp_path: Path) -> None:
    qemu = tmp_path / "qemu"
    qemu.write_text(f"#!/bin/sh\n{program}\n")
    qemu.chmod(qemu.stat().st_mode | stat.S_IXUSR)
    assert accelerator.guest_runs(GUESTS["amd64"], str(qemu), (), patience=1) is runs


def test_a_qemu_that_is_not_there_runs_nothing(tmp_path: Path) -> None:
    assert not accelerator.guest_runs(GUESTS["amd64"], str(tmp_path / "none"), ())


# -- SSH -------------------------------------------------------------------------------------------


def serve(answer: bytes) -> int:
    """A server that says this to the first who comes; its port."""
    server = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        connection, _ = server.accept()
        with server, connection:
            connection.sendall(answer)

    threading.Thread(target=run, daemon=True).start()
    return int(server.getsockname()[1])


def test_banners() -> None:
    assert ssh.banner(serve(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\nmore")) == "SSH-2.0-OpenSSH_9.2p1 Debian-2"
    assert ssh.banner(serve(b"")) == ""  # as QEMU's forwarding does where nobody listens in the guest
    assert ssh.banner(ssh.free_port()) == ""


def test_a_server_that_is_not_ssh_is_no_answer() -> None:
    with ssh.SshWatch(serve(b"220 mail\r\n"), None) as watch:
        watch._thread.join(2.5)
        assert not watch.reached
    assert not watch._thread.is_alive()


def test_an_answer_is_enough_without_a_key() -> None:
    with ssh.SshWatch(serve(b"SSH-2.0-x\r\n"), None) as watch:
        watch._thread.join(5)
        assert watch.reached
        assert watch.banner == "SSH-2.0-x"


def test_the_user_that_cloud_init_names_instead_of_root() -> None:
    said = 'Please login as the user "debian" rather than the user "root".\n'
    assert ssh.other_user(said) == "debian"
    assert ssh.other_user("root@127.0.0.1: Permission denied (publickey).") == ""


def test_a_login_touches_nobodys_files() -> None:
    words = ssh.login_command(4022, Path("/k"), "debian")
    assert words[:3] == ["ssh", "-F", "none"]
    assert "UserKnownHostsFile=/dev/null" in words
    assert words[-2:] == ["debian@127.0.0.1", "true"]


# -- the words -------------------------------------------------------------------------------------


def failure(why: Sign | End, **more: Any) -> Failure:
    """A failure after 12 s."""
    given = {"stage": Stage.KERNEL, "lines": ("one", "two"), "firmware": "bios", "awaited": "a login prompt"}
    return Failure(why, 12.3, **{**given, **more})


@pytest.mark.parametrize("why", [*(sign for sign in Sign if sign is not Sign.REACHED), *End])
@pytest.mark.parametrize("stage", Stage)
def test_every_failure_has_words_the_console_and_a_hint(why: Sign | End, stage: Stage) -> None:
    error = explain(failure(why, stage=stage))
    assert isinstance(error, BuildError)
    assert error.exit_status == 1
    assert "  | one\n  | two" in error.what
    assert error.hint


def test_only_the_last_lines_are_shown() -> None:
    what = explain(failure(Sign.PANIC, lines=tuple(f"line {number}." for number in range(100)))).what
    assert "line 99." in what
    assert what.count("  | ") == boot_failure.SHOWN_LINES
    assert "(nothing)" in explain(failure(End.TIMEOUT, lines=(), stage=Stage.NOTHING)).what


@pytest.mark.parametrize(
    ("more", "hint"),
    [
        ({"stage": Stage.NOTHING}, "console=ttyS0"),
        ({"stage": Stage.LOADER}, "console=ttyS0"),
        ({"stage": Stage.SYSTEM}, "--timeout"),
        ({"stage": Stage.SYSTEM, "emulated": True}, "without KVM"),
        ({"stage": Stage.SYSTEM, "awaited": "an SSH login"}, "cloud-init"),
    ],
)
def test_when_time_is_over_the_hint_says_what_was_missing(more: dict[str, Any], hint: str) -> None:
    assert hint in explain(failure(End.TIMEOUT, **more)).hint


def test_nothing_to_boot_points_to_the_other_firmware() -> None:
    assert "--firmware uefi" in explain(failure(Sign.NO_LOADER)).hint
    assert "--firmware bios" in explain(failure(Sign.NO_LOADER, firmware="uefi")).hint


@pytest.mark.parametrize("firmware", sorted({kind for kinds in KINDS.values() for kind in kinds}))
def test_every_firmware_has_a_hint(firmware: str) -> None:
    assert explain(failure(Sign.FIRMWARE_SHELL, firmware=firmware)).hint


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(UsageError, match="'vax' is no architecture"):
        list(boot(Request(Path("/nowhere.raw"), "vax"), lambda _: None))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, "there is nothing to boot"),
        ({"kernel": Kernel(Path("/nowhere/k"))}, "no such file"),
        ({"kernel": Kernel(Path(__file__), Path("/nowhere/i"))}, "no such file"),
    ],
)
def test_what_cannot_be_started_is_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        list(boot(Request(None, "amd64", **changes), lambda _: None))
