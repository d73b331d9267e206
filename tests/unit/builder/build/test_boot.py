"""The first program in a build container: it takes what is its own, and runs no code but what came with the request."""

from __future__ import annotations

import ast
import base64
import json
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from blockdev.core import own_code
from blockdev.core.errors import BuildError
from builder.build import agent_code
from stages.agent import bootstrap
from stages.agent.bootstrap import MAGIC, compile_all, files_of, parts_of, read_request, unpack_bundle
from stages.layers import digest_list
from stages.protocol import events


@pytest.fixture
def given() -> Iterator[IO[bytes]]:
    """The writing end of a pipe that is this process's standard input."""
    reader, writer = os.pipe()
    before = os.dup(0)
    os.dup2(reader, 0)
    os.close(reader)
    with os.fdopen(writer, "wb", buffering=0) as pipe:
        yield pipe
    os.dup2(before, 0)
    os.close(before)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/dib-ctr/code"


def test_control_lines_after_the_request_are_left_in_the_pipe(given: IO[bytes]) -> None:
    given.write(b"11\nthe request" + b"continue\n")
    assert read_request() == b"the request"
    assert os.read(0, 100) == b"continue\n"


def test_a_request_that_ends_early_is_noticed(given: IO[bytes]) -> None:
    given.write(b"11\nthe")
    given.close()
    with pytest.raises(EOFError):
        read_request()


def test_a_request_comes_apart_as_it_was_put_together() -> None:
    assert parts_of(agent_code.with_code(b"\narchive", b"")) == (agent_code.code(), b"", b"\narchive")
    code, bytecode, archive = parts_of(agent_code.with_code(b"\narchive", b"1\n2"))
    assert (bytecode, archive) == (b"1\n2", b"\narchive")
    assert not [path for path, _, _ in files_of(code) if path.endswith(".py")]


def test_all_code_travels_and_compiles(tmp_path: Path) -> None:
    unpack_bundle(agent_code.code(), tmp_path)
    assert (tmp_path / "stages/agent/main.py").read_bytes() == Path(bootstrap.__file__).with_name(
        "main.py"
    ).read_bytes()
    assert os.access(tmp_path / "stages/scripts/prepare-tree", os.X_OK)
    made = dict(compile_all(agent_code.code(), tmp_path))
    assert made["stages/agent/main.pyc"][4:16] == bytes(12)
    assert len(made) == len(list(tmp_path.rglob("*.py"))) > 150


def test_what_travels_needs_nothing_that_stays_at_home() -> None:
    files = {path: data for path, _, data in files_of(agent_code.code())}
    assert not [path for path in files if path.startswith(("blockdev/inspect", "qemu/boot"))]
    for path, data in files.items():
        for node in ast.walk(ast.parse(data)) if path.endswith(".py") else ():
            names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in [each for each in names if each.partition(".")[0] in ("stages", "blockdev", "qemu")]:
                place = name.replace(".", "/")
                assert {f"{place}.py", f"{place}/__init__.py"} & files.keys(), f"{path} imports {name}"
                for alias in node.names if isinstance(node, ast.ImportFrom) else ():
                    inner = Path(__file__).parents[4] / place / f"{alias.name}.py"
                    assert not inner.is_file() or f"{place}/{alias.name}.py" in files, f"{path} imports {inner}"


PYC = events.Bytecode(path="stages/agent/main.pyc", data="AAAA")


def parsed(line: str) -> events.Event:
    event = events.parse(line)
    assert event is not None
    return event


def keep_something(name: str) -> None:
    bytecode = agent_code.Bytecode(name)
    assert bytecode.take(PYC)
    assert bytecode.take(events.Compiled(magic=MAGIC))


