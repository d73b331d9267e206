"""btrfs, with subvolumes and twice the same, as its own tools and (where one may mount) the kernel show it."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from blockdev import filesystems
from blockdev.core.errors import BuildError
from blockdev.filesystems import Spec, Subvolume
from tests.integration.engine_cases import missing

PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
OFFSET, LENGTH, EPOCH = 3 << 20, 512 << 20, 1_700_000_000
SUBVOLUMES = (
    Subvolume("/home"),
    Subvolume("var/log", "ro"),
    Subvolume("srv/a:b c", "default"),
    Subvolume("home/user/cache"),
)
NAMES = {one.path.strip("/"): one.kind for one in SUBVOLUMES}


def run(*command: str | Path) -> str:
    """What a program prints, which must succeed."""
    environment = {**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def version() -> tuple[int, int]:
    """Of mkfs.btrfs."""
    try:
        found = re.search(r"v(\d+)\.(\d+)", run("mkfs.btrfs", "--version"))
    except FileNotFoundError:
        missing("there is no mkfs.btrfs (package btrfs-progs)")
    assert found
    return int(found[1]), int(found[2])


@contextmanager
def mounted(image: Path, *options: str) -> Iterator[Path]:
    """The file system in an image, read only."""
    if os.geteuid():
        missing("only root may mount")
    target = image.parent / f"mounted-{image.name}"
    target.mkdir(exist_ok=True)
    flags = ",".join(["ro", "loop", f"offset={OFFSET}", f"sizelimit={LENGTH}", *options])
    done = subprocess.run(["mount", "-t", "btrfs", "-o", flags, image, target], capture_output=True, check=False)
    if "\tbtrfs\n" not in Path("/proc/filesystems").read_text():
        missing("this machine's kernel knows no btrfs")
    assert done.returncode == 0, done.stderr
    try:
        yield target
    finally:
        run("umount", target)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small system."""
    root = tmp_path / "tree"
    for name in ("home/user/file", "home/user/cache/thing", "var/log/syslog", "srv/a:b c/site", "etc/fstab"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}\n" * 500)
        os.utime(path, (EPOCH - 5, EPOCH - 1000))
    (root / "home/user").chmod(0o700)
    (root / "etc/again").hardlink_to(root / "etc/fstab")
    (root / "lib").symlink_to("srv")
    return root


def write(image: Path, tree: Path | None, subvolumes: tuple[Subvolume, ...] = SUBVOLUMES) -> Path:
    """Write and check one; returns its image."""
    return made(Spec("btrfs", label="root", epoch=EPOCH, seed=str(image), subvolumes=subvolumes), image, tree)


def made(spec: Spec, image: Path, tree: Path | None, offset: int = OFFSET) -> Path:
    """Write and check what is asked for."""
    filesystems.write(spec, image, offset, LENGTH, tree)
    filesystems.check(image, offset, LENGTH, "btrfs")
    return image


def require(wanted: tuple[int, int]) -> None:
    """Skip where the tools are older; their refusal has a test of its own."""
    if version() < wanted:
        pytest.skip("mkfs.btrfs before 6.12 makes no subvolumes")


def test_old_tools_say_so(tmp_path: Path, tree: Path) -> None:
    """The error tells where newer ones are, and nothing is written."""
    if version() >= (6, 12):
        pytest.skip("these tools make subvolumes")
    with pytest.raises(BuildError) as caught:
        write(tmp_path / "image", tree)
    assert "cannot make subvolumes" in str(caught.value)
    assert "Debian 13" in caught.value.hint
    assert (tmp_path / "image").stat().st_blocks == 0


def test_tree_dump_shows_them(tmp_path: Path, tree: Path) -> None:
    """A root for each, read only where it is asked for, and the default one named."""
    require((6, 12))
    image = write(tmp_path / "image", tree)
    alone = tmp_path / "alone"
    run("dd", f"if={image}", f"of={alone}", "bs=1M", "skip=3", "conv=sparse")
    said = run("btrfs", "inspect-internal", "dump-tree", "-t", "root", alone)
    named = dict(re.findall(r"ROOT_REF (\d+)\).*\n\s+root ref .* name (.+)", said))
    assert sorted(named.values()) == sorted(name.rpartition("/")[2] for name in NAMES)
    for number, name in named.items():
        item = re.search(rf"item \d+ key \({number} ROOT_ITEM 0\)(?:.*\n)*?.*\bflags (\S+)", said)
        assert item
        assert item[1] == ("0x1(RDONLY)" if name == "log" else "0x0(none)")
    default = re.search(r"location key \((\d+) ROOT_ITEM .*\n.*\n\s+name: default", said)
    assert default
    assert named[default[1]] == "a:b c"


def test_kernel_shows_them(tmp_path: Path, tree: Path) -> None:
    """The paths are subvolumes (inode 256), the others folders; contents, modes and links are the tree's."""
    require((6, 12))
    image = write(tmp_path / "image", tree)
    with mounted(image) as top:
        assert (top / "site").read_text() == (tree / "srv/a:b c/site").read_text()  # the default one
    with mounted(image, "subvolid=5") as top:
        for path in sorted(tree.rglob("*")):
            name = str(path.relative_to(tree))
            found, wanted = (top / name).lstat(), path.lstat()
            assert (found.st_mode, found.st_uid, found.st_gid) == (wanted.st_mode, wanted.st_uid, wanted.st_gid), name
            assert (found.st_ino == 256) == (name in NAMES), name
            if path.is_file():
                assert (top / name).read_bytes() == path.read_bytes()
                assert int(found.st_mtime) == EPOCH - 1000
        assert (top / "etc/again").stat().st_nlink == 2
        assert run("btrfs", "property", "get", top / "var/log", "ro").strip() == "ro=true"
        assert run("btrfs", "property", "get", top / "home", "ro").strip() == "ro=false"


