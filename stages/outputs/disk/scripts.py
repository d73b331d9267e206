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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from blockdev.core import syscalls
from blockdev.core.errors import BuildError
from blockdev.core.tools import find
from blockdev.privileged.run import Job, Mounted
from stages.element import dib_runtime
from stages.element.environment import as_functions
from stages.element.hooks import PHASES, SCRIPT_NAME, Phase, script_order
from stages.sandbox.mounts import DEVICES
from stages.sandbox.paths import HOOKS_INSIDE, REPOSITORIES

PRE_FINALISE, FINALISE, CLEANUP = (
    next(phase for phase in PHASES if phase.name == name) for name in ("pre-finalise", "finalise", "cleanup")
)
_STOPPING = (signal.SIGTERM, signal.SIGINT)
_TAIL = 20  # lines of a failed script's output that its error repeats
# What a script keeps of root's rights: it makes no mount and no device file, attaches nothing, and is none of the
# machine's administrators.
# By their numbers in capabilities(7): CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, LINUX_IMMUTABLE,
# SYS_CHROOT, SETFCAP.
RIGHTS = (0, 1, 3, 4, 5, 6, 7, 9, 18, 31)
# Files of /proc by which root commands the machine, whatever its rights: the engine hides them from the container, and
# they are hidden in the tree.
_COMMANDING = ("sys", "sysrq-trigger", "irq", "bus", "acpi", "scsi", "fs", "asound", "mtrr")
_TELLING = ("kcore", "keys", "timer_list", "sched_debug", "latency_stats", "kmsg", "kpagecount", "kpageflags")
# Devices that the tree has while scripts run, beside the disk's own.
# The first process of a pid namespace hears no signal that it does not handle: a shell stands there for the script. It
# is bash, which hands exported functions on.
_FIRST = '"$@"; exit "$?"'


def listed(folder: Path) -> list[str]:
    """The names of a phase folder's scripts in the order in which diskimage-builder's dib-run-parts runs them."""
    if not folder.is_dir():
        return []
    names = [
        path.name
        for path in folder.iterdir()
        if SCRIPT_NAME.match(path.name) and path.is_file() and path.stat().st_mode & 0o111
    ]
    return sorted(names, key=script_order)


_OUTSIDE_ONLY = as_functions(dict.fromkeys(dib_runtime.FUNCTIONS, "")).keys()


@dataclass(frozen=True)
class Scripts:
    """What the scripts of all phases share.

    ``root`` is the mounted tree, ``hooks`` the merged hooks, ``cwd`` where scripts outside are; ``element_of`` names
    the element of each script by ``phase.d/name``. ``show`` hears every line that they print. They do not see what is
    in the folder ``hidden``, but for what is in ``own`` below it.
    """

    root: Path
    hooks: Path
    cwd: Path
    environment: Mapping[str, str]
    element_of: Mapping[str, str]
    show: Callable[[str], None]
    hidden: Path | None = None
    own: Path | None = None

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
        places = dib_runtime.places(HOOKS_INSIDE if phase.inside else str(self.hooks), inside=phase.inside)
        environment = {**self.environment, **variables, **places}
        if phase.inside:  # on its way into the tree the environment loses these, in diskimage-builder too
            environment = {name: value for name, value in environment.items() if name not in _OUTSIDE_ONLY}
        status, tail = self._wait(command, environment)
        if status:
            how = f"was killed by signal {status - 128}" if status > 128 else f"ended with status {status}"
            last = "".join(f"\n    {line}" for line in tail)
            raise BuildError(
                f"the script {name} of the phase {phase.name} {how}{':' if last else ''}{last}", where=where
            )

    def _wait(self, command: list[str], environment: Mapping[str, str]) -> tuple[int, list[str]]:
        own = ["/bin/bash", "-c", _FIRST, "bash"]
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
                preexec_fn=self._enter,
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

    def _enter(self) -> None:
        """In the new process: namespaces of its own, without rights and without the store; then it becomes the script.

        No program does this: the script's variables (LD_PRELOAD, BASH_ENV) would be heeded with all rights.
        """
        syscalls.die_with_parent()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
        syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID)
        syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
        if self.hidden and self.own:
            _hide(self.hidden, self.own)
            os.chdir(self.cwd)
        child = os.fork()
        if child:  # the other side of the pid namespace: it waits, and ends as the script does
            os.closerange(3, 1 << 16)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            os._exit(status if status >= 0 else 128 - status)
        syscalls.die_with_parent()
        syscalls.keep_capabilities(RIGHTS)


