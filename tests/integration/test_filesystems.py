"""File systems of real trees, read back by other programs than those that wrote them, byte for byte the same twice."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sh

from blockdev.core.tools import PACKAGES
from tests.integration.engine_cases import missing
from tests.integration.filesystem_scenario import EPOCH, OFFSET, SPARSE, spec
from tests.integration.filesystem_tools import (
    EXT,
    KINDS,
    MIB,
    PATH,
    debugfs,
    differences,
    fields,
    plain_list,
    quoted,
    run,
)

HERE = Path(__file__).parent
OUTER_ROOT = 100_000  # where root itself opens the namespace: the host id that becomes its root


def in_namespace(folder: Path, *arguments: str | Path) -> None:
    """Run the scenario as root of a user namespace over subordinate ids, never as root of the host."""
    variables = {**os.environ, "PYTHONPATH": str(folder / "code"), "PATH": PATH}
    python = ["/usr/bin/python3", "-B", str(folder / "code/filesystem_scenario.py"), *map(str, arguments)]
    unshare = ["unshare", "--user", "--mount", "--pid", "--fork", "--kill-child"]
    if os.geteuid():
        subprocess.run([*unshare, "--map-auto", "--map-root-user", *python], env=variables, check=True)
        return
    become = ["setpriv", "--reuid", "0", "--regid", "0", "--clear-groups"]
    wait = ["/bin/sh", "-euc", 'echo; read go; exec "$@"', "sh"]
    pipe = subprocess.PIPE
    command = [*unshare, "--keep-caps", *wait, *become, *python]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=variables, cwd="/") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        for kind in ("uid_map", "gid_map"):
            Path(f"/proc/{process.pid}/{kind}").write_text(f"0 {OUTER_ROOT} 65536")
        process.stdin.write(b"go\n")
        process.stdin.close()
    assert process.returncode == 0


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """All that the scenario writes."""
    for tool, package in PACKAGES.items():
        if shutil.which(tool, path=PATH) is None:
            missing(f"there is no {tool} (package {package})")
    path = Path(tempfile.mkdtemp(prefix="dib-ctr-filesystems-", dir="/var/tmp"))
    path.chmod(0o755)
    work = path / "work"
    code = work / "code"
    code.mkdir(parents=True)
    for package in ("stages", "blockdev"):
        ignore = shutil.ignore_patterns("__pycache__", "elements")
        shutil.copytree(HERE.parents[1] / package, code / package, ignore=ignore)
    shutil.copytree(Path(sh.__file__).parent, code / "sh", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "filesystem_scenario.py", code)
    if not os.geteuid():
        run("chown", "-R", f"{OUTER_ROOT}:{OUTER_ROOT}", work)
    try:
        in_namespace(work, "make", work, *KINDS)
        yield work
    finally:
        inside = ["unshare", "--user", "--map-auto", "--map-root-user"] if os.geteuid() else []
        subprocess.run([*inside, "rm", "-rf", path], check=True)


def told(folder: Path, kind: str) -> dict[str, Any]:
    """What the scenario noted of a kind; the tree without what it left out."""
    found: dict[str, Any] = json.loads((folder / f"{kind}.json").read_text())
    found["tree"].pop("boot/efi/hidden", None)
    return found


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "btrfs"])
def test_twice_the_same_bytes(folder: Path, kind: str) -> None:
    """From a tree listed in another order, under another umask and time zone; and alone in a file of its own."""
    first, second, alone = (folder / name / kind for name in ("first", "second", "alone"))
    assert first.stat().st_size == second.stat().st_size
    assert differences(first, second, first.stat().st_size) == []
    assert differences(first, alone, told(folder, kind)["length"], OFFSET) == []


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_outside_its_range_and_sparse_inside(folder: Path, kind: str) -> None:
    """The bytes around stay blank; what is not written takes no room on the host's disk."""
    image, noted = folder / "first" / kind, told(folder, kind)
    assert image.stat().st_size == OFFSET + noted["length"] + MIB
    with image.open("rb") as file:
        assert not any(file.read(OFFSET))
        file.seek(OFFSET + noted["length"])
        assert not any(file.read())
    # What is allocated and not written (a journal, what the host's file system takes ahead) counts on the disk only.
    assert image.stat().st_blocks * 512 <= noted["holds"] + 5 * MIB
    assert noted["size"] <= noted["length"]
    if kind in ("ext4", "xfs", "btrfs"):
        assert noted["holds"] < 24 * MIB < noted["length"]


@pytest.mark.parametrize("kind", KINDS)
def test_identity(folder: Path, kind: str) -> None:
    """Blkid finds the kind, the label and the UUID that were asked for."""
    found = run("blkid", "-p", "-O", str(OFFSET), "-o", "export", folder / "first" / kind).decode()
    values = dict(line.split("=", 1) for line in found.splitlines() if "=" in line)
    assert values["TYPE"] == kind
    if kind == "squashfs":
        return
    assert values["UUID"] == spec(kind).volume_id
    if kind != "erofs" or values.get("LABEL"):  # before 1.7 mkfs.erofs has no option for it
        assert values["LABEL"] == spec(kind).label


