"""Runs as root of a user namespace: makes a tree twice, in two orders, writes file systems of both, and unpacks some.

``make FOLDER`` writes ``first/KIND``, ``second/KIND`` and ``alone/KIND`` for each kind, and ``KIND.json``: what the
tree shows; ``unpack FOLDER KIND`` lets another program unpack one into ``KIND.out.json``; ``refuse FOLDER`` writes what
cannot be written and notes what was said.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

from blockdev import filesystems
from blockdev.core.errors import BuildError
from blockdev.filesystems import Spec, measure, minimum_size

EPOCH = 1_700_000_000
OLD = 1_500_000_000
OFFSET = 3 << 20
MIB = 1 << 20
CAPABILITY = struct.pack("<5I", 0x02000001, 0x2000, 0, 0, 0)  # cap_net_raw=ep
# version 2; user rwx, user 33 r-x, group r-x, mask r-x, other r-x
ACCESS_LIST = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, allowed, who)
    for tag, allowed, who in ((1, 7, 2**32 - 1), (2, 5, 33), (4, 5, 2**32 - 1), (16, 5, 2**32 - 1), (32, 5, 2**32 - 1))
)
ODD = (b"-dash", b"<2>", b"#hash", b'quo"te', b"sp ace ", b"back\\slash", b"bra[ck]et*", b"latin\xff", b"'", b"t\tab")
LINE_END = b"line\n\rend"
DEEP = "/".join(["deep" * 30, "deeper" * 20, "deepest" * 15])
SPARSE = (2 << 30) + (200 << 20) + 5


def content(number: int) -> bytes:
    """Different for every file, and longer for some."""
    return b"content %d\n" % number * (1 + 977 * (number % 7))


def full(tree: Path, *, backwards: bool) -> None:
    """One of everything."""
    names = [f"many/{number:03}-{'x' * (number % 90)}" for number in range(300)]
    names += ["etc/keep", "usr/bin/ping", "usr/bin/suid", f"{DEEP}/file", "zero", "boot/efi/hidden", "boot/kernel"]
    names += [os.fsdecode(b"odd/" + name) for name in (*ODD, LINE_END)]
    names += [os.fsdecode(b"odd/in " + LINE_END + b"/" + name) for name in (b"file", LINE_END)]
    for number, name in sorted(enumerate(names), reverse=backwards):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(b"" if name == "zero" else content(number))
        os.utime(tree / name, (OLD + number, OLD + number))
    for name in ("empty", "var/tmp", "lost+found"):
        (tree / name).mkdir(parents=True)
    (tree / "var/tmp").chmod(0o1777)
    (tree / "usr/bin/suid").chmod(0o4755)
    os.setxattr(tree / "usr/bin/ping", "security.capability", CAPABILITY)
    os.setxattr(tree / "etc/keep", "user.note", b"\0binary\xff\n")
    os.setxattr(tree / "var", "system.posix_acl_access", ACCESS_LIST)
    os.chown(tree / "etc/keep", 33, 42)
    os.chown(tree / "empty", 1000, 65_000)
    for name, target in (("short", "etc"), ("long", "far/" * 90), ("odd", os.fsdecode(b"to " + LINE_END))):
        (tree / "links").mkdir(exist_ok=True)
        (tree / "links" / name).symlink_to(target)
        os.utime(tree / "links" / name, (OLD, OLD), follow_symlinks=False)
    os.lchown(tree / "links/short", 7, 7)
    os.mkfifo(tree / "var/fifo", 0o622)
    os.utime(tree / "var/fifo", (OLD, OLD))
    for name in ("links/a", "etc/again", os.fsdecode(b"odd/again " + LINE_END)):
        (tree / name).hardlink_to(tree / "usr/bin/suid")
    sparse(tree / "sparse", 3 * MIB)
    with socket.socket(socket.AF_UNIX) as server, chdir(tree / "var"):
        server.bind("socket")
    os.chown(tree, 0, 3)
    tree.chmod(0o750)


def sparse(path: Path, size: int) -> None:
    """A file with a hole."""
    with path.open("wb") as file:
        file.write(b"begin")
        file.seek(size - 3)
        file.write(b"end")
    os.utime(path, (OLD, OLD))


def large(tree: Path, *, backwards: bool) -> None:
    """The full tree and a file of more than 2 GiB."""
    full(tree, backwards=backwards)
    sparse(tree / "large", SPARSE)


def plain(tree: Path, *, backwards: bool) -> None:
    """What FAT, but for the modes, can hold."""
    names = [f"EFI/BOOT/{name}" for name in ("BOOTX64.EFI", "grub.cfg", "a-name-longer-than-eight.three", "[brackets]")]
    names += ["loader/entries/débian+1,2;3=4.conf", "lower", "MiXed.TxT", *(f"many/{number}" for number in range(200))]
    names += [f"{'l' * 200}/{'o' * 250}", "[dir]/{file}", "-dash/-f", "zero"]
    for number, name in sorted(enumerate(names), reverse=backwards):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(b"" if name == "zero" else content(number))
        os.utime(tree / name, (OLD + number, OLD + number))
    os.chown(tree / "lower", 33, 42)
    (tree / "lower").chmod(0o4755)
    (tree / "many").chmod(0o1777)
    tree.chmod(0o755)


def linked(tree: Path, *, backwards: bool) -> None:
    """The plain tree with a link and a fifo."""
    plain(tree, backwards=backwards)
    (tree / "link").symlink_to("EFI/BOOT")
    os.utime(tree / "link", (OLD, OLD), follow_symlinks=False)
    os.mkfifo(tree / "fifo", 0o640)
    os.utime(tree / "fifo", (OLD, OLD))


TREES: dict[str, Callable[..., None]] = {
    "ext2": full,
    "ext3": full,
    "ext4": large,
    "vfat": plain,
    "xfs": linked,
    "squashfs": full,
    "erofs": full,
    "btrfs": full,
    "swap": plain,
}


def mounted(folder: Path) -> Path:
    """A tmpfs: it lists a folder's entries in the order they were made."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tree", folder], check=True)
    return folder


