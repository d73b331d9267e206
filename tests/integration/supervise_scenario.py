"""Runs as root of a user namespace: one script in a real sandbox, what it said, and what was answered for it.

Arguments: a work folder, ``inside`` or ``outside``, ``own`` or ``shared`` network, for supervision ``yes``, ``no`` or
``refused`` (by a kernel or container without it), the script, and ``export`` where the tree is to be written in all
forms. Prints a JSON object.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from blockdev import filesystems
from blockdev.core import syscalls
from blockdev.filesystems import Spec
from stages.outputs.formats.tree_tar import write_changes, write_tree
from stages.sandbox import sandbox
from stages.sandbox.paths import TARGET_ROOT
from stages.sandbox.seccomp import syscalls as kernel
from stages.sandbox.view import View

EPOCH = 1_700_000_000
KINDS = ("ext4", "xfs", "squashfs")
LENGTH = 400 << 20
PROGRAMS = ("bash", "mkdir", "mount", "mountpoint", "rmdir", "touch", "umount")


def tree(folder: Path) -> Path:
    """An overlay with nothing in it, whose upper folder is ``folder/upper``."""
    for name in ("empty", "upper", "work", "tree", "cwd", "hooks", "scratch"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={folder}/empty,upperdir={folder}/upper,workdir={folder}/work,userxattr"
    syscalls.mount("overlay", folder / "tree", "overlay", 0, options)
    return folder / "tree"


def furnish(root: Path) -> None:
    """Put a few programs and their libraries into a tree, where this machine has them."""
    programs = [shutil.which(name) or name for name in PROGRAMS]
    listed = subprocess.run(["ldd", *programs], check=True, capture_output=True, text=True).stdout
    for file in {*programs, *re.findall(r"(/\S+) \(0x", listed)}:
        place = root / file[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    (root / "bin").mkdir(exist_ok=True)
    if not (root / "bin/bash").exists():
        shutil.copy(shutil.which("bash") or "", root / "bin/bash")
    (root / "tmp").mkdir()


def _refuse(program: bytes) -> int:
    raise PermissionError(errno.EPERM, f"a filter of {len(program)} bytes is refused")


def run(folder: Path, where: str, network: str, supervised: str, script: str) -> dict[str, object]:
    """Run a script in a sandbox; inside, its tree has just the programs that a script about mounts needs."""
    mounted = tree(folder)
    if where == "inside":
        furnish(mounted)
    syscalls.mount("tmpfs", folder / "scratch", "tmpfs")
    view = View(
        inside=where == "inside",
        tree=mounted,
        cwd=folder / "cwd",
        hooks=folder / "hooks",
        scratch=folder / "scratch",
        network=network == "shared",
        supervised=supervised != "no",
        short_places=supervised == "short",
    )
    if supervised == "refused":
        kernel.install = _refuse
    said = bytearray()
    answers: dict[str, int] = {}
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "T": TARGET_ROOT}
    argv = ["/bin/bash", "-c", script]
    started = time.monotonic()
    status = sandbox.run(view, argv, environment, said.extend, on_answers=answers.update)
    seconds = time.monotonic() - started
    syscalls.unmount(folder / "scratch")
    return {"status": status, "said": said.decode(), "answers": answers, "seconds": seconds}


def export(folder: Path) -> None:
    """The tree in each form that outputs have: ``tree.tar``, ``layer.tar`` and disks named after their file system."""
    with (folder / "tree.tar").open("wb") as out:
        write_tree(folder / "tree", out, epoch=EPOCH)
    with (folder / "layer.tar").open("wb") as out:
        write_changes(folder / "upper", out, epoch=EPOCH)
    for kind in KINDS:
        spec = Spec(kind, epoch=EPOCH, seed="supervise")
        filesystems.write(spec, folder / f"{kind}.img", 0, LENGTH, folder / "tree")
        filesystems.check(folder / f"{kind}.img", 0, LENGTH, kind)


def main() -> None:
    """See above."""
    folder = Path(sys.argv[1])
    done = run(folder, *sys.argv[2:6])
    if sys.argv[6:] == ["export"]:
        export(folder)
    syscalls.unmount(folder / "tree")
    print(json.dumps(done))


if __name__ == "__main__":
    main()