@pytest.mark.parametrize("kind", EXT)
def test_ext_holds_the_tree(folder: Path, kind: str, tmp_path: Path) -> None:
    """Each path: type, mode, owner, size, links, time, content, extended attributes; and no path more."""
    image, tree = folder / "first" / kind, told(folder, kind)["tree"]
    groups: dict[str, str] = {}
    tested = [name for name in tree if not name.startswith("many/") or name < "many/010"]
    for name in tested:
        wanted, path = tree[name], quoted(name)
        found = debugfs(image, b"stat " + path)
        assert found, name
        values = fields(found)
        assert int(values[b"Mode"], 8) == stat.S_IMODE(wanted["mode"]), name
        assert [int(values[b"User"]), int(values[b"Group"])] == wanted["owner"], name
        folder_here = stat.S_ISDIR(wanted["mode"])
        assert int(values[b"mtime"].split(b":")[0], 16) == (EPOCH if folder_here else wanted["mtime"]), name
        assert int(values[b"ctime"].split(b":")[0], 16) == EPOCH
        kinds = {b"regular": stat.S_ISREG, b"directory": stat.S_ISDIR, b"symlink": stat.S_ISLNK, b"FIFO": stat.S_ISFIFO}
        assert kinds[values[b"Type"]](wanted["mode"]), name
        if not folder_here:
            assert int(values[b"Links"]) == wanted["links"], name
            assert groups.setdefault(values[b"Inode"].decode(), wanted["group"]) == wanted["group"], name
        check_content(image, path, wanted, found, tmp_path)
        for attribute, value in wanted["xattrs"].items():
            target = tmp_path / "value"
            debugfs(image, b"ea_get -f " + os.fsencode(target) + b" " + path + b" " + attribute.encode())
            same = plain_list if attribute.startswith("system.") else str
            assert same(target.read_bytes().hex()) == same(value), (name, attribute)
    assert len({*groups.values()}) == len(groups)
    inside = debugfs(image, b'ls -p "/odd"').count(b"\n/") + 1
    assert inside == len([name for name in tree if name.startswith("odd/") and name.count("/") == 1]) + 2
    many = debugfs(image, b"ls -p many").splitlines()
    names = [line.split(b"/")[5] for line in many if line.startswith(b"/")]
    assert sorted(names) == [b".", b"..", *sorted(os.fsencode(name)[5:] for name in tree if name.startswith("many/"))]


def check_content(image: Path, path: bytes, wanted: dict[str, Any], found: bytes, tmp_path: Path) -> None:
    """The content of a file that debugfs dumps, or the target of a link that it shows."""
    if stat.S_ISREG(wanted["mode"]):
        target = tmp_path / "content"
        target.unlink(missing_ok=True)
        debugfs(image, b"dump " + path + b" " + os.fsencode(target))
        text = wanted["content"]
        if text.endswith(" bytes"):
            assert f"{target.stat().st_size} bytes" == text
            with target.open("rb") as file:
                assert file.read(6) == b"begin\0"
                file.seek(-4, os.SEEK_END)
                assert file.read() == b"\0end"
        else:
            assert target.read_bytes().hex() == text
    elif stat.S_ISLNK(wanted["mode"]):
        if len(os.fsencode(wanted["content"])) < 60:
            assert b'Fast link dest: "' + os.fsencode(wanted["content"]) + b'"' in found
        else:
            assert debugfs(image, b"cat " + path) == os.fsencode(wanted["content"])


def test_ext4_keeps_holes(folder: Path) -> None:
    """A file of more than 2 GiB takes as many blocks as it has data."""
    found = debugfs(folder / "first/ext4", b"stat /large")
    values = fields(found)
    assert int(values[b"Size"]) == SPARSE
    assert int(values[b"Blockcount"]) <= 8 * 3


def test_vfat_holds_the_tree(folder: Path, tmp_path: Path) -> None:
    """Names, contents, and the image's time."""
    tree = told(folder, "vfat")["tree"]
    run("mcopy", "-s", "-m", "-n", "-i", f"{folder / 'first/vfat'}@@{OFFSET}", "::/", tmp_path / "out")
    out = tmp_path / "out"
    found = {str(path.relative_to(out)): path for path in [out, *out.rglob("*")]}
    assert sorted(found) == sorted(tree)
    for name, path in found.items():
        assert path.is_dir() == stat.S_ISDIR(tree[name]["mode"])
        if path.is_file():
            assert path.read_bytes().hex() == tree[name]["content"]
            assert int(path.stat().st_mtime) == EPOCH


