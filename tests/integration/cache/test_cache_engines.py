"""What travels between engines: layers, of which docker takes what podman has built, and build images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder import engines
from builder.build_image import ensure
from builder.engines.protocol import Engine
from tests.integration import engine_cases
from tests.integration.command import ELEMENTS, Command, has, stage_scripts, write_element
from tests.integration.registry import registry

Machine = Callable[..., Command]
pytestmark = pytest.mark.thorough("the cache under each engine: minutes")
WHAT = ("--no-documents", "tiny-os", "greeting")


@pytest.fixture
def machine(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    build_archive: Callable[[], Path],
    request: pytest.FixtureRequest,
) -> Iterator[Machine]:
    """Makes an engine's command with an empty store (a volume) of its own."""
    made: list[tuple[str, Engine]] = []
    (place / "elements").mkdir()

    def make(name: str, *, image: bool = True) -> Command:
        if not has(name):
            engine_cases.missing(f"there is no {name}")
        if name == "docker":
            monkeypatch.setenv("DOCKER_HOST", request.getfixturevalue("docker_address"))
        store = f"dib-ctr-test-{os.getpid()}-{len(made)}"
        monkeypatch.setenv("DIB_CTR_STORE", store)
        engine = engines.select(name)
        if image and not engine.has_image(ensure.reference()):
            engine_cases.give_image(engine, str(build_archive()), ensure.reference())
        made.append((store, engine))
        return Command(name, place / store, place / f"out-{len(made)}", (place / "elements", ELEMENTS))

    yield make
    for store, engine in made:
        monkeypatch.setenv("DIB_CTR_STORE", store)
        engine.remove_store()


@pytest.mark.parametrize(("one", "other"), [("podman", "docker"), ("docker", "podman")])
def test_one_engine_takes_what_the_other_has_built(machine: Machine, place: Path, one: str, other: str) -> None:
    """An image that is there as a whole, layers for another output, and a stage more on top of them."""
    with registry(place / "registry") as running:
        cache = f"type=registry,ref={running.host}/cache/engines:x,insecure=true"
        command = machine(one)
        first = command.build("-o", "oci", "--cache-to", cache, *WHAT)
        tar = command.build("-o", "tar", *WHAT).digest("tar")
        command = machine(other)
        second = command.build("-o", "oci", "--cache-from", cache, *WHAT)
        assert second.titles("start") == []
        assert second.digest() == first.digest()
        third = command.build("-o", "tar", "--cache-from", cache, *WHAT)
        assert third.titles("start") == []
        assert third.digest("tar") == tar
        write_element(place / "elements", "more", stage_scripts([60]))
        last = command.build("-o", "oci", "--cache-from", cache, "--cache-to", cache, *WHAT, "more")
        assert last.titles("start") == ["60-stage", "seal-tree"]
        command = machine(one)
        assert command.build("-o", "oci", "--cache-from", cache, *WHAT, "more").digest() == last.digest()


def test_a_machine_without_a_build_image_takes_it_from_the_cache(
    machine: Machine, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made once, of a recipe of this test's own."""
    machine("podman")
    monkeypatch.setenv("DIB_CTR_BASE_IMAGE", ensure.reference())
    own = ensure.reference()
    podman = engines.select("podman")
    with registry(place / "registry") as running:
        cache = f"type=registry,ref={running.host}/cache/images:x,insecure=true"
        try:
            first = machine("podman", image=False).build("--cache-to", cache, *WHAT)
            assert "making the build image" in first.stderr
            assert "the build image sent to" in first.stderr
            again = machine("podman", image=False).build("--cache-to", cache, *WHAT, "--no-cache")
            assert "build image" not in again.stderr
            podman.remove_image(own)
            second = machine("podman", image=False).build("--cache-from", cache, *WHAT)
            assert "taking the build image from the cache" in second.stderr
            assert "making the build image" not in second.stderr
            assert second.titles("start") == []
            assert second.digest() == first.digest()
        finally:
            podman.remove_image(own)
