"""The root of a sandbox, built up from what a stage is to see; nothing is there that was not put there.

Three steps, in this order: :func:`collect` copies mounts of the build container without attaching them, :func:`build`
changes to the new root and attaches them there (every path, also one in a tree that scripts made, is looked up in that
root), and :func:`finish` adds what belongs to the sandbox's own namespaces, once these are there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from blockdev.core import syscalls
from blockdev.core.open_beneath import open_folder
from blockdev.core.syscalls import attach_mount, copy_mount, mount
from blockdev.tree import recorded_status
from stages.sandbox import native_tools, system
from stages.sandbox.paths import (
    BUILD_DIR,
    BUILD_FOLDERS,
    HOOKS_INSIDE,
    KEPT_OUTSIDE,
    REPOSITORIES,
    SECRETS,
    TARGET_ROOT,
)
from stages.sandbox.view import Cache, View

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_KERNEL = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
_STAGE_OWN = syscalls.MS_NOSUID | syscalls.MS_NODEV
_GIVEN = Path("/run/dib-ctr.given")  # for a moment, while a root is built


@dataclass
class Collected:
    """Mounts that wait for their place: what to do with each once the new root is there, in order."""

    steps: list[Callable[[], object]] = field(default_factory=list)
    loose: dict[Path, int] = field(default_factory=dict)  # places for the sandbox's own namespaces, with what is there

    def then(self, action: Callable[..., object], *arguments: object) -> None:
        """Do this with the new root as root."""
        self.steps.append(partial(action, *arguments))

    def show(self, source: Path | str, target: Path | str, *, recursive: bool = False, read_only: bool = False) -> None:
        """Have ``source``, a file or folder of the build container, at ``target`` of the new root."""
        tree = copy_mount(source, recursive=recursive, read_only=read_only)
        self.then(_attach, tree, Path(target), stat.S_ISDIR(os.fstat(tree).st_mode))

    def show_if_there(self, source: Path | str, target: Path | str) -> None:
        """The same for a folder of the tree that may lack: where there is no such folder, nothing is shown."""
        self.then(_attach_if, copy_mount(source), Path(target), _is_folder)


def _is_folder(path: Path) -> bool:
    return _is(path, stat.S_ISDIR)


def _is(path: Path, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(path.lstat().st_mode)
    except OSError:
        return False


def _attach_if(tree: int, target: Path, there: Callable[[Path], bool]) -> None:
    if there(target):
        attach_mount(tree, target)
    else:
        os.close(tree)


def _attach(tree: int, target: Path, folder: bool) -> None:
    if folder:
        target.mkdir(parents=True, exist_ok=True)
    elif not os.path.lexists(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    attach_mount(tree, target)


def place_for(path: Path, *, folder: bool) -> bool:
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


# -- first: what the build container has -----------------------------------------------------------------------------


def collect(view: View) -> Collected:
    """Copies of all that the new root shows, and the root itself mounted in ``view.scratch`` (inside: the tree)."""
    collected = Collected()
    collected.then(_attach_kernel, syscalls.new_mount("proc", _KERNEL), Path("/proc"))
    collected.then(_attach_kernel, copy_mount("/sys", recursive=True, read_only=True), Path("/sys"))
    collected.then(_devices, Path("/dev"), {name: copy_mount(f"/dev/{name}") for name in DEVICES})
    if view.repositories:  # below the stage's own /dev, as what it is given: no layer gets a trace of them
        collected.show(view.repositories, REPOSITORIES, read_only=True)
    if view.native:
        native = Path(native_tools.PLACE)
        collected.show(view.native[0], native / "own", read_only=True)
        collected.then(native_tools.link, native, view.native[1])
    (_collect_inside if view.inside else _collect_outside)(view, collected)
    return collected


def _attach_kernel(tree: int, target: Path) -> None:
    if not place_for(target, folder=True):
        raise NotADirectoryError(f"{target} of the tree is no folder")
    attach_mount(tree, target)


def _collect_inside(view: View, collected: Collected) -> None:
    for path, source in view.given.items():  # below a folder of the stage's own /dev: no layer gets a trace of them
        collected.show(source, f"{SECRETS}{path}", read_only=True)
    hooks = copy_mount(view.hooks, recursive=True, read_only=True)
    collected.then(_attach_if, hooks, Path(HOOKS_INSIDE), partial(place_for, folder=True))
    for cache in view.caches:
        collected.show_if_there(cache.source, Path("/", cache.path.lstrip("/")))
    syscalls.bind(view.tree, view.tree)


def _collect_outside(view: View, collected: Collected) -> None:
    for name in system.PROGRAMS:
        path = Path("/", name)
        if path.is_symlink():
            collected.then(path.symlink_to, path.readlink())
        elif path.is_dir():
            collected.show(path, path, recursive=True, read_only=True)
    collected.then(_make_folders, "/", system.EMPTY)
    _collect_settings(view, collected)
    _collect_masks(view, collected)
    for name in KEPT_OUTSIDE if view.outside else ():
        collected.show(f"{view.outside}/{name}", f"/{name}")
    if view.given:
        _collect_given(view, collected)
    for path_of_user, own in view.folders.items():
        collected.show(own, path_of_user)
    collected.then(_make_folders, BUILD_DIR, BUILD_FOLDERS)
    collected.show(view.tree, TARGET_ROOT)
    collected.show(view.hooks, f"{BUILD_DIR}/hooks", recursive=True, read_only=not view.hooks_writable)
    collected.show(view.cwd, f"{BUILD_DIR}/cwd")
    collected.then(mount, "tmpfs", f"{BUILD_DIR}/cache", "tmpfs", _STAGE_OWN, "mode=755")
    for cache in view.caches:
        if cache.name:
            collected.show(cache.source, f"{BUILD_DIR}/cache/{cache.name}")
    if view.image_cache:
        collected.show(view.image_cache, f"{BUILD_DIR}/image-cache")
    for cache in view.caches:
        target = Path(TARGET_ROOT, cache.path.lstrip("/"))
        if cache.loose:
            collected.loose[target] = _copy_of(cache)
        else:
            collected.show_if_there(cache.source, target)
    (view.scratch / "root").mkdir()
    mount("tmpfs", view.scratch / "root", "tmpfs", _STAGE_OWN, "mode=755")


def _copy_of(cache: Cache) -> int:
    if cache.top is None:
        return copy_mount(cache.source)
    folder = open_folder(cache.top, cache.source.relative_to(cache.top))
    try:
        return copy_mount(f"/proc/self/fd/{folder}")
    finally:
        os.close(folder)


def _make_folders(root: str, names: Sequence[str]) -> None:
    for name in names:
        Path(root, name).mkdir(parents=True, exist_ok=True)


def _collect_settings(view: View, collected: Collected) -> None:
    resolver = {}
    if view.network:  # how names are resolved where the build runs: a service, as the network itself
        resolver["etc/resolv.conf"] = view.resolv_conf.decode("utf-8", "surrogateescape")
        if hosts := _hosts():
            resolver["etc/hosts"] = hosts
    collected.then(_write_links)
    if view.settings is None or any(path.startswith("/etc/") for path in view.given):
        collected.then(_write, {**system.files(), **resolver})
        _show_all(collected, system.shown())
        return
    collected.then(_write, {path: text for path, text in system.FILES.items() if not path.startswith("etc/")})
    collected.show(view.settings, "/etc", recursive=True)
    for path, text in resolver.items():
        own = view.scratch / Path(path).name
        own.write_text(text, encoding="utf-8", errors="surrogateescape")
        collected.show(own, f"/{path}", read_only=True)
    _show_all(collected, (path for path in system.shown(("var",))))


def _write_links() -> None:
    for name in system.OPEN:
        os.chmod(f"/{name}", 0o1777)  # noqa: PTH101
    for name, target in system.LINKS.items():
        os.symlink(target, f"/{name}")  # noqa: PTH211


def _write(files: Mapping[str, str], root: str = "/") -> None:
    for name, text in files.items():
        Path(root, name).write_text(text, encoding="utf-8", errors="surrogateescape")


def _show_all(collected: Collected, paths: Iterable[str]) -> None:
    for name in paths:
        path = Path("/", name)
        if path.is_symlink():
            collected.then(_link, path, path.readlink())
        else:
            collected.show(path, path, recursive=True, read_only=True)


def prepare_settings(scratch: Path) -> Path:
    """The /etc of :attr:`View.settings`, below a build's own ``scratch``: made at the first call, and read-only."""
    root = scratch / "settings"
    etc = root / "etc"
    if root.is_dir():
        return etc
    etc.mkdir(parents=True)
    syscalls.bind(etc, etc)
    _write({path: text for path, text in system.files().items() if path.startswith("etc/")}, str(root))
    for name in system.shown(("etc",)):
        source, target = Path("/", name), root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        else:
            _attach(copy_mount(source, recursive=True, read_only=True), target, source.is_dir())
    syscalls.set_read_only(etc, recursive=True)
    return etc


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def _hosts() -> str:
    try:
        return Path("/etc/hosts").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def _collect_masks(view: View, collected: Collected) -> None:
    for path in view.masked:
        if path.parts[1] in system.PROGRAMS and path.is_dir():
            collected.then(mount, "tmpfs", path, "tmpfs", syscalls.MS_RDONLY, "mode=000")


