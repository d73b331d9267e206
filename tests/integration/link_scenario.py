"""Runs as root of a user namespace: makes edits stage by stage, on layers and on one plain file system, and compares.

A line of JSON on standard input is a world: ``{"stages": [[EDIT, ...], ...], "elsewhere": N, "older": N,
"longest": N}``. The answer is a line with the first difference, or null. The layers of the first ``elsewhere`` stages
go to another store, those of the first ``older`` lose their lists; longer chains than ``longest`` are folded.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stages.layers import link_groups, overlay
from stages.layers.hard_links import run_and_join
from stages.layers.store import Record, Store
from stages.remote_cache import layer_archive
from stages.remote_cache.exporter import described

NOW = 1_100_000_000  # times before are those that edits give
Edit = Sequence[Any]
Seen = dict[str, Any]


def _keep_times(path: str, seconds: int) -> None:
    os.utime(path, ns=(os.lstat(path).st_atime_ns, seconds * 1_000_000_000 + 5), follow_symlinks=False)


def _write(path: str, text: str, seconds: int, mode: str) -> None:
    with open(path, mode, encoding="ascii") as file:  # noqa: PTH123
        file.write(text)
    _keep_times(path, seconds)


def _replace(path: str, text: str, seconds: int) -> None:
    _write(f"{path}.new", text, seconds, "x")
    os.rename(f"{path}.new", path)  # noqa: PTH104


def _move(path: str, target: str) -> None:
    """As ``mv`` does it: rename(2) leaves two names of one file alone."""
    if os.path.lexists(target) and os.path.samestat(os.lstat(path), os.lstat(target)):
        os.unlink(path)  # noqa: PTH108
    else:
        os.rename(path, target)  # noqa: PTH104


def _empty(path: str) -> None:
    shutil.rmtree(path)
    os.mkdir(path)  # noqa: PTH102


def _make_folders() -> None:
    os.makedirs("e/f")  # noqa: PTH103
    os.mkdir("d")  # noqa: PTH102


def _run(*command: str) -> None:
    subprocess.run(command, check=False, stderr=subprocess.DEVNULL)


EDITS: dict[str, Callable[..., None]] = {
    "append": lambda path, text, seconds: _write(path, text, seconds, "r+" if not text else "a"),
    "truncate": lambda path, text, seconds: _write(path, text, seconds, "w"),
    "create": lambda path, text, seconds: _write(path, text, seconds, "x"),
    "replace": _replace,
    "chmod": lambda path, mode: os.chmod(path, mode),  # noqa: PTH101
    "attribute": lambda path, value: os.setxattr(path, "user.test", value.encode()),
    "touch": _keep_times,
    "remove": os.unlink,
    "move": _move,
    "link": lambda path, target: os.link(path, target, follow_symlinks=False),
    "copy": lambda path, target: _run("cp", "-a", path, target),
    "point": lambda path, target: os.symlink(target, path),  # noqa: PTH211
    "empty": _empty,
    "folders": _make_folders,
}

BY_CONTENT = ("append", "truncate", "chmod", "attribute")  # would be done to what a link leads to


def edit(root: Path, edits: Sequence[Edit]) -> None:
    """Make the edits below ``root``, leaving out those that cannot be made."""
    os.chdir(root)
    for name, *arguments in edits:
        if name in BY_CONTENT and os.path.islink(arguments[0]):  # noqa: PTH114
            continue
        try:
            EDITS[name](*arguments)
        except OSError:
            continue
    os.chdir("/")


def look(root: Path) -> Seen:
    """Everything that is to be the same, by name; the names of one file are told by the first of them."""
    seen: Seen = {}
    names: dict[int, list[str]] = defaultdict(list)
    for directory, folders, files in os.walk(root):
        for name in sorted((*folders, *files)):
            path = Path(directory, name)
            status = path.lstat()
            shown = path.relative_to(root).as_posix()
            if stat.S_ISDIR(status.st_mode):
                seen[shown] = ["folder", status.st_mtime if status.st_mtime < NOW else "now"]
                continue
            names[status.st_ino].append(shown)
            held = str(path.readlink()) if path.is_symlink() else path.read_text(encoding="ascii")
            attributes = {
                key: os.getxattr(path, key, follow_symlinks=False).decode("ascii", "replace")
                for key in os.listxattr(path, follow_symlinks=False)
                if key.startswith("user.test")
            }
            modified = 0 if path.is_symlink() else status.st_mtime_ns
            seen[shown] = [f"{status.st_mode:o}", held, modified, attributes]
    for group in names.values():
        for name in group:
            seen[name].append(min(group))
    return seen


def send_elsewhere(store: Store, records: Sequence[Record], target: Store) -> None:
    """Every record's layer, packed here and unpacked in the other store."""
    for record in records:
        archive = io.BytesIO()
        layer = store.root / "layers" / record.layer if record.layer else None
        layer_archive.pack(
            layer, described(record, store.digests.digest(record.layer) if record.layer else ""), archive
        )
        archive.seek(0)
        with target.workplace() as place:
            layer_archive.unpack(archive, place.upper)
            target.adopt(place, record, f"place-{record.key}", store.digests.digest(record.layer))


def forget_lists(store: Store, records: Sequence[Record]) -> None:
    """As an earlier version left these layers: without lists and marks."""
    for record in records:
        if record.layer:
            for group in store.links.of(record.layer, store.root).groups:
                link_groups.set_flag(str(store.root / "layers" / record.layer / group.names[0]), on=False)
            (store.root / "links" / record.layer).unlink()
    store.links = link_groups.LayerLinks(store.root)


def compare(world: dict[str, Any], folder: Path) -> Any:
    """The first difference after any stage; None (``tell``: what the stages were told) where there is none."""
    overlay.LONGEST_CHAIN = world["longest"]
    plain, merged = folder / "plain", folder / "merged"
    plain.mkdir()
    (folder / "store").mkdir()
    (folder / "other").mkdir()
    store, records, said = Store(folder / "store"), list[Record](), list[str]()
    for number, edits in enumerate(world["stages"]):
        chain = records[-1].chain() if records else ()
        with store.workplace() as place:

            def run(
                edits: Sequence[Edit] = edits, place: Any = place, chain: Sequence[str] = chain, store: Store = store
            ) -> int:
                with overlay.mounted(store, chain, merged, place.upper, place.path / "work") as tree:
                    edit(tree / "tree", edits)
                return 0

            run_and_join(store, chain, place, run, said.append)
            record = Record(f"k{number}", "", chain, (), {}, f"stage {number}", 1.0, 0.1, 0, "")
            records.append(store.keep(place, record, f"p{number}"))
        edit(plain, edits)
        with overlay.mounted(store, records[-1].chain(), merged) as tree:
            found, right = look(tree / "tree"), look(plain)
        if found != right:
            names = [name for name in {*found, *right} if found.get(name) != right.get(name)]
            return {
                "stage": number,
                "layers": {n: found.get(n) for n in names},
                "plain": {n: right.get(n) for n in names},
            }
        if number + 1 == world["elsewhere"]:
            store.sync([])
            other = Store(folder / "other")
            send_elsewhere(store, records, other)
            store = other
        if number + 1 == world["older"]:
            forget_lists(store, records)
    return "; ".join(said) if world.get("tell") else None


def main() -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        folder = Path(tempfile.mkdtemp(dir=sys.argv[1]))
        print(json.dumps(compare(json.loads(line), folder)), flush=True)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
