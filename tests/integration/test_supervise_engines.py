"""What scripts get in place of a refusal is the same in the build container of every engine."""

from __future__ import annotations

import io
import json
import os
import pwd
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.engines.protocol import Container, Engine
from tests.integration.engine_cases import ROOT, Case

UNPACK = """
import ctypes, io, os, subprocess, sys, tarfile, tempfile
ctypes.CDLL(None).umount2(b"/sys/kernel", 2)  # as stages.agent.bootstrap
request = sys.stdin.buffer.read(int(sys.stdin.buffer.readline()))
code = tempfile.mkdtemp()
tarfile.open(fileobj=io.BytesIO(request)).extractall(code)
os.chmod(code, 0o755)
work = tempfile.mkdtemp(dir=sys.argv[1])
command = ["/usr/bin/python3", "-B", f"{code}/supervise_scenario.py", work, *sys.argv[2:]]
sys.exit(subprocess.call(command, env={**os.environ, "PYTHONPATH": code}, stdin=subprocess.DEVNULL))
"""
OUTSIDE = """set -eu -o pipefail
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
INSIDE = """set -eu
mkdir -p p s; mount -t proc proc p; mount -t sysfs -o ro sysfs s; mountpoint -q p; mountpoint -q s; umount p; umount s
"""
SCRIPTS = (("outside", OUTSIDE), ("inside", INSIDE))
pytestmark = pytest.mark.thorough("each engine's build image once more; `just test` has the host's answers")


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


def scenario(engine: Engine, image: str, code: bytes, *arguments: str) -> dict[str, Any]:
    """Run the scenario in a build container; what it found."""
    lines: list[str] = []
    argv = ("/usr/bin/python3", "-I", "-c", UNPACK, engine.store, *arguments)
    status = engine.run(Container(image, argv), code, lambda line, _: lines.append(line))
    assert status == 0, lines
    return dict(json.loads(lines[-1]))


@pytest.fixture(scope="session")
def host_answers(open_folder: Path) -> Callable[..., dict[str, Any]]:
    """The same on this machine without a container engine."""
    folder = open_folder / "supervise-host"
    folder.mkdir()
    environment = {"XDG_CACHE_HOME": f"{folder}/cache", "DIB_CTR_STORE": f"{folder}/store"}
    case = Case("host", "host", "", pwd.getpwuid(os.getuid()), environment)
    return lambda *arguments: dict(case.call(scenario, "", packed(), *arguments))


@pytest.mark.parametrize(
    ("where", "network", "script"),
    [
        ("outside", "own", OUTSIDE),
        ("outside", "shared", OUTSIDE),
        ("inside", "own", INSIDE),
        ("inside", "shared", INSIDE),
    ],
)
def test_answers_are_the_same_under_every_engine(
    where: str, network: str, script: str, case: Case, host_answers: Callable[..., dict[str, Any]]
) -> None:
    expected = host_answers(where, network, "yes", script)
    found = case.call(scenario, case.image, packed(), where, network, "yes", script)
    assert found["status"] == 0, found["said"]
    assert found["answers"] == expected["answers"]
    assert where == "inside" or found["answers"]
