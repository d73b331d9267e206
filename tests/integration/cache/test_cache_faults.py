"""What goes wrong on the way to a shared cache, or on the machine, costs time and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from builder.remote_cache.index import write_index
from tests.integration.cache.machines import FIRST, STAGES, Machines, at, listed, warnings
from tests.integration.command import script, stage_scripts, write_element
from tests.integration.registry import Answer, Asked, Running, proxy, registry

ALWAYS = 1 << 30


@dataclass
class Fault:
    """Something that goes wrong with the requests of a method whose path has ``part``: always, or ``times``.

    ``said``: there is a warning; ``lost``: stages run.
    """

    kind: str
    method: str
    part: str
    times: int = ALWAYS
    said: bool = True
    lost: bool = True
    hit: list[str] = field(default_factory=list)

    def _applies(self, asked: Asked) -> bool:
        if asked.method != self.method or self.part not in asked.path or len(self.hit) >= self.times:
            return False
        self.hit.append(asked.path)
        return True

    def answer(self, asked: Asked) -> Answer | None:
        if self.kind in ("half", "other", "empty") or not self._applies(asked):
            return None
        if self.kind == "lacking":  # in docker-registry's words, which has the blob again in the next moment
            return Answer(400, body=b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","detail":"sha256:44136"}]}')
        return Answer(0) if self.kind == "closed" else Answer(int(self.kind))

    def changed(self, asked: Asked, answered: Answer) -> Answer:
        if self.kind not in ("half", "other", "empty") or not self._applies(asked):
            return answered
        body = answered.body
        if self.kind == "half":
            return replace(answered, cut=len(body) // 2)
        return replace(answered, body=bytes(len(body)) if self.kind == "other" else b"", headers={})


READING = [
    Fault("500", "GET", "/v2/"),
    Fault("429", "GET", "/blobs/", 1, said=False, lost=False),
]
MORE_READING = [
    Fault("other", "GET", "/blobs/", 1, lost=False),  # not the image then, but its layers
    Fault("404", "GET", "/blobs/"),
    Fault("closed", "GET", "/manifests/"),
    Fault("other", "GET", "/manifests/"),
    Fault("half", "GET", "/manifests/", 1, said=False, lost=False),
    Fault("500", "GET", "/blobs/"),
    Fault("half", "GET", "/blobs/", 1, said=False, lost=False),
    Fault("half", "GET", "/blobs/"),
    Fault("other", "GET", "/blobs/"),
    Fault("empty", "GET", "/blobs/", 2, said=False, lost=False),
    Fault("401", "GET", "/manifests/"),
]


def _named(fault: Fault) -> str:
    return f"{fault.kind}-{fault.part.strip('/')}-{fault.times < 9}"


THOROUGH = pytest.mark.thorough("a build for each fault; `just test` has some")
FAULTS = [
    *(pytest.param(fault, id=_named(fault)) for fault in READING),
    *(pytest.param(fault, id=_named(fault), marks=THOROUGH) for fault in MORE_READING),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_cache_that_fails_costs_time_only(
    fault: Fault, running: Running, filled: tuple[str, str], machines: Machines
) -> None:
    machine = machines()
    with proxy(running.host, fault.answer, fault.changed) as host:
        outcome = machine.build("--cache-from", at(host, filled[0]), *FIRST)
    assert fault.hit
    assert outcome.digest() == filled[1]
    assert sorted(outcome.titles("hit") + outcome.titles("start")) == sorted(STAGES)
    assert bool(outcome.titles("start")) == fault.lost
    assert len(warnings(outcome)) == int(fault.said)
    assert machine("cache", "verify").status == 0


@pytest.mark.thorough("twelve faults, three builds each")
def test_a_cache_that_fails_while_it_is_written_costs_nothing_else(running: Running, machines: Machines) -> None:
    machine = machines()
    faults = [
        Fault(kind, method, part, times)
        for method, part in (("HEAD", "/blobs/"), ("POST", "/uploads/"), ("PUT", "/uploads/"), ("PUT", "/manifests/"))
        for kind, times in (("500", 1 << 30), ("429", 1), ("closed", 2))
    ]
    faults.append(Fault("lacking", "PUT", "/manifests/sha256:", 1))
    digests = set()
    for number, fault in enumerate(faults):
        with proxy(running.host, fault.answer) as host:
            outcome = machine.build("--cache-to", at(host, f"faulty-{number}"), *FIRST)
        assert fault.hit, fault
        digests.add(outcome.digest())
        if fault.times == 1:
            assert warnings(outcome) == [], "it is sent again"
        if fault.kind == "500":
            assert len(warnings(outcome)) == 1
            repaired = machine.build("--cache-to", at(running, f"faulty-{number}"), *FIRST)
            assert "5 layers and outputs" in repaired.stderr, "what came half is sent whole"
    assert len(digests) == 1
    reader = machines()
    assert reader.build("--cache-from", at(running, "faulty-0"), *FIRST).titles("start") == []


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_registry_that_is_not_there_is_said_once(machines: Machines) -> None:
    spec = at("localhost:1", "none")
    outcome = machines().build("--cache-from", spec, "--cache-to", spec.replace("none", "else"), *FIRST)
    assert outcome.titles("start") == STAGES
    assert len(warnings(outcome)) == 2, "one sentence a cache"


@pytest.mark.thorough("minutes of builds")
def test_a_registry_that_dies_in_the_middle(open_folder: Path, filled: tuple[str, str], machines: Machines) -> None:
    with registry(open_folder / "mortal") as mortal:
        machines().build("--cache-to", at(mortal, "x"), *FIRST)

        def dies(asked: Asked) -> Answer | None:
            if "/blobs/" in asked.path:
                mortal.process.kill()
                mortal.process.wait()
                return Answer(0)
            return None

        with proxy(mortal.host, dies) as host:
            outcome = machines().build("--cache-from", at(host, "x"), "--cache-to", at(host, "y"), *FIRST)
    assert outcome.digest() == filled[1]
    assert len(warnings(outcome)) == 2


@pytest.mark.thorough("minutes of builds")
def test_clocks_of_other_machines_may_be_wrong(machines: Machines, place: Path) -> None:
    folder = place / "shared"
    first = machines().build("--cache-to", f"type=dir,path={folder}", *FIRST)
    for shift in (40 * 365 * 86400.0, -40 * 365 * 86400.0):
        skewed = [replace(each, created=each.created + shift, used=each.used + shift) for each in listed(folder)]
        (folder / "index.json").write_bytes(write_index(skewed))
        both = ("--cache-from", f"type=dir,path={folder}", "--cache-to", f"type=dir,path={folder}")
        outcome = machines().build(*both, *FIRST)
        assert outcome.titles("start") == []
        assert outcome.digest() == first.digest()
        assert max(abs(each.used - time.time()) for each in listed(folder)) < 86400, "the use is noted anew"


@pytest.mark.thorough("a build for each amount of room")
def test_a_disk_that_is_full_while_layers_come(
    machines: Machines, place: Path, small_disk: Callable[[str], Path]
) -> None:
    write = script('head -c 60M /dev/urandom > "$TARGET_ROOT/etc/fat"')
    fat = {"extra-data.d/60-fat": write, **stage_scripts([70])}
    write_element(place / "elements", "fat", fat)
    folder = f"type=dir,path={place / 'shared'}"
    machines().build("--cache-to", folder, "-o", "tar", "tiny-os", "fat")
    full = replace(machines(), store=small_disk("size=40m") / "store")
    outcome = full("build", "--cache-from", folder, "tiny-os", "fat")
    assert outcome.status == 1
    assert "is full" in outcome.stderr + outcome.stdout
    assert "no room" in warnings(outcome)[0]
    assert "Traceback" not in outcome.stderr
    assert full("cache", "verify").status == 0
    assert full.build("--cache-from", folder, "tiny-os").titles("start") == ["seal-tree"]
