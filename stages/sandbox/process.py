"""The processes of a sandbox, from the build container's namespaces to the stage's own process.

``spawn`` turns the calling process, a child of the agent's, into the first of a row:

    keeper   in the build container's namespaces: it writes the id maps of the next, and waits
    waiter   builds the new root with the build container's rights; then it is alone in a process namespace, and opens
             a user namespace with all others of the sandbox's in it
    init     the first process of those: mounts what is theirs, reaps, and stops what is left running
    the stage's own process

The kernel locks each mount that the user namespace found when it was opened, with its flags. So neither the stage's
process nor init can take away what was built for it: with all rights in their own namespaces they have none outside.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from stages import init, syscalls
from stages.places import BUILD_DIR
from stages.sandbox import mounts
from stages.sandbox.view import View
from stages.supervise import listener

_NAMESPACES = (
    syscalls.CLONE_NEWUSER
    | syscalls.CLONE_NEWNS
    | syscalls.CLONE_NEWPID
    | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWUTS
    | syscalls.CLONE_NEWCGROUP
)
_ALL_DESCRIPTORS = 1 << 30


def spawn(
    view: View,
    argv: Sequence[str],
    environment: Mapping[str, str],
    report: int | None = None,
    channel: socket.socket | None = None,
) -> NoReturn:
    """In a fresh child: enter the sandbox and become its keeper; ends with the exit status of ``argv``.

    What is mounted at the end goes to the descriptor ``report``; ``channel`` leads to the supervisor.
    """
    ours, theirs = socket.socketpair()
    syscalls.unshare(syscalls.CLONE_NEWPID)
    waiter = os.fork()
    if waiter == 0:
        ours.close()
        syscalls.die_with_parent()
        _wait_for(_open(view, theirs) or _init(view, argv, environment, report, channel))
    theirs.close()
    if channel:
        channel.close()
    if ours.recv(1):  # (nothing where the waiter has failed, and said why)
        _map_ids(waiter)
        ours.send(b".")
    _wait_for(waiter)


def _wait_for(child: int) -> NoReturn:
    """End as a child does; with the first process of a process namespace all in it end."""
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _map_ids(process: int) -> None:
    """All ids that the build container has are the sandbox's, under the same numbers."""
    for kind in ("gid", "uid"):
        lines = Path(f"/proc/self/{kind}_map").read_text(encoding="ascii").splitlines()
        extents = (line.split() for line in lines)
        text = "".join(f"{first} {first} {count}\n" for first, _, count in extents)
        Path(f"/proc/{process}/{kind}_map").write_text(text, encoding="ascii")


def _open(view: View, keeper: socket.socket) -> int:
    """In the waiter: build the root, open the sandbox's namespaces and fork their first process; its id, or 0 in it."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    mounts.build(view, mounts.collect(view))
    syscalls.unshare(_NAMESPACES | (0 if view.network else syscalls.CLONE_NEWNET))
    keeper.send(b".")
    if not keeper.recv(1):
        os._exit(125)  # the keeper is gone
    keeper.close()
    syscalls.die_with_parent()  # (a change of rights clears it)
    syscalls.close_to_others()  # what the agent knows is in this process's memory, and in its child's
    return os.fork()


def _init(
    view: View, argv: Sequence[str], environment: Mapping[str, str], report: int | None, channel: socket.socket | None
) -> NoReturn:
    syscalls.die_with_parent()
    syscalls.set_hostname("localhost")
    if not view.network:
        syscalls.loopback_up()
    mounts.finish(view)
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
    status = init.reap_until(child)
    if left := init.stop_the_rest(proc):
        os.write(2, init.told(left).encode())
    if report is not None:
        with open(mountinfo, "rb") as lines:  # noqa: PTH123 (a descriptor)
            os.write(report, b"".join(line for line in lines if BUILD_DIR.encode() in line))
    os._exit(status if status >= 0 else 128 - status)


def _become(argv: Sequence[str], environment: Mapping[str, str], channel: socket.socket | None) -> NoReturn:
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if channel:
        listener.hand_over(channel)
    os.closerange(3, _ALL_DESCRIPTORS)
    try:
        os.execve(argv[0], list(argv), dict(environment))
    except OSError as error:
        if error.errno == errno.ENOEXEC:  # a script without an interpreter line is run by the shell
            os.execve("/bin/bash", ["/bin/bash", *argv], dict(environment))
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        os._exit(127)
