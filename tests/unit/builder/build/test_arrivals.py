"""Outputs appear together and are remembered, or are left as they were; also where a build is killed at any instant."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from blockdev.core.errors import BuildError
from builder import destination
from builder.build.delivery import OutputDelivery
from stages.protocol.events import Output
from stages.protocol.request import Output as Wanted
from tests.unit.builder.destination.test_side_files import member, stream

STORE = "/store"
KEY = "0123456789abcdef" * 2


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class Agent:
    """What a build container would send, by the path that it is asked for."""

    def __init__(self, folders: dict[str, Callable[[], Iterator[bytes]]]) -> None:
        self.engine = SimpleNamespace(store=STORE)
        self.folders = folders
        self.notes: list[str] = []

    def fetch(self, path: str) -> Iterator[bytes]:
        return self.folders[path]()

    def local(self, path: str) -> None:
        return None

    def note(self, text: str) -> None:
        self.notes.append(text)


def event(index: int, output: str, **more: Any) -> Output:
    path = f"{STORE}/outputs/{KEY}{index}"
    return Output(output=output, index=index, path=path, key=KEY, changed=True, digest="", bytes=0).replace(**more)


def arrivals(
    agent: Any, place: Path, outputs: list[Wanted], text: bytes = b"", *, replace: bool = False
) -> OutputDelivery:
    targets = [destination.target_of(output, "x", place) for output in outputs]

    def beside(folder: Path, event: Output) -> dict[Path, bytes]:
        target = targets[event.index]
        return {target.with_name(f"{target.name}.spdx.json"): text}

    describer: Any = SimpleNamespace(prepared=SimpleNamespace(request=SimpleNamespace(outputs=outputs)), beside=beside)
    return OutputDelivery(agent, targets, describer, replace=replace)


def run(place: Path, text: bytes, *, replace: bool = False) -> None:
    """A build whose outputs and side files all have the content ``text``."""
    folder = member("artifact", tarfile.DIRTYPE)
    agent = Agent(
        {
            f"{STORE}/outputs/{KEY}0": lambda: stream(
                folder, member("artifact/oci-layout", data=b"{}"), member("artifact/blob", data=text)
            ),
            f"{STORE}/outputs/{KEY}1": lambda: stream(member("artifact", data=text)),
            f"{STORE}/outputs/files-{KEY}": lambda: stream(
                folder, member("artifact/x.kernel", data=text), member("artifact/x.initramfs", data=text)
            ),
        }
    )
    destination.sweep(place)
    with arrivals(agent, place, [Wanted("oci"), Wanted("tar")], text, replace=replace) as arriving:
        arriving.begin(event(0, "oci"))
        arriving.begin(event(1, "tar"))
        arriving.bring_side_files(event(-1, "files", path=f"{STORE}/outputs/files-{KEY}"), place, "x")
        arriving.finish(destination.memory())


FILES = ("x.oci/blob", "x.oci.spdx.json", "x.tar", "x.tar.spdx.json", "x.kernel", "x.initramfs")


def contents(place: Path) -> set[bytes]:
    return {(place / name).read_bytes() for name in FILES}


def test_all_appear_and_nothing_hidden_is_left(tmp_path: Path) -> None:
    place = tmp_path / "out"
    for text in (b"1", b"22"):
        run(place, text)
        assert contents(place) == {text}
    assert [path.name for path in place.iterdir() if path.name.startswith(".")] == []


def test_killed_at_any_rename_the_next_build_is_right(tmp_path: Path) -> None:
    """The process ends before its n-th rename, for each n; what it leaves is old or new, and replaced by the next."""
    place = tmp_path / "out"
    place.mkdir()
    run(place, b"first")
    for number in range(1, 40):
        child = os.fork()
        if child == 0:
            _kill_before(number)
            run(place, b"killed %d" % number)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        assert all((place / name).exists() for name in FILES)
        run(place, b"next %d" % number)
        assert contents(place) == {b"next %d" % number}
        assert [path.name for path in place.iterdir() if path.name.startswith(".")] == []
        if status == 0:
            assert number > 5
            return
        assert os.WTERMSIG(status) == signal.SIGKILL
    pytest.fail("there is no end of renames")


def _kill_before(number: int) -> None:
    left, rename = [number], os.rename

    def killing(*arguments: Any, **options: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(*arguments, **options)

    os.rename = killing


@pytest.mark.parametrize("name", ["x.oci.spdx.json", "x.kernel"])
def test_one_file_of_the_users_keeps_all_back(tmp_path: Path, name: str) -> None:
    place = tmp_path / "out"
    place.mkdir()
    (place / name).write_text("mine")
    with pytest.raises(BuildError, match="left alone"):
        run(place, b"new")
    assert [path.name for path in place.iterdir()] == [name]
    run(place, b"new", replace=True)
    assert contents(place) == {b"new"}


def test_an_output_that_does_not_come_whole_keeps_all_back(tmp_path: Path) -> None:
    agent = Agent(
        {
            f"{STORE}/outputs/{KEY}0": lambda: stream(member("artifact", data=b"1")),
            f"{STORE}/outputs/{KEY}1": lambda: (data for data in [member("artifact", data=b"1" * 4000)[:1000]]),
        }
    )
    outputs = [Wanted("tar", {"dest": str(tmp_path / "out/a")}), Wanted("tar", {"dest": str(tmp_path / "out/b")})]
    with pytest.raises(BuildError, match="broke off"), arrivals(agent, tmp_path, outputs) as arriving:
        arriving.begin(event(0, "tar"))
        arriving.begin(event(1, "tar"))
        arriving.finish(destination.memory())
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "bad",
    [
        {"path": "/etc"},
        {"path": f"{STORE}/outputs/../../etc"},
        {"path": f"{STORE}/outputs/.."},
        {"path": f"{STORE}/layers/{KEY}"},
        {"output": "dir"},
        {"more": ["../../x"]},
        {"more": ["/x"]},
    ],
)
def test_no_event_leads_to_other_folders(tmp_path: Path, bad: dict[str, Any]) -> None:
    with pytest.raises(BuildError), arrivals(Agent({}), tmp_path / "out", [Wanted("tar")]) as arriving:
        arriving.begin(event(0, "tar").replace(**bad))
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's trees have set-uid programs")
@pytest.mark.parametrize(
    ("options", "above", "mode"), [({}, 0o755, 0o700), ({"closed": "no"}, 0o755, 0o755), ({}, 0o700, 0o755)]
)
def test_roots_tree_is_closed_to_others(tmp_path: Path, options: dict[str, str], above: int, mode: int) -> None:
    place = Path(tempfile.mkdtemp(dir="/var/tmp"))  # pytest's own folders are closed
    try:
        place.chmod(above)
        tree = b"".join(stream(member("./", tarfile.DIRTYPE, mode=0o755), member("su", data=b"1", mode=0o4755)))
        agent = Agent({f"{STORE}/outputs/{KEY}0": lambda: stream(member("artifact", data=tree))})
        with arrivals(agent, place, [Wanted("dir", options)]) as arriving:
            arriving.begin(event(0, "dir"))
            arriving.finish(destination.memory())
        assert stat.S_IMODE((place / "x.dir").stat().st_mode) == mode
        assert stat.S_IMODE((place / "x.dir/su").stat().st_mode) == 0o4755
        assert len(agent.notes) == (mode == 0o700)
    finally:
        shutil.rmtree(place)