def listing(root: Path) -> dict[str, Any]:
    """Every path with all that a file system keeps of it; inode numbers become the first name of their group."""
    found: dict[str, Any] = {}
    groups: dict[tuple[int, int], str] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        status = path.lstat()
        if stat.S_ISSOCK(status.st_mode):
            continue
        name = str(path.relative_to(root))
        text = str(path.readlink()) if path.is_symlink() else ""
        if path.is_file() and not path.is_symlink():
            text = path.read_bytes().hex() if status.st_size < MIB else f"{status.st_size} bytes"
        names = [] if path.is_symlink() else os.listxattr(path, follow_symlinks=False)
        found[name] = {
            "mode": status.st_mode,
            "owner": [status.st_uid, status.st_gid],
            "mtime": min(int(status.st_mtime), EPOCH),
            "group": groups.setdefault((status.st_dev, status.st_ino), name),
            "links": status.st_nlink,
            "xattrs": {key: os.getxattr(path, key, follow_symlinks=False).hex() for key in sorted(names)},
            "content": text,
        }
    return found


def spec(kind: str) -> Spec:
    """The same in every run."""
    return Spec(kind, label=f"{kind[:4].upper()}-1", epoch=EPOCH, seed="scenario")


def make(folder: Path, kinds: list[str]) -> None:
    """Write everything, under two umasks and time zones, with two orders of the tree."""
    for number, run in enumerate(("first", "second")):
        os.environ["TZ"] = ("UTC", "Asia/Tokyo")[number]
        time.tzset()
        (folder / run).mkdir(exist_ok=True)
        (folder / "alone").mkdir(exist_ok=True)
        trees: dict[Callable[..., None], Path] = {}
        for kind in kinds:
            maker = TREES[kind]
            if maker not in trees:
                trees[maker] = mounted(folder / f"tree-{run}-{maker.__name__}-{kind}")
                maker(trees[maker], backwards=bool(number))
            tree = trees[maker]
            without = ("boot/efi",) if maker in (full, large) else ()
            length = minimum_size(kind, measure(tree, without))
            image = folder / run / kind
            with image.open("wb") as file:
                file.truncate(OFFSET + length + MIB)
            os.umask((0o022, 0o077)[number])
            written = filesystems.write(spec(kind), image, OFFSET, length, tree, without)
            os.umask(0o022)
            filesystems.check(image, OFFSET, length, kind)
            if not number:
                alone = folder / "alone" / kind
                filesystems.write(spec(kind), alone, 0, length, tree, without)
                told = {"length": length, "size": written.size, "holds": written.holds, "tree": listing(tree)}
                (folder / f"{kind}.json").write_text(json.dumps(told))
                alone.chmod(0o644)
            image.chmod(0o644)
        (folder / run).chmod(0o755)


def unpack(folder: Path, kind: str) -> None:
    """Let the file system's own program unpack it."""
    target = folder / f"{kind}.out"
    image = folder / "alone" / kind
    command: list[str | Path]
    if kind == "squashfs":
        command = ["unsquashfs", "-no-progress", "-d", target, image]
    elif kind == "erofs":
        command = ["fsck.erofs", f"--extract={target}", "--preserve", image]
    else:
        target.mkdir()
        command = ["btrfs", "restore", "-m", "-S", "-x", image, target]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (folder / f"{kind}.out.json").write_text(json.dumps(listing(target)))


def _said(folder: Path, kind: str, length: int, tree: Path) -> str:
    image = folder / "refused" / f"{kind}?@@ %s"
    image.unlink(missing_ok=True)
    try:
        filesystems.write(spec(kind), image, 0, length, tree)
    except BuildError as error:
        return str(error)
    return "nothing"


def refuse(folder: Path, kinds: list[str]) -> None:
    """Trees with too little room, and trees that a kind cannot hold."""
    tree = mounted(folder / "tree-large")
    (tree / "file").write_bytes(os.urandom(12 << 20))
    (folder / "refused").mkdir()
    lengths = {"xfs": 300 * MIB, "btrfs": 128 * MIB}
    for kind in lengths:
        with (tree / "file").open("ab") as file:
            if kind in kinds:
                file.write(os.urandom(1 << 20) * 300)
                break
    said = {kind: _said(folder, kind, lengths.get(kind, 8 * MIB), tree) for kind in kinds if kind != "swap"}
    for kind, name in (("vfat", "a\\b"), ("vfat", "link"), ("vfat", "CASE"), ("xfs", " ")):
        if kind not in kinds:
            continue
        wrong = mounted(folder / f"tree-{kind}-{name.encode().hex()}")
        (wrong / "case").touch()
        if name == "link":
            (wrong / name).symlink_to("case")
        else:
            (wrong / name).touch()
        said[f"{kind} {name}"] = _said(folder, kind, lengths.get(kind, 8 * MIB), wrong)
    (folder / "said.json").write_text(json.dumps(said))


def main() -> None:
    """make FOLDER KINDS...; refuse FOLDER KINDS...; unpack FOLDER KIND."""
    command, folder, *kinds = sys.argv[1:]
    if command == "make":
        make(Path(folder), kinds)
    elif command == "refuse":
        refuse(Path(folder), kinds)
    else:
        unpack(Path(folder), kinds[0])


if __name__ == "__main__":
    main()
