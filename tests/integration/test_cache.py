"""Layers that travel: a second store, over a registry or a folder, has what the first one has; whatever goes wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from builder.remote_cache.index import IndexEntry, read_index, write_index
from tests.integration.command import ELEMENTS, Command, Outcome, script, stage_scripts, write_element
from tests.integration.registry import PASSWORD, USER, Answer, Asked, Running, proxy, registry

STAGES = ["10-copy-shell", "prepare-tree", "50-greet", "seal-tree"]  # of tiny-os and greeting
FIRST = ("-o", "oci", "--no-documents", "tiny-os", "greeting")


@pytest.fixture(scope="module")
def running(open_folder: Path) -> Iterator[Running]:
    with registry(open_folder / "cache-registry") as found:
        yield found


@dataclass
class Machines:
    """Commands with a store and a destination of their own, as on machines of their own."""

    place: Path
    number: int = 0

    def __call__(self) -> Command:
        self.number += 1
        elements = (self.place / "elements", ELEMENTS)
        return Command("host", self.place / f"store-{self.number}", self.place / f"out-{self.number}", elements)


@pytest.fixture
def machines(place: Path) -> Machines:
    (place / "elements").mkdir()
    return Machines(place)


def at(running: Running | str, name: str) -> str:
    """A cache in a registry, as an option."""
    host = running if isinstance(running, str) else running.host
    return f"type=registry,ref={host}/cache/{name}:x,insecure=true"


def warnings(outcome: Outcome) -> list[str]:
    return [line for line in outcome.stderr.splitlines() if line.startswith("warning: the cache")]


@pytest.fixture(scope="module")
def filled(running: Running, open_folder: Path) -> tuple[str, str]:
    """A cache with tiny-os and greeting in it, by name, and the image's digest."""
    first = Command("host", open_folder / "filled-store", open_folder / "filled-out")
    return "filled", first.build("--cache-to", at(running, "filled"), *FIRST).digest()


ODD = script(
    'cd "$TARGET_ROOT"',
    "mkdir -p odd/gone odd/opaque/old odd/dir; echo x > odd/gone/file; echo x > odd/file; echo x > odd/opaque/old/file",
    "ln odd/file odd/hard; ln -s file odd/link; mkfifo odd/pipe; chown 123:456 odd/file; chmod 4711 odd/file",
    "cp /bin/true odd/capable; setcap cap_net_raw+ep odd/capable",
    "setfattr -n user.note -v 0x00ff0a odd/dir; chmod 1777 odd/dir",
)
ODDER = script(
    'cd "$TARGET_ROOT"',
    "rm -r odd/gone odd/opaque; mkdir odd/opaque; echo new > odd/opaque/new; rm odd/file; touch odd/dir",
    'echo kernel > "$TMP_BUILD_DIR/cwd/vmlinuz" 2>/dev/null || echo kernel > vmlinuz',
    'echo told > "$TMP_HOOKS_PATH/message"',
)


def layers(store: Path) -> dict[str, dict[str, Any]]:
    """What the store knows of each stage, but for what is this machine's own."""
    found = {}
    for file in (store / "keys").glob("*.json"):
        record = json.loads(file.read_text())
        for name in ("boot", "bytes", "sum"):
            del record[name]
        found[file.stem] = record
    return found


def content(store: Path) -> str:
    """Digest, attributes and links of everything in a store's layers, as other programs see them."""
    base = store / "layers"
    names = "find . -mindepth 1 ! -path './base*' -printf '%P %y %m %U %G %T@ %l %n\\n' | sort"
    data = "find . -type f ! -path './base*' -exec sha256sum {} + | sort -k 2"
    attributes = "find . ! -path './base*' -print0 | sort -z | xargs -0 getfattr -hd -m '^(user|security)' -e hex"
    plain = subprocess.run(["bash", "-c", f"{names}; {data}"], cwd=base, capture_output=True, text=True, check=True)
    more = subprocess.run(["bash", "-c", attributes], cwd=base, capture_output=True, text=True, check=True)
    blocks = []
    for block in more.stdout.split("\n\n"):  # a handle of this machine's file system is no part of a layer
        lines = [line for line in block.splitlines() if "overlay.origin" not in line]
        blocks += lines if len(lines) > 1 else []
    return plain.stdout + "\n".join(blocks)


