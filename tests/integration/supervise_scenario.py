"""Runs as root of a user namespace: one script in a real sandbox, with its output and what was answered for it.

Arguments: a work folder, ``inside`` or ``outside``, ``own`` or ``shared`` network, ``yes`` or ``no`` for supervision,
and the script. Prints a JSON object. The tree is an overlay, as a stage's is.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from stages import sandbox, syscalls
from stages.sandbox import View


def tree(folder: Path) -> Path:
    """An overlay with nothing in it, whose upper folder is ``folder/upper``."""
    for name in ("lower", "upper", "work", "tree", "cwd", "hooks", "scratch"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work,userxattr"
    syscalls.mount("overlay", folder / "tree", "overlay", 0, options)
    return folder / "tree"


def main() -> None:
    """See above."""
    folder, where, network, supervised, script = Path(sys.argv[1]), *sys.argv[2:6]
    mounted = tree(folder)
    if where == "inside":  # what the script needs, from this machine
        for name in ("usr", "etc"):
            (mounted / name).mkdir()
            syscalls.bind(f"/{name}", mounted / name, recursive=True)
        for name in ("bin", "sbin", "lib", "lib64", "lib32"):
            if Path("/", name).is_symlink():
                (mounted / name).symlink_to(Path("/", name).readlink())
        (mounted / "tmp").mkdir(exist_ok=True)
    syscalls.mount("tmpfs", folder / "scratch", "tmpfs")
    view = View(
        inside=where == "inside",
        tree=mounted,
        cwd=folder / "cwd",
        hooks=folder / "hooks",
        scratch=folder / "scratch",
        network=network == "shared",
        supervised=supervised == "yes",
    )
    said = bytearray()
    answers: dict[str, int] = {}

    def note(given: Mapping[str, int]) -> None:
        answers.update(given)

    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "T": os.environ.get("T", "")}
    started = time.monotonic()
    status = sandbox.run(view, ["/bin/bash", "-c", script], environment, said.extend, on_answers=note)
    seconds = time.monotonic() - started
    print(json.dumps({"status": status, "said": said.decode(), "answers": answers, "seconds": seconds}))


main()
