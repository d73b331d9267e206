"""The elements' scripts that run when the disk is there: pre-finalise and cleanup outside the tree, finalise in it.

A script runs in a pid namespace of its own: what it leaves running ends with it, and it ends with the build, however
that ends. Mounts that it makes stay for the next one, as diskimage-builder's elements expect.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import stat
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from blockdev.filesystems.tools import find
from stages import provided, syscalls
from stages.errors import BuildError
from stages.hooks import PHASES, SCRIPT_NAME, Phase, script_order
from stages.places import HOOKS_INSIDE

PRE_FINALISE, FINALISE, CLEANUP = (
    next(phase for phase in PHASES if phase.name == name) for name in ("pre-finalise", "finalise", "cleanup")
)
_STOPPING = (signal.SIGTERM, signal.SIGINT)
_TAIL = 20  # lines of a failed script's output that its error repeats
# The first process of a pid namespace hears no signal that it does not handle: a shell stands there for the script. It
# is bash, which hands exported functions on.
_FIRST = '"$@"; exit "$?"'


def listed(folder: Path) -> list[str]:
    """The names of a phase folder's scripts in the order in which diskimage-builder's dib-run-parts runs them."""
    if not folder.is_dir():
        return []
    found = [
        path.name
        for path in folder.iterdir()
        if SCRIPT_NAME.match(path.name) and path.is_file() and path.stat().st_mode & 0o111
    ]
    return sorted(found, key=script_order)


@dataclass(frozen=True)
class Scripts:
    """What the scripts of all phases share.

    ``root`` is the mounted tree, ``hooks`` the merged hooks, ``cwd`` where scripts outside are; ``element_of`` names
    the element of each script by ``phase.d/name``. ``show`` hears every line that they print.
    """

    root: Path
    hooks: Path
    cwd: Path
    environment: Mapping[str, str]
    element_of: Mapping[str, str]
    show: Callable[[str], None]

    def run(self, phase: Phase, variables: Mapping[str, str]) -> None:
        """Run the scripts of a phase to the first that fails; BuildError names it, with its last lines."""
        folder = self.hooks / phase.folder
        names = listed(folder)
        if not names:
            return
        if not phase.inside:
            for name in names:
                self._run_one(phase, name, [*_shell(folder / name), str(folder / name)], variables)
            return
        with _hooks_inside(self.root, self.hooks), _resolver(self.root):
            for name in names:
                script = f"{HOOKS_INSIDE}/{phase.folder}/{name}"
                enter = [find("chroot"), str(self.root), *_shell(folder / name)]
                self._run_one(phase, name, [*enter, script], variables)

    def _run_one(self, phase: Phase, name: str, command: list[str], variables: Mapping[str, str]) -> None:
        title = f"{phase.folder}/{name}"
        element = self.element_of.get(title, "")
        where = f"element {element}, {title}" if element else title
        self.show(f"{where}:")
        places = provided.places(HOOKS_INSIDE if phase.inside else str(self.hooks), inside=phase.inside)
        environment = {**self.environment, **variables, **places}
        if phase.inside:  # on its way into the tree the environment loses all functions, in diskimage-builder too
            environment = {name: value for name, value in environment.items() if not name.startswith("BASH_FUNC_")}
        status, tail = self._wait(command, environment)
        if status:
            how = f"was killed by signal {status - 128}" if status > 128 else f"ended with status {status}"
            last = "".join(f"\n    {line}" for line in tail)
            raise BuildError(
                f"the script {name} of the phase {phase.name} {how}{':' if last else ''}{last}", where=where
            )

    def _wait(self, command: list[str], environment: Mapping[str, str]) -> tuple[int, list[str]]:
        own = [find("unshare"), "--pid", "--fork", "--kill-child=KILL", "--", "/bin/bash", "-c", _FIRST, "bash"]
        tail: deque[str] = deque(maxlen=_TAIL)
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)  # nobody would know of a process that they cut short
        try:
            process = subprocess.Popen(
                [*own, *command],
                cwd=self.cwd,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                preexec_fn=_in_child,
                start_new_session=True,
            )
        except OSError:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
            raise
        assert process.stdout is not None
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
            with process.stdout:
                for raw in lines_of(process.stdout.fileno()):
                    line = raw.decode("utf-8", "replace")
                    tail.append(line)
                    self.show(line)
            status = process.wait()
        finally:
            if process.poll() is None:
                process.kill()  # and the kernel all that is in its namespace
                process.wait()
        return (status if status >= 0 else 128 - status), list(tail)


def lines_of(pipe: int) -> Iterator[bytes]:
    """Lines as they come, without their ends.

    A signal that comes after the interpreter has looked for one, and before the wait, is heard when the wait is over:
    so none is longer than half a second.
    """
    pending = b""
    while True:
        if not select.select([pipe], [], [], 0.5)[0]:
            continue
        data = os.read(pipe, 65536)
        if not data:
            break
        *lines, pending = (pending + data).split(b"\n")
        yield from lines
    if pending:
        yield pending


def _in_child() -> None:
    syscalls.die_with_parent()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)


def _shell(script: Path) -> list[str]:
    """What runs a script that says nothing of it itself: the shell that dib-run-parts is written for."""
    with script.open("rb") as file:
        start = file.read(4)
    return [] if start[:2] == b"#!" or start == b"\x7fELF" else ["/bin/bash"]


def _place(root: Path, name: str, mode: int = 0o755) -> Path:
    """A folder of the tree to mount on; made where it is not there, refused where a link would lead out of the tree."""
    path = root
    for part in Path(name.lstrip("/")).parts:
        path /= part
        try:
            kind = path.lstat().st_mode
        except FileNotFoundError:
            path.mkdir()
            path.chmod(mode)
            continue
        if not stat.S_ISDIR(kind):
            raise BuildError(f"/{path.relative_to(root)} of the tree is no folder", hint="scripts need it to run")
    return path


@contextmanager
def kernel_folders(root: Path) -> Iterator[None]:
    """proc, sys (read-only), and the machine's devices in the tree, for as long as scripts run."""
    done: list[Path] = []
    try:
        for name in ("proc", "dev", "dev/pts", "sys"):
            path = _place(root, name)
            if name == "proc":
                syscalls.mount("proc", path, "proc", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
            elif name == "dev":
                syscalls.bind("/dev", path)
            elif name == "sys":
                syscalls.mount("sysfs", path, "sysfs", syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV)
            else:
                options = "newinstance,ptmxmode=0666,mode=620"
                syscalls.mount("devpts", path, "devpts", syscalls.MS_NOSUID | syscalls.MS_NOEXEC, options)
            done.append(path)
            syscalls.mount("none", path, "", syscalls.MS_PRIVATE)  # or the next one would show in the machine's own
        yield
    finally:
        for path in reversed(done):
            syscalls.unmount(path)


@contextmanager
def _hooks_inside(root: Path, hooks: Path) -> Iterator[None]:
    _place(root, "tmp", 0o1777)
    path = _place(root, HOOKS_INSIDE)
    syscalls.bind(hooks, path, recursive=True, read_only=True)
    try:
        yield
    finally:
        syscalls.unmount(path)
        path.rmdir()


@contextmanager
def _resolver(root: Path) -> Iterator[None]:
    """The container's resolver in the place of the tree's, which is as it was afterwards: packages may be fetched."""
    own, path = Path("/etc/resolv.conf"), root / "etc/resolv.conf"
    absent = not os.path.lexists(path)
    if not own.is_file() or not path.parent.is_dir() or path.parent.is_symlink() or path.is_symlink():
        yield
        return
    if absent:
        path.touch()
    syscalls.bind(own.resolve(), path)
    try:
        yield
    finally:
        syscalls.unmount(path)
        if absent:
            path.unlink(missing_ok=True)


def tidy(root: Path) -> None:
    """What diskimage-builder does when the last script has run: ``/tmp`` and the logs are emptied."""
    for path in _children(root, "tmp"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    logs = root / "var/log"
    for folder, _, files in os.walk(logs) if logs.is_dir() and not logs.is_symlink() else ():
        for path in (Path(folder, name) for name in files):
            if stat.S_ISREG(path.lstat().st_mode) and path.lstat().st_size:
                os.truncate(path, 0)
    for path in _children(root, "root"):
        if path.suffix == ".log" and stat.S_ISREG(path.lstat().st_mode):
            path.unlink()


def _children(root: Path, name: str) -> list[Path]:
    folder = root / name
    return sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []
