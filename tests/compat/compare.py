"""Compare two trees given as tar files: packages, files, contents. Pure but for reading the two files.

Prints what differs by class, what a written list expects apart, and which of the list's entries matched nothing.
``python -m tests.compat.compare OURS.tar DIB.tar [--expected FILE] [--json]``; status 1 where something unexpected
differs.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import posixpath
import sys
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

EXPECTED = Path(__file__).with_name("expected.yaml")
STATUS = "var/lib/dpkg/status"
CLASSES = ("package", "version", "file", "type", "mode", "owner", "link", "xattr", "device", "content")
_XATTR = "SCHILY.xattr."


@dataclass(frozen=True)
class Entry:
    """One file of a tree; ``digest`` is that of a regular file's content, ``target`` a symbolic link's."""

    kind: str
    mode: int
    owner: tuple[int, int]
    target: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[str, str], ...] = ()
    digest: str = ""


@dataclass(frozen=True)
class Tree:
    """A tree: its files by path (no slash in front) and its Debian packages with versions."""

    files: Mapping[str, Entry]
    packages: Mapping[str, str]


@dataclass(frozen=True)
class Difference:
    """One thing in which two trees differ: what ours has, and what theirs."""

    kind: str
    path: str
    ours: str
    theirs: str


@dataclass(frozen=True)
class Expectation:
    """Differences that are known: of this class (or any), at paths that match, and why."""

    pattern: str
    reason: str
    kinds: tuple[str, ...] = ()

    def matches(self, difference: Difference) -> bool:
        """Whether this is the difference meant; ``*`` in a pattern also matches slashes."""
        return (not self.kinds or difference.kind in self.kinds) and fnmatch.fnmatchcase(difference.path, self.pattern)


@dataclass(frozen=True)
class Report:
    """What differs unexpectedly, what was expected (with the entry of the list), and entries that matched nothing."""

    unexpected: tuple[Difference, ...]
    expected: tuple[tuple[Difference, Expectation], ...] = ()
    unused: tuple[Expectation, ...] = field(default=())

    @property
    def same(self) -> bool:
        """Whether nothing differs but for what is expected."""
        return not self.unexpected


def packages(status: str) -> dict[str, str]:
    """Installed packages of a dpkg status file: ``name:architecture`` to version."""
    found = {}
    for paragraph in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status", "").endswith(" installed"):
            found[f"{fields['Package']}:{fields.get('Architecture', '')}"] = fields.get("Version", "")
    return found


def _kind(member: tarfile.TarInfo) -> str:
    kinds = (
        ("file", member.isreg()),
        ("folder", member.isdir()),
        ("symlink", member.issym()),
        ("character device", member.ischr()),
        ("block device", member.isblk()),
        ("fifo", member.isfifo()),
    )
    return next((name for name, is_it in kinds if is_it), f"tar type {member.type!r}")


def _path(name: str) -> str:
    return posixpath.normpath(f"/{name}").lstrip("/")


def _entry(member: tarfile.TarInfo, digest: str) -> Entry:
    xattrs = {key.removeprefix(_XATTR): value for key, value in member.pax_headers.items() if key.startswith(_XATTR)}
    node = member.ischr() or member.isblk()
    return Entry(
        _kind(member),
        0 if member.issym() else member.mode & 0o7777,
        (member.uid, member.gid),
        member.linkname if member.issym() else "",
        (member.devmajor, member.devminor) if node else (0, 0),
        tuple(sorted(xattrs.items())),
        digest,
    )


def read(file: Path) -> Tree:
    """The tree in a tar file, of any compression; a hard link is the file it links to. tarfile.TarError if broken."""
    files: dict[str, Entry] = {}
    status = ""
    with tarfile.open(file) as archive:
        for member in archive:
            path = _path(member.name)
            if member.islnk():
                files[path] = files[_path(member.linkname)]
                continue
            digest = ""
            if member.isreg():
                opened = archive.extractfile(member)
                assert opened is not None
                content = hashlib.sha256()
                for piece in iter(lambda: opened.read(1 << 20), b""):  # noqa: B023  # used within this turn
                    content.update(piece)
                digest = content.hexdigest()
                if path == STATUS:
                    opened.seek(0)
                    status = opened.read().decode()
            files[path] = _entry(member, digest)
    return Tree(files, packages(status))


def _of_packages(ours: Mapping[str, str], theirs: Mapping[str, str]) -> Iterable[Difference]:
    for name in sorted(ours.keys() | theirs.keys()):
        here, there = ours.get(name, ""), theirs.get(name, "")
        if here != there:
            yield Difference("version" if here and there else "package", name, here, there)


def _of_entry(path: str, here: Entry, there: Entry) -> Iterable[Difference]:
    if here.kind != there.kind:
        yield Difference("type", path, here.kind, there.kind)
        return
    pairs = (
        ("mode", f"{here.mode:04o}", f"{there.mode:04o}"),
        ("owner", "{}:{}".format(*here.owner), "{}:{}".format(*there.owner)),
        ("link", here.target, there.target),
        ("device", "{}:{}".format(*here.device), "{}:{}".format(*there.device)),
        ("xattr", repr(dict(here.xattrs)), repr(dict(there.xattrs))),
        ("content", here.digest[:12], there.digest[:12]),
    )
    for kind, mine, yours in pairs:
        if mine != yours:
            yield Difference(kind, path, mine, yours)


def differences(ours: Tree, theirs: Tree) -> list[Difference]:
    """All in which two trees differ, packages first, then files by path; times and sizes are no difference."""
    found = list(_of_packages(ours.packages, theirs.packages))
    for path in sorted(ours.files.keys() | theirs.files.keys()):
        here, there = ours.files.get(path), theirs.files.get(path)
        if here is None or there is None:
            found.append(Difference("file", path, here.kind if here else "", there.kind if there else ""))
        else:
            found += _of_entry(path, here, there)
    return found


def judge(found: Iterable[Difference], expectations: Sequence[Expectation]) -> Report:
    """Sort differences by whether the list has them: its first entry that matches counts."""
    unexpected, expected, used = [], [], set()
    for difference in found:
        entry = next((each for each in expectations if each.matches(difference)), None)
        if entry is None:
            unexpected.append(difference)
        else:
            used.add(entry)
            expected.append((difference, entry))
    return Report(tuple(unexpected), tuple(expected), tuple(each for each in expectations if each not in used))


def expectations(text: str) -> tuple[Expectation, ...]:
    """The written list: entries with ``pattern``, ``reason`` and, on wish, ``kinds``. ValueError naming a bad entry."""
    found = []
    for number, entry in enumerate(yaml.safe_load(text) or [], 1):
        kinds = tuple(entry.get("kinds", ()))
        if not entry.get("pattern") or not entry.get("reason") or set(entry) - {"pattern", "reason", "kinds"}:
            message = f"entry {number} needs a pattern and a reason, and may have kinds: {entry}"
            raise ValueError(message)
        if set(kinds) - set(CLASSES):
            message = f"entry {number} names kinds that are none: {kinds}; there are {', '.join(CLASSES)}"
            raise ValueError(message)
        found.append(Expectation(entry["pattern"], " ".join(entry["reason"].split()), kinds))
    return tuple(found)


def text(report: Report, most: int = 40) -> str:
    """For people: what differs by class, at most so many lines of each."""
    lines = []
    for kind in CLASSES:
        of_kind = [each for each in report.unexpected if each.kind == kind]
        if not of_kind:
            continue
        lines.append(f"{kind}: {len(of_kind)}")
        lines += [f"  {each.path}: ours {each.ours or '-'}, DIB's {each.theirs or '-'}" for each in of_kind[:most]]
        if len(of_kind) > most:
            lines.append(f"  and {len(of_kind) - most} more")
    lines.append(f"{len(report.unexpected)} unexpected differences, {len(report.expected)} expected")
    lines += [f"not needed: {each.pattern} ({each.reason})" for each in report.unused]
    return "\n".join(lines)


def as_json(report: Report) -> str:
    """The same for programs, whole."""
    return json.dumps(
        {
            "unexpected": [vars(each) for each in report.unexpected],
            "expected": [{**vars(each), "reason": entry.reason} for each, entry in report.expected],
            "unused": [each.pattern for each in report.unused],
        },
        indent=2,
    )


def main() -> int:
    """Compare the two trees that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("ours", type=Path)
    parser.add_argument("theirs", type=Path)
    parser.add_argument("--expected", type=Path, default=EXPECTED)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = judge(differences(read(options.ours), read(options.theirs)), expectations(options.expected.read_text()))
    print(as_json(report) if options.json else text(report))
    return 0 if report.same else 1


if __name__ == "__main__":
    sys.exit(main())
