"""Whole builds of tiny trees under every engine, as root and as an ordinary user: the same answers, the same bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from builder.doctor import trial_build
from builder.engines import rights, user_namespace
from builder.engines.host import Host
from builder.engines.protocol import Container, Engine
from tests.integration.command import script
from tests.integration.engine_cases import Case

# What a user namespace forbids, which every engine answers alike (docs/forbidden.md).
FORBIDDEN = """
cd "$TARGET_ROOT/opt"
mknod -m 660 null c 1 3; mknod disk b 8 17; chown 0:6 disk; mkfifo pipe
touch fixed high attributes; chattr +i fixed; chown 3000000:3000001 high; chown 1000:60000 attributes
setfattr -n trusted.overlay.x -v 1 attributes; setfattr -n user.plain -v 2 attributes
echo text > program; setcap cap_net_raw+ep program; mkdir sticky; chmod 3777 sticky
hostname inside-a-stage
mkdir m; mount -t tmpfs tmpfs m; umount m; mount -t proc proc m; umount m; mount --bind / m; umount -l m
! modprobe loop 2> /dev/null
test "$(id -u)" = 0
"""


@pytest.fixture(scope="session")
def elements(open_folder: Path) -> Path:
    """An operating system of a few files, none of a build image's, with all that is forbidden in it."""
    folder = open_folder / "elements-of-engines"
    place = folder / "tree/root.d/10-tree"
    place.parent.mkdir(parents=True)
    place.write_text(script('mkdir -p "$TARGET_ROOT"/{dev,etc,opt,proc,sys,tmp}', FORBIDDEN))
    place.chmod(0o755)
    (folder / "tree/element-provides").write_text("operating-system\n")
    return folder


def built(case: Case, code: dict[str, str], elements: Path, folder: Path) -> str:
    """The SHA-256 of the tree's tar."""
    words = ("--elements-path", str(elements), "-o", f"tar,dest={folder}/tree.tar", "--progress", "plain", "tree")
    done = case.dib_ctr(code, "build", "--engine", case.adapter, *words, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return hashlib.sha256((folder / "tree.tar").read_bytes()).hexdigest()


@pytest.fixture
def own(case: Case, place: Path) -> Path:
    """A folder that is the case's user's."""
    os.chown(place, case.user.pw_uid, case.user.pw_gid)
    return place


@pytest.fixture(scope="session")
def host_digest(
    open_folder: Path, open_code: dict[str, str], elements: Path, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """What the host engine makes of the tree."""
    import pwd

    folder = open_folder / "reference-of-engines"
    folder.mkdir()
    environment = {"XDG_CACHE_HOME": f"{folder}/cache", "DIB_CTR_STORE": f"{folder}/store"}
    case = Case("host", "host", "", pwd.getpwuid(os.getuid()), environment)
    return built(case, open_code, elements, folder)


def _store_mode(engine: Engine, image: str) -> str:
    lines: list[str] = []
    engine.run(Container(image, ("stat", "-c", "%u %a", engine.store)), b"", lambda line, _: lines.append(line))
    return lines[-1]


def test_every_engine_makes_the_same_tree_in_a_closed_store(
    case: Case, open_code: dict[str, str], elements: Path, own: Path, host_digest: str
) -> None:
    assert built(case, open_code, elements, own) == host_digest
    owner, mode = case.call(_store_mode, case.image).split()
    # A daemon that is root of the machine owns docker's volumes, below a folder that only root enters.
    assert mode == "700" or (case.adapter.startswith("docker") and owner != "0")


def test_doctor_builds_a_tree_through_every_engine(case: Case, open_code: dict[str, str], own: Path) -> None:
    done = case.dib_ctr(open_code, "doctor", case.adapter, folder=own)
    assert done.returncode == 0, done.stdout + done.stderr
    for step in trial_build.STEPS:
        assert f"ok    {step.name}" in done.stdout
    assert "a tree of four stages" in done.stdout
    left: list[str] = case.call(_names_in_store, case.image)
    assert not [name for name in left if name.startswith("doctor")]


def _names_in_store(engine: Engine, image: str) -> list[str]:
    lines: list[str] = []
    engine.run(Container(image, ("ls", "-A", engine.store)), b"", lambda line, _: lines.append(line))
    return lines


@pytest.fixture
def without_id_maps(monkeypatch: pytest.MonkeyPatch, place: Path) -> Iterator[Host]:
    """An engine whose containers run, and can map no ids into a stage's namespace."""
    fewer = {name: number for name, number in rights.CAPABILITIES.items() if name not in ("SETUID", "SETGID")}
    monkeypatch.setattr(user_namespace, "CAPABILITIES", fewer)
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    monkeypatch.setenv("DIB_CTR_STORE", str(place / "store"))
    engine = Host()
    engine.probe()
    yield engine
    engine.remove_store()


def test_what_keeps_stages_from_running_is_found(without_id_maps: Host) -> None:
    """The probe's container runs; a build does not, and that is what is told."""
    store, steps = trial_build.run(without_id_maps)
    assert store.startswith(f"{without_id_maps.store}/doctor-")
    name, good, said = steps[-1]
    assert not good
    assert name == trial_build.STEPS[0].name
    assert "ermitted" in said


BOMB = "bomb() { bomb | bomb & }\nbomb\nsleep 300\n"
HOG = "x=$(head -c 400M /dev/zero | tr '\\0' x)\nsleep 300\n"
TMPFS = "head -c 400M /dev/zero > /dev/shm/x\nsleep 300\n"


@pytest.mark.parametrize(
    ("text", "setting"), [(BOMB, "DIB_CTR_PROCESSES=150"), (HOG, "DIB_CTR_MEMORY=200M"), (TMPFS, "DIB_CTR_MEMORY=200M")]
)
def test_a_stage_that_takes_too_much_fails_alone(
    text: str, setting: str, case: Case, open_code: dict[str, str], own: Path
) -> None:
    """With a sentence that names the setting."""
    place = own / "elements/greedy/root.d/10-greedy"
    place.parent.mkdir(parents=True)
    place.write_text(f"#!/bin/bash\n{text}")
    place.chmod(0o755)
    (own / "elements/greedy/element-provides").write_text("operating-system\n")
    name, _, bound = setting.partition("=")
    bounded = replace(case, environment={**case.environment, name: bound})
    words = ("-o", f"tar,dest={own}/tree.tar", "--elements-path", f"{own}/elements", "--progress", "plain", "greedy")
    done = bounded.dib_ctr(open_code, "build", "--engine", case.adapter, *words, folder=own)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"it was ended ({name}=" in done.stdout + done.stderr
    assert "10-greedy failed" in done.stdout + done.stderr
