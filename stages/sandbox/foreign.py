"""Programs of a foreign architecture in a build: the interpreter is registered before the first stage runs."""

from __future__ import annotations

from pathlib import Path

from blockdev.core.errors import BuildError
from blockdev.core.syscalls import mount
from qemu.architecture import ARCHITECTURES, native, runs
from qemu.binfmt import interpreter_for, registered_on_host, registration
from stages.sandbox.native_tools import Programs, prepare


def settings(arch: str) -> dict[str, str]:
    """Variables for the interpreter of this architecture's programs; none where they need no interpreter.

    They make programs faster and change no result, so they are in no stage's key.
    """
    cpu = ARCHITECTURES[arch].cpu
    return {} if runs(native(), arch) or not cpu else {"QEMU_CPU": cpu}


def short_places(arch: str) -> bool:
    """Must places in directories be numbers of 31 bits for the architecture's programs to read them here."""
    return ARCHITECTURES[arch].bits == 32 and not runs(native(), arch)


def programs(arch: str, at: Path) -> Programs | None:
    """This machine's programs for stages of such a tree, put into ``at``; None where there are none."""
    return None if runs(native(), arch) else prepare(at)


def ensure(arch: str, at: Path) -> None:
    """Make programs of the architecture run in this user namespace; ``at`` is an empty folder for the mount.

    Raises BuildError with the command that mends it where there is no interpreter, or no way to register one.
    """
    if runs(native(), arch):
        return
    architecture = ARCHITECTURES[arch]
    interpreter = interpreter_for(architecture)
    hint = "on the host: sudo apt-get install qemu-user-static (registers the interpreters for all)"
    if interpreter is None:
        if registered_on_host(architecture):
            return
        raise BuildError(f"there is no interpreter for {arch} programs here", hint=hint)
    at.mkdir(parents=True, exist_ok=True)
    try:
        mount("binfmt_misc", at, "binfmt_misc")
        (at / "register").write_bytes(registration(architecture, interpreter))
    except OSError as error:
        if registered_on_host(architecture):
            return
        what = f"the interpreter for {arch} programs cannot be registered here: {error.strerror or error}"
        raise BuildError(
            what, where="binfmt_misc of the build's user namespace (Linux 6.7 and later)", hint=hint
        ) from error
