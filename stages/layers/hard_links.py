"""Names of one file that lie in an earlier layer stay names of one file, whatever a stage does by one of them.

An overlay copies a file up by the name that is written to; its other names stay the old file. So after a stage, whoever
was copied up is joined to the names that it has below again (:func:`join`). A file that was put in the place of another
one (a new file renamed over it, as package tools do) is no copy, and its other names stay what they were.

Where a stage writes by two names of one file, differently, no joining afterwards gives what one file would hold. Then
the stage runs again, with those names as one file in its own layer from the start (:func:`hold_together`).
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from blockdev.core.errors import BuildError
from stages.layers.copy_files import copy_files
from stages.layers.digest_list import OVERLAY
from stages.layers.link_groups import LayerGroups, LinkGroup, has_flag, set_flag
from stages.layers.overlay import fold
from stages.layers.store import Store, Workplace

_OPAQUE = "user.overlay.opaque"
_HOST_LABELS = ("security.selinux", "security.ima", "security.evm")  # the building host's own
_CHUNK = 1 << 20
_RUNS = 3  # of one stage
_ABSENT, _HIDDEN, _THERE = range(3)


def run_and_join(
    store: Store, chain: Sequence[str], workplace: Workplace, run: Callable[[], int], tell: Callable[[str], None]
) -> int:
    """Run a stage on a chain of layers into ``workplace`` and join what it changed; ``run`` gives the exit status.

    ``tell`` gets a sentence for the stage's log where it runs again. Raises BuildError, OSError, and what ``run`` does.
    """
    layers = fold(store, chain)
    groups = [store.links.of(layer, workplace.path) for layer in layers]
    lower = [f"{store.root}/layers/{layer}" for layer in layers]
    held: list[LinkGroup] = []
    for _ in range(_RUNS):
        status = run()
        differing = () if status else join(lower, groups, str(workplace.upper))
        if not differing:
            return status
        held += differing
        tell(f"it wrote to one file by two of its names ({_shown(differing)}): it runs again, with these as one")
        workplace.clear()
        hold_together(lower, held, str(workplace.upper))
    raise BuildError(
        f"each time it runs this script writes to other files by two of their names, lastly {_shown(held[-1:])}",
        hint="have it write to each file by one of its names",
    )


def _shown(groups: Sequence[LinkGroup]) -> str:
    names = " and ".join(f"/{name.removeprefix('tree/')}" for name in groups[0].names[:2])
    return f"{names}, and other files" if len(groups) > 1 else names


def join(lower: Sequence[str], groups: Sequence[LayerGroups], upper: str) -> tuple[LinkGroup, ...]:
    """Join what a stage changed in its layer's folder ``upper``, with the overlay unmounted.

    ``lower`` are the folders of the layers below, lowest first; ``groups`` those of all these layers. Returns the
    groups of which two names were written to, differently. Raises OSError.
    """
    changes = _Changes(lower, groups, upper)
    return changes.join() if changes.touched else ()


def hold_together(lower: Sequence[str], groups: Iterable[LinkGroup], upper: str) -> None:
    """Have the names of each group that are still there as one file in ``upper``, an empty layer. Raises OSError."""
    for group in groups:
        changes = _Changes(lower, (LayerGroups((group,)),), upper)
        names = [name for name in group.names if changes.below(name) is group]
        if names:
            source = f"{changes.folder_of(group)}/{names[0]}"
            with changes.folder_for(names[0]):
                copy_files(source, f"{upper}/{names[0]}")
            changes.link(names[0], names[1:])


def _state(folder: str, name: str) -> int:
    """What one layer says of a name: nothing, that whatever lies below is hidden, or that it is there."""
    path, opaque = folder, False
    *above, last = name.split("/")
    for part in above:
        path += f"/{part}"
        try:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                return _HIDDEN
        except FileNotFoundError:
            return _HIDDEN if opaque else _ABSENT
        opaque = opaque or _is_opaque(path)
    try:
        status = os.lstat(f"{path}/{last}")
    except FileNotFoundError:
        return _HIDDEN if opaque else _ABSENT
    return _HIDDEN if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0 else _THERE


def _is_opaque(folder: str) -> bool:
    try:
        return os.getxattr(folder, _OPAQUE, follow_symlinks=False) == b"y"
    except OSError:
        return False


@dataclass
class _Changes:
    """What a stage did to the names of groups."""

    lower: Sequence[str]
    layers: Sequence[LayerGroups]
    upper: str
    _folders: dict[str, int] = field(default_factory=dict)  # the state of folders in the stage's layer, by name

    @cached_property
    def _by_name(self) -> dict[str, list[LinkGroup]]:
        groups = defaultdict(list)
        for group in self._groups:
            for name in group.names:
                groups[name].append(group)
        return groups

    @property
    def _groups(self) -> list[LinkGroup]:
        return [group for layer in self.layers for group in layer.groups]

    def folder_of(self, group: LinkGroup) -> str:
        """The folder of the layer that a group lies in."""
        return next(folder for folder in self.lower if os.path.basename(folder) == group.layer)  # noqa: PTH119 (text)

    def below(self, name: str) -> LinkGroup | None:
        """The group of which the layers below show a file by this name."""
        for folder in reversed(self.lower):
            state = _state(folder, name)
            if state == _THERE:
                layer = os.path.basename(folder)  # noqa: PTH119 (text)
                return next((group for group in self._by_name.get(name, ()) if group.layer == layer), None)
            if state == _HIDDEN:
                return None
        return None

    # -- which names ---------------------------------------------------------------------------------------------------

    @cached_property
    def touched(self) -> list[str]:
        """The names of groups over which the stage's layer has something, or that it hides."""
        folders = [pair for layer in self.layers for pair in layer.folders.items()]
        names_of_groups = (name for folder, names in folders if self._folder_state(folder) != _ABSENT for name in names)
        return [name for name in dict.fromkeys(names_of_groups) if self._is_covered(name)]

    def _is_covered(self, name: str) -> bool:
        state = self._folder_state(name.rpartition("/")[0])
        return state == _HIDDEN or (state == _THERE and os.path.lexists(f"{self.upper}/{name}"))

    def _folder_state(self, folder: str) -> int:
        """A folder of the stage's layer: not in it, there beside the ones below, or in the place of these."""
        if not folder:
            return _THERE
        if folder not in self._folders:
            state = self._folder_state(folder.rpartition("/")[0])
            if state == _THERE:
                path = f"{self.upper}/{folder}"
                try:
                    is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
                    state = _HIDDEN if not is_folder or _is_opaque(path) else _THERE
                except FileNotFoundError:
                    state = _ABSENT
            self._folders[folder] = state
        return self._folders[folder]

    # -- which files are copies ----------------------------------------------------------------------------------------

    def join(self) -> tuple[LinkGroup, ...]:
        copies: dict[LinkGroup, dict[int, str]] = defaultdict(dict)  # the copies of a group by inode, one name each
        replaced = False
        for name in self.touched:
            group = self.below(name)
            origin = self._copied_at(name, group)
            if origin:
                copies[origin][os.lstat(f"{self.upper}/{name}").st_ino] = name
            replaced = replaced or (origin is not group)
        if replaced:  # what a name stood for may have another one now
            for name, group, inode in self._copies_elsewhere():
                copies[group].setdefault(inode, name)
        conflicts = [group for group, inodes in copies.items() if not self._join_copies(group, inodes)]
        return tuple(conflicts)

    def _copied_at(self, name: str, group: LinkGroup | None) -> LinkGroup | None:
        """The group whose copy lies at a name that was ``group``'s, if any."""
        path = f"{self.upper}/{name}"
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat.S_ISREG(status.st_mode):
            moved = self._by_mark.get(status.st_atime_ns)
            if has_flag(path):
                return moved or group
            if group is None or group.flagged:
                return None
            # A file system without the flag: what has the file's time of access or of change is a copy of it.
            times = os.lstat(f"{self.folder_of(group)}/{name}")
            return group if status.st_atime_ns == group.mark or status.st_mtime_ns == times.st_mtime_ns else None
        if group is None:
            return None
        below = f"{self.folder_of(group)}/{name}"
        same = stat.S_IFMT(os.lstat(below).st_mode) == stat.S_IFMT(status.st_mode) and not stat.S_ISDIR(status.st_mode)
        if same and stat.S_ISLNK(status.st_mode):
            same = os.readlink(below) == os.readlink(path)  # noqa: PTH115 (text)
        return group if same else None

    @cached_property
    def _by_mark(self) -> dict[int, LinkGroup]:
        return {group.mark: group for group in self._groups if group.flagged}

    def _copies_elsewhere(self) -> Iterator[tuple[str, LinkGroup, int]]:
        """Files of the stage's layer that are copies of a group's, by whatever name."""
        for directory, _, names in os.walk(self.upper):
            for name in names:
                path = f"{directory}/{name}"
                status = os.lstat(path)
                if status.st_atime_ns in self._by_mark and stat.S_ISREG(status.st_mode) and has_flag(path):
                    yield path[len(self.upper) + 1 :], self._by_mark[status.st_atime_ns], status.st_ino

    # -- joining -------------------------------------------------------------------------------------------------------

    def _join_copies(self, group: LinkGroup, copies: dict[int, str]) -> bool:
        """Make one file of a group's copies and of its names that lie below; False where the copies differ."""
        kept, *others = copies.values()
        if not all(_same(f"{self.upper}/{kept}", f"{self.upper}/{name}") for name in others):
            return False
        if others and not _same_content(f"{self.upper}/{kept}", f"{self.folder_of(group)}/{group.names[0]}"):
            return False  # the same was written twice: to one file, it would have been written one after the other
        inodes = copies.keys() - {os.lstat(f"{self.upper}/{kept}").st_ino}
        rest = [name for name in group.names if not self._is_covered(name) and self.below(name) is group]
        self.link(kept, [*(name for inode in inodes for name in self._names_of(inode)), *rest])
        if os.lstat(f"{self.upper}/{kept}").st_nlink == 1:
            set_flag(f"{self.upper}/{kept}", on=False)
        return True

    @cached_property
    def _by_inode(self) -> dict[int, list[str]]:
        """The names in the stage's layer, walked once for all groups; one may be another file's name by now."""
        by_inode: dict[int, list[str]] = defaultdict(list)
        for directory, _, names in os.walk(self.upper):
            for name in names:
                path = f"{directory}/{name}"
                by_inode[os.lstat(path).st_ino].append(path[len(self.upper) + 1 :])
        return by_inode

    def _names_of(self, inode: int) -> list[str]:
        names = dict.fromkeys(self._by_inode.get(inode, ()))
        return [name for name in names if os.lstat(f"{self.upper}/{name}").st_ino == inode]

    def link(self, source: str, names: Iterable[str]) -> None:
        """Have these names of the stage's layer be the file ``source`` of it."""
        for name in names:
            with self.folder_for(name):
                path = f"{self.upper}/{name}"
                if os.path.lexists(path):
                    os.unlink(path)  # noqa: PTH108 (text)
                os.link(f"{self.upper}/{source}", path, follow_symlinks=False)
                if "_by_inode" in self.__dict__:
                    self._by_inode[os.lstat(path).st_ino].append(name)

    def folder_for(self, name: str) -> _Folder:
        """The folder that a name is made in, in the stage's layer: as it is below, if it is not there yet."""
        folder = name.rpartition("/")[0]
        parts = folder.split("/")
        for count in range(1, len(parts) + 1):
            part = "/".join(parts[:count])
            if not os.path.lexists(f"{self.upper}/{part}"):
                with _Folder(os.path.dirname(f"{self.upper}/{part}")):  # noqa: PTH120 (text)
                    self._copy_folder(part)
                self._folders.pop(part, None)
        return _Folder(f"{self.upper}/{folder}")

    def _copy_folder(self, name: str) -> None:
        source = next(f"{folder}/{name}" for folder in reversed(self.lower) if _state(folder, name) == _THERE)
        target, status = f"{self.upper}/{name}", os.lstat(source)
        os.mkdir(target)  # noqa: PTH102 (text)
        os.chown(target, status.st_uid, status.st_gid)
        os.chmod(target, stat.S_IMODE(status.st_mode))  # noqa: PTH101 (text)
        for attribute, value in _attributes(source).items():
            os.setxattr(target, attribute, value)
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


