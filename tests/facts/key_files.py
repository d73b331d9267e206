"""The keys of the facts held against the files that have them: are they there, and do they end when the facts say?"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

from stages.distributions.facts import KEYS, KEYS_FOLDER, of_release
from stages.distributions.table import Distribution
from tests.facts.age import KEY, UNKNOWN, Finding, is_living
from tests.facts.files import Family


def keys_in(files: Iterable[Path]) -> dict[str, str]:
    """The fingerprints of the keys in files, each with its end ("": none), of those that GnuPG can read."""
    with tempfile.TemporaryDirectory() as home:
        command = ["gpg", "--homedir", home, "--batch", "--quiet", "--with-colons", "--show-keys", *map(str, files)]
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found, end, primary = {}, "", False
    for line in told.splitlines():
        fields = line.split(":")
        if fields[0] == "pub":
            end = datetime.fromtimestamp(int(fields[6]), UTC).date().isoformat() if fields[6] else ""
            primary = True
        elif fields[0] == "fpr" and primary:
            found[fields[9]] = end
            primary = False
    return found


def key_files(distribution: Distribution, release: str, folder: Path = KEYS_FOLDER) -> list[Path]:
    """The files of keys that a release's facts name, those that are here."""
    facts = of_release(distribution, release, "amd64")
    named = [*facts.get("key-files", ()), *facts.get("key-neighbours", ()), *filter(None, [facts.get("keyring")])]
    return [file for name in named for file in sorted((folder / name).parent.glob(Path(name).name))]


def findings(families: Iterable[Family], today: date, folder: Path = KEYS_FOLDER) -> Iterator[Finding]:
    """What the files say otherwise than the facts of living releases; of files that are not here nothing is said."""
    for family in families:
        for distribution in family.distributions:
            for release in (*distribution.releases, *distribution.rolling):
                files = key_files(distribution, release.name, folder)
                if is_living(release, today) and files:
                    yield from _of(distribution, release.name, files)


def _of(distribution: Distribution, release: str, files: list[Path]) -> Iterator[Finding]:
    there = keys_in(files) | {file.name: "" for file in files}  # (apk's keys are known by their files' names)
    for fingerprint, end in of_release(distribution, release, "amd64")[KEYS].items():
        whose = f"the key {fingerprint} of {distribution.title} {release}"
        if fingerprint not in there:
            yield Finding(KEY, distribution.name, f"{whose} is in none of {', '.join(map(str, files))}", urgent=True)
        elif end not in (there[fingerprint], UNKNOWN):
            said = there[fingerprint] or "never"
            yield Finding(KEY, distribution.name, f"{whose} ends {said} by its file, {end or 'never'} by the facts")
