"""Builds that begin with an image: from a registry on loopback and from a file, with the package manager in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from builder.inspection.image import ImageFile, open_image
from builder.registry.push import check, parse_reference, push
from stages.outputs.finished_tree import MANIFEST
from tests.integration.command import Command, script, write_element
from tests.integration.engine_cases import missing
from tests.integration.registry import Running, registry


@pytest.fixture(scope="module")
def running(open_folder: Path) -> Iterator[Running]:
    with registry(open_folder / "base-registry") as found:
        yield found


@pytest.fixture(scope="module")
def command(open_folder: Path, debian_store: Path) -> Command:
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
    return Command("host", debian_store, open_folder / "base-out", elements)


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


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_tag_that_moves_is_built_anew(command: Command, debian: Path, running: Running) -> None:
    _push(debian, running, "moving")
    name = f"{running.host}/bases/debian:moving"
    command.build("--from", name, "--name", "moved")
    _push(command.destination / "moved.oci", running, "moving")
    assert "08-base-image" in command.build("--from", name, "--name", "moved").titles("start")


@pytest.mark.thorough("three more builds; `just test` has an image of a registry")
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


# -- Containerfiles --------------------------------------------------------------------------------


CONTAINERFILE = """# Built with podman.
ARG TAG=none
FROM {host}/bases/debian:$TAG AS base
RUN apt-get update && apt-get install -y --no-install-recommends sl && rm -r /var/lib/apt/lists /var/log/apt
FROM base
COPY greeting /etc/
RUN cat /proc/self/uid_map > /etc/uid-map \\
 && echo 33 > /etc/owned && chown 33:33 /etc/owned
LABEL made=here
"""
BUILDING = "building /"


@pytest.fixture(scope="module")
def folder(open_folder: Path, running: Running, debian: Path) -> Path:
    """A folder with a Containerfile on the image in the registry."""
    if shutil.which("podman") is None:
        missing("there is no podman")
    _push(debian, running, "trixie")
    found = open_folder / "with-containerfile"
    found.mkdir()
    (found / "Containerfile").write_text(CONTAINERFILE.format(host=running.host))
    (found / "greeting").write_text("hello\n")
    return found


def _files(image: ImageFile, *paths: str) -> list[bytes]:
    entries = image.contents(keep=lambda path: path in paths).tree.entries
    return [entries[path].content or b"" for path in paths]


def _all_but_the_manifest(image: ImageFile) -> dict[str, object]:
    """All entries by path but for the file that names the elements, whose names differ."""
    return {path: entry for path, entry in image.contents().tree.entries.items() if path != MANIFEST}


@pytest.mark.thorough("builds Containerfiles: minutes")
def test_a_build_begins_with_what_a_containerfile_gives(
    command: Command, folder: Path, running: Running, debian: Path
) -> None:
    name = f"containerfile:{folder}"
    options = ("--from", name, "--name", "contained", "--no-slim", "marked")
    arguments = {"DIB_CONTAINERFILE_BUILDOPTS": "--build-arg TAG=trixie"}
    first = command.build(*options, variables=arguments)
    assert BUILDING in first.stderr
    assert first.titles("start")[:1] == ["08-base-image"]
    image = _opened(command.destination / "contained.oci")
    entries = image.contents().tree.entries
    assert (entries["/etc/owned"].uid, entries["/etc/owned"].gid) == (33, 33)
    assert {"/usr/games/sl", "/usr/bin/hello", "/etc/marked"} <= entries.keys()
    greeting, uid_map = _files(image, "/etc/greeting", "/etc/uid-map")
    assert greeting == b"hello\n"
    assert uid_map.split()[:2][1] != b"0", "a step of the Containerfile had the host's root"

    (folder / "unrelated").write_text("of no build\n")
    again = command.build(*options, variables=arguments)
    assert (BUILDING in again.stderr, again.titles("start"), again.digest()) == (False, [], first.digest())
    offline = command.build(*options, "--offline", variables=arguments)
    assert (BUILDING in offline.stderr, offline.digest()) == (False, first.digest())

    (folder / "greeting").write_text("good morning\n")
    changed = command.build(*options, variables=arguments)
    assert BUILDING in changed.stderr
    assert _files(_opened(command.destination / "contained.oci"), "/etc/greeting") == [b"good morning\n"]
    assert (
        command(
            "build", *options, "--offline", variables={**arguments, "DIB_CONTAINERFILE_NETWORK_DRIVER": "none"}
        ).status
        == 1
    )

    _push(command.destination / "contained.oci", running, "trixie")
    moved = command.build(*options, variables=arguments)
    assert BUILDING in moved.stderr
    _push(debian, running, "trixie")


@pytest.mark.thorough("builds Containerfiles: minutes")
def test_elements_bring_containerfiles_and_images(
    command: Command, folder: Path, running: Running, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = f"FROM {running.host}/bases/debian:trixie\nRUN echo small > /etc/small\n"
    (open_folder / "Small").write_text(small)
    variables = {"DIB_CONTAINERFILE_DOCKERFILE": str(open_folder / "Small")}
    command.build("--name", "small", "containerfile", variables=variables)
    image = _opened(command.destination / "small.oci")
    assert _files(image, "/etc/small") == [b"small\n"]
    content = _all_but_the_manifest(image)

    elements = open_folder / "more-elements"
    files = {"README.md": "# own\n", "element-deps": "containerfile\n", "containerfiles/trixie": small}
    write_element(elements, "own", files)
    monkeypatch.setenv("XDG_CACHE_HOME", str(open_folder / "another-cache"))
    again = replace(command, elements=(elements,)).build("--replace", "--name", "small", "--release", "trixie", "own")
    assert BUILDING in again.stderr
    same = _all_but_the_manifest(_opened(command.destination / "small.oci")) == content
    assert same, "the same Containerfile gave something else in another cache"

    settings = {"DIB_CONTAINER_REGISTRY": f"{running.host}/bases"}
    plain = command.build("debian-container", "marked", variables=settings)
    assert BUILDING not in plain.stderr
    assert _files(_opened(command.destination / "debian-container.oci"), "/etc/marked") == [b"marked\n"]


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("FROM {host}/bases/debian:trixie\nRUN echo so it is >&2; exit 3\n", 1, "| so it is"),
        ("FROM {host}/bases/debian:nothing\n", 2, "the registry has no image bases/debian:nothing"),
        ("FROM localhost/own\n", 2, "localhost/own is in no registry"),
        ("FROM $NOBODY\n", 2, "the image of line 1 of the Containerfile cannot be known"),
        ("RUN true\n", 2, "there is no FROM"),
    ],
)
def test_a_containerfile_that_cannot_be_built_is_told(
    command: Command, folder: Path, running: Running, open_folder: Path, text: str, status: int, said: str
) -> None:
    (open_folder / "Bad").write_text(text.format(host=running.host))
    outcome = command("build", "--from", f"containerfile:{open_folder / 'Bad'}")
    assert (outcome.status, said in outcome.stderr) == (status, True), outcome.stderr
