"""The walls under every engine, as every user: what a hostile element reaches, and what is answered for its calls."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.engines.protocol import Container, Engine
from tests.integration.attack_scenario import ATTEMPTS, SCENARIO
from tests.integration.command import ELEMENTS, script, write_element
from tests.integration.engine_cases import CASES, MORE_CASES, ROOT, Case

MARK = "mark-of-the-test"  # as the scenario makes it, which must not hold it
LAY = (
    "import sys; n = int(sys.stdin.buffer.readline()); sys.stdin.buffer.read(n); open(sys.argv[1], 'w').write('words')"
)
PYTHON_INSIDE = script(
    # With what is compiled of it: the scenario is run six times.
    "packages='dist-packages test idlelib lib2to3 asyncio distutils email ensurepip multiprocessing unittest xml'",
    "left_out=$(printf -- '--exclude=%s ' $packages)",
    'tar -C /usr/lib $left_out -c $(cd /usr/lib && echo python3.*) | tar -C "$TARGET_ROOT/usr/lib" -x',
    'python=$(readlink -f /usr/bin/python3); cp "$python" "$TARGET_ROOT/usr/bin/python3"',
    'ldd "$python" /usr/lib/python3*/lib-dynload/_ctypes*.so | grep -oE "/[^ :]+ " | sort -u | while read -r file; do',
    '  mkdir -p "$TARGET_ROOT/$(dirname "$file")"; cp -L -n "$file" "$TARGET_ROOT/$file" 2> /dev/null || true',
    "done",
)
SNIPPET = f"""
export DIB_ATTACK_SAID="$(/usr/bin/python3 - 2>&1 <<'THE_END'
{SCENARIO}
THE_END
)"
"""
ANSWERED = """
import ctypes, io, json, os, subprocess, sys, tarfile, tempfile
ctypes.CDLL(None).umount2(b"/sys/kernel", 2)  # as stages.agent.bootstrap
request = sys.stdin.buffer.read(int(sys.stdin.buffer.readline()))
code = tempfile.mkdtemp()
tarfile.open(fileobj=io.BytesIO(request)).extractall(code)
os.chmod(code, 0o755)
for scenario in json.loads(sys.argv[2]):
    work = tempfile.mkdtemp(dir=sys.argv[1])
    command = ["/usr/bin/python3", f"{code}/supervise_scenario.py", work, *scenario]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": code}, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        sys.exit(done.returncode)
"""
CALLS_OUTSIDE = """set -eu -o pipefail
cd $T
mknod -m 640 null c 1 3; mknod disk b 8 17; mkfifo pipe
touch file; chattr +i file; lsattr file | grep -q '^....i'; chattr -i file
setfattr -n trusted.overlay.thing -v 1 file; setfattr -n security.other -v 2 file
chown 99999:88888 file
mkdir p s d; mount -t proc proc p; mount -t sysfs -o ro sysfs s; mount --bind /dev d
test -e p/self -a -d s/kernel -a -c d/null
umount d s p
! mount -t ext4 /dev/sda1 d 2> /dev/null
hostname another
"""
CALLS_INSIDE = """set -eu
mkdir -p p s; mount -t proc proc p; mount -t sysfs -o ro sysfs s; mountpoint -q p; mountpoint -q s; umount p; umount s
"""
CALLS = [
    (where, network, "yes", script)
    for where, script in (("outside", CALLS_OUTSIDE), ("inside", CALLS_INSIDE))
    for network in ("own", "shared")
]
EVERY_ENGINE = pytest.mark.parametrize("case", [*CASES, *MORE_CASES], indirect=True)
NETWORKED = SCENARIO.replace("\n", "\n# curl\n", 1)


def _lay(engine: Engine, image: str, path: str) -> None:
    container = Container(image, ("/usr/bin/python3", "-I", "-c", LAY, path), network=False)
    assert engine.run(container, b"", lambda *_: None) == 0


@pytest.fixture
def listener() -> Iterator[str]:
    """An abstract socket that somebody else on the machine listens on; "" where the kernel has no wall before these."""
    scope = "import sys; from blockdev.core.syscalls import scope_sockets_and_signals as scope; sys.exit(not scope())"
    if subprocess.run([sys.executable, "-c", scope], cwd=ROOT, check=False).returncode != 0:
        yield ""
        return
    name = f"dib-ctr-attacked-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as stream, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
        stream.bind(f"\0{name}")
        stream.listen()
        with contextlib.suppress(OSError):
            datagram.bind(f"\0{name}")
        yield name


@pytest.fixture
def marks(case: Case, place: Path) -> Iterator[list[Path]]:
    """Files that no script may find: in the user's home, in the folder that the build is started in, in the store."""
    case.call(_lay, case.image, f"{'/store' if case.adapter != 'host' else case.environment['DIB_CTR_STORE']}/{MARK}")
    folder = place / "work"
    folder.mkdir()
    found = [Path(case.user.pw_dir, MARK), folder / MARK, Path("/var/tmp", MARK)]
    for path in found:
        path.write_text("words")
        os.chown(path, case.user.pw_uid, case.user.pw_gid)
    os.chown(folder, case.user.pw_uid, case.user.pw_gid)
    yield found
    for path in found:
        path.unlink(missing_ok=True)


