"""The processes of a sandbox, from the build container's namespaces to the stage's own process.

``start`` forks the first of a row, and writes the id maps of its user namespace:

    waiter   alone in a process namespace: builds the new root with the build container's rights, then opens a user
             namespace with all others of the sandbox's in it, and waits
    init     the first process of those: mounts what is theirs, reaps, and stops what is left running
    the stage's own process

The kernel locks each mount that the user namespace found when it was opened, with its flags. So neither the stage's
process nor init can take away what was built for it: with all rights in their own namespaces they have none outside.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from blockdev.core import syscalls
from stages.sandbox import init_process, limits, mounts
from stages.sandbox.paths import BUILD_DIR
from stages.sandbox.seccomp import supervisor
from stages.sandbox.seccomp.syscalls import enter
from stages.sandbox.view import View

NOT_SET_UP = "dib-ctr: the sandbox could not be set up"  # in the output, where no script of anybody's has run
NO_SANDBOX = 125  # the exit status that goes with it

_NAMESPACES = (
    syscalls.CLONE_NEWUSER
    | syscalls.CLONE_NEWNS
    | syscalls.CLONE_NEWPID
    | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWUTS
    | syscalls.CLONE_NEWCGROUP
)
_ALL_DESCRIPTORS = 1 << 30
_PIPE = 1 << 16  # bytes that a pipe holds


@dataclass(frozen=True)
class Wires:
    """Descriptors that a sandbox gets: ``output`` for what it writes (None: it keeps the caller's terminal).

    What is mounted at the end goes to ``report``; ``channel`` leads to the supervisor.
    """

    output: int | None = None
    report: int | None = None
    channel: socket.socket | None = None


def start(view: View, argv: Sequence[str], environment: Mapping[str, str], namespace: int, wires: Wires) -> int:
    """Start a sandbox that runs ``argv``; the id of its first process, which ends with the exit status of ``argv``.

    Only for a process with one thread. ``namespace`` is a descriptor of its own process namespace. Raises OSError; what
    the sandbox itself cannot set up is said in its output, with NO_SANDBOX as its status.
    """
    ours, theirs = socket.socketpair()
    with ours:
        syscalls.unshare(syscalls.CLONE_NEWPID)
        try:
            waiter = os.fork()
        except OSError:
            enter(namespace, syscalls.CLONE_NEWPID)
            raise
        if waiter == 0:
            ours.close()
            _wait(view, argv, environment, theirs, wires)
        enter(namespace, syscalls.CLONE_NEWPID)  # what this process forks next is no part of the sandbox
        theirs.close()
        if ours.recv(1):  # (nothing where the waiter has failed, and said why)
            _map_ids(waiter)
            ours.send(b".")
    return waiter


def wait(first: int) -> int:
    """Wait for a sandbox's end: its exit status, 128 + signal number where one ended it."""
    _, status = os.waitpid(first, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _wait(
    view: View, argv: Sequence[str], environment: Mapping[str, str], caller: socket.socket, wires: Wires
) -> NoReturn:
    """All that the waiter is; with it, the first process of a process namespace, all others of the sandbox end."""
    try:
        syscalls.die_with_parent()
        report, channel = wires.report, wires.channel
        if wires.output is not None:
            caller, report, channel = _settle(caller, wires.output, report, channel)
        limits.hold(limits.of(os.environ))
        child, collected = _open(view, caller)
        if child == 0:
            _init(view, collected, argv, environment, report, channel)
    except BaseException as error:  # noqa: BLE001 - whatever it is, this process must not go on as what forked it
        os.write(2, f"{NOT_SET_UP}: {error}\n".encode())
        os._exit(NO_SANDBOX)
    if channel:
        channel.close()
    for descriptor in collected.loose.values():  # whoever holds one keeps its mount busy
        os.close(descriptor)
    os._exit(wait(child) & 0xFF)


def _settle(
    caller: socket.socket, output: int, report: int | None, channel: socket.socket | None
) -> tuple[socket.socket, int | None, socket.socket | None]:
    """Away from any terminal, with the output as standard output and error, and no descriptor that is not named."""
    os.setsid()
    with open(os.devnull, "rb") as null:  # noqa: PTH123 (a descriptor is wanted)
        os.dup2(null.fileno(), 0)
    # All are copied before a number that one of them may have is given away.
    kept = [caller.detach(), report, channel.detach() if channel else None]
    copies = [None if each is None else fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 10) for each in kept]
    os.dup2(output, 1)
    os.dup2(output, 2)
    for number, copy in enumerate(copies, 3):
        if copy is not None:
            os.dup2(copy, number, inheritable=False)
    for number, copy in enumerate(copies, 3):
        if copy is None:
            os.closerange(number, number + 1)
    os.closerange(3 + len(copies), 256)
    return socket.socket(fileno=3), None if report is None else 4, socket.socket(fileno=5) if channel else None


def _map_ids(process: int) -> None:
    """All ids that the build container has are the sandbox's, under the same numbers."""
    for kind in ("gid", "uid"):
        lines = Path(f"/proc/self/{kind}_map").read_text(encoding="ascii").splitlines()
        extents = (line.split() for line in lines)
        text = "".join(f"{first} {first} {count}\n" for first, _, count in extents)
        Path(f"/proc/{process}/{kind}_map").write_text(text, encoding="ascii")


def _open(view: View, caller: socket.socket) -> tuple[int, mounts.Collected]:
    """In the waiter: build the root, open the sandbox's namespaces and fork their first process; its id, or 0 in it.

    And what that one has to mount.
    """
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    collected = mounts.collect(view)
    mounts.build(view, collected)
    syscalls.unshare(_NAMESPACES | (0 if view.network else syscalls.CLONE_NEWNET))
    caller.send(b".")
    if not caller.recv(1):
        os._exit(NO_SANDBOX)  # who started this is gone
    caller.close()
    syscalls.die_with_parent()  # (a change of rights clears it)
    syscalls.close_to_others()  # what the agent knows is in this process's memory, and in its child's
    return os.fork(), collected


def _init(
    view: View,
    collected: mounts.Collected,
    argv: Sequence[str],
    environment: Mapping[str, str],
    report: int | None,
    channel: socket.socket | None,
) -> NoReturn:
    syscalls.die_with_parent()
    syscalls.set_hostname("localhost")
    if not view.network:
        syscalls.loopback_up()
    mounts.finish(view, collected)
    syscalls.own_session_keyring()
    syscalls.scope_sockets_and_signals()
    os.umask(0o022)
    # Opened now: what a script mounts over /proc later says nothing to this process.
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    mountinfo = os.open("self/mountinfo", os.O_RDONLY, dir_fd=proc)
    child = os.fork()
    if child == 0:
        _become(argv, environment, channel)
    if channel:
        channel.close()
    status = init_process.reap_until(child)
    if left := init_process.stop_the_rest(proc):
        os.write(2, init_process.sentence(left).encode())
    if report is not None:
        with open(mountinfo, "rb") as lines:  # noqa: PTH123 (a descriptor)
            text = b"".join(line for line in lines if BUILD_DIR.encode() in line)
        os.write(report, text[: text.rfind(b"\n", 0, _PIPE) + 1])  # nobody reads before this process has ended
    os._exit(status if status >= 0 else 128 - status)


def _become(argv: Sequence[str], environment: Mapping[str, str], channel: socket.socket | None) -> NoReturn:
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if channel:
        supervisor.send_listener(channel)
    os.closerange(3, _ALL_DESCRIPTORS)
    try:
        try:
            os.execve(argv[0], list(argv), dict(environment))
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            # A script without an interpreter line is run by the shell.
            os.execve("/bin/bash", ["/bin/bash", *argv], dict(environment))
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        os._exit(127)
