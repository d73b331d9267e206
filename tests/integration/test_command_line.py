"""What a person does with `dib-ctr` beside a plain build: failures, shells, breaks, folders, signals (host engine)."""

from __future__ import annotations

import os
import pty
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.command import ELEMENTS, Command, script, write_element

ROOT = Path(__file__).parents[2]


@pytest.fixture
def command(place: Path) -> Command:
    write_element(
        place / "elements",
        "own",
        {"install.d/50-first": script("echo first > /etc/first"), "install.d/60-second": script("cat /etc/second")},
    )
    return Command("host", place / "store", place / "out", (place / "elements", ELEMENTS))


def mend(place: Path) -> None:
    write_element(place / "elements", "own", {"install.d/60-second": script("echo second > /etc/second")})


def test_the_command_that_a_failure_names_opens_the_tree_as_the_stage_found_it(command: Command) -> None:
    outcome = command("build", "tiny-os", "own")
    assert outcome.status == 1
    assert "error: the stage install/own/60-second failed with status 1" in outcome.stderr
    assert "| cat: /etc/second: No such file or directory" in outcome.stderr
    log = next(line.split()[-1] for line in outcome.stderr.splitlines() if line.startswith("  log:"))
    assert "cat: /etc/second: No such file or directory" in Path(log).read_text()
    named = next(line for line in outcome.stderr.splitlines() if line.startswith("  next:"))
    words = shlex.split(named.partition(":")[2])
    assert words[:2] == ["dib-ctr", "shell"]
    look = ["--", "sh", "-c", "cat /etc/first; ls /etc/second; exit 5"]
    argv = [sys.executable, "-m", "builder.cli", *words[1:], *look]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert (done.returncode, done.stdout) == (5, "first\n")
    assert "ls: cannot access '/etc/second'" in done.stderr