def _hide(hidden: Path, own: Path) -> None:
    """Put an empty folder over ``hidden``, in which there is ``own`` alone, with all that is mounted in it."""
    kept = os.open(own, os.O_PATH | os.O_DIRECTORY)
    try:
        syscalls.mount("tmpfs", hidden, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=755,size=1m")
        own.mkdir(parents=True)
        syscalls.bind(f"/proc/self/fd/{kept}", own, recursive=True)
    finally:
        os.close(kept)
    control = Path("/dev/loop-control")
    if control.exists():
        syscalls.bind("/dev/null", control)


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


def _shell(script: Path) -> list[str]:
    """What runs a script that says nothing of it itself: the shell that dib-run-parts is written for."""
    with script.open("rb") as file:
        start = file.read(4)
    return [] if start[:2] == b"#!" or start == b"\x7fELF" else ["/bin/bash"]


def _mount_folder(root: Path, name: str, mode: int = 0o755) -> Path:
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
def kernel_folders(root: Path, devices: Iterable[str] = ()) -> Iterator[None]:
    """proc and sys (both without what commands the machine), and a dev, in the tree, for as long as scripts run.

    ``devices`` are the disk's own, as paths below /dev: beside them there are those that every program needs.
    """
    done: list[Path] = []
    try:
        for name in ("proc", "dev", "dev/pts", "sys"):
            path = _mount_folder(root, name)
            if name == "proc":
                syscalls.mount("proc", path, "proc", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
                _mask(path)
            elif name == "dev":
                _dev(path, devices)
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


def _mask(proc: Path) -> None:
    """Keep what commands the machine from being written, and what tells of it from being read."""
    for name in _COMMANDING:
        if (proc / name).exists():
            syscalls.bind(proc / name, proc / name, read_only=True)
    for name in _TELLING:
        if (proc / name).exists():
            syscalls.bind("/dev/null", proc / name)


def _dev(path: Path, devices: Iterable[str]) -> None:
    """A dev of its own."""
    syscalls.mount("tmpfs", path, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NOEXEC, "mode=755,size=1m")
    for name in (*DEVICES, *(device.removeprefix("/dev/") for device in devices)):
        if not Path("/dev", name).exists():  # a container may have fewer
            continue
        status = Path("/dev", name).stat()
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.mknod(target, status.st_mode, status.st_rdev)
        target.chmod(stat.S_IMODE(status.st_mode))
    for name, target_name in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        (path / name).symlink_to(f"/proc/self/{target_name}")
    (path / "ptmx").symlink_to("pts/ptmx")
    for name in ("pts", "shm"):
        (path / name).mkdir()


@contextmanager
def _hooks_inside(root: Path, hooks: Path) -> Iterator[None]:
    _mount_folder(root, "tmp", 0o1777)
    path = _mount_folder(root, HOOKS_INSIDE)
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


def run_on_disk(job: Job, disk: Mounted, repositories: Mapping[str, str] | None = None) -> None:
    """Run a job's scripts on its mounted disk, phase by phase; all is on the disk before each of them.

    ``repositories`` is what package tools are told, by the names of files in the tree's own /dev.
    """
    runner = Scripts(disk.root, job.hooks, job.beside, job.environment, job.element_of, disk.show, job.hidden, job.own)
    with kernel_folders(disk.root, disk.devices.values()):
        for name, text in (repositories or {}).items():
            file = disk.root / REPOSITORIES.lstrip("/") / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        disk.flush()
        runner.run(PRE_FINALISE, disk.variables)
        disk.flush()
        runner.run(FINALISE, disk.variables)
        disk.flush()
        runner.run(CLEANUP, {**disk.variables, "TARGET_ROOT": str(disk.root)})
    tidy(disk.root)
