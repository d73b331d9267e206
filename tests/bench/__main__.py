"""Measure what docs/figures.md tells: medians in seconds, a peer's figure from the same run beside each.

``python -m tests.bench [--repeat N] [--only NAME] [--against COMMIT] [--json FILE]``. With a commit, that and this
checkout alone are measured, in turns. All takes ten minutes, and needs podman, mmdebstrap and the machine's Debian
mirror. Figures depend on the machine and the mirror: compare columns, not runs.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from qemu.architecture import native
from stages.repositories import apt_sources
from tests.bench.against import against
from tests.bench.cache import cache
from tests.bench.disks import disks, peak
from tests.bench.figures import Bench, Figure, run, spent
from tests.bench.links import links
from tests.bench.upstream import upstream_elements
from tests.integration.command import Command, stage_scripts, write_element

STAGES = 30


def podman_build(folder: Path, tag: str) -> str:
    """Build the Containerfile in ``folder`` with podman, layers cached; returns what it printed."""
    return run("podman", "build", "--isolation=chroot", "--network=host", "--layers", "-q", "-t", tag, str(folder))


def same_scripts_as_containerfile(bench: Bench, numbers: Sequence[int], base: str) -> Path:
    """A build folder for podman whose RUN lines are the very scripts of the element ``many``."""
    folder = bench.folder / "containerfile"
    folder.mkdir(exist_ok=True)
    lines = [f"FROM {base}"]
    lines += [f"RUN echo {number} > /etc/stage-{number}" for number in numbers]
    (folder / "Containerfile").write_text("\n".join(lines) + "\n")
    return folder


def import_tiny(bench: Bench) -> str:
    """The tiny operating system as an image that podman can build on."""
    command = bench.command("host")
    command.build("-o", "tar", "tiny-os")
    run("podman", "import", str(command.destination / "tiny-os.tar"), "localhost/dib-ctr-bench-base:1")
    return "localhost/dib-ctr-bench-base:1"


def nothing_changed(bench: Bench) -> list[Figure]:
    """debian-minimal, built before: nothing runs, nothing is written."""
    base = import_tiny(bench)
    folder = same_scripts_as_containerfile(bench, range(10, 10 + STAGES), base)
    podman_build(folder, "localhost/dib-ctr-bench:1")
    peer = bench.median(lambda: podman_build(folder, "localhost/dib-ctr-bench:1"))
    rows = []
    for engine, bound in (("host", 0.5), ("podman", 1.5)):
        command = bench.command(engine)
        command.build("debian-minimal")
        seconds = bench.median(functools.partial(command.build, "debian-minimal"))
        rows.append(
            Figure(
                f"nothing changed, {engine}", seconds, f"podman build, {STAGES} cached RUN", peer, bound, bench.repeat
            )
        )
    return rows


def machinery(bench: Bench) -> list[Figure]:
    """What a stage costs besides its script: many small scripts, less the time they take in one shell each."""
    count = 60
    write_element(
        bench.folder / "elements", "many", stage_scripts(range(100, 100 + count), "echo {0} > /tmp/stage-{0}")
    )
    command = bench.command("host")
    command.build("tiny-os")
    few = bench.median(lambda: command.build("-o", "tar", "--no-cache", "tiny-os"))
    many = bench.median(lambda: command.build("-o", "tar", "--no-cache", "tiny-os", "many"))
    scripts = sorted((bench.folder / "elements/many/install.d").iterdir())
    alone = bench.median(lambda: [subprocess.run([str(script)], check=True) for script in scripts])
    base = import_tiny(bench)
    folder = same_scripts_as_containerfile(bench, range(100, 110), base)
    peer = bench.median(
        lambda: run("podman", "build", "--isolation=chroot", "--network=host", "--no-cache", "-q", str(folder))
    )
    return [
        Figure(
            "machinery per stage, host",
            (many - few - alone) / count,
            "podman build, per RUN",
            peer / 10,
            0.030,
            bench.repeat,
        )
    ]


def cold(bench: Bench) -> list[Figure]:
    """debian-minimal from nothing, and with its packages in the cache; beside mmdebstrap of the same set to a tar."""
    mirror = apt_sources.debian_mirror()
    sources = [f"deb {mirror.archive} {suite} main" for suite in ("trixie", "trixie-updates")]
    sources.append(f"deb {mirror.security} trixie-security main")
    target = bench.folder / "mmdebstrap.tar"
    options = ["--variant=apt", *(f"--aptopt={line.rstrip(';')}" for line in apt_sources.settings())]

    def peer() -> None:
        target.unlink(missing_ok=True)
        run("mmdebstrap", *options, "trixie", str(target), *sources)

    rows = []
    peer_seconds = bench.median(peer)
    for engine in ("host", "podman"):
        command = bench.command(engine)
        command.build("tiny-os")
        seconds = bench.median(
            functools.partial(command.build, "debian-minimal"),
            functools.partial(command, "cache", "prune", "--all"),
        )
        rows.append(
            Figure(f"cold, {engine}", seconds, "mmdebstrap to a tar", peer_seconds, 1.3 * peer_seconds, bench.repeat)
        )
        seconds = bench.median(functools.partial(command.build, "--no-cache", "debian-minimal"))
        rows.append(
            Figure(
                f"packages cached, {engine}", seconds, "mmdebstrap to a tar", peer_seconds, peer_seconds, bench.repeat
            )
        )
    return rows


def one_script(bench: Bench) -> list[Figure]:
    """One more small script at the end of a plan of thirty stages on debian-minimal."""
    rows = []
    base = import_tiny(bench)
    numbers = itertools.count(1)

    def add(command: Command) -> None:
        last = stage_scripts([999], f"echo {next(numbers)} > /etc/last")
        write_element(bench.folder / "elements", "thirty", last)
        command.build("debian-minimal", "thirty")

    def add_run() -> None:
        folder = same_scripts_as_containerfile(bench, [*range(10, 10 + STAGES), 10_000 + next(numbers)], base)
        podman_build(folder, "localhost/dib-ctr-bench:2")

    add_run()
    peer = bench.median(add_run)
    for engine in ("host", "podman"):
        command = bench.command(engine)
        write_element(bench.folder / "elements", "thirty", stage_scripts(range(100, 100 + STAGES)))
        command.build("debian-minimal", "thirty")
        seconds = bench.median(functools.partial(add, command))
        name = f"one script at the end, {engine}"
        rows.append(Figure(name, seconds, "podman build, one RUN more", peer, 2.0, bench.repeat))
    return rows


@dataclass(frozen=True)
class Size:
    """One row of sizes, in MB (10^6 bytes) compressed, and the bound it should keep (0: it is a peer's)."""

    name: str
    megabytes: float
    bound: float = 0.0


def layout_size(folder: Path) -> float:
    """What the layers of an image layout come to, in MB."""
    index = json.loads((folder / "index.json").read_text())
    digest = index["manifests"][0]["digest"].removeprefix("sha256:")
    manifest = json.loads((folder / "blobs/sha256" / digest).read_text())
    return float(sum(layer["size"] for layer in manifest["layers"])) / 1e6


def image_sizes(bench: Bench) -> list[Size]:
    """debian-minimal and one package more, beside mmdebstrap's minbase and the same set through `podman build`."""
    command = bench.command("host")
    slim, small, whole, more = (command.destination / f"{name}.oci" for name in ("slim", "zstd", "whole", "more"))
    command.build(
        *("-o", f"oci,dest={slim}", "-o", f"oci,compress=zstd,dest={small}", "-o", f"oci,slim=no,dest={whole}"),
        "debian-minimal",
    )
    command.build("-o", f"oci,dest={more}", "-p", "nginx-light", "debian-minimal")
    mirror = apt_sources.debian_mirror()
    sources = [f"deb {mirror.archive} {suite} main" for suite in ("trixie", "trixie-updates")]
    sources.append(f"deb {mirror.security} trixie-security main")
    minbase, options = bench.folder / "minbase.tar", [f"--aptopt={line.rstrip(';')}" for line in apt_sources.settings()]
    minbase.unlink(missing_ok=True)
    run("mmdebstrap", "--variant=minbase", *options, "trixie", str(minbase), *sources)
    run("gzip", "-k", "-f", "-6", str(minbase))
    run("podman", "import", str(minbase), "localhost/dib-ctr-bench-minbase:1")
    folder = bench.folder / "same-set"
    folder.mkdir(exist_ok=True)
    (folder / "95host").write_text("\n".join(apt_sources.settings()) + "\n")
    (folder / "Containerfile").write_text(
        "FROM localhost/dib-ctr-bench-minbase:1\nCOPY 95host /etc/apt/apt.conf.d/95host\n"
        "RUN apt-get update && apt-get install -y --no-install-recommends nginx-light "
        "&& apt-get clean && rm -rf /var/lib/apt/lists/*\n"
    )
    podman_build(folder, "localhost/dib-ctr-bench-set:1")
    peer = bench.folder / "same-set.oci"
    run("podman", "save", "--format", "oci-dir", "-o", str(peer), "localhost/dib-ctr-bench-set:1")
    return [
        Size("debian-minimal", layout_size(slim), 29.8),
        Size("debian-minimal, compress=zstd", layout_size(small), 25.0),
        Size("debian-minimal, --no-slim", layout_size(whole)),
        Size("mmdebstrap --variant=minbase, gzip -6", minbase.with_suffix(".tar.gz").stat().st_size / 1e6),
        Size("debian-minimal -p nginx-light", layout_size(more)),
        Size("the same set through podman build on minbase", layout_size(peer)),
    ]


def size_table(sizes: Sequence[Size]) -> str:
    """The sizes as a Markdown table."""
    rows = ["| image | MB compressed | bound |", "| --- | ---: | ---: |"]
    rows += [f"| {size.name} | {size.megabytes:.1f} | {f'{size.bound:.1f}' if size.bound else ''} |" for size in sizes]
    return "\n".join(rows)


def memory_and_store(bench: Bench) -> dict[str, str]:
    """Peak memory of a cold build (its largest process) and what the store holds afterwards."""
    command = bench.command("host")
    command("cache", "prune", "--all")
    child = os.fork()
    if child == 0:
        arguments = command.arguments("build", "debian-minimal")
        null = os.open("/dev/null", os.O_WRONLY)
        os.dup2(null, 1)
        os.execvp(arguments[0], arguments)
    _, _, usage = os.wait4(child, 0)
    return {
        "peak memory of one process (MiB)": f"{usage.ru_maxrss / 1024:.0f}",
        "store": command("cache", "du").stdout.strip(),
    }


def foreign(bench: Bench) -> list[Figure]:
    """debian-minimal of another architecture with its packages in the cache; beside it this machine's own.

    Both take turns, so that other work on the machine meets both. The processor's seconds are the host engine's alone.
    """
    archs = (native(), "arm64" if native() != "arm64" else "ppc64el")
    rows = []
    for engine in ("host", "podman"):
        command = bench.command(engine)
        taken: dict[str, list[tuple[float, float]]] = {arch: [] for arch in archs}
        for arch in archs:
            command.build("--arch", arch, "debian-minimal")
        for arch in archs * bench.repeat:
            taken[arch].append(spent(functools.partial(command.build, "--no-cache", "--arch", arch, "debian-minimal")))
        kinds = (("seconds", 0), ("processor's seconds", 1)) if engine == "host" else (("seconds", 0),)
        for kind, place in kinds:
            own, other = (statistics.median(each[place] for each in taken[arch]) for arch in archs)
            name = f"packages cached, {archs[1]}, {engine}, {kind}"
            rows.append(Figure(name, other, archs[0], own, 4 * own, bench.repeat))
    return rows


def weighing(bench: Bench) -> list[Figure]:
    """What debian-minimal's bytes are, by package and folder: ``dib-ctr size`` beside listing the same layer."""
    command = bench.command("host")
    command.build("-o", "oci", "debian-minimal")
    layout = command.destination / "debian-minimal.oci"
    blob = max((layout / "blobs/sha256").iterdir(), key=lambda file: file.stat().st_size)
    peer = bench.median(lambda: run("tar", "-tzf", str(blob)))
    seconds = bench.median(lambda: run(sys.executable, "-m", "builder.cli", "size", "--json", str(layout)))
    return [Figure("size of debian-minimal", seconds, "tar -tzf of its layer", peer, 2.0, bench.repeat)]


PARTS: dict[str, Callable[[Bench], list[Figure]]] = {
    "cold": cold,
    "foreign": foreign,
    "nothing-changed": nothing_changed,
    "machinery": machinery,
    "one-script": one_script,
    "disks": disks,
    "cache": cache,
    "weighing": weighing,
    "links": links,
}
ON_WISH = {"upstream": upstream_elements}  # needs root and diskimage-builder: tests/compat/setup


def table(figures: Sequence[Figure]) -> str:
    """The figures as a Markdown table."""
    rows = ["| what | seconds | bound | kept | peer | seconds |", "| --- | ---: | ---: | --- | --- | ---: |"]
    for figure in figures:
        kept = "yes" if figure.seconds <= figure.bound else "NO"
        rows.append(
            f"| {figure.name} | {figure.seconds:.3f} | {figure.bound:.3f} | {kept} "
            f"| {figure.peer} | {figure.peer_seconds:.3f} |"
        )
    return "\n".join(rows)


def main() -> int:
    """Measure and print; the exit status says nothing about the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", choices=sorted([*PARTS, *ON_WISH, "sizes"]), action="append")
    parser.add_argument("--against", metavar="COMMIT", default="")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="dib-ctr-bench-", ignore_cleanup_errors=True) as name:
        bench = Bench(Path(name), max(3, options.repeat))
        bench.folder.chmod(0o755)
        (bench.folder / "elements").mkdir()
        parts = {**PARTS, **ON_WISH}
        if options.against:
            options.only = ["against"]
            parts["against"] = functools.partial(against, commit=options.against)
        for part in (part for part in options.only or PARTS if part in parts):
            figures += parts[part](bench)
            print(table(figures[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
        sizes = image_sizes(bench) if "sizes" in (options.only or ["sizes"]) else []
        extra = peak(bench) if "disks" in (options.only or ["disks"]) else {}
        if not options.against and (not options.only or set(options.only) - set(ON_WISH)):
            extra |= memory_and_store(bench)
        print(table(figures))
        if sizes:
            print(f"\n{size_table(sizes)}")
        for label, value in extra.items():
            print(f"\n{label}:\n{value}")
    if options.json:
        found = {"figures": [asdict(each) for each in figures], "sizes": [asdict(each) for each in sizes], **extra}
        options.json.write_text(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