def _collect_given(view: View, collected: Collected) -> None:
    scratch = copy_mount(view.scratch)
    files = {path: copy_mount(source, read_only=True) for path, source in sorted(view.given.items())}

    def show() -> None:
        _attach(scratch, _GIVEN, True)
        for number, (path, tree) in enumerate(files.items()):
            _show_given(Path(path), tree, _GIVEN / f"given-{number}")
            if Path(path).name == "HEAD" and str(Path(path).with_name("config")) in files:
                for name in ("objects", "refs"):  # git knows its repositories by these, which may have no files
                    Path(path).with_name(name).mkdir(exist_ok=True)
        syscalls.unmount(_GIVEN)
        _GIVEN.rmdir()

    collected.then(show)


def _show_given(target: Path, tree: int, own: Path) -> None:
    """A given file at its path; where nothing can be made there, what can be written to is laid over the folder."""
    if not target.exists():
        for folder in target.parents:
            if os.path.lexists(folder) and not folder.is_dir():  # what an earlier script has left in the way
                folder.unlink()
        there = next(folder for folder in target.parents if folder.is_dir())
        if not os.access(there, os.W_OK):
            for name in ("upper", "work"):
                (own / name).mkdir(parents=True)
            options = f"lowerdir={there},upperdir={own}/upper,workdir={own}/work,userxattr"
            mount("overlay", there, "overlay", 0, options)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    attach_mount(tree, target.resolve())