def on_terminal(argv: list[str], wait_for: bytes, typed: bytes) -> tuple[int, str]:
    """Run on a terminal of its own and type something once ``wait_for`` is to be seen; returns status and screen."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        os.execvp(argv[0], argv)
    seen = bytearray()
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # the other side is closed
            break
        if not data:
            break
        before = wait_for in seen
        seen += data
        if wait_for in seen and not before:
            os.write(terminal, typed)
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), seen.decode(errors="replace")


AFTER = pytest.param("after", "first second", marks=pytest.mark.thorough("two more builds"))


@pytest.mark.parametrize(("point", "content"), [("before", "first none"), AFTER])
def test_a_break_opens_a_shell_and_the_build_goes_on(command: Command, place: Path, point: str, content: str) -> None:
    mend(place)
    argv = command.arguments("build", "tiny-os", "own", "--break", f"{point}:60-second")
    argv[argv.index("json")] = "live"
    typed = b"echo $(cat /etc/first) $(cat /etc/second || echo none) | cat; echo changed > /etc/first; exit\n"
    status, screen = on_terminal(argv, b"thrown away", typed)
    assert status == 0
    assert content in screen.splitlines()
    assert "from the cache" in screen
    done = command("shell", "tiny-os", "own", "--", "cat", "/etc/first")
    assert done.stdout == "first\n"  # what was changed in the shell is gone


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_break_at_an_error_opens_a_shell_and_the_build_fails(command: Command) -> None:
    argv = command.arguments("build", "tiny-os", "own", "--break", "error")
    status, screen = on_terminal(argv, b"thrown away", b"cat /etc/first; exit\n")
    assert status == 1
    assert "first" in screen.splitlines()


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_command_runs_at_breaks_without_a_terminal(command: Command, place: Path) -> None:
    """Before and after a phase and at an error, there outside the tree; what it changes is thrown away."""
    says = 'echo "at $PWD: $(cat /etc/first $TMP_MOUNT_PATH/etc/first 2> /dev/null || echo none)" >&2; : > /etc/first'
    points = ("--break", "before-install", "--break", "after-install", "--break", "before-post-root")
    outcome = command(
        "build", "tiny-os", "own", *points, "--break", "error", "--break-outside", "--break-command", says
    )
    assert outcome.status == 1
    told = [line for line in outcome.stderr.splitlines() if line.startswith("at ")]
    assert len(told) == 2
    assert told[0].endswith(": none")
    assert told[1].startswith("at /run/")
    assert told[1].endswith(": first")
    mend(place)
    outcome = command("build", "tiny-os", "own", *points, "--break-command", says)
    assert outcome.status == 0, outcome.stderr
    told = [line.rpartition(": ")[2] for line in outcome.stderr.splitlines() if line.startswith("at ")]
    assert told == ["none", "first"]
    assert any("before-post-root" in event["text"] for event in outcome.events if event["type"] == "note")
    assert command("shell", "tiny-os", "own", "--", "cat", "/etc/first").stdout == "first\n"


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_an_element_that_wants_no_disk_image(command: Command, place: Path) -> None:
    beside = script('echo kernel > "$IMAGE_NAME.kernel"')
    write_element(place / "elements", "my-no-final-image", {"cleanup.d/10-beside": beside})
    outcome = command("build", "tiny-os", "my-no-final-image", "-o", "qcow2", "-o", "tar", "--name", "both")
    assert outcome.status == 0, outcome.stderr
    assert "the element my-no-final-image leaves disk images out" in outcome.stderr
    assert {file.name for file in command.destination.iterdir()} == {"both.kernel", "both.tar"}
    (command.destination / "both.kernel").unlink()
    outcome = command("build", "tiny-os", "my-no-final-image", "-o", "qcow2", "--name", "alone")
    assert outcome.status == 0, outcome.stderr
    assert {file.name for file in command.destination.iterdir()} == {"alone.kernel", "both.tar"}


def test_a_quiet_build_says_where_its_outputs_are(command: Command, place: Path) -> None:
    mend(place)
    words = command.arguments("build", "tiny-os", "own", "-o", "tar", "-o", "type=dir")
    words[words.index("--progress") : words.index("--progress") + 2] = ["--quiet"]
    outcome = subprocess.run(words, capture_output=True, text=True, check=True)
    assert outcome.stdout.splitlines() == [str(command.destination / f"tiny-os.{kind}") for kind in ("tar", "dir")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything_in_one_line(command: Command, place: Path, number: signal.Signals) -> None:
    write_element(place / "elements", "own", {"install.d/60-second": script("echo here", "sleep 4321")})
    process = command.start("build", "tiny-os", "own")
    assert process.stdout is not None
    assert any('"here"' in line for line in process.stdout)
    process.send_signal(number)
    _, messages = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert messages.strip() == "interrupted: nothing half-made was left"
    assert not (place / "out").exists()
    assert "4321" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


def test_a_folder_is_written_once_and_replaced_when_it_was_touched(command: Command, place: Path) -> None:
    mend(place)
    arguments = ("tiny-os", "own", "-o", "dir")
    command.build(*arguments)
    tree = place / "out" / "tiny-os.dir"
    assert (tree / "etc/second").read_text() == "second\n"
    inode = tree.stat().st_ino
    assert "unchanged" in command.build(*arguments).stderr
    assert tree.stat().st_ino == inode
    (tree / "etc/second").write_text("touched")
    assert "unchanged" not in command.build(*arguments).stderr
    assert (tree / "etc/second").read_text() == "second\n"
    assert [path.name for path in tree.parent.iterdir()] == ["tiny-os.dir"]


@pytest.mark.thorough("more builds; tests/unit/builder/elements has what is odd")
def test_what_is_odd_in_the_images_elements_is_said_and_stops_nothing(command: Command, place: Path) -> None:
    mend(place)
    own = write_element(
        place / "elements",
        "own",
        {
            "instal.d/70-third": script("true"),
            "package-installs.yaml": "vim:\n  phase: instal.d\n",
            "install.d/80-x": "x\n",
        },
    )
    (own / "install.d/90-gone").symlink_to("../nothing")
    for words in (["plan"], ["build", "-o", "dir"], ["build", "-o", "dir"]):  # again where nothing has changed
        outcome = command(*words, "tiny-os", "own", variables={"DIB_RELEASEE": "x"})
        assert outcome.status == 0
        for sentence in (
            "element own: no build reads the folder instal.d; did you mean 'install.d'?",
            "element own: package-installs.yaml:2: vim is for the phase 'instal.d', which installs no packages",
            "element own: install.d/80-x never runs",
            "element own: install.d/90-gone is a link to ../nothing, which is not there: it is left out",
            "DIB_RELEASEE is set, but nothing in this image reads it; did you mean 'DIB_RELEASE'?",
        ):
            assert sentence in outcome.stderr


def test_a_script_that_bash_cannot_read_stops_a_build_before_anything_runs(command: Command, place: Path) -> None:
    write_element(place / "elements", "own", {"install.d/60-second": script("if true; then")})
    for words in (["plan"], ["build", "-o", "dir"]):
        outcome = command(*words, "tiny-os", "own")
        assert outcome.status == 2
        assert "error: element own: bash cannot read this: syntax error" in outcome.stderr
        assert "own/install.d/60-second:4" in outcome.stderr
        assert outcome.titles("start") == []
