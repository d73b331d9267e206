"""A sandbox for one stage: its own mounts, processes, host name and (mostly) network, gone with its last process.

*Outside* stages see the build image read-only, with the tree at ``TARGET_ROOT``; *inside* stages have the tree as their
root. Both see their hooks and package caches; nothing of the store, the caller's home or the host's ``/run``.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import stat
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from stages import init, nativetools, syscalls
from stages.keptmounts import KeptMount, kept_mounts
from stages.places import BUILD_DIR, HOOKS_INSIDE, SECRETS
from stages.supervise import listener, records
from stages.syscalls import bind, mount

MASKED = ("home", "root", "run", "tmp", "var/tmp", "mnt", "media", "srv", "opt")
# Folders of a system's root that hold the system; all others are the machine's own business, and are hidden.
SYSTEM = frozenset("bin boot dev etc gnu lib lib32 lib64 libx32 nix proc sbin sys usr var".split())  # noqa: SIM905
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


@dataclass(frozen=True)
class Cache:
    """A package cache: ``source`` is the stage's own view, ``path`` where the tree's package tool looks for it.

    Without a name it is seen in the tree only.
    """

    name: str
    source: Path
    path: str


@dataclass(frozen=True)
class View:
    """What a stage's process sees.

    ``tree`` and ``cwd`` are the mounted layers' folders, ``hooks`` a folder with just the visible files, ``scratch`` an
    empty folder on a tmpfs for mount points. ``masked`` are more folders of the build image's root to hide (the store).
    ``image_cache`` is the scripts' own cache (DIB_IMAGE_CACHE), for outside stages that use it. ``given`` are files of
    the user's machine by the path at which an outside stage sees them. ``supervised``: system calls that a user
    namespace refuses are answered (see ``stages.supervise``), where the kernel has what that takes. ``short_places``:
    among them places in directories, for 32-bit programs in an interpreter. ``furnished``: an
    outside stage has the kernel's file systems in the tree, too, as diskimage-builder mounts them after ``root.d``;
    without, just the devices that programs in the tree cannot do without. ``native``: this machine's programs for a
    foreign tree, and which of them serve (``stages.nativetools``).
    """

    inside: bool
    tree: Path
    cwd: Path
    hooks: Path
    scratch: Path
    hooks_writable: bool = False
    network: bool = False
    caches: tuple[Cache, ...] = ()
    masked: tuple[Path, ...] = ()
    resolv_conf: bytes = b""
    image_cache: Path | None = None
    given: Mapping[str, Path] = field(default_factory=dict)
    supervised: bool = True
    short_places: bool = False
    furnished: bool = False
    native: tuple[Path, tuple[nativetools.Tool, ...]] | None = None


def _devices(dev: Path) -> None:
    """A small /dev: bind mounts stand for nodes, which a user namespace may not make."""
    mount("tmpfs", dev, "tmpfs", syscalls.MS_NOSUID, "mode=755")
    for name in DEVICES:
        (dev / name).touch()
        bind(f"/dev/{name}", dev / name)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    mount(
        "devpts", dev / "pts", "devpts", syscalls.MS_NOSUID | syscalls.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620"
    )
    mount("tmpfs", dev / "shm", "tmpfs", syscalls.MS_NOSUID, "mode=1777")
    for name, target in (
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ):
        (dev / name).symlink_to(target)


def _needed_devices(dev: Path) -> None:
    """The devices that a bootstrap with rights leaves in the tree's /dev; here they are there while a stage lasts."""
    if not dev.is_dir() or dev.is_symlink():
        return
    for name in DEVICES:
        if not os.path.lexists(dev / name):
            (dev / name).touch()
        if (dev / name).is_file() and not (dev / name).is_symlink():
            bind(f"/dev/{name}", dev / name)


def remove_stand_ins(dev: Path) -> None:
    """Take away files with a device's name that are no record of one: a device or output lay there."""
    for name in DEVICES:
        file = dev / name
        if file.is_file() and not file.is_symlink() and records.read(str(file), records.NODE) is None:
            file.unlink()


