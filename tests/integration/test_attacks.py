"""A hostile element under every engine: nothing of the store, the request, the home or the machine is within reach."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.engines.protocol import Container, Engine
from tests.integration.command import ELEMENTS, script, write_element
from tests.integration.engine_cases import Case

SCENARIO = (Path(__file__).parent / "attack_scenario.py").read_text()
MARK = "mark-of-the-test"  # as the scenario makes it, which must not hold it
ATTEMPTS = SCENARIO.count("\n@attempt(")
LAY = (
    "import sys; n = int(sys.stdin.buffer.readline()); sys.stdin.buffer.read(n); open(sys.argv[1], 'w').write('words')"
)
PYTHON_INSIDE = script(
    'cp -a /usr/lib/python3* "$TARGET_ROOT/usr/lib/"',
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
NETWORKED = SCENARIO.replace("\n", "\n# curl\n", 1)


def _lay(engine: Engine, image: str, path: str) -> None:
    container = Container(image, ("/usr/bin/python3", "-I", "-c", LAY, path), network=False)
    assert engine.run(container, b"", lambda *_: None) == 0


@pytest.fixture
def listener() -> Iterator[str]:
    """An abstract socket that somebody else on the machine listens on."""
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
    assert [line for line in said if line.startswith("ESCAPE")] == [], "\n".join(said)
    assert [line for line in said if line.startswith("TRIED")] == [f"TRIED {ATTEMPTS} 0"] * 6, "\n".join(said)
    assert all(path.read_text() == "words" for path in marks)
    assert not Path("/usr/made-by-an-attack").exists()


def open_elements(place: Path) -> Path:
    """The tests' elements where every user can read them."""
    folder = place / "tests-elements"
    if not folder.is_dir():
        shutil.copytree(ELEMENTS, folder)
    return folder