def test_a_second_store_has_the_same_layers_to_the_last_attribute(running: Running, machines: Machines) -> None:
    files = {"root.d/50-odd": ODD, "extra-data.d/60-odder": ODDER, "install.d/70-nothing": script("true")}
    write_element(machines.place / "elements", "odd", files)
    one, two = machines(), machines()
    wanted = ("-o", "oci,layers=stages", "-o", "tar", "tiny-os", "odd")
    first = one.build("--cache-to", at(running, "same"), *wanted)
    before = len(running.requests("GET"))
    second = two.build("--cache-from", at(running, "same"), *wanted)
    assert second.titles("start") == []
    assert second.titles("hit") == first.titles("start")
    asked = running.requests("GET")[before:]
    assert sum("/manifests/" in path for path in asked) == 1, "one request tells what there is"
    assert layers(two.store) == layers(one.store)
    assert content(two.store) == content(one.store)
    assert "user.overlay.opaque" in content(two.store)
    assert second.digest() == first.digest()
    assert second.digest("tar") == first.digest("tar")
    side = "tiny-os.files/vmlinuz"
    assert (two.destination / side).read_text() == (one.destination / side).read_text()
    assert two("cache", "verify").status == 0
    write_element(
        machines.place / "elements", "odd", {"install.d/80-read": script("cat /tmp/in_target.d/message > /told")}
    )
    outcomes = [machine.build(*wanted) for machine in (one, two)]
    assert outcomes[1].titles("start") == ["80-read", "seal-tree"], "what it left for later scripts has come, too"


@pytest.mark.thorough("five builds")
def test_only_what_is_missing_is_sent(running: Running, machines: Machines) -> None:
    one, two = machines(), machines()
    one.build("--cache-to", at(running, "missing"), *FIRST)
    before = {method: len(running.requests(method)) for method in ("PUT", "POST")}
    again = one.build("--cache-to", at(running, "missing"), *FIRST)
    assert {method: len(running.requests(method)) for method in ("PUT", "POST")} == before
    assert "cache:" not in again.stdout + again.stderr
    write_element(machines.place / "elements", "more", stage_scripts([60]))
    two.build("--cache-from", at(running, "missing"), "--cache-to", at(running, "missing"), *FIRST, "more")
    blobs = [path for path in running.requests("PUT")[before["PUT"] :] if "/blobs/" in path]
    assert len(blobs) == 3, "60-stage, seal-tree and the image"


def test_a_miss_fetches_the_layers_below_it_and_no_others(running: Running, machines: Machines) -> None:
    write_element(machines.place / "elements", "some", stage_scripts([60, 70, 80]))
    machines().build("--cache-to", at(running, "below"), "tiny-os", "some")
    write_element(machines.place / "elements", "some", stage_scripts([70], "echo changed > /etc/stage-{0}"))
    before = len(running.requests("GET"))
    outcome = machines().build("--cache-from", at(running, "below"), "tiny-os", "some")
    assert outcome.titles("hit") == ["10-copy-shell", "prepare-tree", "60-stage"]
    assert sum("/blobs/" in path for path in running.requests("GET")[before:]) == 3


@pytest.mark.thorough("four builds")
def test_nothing_is_fetched_where_the_output_is_unchanged(running: Running, machines: Machines) -> None:
    one = machines()
    first = one.build("--cache-to", at(running, "unchanged"), *FIRST)
    shutil.rmtree(one.store)
    before = len(running.requests("GET"))
    again = one.build("--cache-from", at(running, "unchanged"), *FIRST)
    assert [path for path in running.requests("GET")[before:] if "/blobs/" in path] == []
    assert again.titles("hit") == STAGES
    assert again.digest() == first.digest()
    assert [event["changed"] for event in again.events if event["type"] == "output"] == [False]
    shutil.rmtree(one.destination / "tiny-os.oci")
    assert one.build("--cache-from", at(running, "unchanged"), *FIRST).digest() == first.digest()