@EVERY_ENGINE
def test_a_hostile_element_reaches_nothing(
    case: Case, open_code: dict[str, str], place: Path, marks: list[Path], listener: str
) -> None:
    """In snippets, outside and inside, with the network and without, and in a shell."""
    elements = place / "elements"
    hooks = {
        "environment.d/50-attack.bash": SNIPPET,
        "root.d/50-python": PYTHON_INSIDE,
        "extra-data.d/50-attack": NETWORKED,
        "install.d/50-attack": SCENARIO,
        "post-install.d/50-attack": NETWORKED,
        "cleanup.d/50-attack": SCENARIO,
        "cleanup.d/90-tell": script('printf "%s\\n" "$DIB_ATTACK_SAID"'),
    }
    write_element(elements, "attack", hooks)
    options = ("--engine", case.adapter, "--elements-path", f"{elements}:{open_elements(place)}")
    settings = ("--set", f"DIB_ATTACK_SOCKETS={listener}", "--set", f"DIB_OTHER={MARK}")
    words = ("build", *options, *settings, "--progress", "json", "-o", "tar", "--dest", ".", "tiny-os", "attack")
    done = case.dib_ctr(open_code, *words, folder=marks[1].parent)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    said = [event["text"] for event in events if event["type"] == "log"]
    shell = ("shell", *options, *settings, "tiny-os", "attack", "--", "/usr/bin/python3", "-c", SCENARIO)
    done = case.dib_ctr(open_code, *shell, folder=marks[1].parent)
    assert done.returncode == 0, f"the shell ended with {done.returncode}: {done.stdout[-3000:]}{done.stderr}"
    said += done.stdout.splitlines()
    assert [line for line in said if line.startswith(("ESCAPE", "BROKEN"))] == [], "\n".join(said)
    assert [line for line in said if line.startswith("TRIED")] == [f"TRIED {ATTEMPTS} 0"] * 6, "\n".join(said)
    assert all(path.read_text() == "words" for path in marks)
    assert not Path("/usr/made-by-an-attack").exists()


def packed() -> bytes:
    """The code of the stages and the scenario, as a tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:

        def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
            return None if "__pycache__" in entry.name or "/elements" in entry.name else entry

        for name in ("stages", "blockdev"):
            archive.add(ROOT / name, name, filter=kept)
        archive.add(Path(__file__).with_name("supervise_scenario.py"), "supervise_scenario.py")
    return buffer.getvalue()


def answers(engine: Engine, image: str, code: bytes) -> list[dict[str, Any]]:
    """Run the scripts of CALLS in one build container, each in a sandbox of its own; what each found."""
    lines: list[str] = []
    argv = ("/usr/bin/python3", "-I", "-c", ANSWERED, engine.store, json.dumps(CALLS))
    status = engine.run(Container(image, argv), code, lambda line, _: lines.append(line))
    assert status == 0, lines
    return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.fixture(scope="module")
def host_answers(open_folder: Path) -> list[dict[str, Any]]:
    """The same on this machine without a container engine."""
    folder = open_folder / "supervise-host"
    folder.mkdir()
    environment = {"XDG_CACHE_HOME": f"{folder}/cache", "DIB_CTR_STORE": f"{folder}/store"}
    case = Case("host", "host", "", pwd.getpwuid(os.getuid()), environment)
    return list(case.call(answers, "", packed()))


@EVERY_ENGINE
def test_answers_are_the_same(case: Case, host_answers: list[dict[str, Any]]) -> None:
    """What a script gets in place of a refusal, outside and inside, with the network and without."""
    found = case.call(answers, case.image, packed())
    assert [each["said"] for each in found if each["status"]] == []
    assert [each["answers"] for each in found] == [each["answers"] for each in host_answers]
    assert [bool(each["answers"]) for each, (where, *_) in zip(found, CALLS, strict=True) if where == "outside"] == [
        True,
        True,
    ]


def open_elements(place: Path) -> Path:
    """The tests' elements where every user can read them."""
    folder = place / "tests-elements"
    if not folder.is_dir():
        shutil.copytree(ELEMENTS, folder)
    return folder
