"""What every engine does with images, with files and with what it remembers, tried with the real thing."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import socket
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blockdev.core.errors import BuildError
from builder import engines
from builder.engines import probe_container
from builder.engines.command_engine import CommandLineEngine
from builder.engines.protocol import Container, Engine, ImageMissing
from tests.integration.engine_cases import Case
from tests.integration.engine_programs import run, run_shell

MAKE_TREE = """
cd "$1"; rm -rf tree; mkdir -p tree/folder; cd tree
echo text > plain; chown 5:60000 plain; chmod 4751 plain
truncate -s 64M sparse; printf end >> sparse
ln -s ../plain folder/link; ln plain folder/hard
touch -d @1000000000 folder/old; mkdir -m 0700 closed; chown 1:1 closed; echo x > closed/x
cp /bin/true program; setcap cap_net_raw+ep program
"""


def _fetch(engine: Engine, image: str) -> bytes:
    status, lines = run_shell(engine, image, MAKE_TREE, engine.store)
    assert status == 0, lines
    return b"".join(engine.fetch(Container(image, ()), f"{engine.store}/tree"))


def test_fetch(case: Case) -> None:
    """A folder comes back with owners as inside, modes, links, times, capabilities, and holes as holes."""
    data = case.call(_fetch, case.image)
    assert len(data) < 1 << 20, "the hole travelled as zeros"
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {entry.name.removeprefix("./"): entry for entry in tar}
        sparse = tar.extractfile(found["sparse"])
        assert sparse is not None
        assert sparse.seek(-3, os.SEEK_END) == 64 << 20
        assert sparse.read() == b"end"
    first, second = sorted(("plain", "folder/hard"), key=lambda name: found[name].islnk())
    assert (found[first].uid, found[first].gid, found[first].mode) == (5, 60000, 0o4751)
    assert found[second].linkname.removeprefix("./") == first
    assert found["folder/link"].linkname == "../plain"
    assert found["folder/old"].mtime == 1000000000
    assert (found["closed"].mode, found["closed"].uid) == (0o700, 1)
    assert "closed/x" in found
    assert "SCHILY.xattr.security.capability" in found["program"].pax_headers


def _fetch_nothing(engine: Engine, image: str) -> str:
    try:
        for _ in engine.fetch(Container(image, ()), f"{engine.store}/not-there"):
            pass
    except Exception as error:  # noqa: BLE001 - its type is what is tested
        return type(error).__name__
    return "no error"


def test_fetch_of_nothing_is_an_error(case: Case) -> None:
    """Not an empty archive."""
    assert case.call(_fetch_nothing, case.image) == "EngineError"


def _missing_image(engine: Engine) -> str:
    try:
        run(engine, "localhost/dib-ctr-test-not-there:1", "")
    except ImageMissing as error:
        return error.reference
    return "no error"


def test_missing_image(case: Case) -> None:
    """Told by its type, so that the caller can make the image and run again."""
    if case.adapter == "host":
        assert case.call(lambda engine: engine.has_image("any"))
    else:
        assert case.call(_missing_image) == "localhost/dib-ctr-test-not-there:1"


# -- finished images --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def docker_archive(folder: Path, name: str) -> Iterator[Path]:
    """A finished image as a docker-archive, made of the trial image's files."""
    with probe_container.archive() as layer:
        data = layer.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = {
        "architecture": machine,
        "os": "linux",
        "config": {"Cmd": ["/bin/sh", "-c", "echo loaded and run"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    path = folder / f"{uuid.uuid4().hex}.tar"
    with tarfile.open(path, "w") as tar:
        texts = {"config.json": json.dumps(config).encode(), "manifest.json": json.dumps(manifest).encode()}
        files = {"layer.tar": data, **texts}
        for file, content in files.items():
            entry = tarfile.TarInfo(file)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    path.chmod(0o644)
    yield path
    path.unlink()


def _load_and_run(engine: Engine, archive: str, reference: str) -> str:
    """Load, then run with the engine's own command line, as a user would."""
    engine.load(Path(archive), reference)
    command = ["docker"]
    options = ["--network=host"]
    if isinstance(engine, CommandLineEngine):
        command = [*engine.plain]
        options += list(getattr(engine.probe_result, "run", ()))  # type: ignore[attr-defined]
    elif engine.name == "podman-socket":
        from builder.engines.podman import Podman

        podman = Podman()
        podman.probe()
        command, options = list(podman.client), [*options, *podman.probe_result.run]
    done = subprocess.run([*command, "run", "--rm", *options, reference], capture_output=True, text=True, check=False)
    subprocess.run([*command, "rmi", "-f", reference], capture_output=True, check=False)
    return done.stdout.strip() or done.stderr


def _load_error(engine: Engine) -> str:
    """The host engine has no images: what the error says to do instead."""
    try:
        engine.load(Path("image.tar"), "localhost/any:1")
    except BuildError as error:
        return error.hint
    return "no error"


def test_load(case: Case, open_folder: Path) -> None:
    """A finished image is in the user's own images afterwards, under the name asked for, and runs."""
    if case.adapter == "host":
        assert "podman load" in case.call(_load_error)
        return
    with docker_archive(open_folder, "localhost/dib-ctr-test-first:1") as archive:
        assert case.call(_load_and_run, str(archive), "localhost/dib-ctr-test-loaded:1") == "loaded and run"


def _save_and_restore(engine: Engine, folder: str) -> tuple[bool, bool, bool]:
    root, archive = Path(folder) / "root.tar", Path(folder) / "image.tar"
    reference = f"localhost/dib-ctr-test-saved:{os.getpid()}"
    with tarfile.open(root, "w") as members:
        member = tarfile.TarInfo("file")
        members.addfile(member, io.BytesIO())
    engine.import_image(root, reference)
    engine.save_image(reference, archive)
    before = engine.has_image(reference)
    engine.remove_image(reference)
    between = engine.has_image(reference)
    engine.restore_image(archive, reference)
    after = engine.has_image(reference)
    engine.remove_image(reference)
    return before, between, after


def test_a_build_image_is_saved_and_restored(case: Case, open_folder: Path) -> None:
    """The host engine's image is the host: always there."""
    folder = open_folder / f"saved-{case.name}"
    folder.mkdir()
    os.chown(folder, case.user.pw_uid, case.user.pw_gid)
    assert case.call(_save_and_restore, str(folder)) == (True, case.adapter == "host", True)


def _remove_store(engine: Engine, image: str) -> list[str]:
    run_shell(engine, image, 'mkdir -p "$1/a/b"; chmod 000 "$1/a"', engine.store)
    engine.remove_store()
    return run_shell(engine, image, 'ls -A "$1"', engine.store)[1]


def test_remove_store(case: Case) -> None:
    """Nothing of it is left, and the next build starts with an empty one."""
    assert case.call(_remove_store, case.image) == []


def _probe_again(engine: Engine) -> bool:
    again = engines.make(engine.name)

    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("a remembered probe started a program")

    subprocess.Popen = forbidden  # type: ignore[assignment,misc]
    socket.socket.connect = forbidden  # type: ignore[method-assign]
    again.probe()
    return vars(again).get("found") == vars(engine).get("found")


def test_probe_is_remembered(case: Case) -> None:
    """A second probe finds the same, and starts no program and asks no daemon."""
    assert case.call(_probe_again)
