"""ext2, ext3 and ext4, made empty by mke2fs at an offset and filled by debugfs.

``mke2fs -d`` takes a folder in the order of its directories, which differs from one copy of a tree to the next (a
sorted archive instead needs e2fsprogs 1.47.1 with libarchive). debugfs does the same work, in the order it is told and
with every version; its commands come from memory and its contents from the tree, so nothing is copied twice.

Kept: owners, modes, times (whole seconds), links, holes, device nodes, fifos, chattr's i and a, and the extended
attributes of :mod:`blockdev.tree.walk`.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import BinaryIO

from blockdev.core import tools
from blockdev.filesystems import ext_backups
from blockdev.filesystems.region import Region
from blockdev.filesystems.size import EXT_BLOCK, EXT_INODE_RATIO
from blockdev.filesystems.spec import Spec
from blockdev.filesystems.tools import Workplace
from blockdev.tree.walk import WalkEntry, walk

_LINE_MAX = 8000  # debugfs reads its commands in pieces of BUFSIZ bytes

# The distribution's own file gives other features in each release, so images would depend on who builds them. Not here:
# orphan_file and metadata_csum_seed, which kernels before 5.15 and GRUB 2.06 do not know.
_CONFIG = f"""\
[defaults]
base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
default_mntopts = acl,user_xattr
enable_periodic_fsck = 0
blocksize = {EXT_BLOCK}
inode_size = 256
inode_ratio = {EXT_INODE_RATIO}
hash_alg = half_md4
[fs_types]
ext2 = {{
}}
ext3 = {{
features = has_journal
}}
ext4 = {{
features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
}}
small = {{
}}
floppy = {{
}}
big = {{
}}
huge = {{
}}
"""


def write(spec: Spec, work: Workplace, source: Path | None, without: Collection[str]) -> int:
    """Make and fill the file system; returns its size in bytes."""
    entries = list(walk(source, without, work.labels)) if source else []
    _make(spec, work, len(entries))
    with _Debugfs(work) as debugfs:
        # mke2fs notes whether the builder's "char" is signed, which it is not on arm64; kernels heed the note.
        debugfs.tell(b"set_super_value", b"flags", b"1")
        _Filler(debugfs, spec.epoch, entries, _own_flags(work.region)).fill()
    ext_backups.unify(work.region)
    return _size(work.region)


def _size(region: Region) -> int:
    with region.image.open("rb") as image:
        image.seek(region.offset + 1024)
        superblock = image.read(1024)
    (low, log), (high,) = struct.unpack_from("<4xI16xI", superblock), struct.unpack_from("<I", superblock, 0x150)
    (incompatible,) = struct.unpack_from("<I", superblock, 0x60)
    blocks = low | (high << 32 if incompatible & 0x80 else 0)
    return int(blocks << (10 + log))


def _own_flags(region: Region) -> int:
    """The flags that files and folders get from debugfs: EXT4_EXTENTS_FL where the file system has extents."""
    with region.image.open("rb") as image:
        image.seek(region.offset + 1024 + 0x60)
        (incompatible,) = struct.unpack("<I", image.read(4))
    return 0x80000 if incompatible & 0x40 else 0


def _extended(options: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The options without ``-E``, and the values of all ``-E``: mke2fs heeds only the last."""
    rest: list[str] = []
    extended: list[str] = []
    left = iter(options)
    for option in left:
        if option == "-E":
            extended += next(left, "").split(",")
        elif option.startswith("-E"):
            extended += option[2:].split(",")
        else:
            rest.append(option)
    return rest, [value for value in extended if value]


def block_size(options: tuple[str, ...]) -> int:
    """The block size in bytes that the options ask for."""
    for position, option in enumerate(options):
        value = options[position + 1] if option == "-b" and position + 1 < len(options) else option[2:]
        if option.startswith("-b") and value.isdigit():
            return int(value)
    return EXT_BLOCK


def _make(spec: Spec, work: Workplace, entries: int) -> None:
    rest, asked = _extended(spec.options)
    extended = [
        f"offset={work.region.offset}",
        f"hash_seed={spec.derived('hash seed')}",
        "root_owner=0:0",
        "assume_storage_prezeroed=1",  # it is, and no zeros need be written
        "nodiscard",
        *asked,
    ]
    block = block_size(spec.options)
    needed = entries + entries // 8 + 16
    if needed > work.region.length // EXT_INODE_RATIO and not any(option[:2] in ("-N", "-i", "-T") for option in rest):
        rest += ["-N", str(needed)]
    config = work.folder / "mke2fs.conf"
    config.write_text(_CONFIG)
    label: list[str | Path] = ["-L", spec.label] if spec.label else []
    command: list[str | bytes | Path] = ["mke2fs", "-q", "-F", "-t", spec.kind, "-U", spec.volume_id, *label]
    command += ["-E", ",".join(extended), *rest]
    command += [work.image, f"{work.region.length // block * block // 1024}k"]
    work.run(command, env={"MKE2FS_CONFIG": str(config)})


