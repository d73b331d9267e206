"""What a container is under every engine: its users, rights, mounts, namespaces, network and store."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import uuid
from pathlib import Path

import pytest

from builder.engines import rights
from builder.engines.protocol import Engine
from tests.integration.engine_cases import Case
from tests.integration.engine_programs import run, run_shell


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
