"""The supervisor: a process beside the sandbox that waits for calls and answers them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from blockdev.core import syscalls
from blockdev.core.typed_json import read
from stages.sandbox.seccomp import filter as bpf
from stages.sandbox.seccomp import syscalls as kernel
from stages.sandbox.seccomp.caller import Caller, Home, UnreadableError
from stages.sandbox.seccomp.emulation import Answers

_ALL = 0xFFFFFFFF
_PATIENCE = 10.0  # seconds for the supervisor to end after the sandbox


def mapped(text: str) -> int:
    """How many ids there are from 0 on without a gap, by ``/proc/self/uid_map``; 0 where root itself is not there."""
    ranges = sorted((int(first), int(count)) for first, _, count in (line.split() for line in text.splitlines()))
    end = 0
    for first, count in ranges:
        if first > end:
            break
        end = max(end, first + count)
    return end


def ids() -> int:
    """How many ids this process can give to files; 0 where nothing need be supervised, or nothing can be."""
    maps = [Path(f"/proc/self/{kind}_map").read_text(encoding="ascii") for kind in ("uid", "gid")]
    count = min(mapped(text) for text in maps)
    if count >= _ALL or Path("/proc/self").readlink() != Path(str(os.getpid())):
        return 0
    return count if bpf.program(os.uname().machine, count, short=False) else 0


def send_listener(channel: socket.socket) -> None:
    """In the process that is to become the stage's own: install the filter, if that can be, and send its descriptor."""
    with contextlib.suppress(OSError, KeyError), channel:
        id_count, short = first_message(channel)
        users = os.open("/proc/self/ns/user", os.O_RDONLY)
        listener = kernel.install(bpf.program(os.uname().machine, id_count, short=short))
        socket.send_fds(channel, [b"."], [listener, users])
        os.close(listener)
        os.close(users)


def first_message(channel: socket.socket) -> tuple[int, bool]:
    """What the supervisor sends first: the number of ids, and whether places in directories get 31 bits."""
    id_count, short = channel.recv(32).split()
    return int(id_count), bool(int(short))


@dataclass
class Supervisor:
    """A running supervisor: what the sandbox needs of it and what it tells in the end."""

    pid: int
    channel: socket.socket
    report: int

    def end(self) -> Counter[str]:
        """Wait for it, once the sandbox has ended; how many answers of each kind it gave.

        Whom it answers are dead by then: where it hangs nevertheless, it is killed, and the build goes on.
        """
        self.channel.close()
        with open(self.report, "rb") as report:  # noqa: PTH123 (a descriptor)
            ready, _, _ = select.select([report], [], [], _PATIENCE)
            if not ready:
                os.kill(self.pid, signal.SIGKILL)
            counts = report.read()
        os.waitpid(self.pid, 0)
        return Counter(read(dict[str, int], json.loads(counts))) if counts else Counter()


def start(output: int, *, short: bool) -> Supervisor | None:
    """Start a supervisor whose lines go to the descriptor ``output``; None where none is needed or possible.

    ``short``: it gives places in directories 31 bits (see ``stages.sandbox.seccomp.dirent_offsets``).
    """
    id_count = ids()
    if not id_count:
        return None
    bpf.program(os.uname().machine, id_count, short=short)  # once here, not in each process that installs it
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    report, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            syscalls.die_with_parent()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
                signal.signal(number, signal.SIG_IGN)
            _close_all_but(theirs.fileno(), output, writer)
            _supervise(theirs, output, writer, id_count, short=short)
            status = 0
        finally:
            os._exit(status)
    theirs.close()
    os.close(writer)
    return Supervisor(pid, ours, report)


def _close_all_but(*kept: int) -> None:
    """What else the agent has open (locks, say) is not to stay open for the supervisor."""
    first = 3
    for descriptor in (*sorted(kept), 256):
        os.closerange(first, descriptor)
        first = descriptor + 1


def _supervise(channel: socket.socket, output: int, report: int, id_count: int, *, short: bool) -> None:
    channel.send(f"{id_count} {short:d}".encode())
    _, received, _, _ = socket.recv_fds(channel, 1, 2)
    channel.close()
    if len(received) != 2:
        return
    _join(received[1])

    def say(text: str) -> None:
        os.write(output, f"dib-ctr: {text}\n".encode())

    answers = Answers(id_count, say)
    home = Home.here()
    while kernel.wait(received[0]):
        with contextlib.suppress(OSError):  # a caller that was killed meanwhile needs no answer
            _answer(received[0], answers, home)
    os.write(report, json.dumps(+answers.counts).encode())


def _join(users: int) -> None:
    """Take the rights of the sandbox's root, and no more: enter its user namespace, with mounts to come back to."""
    kernel.enter(users, syscalls.CLONE_NEWUSER)
    os.close(users)
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.die_with_parent()  # (a change of rights clears it)
    syscalls.close_to_others()


def _answer(listener: int, answers: Answers, home: Home) -> None:
    identity, pid, data = kernel.receive(listener)
    result: int | None = None
    try:
        call = bpf.decode(data, os.uname().machine)
        if call:
            name, architecture, arguments = call
            caller = Caller(pid, home, lambda: kernel.still_waits(listener, identity))
            result = answers.give(name, caller, architecture, arguments)
    except UnreadableError:
        result = None
    except OSError as failure:
        result = -failure.errno if failure.errno else None
    except Exception as failure:  # noqa: BLE001 - whatever it is, the stage's process must not wait for ever
        answers.say(f"a system call could not be answered: {failure!r}")
    kernel.respond(listener, identity, result)
