"""What every engine must do, tried with the real thing."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from blockdev.core.errors import BuildError
from builder import engines
from builder.engines import probe_container, rights
from builder.engines.command_engine import CommandLineEngine
from builder.engines.protocol import Container, Engine, ImageMissing, store_volume
from tests.integration.engine_cases import Case

PYTHON = ("/usr/bin/python3", "-I", "-c")
# Every program first takes its request off standard input.
TAKE = "import sys, os; n = int(sys.stdin.buffer.readline()); request = sys.stdin.buffer.read(n)\n"
GONE = 15.0  # seconds for a container to be gone after its end was asked for


def run(
    engine: Engine, image: str, code: str, *arguments: str, request: bytes = b"", network: bool = True
) -> tuple[int, list[str]]:
    """Run Python code in a build container; returns the exit status and what it printed."""
    lines: list[str] = []
    container = Container(image, (*PYTHON, TAKE + code, *arguments), network=network)
    status = engine.run(container, request, lambda line, _: lines.append(line))
    return status, lines


def run_shell(engine: Engine, image: str, script: str, *arguments: str) -> tuple[int, list[str]]:
    """The same for a shell script."""
    code = "import subprocess; sys.exit(subprocess.call(['/bin/bash', '-eu', '-c', *sys.argv[1:]]))"
    return run(engine, image, code, script, "test", *arguments)


def test_lines_and_exit_status(case: Case) -> None:
    """Lines arrive whole and in order, of any length, and the exit status is the command's."""
    code = "print('first'); print('x' * 300000); print('\\u00e4'); sys.stdout.write('no end'); sys.exit(7)"
    status, lines = case.call(run, case.image, "sys.stdout.reconfigure(encoding='utf-8'); " + code)
    assert status == 7
    assert lines == ["first", "x" * 300000, "\u00e4", "no end"]


def run_with_pieces(engine: Engine, image: str, piece: str, count: int) -> list[str]:
    """Have a build container ask for a piece of a file several times; what it printed of each."""
    lines: list[str] = []

    def on_line(line: str, send: Callable[[str], None] | None) -> None:
        if line == "want" and send:
            send(piece)
        else:
            lines.append(line)

    code = (
        "import hashlib\nfor _ in range(int(sys.argv[1])):\n    print('want', flush=True)\n"
        "    print(hashlib.sha256(sys.stdin.buffer.readline().rstrip()).hexdigest(), flush=True)\n"
    )
    assert engine.run(Container(image, (*PYTHON, TAKE + code, str(count))), b"", on_line) == 0
    return lines


def test_pieces_of_layers_arrive_whole(case: Case) -> None:
    """Lines of four megabytes on the way in, as layers of a cache come."""
    piece = "".join(chr(33 + number % 90) for number in range(4 << 20))
    expected = hashlib.sha256(piece.encode()).hexdigest()
    assert case.call(run_with_pieces, case.image, piece, 5) == [expected] * 5


def test_standard_error_arrives_too(case: Case) -> None:
    """What goes wrong inside is not lost."""
    _, lines = case.call(run, case.image, "print('said on stderr', file=sys.stderr)")
    assert "said on stderr" in lines


def test_request_arrives_whole(case: Case) -> None:
    """A request of some MB, with any bytes, while the container prints more than a pipe holds."""
    request = bytes(range(256)) * 20000
    code = "import hashlib; print('y' * 200000); print(hashlib.sha256(request).hexdigest())"
    status, lines = case.call(_with_request, case.image, code, request)
    assert status == 0
    assert lines[-1] == hashlib.sha256(request).hexdigest()


def _with_request(engine: Engine, image: str, code: str, request: bytes) -> tuple[int, list[str]]:
    return run(engine, image, code, request=request)


def _talk(engine: Engine, image: str) -> list[str]:
    heard: list[str] = []
    code = (
        "print('ask', flush=True)\nprint('got', sys.stdin.readline().strip(), flush=True)\nprint(sys.stdin.readline())"
    )

    def on_line(line: str, send: Callable[[str], None] | None) -> None:
        heard.append(line)
        if line == "ask" and send:
            send("one")
        if line == "got one" and send:
            send("two")

    engine.run(Container(image, (*PYTHON, TAKE + code)), b"hello", on_line)
    return heard


