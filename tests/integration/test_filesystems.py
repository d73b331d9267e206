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
from hypothesis import given, settings
from hypothesis import strategies as st

from blockdev import filesystems
from blockdev.core.errors import BuildError
from blockdev.filesystems import Spec, measure, minimum_size
from blockdev.filesystems.tools import PACKAGES
from tests.examples import examples
from tests.integration.engine_cases import missing
from tests.integration.filesystem_scenario import EPOCH, OFFSET, OLD, SPARSE, TREES, content, spec

HERE = Path(__file__).parent
OUTER_ROOT = 100_000  # where root itself opens the namespace: the host id that becomes its root
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
KINDS = tuple(TREES)
EXT = ("ext2", "ext3", "ext4")
MIB = 1 << 20


def run(*command: str | bytes | Path, **more: Any) -> bytes:
    """What a program prints, which must succeed."""
    environment = {**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8", "TZ": "UTC", "MTOOLSRC": "/dev/null"}
    done: subprocess.CompletedProcess[bytes] = subprocess.run(
        command, env=environment, capture_output=True, check=False, **more
    )
    assert done.returncode == 0, (command, done.stdout[-500:], done.stderr[-500:])
    return done.stdout


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
    run("cmp", folder / "first" / kind, folder / "second" / kind)
    length = str(told(folder, kind)["length"])
    run("cmp", "-n", length, "-i", f"{OFFSET}:0", folder / "first" / kind, folder / "alone" / kind)


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


def debugfs(image: Path, command: bytes) -> bytes:
    """The answer to one command."""
    return run("debugfs", "-R", command, f"{image}?offset={OFFSET}")


def fields(said: bytes) -> dict[bytes, bytes]:
    """The words of ``stat`` before which there is a colon, each where it is first."""
    return dict(reversed(re.findall(rb"(\w+):\s+(\S+)", said)))


def plain_list(value: str) -> str:
    """An access list whose entries without a name have no id: debugfs gives them another one than the kernel."""
    if len(value) < 8:
        return value
    entries = struct.iter_unpack("<HHI", bytes.fromhex(value)[4:])
    return repr([(tag, allowed, who if tag in (2, 8) else -1) for tag, allowed, who in entries])


def quoted(name: str) -> bytes:
    """A path of the tree as debugfs reads it."""
    path = b"/" if name == "." else b"/" + os.fsencode(name)
    return b'"' + path.replace(b'"', b'""') + b'"'


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


def _many(tree: Path) -> None:
    for number in range(3000):
        (tree / f"{number % 7}").mkdir(exist_ok=True)
        (tree / f"{number % 7}" / f"{'long name ' * (number % 9)}{number}").write_bytes(b"x" * (number % 5))


def _large(tree: Path) -> None:
    (tree / "large").write_bytes(os.urandom(40 * MIB + 1))


def _folders(tree: Path) -> None:
    for number in range(1500):
        (tree / f"{number}").mkdir()


@pytest.mark.parametrize(
    "make", [_many, _large, _folders, lambda tree: None], ids=["many", "large", "folders", "empty"]
)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "swap"])
def test_minimum_size_is_enough(kind: str, make: Any, tmp_path: Path) -> None:
    """A tree fits into what is foretold for it, and for ext and FAT that is not far too much."""
    tree = tmp_path / "tree"
    tree.mkdir()
    make(tree)
    length = minimum_size(kind, measure(tree))
    image = tmp_path / "image"
    written = filesystems.write(Spec(kind, epoch=EPOCH, seed="size"), image, 0, length, tree)
    filesystems.check(image, 0, length, kind)
    assert written.size <= length
    if kind.startswith("ext") or kind == "vfat":
        taken = sum(-(-path.lstat().st_size // 4096) for path in tree.rglob("*")) * 4096
        assert length <= 2 * taken + 16 * MIB


@settings(max_examples=examples(25), deadline=None)
@given(
    names=st.lists(
        st.binary(min_size=1, max_size=40).filter(lambda name: b"/" not in name and b"\0" not in name),
        min_size=1,
        max_size=6,
        unique=True,
    )
)
def test_ext4_holds_any_name(names: list[bytes]) -> None:
    """As a file, as a folder with a file of that name in it, and as a link's target."""
    names = [name for name in names if name not in (b".", b"..")]
    with tempfile.TemporaryDirectory() as made:
        tree, image = Path(made) / "tree", Path(made) / "image"
        for kind in ("files", "folders", "links"):
            (tree / kind).mkdir(parents=True)
        for number, name in enumerate(names):
            text = os.fsdecode(name)
            (tree / "files" / text).write_bytes(content(number))
            (tree / "folders" / text).mkdir()
            (tree / "folders" / text / text).write_bytes(b"inside")
            (tree / "links" / str(number)).symlink_to(text)
        filesystems.write(Spec("ext4", epoch=EPOCH), image, 0, 8 * MIB, tree)
        filesystems.check(image, 0, 8 * MIB, "ext4")
        out = Path(made) / "out"
        out.mkdir()
        run("debugfs", "-R", b'rdump / "' + os.fsencode(out) + b'"', image)
        for path in tree.rglob("*"):
            copy = out / path.relative_to(tree)
            if path.is_symlink():
                assert copy.readlink() == path.readlink()
            elif path.is_file():
                assert copy.read_bytes() == path.read_bytes()
            else:
                assert sorted(item.name for item in copy.iterdir()) == sorted(item.name for item in path.iterdir())


@pytest.mark.parametrize(
    ("given_spec", "words"),
    [
        (Spec("ext4", options=("-O", "no_such_feature")), "no_such_feature"),
        (Spec("vfat", label="MORE-THAN-ELEVEN"), "mkfs.vfat could not write the file system"),
        (Spec("xfs", label="more-than-twelve-letters"), "mkfs.xfs could not write the file system"),
        (Spec("squashfs", options=("-comp", "none-such")), "mksquashfs could not write the file system"),
        (Spec("swap", label="more-than-sixteen"), "the label 'more-than-sixteen' is too long for swap"),
        (Spec("zfs"), "there is no writer for the file system 'zfs'"),
    ],
    ids=lambda value: value.kind if isinstance(value, Spec) else "",
)
def test_wrong_requests_are_sentences(given_spec: Spec, words: str, tmp_path: Path) -> None:
    """What the tool has to say is in the error."""
    with pytest.raises(BuildError, match=re.escape(words)):
        filesystems.write(given_spec, tmp_path / "image", 0, 300 * MIB, None)
    assert [path.name for path in tmp_path.iterdir()] in ([], ["image"])


def test_a_place_that_is_taken(tmp_path: Path) -> None:
    """Old bytes in the place of a file system would stay in the image; zeros are as good as a hole."""
    image = tmp_path / "image"
    image.write_bytes(bytes(8 * MIB))
    filesystems.write(Spec("ext4", epoch=OLD), image, MIB, 4 * MIB, None)
    with pytest.raises(BuildError, match="the place of a file system is not blank"):
        filesystems.write(Spec("ext4"), image, 4 * MIB, 4 * MIB, None)
        filesystems.write(Spec("ext4"), image, 2 * MIB, 4 * MIB, None)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "erofs"])
