"""The promises of the layer store, each against a real build (host engine: user namespace, overlay, sandbox)."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.outputs.formats.oci_layout import blob, read_image
from stages.sandbox import system
from tests.integration.command import ELEMENTS, Command, Outcome, script, stage_scripts, write_element


@pytest.fixture
def own(place: Path) -> Path:
    """A folder for elements of one test."""
    folder = place / "elements"
    folder.mkdir()
    return folder


@pytest.fixture
def command(place: Path, own: Path) -> Command:
    return Command("host", place / "store", place / "out", (own, ELEMENTS))


def read_tree(outcome: Outcome, command: Command, name: str = "tiny-os") -> dict[str, str]:
    """Small files of the tar output, by path."""
    del outcome
    with tarfile.open(command.destination / f"{name}.tar") as archive:
        found = {}
        for member in archive.getmembers():
            if member.isfile() and member.size < 100_000:
                data = archive.extractfile(member)
                assert data is not None
                found[member.name.removeprefix("./")] = data.read().decode("utf-8", "replace")
        return found


def test_the_second_build_runs_nothing_and_writes_nothing(command: Command) -> None:
    first = command.build("tiny-os", "greeting")
    assert first.titles("start") == ["10-copy-shell", "prepare-tree", "50-greet", "seal-tree"]
    before = {path: path.stat().st_mtime_ns for path in command.destination.rglob("*")}
    second = command.build("tiny-os", "greeting")
    assert second.titles("start") == []
    assert second.titles("hit") == first.titles("start")
    assert not any(event["changed"] for event in second.events if event["type"] == "output")
    assert {path: path.stat().st_mtime_ns for path in command.destination.rglob("*")} == before


def test_a_changed_script_runs_again_with_those_after_it_and_nothing_before(command: Command, own: Path) -> None:
    write_element(own, "mine", stage_scripts([10, 20, 30]))
    command.build("tiny-os", "mine")
    write_element(own, "mine", stage_scripts([20], "echo changed > /etc/stage-{0}"))
    outcome = command.build("-o", "tar", "tiny-os", "mine")
    assert outcome.titles("start") == ["20-stage", "30-stage", "seal-tree"]
    assert read_tree(outcome, command)["etc/stage-20"] == "changed\n"
    os.utime(own / "mine/install.d/10-stage", (1, 1))
    assert command.build("-o", "tar", "tiny-os", "mine").titles("start") == []


def test_a_changed_variable_misses_only_where_a_script_can_read_it(command: Command, own: Path) -> None:
    write_element(own, "mine", stage_scripts([60]))
    command.build("tiny-os", "greeting", "mine")
    unread = command.build("--set", "DIB_UNREAD=1", "tiny-os", "greeting", "mine")
    assert unread.titles("start") == []
    read = command.build("-o", "tar", "tiny-os", "greeting", "mine", variables={"DIB_GREETING": "good day"})
    assert read.titles("start") == ["50-greet", "60-stage", "seal-tree"]
    assert read_tree(read, command)["etc/greeting"] == "good day\n"


@pytest.mark.thorough("tests/unit/stages/plan has the reasons")
def test_the_plan_says_why_a_stage_missed(command: Command, own: Path) -> None:
    command.build("tiny-os", "greeting")
    outcome = command("plan", "--json", "--set", "DIB_GREETING=x", "tiny-os", "greeting")
    data = json.loads(outcome.stdout)
    stages = {stage["script"]: stage for stage in (data["stages"] if isinstance(data, dict) else data)}
    assert stages["10-copy-shell"]["hit"]
    assert not stages["50-greet"]["hit"]
    assert "variable DIB_GREETING" in stages["50-greet"]["why"]
    assert "before it changed" in stages["seal-tree"]["why"]


def test_what_a_key_does_not_cover_is_not_visible(command: Command, own: Path) -> None:
    write_element(own, "other", {"static/etc/secret": "x", "install.d/10-true": script("true")})
    probe = script(
        "ls -R /tmp/in_target.d > /etc/hooks",
        "cat /proc/self/environ > /etc/environ",
        "cat /proc/net/dev > /etc/network",
        "ls / > /etc/root",
    )
    outside = script(
        'kernel=(-path "$TARGET_ROOT/proc" -o -path "$TARGET_ROOT/sys" -o -path "$TARGET_ROOT/dev")',
        'find /home /root /tmp /run -mindepth 1 "(" "${kernel[@]}" ")" -prune -o -print > "$TARGET_ROOT/etc/outside"',
        'ls / > "$TARGET_ROOT/etc/out"',
    )
    write_element(own, "probe", {"install.d/90-probe": probe, "post-root.d/10-probe": outside})
    outcome = command.build("-o", "tar", "tiny-os", "other", "probe", variables={"DIB_SECRET": "s3cret", "SECRET": "s"})
    tree = read_tree(outcome, command)
    assert "secret" not in tree["etc/hooks"]
    assert "90-probe" in tree["etc/hooks"]
    assert "10-true" not in tree["etc/hooks"]
    assert "s3cret" not in tree["etc/environ"]
    assert "SECRET" not in tree["etc/environ"]
    devices = [line.split(":")[0].strip() for line in tree["etc/network"].splitlines()[2:]]
    assert [device for device in devices if device == "lo" or device.startswith(("e", "w"))] == ["lo"]
    seen = {path for path in tree["etc/outside"].splitlines() if not path.startswith("/run/dib-ctr")}
    assert seen <= {"/run/lock", "/run/user"}, "more than the empty folders that each stage has"
    kernels = {"dev", "proc", "sys"}
    with tarfile.open(next(command.destination.glob("*.tar"))) as archive:
        own_ones = {name.removeprefix("./").split("/")[0] for name in archive.getnames()} - {"", "."}
    assert set(tree["etc/root"].split()) == own_ones | kernels, "the tree's own folders, and the kernel's"
    shown = set(tree["etc/out"].split())
    empty = {path.split("/")[0] for path in system.EMPTY}
    assert kernels < shown <= {*system.PROGRAMS, *empty, "var"}, "no folder of the machine's own, and no store"


def test_a_stage_is_never_root_of_the_host(command: Command, own: Path) -> None:
    """A stage cannot see whose its ids are (its namespace lies in another one): the host's own /proc tells."""
    seconds = f"3.{os.getpid()}"
    scripts = {"install.d/10-wait": script(f"sleep {seconds}"), "post-root.d/10-wait": script(f"sleep {seconds}")}
    write_element(own, "waits", scripts)
    process = command.start("build", "tiny-os", "waits")
    owners: dict[str, set[str]] = {}
    while process.poll() is None:
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (folder / "cmdline").read_bytes() == f"sleep\0{seconds}\0".encode():
                    status = (folder / "status").read_text(encoding="utf-8").splitlines()
                    ids = [line.split()[1:] for line in status if line.startswith(("Uid:", "Gid:"))]
                    owners[folder.name] = {number for line in ids for number in line}
        time.sleep(0.05)
    assert process.communicate() is not None
    assert process.returncode == 0
    assert len(owners) == 2, "one stage outside and one inside were to be seen"
    assert all("0" not in ids for ids in owners.values()), owners


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_what_outside_scripts_write_beside_the_image_comes_out_and_is_replayed(command: Command, own: Path) -> None:
    text = "mkdir -p $IMAGE_NAME.d x.d; echo kernel | tee $IMAGE_NAME.d/vmlinuz > x.d/vmlinuz"
    write_element(own, "side", {"cleanup.d/10-side": script(text)})
    for _ in range(2):
        command.build("tiny-os", "side")
        for place in ("tiny-os.d", "tiny-os.files/x.d"):  # what is not named after the image has a folder of its own
            assert (command.destination / place / "vmlinuz").read_text() == "kernel\n"
            (command.destination / place / "vmlinuz").unlink()