def test_a_finished_image_comes_without_its_layers(
    running: Running, filled: tuple[str, str], machines: Machines
) -> None:
    machine, before = machines(), len(running.requests("GET"))
    outcome = machine.build("--cache-from", at(running, filled[0]), *FIRST)
    assert (outcome.titles("start"), outcome.digest()) == ([], filled[1])
    assert sum("/blobs/" in path for path in running.requests("GET")[before:]) == 1
    assert [folder.name for folder in (machine.store / "layers").iterdir()] == ["base"]
    read = ["skopeo", "inspect", "--format", "{{.Digest}}", f"oci:{machine.destination / 'tiny-os.oci'}"]
    assert subprocess.run(read, capture_output=True, text=True, check=True).stdout.strip() == filled[1]
    assert machine.build("-o", "tar", "--cache-from", at(running, filled[0]), *FIRST).titles("start") == []


def test_the_plan_tells_what_is_elsewhere(running: Running, filled: tuple[str, str], machines: Machines) -> None:
    outcome = machines()("plan", "--json", "--cache-from", at(running, filled[0]), "tiny-os", "greeting")
    assert [stage["hit"] for stage in json.loads(outcome.stdout)] == [True] * 4


@pytest.mark.thorough("minutes of builds")
def test_caches_are_asked_in_order_and_layers_of_several_make_one_tree(machines: Machines, place: Path) -> None:
    one, folder = machines(), f"type=local,dest={place / 'a'}"
    one.build("--cache-to", folder, "tiny-os")
    write_element(place / "elements", "more", stage_scripts([60]))
    two = machines()
    first = two.build(
        "--cache-from", f"type=dir,path={place / 'a'}", "--cache-to", f"type=dir,path={place / 'b'}", *FIRST, "more"
    )
    shutil.rmtree(place / "a/blobs")  # the first one lists what it has no more
    both = ("--cache-from", f"type=dir,path={place / 'a'}", "--cache-from", f"type=local,src={place / 'b'}")
    outcome = machines().build(*both, "-o", "tar", *FIRST, "more")
    assert outcome.titles("start") == []
    assert outcome.digest() == first.digest()
    assert len(warnings(outcome)) == 1


@pytest.mark.thorough("minutes of builds")
def test_mode_max_sends_what_else_the_store_holds(machines: Machines, place: Path) -> None:
    one = machines()
    one.build("tiny-os", "greeting")
    one.build("--cache-to", f"type=dir,path={place / 'min'}", "tiny-os")
    one.build("--cache-to", f"type=dir,path={place / 'max'},mode=max", "tiny-os")
    titles = {name: {each.title for each in listed(place / name)} for name in ("min", "max")}
    assert titles["max"] - titles["min"] == {"install/greeting/50-greet"}


def listed(folder: Path) -> list[IndexEntry]:
    return read_index((folder / "index.json").read_bytes())