def test_without_a_tree(tmp_path: Path) -> None:
    """The subvolumes are there, and nothing else."""
    require((6, 12))
    image = write(tmp_path / "image", None)
    with mounted(image, "subvolid=5") as top:
        found = {str(path.relative_to(top)) for path in top.rglob("*")}
        assert found == {*NAMES, "home/user", "srv", "var"}
        assert (top / "home/user/cache").stat().st_ino == 256


def many(tree: Path) -> tuple[Subvolume, ...]:
    """Enough for trees of more than one block, and as many subvolumes as this version makes."""
    for number in range(3000):
        path = tree / f"many/{number % 12}/{number:05}-{'x' * (number % 60)}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content" * (number % 5) * 100)
        os.utime(path, (EPOCH + number, EPOCH - 3000 + number))
    os.setxattr(tree / "etc/fstab", "user.note", b"value")
    return tuple(Subvolume(f"many/{number}") for number in range(12)) if version() >= (6, 12) else ()


MORE = pytest.mark.thorough("three file systems more; `just test` has the usual way")


@pytest.mark.parametrize(
    "options",
    [
        (),
        pytest.param(("--csum", "sha256"), marks=MORE),
        pytest.param(("--csum", "blake2"), marks=MORE),
        pytest.param(("-m", "single", "-n", "4096"), marks=MORE),
    ],
)
def test_the_same_twice(tmp_path: Path, tree: Path, options: tuple[str, ...]) -> None:
    """Seconds later and elsewhere in an image: ids and times are those of the request, whatever else is asked for."""
    subvolumes = many(tree)
    spec = Spec("btrfs", label="root", epoch=EPOCH, seed="twice", subvolumes=subvolumes, options=options)
    one = made(spec, tmp_path / "one", tree)
    time.sleep(1.1)
    (tree / "etc/fstab").read_bytes()
    two = made(spec, tmp_path / "two", tree, 0)
    run("cmp", "-i", f"{OFFSET}:0", one, two)
    other = made(dataclasses.replace(spec, seed="other"), tmp_path / "other", tree, 0)
    ids = [
        set(re.findall(r"\buuid ([0-9a-f-]{36})", run("btrfs", "inspect-internal", "dump-tree", image)))
        for image in (two, other)
    ]
    assert ids[0] & ids[1] == {"00000000-0000-0000-0000-000000000000"}
    assert len(ids[0]) == len(ids[1]) == 5 + len(subvolumes)  # none; file system, chunks, device, top; subvolumes


def test_kernel_reads_what_was_put_right(tmp_path: Path, tree: Path) -> None:
    """Every checksum holds: contents, modes and times are those of the tree, none later than the epoch."""
    subvolumes = many(tree)
    image = made(Spec("btrfs", epoch=EPOCH, seed="kernel", subvolumes=subvolumes), tmp_path / "image", tree)
    with mounted(image, "subvolid=5") as top:
        for path in (tree, *sorted(tree.rglob("*"))):
            other = top / path.relative_to(tree)
            found, wanted = other.lstat(), path.lstat()
            assert found.st_mode == wanted.st_mode or path == tree  # the root's own before 6.12
            assert (int(found.st_atime), int(found.st_ctime)) == (EPOCH, EPOCH)
            folder = stat.S_ISDIR(wanted.st_mode)
            assert int(found.st_mtime) == (EPOCH if folder else min(int(wanted.st_mtime), EPOCH))
            if stat.S_ISREG(wanted.st_mode):
                assert other.read_bytes() == path.read_bytes()
        assert os.getxattr(top / "etc/fstab", "user.note") == b"value"


def test_no_room(tmp_path: Path, tree: Path) -> None:
    """mkfs.btrfs would make the image longer; that is an error, and nothing is behind the end."""
    many(tree)
    image = tmp_path / "image"
    with pytest.raises(BuildError) as caught:
        filesystems.write(Spec("btrfs", epoch=EPOCH, seed="small"), image, OFFSET, 120 << 20, tree)
    assert "mkfs.btrfs could not write the file system" in str(caught.value)
    assert "more room" in caught.value.hint
    assert image.stat().st_size == OFFSET + (120 << 20)
    assert image.stat().st_blocks == 0


def test_least_size_is_enough_for_many_small_files(tmp_path: Path, tree: Path) -> None:
    """What is foretold is no less than what mkfs.btrfs takes for needed."""
    many(tree)
    length = filesystems.minimum_size("btrfs", filesystems.measure(tree))
    filesystems.write(Spec("btrfs", epoch=EPOCH, seed="least"), tmp_path / "image", OFFSET, length, tree)
    filesystems.check(tmp_path / "image", OFFSET, length, "btrfs")


@pytest.mark.parametrize("options", [("--mixed",), ("--csum", "xxhash")])
def test_forms_that_stay_as_they_are(tmp_path: Path, tree: Path, options: tuple[str, ...]) -> None:
    """What cannot be put right is still a whole file system."""
    image = made(Spec("btrfs", epoch=EPOCH, seed="left", options=options), tmp_path / "image", tree)
    with mounted(image) as top:
        assert (top / "etc/fstab").read_bytes() == (tree / "etc/fstab").read_bytes()


@pytest.mark.parametrize("name", ["opt/app", "lib/a:b c", "etc/fstab"])
def test_not_a_folder_of_the_tree(tmp_path: Path, tree: Path, name: str) -> None:
    """What is missing, behind a link, or a file: refused with its path."""
    require((6, 12))
    with pytest.raises(BuildError, match=r"the tree has no folder '.*' to be a subvolume"):
        write(tmp_path / "image", tree, (Subvolume(name),))
