"""What killed builds leave beside outputs goes with the next build; what living ones work in stays."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from blockdev.core.errors import BuildError
from builder import destination
from builder.destination import partial, space, swap, sweep
from builder.destination.partial import MARK, REPLACED

CODE = """
import sys, time
from pathlib import Path
from builder.destination import partial
with partial(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    print("there", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def builder(target: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", CODE, str(target)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    return process


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_a_killed_builds_folder_goes_and_a_living_ones_stays(tmp_path: Path) -> None:
    dead, alive = builder(tmp_path / "a.tar"), builder(tmp_path / "b.tar")
    try:
        dead.kill()
        dead.wait()
        assert len(hidden(tmp_path)) == 2
        sweep(tmp_path)
        (left,) = hidden(tmp_path)
        assert left.startswith(".b.tar.partial-")
        assert (tmp_path / left / "half").read_text() == "half"
        assert (tmp_path / left).stat().st_mode & 0o777 == 0o700
    finally:
        alive.send_signal(signal.SIGKILL)
        alive.wait()
    sweep(tmp_path)
    assert hidden(tmp_path) == []


def test_nothing_else_is_swept_away(tmp_path: Path) -> None:
    for name in (".a.partial-0123abcd", ".b.partial-0123abcd"):
        (tmp_path / name).mkdir()
    (tmp_path / ".a.partial-0123abcd/thesis").write_text("mine")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / MARK).touch()
    (tmp_path / ".c.partial-0123abcd").symlink_to(tmp_path / "outside")
    (tmp_path / ".d.partial-0123abcd").write_text("a file")
    sweep(tmp_path)
    assert hidden(tmp_path) == [".a.partial-0123abcd", ".c.partial-0123abcd", ".d.partial-0123abcd"]
    assert (tmp_path / "outside" / MARK).exists()


def test_builds_that_begin_and_sweep_at_once_leave_each_other_alone(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from builder.destination import partial, sweep
for number in range(60):
    sweep(Path(sys.argv[1]))
    with partial(Path(sys.argv[1], "a.tar")) as folder:
        (folder / "file").write_text("1")
        assert (folder / "file").read_text() == "1"
"""
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert hidden(tmp_path) == []


def test_what_stood_there_comes_back_where_a_build_was_killed_between_two_renames(tmp_path: Path) -> None:
    """On a file system that cannot exchange: the old folder is aside, the new one not there yet."""
    folder = tmp_path / ".a.oci.partial-0123abcd"
    (folder / REPLACED / "a.oci").mkdir(parents=True)
    (folder / REPLACED / "a.oci/oci-layout").write_text("old")
    (folder / MARK).touch()
    sweep(tmp_path)
    assert (tmp_path / "a.oci/oci-layout").read_text() == "old"
    assert hidden(tmp_path) == []


def test_a_folder_is_replaced_where_nothing_can_be_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        def renameat2(self, *_: object) -> int:
            return -1

    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: Old())
    (tmp_path / "a.dir").mkdir()
    (tmp_path / "a.dir/old").touch()
    with partial(tmp_path / "a.dir") as folder:
        (folder / "new").mkdir()
        swap(folder / "new", tmp_path / "a.dir")
    assert list((tmp_path / "a.dir").iterdir()) == []
    assert hidden(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "the disk of .* is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.ENOENT, "gone away"),
        (errno.EACCES, "Permission denied"),
    ],
)
def test_what_stops_writing_is_one_sentence(tmp_path: Path, number: int, said: str) -> None:
    with pytest.raises(BuildError, match=said) as raised, partial(tmp_path / "a.tar"):
        raise OSError(number, os.strerror(number))
    assert "\n" not in raised.value.what
    assert hidden(tmp_path) == []


FULL = """
import sys
from pathlib import Path
from builder.destination import place_output
from blockdev.core.errors import BuildError
from tests.unit.builder.destination.test_side_files import member, stream
try:
    place_output(stream(member("artifact", data=bytes(range(256)) * 16384)), "tar", Path(sys.argv[1]) / "a.tar")
except BuildError as error:
    print(error)
"""


def test_a_disk_that_fills_up_is_named_and_left_clean(tmp_path: Path) -> None:
    script = 'mount -t tmpfs -o size=1m none "$1" || exit 77; "$2" -c "$3" "$1"; echo left: $(ls -A "$1")'
    command = ["unshare", "-rm", "bash", "-c", script, "x", str(tmp_path), sys.executable, FULL]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[4])
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no mounts here")
    assert f"the disk of {tmp_path} is full" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "left:"


def test_a_place_that_goes_away_meanwhile_is_one_sentence(tmp_path: Path) -> None:
    target = tmp_path / "out" / "a.tar"
    with pytest.raises(BuildError, match="gone away"), partial(target) as folder:
        destination.remove(tmp_path / "out")
        (folder / "x").write_text("x")


def test_free_space_is_looked_at(tmp_path: Path) -> None:
    assert not space.is_full(tmp_path)
    assert space.room(tmp_path / "not/there/yet")[1] > 0


def test_a_folder_whose_removal_was_cut_short_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("builder.destination.partial")

    class KilledError(BaseException):
        pass

    def killed(_: Path) -> None:
        raise KilledError

    whole = module.remove
    with pytest.raises(KilledError), partial(tmp_path / "image.tar") as folder:
        (folder / "artifact").write_text("x")
        (folder / "tree").mkdir()
        monkeypatch.setattr(module, "remove", killed)
    assert (folder / module.MARK).exists()
    monkeypatch.setattr(module, "remove", whole)
    sweep(tmp_path)
    assert not folder.exists()