def test_standard_input_stays_open(case: Case) -> None:
    """Lines sent while the container runs arrive there."""
    assert case.call(_talk, case.image)[:3] == ["ask", "got one", "two"]


def _send_much(engine: Engine, image: str) -> list[str]:
    heard: list[str] = []
    code = (
        "import hashlib\nfor number in range(6):\n print('ask', number, flush=True)\n"
        " print(hashlib.sha256(sys.stdin.readline().strip().encode()).hexdigest(), flush=True)"
    )

    def on_line(line: str, send: Callable[[str], None] | None) -> None:
        heard.append(line)
        if line.startswith("ask ") and send:
            send(line[-1] * (1 << 20))

    engine.run(Container(image, (*PYTHON, TAKE + code)), b"hello", on_line)
    return [line for line in heard if not line.startswith("ask ")]


def test_long_lines_arrive_whole(case: Case) -> None:
    """Files that a build asks for travel as lines of a mebibyte (``stages.lock.replay``)."""
    sums = [hashlib.sha256(str(number).encode() * (1 << 20)).hexdigest() for number in range(6)]
    assert case.call(_send_much, case.image) == sums


def test_root_inside_is_not_root_of_the_host(case: Case) -> None:
    """Also when root starts it: and all ids of an image are mapped, none of them to the host's root."""
    maps = "[open(f'/proc/self/{kind}_map').read().split() for kind in ('uid', 'gid')]"
    status, lines = case.call(run, case.image, f"import json; print(json.dumps([os.getuid(), os.getgid(), *{maps}]))")
    assert status == 0
    user, group, *maps = json.loads(lines[0])
    assert (user, group) == (0, 0)
    for numbers in maps:
        ranges = [[int(number) for number in numbers[i : i + 3]] for i in range(0, len(numbers), 3)]
        assert ranges[0][0] == 0
        assert sum(count for _, _, count in ranges) >= 65536
        assert not any(outside <= 0 < outside + count for _, outside, count in ranges)


MOUNTS = """
place=$1/mounts
mkdir -p $place/{lower,upper,work,merged,tmp,pts,proc}
echo below > $place/lower/file
cd $place
mount -t overlay overlay -o userxattr,volatile,lowerdir=lower,upperdir=upper,workdir=work merged
echo above > $place/merged/file
echo "$(cat $place/lower/file) $(cat $place/upper/file)"
mount -t tmpfs tmpfs $place/tmp && echo tmpfs
mount -t devpts devpts -o newinstance,ptmxmode=0666 $place/pts && echo devpts
unshare --pid --fork --mount sh -c "mount -t proc proc $place/proc && ls $place/proc | grep -c '^[0-9]'"
unshare --net ip link 2>/dev/null || unshare --net true && echo network
setpriv --reuid=1234 --regid=60000 --clear-groups id -u
hostname inside && hostname
"""


def _mounts(engine: Engine, image: str) -> tuple[int, list[str]]:
    return run_shell(engine, image, MOUNTS, engine.store)


def test_mounts_namespaces_and_users(case: Case) -> None:
    """All that stages need of the kernel."""
    status, lines = case.call(_mounts, case.image)
    assert status == 0, lines
    assert lines[:3] == ["below above", "tmpfs", "devpts"]
    assert int(lines[3]) >= 1
    assert lines[-3:] == ["network", "1234", "inside"]


def test_rights_are_the_same_everywhere(case: Case) -> None:
    """No engine gives a capability more or less: scripts would meet other answers."""
    status, lines = case.call(run_shell, case.image, "grep -E '^Cap(Prm|Eff|Bnd|Inh|Amb)' /proc/self/status")
    assert status == 0
    found = {line.split(":")[0]: int(line.split()[1], 16) for line in lines}
    wanted = sum(1 << number for number in rights.CAPABILITIES.values())
    assert found["CapPrm"] == found["CapEff"] == found["CapBnd"] == wanted, lines