# -- then: the new root ----------------------------------------------------------------------------------------------


def build(view: View, collected: Collected) -> None:
    """Change to the new root and put everything into its place."""
    syscalls.pivot_root(view.tree if view.inside else view.scratch / "root")
    if not view.inside:
        Path("/proc").mkdir()
        Path("/sys").mkdir()
    Path("/dev").mkdir(exist_ok=True)
    for step in collected.steps:
        step()
    if not view.inside:
        os.chdir(f"{BUILD_DIR}/cwd")


def _devices(dev: Path, nodes: Mapping[str, int]) -> None:
    """A small /dev at a folder: mounts (``nodes``, by name) stand for nodes, which a user namespace may not make."""
    if not place_for(dev, folder=True):
        raise NotADirectoryError(f"{dev} of the tree is no folder")
    mount("tmpfs", dev, "tmpfs", syscalls.MS_NOSUID, "mode=755")
    for name in DEVICES:
        (dev / name).touch()
        attach_mount(nodes[name], dev / name)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    options = "newinstance,ptmxmode=0666,mode=620"
    mount("devpts", dev / "pts", "devpts", syscalls.MS_NOSUID | syscalls.MS_NOEXEC, options)
    mount("tmpfs", dev / "shm", "tmpfs", syscalls.MS_NOSUID, "mode=1777")
    for name, target in (
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ):
        (dev / name).symlink_to(target)


# -- last: what the sandbox's own namespaces have ----------------------------------------------------------------------


def finish(view: View, collected: Collected) -> None:
    """In the sandbox's own namespaces: their processes in /proc, their network in /sys, and the same in the tree.

    A script may take these mounts away. Those below them are the kernel's to keep.
    """
    _kernel_folders(Path("/"), own_network=not view.network)
    if view.inside:
        return
    tree = Path(TARGET_ROOT)
    if not view.furnished:
        _needed_devices(tree / "dev")
    elif all(place_for(tree / name, folder=True) for name in ("proc", "sys", "dev")):
        _kernel_folders(tree, own_network=not view.network)
        _devices(tree / "dev", {name: copy_mount(f"/dev/{name}") for name in DEVICES})
        if view.repositories:
            _attach(copy_mount(REPOSITORIES), Path(f"{tree}{REPOSITORIES}"), True)
    for target, source in collected.loose.items():
        _attach_if(source, target, _is_folder)


def _kernel_folders(root: Path, *, own_network: bool) -> None:
    mount("proc", root / "proc", "proc", _KERNEL)
    if own_network:
        mount("sysfs", root / "sys", "sysfs", syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV)
    elif root != Path("/"):
        attach_mount(copy_mount("/sys", recursive=True), root / "sys")


def _needed_devices(dev: Path) -> None:
    """The devices that a bootstrap with rights leaves in the tree's /dev; here they are there while a stage lasts."""
    if not _is(dev, stat.S_ISDIR):
        return
    for name in DEVICES:
        if place_for(dev / name, folder=False):
            attach_mount(copy_mount(f"/dev/{name}"), dev / name)


def remove_stand_ins(dev: Path) -> None:
    """Take away files with a device's name that are no record of one: a device or output lay there."""
    if not _is(dev, stat.S_ISDIR):
        return
    for name in DEVICES:
        file = dev / name
        if _is(file, stat.S_ISREG) and recorded_status.read(str(file), recorded_status.NODE) is None:
            file.unlink()
