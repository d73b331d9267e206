"""Verify one distribution against its own mirrors, and write a report to send back: ``just verify-distro fedora``.

``python -m tests.matrix.verify DISTRIBUTION [--release R] [--arch A] [--engine E] [--set NAME=VALUE] [--report FILE]``;
``--list [DISTRIBUTION]`` prints what there is to verify, as the matrix of GitHub's jobs.
First the facts about the release (``stages/distributions``) are held against its mirrors: does each address answer,
does a known key sign, are the packages there? Then the image is built twice in stores of its own (the same bytes?),
with one more package (does the package manager in the tree work?), and as a disk that is started to a login with sshd
and cloud-init in it; ``--facts`` builds nothing. The exit status is 1 where a fact differs or a step failed, and 3
where nothing failed and nothing could be verified, as no mirror was reached. The report has what was asked, the
answers, versions, the repositories with the digests of their indices, times and errors.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stages.distributions.facts import of_release
from stages.distributions.table import find
from stages.repositories.apt_sources import debian_mirror
from stages.repositories.ubuntu_archive import ubuntu_archive
from tests.facts.mirrors import DIFFERS, NOT_REACHED, VERIFIED, Answer, Release, answers
from tests.matrix.results import FILE, add_facts
from tests.matrix.rows import REAL, Row, rows
from tests.matrix.run import PACKAGES, Outcome, Runner

KEYS = ("DIB_APT_KEYRING", "DIB_RPM_KEYS", "DIB_ARCH_KEYRING")  # settings that name files of keys
UNREACHED = 3  # the exit status where nothing failed, and nobody could be asked
SUFFIX = ".provenance.json"  # beside an image
RUNNERS = {"amd64": "ubuntu-24.04", "arm64": "ubuntu-24.04-arm"}  # GitHub's, by the architecture that they have


@dataclass(frozen=True)
class Step:
    """One thing that is tried; ``says`` is what it shows. ``same_as`` names the step whose digest it must have."""

    name: str
    says: str
    arguments: tuple[str, ...]
    store: str = "store"
    same_as: str = ""


def steps(row: Row) -> tuple[Step, ...]:
    """What is tried for a distribution, in this order."""
    package = PACKAGES.get(row.distribution, "tree")
    made = [
        Step("image", "bootstraps from the distribution's mirror", ("-o", "oci", row.element)),
        Step("again", "gives the same bytes in an empty store", ("-o", "oci", row.element), "store-2", "image"),
    ]
    if package:
        arguments = ("-o", "oci", "--name", "package", "-p", package, row.element)
        made.append(Step("package", "installs a package with the tree's own package manager", arguments))
    disk = (
        "-o",
        "qcow2",
        "--boot-test",
        "--name",
        "disk",
        row.element,
        "vm",
        "openssh-server",
        "cloud-init",
        "growroot",
    )
    made.append(Step("disk", "boots to a login", disk))
    return tuple(made)


def jobs(known: Sequence[Row], distribution: str) -> dict[str, list[dict[str, str]]]:
    """A job for each row, of one distribution or of all (""); GitHub's runners only ask about foreign architectures."""
    return {
        "include": [
            {
                "distribution": row.distribution,
                "release": row.release,
                "arch": row.arch,
                "runs-on": RUNNERS.get(row.arch, RUNNERS["amd64"]),
                "options": "" if row.arch in RUNNERS else "--facts",
            }
            for row in known
            if distribution in ("", row.distribution)
        ]
    }


def tried(made: Sequence[Step], build: Callable[[Step], Outcome]) -> list[dict[str, Any]]:
    """Try every step, whatever becomes of the others; each with what it came to."""
    digests: dict[str, str] = {}
    found = []
    for step in made:
        outcome = build(step)
        digests[step.name] = outcome.digest
        if step.same_as and not outcome.error and outcome.digest != digests[step.same_as]:
            outcome = replace(outcome, error=f"the digest is another one than that of {step.same_as!r}")
        found.append({"step": step.name, "shows": step.says, "command": list(step.arguments), **asdict(outcome)})
    return found