def _kernel_folders(root: Path, *, own_network: bool) -> None:
    mount("proc", root / "proc", "proc", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
    if own_network:
        mount("sysfs", root / "sys", "sysfs", syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV)
    else:
        bind("/sys", root / "sys", recursive=True, read_only=True)


def _place(path: Path, *, folder: bool) -> bool:
    """Make sure that a mount point is there and no link; tells whether it is."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        if folder:
            path.mkdir()
        else:
            path.touch()
        return True
    except NotADirectoryError:
        return False
    return stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode)


def _enter_inside(view: View) -> None:
    root = view.tree
    bind(root, root)
    for name in ("proc", "sys", "dev"):
        _place(root / name, folder=True)
    _kernel_folders(root, own_network=not view.network)
    _devices(root / "dev")
    _show_secrets(view, root / SECRETS[1:])
    if view.native:
        nativetools.furnish(root / nativetools.PLACE[1:], *view.native)
    if _place(root / HOOKS_INSIDE[1:], folder=True):
        bind(view.hooks, root / HOOKS_INSIDE[1:], recursive=True, read_only=True)
    _mount_caches(view, root)
    syscalls.pivot_root(root)


def _show_secrets(view: View, folder: Path) -> None:
    """Given files below a folder of the stage's own /dev: no layer gets a trace of them."""
    for path, source in view.given.items():
        place = folder / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
        bind(source, place, read_only=True)


def _mount_caches(view: View, root: Path) -> None:
    for cache in view.caches:
        place = root / cache.path.lstrip("/")
        if place.is_dir() and not place.is_symlink():
            bind(cache.source, place)


def _show_given(view: View, root: Path) -> None:
    """Given files at their paths; where the build image has no such folder, what can be written to is laid over it."""
    for number, (path, source) in enumerate(sorted(view.given.items())):
        place = root / path.lstrip("/")
        if not place.parent.is_dir():
            there = next(folder for folder in place.parents if folder.is_dir())
            _make_writable(there, view.scratch / f"given-{number}")
            place.parent.mkdir(parents=True)
        elif not place.exists():
            _make_writable(place.parent, view.scratch / f"given-{number}")
        if not place.exists():
            place.touch()
        bind(source, place, read_only=True)
        if place.name == "HEAD" and str(Path(path).with_name("config")) in view.given:
            for name in ("objects", "refs"):  # git knows its repositories by these folders, which may have no files
                (place.parent / name).mkdir(exist_ok=True)


def _make_writable(folder: Path, own: Path) -> None:
    """Lay what can be written to over a folder of the read-only root, if it is not one already."""
    if os.access(folder, os.W_OK):
        return
    for name in ("upper", "work"):
        (own / name).mkdir(parents=True)
    options = f"lowerdir={folder},upperdir={own}/upper,workdir={own}/work,userxattr"
    mount("overlay", folder, "overlay", 0, options)


def _show_build_image(root: Path, folders: Collection[str]) -> None:
    """The build image's root, read-only; with folders of these names, whether it has them or not."""
    missing = [name for name in folders if not Path("/", name).exists()]
    if not missing:
        bind("/", root, recursive=True, read_only=True)
        return
    mount("tmpfs", root, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=755")
    for entry in Path("/").iterdir():
        place = root / entry.name
        if entry.is_symlink():
            place.symlink_to(entry.readlink())
            continue
        _place(place, folder=entry.is_dir())
        bind(entry, place, recursive=True, read_only=True)
    for name in missing:
        (root / name).mkdir()


def _enter_outside(view: View) -> None:
    root = view.scratch / "root"
    root.mkdir()
    _show_build_image(root, {Path(path).parts[1] for path in view.given})
    more = sorted(entry.name for entry in root.iterdir() if entry.name not in {*MASKED, *SYSTEM})
    for name in (*MASKED, *more):
        if (root / name).is_dir() and not (root / name).is_symlink():
            mount(
                "tmpfs",
                root / name,
                "tmpfs",
                syscalls.MS_NOSUID | syscalls.MS_NODEV,
                "mode=1777" if "tmp" in name else "mode=755",
            )
    for path in view.masked:
        place = root / path.relative_to("/")
        if place.is_dir():
            mount("tmpfs", place, "tmpfs", syscalls.MS_RDONLY, "mode=000")
    _show_given(view, root)
    build = root / BUILD_DIR[1:]
    for name in ("mnt", "hooks", "cwd", "cache", "image", "image-cache"):
        (build / name).mkdir(parents=True)
    if view.network and view.resolv_conf:
        resolv = root / "etc/resolv.conf"
        if resolv.is_symlink():  # into the masked /run: give the link's target the content
            target = root / os.path.normpath(Path("/etc") / resolv.readlink()).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(view.resolv_conf)
    _kernel_folders(root, own_network=not view.network)
    _devices(root / "dev")
    if view.native:
        nativetools.furnish(root / nativetools.PLACE[1:], *view.native)
    bind(view.tree, build / "mnt")
    bind(view.hooks, build / "hooks", recursive=True, read_only=not view.hooks_writable)
    bind(view.cwd, build / "cwd")
    for cache in view.caches:
        if not cache.name:
            continue
        place = build / "cache" / cache.name
        place.mkdir()
        bind(cache.source, place)
    if view.image_cache:
        bind(view.image_cache, build / "image-cache")
    _mount_caches(view, build / "mnt")
    if view.furnished:
        for name in ("proc", "sys", "dev"):
            _place(build / "mnt" / name, folder=True)
        _kernel_folders(build / "mnt", own_network=not view.network)
        _devices(build / "mnt" / "dev")
    else:
        _needed_devices(build / "mnt" / "dev")
    syscalls.pivot_root(root)
    os.chdir(f"{BUILD_DIR}/cwd")


def _spawn(
    view: View,
    argv: Sequence[str],
    environment: Mapping[str, str],
    report: int | None = None,
    channel: socket.socket | None = None,
) -> None:
    """In a fresh child: enter the sandbox and become ``argv``; never returns.

    What is mounted at the end goes to the descriptor ``report``; ``channel`` leads to the supervisor.
    """
    flags = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS
    syscalls.unshare(flags | (0 if view.network else syscalls.CLONE_NEWNET))
    first = os.fork()
    if first:
        # The first process of the new pid namespace takes everything in it along when it ends.
        _, status = os.waitpid(first, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    syscalls.die_with_parent()
    mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.set_hostname("localhost")
    if not view.network:
        syscalls.loopback_up()
    (_enter_inside if view.inside else _enter_outside)(view)
    os.umask(0o022)
    child = os.fork()
    if child == 0:
        for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        if channel:
            listener.hand_over(channel)
        try:
            os.execve(argv[0], list(argv), dict(environment))
        except OSError as error:
            if error.errno == 8:  # ENOEXEC: a script without an interpreter line is run by the shell
                os.execve("/bin/bash", ["/bin/bash", *argv], dict(environment))
            os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
            os._exit(127)
    if channel:
        channel.close()
    status = init.reap_until(child)
    if left := init.stop_the_rest():
        os.write(2, init.told(left).encode())
    if report is not None:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines(keepends=True)
        os.write(report, b"".join(line for line in lines if BUILD_DIR.encode() in line))
    os._exit(status if status >= 0 else 128 - status)


@contextmanager
def _null_input() -> Iterator[int]:
    handle = os.open("/dev/null", os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def run(
    view: View,
    argv: Sequence[str],
    environment: Mapping[str, str],
    on_output: Callable[[bytes], None],
    *,
    stopped: Callable[[], bool] = lambda: False,
    on_mounts: Callable[[list[KeptMount]], None] | None = None,
    on_answers: Callable[[Mapping[str, int]], None] | None = None,
) -> int:
    """Run ``argv`` in the sandbox to its end and return its exit status (128 + signal number where one ended it).

    ``on_output`` gets standard output and error as they come; ``stopped`` is asked every half second and, once True,
    everything in the sandbox is killed. What the sandbox itself cannot set up is reported in the output, with 125.
    ``on_mounts`` gets the mounts that the stage leaves for later ones, ``on_answers`` how many calls of each kind got
    another answer than the kernel's (``stages.supervise.answers.notes`` words them).
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    supervisor = listener.start(writer, short=view.short_places) if view.supervised else None
    report_reader, report = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            syscalls.die_with_parent()
            os.setsid()
            with _null_input() as null:
                os.dup2(null, 0)
            os.dup2(writer, 1)
            os.dup2(writer, 2)
            # Both are copied before a number that one of them may have is given away.
            report, talk = fcntl.fcntl(report, fcntl.F_DUPFD_CLOEXEC, 10), None
            if supervisor:
                talk = fcntl.fcntl(supervisor.channel, fcntl.F_DUPFD_CLOEXEC, 10)
                os.dup2(talk, 4, inheritable=False)
            os.dup2(report, 3, inheritable=False)
            os.closerange(5 if supervisor else 4, 256)
            channel = socket.socket(fileno=4) if supervisor else None
            _spawn(view, argv, environment, 3 if on_mounts else None, channel)
        except BaseException as error:  # noqa: BLE001 - whatever it is, this child must not go on as the agent
            os.write(2, f"dib-ctr: the sandbox could not be set up: {error}\n".encode())
        os._exit(125)
    os.close(writer)
    os.close(report)
    try:
        _read_until_end(reader, child, on_output, stopped)
        if on_mounts:
            with open(report_reader, "rb", closefd=False) as mountinfo:
                on_mounts(kept_mounts(mountinfo.read()))
    finally:
        os.close(reader)
        os.close(report_reader)
    _, status = os.waitpid(child, 0)
    if supervisor:
        given = supervisor.end()
        if on_answers and given:
            on_answers(given)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _read_until_end(reader: int, child: int, on_output: Callable[[bytes], None], stopped: Callable[[], bool]) -> None:
    while True:
        ready, _, _ = select.select([reader], [], [], 0.5)
        if stopped():
            os.kill(child, signal.SIGKILL)
            return
        if ready:
            data = os.read(reader, 65536)
            if not data:
                return
            on_output(data)
        elif os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return  # a daemon that kept the pipe is dead with its namespace; nothing more can come


def interact(view: View, argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run ``argv`` in the sandbox on the caller's own terminal; returns its exit status."""
    supervisor = listener.start(2, short=view.short_places) if view.supervised else None
    child = os.fork()
    if child == 0:
        try:
            syscalls.die_with_parent()
            _spawn(view, argv, environment, channel=supervisor.channel if supervisor else None)
        except BaseException as error:  # noqa: BLE001 - as in run()
            os.write(2, f"dib-ctr: the sandbox could not be set up: {error}\n".encode())
        os._exit(125)
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the shell in the sandbox handles the keyboard
    try:
        _, status = os.waitpid(child, 0)
    finally:
        signal.signal(signal.SIGINT, previous)
    if supervisor:
        supervisor.end()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