# -- faults --------------------------------------------------------------------------------------------------------


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
    Fault("other", "GET", "/blobs/", 1, lost=False),  # not the image then, but its layers
    Fault("404", "GET", "/blobs/"),
]
MORE_READING = [
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


def poison(folder: Path, title: str, data: bytes) -> None:
    """Give a stage another blob, with an index that fits."""
    from builder.remote_cache.index import digest_of

    changed = []
    for entry in listed(folder):
        if entry.parts == ("output",):  # it would come alone, and no layer be asked for
            continue
        if entry.title == title:
            entry = replace(entry, blob=digest_of(data), size=len(data), unpacked=1 << 20)
            (folder / "blobs/sha256" / entry.blob.removeprefix("sha256:")).write_bytes(data)
        changed.append(entry)
    (folder / "index.json").write_bytes(write_index(changed))


def test_a_poisoned_layer_is_refused_and_its_stage_runs(
    machines: Machines, place: Path, filled: tuple[str, str]
) -> None:
    folder = place / "shared"
    machines().build("--cache-to", f"type=dir,path={folder}", *FIRST)
    by_title = {entry.title: entry for entry in listed(folder)}
    good = by_title["root/dib-ctr/prepare-tree"].blob.removeprefix("sha256:")
    other = (folder / "blobs/sha256" / good).read_bytes()
    hostile = subprocess.run(
        ["bash", "-c", "cd /tmp && tar -c --transform 's,^,../../,' -P /etc/hostname | zstd -qc"], capture_output=True
    ).stdout
    for data in (other, hostile, b"", b"nonsense" * 99):
        shutil.copytree(folder, place / "poisoned")
        poison(place / "poisoned", "install/greeting/50-greet", data)
        machine = machines()
        outcome = machine.build("--cache-from", f"type=dir,path={place / 'poisoned'}", *FIRST)
        assert outcome.titles("hit") == STAGES[:2]
        assert outcome.digest() == filled[1]
        assert len(warnings(outcome)) == bool(data), "what has no bytes is not even asked for"
        assert machine("cache", "verify").status == 0
        shutil.rmtree(place / "poisoned")


def changed(blob: bytes, old: bytes, new: bytes) -> bytes:
    """A packed layer with one file's content changed, its length and times as before."""
    assert len(old) == len(new)
    plain = subprocess.run(["zstd", "-dc"], input=blob, capture_output=True, check=True).stdout
    assert plain.count(old) == 1
    return subprocess.run(["zstd", "-qc"], input=plain.replace(old, new), capture_output=True, check=True).stdout


def test_an_archive_with_one_file_changed_is_refused_though_index_and_blob_agree(
    machines: Machines, place: Path, filled: tuple[str, str]
) -> None:
    folder = place / "shared"
    machines().build("--cache-to", f"type=dir,path={folder}", *FIRST)
    blob = next(each.blob for each in listed(folder) if each.title == "install/greeting/50-greet")
    data = (folder / "blobs/sha256" / blob.removeprefix("sha256:")).read_bytes()
    poison(folder, "install/greeting/50-greet", changed(data, b"hello\n", b"hellO\n"))
    machine = machines()
    outcome = machine.build("--cache-from", f"type=dir,path={folder}", *FIRST)
    assert "its files are not those that were kept" in warnings(outcome)[0]
    assert outcome.titles("start") == STAGES[2:]
    assert outcome.digest() == filled[1]


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


@pytest.fixture
def small_disk(place: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    disk = place / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m,mode=755", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.thorough("a build for each amount of room")
def test_a_disk_that_is_full_while_layers_come(machines: Machines, place: Path, small_disk: Path) -> None:
    write = script('head -c 60M /dev/urandom > "$TARGET_ROOT/etc/fat"')
    fat = {"extra-data.d/60-fat": write, **stage_scripts([70])}
    write_element(place / "elements", "fat", fat)
    folder = f"type=dir,path={place / 'shared'}"
    machines().build("--cache-to", folder, "-o", "tar", "tiny-os", "fat")
    full = replace(machines(), store=small_disk / "store")
    outcome = full("build", "--cache-from", folder, "tiny-os", "fat")
    assert outcome.status == 1
    assert "is full" in outcome.stderr + outcome.stdout
    assert "no room" in warnings(outcome)[0]
    assert "Traceback" not in outcome.stderr
    assert full("cache", "verify").status == 0
    assert full.build("--cache-from", folder, "tiny-os").titles("start") == ["seal-tree"]


# -- many at once --------------------------------------------------------------------------------------------------


def together(*builds: tuple[Command, tuple[str, ...]]) -> list[Outcome]:
    processes = [command.start("build", *arguments) for command, arguments in builds]
    outcomes = []
    for process in processes:
        stdout, stderr = process.communicate(timeout=300)
        outcomes.append(Outcome(process.returncode, stdout, stderr))
    assert [outcome.status for outcome in outcomes] == [0] * len(builds), [outcome.stderr for outcome in outcomes]
    return outcomes


@pytest.mark.thorough("minutes of builds")
def test_two_writers_of_one_key_leave_a_cache_that_serves_both_chains(running: Running, machines: Machines) -> None:
    write_element(machines.place / "elements", "some", stage_scripts([60, 70]))
    spec = at(running, "race")
    both = together(*((machines(), ("--cache-to", spec, *FIRST, "some")) for _ in range(2)))
    assert both[0].digest() == both[1].digest()
    reader = machines().build("--cache-from", spec, *FIRST, "some")
    assert reader.titles("start") == []
    assert reader.digest() == both[0].digest()
    assert warnings(both[0]) == warnings(both[1]) == []


@pytest.mark.thorough("eight builds at once")
def test_eight_builds_at_once_over_three_images(running: Running, machines: Machines) -> None:
    elements, spec = machines.place / "elements", at(running, "eight")
    for name, numbers in (("one", [60, 61]), ("two", [60, 62]), ("three", [63])):
        write_element(elements, name, stage_scripts(numbers))
    images = [("tiny-os", "greeting", "one"), ("tiny-os", "greeting", "one", "three"), ("tiny-os", "greeting", "three")]
    stores = [machines() for _ in range(4)]
    builds = []
    for number in range(8):
        command = replace(stores[number % 4], destination=machines.place / f"eight-{number}")
        both = ("--cache-from", spec, "--cache-to", spec, "-o", "oci", "--no-documents")
        builds.append((command, (*both, "--name", f"image-{number % 3}", *images[number % 3])))
    outcomes = together(*builds)
    assert [warnings(outcome) for outcome in outcomes] == [[]] * 8
    for number in range(3):
        assert len({outcome.digest() for outcome in outcomes[number::3]}) == 1
    for store in stores:
        assert store("cache", "verify").status == 0
    for number in range(3):
        after = machines().build("--cache-from", spec, "--no-documents", "--name", f"image-{number}", *images[number])
        assert after.titles("start") == []
        assert after.digest() == outcomes[number].digest()


# -- who may ------------------------------------------------------------------------------------------------------


def make_keys(folder: Path, name: str) -> None:
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    curve = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(private)]
    subprocess.run(curve, check=True, capture_output=True)
    subprocess.run(
        ["openssl", "ec", "-in", str(private), "-pubout", "-out", str(public)], check=True, capture_output=True
    )


@pytest.mark.thorough("eight builds; tests/unit/builder/remote_cache/test_layercache.py has the decisions")
def test_only_what_the_right_ones_signed_counts(running: Running, machines: Machines, place: Path) -> None:
    for name in ("good", "other"):
        make_keys(place, name)
    spec, key = at(running, "signed"), f",key={place / 'good.pub'}"
    machine = machines()
    first = machine.build("--cache-to", spec, *FIRST)
    unsigned = machines().build("--cache-from", spec + key, *FIRST)
    assert unsigned.titles("start") == STAGES
    assert "signed" in warnings(unsigned)[0]
    machine.build("--cache-to", f"{spec},sign={place / 'other.pem'},writer=ci", *FIRST)
    assert machines().build("--cache-from", spec + key, *FIRST).titles("start") == STAGES
    machine.build("--cache-to", f"{spec},sign={place / 'good.pem'},writer=ci", *FIRST)
    good = machines().build("--cache-from", spec + key + ",writers=nightly+ci", *FIRST)
    assert good.titles("start") == []
    assert good.digest() == first.digest()
    assert machines().build("--cache-from", spec + key + ",writers=nightly", *FIRST).titles("start") == STAGES


def test_a_pull_request_from_a_fork_reads_and_does_not_write(machines: Machines, place: Path) -> None:
    folder = f"type=dir,path={place / 'shared'}"
    machines().build("--cache-to", folder, "tiny-os")
    before = (place / "shared/index.json").read_bytes()
    request = {"head": {"repo": {"full_name": "somebody/x"}}, "base": {"repo": {"full_name": "team/x"}}}
    (place / "event.json").write_text(json.dumps({"pull_request": request}))
    fork = {"GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": str(place / "event.json")}
    outcome = machines().build("--cache-from", folder, "--cache-to", folder, *FIRST, variables=fork)
    assert outcome.titles("hit") == STAGES[:2]
    assert "pull request from a fork" in outcome.stderr
    assert (place / "shared/index.json").read_bytes() == before
    machines().build("--cache-from", folder, "--cache-to", f"{folder},force=true", *FIRST, variables=fork)
    assert (place / "shared/index.json").read_bytes() != before


def test_passwords_come_from_the_engines_file_and_no_script_sees_them(
    open_folder: Path, machines: Machines, place: Path
) -> None:
    import base64

    secret = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    processes = "{ cat /proc/*/environ /proc/*/cmdline 2>/dev/null || true; } | tr '\\0' '\\n'"
    look = f"env; {processes}; find / -xdev -name 'auth.json' 2>/dev/null || true"
    write_element(place / "elements", "curious", {"root.d/60-look": script(f'({look}) > "$TARGET_ROOT/seen"')})
    with registry(open_folder / "locked-cache", password=True) as locked:
        (place / "auth.json").write_text(json.dumps({"auths": {locked.host: {"auth": secret}}}))
        spec = at(locked, "x")
        refused = machines().build("--cache-to", spec, *FIRST, variables={"REGISTRY_AUTH_FILE": "/nonexistent"})
        assert "refuses" in warnings(refused)[0]
        given = {"REGISTRY_AUTH_FILE": str(place / "auth.json")}
        machine = machines()
        machine.build("--cache-to", spec, "-o", "tar", "tiny-os", "curious", variables=given)
        named = f"{spec},authfile={place / 'auth.json'}"
        assert machines().build("--cache-from", named, "tiny-os", "curious").titles("start") == []
    seen = subprocess.run(
        ["tar", "-xOf", str(machine.destination / "tiny-os.tar"), "seen"], capture_output=True, text=True, check=True
    ).stdout
    assert "PATH=" in seen
    assert secret not in seen
    assert PASSWORD + ":" not in seen
    assert "/auth.json" not in seen


def test_what_makes_no_sense_is_bad_usage_before_any_work(machines: Machines, place: Path) -> None:
    for spec, word in (
        ("--cache-from=type=s3,bucket=x", "no type of cache"),
        (f"--cache-from=type=dir,path=x,key={place / 'none.pub'}", "cannot be read"),
        ("--cache-to=type=gha", "ACTIONS_RESULTS_URL"),
    ):
        outcome = machines()("build", spec, "tiny-os", variables={"ACTIONS_RESULTS_URL": ""})
        assert outcome.status == 2, outcome.stderr
        assert word in outcome.stderr
        assert outcome.events == []


# -- letting go ----------------------------------------------------------------------------------------------------


@pytest.mark.thorough("minutes of builds")
def test_a_registrys_cache_is_pruned_and_its_room_comes_back(open_folder: Path, machines: Machines) -> None:
    with registry(open_folder / "pruned") as found:
        spec, machine = at(found, "x"), machines()
        machine.build("--cache-to", spec, *FIRST)
        kept = machine("cache", "prune", "--registry", spec, "--older-than", "14d", "--keep-size", "10GB")
        assert "removed 0 layers" in kept.stdout
        assert machines().build("--cache-from", spec, *FIRST).titles("start") == []
        small = machine("cache", "prune", "--registry", f"{found.host}/cache/x:x", "--insecure", "--keep-size", "1500")
        assert small.status == 0, small.stderr
        assert machines().build("--cache-from", spec, *FIRST).titles("start") == STAGES
        machine("cache", "prune", "--registry", spec, "--older-than", "0")
        used = subprocess.run(["du", "-sb", str(found.folder / "data")], capture_output=True, text=True).stdout
        program = str(shutil.which("docker-registry"))
        subprocess.run([program, "garbage-collect", str(found.folder / "config.yml")], check=True, capture_output=True)
        after = subprocess.run(["du", "-sb", str(found.folder / "data")], capture_output=True, text=True).stdout
        assert int(after.split()[0]) < int(used.split()[0]) // 10
        machine.build("--cache-to", spec, *FIRST)
