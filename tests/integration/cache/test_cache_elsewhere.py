"""Layers that travel by way of GitHub's cache service, and between machines that share nothing but a network."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.remote_cache import github_actions
from builder.remote_cache.github_actions import InActions
from tests.integration.cache.actionscache import TOKEN, Service, service
from tests.integration.command import ELEMENTS, Command, Outcome, stage_scripts, write_element
from tests.integration.engine_cases import missing

FIRST = ("--no-documents", "tiny-os", "greeting")


@pytest.fixture
def running() -> Iterator[Service]:
    with service() as found:
        yield found


def variables(running: Service) -> dict[str, str]:
    return {"ACTIONS_RESULTS_URL": f"{running.address}/", "ACTIONS_RUNTIME_TOKEN": TOKEN}


def machine(place: Path, number: int) -> Command:
    (place / "elements").mkdir(exist_ok=True)
    return Command("host", place / f"store-{number}", place / f"out-{number}", (place / "elements", ELEMENTS))


def test_layers_travel_by_githubs_cache(running: Service, place: Path) -> None:
    given = variables(running)
    one = machine(place, 1)
    first = one.build("--cache-to", "type=gha", *FIRST, variables=given)
    calls = len(running.calls)
    second = machine(place, 2).build("--cache-from", "type=gha", *FIRST, variables=given)
    assert second.titles("start") == []
    assert second.digest() == first.digest()
    assert set(running.calls[calls:]) == {"GetCacheEntryDownloadURL"}
    write_element(place / "elements", "more", stage_scripts([60]))
    both = ("--cache-from", "type=gha", "--cache-to", "type=gha")
    running.failing = 2
    third = machine(place, 3).build(*both, *FIRST, "more", variables=given)
    assert third.titles("start") == ["60-stage", "seal-tree"]
    assert machine(place, 4).build(*both, *FIRST, "more", variables=given).titles("start") == []
    assert machine(place, 5).build("--cache-from", "type=gha,scope=other", *FIRST, variables=given).titles("hit") == []


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_what_githubs_cache_refuses_costs_time_only(running: Service, place: Path) -> None:
    wrong = {**variables(running), "ACTIONS_RUNTIME_TOKEN": "no-token"}
    outcome = machine(place, 1).build("--cache-from", "type=gha", "--cache-to", "type=gha", *FIRST, variables=wrong)
    assert outcome.titles("hit") == []
    assert len([line for line in outcome.stderr.splitlines() if line.startswith("warning")]) == 2


def test_a_large_blob_goes_in_blocks(running: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github_actions, "BLOCK", 1000)
    place = InActions("x", variables(running))
    data = os.urandom(3500)
    place.put_blob("sha256:" + "0" * 64, len(data), io.BytesIO(data))
    assert [len(block) for block in running.entries[0].blocks.values()] == [1000, 1000, 1000, 500]
    assert b"".join(place.blob("sha256:" + "0" * 64)) == data
    place.put_blob("sha256:" + "0" * 64, len(data), io.BytesIO(data))
    assert len(running.entries) == 1


# -- two machines, as far as a network tells ------------------------------------------------------------------------


class Network:
    """Network namespaces that a bridge of their own joins; each has an address, and none reaches anything else."""

    def __init__(self) -> None:
        self.tag = f"dc{os.getpid() % 10_000}"

    def run(self, *words: str) -> None:
        subprocess.run(words, check=True, capture_output=True)

    def open(self, names: list[str]) -> None:
        self.run("ip", "link", "add", f"{self.tag}br", "type", "bridge")
        self.run("ip", "link", "set", f"{self.tag}br", "up")
        for number, name in enumerate(names, 1):
            space, link = f"{self.tag}{name}", f"{self.tag}v{number}"
            self.run("ip", "netns", "add", space)
            self.run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
            self.run("ip", "link", "set", link, "master", f"{self.tag}br", "up")
            for words in (("link", "set", "lo", "up"), ("link", "set", "eth0", "up")):
                self.run("ip", "-n", space, *words)
            self.run("ip", "-n", space, "addr", "add", f"10.99.7.{number}/24", "dev", "eth0")

    def close(self, names: list[str]) -> None:
        for name in names:
            subprocess.run(["ip", "netns", "del", f"{self.tag}{name}"], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", f"{self.tag}br"], check=False, capture_output=True)

    def inside(self, name: str, *words: str) -> list[str]:
        return ["ip", "netns", "exec", f"{self.tag}{name}", *words]


@pytest.mark.thorough("two network namespaces and a dozen builds")
@pytest.mark.slow
def test_two_machines_on_a_network_share_a_registry(place: Path) -> None:
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("docker-registry") is None:
        missing("network namespaces take root, ip and docker-registry")
    names, network = ["registry", "one", "two"], Network()
    config = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(place / "data")}},
        "http": {"addr": "10.99.7.1:5000"},
    }
    (place / "config.yml").write_text(json.dumps(config))
    process = None
    try:
        try:
            network.open(names)
        except subprocess.CalledProcessError as error:
            missing(f"no network namespaces here: {error.stderr.decode()}")
        process = subprocess.Popen(
            network.inside("registry", "docker-registry", "serve", str(place / "config.yml")),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(1)
        spec, outcomes = "type=registry,ref=10.99.7.1:5000/team/cache:x,insecure=true", []
        for number, (name, option) in enumerate((("one", "--cache-to"), ("two", "--cache-from")), 1):
            words = machine(place, number).arguments("build", option, spec, *FIRST)
            assert words[0] == sys.executable
            done = subprocess.run(network.inside(name, *words), capture_output=True, text=True)
            outcomes.append(Outcome(done.returncode, done.stdout, done.stderr))
        assert [outcome.status for outcome in outcomes] == [0, 0], [outcome.stderr for outcome in outcomes]
        assert outcomes[1].titles("start") == []
        assert outcomes[1].digest() == outcomes[0].digest()
    finally:
        if process:
            process.terminate()
            process.wait(20)
        network.close(names)