NESTED = """
import ctypes, pathlib, tempfile
libc = ctypes.CDLL(None, use_errno=True)
place = pathlib.Path(tempfile.mkdtemp(dir=sys.argv[1]))
for name in ("lower", "upper", "work", "merged", "root"):
    (place / name).mkdir()
def call(what, result):
    if result != 0:
        raise OSError(ctypes.get_errno(), what)
def mount(source, target, kind, flags=0, options=""):
    call(f"mount {kind} on {target}", libc.mount(source.encode(), str(target).encode(), kind.encode() or None,
         ctypes.c_ulong(flags), options.encode() or None))
maps = {kind: pathlib.Path(f"/proc/self/{kind}_map").read_text() for kind in ("uid", "gid")}
libc.umount2(b"/sys/kernel", 2)  # as stages.agent.bootstrap does: podman covers it with the host's network
ready, go = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    call("unshare", libc.unshare(0x7E020000))  # user, mount, ipc, uts, net, pid, cgroup
    os.write(ready[1], b"x")
    os.read(go[0], 1)
    os.setresgid(0, 0, 0); os.setresuid(0, 0, 0)
    if os.fork():
        os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
    mount("none", "/", "", 16384 | 1 << 18)
    root = place / "root"
    mount("tmpfs", root, "tmpfs", 2 | 4)
    os.chdir(place)
    mount("overlay", "merged", "overlay", 0, "userxattr,volatile,lowerdir=lower,upperdir=upper,workdir=work")
    os.chown("merged", 12, 60000)
    for name in ("proc", "sys", "dev", "tree", "old"):
        (root / name).mkdir()
    mount("proc", root / "proc", "proc", 2 | 4 | 8)
    mount("sysfs", root / "sys", "sysfs", 1 | 2 | 4)
    mount("merged", root / "tree", "", 4096)
    (root / "dev/null").touch()
    mount("/dev/null", root / "dev/null", "", 4096)
    os.chdir(root)
    call("pivot_root", libc.syscall({"x86_64": 155, "aarch64": 41}[os.uname().machine], b".", b"."))
    call("umount", libc.umount2(b".", 2))
    status = os.stat("/tree")
    print(status.st_uid, status.st_gid, sorted(os.listdir("/")), os.getpid(), flush=True)
    effective = next(line for line in open("/proc/self/status") if line.startswith("CapEff"))
    print(bin(int(effective.split()[1], 16) + 1).count("1"), flush=True)
    open("/dev/null", "w").write("gone")
    os._exit(0)
os.read(ready[0], 1)
for kind, text in maps.items():
    extents = [line.split() for line in text.splitlines()]
    identity = "".join(f"{inside} {inside} {count}\\n" for inside, _, count in extents)
    pathlib.Path(f"/proc/{child}/{kind}_map").write_text(identity)
os.write(go[1], b"x")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def _nested(engine: Engine, image: str, network: bool) -> tuple[int, list[str]]:
    return run(engine, image, NESTED, engine.store, network=network)


@pytest.mark.parametrize("network", [True, False])
def test_a_namespace_of_its_own_inside(case: Case, network: bool) -> None:
    """A stage's user namespace with all ids of the container, a root built up in it, and every capability there."""
    status, lines = case.call(_nested, case.image, network)
    assert status == 0, lines
    assert lines == ["12 60000 ['dev', 'old', 'proc', 'sys', 'tree'] 1", "1"]


def test_the_host_store_is_closed_to_others(case: Case) -> None:
    """There are set-uid files in it; a volume's folder is closed by each build (``stages.agent.bootstrap``)."""
    if case.adapter != "host":
        return
    store = Path(case.environment["DIB_CTR_STORE"])
    case.call(run_shell, case.image, 'cp /bin/true "$1/program"; chmod 4755 "$1/program"', str(store))
    assert store.stat().st_mode & 0o777 == 0o700
    stranger = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", str(store / "program")]
    if os.getuid() == 0:
        assert subprocess.run(stranger, capture_output=True, check=False).returncode != 0


def _write_and_read(engine: Engine, image: str) -> tuple[list[str], list[str]]:
    word = uuid.uuid4().hex
    run_shell(engine, image, 'echo "$2" > "$1/kept"', engine.store, word)
    _, lines = run_shell(engine, image, 'cat "$1/kept"', engine.store)
    return [word], lines


def test_store_outlives_containers(case: Case) -> None:
    """What one container writes the next one reads."""
    written, found = case.call(_write_and_read, case.image)
    assert written == found


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


CONNECT = """
import socket
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5).close()
    print("connected")
except OSError as error:
    print("refused")
"""


def _connect(engine: Engine, image: str, port: int, network: bool) -> list[str]:
    return run(engine, image, CONNECT, str(port), network=network)[1]