def check(work: Workplace) -> None:
    """e2fsck, reading only."""
    work.run(["e2fsck", "-f", "-n", _located(work)])


def _located(work: Workplace) -> str:
    return f"{work.image}?offset={work.region.offset}"


def _quoted(text: bytes) -> bytes:
    return b'"' + text.replace(b'"', b'""') + b'"'


class _Debugfs:
    """One running debugfs that takes commands; what it says on standard error, beside its version, is a failure."""

    def __init__(self, work: Workplace) -> None:
        self._work = work
        self._late: list[bytes] = []
        self._stderr = tempfile.TemporaryFile(dir=work.folder)  # noqa: SIM115 (closed on leaving)
        self._sent = 0
        self._process = subprocess.Popen(
            [tools.find("debugfs"), "-w", "-f", "-", _located(work)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._stderr,
            env=work.environment(),
            cwd=work.folder,
        )
        assert self._process.stdin is not None
        self._input: BinaryIO = self._process.stdin  # type: ignore[assignment]

    def __enter__(self) -> _Debugfs:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind:
                self._process.kill()
                self._process.wait()
                return
            self._end()
            for command in self._late:
                self._alone(command)
        finally:
            if not self._input.closed:
                with contextlib.suppress(BrokenPipeError):
                    self._input.close()
            self._stderr.close()

    def _end(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # its own words follow
            self._input.close()
        status = self._process.wait()
        self._refuse(self._errors())
        if status:
            raise self._work.failure("debugfs", f"it ended with status {status}")

    def _errors(self) -> str:
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").splitlines()
        return "\n".join(line for line in lines if line and not line.startswith("debugfs 1."))

    def _refuse(self, errors: str) -> None:
        if errors:  # the first is the cause, what follows its consequences
            raise self._work.failure("debugfs", errors.splitlines()[0])

    def _alone(self, command: bytes) -> None:
        argv: tools.Arguments = ["debugfs", "-w", "-R", command, _located(self._work)]
        done = tools.run(argv, env=self._work.environment(), cwd=self._work.folder)
        lines = done.err.decode(errors="replace").splitlines()
        self._refuse("\n".join(line for line in lines if line and not line.startswith("debugfs 1.")))

    def tell(self, *words: bytes) -> None:
        """Send one command; the first word is its name, the others are quoted."""
        line = b" ".join([words[0], *map(_quoted, words[1:])]) + b"\n"
        try:
            self._input.write(line)
        except BrokenPipeError:
            self._end()
        self._sent += 1
        if self._sent % 1024 == 0:  # a full image need not be told the rest of a tree
            self._refuse(self._errors())

    def later(self, *words: bytes) -> None:
        """A command to run by itself at the end: there the words may hold line ends."""
        self._late.append(b" ".join([words[0], *map(_quoted, words[1:])]))

    def temporary(self, name: str, content: bytes) -> bytes:
        """A file with some content that a later command reads; its path."""
        path = self._work.folder / name
        path.write_bytes(content)
        return os.fsencode(path)

    def link(self, name: str, target: bytes) -> bytes:
        """A symbolic link on the host to a path that no command line can hold; its path."""
        path = self._work.folder / name
        path.symlink_to(os.fsdecode(target))
        return os.fsencode(path)


def _breaks(text: bytes) -> bool:
    """Would debugfs take one line of commands for two."""
    return b"\n" in text or b"\r" in text


def _fits(text: bytes) -> bool:
    return not _breaks(text) and len(_quoted(text)) < _LINE_MAX


class _Filler:
    """Turns entries into commands. It stands in the folder that it fills, so that commands hold names and not paths."""

    def __init__(self, debugfs: _Debugfs, epoch: int, entries: list[WalkEntry], own_flags: int) -> None:
        self._debugfs = debugfs
        self._own_flags = own_flags
        self._epoch = epoch
        self._entries = entries
        self._names = Counter(entry.inode for entry in entries if entry.kind != stat.S_IFDIR)
        self._first: dict[tuple[int, int], bytes] = {}
        self._at: list[bytes] = []
        self._number = 0
        self._stand_ins: dict[bytes, bytes] = {}

    def fill(self) -> None:
        """Tell debugfs the whole tree."""
        for number, entry in enumerate(self._entries):
            self._number = number
            if not entry.name:
                self._inode(b"/", entry)
                continue
            folder, _, name = entry.name.rpartition(b"/")
            self._enter(folder)
            self._put(entry, self._plain(entry.name, name))
        for path, stand_in in self._stand_ins.items():  # folders come before what is in them
            folder = b"/" + path.rpartition(b"/")[0]
            self._debugfs.later(b"ln", folder + b"/" + stand_in, b"/" + path)
            self._debugfs.later(b"unlink", folder + b"/" + stand_in)

    def _plain(self, path: bytes, name: bytes) -> bytes:
        """The name, or one to use until the end in place of one that has a line end in it."""
        if not _breaks(name):
            return name
        stand_in = b".dib-ctr-%d" % self._number
        self._stand_ins[path] = stand_in
        return stand_in

    def _enter(self, folder: bytes) -> None:
        """Go to a folder of the new file system, step by step."""
        steps = folder.split(b"/") if folder else []
        common = 0
        while self._at[common : common + 1] == steps[common : common + 1] != []:
            common += 1
        for _ in self._at[common:]:
            self._debugfs.tell(b"cd", b"..")
        for depth in range(common, len(steps)):
            path = b"/".join(steps[: depth + 1])
            self._debugfs.tell(b"cd", b"./" + self._stand_ins.get(path, steps[depth]))
        self._at = steps

    def _put(self, entry: WalkEntry, name: bytes) -> None:
        here = b"./" + name
        first = self._first.setdefault(entry.inode, b"/" + self._reachable(entry.name))
        if entry.kind != stat.S_IFDIR and first != b"/" + self._reachable(entry.name):
            self._debugfs.tell(b"ln", first, here)
            return
        if entry.kind == stat.S_IFDIR:
            if entry.name != b"lost+found":  # mke2fs has made that
                self._debugfs.tell(b"mkdir", here)
        elif entry.kind == stat.S_IFREG:
            self._debugfs.tell(b"write", self._readable(entry.path), name)
        elif entry.kind == stat.S_IFLNK:
            target = entry.target()
            if not _fits(target):
                self._late_symlink(entry, target)
                return
            self._debugfs.tell(b"symlink", here, target)
        elif entry.kind == stat.S_IFIFO:
            self._debugfs.tell(b"mknod", name, b"p")
        else:
            device = entry.status.st_rdev
            letter = b"c" if entry.kind == stat.S_IFCHR else b"b"
            self._debugfs.tell(b"mknod", name, letter, b"%d" % os.major(device), b"%d" % os.minor(device))
        self._inode(here, entry)

    def _reachable(self, path: bytes) -> bytes:
        """The path of an entry as it is until the end."""
        if not self._stand_ins:
            return path
        steps = path.split(b"/")
        names = [self._stand_ins.get(b"/".join(steps[: depth + 1]), step) for depth, step in enumerate(steps)]
        return b"/".join(names)

    def _readable(self, path: bytes) -> bytes:
        return path if _fits(path) else self._debugfs.link(f"source-{self._number}", path)

    def _late_symlink(self, entry: WalkEntry, target: bytes) -> None:
        """A target with a line end in it."""
        path = b"/" + self._reachable(entry.name)
        self._debugfs.later(b"symlink", path, target)
        self._inode(path, entry, self._debugfs.later)

    def _inode(self, here: bytes, entry: WalkEntry, tell: Callable[..., None] | None = None) -> None:
        """Owner, mode, time, number of names and extended attributes of what was just made."""
        tell = tell or self._debugfs.tell
        status = entry.status
        is_folder = entry.kind == stat.S_IFDIR
        values: list[tuple[bytes, int]] = []
        for field, value in ((b"uid", status.st_uid), (b"gid", status.st_gid)):
            if value or is_folder:  # the root's and lost+found's are mke2fs's own
                values.append((field, value))
        if entry.kind not in (stat.S_IFREG, stat.S_IFLNK):
            values.append((b"mode", status.st_mode))
        if not is_folder and self._names[entry.inode] > 1:
            values.append((b"links_count", self._names[entry.inode]))
        flags = entry.flags()
        if flags:
            values.append((b"flags", flags | self._own_flags))
        for field, value in values:
            tell(b"sif", here, field, b"0%o" % value if field == b"mode" else b"%d" % value)
        if not is_folder and entry.mtime(self._epoch) != self._epoch:
            tell(b"sif", here, b"mtime", b"@%d" % entry.mtime(self._epoch))
        for count, (attribute, content) in enumerate(entry.attributes().items()):
            value_file = self._debugfs.temporary(f"attribute-{self._number}-{count}", content)
            tell(b"ea_set", b"-f", value_file, here, os.fsencode(attribute))
