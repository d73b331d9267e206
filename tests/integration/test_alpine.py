"""alpine-minimal from a synthetic mirror, up to the call of apk.

There is no build of apk where these tests run. What the synthetic mirror has for `apk.static` is a script that says how
it was called and what it found, and then fails: whether the tree that apk makes is right, these tests cannot say.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.integration.command import Command, Outcome
from tests.mirrors.apk import Key, Package, write_repository

RECORDER = r"""#!/bin/sh
# Stands where apk would: says what it was given.
echo "CALLED $*"
while read -r line; do echo "REPOSITORY $line"; done < "$2/etc/apk/repositories"
for key in "$2"/etc/apk/keys/*; do echo "KEY ${key##*/}"; done
echo "CACHE $(readlink "$2/etc/apk/cache")"
if echo gone > "$2/dev/null" && [ -c "$2/dev/null" ]; then echo "DEVICE null"; fi
exit 9
"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return Key(tmp_path_factory.mktemp("key")).made()


@pytest.fixture
def mirror(place: Path, key: Key) -> Path:
    """The folder of a synthetic mirror with the repositories of one release."""
    program = Package("apk-tools-static", "2.14.9-r2", {"sbin/apk.static": RECORDER.encode()})
    write_repository(place / "mirror/v3.22/main/x86_64", [program], key)
    write_repository(place / "mirror/v3.22/community/x86_64", [], key)
    return place / "mirror"


@pytest.fixture
def build(place: Path, mirror: Path, key: Key) -> Iterator[Callable[[], Outcome]]:
    """Builds alpine-minimal from the synthetic mirror, which a server on loopback serves."""
    keys = place / "keys"
    keys.mkdir()
    (keys / key.name).write_bytes((key.public / key.name).read_bytes())
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(mirror)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    variables = {
        "DIB_DISTRIBUTION_MIRROR": f"http://127.0.0.1:{server.server_port}",
        "DIB_RELEASE": "3.22",
        "DIB_ALPINE_KEYS": str(keys),
        "ARCH": "amd64",
    }
    command = Command("host", place / "store", place / "out")
    yield lambda: command("build", "alpine-minimal", variables=variables)
    server.shutdown()


def test_apk_is_called_once_index_and_package_are_verified(build: Callable[[], Outcome], key: Key) -> None:
    outcome = build()
    said = outcome.stdout + outcome.stderr
    assert outcome.status == 1, said
    assert "apk-tools-static 2.14.9-r2" in said
    called = said.partition("CALLED ")[2].partition("REPOSITORY")[0]
    for wanted in ("--arch x86_64", "--update-cache", "add --initdb alpine-baselayout", " bash "):
        assert wanted in called, said
    for repository in ("main", "community"):
        assert f"/v3.22/{repository}" in said.partition("REPOSITORY ")[2]
    assert f"KEY {key.name}" in said
    assert "CACHE ../../var/cache/apk" in said
    assert "DEVICE null" in said


def test_a_tampered_index_is_refused_and_nothing_of_the_mirror_runs(build: Callable[[], Outcome], mirror: Path) -> None:
    index = mirror / "v3.22/main/x86_64/APKINDEX.tar.gz"
    changed = bytearray(index.read_bytes())
    changed[-40] ^= 0xFF
    index.write_bytes(changed)
    outcome = build()
    said = outcome.stdout + outcome.stderr
    assert outcome.status == 1, said
    assert "APKINDEX.tar.gz is refused: its signature is not valid" in said
    assert "CALLED" not in said


def test_a_tampered_package_is_refused_and_nothing_of_it_runs(build: Callable[[], Outcome], mirror: Path) -> None:
    package = mirror / "v3.22/main/x86_64/apk-tools-static-2.14.9-r2.apk"
    changed = bytearray(package.read_bytes())
    changed[-40] ^= 0xFF
    package.write_bytes(changed)
    outcome = build()
    said = outcome.stdout + outcome.stderr
    assert outcome.status == 1, said
    assert "apk-tools-static-2.14.9-r2.apk is refused: its data are not those" in said
    assert "CALLED" not in said


def test_a_release_that_the_mirror_does_not_have_is_named(build: Callable[[], Outcome], mirror: Path) -> None:
    (mirror / "v3.22").rename(mirror / "v3.21")
    outcome = build()
    said = outcome.stdout + outcome.stderr
    assert outcome.status == 1, said
    assert "/v3.22/main/x86_64/APKINDEX.tar.gz" in said
    assert "check the mirror (DIB_DISTRIBUTION_MIRROR) and the release" in said
