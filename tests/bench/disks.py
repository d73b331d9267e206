"""Disk images of a tree of about 1 GB: from the cached tree without root, beside a loop device with mount and cp."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.bench.figures import Bench, Figure, run
from tests.integration.command import script, write_element

TREE = 1_000_000_000  # bytes
SIZE = "2500MiB"
FORMATS = {
    "qcow2": ("-O", "qcow2", "-c", "-o", "compression_type=zstd"),
    "raw": (),
    "vmdk": ("-O", "vmdk", "-o", "subformat=streamOptimized"),
}
_PAUSE = 0.02  # seconds between two looks at the disk


def disks(bench: Bench) -> list[Figure]:
    """Each format from the same tree."""
    write_element(
        bench.folder / "elements",
        "bulk",
        # What a system has, again and again: files of all sizes, links, folders.
        {
            "install.d/50-bulk": script(
                "mkdir -p /srv",
                "for copy in 1 2 3 4 5 6 7 8 9; do",
                f"    [ $(du -sbx / | cut -f1) -gt {TREE} ] || cp -a /usr /srv/$copy",
                "done",
            )
        },
    )
    command = bench.command("host")
    command.build("-o", "tar", "debian-minimal", "bulk")
    tree = bench.folder / "tree"
    tree.mkdir()
    run("tar", "--xattrs", "-x", "-f", str(command.destination / "debian-minimal.tar"), "-C", str(tree))
    (command.destination / "debian-minimal.tar").unlink()
    counter = itertools.count()
    rows = []
    for kind in FORMATS:

        def ours(kind: str = kind) -> None:
            # Another option of mkfs each time: the tree is in the cache, the image is not.
            own = ("--image-size", SIZE, "--mkfs-options", f"-E stride={2 + next(counter)}")
            command.build("-o", kind, *own, "debian-minimal", "bulk")

        seconds = bench.median(ours)
        peer = bench.median(functools.partial(loop_mount, bench, tree, kind))
        name = f"1 GB tree to {kind}"
        rows.append(Figure(name, seconds, "loop device, mount, cp -a, qemu-img", peer, peer / 2, bench.repeat))
    return rows


def loop_mount(bench: Bench, tree: Path, kind: str) -> None:
    """The way that needs root: what diskimage-builder does with a finished tree."""
    folder = Path(tempfile.mkdtemp(dir=bench.folder))
    raw, at = folder / "disk.raw", folder / "mnt"
    at.mkdir()
    try:
        run("truncate", "--size", SIZE.removesuffix("iB"), str(raw))
        run("mkfs.ext4", "-q", "-i", "4096", "-J", "size=64", str(raw))
        run("mount", "-o", "loop", str(raw), str(at))
        try:
            run("cp", "-a", f"{tree}/.", str(at))
        finally:
            run("umount", str(at))
        if kind != "raw":
            run("qemu-img", "convert", *FORMATS[kind], str(raw), str(folder / f"disk.{kind}"))
    finally:
        shutil.rmtree(folder)


def peak(bench: Bench) -> dict[str, str]:
    """The most that lay on the disk while a qcow2 image was made, beside the raw image's content and the output."""
    command = bench.command("host")
    command.build("-o", "raw", "--image-size", SIZE, "debian-minimal", "bulk")
    raw = (command.destination / "debian-minimal.raw").stat().st_blocks * 512
    command("cache", "prune", "--all")
    command.build("-o", "tar", "debian-minimal", "bulk")
    (command.destination / "debian-minimal.tar").unlink()
    with watched(bench.folder) as most:
        command.build("-o", "qcow2", "--image-size", SIZE, "debian-minimal", "bulk")
    output = (command.destination / "debian-minimal.qcow2").stat().st_size
    return {
        "disk space while a qcow2 image is made (MB)": f"{most[0] / 1e6:.0f} at most; the raw image's content "
        f"{raw / 1e6:.0f} and the output {output / 1e6:.0f} are {(raw + output) / 1e6:.0f}"
    }


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[list[int]]:
    """How many bytes more than at the begin were taken on the folder's disk, at most."""
    subprocess.run(["sync"], check=True)

    def free() -> int:
        state = os.statvfs(folder)
        return state.f_bfree * state.f_frsize

    begin, most, over = free(), [0], threading.Event()

    def look() -> None:
        while not over.wait(_PAUSE):
            most[0] = max(most[0], begin - free())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()