def python(code: str, *arguments: str | Path) -> str:
    argv = [sys.executable, "-I", "-c", code, *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def events_of(tmp_path: Path, bytecode: bytes) -> list[dict[str, str]]:
    """What a first program says that makes the code ready below ``tmp_path``, and imports the agent."""
    text = Path(bootstrap.__file__).read_text().replace('Path("/tmp/dib-ctr")', f"Path({str(tmp_path)!r})")
    call = "\nready_code(*(Path(name).read_bytes() for name in sys.argv[1:]))\n"
    call += "from blockdev.core import errors, own_code\n"
    call += "own_code.program('stages.layers.digest_list')\n"
    call += "print(json.dumps({'type': 'from', 'path': errors.__file__}))"
    (tmp_path / "a").write_bytes(agent_code.code())
    (tmp_path / "b").write_bytes(bytecode)
    out = python(text.replace("leave(main())", "pass") + call, tmp_path / "a", tmp_path / "b")
    return [json.loads(line) for line in out.splitlines()]


def test_bytecode_is_made_once_and_used_from_then_on(tmp_path: Path, cache: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    bytecode = agent_code.Bytecode("an engine and an image")
    assert bytecode.kept() == b""
    said = events_of(first, b"")
    assert [event["type"] for event in said[-2:]] == ["compiled", "from"]
    assert all(bytecode.take(parsed(json.dumps(event))) for event in said[:-1])
    kept = agent_code.Bytecode("an engine and an image").kept()
    assert agent_code.Bytecode("another image").kept() == b""
    assert [event["type"] for event in events_of(second, kept)] == ["from"]
    assert {path for path, _, _ in files_of(kept)} == {event["path"] for event in said[:-2]}
    assert (cache.stat().st_mode & 0o777, next(cache.iterdir()).stat().st_mode & 0o777) == (0o700, 0o600)
    for place in (first, second):
        assert not list((place / "code").rglob("*.py"))
        assert (place / "code/stages/scripts/prepare-tree").is_file()
        written = [path.relative_to(place / "code").as_posix() for path in (place / "code").rglob("*.pyc")]
        assert written == ["stages/layers/digest_list.pyc"], "only what another process runs is in a file"


def test_bytecode_of_another_python_is_made_anew(tmp_path: Path, cache: Path) -> None:
    keep_something("one")
    text = Path(bootstrap.__file__).read_text().replace('Path("/tmp/dib-ctr")', f"Path({str(tmp_path)!r})")
    out = python(
        text.replace("leave(main())", "pass")
        + """
sys.exit(ready_code(b'{"files": []}\\n', b'{"magic": "00000000", "files": []}\\n'))"""
    )
    assert [json.loads(line) for line in out.splitlines()] == [{"type": "compiled", "magic": MAGIC}]
    bytecode = agent_code.Bytecode("one")
    assert bytecode.take(parsed(out))
    assert bytecode.outdated
    assert not list(cache.iterdir())


def test_a_process_of_its_own_finds_all_code_in_files(tmp_path: Path) -> None:
    """As where it is not in memory: the tests run from a checkout."""
    text = Path(bootstrap.__file__).read_text().replace('Path("/tmp/dib-ctr")', f"Path({str(tmp_path)!r})")
    (tmp_path / "a").write_bytes(agent_code.code())
    call = "\nready_code(Path(sys.argv[1]).read_bytes(), b'')\nfrom blockdev.core import own_code\nown_code.folder()"
    python(text.replace("leave(main())", "pass") + call, tmp_path / "a")
    said = python(
        "import sys; sys.path.insert(0, sys.argv[1]); from blockdev.core import own_code; print(own_code.folder())",
        tmp_path / "code",
    )
    assert said.strip() == str(tmp_path / "code")
    assert own_code.folder() == Path(bootstrap.__file__).parents[2]
    assert own_code.program("stages.layers.digest_list") == Path(digest_list.__file__)


@pytest.mark.parametrize("changed", ["content", "mode", "link"])
def test_bytecode_that_others_could_have_written_is_not_used(cache: Path, changed: str) -> None:
    keep_something("one")
    file = next(cache.iterdir())
    assert agent_code.Bytecode("one").kept()
    if changed == "content":
        file.write_bytes(file.read_bytes()[:-1] + b"!")
    elif changed == "mode":
        file.chmod(0o622)
    else:
        file.rename(file.with_suffix(".other"))
        file.symlink_to(file.with_suffix(".other"))
    assert agent_code.Bytecode("one").kept() == b""


def test_old_bytecode_is_let_go_of(cache: Path) -> None:
    for number in range(agent_code.KEPT + 5):
        keep_something(f"image {number}")
    assert len(list(cache.iterdir())) == agent_code.KEPT
    assert agent_code.Bytecode(f"image {agent_code.KEPT + 4}").kept()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([events.Note(text="x"), PYC], "where none was asked for"),
        ([events.Compiled(magic=MAGIC), PYC], "where none was asked for"),
        ([events.Note(text="x"), events.Compiled(magic=MAGIC)], "where none was asked for"),
        ([PYC, PYC], "something else"),
        ([PYC.replace(path="../stages/agent/main.pyc")], "something else"),
        ([PYC.replace(path="/stages/agent/main.pyc")], "something else"),
        ([PYC.replace(path="stages/agent/main.py")], "something else"),
        ([PYC.replace(path="stages/other.pyc")], "something else"),
        ([PYC.replace(path="stages/agent/main.pyc\n")], "something else"),
    ],
)
def test_nothing_else_is_taken_for_bytecode(cache: Path, said: list[events.Event], message: str) -> None:
    bytecode = agent_code.Bytecode("one")
    for event in said[:-1]:
        bytecode.take(event)
    with pytest.raises(BuildError, match=message):
        bytecode.take(said[-1])


def test_the_code_fits_into_arguments() -> None:
    arguments = agent_code.code_arguments()
    assert max(map(len, arguments)) < 128 << 10
    assert sum(map(len, arguments)) < 1 << 20  # of two MiB, where the stack's limit is the usual one
    assert zlib.decompress(base64.b64decode("".join(arguments))) == agent_code.code()


def test_boot_looks_at_no_code_in_the_store() -> None:
    """What a build could have left there must not run in another one."""
    text = Path(bootstrap.__file__).read_text()
    found = re.findall(r"sys\.(?:meta_)?path\.insert\(.*", text)
    assert found == ["sys.meta_path.insert(0, Modules(target, ready))", "sys.path.insert(0, str(target))"]
    assert text.count("target = SCRATCH") == 2


def test_boot_needs_no_module_of_the_project() -> None:
    """Its text runs where the checkout is not."""
    text = (Path(__file__).parents[4] / "stages/agent/bootstrap.py").read_text()
    argv = [sys.executable, "-I", "-c", text, "--help"]
    done = subprocess.run(argv, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--store" in done.stdout
