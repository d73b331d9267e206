"""How jobs with loop devices run and end: their scripts, failures, signals and kills, and what is tidied up."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from blockdev.privileged import ledger
from blockdev.privileged.release import release_left_over
from tests.integration.privileged.jobs import GPT, LOOPS, MIB, SMALL, Job, attached, make_job, output, sound

pytestmark = pytest.mark.skipif(not LOOPS, reason="loop devices need root")


def test_which_scripts_run_and_in_which_order(place: Path) -> None:
    job = make_job(place / "job", SMALL)
    for name in ("100-c", "20-b", "9-a", "kernel_config", "00-z", "50-no.sh", "60-not-executable"):
        job.script("finalise.d", name, f"echo {name} >> /etc/order")
    (job.folder / "hooks/finalise.d/60-not-executable").chmod(0o644)
    (job.folder / "hooks/finalise.d/70-folder").mkdir()
    (job.folder / "hooks/finalise.d/15-link").symlink_to("../extra/linked")
    job.script("extra", "linked", "echo linked >> /etc/order")
    job.script("pre-finalise.d", "10-plain", 'x=(1 2); echo "${#x[@]}" > bash', shell="")
    job.run()
    assert job.cat("image0", "/etc/order").split() == ["00-z", "kernel_config", "9-a", "linked", "20-b", "100-c"]
    assert (job.beside / "bash").read_text() == "2\n"


def test_package_tools_of_the_last_phases_are_told_of_their_repositories(place: Path) -> None:
    job = make_job(place / "job", SMALL)
    job.script("finalise.d", "50-take", "cp /dev/dib-ctr-repositories/updates.metalink /etc/told")
    job.run()
    assert job.cat("image0", "/etc/told") == "told\n"


@pytest.mark.parametrize("phase", ["pre-finalise", "finalise", "cleanup"])
def test_a_failing_script_is_named(place: Path, phase: str) -> None:
    job = make_job(place / "job", SMALL)
    job.script(f"{phase}.d", "40-well", "echo fine")
    job.script(f"{phase}.d", "50-fails", "echo before; echo 'the reason' >&2; exit 42", element="culprit")
    job.script(f"{phase}.d", "60-later", "echo never")
    done = job.run(expected=1)
    assert f"the script 50-fails of the phase {phase} ended with status 42" in done.stderr
    assert "before\n    the reason" in done.stderr
    assert f"where: element culprit, {phase}.d/50-fails" in done.stderr
    assert "Traceback" not in done.stderr
    assert "never" not in done.stdout
    assert not job.left()


def test_a_tree_without_room(place: Path) -> None:
    job = make_job(place / "job", SMALL.replace("64MiB", "8MiB"))
    (job.folder / "tree/etc/large").write_bytes(os.urandom(12 * MIB))
    done = job.run(expected=1)
    assert "No space left" in done.stderr
    assert "--image-size" in done.stderr
    assert not job.left()


def waiting(job: Job, phase: str = "finalise.d") -> subprocess.Popen[str]:
    """The started job, when its script has begun to wait: with a process behind it that hears no signal."""
    job.script(phase, "50-waits", "(trap '' TERM INT; sleep 600) &", "echo waits", "sleep 600")
    process = job.start()
    assert process.stdout is not None
    for line in process.stdout:
        if line == "waits\n":
            return process
    assert process.stderr is not None
    raise AssertionError(process.stderr.read())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("phase", ["pre-finalise.d", "finalise.d"])
def test_given_up_by_a_signal(place: Path, number: signal.Signals, phase: str) -> None:
    job = make_job(place / "job", GPT)
    with waiting(job, phase) as process:
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert number.name in err
    assert "Traceback" not in err
    assert not attached(place)
    assert not job.left()


def foreign_loop(place: Path, name: str) -> str:
    image = place / name
    with image.open("wb") as file:
        file.truncate(4 * MIB)
    return output("losetup", "--find", "--show", image).strip()


def until_free(place: Path, but: Sequence[str], seconds: float = 10) -> list[str]:
    end = time.monotonic() + seconds
    while sorted(attached(place)) != sorted(but) and time.monotonic() < end:
        time.sleep(0.05)
    return attached(place)


def test_killed_the_kernel_gives_back_and_the_next_run_tidies_up(place: Path) -> None:
    job = make_job(place / "job", GPT)
    foreign = foreign_loop(place, "foreign.img")
    try:
        with waiting(job) as process:
            assert len(attached(place)) >= 5
            process.kill()
            process.communicate(timeout=60)
        assert until_free(place, [foreign]) == [foreign]  # its mounts ended with it, and with them the loop devices
        assert len(job.left()) == 2  # the unfinished image, and the ledger
        (job.folder / "hooks/finalise.d/50-waits").unlink()
        job.run()
        assert job.left() == [job.image]
        sound(job)
        assert attached(place) == [foreign]
    finally:
        output("losetup", "--detach", foreign)


# Runs where mounts outlive a process: assembles in a child, kills it, and releases what it left.
KILLED = """
import dataclasses, json, os, signal, subprocess, sys
from pathlib import Path
from blockdev.privileged import loops
from blockdev.privileged.__main__ import read_job
from blockdev.privileged.release import mounted_below, release_left_over
from blockdev.privileged.run import assemble
from stages.outputs.disk.scripts import run_on_disk

folder = Path(sys.argv[1])
if len(sys.argv) > 2:
    job = dataclasses.replace(read_job(folder, folder / "ledgers"), scripts=run_on_disk)
    assemble(job, lambda text: print(text, flush=True))
    sys.exit()
command = [sys.executable, "-c", os.environ["PROGRAM"], folder, "child"]
child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
for line in child.stdout:
    if line == "waits\\n":
        break