def test_check_finds_damage(kind: str, tmp_path: Path) -> None:
    """A file system whose first 64 KiB are overwritten is not clean."""
    image = tmp_path / "image"
    length = minimum_size(kind, measure(None))
    filesystems.write(Spec(kind, epoch=EPOCH), image, MIB, length, None)
    filesystems.check(image, MIB, length, kind)
    with image.open("r+b") as file:
        file.seek(MIB)
        file.write(b"\x5a" * 0x20000)
    with pytest.raises(BuildError):
        filesystems.check(image, MIB, length, kind)


def test_ext_options(tmp_path: Path) -> None:
    """Journal size, block size, an extended option beside our own, and many small files get their inodes."""
    image = tmp_path / "image"
    options = ("-J", "size=4", "-b", "1024", "-E", "stride=2", "-Estripe_width=4", "-m", "0")
    filesystems.write(Spec("ext4", options=options, epoch=EPOCH), image, MIB, 32 * MIB, None)
    filesystems.check(image, MIB, 32 * MIB, "ext4")
    shown = run("dumpe2fs", f"{image}?offset={MIB}").decode()
    for line in ("Block size: +1024", "Total journal size: +4096k", "RAID stride: +2", "RAID stripe width: +4"):
        assert re.search(line, shown.replace("4M", "4096k")), line
    assert re.search(r"Block count: +32768", shown)
    assert "orphan_file" not in shown
