"""Layers that travel: a second store, over a registry or a folder, has what the first one has."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cache.machines import FIRST, STAGES, Machines, at, listed, warnings
from tests.integration.command import Command, Outcome, script, stage_scripts, write_element
from tests.integration.registry import Running, registry

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


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
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
