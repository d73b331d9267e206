"""Say what of the facts is old today: ``just facts [DISTRIBUTION ...] [--today DAY] [--markdown] [--keys FOLDER]``.

Facts that were seen more than half a year ago, keys of living releases that end within the next half year, releases
that end or have ended within half a year, and facts without a source. Where the files of keys are on this machine (or
below FOLDER, which stands for that of distribution-gpg-keys), what they say otherwise is told, too. The exit status
is 1 where a key of a living release has ended, ends within the next half year, or is not in its file.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, date, datetime
from pathlib import Path

from stages.distributions.facts import KEYS_FOLDER
from tests.facts.age import Finding, findings
from tests.facts.files import families
from tests.facts.key_files import findings as key_findings

_TITLES = {
    "key": "Keys that end",
    "release": "Releases that end",
    "old": "Facts seen more than half a year ago",
    "unconfirmed": "Facts without a source",
}


def report(found: list[Finding], *, markdown: bool = False) -> str:
    """The findings by their kinds, as text or as Markdown."""
    lines = []
    for kind, title in _TITLES.items():
        said = [each.text for each in found if each.kind == kind]
        if said:
            lines += [f"### {title}" if markdown else f"{title}:", "", *(f"- {text}" for text in said), ""]
    return "\n".join(lines) or "Nothing is old.\n"


def main() -> int:
    """Print the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("distributions", nargs="*", metavar="DISTRIBUTION")
    parser.add_argument("--today", type=date.fromisoformat, default=datetime.now(UTC).date(), metavar="DAY")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--keys", type=Path, default=KEYS_FOLDER, metavar="FOLDER")
    options = parser.parse_args()
    known = {each.name for family in families() for each in family.distributions}
    if unknown := set(options.distributions) - known:
        parser.error(f"{', '.join(sorted(unknown))}: there is {', '.join(sorted(known))}")
    found = [*key_findings(families(), options.today, options.keys), *findings(families(), options.today)]
    found = [each for each in found if not options.distributions or each.distribution in options.distributions]
    print(report(found, markdown=options.markdown), end="")
    return 1 if any(each.urgent for each in found) else 0


if __name__ == "__main__":
    sys.exit(main())