alive = release_left_over(folder / "ledgers")
child.kill()
zombie = len(mounted_below(folder))
child.wait()
for image in (folder / "images").glob(".*"):
    image.unlink()  # the devices have it still
def listed():
    text = subprocess.check_output(["losetup", "-nl", "--raw", "-O", "NAME,BACK-FILE"], text=True)
    return sorted(line.split(" ")[0] for line in text.splitlines() if str(folder.parent) in line)
before = listed()
found = release_left_over(folder / "ledgers")
print(json.dumps({
    "alive": [alive.released, alive.problems], "mounts": zombie, "before": before, "after": listed(),
    "released": found.released, "problems": found.problems, "left": mounted_below(folder),
    "ledgers": [str(path) for path in (folder / "ledgers").iterdir()],
}))
"""


def test_released_after_a_kill_where_mounts_stay(place: Path) -> None:
    job = make_job(place / "job", GPT)
    job.script("finalise.d", "50-waits", "echo waits", "sleep 600")
    foreign = foreign_loop(place, "foreign.img")
    try:
        said = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", KILLED, job.folder],
            env={**os.environ, "PROGRAM": KILLED},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert said.returncode == 0, said.stderr
        found = json.loads(said.stdout.splitlines()[-1])
        assert found["alive"] == [[], []]  # nothing is taken from a run that lives
        assert found["mounts"] >= 6
        mounted = [system for system in job.layout.file_systems if system.point.startswith("/")]
        assert len(found["before"]) == 1 + len(mounted)  # the others went by themselves
        assert found["after"] == [foreign]
        assert found["problems"] == []
        assert found["left"] == []
        assert found["ledgers"] == []
        assert any("mounts at" in text for text in found["released"])
    finally:
        output("losetup", "--detach", foreign)


def abandoned_ledger(folder: Path, entries: Sequence[ledger.Entry]) -> None:
    """A ledger as a killed process leaves it."""
    child = os.fork()
    if child == 0:
        book = ledger.open_ledger(folder)
        for entry in entries:
            book.add(entry)
        os._exit(0)
    os.waitpid(child, 0)


def test_a_device_that_is_another_file_s_now_is_not_touched(place: Path) -> None:
    """Every part of what tells a device for ours is put wrong in turn; only the true entry releases."""
    device = foreign_loop(place, "foreign.img")
    number = int(device.removeprefix("/dev/loop"))
    found = (place / "foreign.img").stat()
    true = ledger.Loop(number, ledger.HeldImage(str(place / "foreign.img"), found.st_dev, found.st_ino), 0, 0)
    wrong = [
        ledger.Loop(number, ledger.HeldImage(true.image.path, found.st_dev, found.st_ino + 1), 0, 0),
        ledger.Loop(number, ledger.HeldImage(true.image.path, found.st_dev + 1, found.st_ino), 0, 0),
        ledger.Loop(number, ledger.HeldImage(str(place / "other.img"), found.st_dev, found.st_ino), 0, 0),
        ledger.Loop(number, true.image, 512, 0),
        ledger.Loop(number, true.image, 0, 512),
        ledger.Loop(4321, true.image, 0, 0),
    ]
    for entry in wrong:
        abandoned_ledger(place / "ledgers", [entry])
    assert release_left_over(place / "ledgers").released == ()
    assert not Path("/dev/loop4321").exists()  # nor is one made by looking
    assert attached(place) == [device]
    assert list((place / "ledgers").iterdir()) == []
    abandoned_ledger(place / "ledgers", [true])
    assert len(release_left_over(place / "ledgers").released) == 1
    assert attached(place) == []


def test_two_at_once(place: Path) -> None:
    jobs = [make_job(place / name, GPT) for name in ("one", "two")]
    for job in jobs:
        job.script("finalise.d", "50-write", f"echo {job.folder.name} > /etc/who")
    running = [job.start() for job in jobs]
    for process in running:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, out + err
    for job in jobs:
        sound(job)
        assert job.cat("root", "/etc/who") == f"{job.folder.name}\n"


def test_a_container_s_own_dev_without_loop_devices(place: Path) -> None:
    """The device files that are missing are made: a container has a /dev of its own, made before they were."""
    job = make_job(place / "job", SMALL)
    job.script(
        "pre-finalise.d",
        "10-devices",
        "ls /dev > devices; echo $IMAGE_BLOCK_DEVICE > own; blkid -p -o value -s TYPE $IMAGE_BLOCK_DEVICE > type",
    )
    own = "; ".join(
        (
            "set -e",
            "mount -t tmpfs dev /dev",
            "mknod /dev/null c 1 3",
            "mknod /dev/urandom c 1 9",
            "mkdir /dev/pts",
            'exec "$@"',
        )
    )
    shell = ["unshare", "--mount", "--propagation", "private", "sh", "-c", own, "sh"]
    output(*shell, sys.executable, "-m", "tests.integration.disk_job", job.folder)
    made = (job.beside / "devices").read_text().split()
    used = Path((job.beside / "own").read_text().strip()).name
    assert {"loop-control", used} <= set(made)
    # (Of the others those that it tried, which somebody else on this machine had.)
    assert not [name for name in made if re.fullmatch("loop[0-9]+", name) and int(name[4:]) > int(used[4:])]
    assert (job.beside / "type").read_text() == "ext4\n"
    sound(job)


def test_what_cannot_be_made_is_refused_first(place: Path) -> None:
    job = make_job(place / "job", SMALL.replace("type: ext4", "type: squashfs, label: ''"))
    done = job.run(expected=2)
    assert "the file system type squashfs cannot be mounted and filled" in done.stderr
    shutil.rmtree(job.folder / "tree")
    assert "the job has no tree" in job.run(expected=2).stderr