def facts_of(row: Row, settings: Mapping[str, str]) -> list[Answer]:
    """What the mirrors say to the facts about a row's release; Debian's are those of the machine's own settings."""
    distribution = find(row.distribution)
    if distribution is None:
        return []
    mirror = settings.get("DIB_DISTRIBUTION_MIRROR") or of_release(distribution, row.release, row.arch)["mirror"]
    if row.distribution == "ubuntu":
        mirror = mirror or ubuntu_archive(row.arch)
    security = settings.get("DIB_DEBIAN_SECURITY_MIRROR", "")
    if row.distribution == "debian" and not mirror:
        own = debian_mirror()
        mirror, security = own.archive, security or own.security
    keys = tuple(Path(word) for name in KEYS for word in settings.get(name, "").split())
    return answers(Release(distribution, row.release, row.arch, mirror, security, key_files=keys))


def told(compared: Sequence[Answer]) -> str:
    """The answers in a few lines: how many of each state, and those that are not verified."""
    counts = Counter(each.state for each in compared)
    first = "facts: " + ", ".join(f"{counts[state]} {state}" for state in (VERIFIED, DIFFERS, NOT_REACHED))
    rest = (f"  {each.fact} ({each.about}) {each.state}: {each.text}" for each in compared if each.state != VERIFIED)
    return "\n".join([first, *rest])


def _repositories(folder: Path) -> list[dict[str, Any]]:
    """The package repositories of the builds, as the provenance beside the images names them."""
    found = {}
    for file in sorted(folder.rglob(f"*{SUFFIX}")):
        definition = json.loads(file.read_text(encoding="utf-8"))["predicate"]["buildDefinition"]
        for each in definition["resolvedDependencies"]:
            if each.get("name") == "package repository":
                found[each["uri"]] = each
    return list(found.values())


def main() -> int:
    """Verify what the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "distribution", nargs="?", default="", choices=["", *sorted({row.distribution for row in rows()})]
    )
    parser.add_argument("--list", action="store_true", help="print a matrix of jobs and verify nothing")
    parser.add_argument("--release", default="")
    parser.add_argument("--arch", default="amd64")
    parser.add_argument("--engine", choices=("podman", "docker", "host"), default="podman")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings")
    parser.add_argument("--facts", action="store_true", help="hold the facts against the mirrors, and build nothing")
    parser.add_argument("--keep", action="store_true", help="keep what mirrors said to the facts, for docs/matrix.md")
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    if options.list:
        print(json.dumps(jobs(rows(), options.distribution)))
        return 0
    if not options.distribution:
        parser.error("which distribution?")
    known = next(row for row in rows() if row.distribution == options.distribution)
    row = replace(known, release=options.release or known.release, arch=options.arch, mirror=REAL)
    settings = dict(text.split("=", 1) for text in options.settings)
    compared = facts_of(row, settings)
    print(told(compared), file=sys.stderr, flush=True)
    day = datetime.now(UTC).date().isoformat()
    if options.keep:
        add_facts(FILE, row.name, Counter(each.state for each in compared), day)
    with tempfile.TemporaryDirectory(prefix="dib-ctr-verify-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        runner = Runner(folder, options.engine, {row.source: settings})

        def build(step: Step) -> Outcome:
            print(f"{step.name}: {step.says} ...", file=sys.stderr, flush=True)
            outcome = runner.build(row, step.arguments, step.store)
            print(f"  {outcome.error or f'yes, in {outcome.seconds:.0f} s'}", file=sys.stderr, flush=True)
            return outcome

        results = [] if options.facts else tried(steps(row), build)
        report = {
            "distribution": row.distribution,
            "release": row.release,
            "architecture": row.arch,
            "engine": options.engine,
            "dib-ctr": version("dib-ctr"),
            "machine": f"{platform.platform()} {platform.machine()}",
            "day": day,
            "settings": sorted(settings),
            "facts": [asdict(each) for each in compared],
            "steps": results,
            "repositories": _repositories(folder),
        }
    target = options.report or Path(f"verify-{row.name}.json")
    target.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"the report: {target.absolute()}")
    if any(each["error"] for each in results) or any(each.state == DIFFERS for each in compared):
        return 1
    return 0 if results or any(each.state == VERIFIED for each in compared) else UNREACHED


if __name__ == "__main__":
    sys.exit(main())