@pytest.mark.thorough("more builds; `just test` has scripts that stages leave (test_later_scripts.py)")
def test_hooks_written_by_a_stage_are_seen_by_later_ones_also_after_a_hit(command: Command, own: Path) -> None:
    files = {
        "extra-data.d/10-write": script('echo told > "$TMP_HOOKS_PATH/message"'),
        "install.d/10-read": script("cat /tmp/in_target.d/message > /etc/message"),
    }
    write_element(own, "talk", files)
    command.build("tiny-os", "talk")
    write_element(own, "talk", {"install.d/10-read": script("cat /tmp/in_target.d/message > /etc/message2")})
    outcome = command.build("-o", "tar", "tiny-os", "talk")
    assert outcome.titles("start") == ["10-read", "seal-tree"]
    assert read_tree(outcome, command)["etc/message2"] == "told\n"


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_hit_is_the_same_as_a_rebuild(command: Command) -> None:
    first = command.build("tiny-os", "greeting")
    again = command.build("--no-cache", "tiny-os", "greeting")
    assert again.titles("hit") == []
    assert again.digest() == first.digest()
    assert command.build("tiny-os", "greeting").digest() == first.digest()


def test_two_builds_at_once_share_one_run(command: Command, own: Path) -> None:
    write_element(own, "slow", stage_scripts([10, 20], "sleep 3; echo {0} > /etc/stage-{0}"))
    one = command.start("build", "tiny-os", "slow")
    two = Command("host", command.store, command.destination.with_name("out2"), command.elements).start(
        "build", "tiny-os", "slow"
    )
    outcomes = []
    for process in (one, two):
        stdout, stderr = process.communicate(timeout=120)
        outcomes.append(Outcome(process.returncode, stdout, stderr))
    assert [outcome.status for outcome in outcomes] == [0, 0], [outcome.stderr for outcome in outcomes]
    started = [title for outcome in outcomes for title in outcome.titles("start")]
    assert sorted(started) == sorted(set(started)), "no stage ran twice"
    assert outcomes[0].digest() == outcomes[1].digest()
    assert any("wait" in {event["type"] for event in outcome.events} for outcome in outcomes)


