"""Builds that begin with an image and install nothing ask no repository; one without bash gets it from its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from builder.inspection.image import open_image
from tests.integration.command import ELEMENTS, Command, script, write_element
from tests.mirrors.apk import Key, write_repository
from tests.mirrors.serve import running

# An apt-get that says how it was called.
APT = """
mkdir -p "$TARGET_ROOT/run" "$TARGET_ROOT/etc/apt" "$TARGET_ROOT/var/lib/apt/lists" "$TARGET_ROOT/var/lib/dpkg/info"
printf 'ID=debian\\nVERSION_CODENAME=trixie\\n' > "$TARGET_ROOT/etc/os-release"
echo "deb $ADDRESS trixie main" > "$TARGET_ROOT/etc/apt/sources.list"
printf '#!/bin/sh\\necho "$*" >> /calls\\n' > "$TARGET_ROOT/usr/bin/apt-get"
chmod 755 "$TARGET_ROOT/usr/bin/apt-get"
"""
# A tree without bash, and an apk that puts it where it would install it.
APK = """
mkdir -p "$TARGET_ROOT/run" "$TARGET_ROOT/etc/apk" "$TARGET_ROOT/opt"
printf 'ID=alpine\\nVERSION_ID=3.23.0\\n' > "$TARGET_ROOT/etc/os-release"
echo "$ADDRESS/main" > "$TARGET_ROOT/etc/apk/repositories"
mv "$TARGET_ROOT/usr/bin/bash" "$TARGET_ROOT/opt/bash"
rm "$TARGET_ROOT/usr/bin/sh"
cp "$(command -v dash)" "$TARGET_ROOT/usr/bin/sh"
printf '#!/bin/sh\\necho "$*" >> /calls\\ncp /opt/bash /usr/bin/bash\\n' > "$TARGET_ROOT/usr/bin/apk"
chmod 755 "$TARGET_ROOT/usr/bin/apk"
"""
CREATED = 1_700_000_000


class Counting(SimpleHTTPRequestHandler):
    """Serves a folder and keeps the paths that were asked for."""

    asked: list[str]

    def __init__(self, *arguments: object, asked: list[str], **options: object) -> None:
        self.asked = asked
        super().__init__(*arguments, **options)  # type: ignore[arg-type]

    def send_response(self, *_: object) -> None:
        """Keep the path and say as much as before."""
        self.asked.append(self.path)
        super().send_response(*_)  # type: ignore[arg-type]

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def counted(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a folder, and the paths that it is asked for."""
    asked: list[str] = []
    with running(partial(Counting, asked=asked, directory=str(folder))) as address:
        yield address, asked


def image(place: Path, address: str, text: str) -> Command:
    """Build ``base.oci`` of the tiny tree and a script; returns what builds from it."""
    write_element(place / "base", "changed", {"root.d/50-changed": script(f"ADDRESS={address}", text)})
    base = Command("host", place / "store", place / "out", (place / "base", ELEMENTS))
    variables = {"SOURCE_DATE_EPOCH": str(CREATED)}
    base.build("tiny-os", "changed", "--no-slim", "--no-documents", "--name", "base", variables=variables)
    write_element(place / "own", "own", {"install.d/50-own": script("echo own > /etc/own")})
    return Command("host", place / "store", place / "out", (place / "own",))


@pytest.fixture
def variables(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)


@pytest.mark.usefixtures("variables")
def test_no_repository_is_asked_where_nothing_is_installed(place: Path) -> None:
    (place / "mirror").mkdir()
    with counted(place / "mirror") as (address, asked):
        command = image(place, address, APT)
        begin = ("--from", f"oci:{place}/out/base.oci", "--no-slim", "--name")
        outcome = command.build(*begin, "own", "own")
        assert asked == []
        assert "99-apt-get-update" not in outcome.titles("start")
        built = open_image(place / "out/own.oci", "amd64")
        assert datetime.fromisoformat(built.config["created"]) == datetime.fromtimestamp(CREATED, UTC)
        tree = built.contents().tree
        assert "/etc/own" in tree.entries
        assert "/calls" not in tree.entries
        failed = command("build", *begin, "more", "-p", "hello", "own")
        assert (failed.status, bool(asked)) == (1, True)
        assert "does not answer: 404" in failed.stderr


@pytest.mark.usefixtures("variables")
def test_an_image_with_apk_and_without_bash_gets_it_first(place: Path) -> None:
    write_repository(place / "mirror/main/x86_64", [], Key(place / "key").made())
    with counted(place / "mirror") as (address, asked):
        command = image(place, address, APK)
        begin = ("--from", f"oci:{place}/out/base.oci", "--no-slim", "--name", "own")
        outcome = command.build(*begin, "own")
        inside = [title for title in outcome.titles("start") if not title.startswith(("08-", "prepare-"))]
        assert inside[0] == "00-00-bash"
        assert set(asked) == {"/main/x86_64/APKINDEX.tar.gz"}
        tree = open_image(place / "out/own.oci", "amd64").contents(keep=lambda path: path == "/calls").tree
        assert "/etc/own" in tree.entries
        called = (tree.entries["/calls"].content or b"").decode()
        assert called == "--no-progress --update-cache add bash coreutils findutils tar\n"
