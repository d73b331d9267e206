"""What one build leaves in the store's caches reaches another one only where it is what the repositories list.

The archive is the small one of ``aptmirror``, so that a build takes a few seconds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.integration import aptmirror
from tests.integration.command import ELEMENTS, Command, Outcome, script, write_element

GOOD = "1.0\n"
LEFT = ("BAD\n", "bad\n", "EVIL", "evil", "0.0\n", "9.9\n", "1.1\n", "2.0\n", "7.5\n", "x.y\n")
PLANT = script(  # apt-get: this word gives the stage the packages' cache
    "# apt-get is named",
    "cd /var/cache/apt/archives",
    'place="$(ls extra_*.deb)"',
    'bad="$(dirname "$0")/../static/bad.deb"',
    '[ "$(stat -c %s "$place")" = "$(stat -c %s "$bad")" ]',
    'cp -p "$place" /tmp/good.deb',
    'case "$HOW" in',
    'into) cat "$bad" > "$place"; touch -r /tmp/good.deb "$place" ;;',
    'over) cp "$bad" "$place.new"; touch -r /tmp/good.deb "$place.new"; mv "$place.new" "$place" ;;',
    "link) ln -f extra_*.deb /tmp/linked.deb || true; rm extra_*.deb; ln -s /tmp/good.deb extra_9_all.deb ;;",
    "esac",
    'cp "$(dirname "$0")/../static/bad.deb" other_1.0_all.deb',
    "rm /tmp/good.deb",
)


@dataclass(frozen=True)
class Apt:
    """Builds from the archive ``mirror``."""

    mirror: aptmirror.AptMirror
    place: Path
    elements: Path
    stores: list[str] = field(default_factory=list)

    def build(self, *options: str, name: str = "image", store: str = "store") -> tuple[Outcome, str]:
        """Build an image with the package ``extra``; what that has in it."""
        command = Command("host", self.place / store, self.place / f"{store}-out", (self.elements, ELEMENTS))
        outcome = command.build(*options, "--name", name, "-o", "dir", "-p", "extra", "small-debian")
        return outcome, (self.place / f"{store}-out/{name}.dir/usr/share/extra").read_text()

    def asked_packages(self) -> list[str]:
        """The packages that the mirror was asked for since the last question."""
        asked = [path.rpartition("/")[2] for path in self.mirror.asked if path.endswith(".deb")]
        self.mirror.asked.clear()
        return asked


@pytest.fixture(scope="module")
def apt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apt]:
    if not Path("/usr/lib/apt/methods/http").exists():
        pytest.skip("there is no apt")
    place = Path(subprocess.check_output(["mktemp", "-d", "/var/tmp/dib-ctr-test-XXXXXX"], text=True).strip())
    place.chmod(0o755)
    elements = place / "elements"
    with aptmirror.serving(place) as mirror:
        mirror.write_system(elements)
        write_element(elements, "evil", {"post-install.d/50-plant": PLANT})
        plant(mirror, elements / "evil/static/bad.deb")
        yield Apt(mirror, place, elements)
    shutil.rmtree(place, ignore_errors=True)


def plant(mirror: aptmirror.AptMirror, bad: Path) -> None:
    """A package that differs from the archive's ``extra`` in what it installs, and in nothing that apt looks at."""
    (good,) = (mirror.archive / "pool").glob("extra_*")
    bad.parent.mkdir()
    for text in LEFT:
        with_text = bad.parent / "tree"
        subprocess.run(["dpkg-deb", "-R", str(good), str(with_text)], check=True)
        (with_text / "usr/share/extra").write_text(text)
        command = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(with_text), str(bad)]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"})
        shutil.rmtree(with_text)
        if bad.stat().st_size == good.stat().st_size:
            return
    pytest.fail("no other package has this size")


MORE = [pytest.param(how, marks=pytest.mark.thorough("two builds each")) for how in ("over", "link")]


@pytest.mark.parametrize("how", ["into", *MORE])
def test_a_changed_package_of_the_same_name_size_and_time_reaches_no_other_build(apt: Apt, how: str) -> None:
    apt.build()
    _, left = apt.build("--set", f"HOW={how}", "evil", name="evil")
    assert left == GOOD, "the package was installed before it was planted"
    apt.asked_packages()
    outcome, content = apt.build("--no-cache", name="other")
    assert content == GOOD
    assert outcome.titles("hit") == []
    assert apt.asked_packages() == [], "what the repositories list is still there"


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_of_a_mirror_that_moved_what_is_new_is_fetched_and_the_rest_kept(apt: Apt) -> None:
    """A cache that was filled by a hostile mirror's signed index is none of another's, either."""
    apt.build()
    apt.asked_packages()
    apt.mirror.package("later", "1.0")
    apt.mirror.publish("Sun, 13 Sep 2026 07:55:41 UTC")
    outcome, content = apt.build("-p", "later")
    assert content == GOOD
    assert outcome.titles("hit") == []
    assert [name.partition("_")[0] for name in apt.asked_packages()] == ["later"]
