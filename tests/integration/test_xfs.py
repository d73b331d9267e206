"""XFS of trees that a prototype alone cannot describe, as the kernel shows them; byte for byte the same twice."""

from __future__ import annotations

import os
import random
import shutil
import stat
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from blockdev import filesystems
from blockdev.core.errors import BuildError
from blockdev.filesystems import Spec, measure
from blockdev.filesystems.xfs_ondisk import Disk
from tests.integration.engine_cases import missing
from tests.integration.filesystem_scenario import EPOCH, LINE_END, full, listing

PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
OFFSET, LENGTH, MIB = 3 << 20, 400 << 20, 1 << 20
NEVER_WORDS = (b"sp ace", b" first", b"last ", b"two  blanks", b"\ttab\t", b":colon", b'quo"te', b"a b" * 80, LINE_END)


def run(*command: str | Path) -> bytes:
    """What a program prints, which must succeed."""
    environment = {**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


@contextmanager
def mounted(image: Path) -> Iterator[Path]:
    """The file system in an image, read only and without its log."""
    if os.geteuid():
        missing("only root may mount")
    target = image.parent / f"mounted-{image.name}"
    target.mkdir(exist_ok=True)
    flags = f"ro,norecovery,nouuid,loop,offset={OFFSET},sizelimit={LENGTH}"
    done = subprocess.run(["mount", "-t", "xfs", "-o", flags, image, target], capture_output=True, check=False)
    if "\txfs\n" not in Path("/proc/filesystems").read_text():
        missing("this machine's kernel knows no xfs")
    assert done.returncode == 0, done.stderr
    try:
        yield target
    finally:
        run("umount", target)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where trees and images are; root of a file system, as a tree has attributes."""
    for tool in ("mkfs.xfs", "xfs_db", "xfs_repair"):
        if shutil.which(tool, path=PATH) is None:
            missing(f"there is no {tool} (package xfsprogs)")
    if os.geteuid():
        missing("only root may give files away")
    return tmp_path_factory.mktemp("xfs")


def write(image: Path, tree: Path, without: tuple[str, ...] = (), **more: Any) -> filesystems.Written:
    """Write one and let xfs_repair look at it."""
    spec = Spec("xfs", label="root", epoch=EPOCH, seed="test", **more)
    written = filesystems.write(spec, image, OFFSET, LENGTH, tree, without)
    filesystems.check(image, OFFSET, LENGTH, "xfs")
    return written


def makes_links() -> bool:
    """Has xfs_db the command, as the code is to find by the version."""
    version = run("mkfs.xfs", "-V").decode().split()[-1].split(".")
    return (int(version[0]), int(version[1])) >= (6, 13)


def same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Every path with its type, mode, owners, time, content and attributes; groups of names where they can be."""
    assert sorted(found) == sorted(wanted)
    for name, one in wanted.items():
        other = found[name]
        directory = stat.S_ISDIR(one["mode"])
        for key in ("mode", "owner", "content"):
            assert other[key] == one[key], (name, key)
        assert other["mtime"] == (EPOCH if directory else one["mtime"]), name
        # The kernel shows an access list under its own name, too; of its value only what is for somebody.
        shown = {key: value for key, value in other["xattrs"].items() if not key.startswith("trusted.SGI_")}
        assert shown == one["xattrs"], name
        if not directory:
            links = makes_links()
            assert other["links"] == (one["links"] if links else 1), name
            assert other["group"] == (one["group"] if links else name)


def test_tree_with_one_of_everything(folder: Path) -> None:
    """Hard links, attributes, access lists, odd names, long targets: as the kernel reads them."""
    tree = folder / "tree"
    tree.mkdir()
    full(tree, backwards=False)
    remarks = write(folder / "image", tree, ("boot/efi",)).remarks
    assert bool(remarks) != makes_links()
    assert all("hard links" in remark for remark in remarks)
    wanted = listing(tree)
    wanted.pop("boot/efi/hidden")
    with mounted(folder / "image") as top:
        same(listing(top), wanted)
        assert os.getxattr(top / "var", "system.posix_acl_access") == os.getxattr(
            tree / "var", "system.posix_acl_access"
        )
        for path in (top, *top.rglob("*")):
            status = path.lstat()
            assert (int(status.st_atime), int(status.st_ctime)) == (EPOCH, EPOCH)


def test_the_same_twice(folder: Path) -> None:
    """From a tree made in another order, at another time."""
    for number, name in enumerate(("one", "two")):
        tree = folder / f"tree-{name}"
        tree.mkdir()
        full(tree, backwards=bool(number))
        write(folder / name, tree)
    run("cmp", folder / "one", folder / "two")


def test_large_folders(folder: Path) -> None:
    """Names that are no words among thousands: each is found by its own name, in folders of every form."""
    tree, chance = folder / "tree", random.Random(7)
    for count in (3, 40, 200, 9000):
        here = tree / f"folder {count}"
        here.mkdir(parents=True)
        for number in range(count):
            text = f"{number} {chance.randbytes(chance.randrange(1, 80)).hex()}" if number % 3 else f"plain-{number}"
            text = text if count > 3 else text[:8]
            (here / text).write_bytes(b"x" * (5000 if number % 50 == 0 else 0))
        for odd in NEVER_WORDS if count > 3 else NEVER_WORDS[:4]:
            (here / os.fsdecode(odd)).write_bytes(odd)
        (here / "link").symlink_to("a target with blanks " * 3)
        (here / "far link").symlink_to("a target with blanks " * 40)
    write(folder / "image", tree)
    with mounted(folder / "image") as top:
        for here in tree.iterdir():
            there = top / here.name
            assert sorted(path.name for path in there.iterdir()) == sorted(path.name for path in here.iterdir())
            for path in here.iterdir():
                other = there / path.name  # the kernel looks it up by its hash
                if path.is_symlink():
                    assert other.readlink() == path.readlink()
                else:
                    assert other.read_bytes() == path.read_bytes()
    alone = folder / "alone"
    run("dd", f"if={folder / 'image'}", f"of={alone}", "bs=1M", "skip=3", "conv=sparse")
    with Disk(alone) as disk:
        inodes = {name.text: name.inode for name in disk.names(disk.root)}
        forms = {disk.read(disk.inode(number))[5] for number in inodes.values()}
    assert forms == {1, 2, 3}  # in the inode, in extents, in a tree of them


def test_names_of_many_links_in_odd_places(folder: Path) -> None:
    """A file with names in several folders, also ones that are no words; times are those of the file."""
    tree = folder / "tree"
    for name in ("a a", "b", "c"):
        (tree / name).mkdir(parents=True)
    (tree / "a a/first name").write_bytes(b"content" * 1000)
    for name in ("b/second name", "c/-dash", "c/third", "a a/#4"):
        (tree / name).hardlink_to(tree / "a a/first name")
    os.mkfifo(tree / "b/fifo")
    (tree / "c/fifo two").hardlink_to(tree / "b/fifo")
    (tree / "b/link").symlink_to("to somewhere")
    (tree / "c/link two").hardlink_to(tree / "b/link")
    written = write(folder / "image", tree)
    if not makes_links():
        assert "3 files with several names are there once for each" in written.remarks[0]
    with mounted(folder / "image") as top:
        same(listing(top), listing(tree))


def test_attributes_of_every_namespace(folder: Path) -> None:
    """Values with every byte in them; the default access list of a folder; several of one file."""
    tree = folder / "tree"
    (tree / "folder").mkdir(parents=True)
    (tree / "file").write_bytes(b"x")
    every = bytes(range(150))
    entries = ((1, 7, 2**32 - 1), (2, 5, 33), (4, 5, 2**32 - 1), (8, 1, 44), (16, 7, 2**32 - 1), (32, 0, 2**32 - 1))
    access = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *(tag, allowed, who)) for tag, allowed, who in entries)
    values = {"user.bytes": every, "user.x": b"v", "security.capability": struct.pack("<5I", 0x02000000, 1024, 0, 0, 0)}
    for name, value in values.items():
        os.setxattr(tree / "file", name, value)
    for name in ("system.posix_acl_default", "system.posix_acl_access"):
        os.setxattr(tree / "folder", name, access)
    write(folder / "image", tree)
    with mounted(folder / "image") as top:
        for name, value in values.items():
            assert os.getxattr(top / "file", name) == value
        assert sorted(os.listxattr(top / "file")) == sorted(values)
        for name in ("system.posix_acl_default", "system.posix_acl_access"):
            assert os.getxattr(top / "folder", name) == access


