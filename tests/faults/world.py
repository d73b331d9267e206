"""A small world to kill builds in: elements, a store, a destination and a folder that is a shared cache."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.integration.command import script, write_element

VARIANTS = 2
NAME = "victim"
QUIET = ("--no-documents", "--name", NAME)
DISK = ("-o", "raw")


def elements(folder: Path) -> None:
    """An operating system of a few hundred small files, made in some stages without any package."""
    write = (
        'mkdir -p "$TARGET_ROOT"/{etc,tmp,proc,sys,dev,opt}',
        'for n in {1..150}; do echo "$n $DIB_VARIANT" > "$TARGET_ROOT/opt/file-$n"; done',
    )
    more = 'mkdir -p "$TARGET_ROOT/opt/{0}"; seq 1 20000 > "$TARGET_ROOT/opt/{0}/numbers"'
    files = {
        "element-provides": "operating-system\n",
        "environment.d/10-variant.bash": "export DIB_VARIANT=${DIB_VARIANT:-0} DISTRO_NAME=victim\n",
        "root.d/10-os": script(*write),
        **{f"extra-data.d/{number}-more": script(more.format(number)) for number in (20, 30)},
        "extra-data.d/40-late": script('echo "$DIB_VARIANT" > "$TARGET_ROOT/etc/late"; sleep 0.05'),
        "extra-data.d/50-beside": script("seq 1 3000 > beside.txt"),
    }
    write_element(folder, "victim-os", files)


@dataclass(frozen=True)
class World:
    """Everything below one folder; ``engine`` builds."""

    root: Path
    engine: str

    def __post_init__(self) -> None:
        for name in ("elements", "out", "tmp", "cwd"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        elements(self.root / "elements")

    @property
    def environment(self) -> dict[str, str]:
        """Of every command."""
        store = str(self.root / "store") if self.engine == "host" else f"dib-ctr-faults-{self.root.name}"
        own = {"DIB_CTR_STORE": store, "XDG_CACHE_HOME": str(self.root / "cache"), "TMPDIR": str(self.root / "tmp")}
        return {**os.environ, **own}

    def argv(self, *arguments: str) -> list[str]:
        """A command line of dib-ctr."""
        words = 2 if arguments[0] == "cache" else 1
        options = ["--engine", self.engine]
        if arguments[0] == "build":
            options += ["--elements-path", str(self.root / "elements"), "--dest", str(self.root / "out")]
        return [sys.executable, "-m", "builder.cli", *arguments[:words], *options, *arguments[words:]]

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start it in a session of its own; what it says is in ``said``."""
        said = (self.root / "said").open("wb")
        return subprocess.Popen(
            self.argv(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=self.environment,
            cwd=self.root / "cwd",
            start_new_session=True,
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run it to its end: status, and what it said."""
        status = self.start(*arguments).wait()
        return status, (self.root / "said").read_text(errors="replace")

    def remove_store(self) -> None:
        """Begin with an empty store."""
        if self.engine == "host":
            shutil.rmtree(self.root / "store", ignore_errors=True)
            return
        self.run("cache", "prune", "--all")

    def remove(self) -> None:
        """Leave nothing of this world."""
        if self.engine != "host":
            volume = self.environment["DIB_CTR_STORE"]
            subprocess.run([self.engine, "volume", "rm", "-f", volume], capture_output=True)
        shutil.rmtree(self.root, ignore_errors=True)

    # -- what there is ---------------------------------------------------------------------------------------------

    def digests(self) -> dict[str, str]:
        """SHA-256 of each file in the destination, by its path."""
        found = {}
        for file in sorted((self.root / "out").rglob("*")):
            if file.is_file() and not file.is_symlink():
                found[file.relative_to(self.root / "out").as_posix()] = hashlib.sha256(file.read_bytes()).hexdigest()
        return found

    def clean_destination(self) -> None:
        """The user removes the outputs."""
        shutil.rmtree(self.root / "out")
        (self.root / "out").mkdir()

    def leftovers(self) -> Iterator[str]:
        """What lies around and should not, a path each; no build must be running."""
        yield from (f"out/{path.name}" for path in (self.root / "out").iterdir() if path.name.startswith("."))
        yield from (f"cache: {path}" for path in (self.root / "cache").rglob("*") if ".partial" in path.name)
        loads = self.root / "cache/dib-ctr/tmp"
        yield from (f"cache: {path}" for path in (loads.iterdir() if loads.is_dir() else ()))
        yield from (f"tmp/{path.name}" for path in (self.root / "tmp").iterdir())
        shared = self.root / "shared"
        yield from (f"shared: {path}" for path in shared.rglob(".*") if path.name != ".lock")
        mounts = Path("/proc/self/mountinfo").read_text()
        yield from (f"mount {line.split()[4]}" for line in mounts.splitlines() if str(self.root) in line)
        if self.engine == "host" and (self.root / "store").is_dir():
            yield from self._of_store(self.root / "store")

    def _of_store(self, store: Path) -> Iterator[str]:
        for name in ("work", "locks", "sessions"):
            yield from (f"store/{name}/{path.name}" for path in (store / name).iterdir())
        yield from (f"store/outputs/{p.name}" for p in (store / "outputs").iterdir() if not p.name.startswith("files-"))
        pins = [path for path in (store / "pins").iterdir() if path.name != "gate"]
        yield from (f"store/pins/{path.name}" for path in pins if not path.name.startswith("lent-"))
        hidden = (
            path for name in ("keys", "last", "blocks", "outputs", "synced") for path in (store / name).rglob(".*")
        )
        yield from (f"store: {path}" for path in hidden)

    def unnamed_layers(self) -> list[str]:
        """Layers that no record names: none after ``cache prune``."""
        store = self.root / "store"
        if not (store / "keys").is_dir():
            return []
        records: list[Mapping[str, object]] = [json.loads(file.read_text()) for file in (store / "keys").glob("*.json")]
        named = {"base"}
        for record in records:
            named.update([str(record["layer"]), *record["below"]])  # type: ignore[misc]
        return [path.name for path in (store / "layers").iterdir() if path.name not in named]
