"""What a build does before it runs programs of an architecture that this machine does not have."""

from __future__ import annotations

from pathlib import Path

import pytest

from blockdev.core.errors import BuildError
from qemu.architecture import ARCHITECTURES, native
from stages.sandbox import foreign

WANTED = "arm64" if native() != "arm64" else "riscv64"


class Kernel:
    """A kernel that lets a user namespace have a binfmt_misc of its own, or refuses; and what was asked of it."""

    def __init__(self, refuses: int = 0) -> None:
        self.refuses = refuses
        self.asked: list[str] = []

    def mount(self, source: str, target: Path, kind: str) -> None:
        self.asked.append(kind)
        if self.refuses:
            raise OSError(self.refuses, "Operation not permitted")
        (target / "register").touch()


def arrange(patch: pytest.MonkeyPatch, kernel: Kernel, interpreter: str | None, *, on_host: bool) -> None:
    patch.setattr(foreign, "mount", kernel.mount)
    patch.setattr(foreign, "interpreter_for", lambda architecture: interpreter)
    patch.setattr(foreign, "registered_on_host", lambda architecture: on_host)


def test_programs_that_run_here_take_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kernel = Kernel()
    arrange(monkeypatch, kernel, None, on_host=False)
    foreign.ensure(native(), tmp_path / "at")
    assert kernel.asked == []
    assert foreign.settings(native()) == {}


def test_the_interpreter_is_registered_in_the_namespace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kernel = Kernel()
    arrange(monkeypatch, kernel, "/usr/bin/interpreter", on_host=False)
    foreign.ensure(WANTED, tmp_path / "at")
    assert kernel.asked == ["binfmt_misc"]
    assert (tmp_path / "at/register").read_bytes().endswith(b":/usr/bin/interpreter:OCF")


@pytest.mark.parametrize(("interpreter", "refuses"), [(None, 0), ("/usr/bin/interpreter", 1)])
def test_a_registration_of_the_host_serves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, interpreter: str | None, refuses: int
) -> None:
    arrange(monkeypatch, Kernel(refuses), interpreter, on_host=True)
    foreign.ensure(WANTED, tmp_path / "at")


@pytest.mark.parametrize(
    ("interpreter", "refuses", "what"),
    [(None, 0, "there is no interpreter"), ("/usr/bin/interpreter", 1, "cannot be registered here")],
)
def test_without_either_the_error_gives_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, interpreter: str | None, refuses: int, what: str
) -> None:
    arrange(monkeypatch, Kernel(refuses), interpreter, on_host=False)
    with pytest.raises(BuildError, match=what) as caught:
        foreign.ensure(WANTED, tmp_path / "at")
    assert "sudo apt-get install qemu-user-static" in caught.value.hint
    assert WANTED in str(caught.value)


def test_the_interpreter_of_arm64_does_not_sign_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "native", lambda: "amd64")
    assert "pauth=off" in foreign.settings("arm64")["QEMU_CPU"]
    assert foreign.settings("i386") == {}
    assert {name for name in ARCHITECTURES if foreign.settings(name)} == {"arm64"}


@pytest.mark.parametrize(
    ("machine", "wanted", "expected"),
    [
        ("amd64", "armhf", True),
        ("arm64", "i386", True),
        ("amd64", "i386", False),  # by the processor, and the kernel knows that it has 32 bits
        ("armhf", "armhf", False),
        ("amd64", "arm64", False),
    ],
)
def test_interpreted_programs_of_32_bits_get_short_places(
    monkeypatch: pytest.MonkeyPatch, machine: str, wanted: str, *, expected: bool
) -> None:
    monkeypatch.setattr(foreign, "native", lambda: machine)
    assert foreign.short_places(wanted) is expected