def test_xfs_holds_the_tree(folder: Path) -> None:
    """Modes (the sticky bit too), owners, sizes, times; and the content of a file, by the blocks that it has."""
    image, tree = folder / "alone/xfs", told(folder, "xfs")["tree"]
    shown = ("mode", "uid", "gid", "size", "mtime.sec")
    for name, wanted in tree.items():
        if name.startswith("many/") and name > "many/11":
            continue
        path = "/" if name == "." else f"/{name}"
        said = run("xfs_db", "-r", "-c", f"path {path}", *(f"-cprint core.{field}" for field in shown), image).decode()
        values = dict(line.split(" = ") for line in said.splitlines())
        assert int(values["core.mode"], 8) == wanted["mode"], name
        assert [int(values["core.uid"]), int(values["core.gid"])] == wanted["owner"]
        seconds = EPOCH if stat.S_ISDIR(wanted["mode"]) else wanted["mtime"]
        clock = run("date", "-u", "-d", f"@{seconds}", "+%a %b %e %T %Y").decode().strip()
        assert values["core.mtime.sec"] == clock, name
        if stat.S_ISREG(wanted["mode"]):
            assert int(values["core.size"]) == len(wanted["content"]) // 2
    found = run("xfs_db", "-r", "-c", "path /lower", "-c", "bmap", image).decode()
    place = re.search(r"offset 0 startblock (\d+) \((\d+)/(\d+)\) count (\d+)", found)
    assert place is not None
    (blocks,) = struct.unpack(">I", image.read_bytes()[84:88])
    wanted_bytes = bytes.fromhex(tree["lower"]["content"])
    with image.open("rb") as file:
        file.seek((int(place[2]) * blocks + int(place[3])) * 4096)
        assert file.read(len(wanted_bytes)) == wanted_bytes


@pytest.mark.parametrize("kind", ["squashfs", "erofs", "btrfs"])
def test_unpacked_is_the_tree(folder: Path, kind: str) -> None:
    """What the kind's own program unpacks; beside each what that program or the kind cannot show."""
    in_namespace(folder, "unpack", folder, kind)
    wanted, found = told(folder, kind)["tree"], json.loads((folder / f"{kind}.out.json").read_text())
    ignored = {"squashfs": set(), "erofs": {"lost+found"}, "btrfs": {"var/fifo", "."}}[kind]
    assert set(wanted) - set(found) <= ignored
    assert set(found) <= set(wanted)
    linked = {name for name in wanted if wanted[name]["links"] > 1 and stat.S_ISREG(wanted[name]["mode"])}
    assert len(linked) == 4
    for name in set(found) - ignored:
        one, other = wanted[name], found[name]
        # fsck.erofs 1.5 and btrfs restore set the owner after the mode, and so lose set-user-id bits.
        mask = 0o7777 if kind == "squashfs" else 0o1777
        assert other["mode"] & mask == one["mode"] & mask, name
        assert (other["owner"], other["content"]) == (one["owner"], one["content"]), name
        if not stat.S_ISDIR(one["mode"]):
            assert other["mtime"] == one["mtime"], name
        if kind == "squashfs":
            assert other["group"] == one["group"], name
        kept = {key: value for key, value in one["xattrs"].items() if not key.startswith("system.")}
        if kind != "erofs":  # whose program does not unpack them
            assert {key: value for key, value in other["xattrs"].items() if key in kept} == kept, name


def test_erofs_holds_modes_links_and_attributes(folder: Path) -> None:
    """What fsck.erofs does not unpack, dump.erofs shows."""
    image = folder / "alone/erofs"
    suid = run("dump.erofs", "--path=/usr/bin/suid", image).decode()
    assert re.search(r"Links: 4\b", suid)
    for path in ("/usr/bin/ping", "/etc/keep", "/var"):
        shown = re.search(r"Xattr size: (\d+)", run("dump.erofs", f"--path={path}", image).decode())
        assert shown is not None
        assert int(shown[1]) > 0


def test_btrfs_holds_access_lists_and_fifos(folder: Path) -> None:
    """What btrfs restore does not unpack, the tree's dump shows."""
    shown = run("btrfs", "inspect-internal", "dump-tree", folder / "alone/btrfs").decode(errors="replace")
    assert "name: system.posix_acl_access" in shown
    assert "type FIFO" in shown
    assert "mode 104755" in shown


def test_swap_is_what_mkswap_writes(folder: Path, tmp_path: Path) -> None:
    """Byte for byte."""
    ours, theirs = folder / "alone/swap", tmp_path / "swap"
    with theirs.open("wb") as file:
        file.truncate(ours.stat().st_size)
    theirs.chmod(0o600)
    run("mkswap", "-U", spec("swap").volume_id, "-L", spec("swap").label, theirs)
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.thorough("full file systems of every kind; `just test` has ext4's (test_disks.py) and btrfs's")
def test_no_room_and_what_a_kind_cannot_hold(folder: Path) -> None:
    """Each is an error that says so; the image's name may have any letter in it."""
    in_namespace(folder, "refuse", folder, *KINDS)
    said: dict[str, str] = json.loads((folder / "said.json").read_text())
    for kind in KINDS:
        if kind in said:
            assert "next:  give the file system more room" in said[kind], kind
            assert f"refused/{kind}?@@ %s, " in said[kind]
    expected = {
        "vfat a\\b": "FAT cannot keep this name: it has '\\\\' in it",
        "vfat link": "FAT cannot keep a symbolic link",
        "vfat CASE": "FAT takes two names for one, as they differ in case only",
        "xfs  ": "an xfs file system written without the kernel cannot hold a name like ' '",
    }
    assert {key: said[key].splitlines()[0] for key in expected} == expected