class _Folder:
    """Names change in a folder, and its times do not: on one file system nothing would have been made here."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        self._status = os.lstat(self._path)

    def __exit__(self, *_: object) -> None:
        os.utime(self._path, ns=(self._status.st_atime_ns, self._status.st_mtime_ns))


def _attributes(path: str) -> dict[str, bytes]:
    return {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in os.listxattr(path, follow_symlinks=False)
        if not name.startswith(OVERLAY) and name not in _HOST_LABELS
    }


def _same(path: str, other: str) -> bool:
    """Would nobody notice if these two were one file."""
    statuses = os.lstat(path), os.lstat(other)
    if len({(s.st_mode, s.st_uid, s.st_gid, s.st_size, s.st_mtime_ns) for s in statuses}) > 1:
        return False
    if _attributes(path) != _attributes(other):
        return False
    if stat.S_ISLNK(statuses[0].st_mode):
        return os.readlink(path) == os.readlink(other)  # noqa: PTH115 (text)
    return _same_content(path, other)


def _same_content(path: str, other: str) -> bool:
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return True
    with open(path, "rb") as first, open(other, "rb") as second:  # noqa: PTH123 (text)
        while True:
            pieces = first.read(_CHUNK), second.read(_CHUNK)
            if pieces[0] != pieces[1]:
                return False
            if not pieces[0]:
                return True
