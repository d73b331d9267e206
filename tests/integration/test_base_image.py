"""Builds that begin with an image: from a registry on loopback and from a file, with the package manager in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.inspection.image import ImageFile, open_image
from builder.push import check, parse_reference, push
from tests.integration.command import Command, script, write_element
from tests.integration.registry import Running, registry


@pytest.fixture(scope="module")
def running(open_folder: Path) -> Iterator[Running]:
    with registry(open_folder / "base-registry") as found:
        yield found


@pytest.fixture(scope="module")
def command(open_folder: Path) -> Command:
    write_element(
        open_folder / "base-elements",
        "marked",
        {
            "README.md": "# marked\n",
            "image-config.yaml": "cmd: [/bin/marked]\nenv: {MARK: one}\n",
            "install.d/50-mark": script("echo marked > /etc/marked", "install-packages hello"),
            "element-deps": "",
        },
    )
    elements = (open_folder / "base-elements",)
    return Command("host", open_folder / "base-store", open_folder / "base-out", elements)


@pytest.fixture(scope="module")
def debian(command: Command) -> Path:
    """A Debian image whose package sources are this machine's mirror."""
    command.build("debian-minimal", "--no-slim", "--no-documents")
    return command.destination / "debian-minimal.oci"


def _opened(path: Path) -> ImageFile:
    return open_image(path, "amd64")


def _push(image: Path, running: Running, tag: str) -> None:
    place = parse_reference(f"{running.host}/bases/debian:{tag}")
    check(place, insecure=True, authfile=None)
    push(image, place, insecure=True, authfile=None)


@pytest.fixture(autouse=True)
def own_cache(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(open_folder / "base-cache"))


def test_a_build_begins_with_an_image_in_a_registry(command: Command, debian: Path, running: Running) -> None:
    _push(debian, running, "1")
    name = f"{running.host}/bases/debian:1"
    first = command.build("--from", name, "--name", "more", "--no-slim", "marked")
    assert first.titles("start")[:1] == ["08-base-image"]
    image = _opened(command.destination / "more.oci")
    tree = image.contents(keep=lambda path: path in ("/etc/marked", "/etc/os-release", "/usr/lib/os-release")).tree
    assert tree.entries["/etc/marked"].content == b"marked\n"
    assert "/usr/bin/hello" in tree.entries
    assert b"ID=debian" in (tree.entries["/usr/lib/os-release"].content or b"")
    base = _opened(debian).contents().tree
    passing = ("/var/cache", "/var/log")
    assert [path for path in base.entries if path not in tree.entries and not path.startswith(passing)] == []
    kept = [(entry, tree.entries[path]) for path, entry in base.entries.items() if path in tree.entries]
    assert [new for old, new in kept if (old.uid, old.gid, old.kind) != (new.uid, new.gid, new.kind)] == []
    assert image.config["config"]["Cmd"] == ["/bin/marked"]
    asked = len(running.requests("GET"))
    again = command.build("--from", name, "--name", "more", "--no-slim", "marked")
    assert again.titles("start") == []
    assert [path for path in running.requests("GET")[asked:] if "/blobs/" in path] == []
    offline = command.build("--from", name, "--name", "more", "--no-slim", "--offline", "marked")
    assert offline.digest() == first.digest()


def test_a_tag_that_moves_is_built_anew(command: Command, debian: Path, running: Running) -> None:
    _push(debian, running, "moving")
    name = f"{running.host}/bases/debian:moving"
    command.build("--from", name, "--name", "moved")
    _push(command.destination / "moved.oci", running, "moving")
    assert "08-base-image" in command.build("--from", name, "--name", "moved").titles("start")


def test_an_archive_serves_as_well_and_the_provenance_names_it(command: Command, debian: Path) -> None:
    command.build("--from", f"oci:{debian}", "--name", "again", "-o", "docker-archive")
    archive = command.destination / "again.docker.tar"
    outcome = command.build("--from", f"docker-archive:{archive}", "--name", "third", "--lock", str(archive) + ".lock")
    lock = json.loads(Path(f"{archive}.lock").read_text())
    (used,) = [each for part in lock["architectures"].values() for each in part["base_images"]]
    assert used["name"] == f"docker-archive:{archive.name}"
    assert outcome.status == 0
    other = command("build", "--from", f"oci:{debian}", "--name", "third", "--locked", str(archive) + ".lock")
    assert (other.status, "the lock does not begin with the image" in other.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--from", "{host}/bases/none:1"), 2, "the registry has no image bases/none:1"),
        (("--from", "{host}/bases/debian:1", "--arch", "s390x"), 2, "s390x"),
        (("--from", "127.0.0.1:1/a:b"), 1, "does not answer"),
        (("--from", "{host}/bases/debian:1", "debian-minimal"), 2, "two operating systems"),
        (("--from", "oci:/nowhere"), 2, "there is no /nowhere"),
    ],
)
def test_what_cannot_be_is_said(
    command: Command, running: Running, debian: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    _push(debian, running, "1")
    outcome = command("build", *(text.format(host=running.host) for text in arguments))
    assert (outcome.status, said in outcome.stderr) == (status, True), outcome.stderr