@pytest.mark.thorough("fifty kills; `just test` has a few (test_faults.py)")
def test_killed_at_any_instant_the_store_never_holds_a_wrong_layer(command: Command, own: Path) -> None:
    text = "echo {0} > /etc/stage-{0}; mkdir /etc/d{0}; echo > /etc/d{0}/f"
    write_element(own, "many", stage_scripts(range(11, 40), text))
    reference = Command("host", command.store.with_name("store-2"), command.destination, command.elements)
    chance = random.Random(2)
    killed = 0
    for number in range(32):
        # Another first script each time: all thirty stages are made anew, and killed somewhere among them.
        write_element(own, "many", stage_scripts([10], f"echo {number} > /etc/stage-{{0}}"))
        process = command.start("build", "tiny-os", "many")
        time.sleep(chance.uniform(0.1, 1.0))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.communicate()
        if number % 8 == 7:
            assert command.build("tiny-os", "many").digest() == reference.build("tiny-os", "many").digest()
    assert killed >= 28
    verified = command("cache", "verify")
    assert verified.status == 0, verified.stdout
    assert "the store is sound" in verified.stdout


@pytest.mark.thorough("a build more; `just test` has test_full_disk.py")
def test_a_full_disk_gives_one_clear_error_and_keeps_the_store_whole(
    command: Command, own: Path, small_disk: Callable[[str], Path]
) -> None:
    full = Command("host", small_disk("size=48m") / "store", command.destination, command.elements)
    full.build("tiny-os")
    write_element(own, "fat", {"install.d/10-fat": script("cat /dev/zero > /etc/zero")})
    outcome = full("build", "tiny-os", "fat")
    assert outcome.status == 1
    assert "is full" in outcome.stderr + outcome.stdout
    assert "cache prune" in outcome.stderr + outcome.stdout
    assert "Traceback" not in outcome.stderr
    assert full("cache", "verify").status == 0
    assert full.build("tiny-os").titles("start") == []


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_an_interrupted_build_leaves_no_half_output_and_no_work(command: Command, own: Path) -> None:
    write_element(own, "slow", stage_scripts([10], "sleep 60"))
    process = command.start("build", "tiny-os", "slow")
    assert process.stdout is not None
    for line in process.stdout:
        if '"start"' in line and "3" in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert not command.destination.exists() or list(command.destination.iterdir()) == []
    mounts = Path("/proc/self/mounts").read_text()
    assert str(command.store) not in mounts
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(command.store) not in listing
    assert command.build("tiny-os").status == 0


