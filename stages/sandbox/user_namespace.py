"""Enter a user namespace and become a command there: how the docker and host engines make a build container's root.

Runs from its own text (``python3 -I -c TEXT OPTIONS COMMAND...``), because this file may lie where the mapped user
cannot read, so it needs the standard library alone. OPTIONS is a JSON object:

``range``    [first id, count] to write as the map, which only root may do; absent: the caller becomes root inside and
             newuidmap adds the caller's subordinate ids (/etc/subuid, /etc/subgid)
``network``  false: an empty network namespace with just the loopback device
``capabilities``  numbers of the capabilities that the command keeps over the namespace; absent: all
``tmp``      true: an empty /tmp on a tmpfs; ``keep`` (folders below /tmp) stay visible in it

The command is process 1 of its own pid, mount, ipc and uts namespaces and dies with this process, and this process with
the one that started it. Exit status: the command's, or 125 with one line on standard error where there is no namespace.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_CAPBSET_DROP = 1, 24

FAILED = 125
IDS = 65536  # as many as an image's users and groups can be

_libc = ctypes.CDLL(None, use_errno=True)


class NoNamespaceError(Exception):
    """Why there is no user namespace, in one line."""


def _call(what: str, result: int) -> None:
    if result != 0:
        message = f"{what}: {os.strerror(ctypes.get_errno())}"
        raise NoNamespaceError(message)


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), options.encode() or None
    )
    _call(f"mount {kind or source} on {target}", result)


def subordinate(file: str, names: tuple[str, ...]) -> tuple[int, int]:
    """First id and count of the largest range that the file (/etc/subuid, /etc/subgid) gives to one of the names."""
    largest = (0, 0)
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, first, count = (*line.strip().split(":"), "", "")[:3]
        if name in names and first.isdigit() and count.isdigit() and int(count) > largest[1]:
            largest = (int(first), int(count))
    return largest


def _own_map(kind: str) -> list[str]:
    """The arguments of newuidmap or newgidmap (``kind`` is uid or gid) for the calling user."""
    own = os.getuid() if kind == "uid" else os.getgid()
    names = [str(os.getuid())]
    with contextlib.suppress(KeyError):  # a user without a name may have a line by number
        names.append(pwd.getpwuid(os.getuid()).pw_name)
    first, count = subordinate(f"/etc/sub{kind}", tuple(names))
    if count < IDS - 1:
        message = f"no range of {IDS} subordinate ids for {names[-1]} in /etc/sub{kind}"
        raise NoNamespaceError(message)
    return ["0", str(own), "1", "1", str(first), str(IDS - 1)]


def _write_maps(process: int, id_range: list[int] | None) -> None:
    for kind in ("gid", "uid"):
        if id_range is not None:
            try:
                Path(f"/proc/{process}/{kind}_map").write_text(f"0 {id_range[0]} {id_range[1]}\n")
            except OSError as error:
                message = f"write {kind}_map: {error.strerror}"
                raise NoNamespaceError(message) from error
            continue
        program = f"new{kind}map"
        if shutil.which(program) is None:
            message = f"{program} is not there"
            raise NoNamespaceError(message)
        done = subprocess.run([program, str(process), *_own_map(kind)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            message = f"{program}: {done.stderr.strip()}"
            raise NoNamespaceError(message)


def _fork_mapper(id_range: list[int] | None) -> tuple[int, int]:
    """A process that stays outside and writes this process's maps when its pipe closes; returns its id and the pipe."""
    process = os.getpid()
    read, write = os.pipe()
    mapper = os.fork()
    if mapper:
        os.close(read)
        return mapper, write
    os.close(write)
    os.read(read, 1)
    try:
        _write_maps(process, id_range)
    except NoNamespaceError as error:
        _say(error)
        os._exit(FAILED)
    os._exit(0)


def _say(error: NoNamespaceError) -> None:
    os.write(2, f"namespace: {error}\n".encode())


def enter(id_range: list[int] | None, *, network: bool) -> None:
    """Become root of a new user namespace with new mount, pid (for children), ipc and uts namespaces."""
    mapper, pipe = _fork_mapper(id_range)
    flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS
    try:
        _call("unshare", _libc.unshare(flags | (0 if network else CLONE_NEWNET)))
    except NoNamespaceError:
        os.kill(mapper, signal.SIGKILL)
        os.waitpid(mapper, 0)
        raise
    os.close(pipe)
    if os.waitpid(mapper, 0)[1] != 0:
        raise SystemExit(FAILED)  # the mapper has said why
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sH22x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: IFF_UP, IFF_RUNNING


def _own_tmp(keep: list[str]) -> None:
    """An empty /tmp; a folder to keep is held open meanwhile, since the new mount hides it."""
    held = {folder: os.open(folder, os.O_PATH | os.O_DIRECTORY) for folder in keep}
    _mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    for folder, handle in held.items():
        Path(folder).mkdir(parents=True, exist_ok=True)
        _mount(f"/proc/self/fd/{handle}", folder, "", MS_BIND | MS_REC)
        os.close(handle)


def _keep_capabilities(kept: list[int]) -> None:
    """Take all other capabilities out of the bounding set: what is executed as root gets no more than that."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for number in range(last + 1):
        if number not in kept:
            _call(f"drop capability {number}", _libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0))


def _become(options: dict[str, Any], command: list[str], alive: int) -> NoReturn:
    """Process 1: set the stage and become the command; ``alive`` is a pipe that ends with the parent."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.set_blocking(alive, False)
    try:
        os.read(alive, 1)
        os._exit(FAILED)  # the parent, whose id is not visible from here, was gone before the call above
    except BlockingIOError:
        pass
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o022)
    os.chdir("/")
    _mount("none", "/", "", MS_REC | MS_PRIVATE)
    _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    if options.get("tmp"):
        _own_tmp(options.get("keep", []))
    _libc.sethostname(b"dib-ctr", len(b"dib-ctr"))
    if not options.get("network", True):
        _loopback_up()
    if "capabilities" in options:
        _keep_capabilities(options["capabilities"])
    try:
        os.execvp(command[0], command)
    except OSError as error:
        message = f"{command[0]}: {error.strerror}"
        raise NoNamespaceError(message) from error


def _die_with(parent: int) -> None:
    """Have the kernel kill this process with its parent; ``parent`` is the id that getppid must still tell."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(FAILED)


def _wait(child: int) -> int:
    """Wait for process 1; SIGTERM ends it, and with it all of the namespace. Returns its exit status."""
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # on a terminal they go to the command too
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


def main(arguments: list[str]) -> int:
    """``arguments``: options, command; returns the command's exit status."""
    options: dict[str, Any] = json.loads(arguments[0])
    parent = os.getppid()
    try:
        enter(options.get("range"), network=options.get("network", True))
        _die_with(parent)  # only now: a change of user ids clears it
        alive, held = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(held)
            _become(options, arguments[1:], alive)
        return _wait(child)
    except NoNamespaceError as error:
        _say(error)
        return FAILED


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # nothing is buffered, and to take all modules down takes its time