def test_network_only_when_asked(case: Case) -> None:
    """With the network a service of the host is reached, without it not."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert case.call(_connect, case.image, port, True) == ["connected"]
        assert case.call(_connect, case.image, port, False) == ["refused"]


# -- the end of containers --------------------------------------------------------------------------------------------


def processes_with(token: str) -> list[int]:
    """Processes on this machine that have the token in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if token.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def is_gone(token: str) -> bool:
    """Have all processes with the token ended (a short while is granted)?"""
    end = time.monotonic() + GONE
    while processes_with(token):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def _containers(engine: Engine) -> list[str]:
    """Names of the engine's containers with this run's store, ended ones too; another run's come and go meanwhile."""
    if isinstance(engine, CommandLineEngine):
        command = [*engine.client]
    elif engine.name == "docker-socket":
        command = ["docker"]
    elif engine.name == "podman-socket":
        command = ["podman", "--remote", "--url", os.environ["CONTAINER_HOST"]]
    else:
        return []
    command += ["ps", "-a", "--filter", f"volume={store_volume()}", "--format", "{{.Names}}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


SLEEP = "print('running', flush=True); import time; time.sleep(600)"


class DeliberateError(Exception):
    """What a test's on_line raises."""


def _interrupted(engine: Engine, image: str, token: str, how: str) -> tuple[str, list[str]]:
    before = set(_containers(engine))

    def on_line(line: str, _: Any) -> None:
        if line != "running":
            return
        if how == "signal":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(30)
        raise DeliberateError

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        engine.run(Container(image, (*PYTHON, TAKE + SLEEP, token)), b"", on_line)
    except (DeliberateError, KeyboardInterrupt) as error:
        return type(error).__name__, sorted(set(_containers(engine)) - before)
    return "no error", []


@pytest.mark.parametrize(("how", "error"), [("signal", "KeyboardInterrupt"), ("exception", "DeliberateError")])
def test_an_end_by_force_leaves_nothing(case: Case, how: str, error: str) -> None:
    """Ctrl-C, or an error of the caller: it goes on, but only after the container is gone."""
    token = uuid.uuid4().hex
    assert case.call(_interrupted, case.image, token, how) == (error, [])
    assert is_gone(token)


READ_TO_THE_END = "print('running', flush=True); sys.stdin.buffer.read()"


def _run_until_killed(engine: Engine, image: str, token: str, code: str) -> None:
    engine.run(Container(image, (*PYTHON, TAKE + code, token)), b"", lambda *_: None)


def _await_inside(token: str) -> None:
    """Until a process that is root inside (not the engine's command) has the token."""
    end = time.monotonic() + GONE
    while not any(Path(f"/proc/{number}/exe").resolve().name.startswith("python3") for number in processes_with(token)):
        assert time.monotonic() < end, "the container did not start"
        time.sleep(0.1)
    time.sleep(0.5)


def test_a_killed_build_leaves_nothing_running(case: Case) -> None:
    """kill -9: what watches its standard input ends; on the host, where no daemon cleans up, everything does."""
    code = SLEEP if case.adapter == "host" else READ_TO_THE_END
    token = uuid.uuid4().hex
    child = case.spawn(_run_until_killed, case.image, token, code)
    _await_inside(token)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert is_gone(token)


def test_the_next_build_removes_what_a_killed_one_left(case: Case) -> None:
    """A container that goes on without its client, and does not heed its standard input either."""
    token = uuid.uuid4().hex
    child = case.spawn(_run_until_killed, case.image, token, SLEEP)
    _await_inside(token)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert case.adapter == "host" or processes_with(token)
    before = case.call(_containers)
    assert case.call(run, case.image, "print('next')") == (0, ["next"])
    assert is_gone(token)
    assert case.adapter == "host" or len(case.call(_containers)) < len(before)
    notes = Path(case.environment["XDG_CACHE_HOME"], "dib-ctr/containers")
    if list(notes.glob("*")):  # of a container that the daemon was about to remove itself: the next run lets go of it
        assert case.call(run, case.image, "print('next')") == (0, ["next"])
    assert not list(notes.glob("*"))


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
        options += list(getattr(engine.found, "run", ()))  # type: ignore[attr-defined]
    elif engine.name == "podman-socket":
        from builder.engines.podman import Podman

        podman = Podman()
        podman.probe()
        command, options = list(podman.client), [*options, *podman.found.run]
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