@pytest.mark.thorough("some hundred stages")
def test_a_long_chain_of_layers_is_folded(command: Command, own: Path) -> None:
    write_element(own, "very-many", stage_scripts(range(1000, 1330)))
    outcome = command.build("-o", "tar", "tiny-os", "very-many")
    tree = read_tree(outcome, command)
    assert all(tree[f"etc/stage-{number}"] == f"{number}\n" for number in range(1000, 1330))
    assert command.build("-o", "tar", "tiny-os", "very-many").titles("start") == []
    copies = list(command.store.glob("layers/folded*/tree/etc/stage-1000"))
    assert copies
    for copy in copies:
        was = copy.stat()
        copy.write_text("1001\n")  # a flipped bit
        os.utime(copy, ns=(was.st_atime_ns, was.st_mtime_ns))
    other = command.build("-o", "tar,compress=gzip", "tiny-os", "very-many")
    notes = [event["text"] for event in other.events if event["type"] == "note"]
    assert any("a layer copied from many: 1 file differs: /etc/stage-1000" in note for note in notes)
    assert other.titles("start") == [], "it is copied again, nothing runs"
    with tarfile.open(next(command.destination.glob("*.tar.gz"))) as archive:
        data = archive.extractfile("etc/stage-1000")
        assert data is not None
        assert data.read() == b"1000\n"


@pytest.mark.thorough("more than a hundred stages")
def test_an_image_has_no_more_layers_than_engines_load(command: Command, own: Path) -> None:
    change = script('cd "$TARGET_ROOT/etc"', "rm stage-1000 stage-1129; echo new > stage-1001")
    gone = {"cleanup.d/90-gone": change}
    write_element(own, "many-layers", {**stage_scripts(range(1000, 1130)), **gone})
    squashed = command.build("-o", "tar", "--no-documents", "tiny-os", "many-layers")
    outcome = command.build("-o", "oci,layers=stages", "--no-documents", "tiny-os", "many-layers")
    (folder,) = command.destination.glob("*.oci")
    image = read_image(folder)
    assert len(image.layer_digests) == 120
    assert outcome.titles("start") == []
    again = Command(command.engine, command.store, command.destination.with_name("again"), command.elements)
    assert (
        again.build("-o", "oci,layers=stages", "--no-documents", "tiny-os", "many-layers").digest() == outcome.digest()
    )
    tree = read_tree(squashed, command)
    found: dict[str, str] = {}
    for digest in image.layer_digests:
        with tarfile.open(blob(folder, digest)) as layer:
            for member in layer:
                name = member.name.removeprefix("./")
                base = name.rpartition("/")[2]
                if base.startswith(".wh."):
                    found.pop(name.replace(base, base.removeprefix(".wh.")), None)
                elif member.isfile() and name.startswith("etc/stage-"):
                    data = layer.extractfile(member)
                    assert data is not None
                    found[name] = data.read().decode()
    assert len(found) == 128
    assert found == {name: text for name, text in tree.items() if name.startswith("etc/stage-")}
