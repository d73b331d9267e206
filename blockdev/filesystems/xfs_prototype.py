"""What mkfs.xfs makes of a tree, as a prototype file (mkfs.xfs(8), option ``-p``): only words, and each file once."""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.errors import BuildError
from blockdev.filesystems.xfs_names import is_word, same_length, stand_in
from blockdev.tree.walk import WalkEntry

_LETTERS = {
    stat.S_IFREG: b"-",
    stat.S_IFDIR: b"d",
    stat.S_IFLNK: b"l",
    stat.S_IFIFO: b"p",
    stat.S_IFCHR: b"c",
    stat.S_IFBLK: b"b",
}


@dataclass(frozen=True)
class Plan:
    """A tree and the words for it.

    ``entries`` in the order of the tree; ``words``: what stands for a name that is none, by path; ``firsts``: the entry
    that stands for all names of a file, by path; ``copies``: how many files are there once for each name.
    """

    entries: list[WalkEntry]
    words: dict[bytes, bytes]
    firsts: dict[bytes, WalkEntry]
    copies: int

    def first(self, entry: WalkEntry) -> WalkEntry:
        """The entry of whose inode this one is a further name; or itself."""
        return self.firsts.get(entry.name, entry)

    def word(self, entry: WalkEntry) -> tuple[bytes, bytes]:
        """The folder and the name that the file system has at first for an entry."""
        folder, _, name = entry.name.rpartition(b"/")
        return folder, self.words.get(entry.name, name)

    def target(self, entry: WalkEntry) -> bytes:
        """The target that a symbolic link has at first."""
        target = entry.target()
        return target if is_word(target.replace(b"/", b"_")) else same_length(target)


def plan(entries: list[WalkEntry], *, links: bool) -> Plan:
    """Choose the words; ``links``: can names be added to a file afterwards."""
    inside: dict[bytes, set[bytes]] = {}
    for entry in entries[1:]:
        folder, _, name = entry.name.rpartition(b"/")
        inside.setdefault(folder, set()).add(name)
    words: dict[bytes, bytes] = {}
    for entry in entries[1:]:
        folder, _, name = entry.name.rpartition(b"/")
        if is_word(name):
            continue
        word = stand_in(name, inside[folder])
        if word is None:
            raise BuildError(
                f"an xfs file system written without the kernel cannot hold a name like {os.fsdecode(name)!r}",
                where=repr(os.fsdecode(entry.path)),
                hint="choose ext4 or btrfs, or the privileged assembly",
            )
        inside[folder].add(word)
        words[entry.name] = word
    several = Counter(entry.inode for entry in entries if entry.kind != stat.S_IFDIR)
    firsts: dict[bytes, WalkEntry] = {}
    if links:
        first_of: dict[tuple[int, int], WalkEntry] = {}
        for entry in entries:
            if entry.kind != stat.S_IFDIR and first_of.setdefault(entry.inode, entry) is not entry:
                firsts[entry.name] = first_of[entry.inode]
    return Plan(entries, words, firsts, 0 if links else sum(count > 1 for count in several.values()))


def prototype(planned: Plan, folder: Path) -> bytes:
    """The prototype; ``folder`` takes links to files whose own path is no word."""
    inside: dict[bytes, list[WalkEntry]] = {}
    for entry in planned.entries[1:]:
        if planned.first(entry) is entry:
            inside.setdefault(entry.name.rpartition(b"/")[0], []).append(entry)
    lines = [b"-", b"0 0", _described(planned, planned.entries[0], folder, 0)]
    pending: list[WalkEntry | None] = [None, *reversed(inside.get(b"", []))]
    while pending:
        entry_or_end = pending.pop()
        if entry_or_end is None:
            lines.append(b"$")
            continue
        lines.append(planned.word(entry_or_end)[1] + b" " + _described(planned, entry_or_end, folder, len(lines)))
        if entry_or_end.kind == stat.S_IFDIR:
            pending += [None, *reversed(inside.get(entry_or_end.name, []))]
    return b"\n".join(lines) + b"\n"


def _described(planned: Plan, entry: WalkEntry, folder: Path, number: int) -> bytes:
    """What follows a name: type, mode, owners, and what there is inside."""
    status = entry.status
    special = (b"u" if status.st_mode & stat.S_ISUID else b"-") + (b"g" if status.st_mode & stat.S_ISGID else b"-")
    line = _LETTERS[entry.kind] + special + b"%03o %d %d" % (status.st_mode & 0o777, status.st_uid, status.st_gid)
    if entry.kind == stat.S_IFREG:
        path = entry.path
        if not is_word(path.replace(b"/", b"_")):
            link = folder / f"source-{number}"
            link.symlink_to(os.fsdecode(path))
            path = os.fsencode(link)
        return line + b" " + path
    if entry.kind == stat.S_IFLNK:
        return line + b" " + planned.target(entry)
    if entry.kind in (stat.S_IFCHR, stat.S_IFBLK):
        return line + b" %d %d" % (os.major(status.st_rdev), os.minor(status.st_rdev))
    return line