def test_large_attributes(folder: Path) -> None:
    """In a block of their own up to a few thousand bytes; what takes more is refused with the path."""
    tree = folder / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(b"x")
    for number, size in enumerate((1, 255, 256, 2000)):
        os.setxattr(tree / "file", f"user.size-{number}", bytes([number, 0, 255, 10] * size)[:size])
    write(folder / "image", tree)
    with mounted(folder / "image") as top:
        same(listing(top), listing(tree))
    (tree / "other").touch()
    os.setxattr(tree / "other", "user.larger", b"x" * 3500)
    with pytest.raises(BuildError, match="cannot hold the extended attribute 'larger' of 3500 bytes"):
        write(folder / "refused", tree)


@pytest.mark.parametrize("name", [" ", "$", ":", '"'])
def test_name_without_a_stand_in(folder: Path, name: str) -> None:
    """Of one byte that is no word: no other name has the hash."""
    tree = folder / "tree"
    tree.mkdir()
    (tree / name).touch()
    with pytest.raises(BuildError, match="cannot hold a name like"):
        write(folder / "image", tree)


def test_attribute_that_cannot_be_told(folder: Path) -> None:
    """A name with a blank, or no value at all."""
    for number, (name, value) in enumerate((("user.a b", b"x"), ("user.empty", b""))):
        tree = folder / f"tree-{number}"
        tree.mkdir()
        (tree / "file").touch()
        os.setxattr(tree / "file", name, value)
        with pytest.raises(BuildError, match="cannot hold the extended attribute"):
            write(folder / "image", tree)


def test_tree_as_it_is_measured(folder: Path) -> None:
    """The least size that is foretold holds the tree."""
    tree = folder / "tree"
    tree.mkdir()
    full(tree, backwards=False)
    length = filesystems.minimum_size("xfs", measure(tree))
    filesystems.write(Spec("xfs", epoch=EPOCH, seed="s"), folder / "image", OFFSET, length, tree)
    filesystems.check(folder / "image", OFFSET, length, "xfs")
