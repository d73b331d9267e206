"""Real tools in a real sandbox of an unprivileged user namespace do what such a namespace forbids."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.engine_cases import missing

HERE = Path(__file__).parent
OUTER_ROOT = 100_000  # where root itself opens the namespace: the host id that becomes its root


@pytest.fixture
def folder() -> Iterator[Path]:
    """A work folder with the code, which the namespace's root owns and can read."""
    path = Path(tempfile.mkdtemp(prefix="dib-ctr-supervise-", dir="/var/tmp"))
    path.chmod(0o755)
    for name in ("stages", "blockdev"):
        shutil.copytree(
            HERE.parents[1] / name, path / "code" / name, ignore=shutil.ignore_patterns("__pycache__", "elements")
        )
    shutil.copy(HERE / "supervise_scenario.py", path / "code")
    (path / "work").mkdir()
    if not os.geteuid():
        os.chown(path / "work", OUTER_ROOT, OUTER_ROOT)
    yield path
    inside = [] if not os.geteuid() else ["unshare", "--user", "--map-auto", "--map-root-user"]
    subprocess.run([*inside, "rm", "-rf", str(path)], check=True)


def in_namespace(folder: Path, *arguments: str) -> dict[str, Any]:
    """Run the scenario as root of a user namespace over subordinate ids, never as root of the host."""
    variables = {**os.environ, "PYTHONPATH": str(folder / "code")}
    python = ["/usr/bin/python3", "-B", str(folder / "code/supervise_scenario.py"), str(folder / "work"), *arguments]
    unshare = ["unshare", "--user", "--mount", "--pid", "--fork", "--kill-child"]
    if os.geteuid():
        command = [*unshare, "--map-auto", "--map-root-user", "--mount-proc", *python]
        return dict(json.loads(subprocess.run(command, env=variables, check=True, stdout=subprocess.PIPE).stdout))
    become = ["setpriv", "--reuid", "0", "--regid", "0", "--clear-groups"]
    proc = ["/bin/sh", "-euc", 'mount -t proc proc /proc; exec "$@"', "sh"]
    wait = ["/bin/sh", "-euc", 'echo; read go; exec "$@"', "sh"]
    command = [*unshare, "--keep-caps", *wait, *become, *proc, *python]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=variables, cwd="/") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        for kind in ("uid_map", "gid_map"):
            Path(f"/proc/{process.pid}/{kind}").write_text(f"0 {OUTER_ROOT} 65536")
        process.stdin.write(b"go\n")
        process.stdin.close()
        said = process.stdout.read()
    assert process.returncode == 0
    return dict(json.loads(said))


def succeed(
    folder: Path, script: str, *, where: str = "outside", network: str = "own", then: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Run a script of which every command must succeed."""
    done = in_namespace(folder, where, network, "yes", f"set -eu -o pipefail\n{script}", *then)
    assert done["status"] == 0, done["said"]
    return done


@pytest.mark.parametrize("supervised", ["no", "refused"])
def test_without_supervision_the_kernel_refuses(folder: Path, supervised: str) -> None:
    script = "cd $T; ! mknod n c 1 3; touch f; ! chattr +i f; ! setfattr -n trusted.a -v b f; ! chown 99999 f"
    done = in_namespace(folder, "outside", "own", supervised, f"set -eu; {script}")
    assert done["status"] == 0, done["said"]
    assert done["said"].count("not permitted") == 3
    assert done["answers"] == {}


PLACES = """
import ctypes, os, struct, sys, threading
libc = ctypes.CDLL(None)
libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p

def rest(folder):
    found = []
    while entry := libc.readdir(ctypes.c_void_p(folder)):
        _, place = struct.unpack("=Qq", ctypes.string_at(entry, 16))
        found.append((ctypes.string_at(entry + 19), place))
    return found

def read():
    folder = libc.opendir(os.fsencode(sys.argv[1]))
    whole = rest(folder)
    libc.seekdir(ctypes.c_void_p(folder), ctypes.c_long(whole[700][1]))
    assert rest(folder) == whole[701:]
    libc.rewinddir(ctypes.c_void_p(folder))
    assert rest(folder) == whole
    assert {os.fsdecode(name) for name, _ in whole} == {".", "..", *map(str, range(2000))}
    print("longest", max(place for _, place in whole).bit_length())

thread = threading.Thread(target=read)
thread.start()
thread.join()
with open(sys.argv[1] + "/../file", "w+b") as file:
    file.seek(0x70000001)
    file.write(b"end")
    file.seek(0x70000002)
    assert (file.read(), file.tell()) == (b"nd", 0x70000004)
"""


@pytest.mark.parametrize("supervised", ["yes", "short"])
def test_places_in_directories_have_31_bits_where_an_interpreter_needs_that(folder: Path, supervised: str) -> None:
    script = f"set -eu; cd $T; mkdir d; (cd d; touch {{0..1999}}); python3 -c '{PLACES}' d"
    done = in_namespace(folder, "outside", "own", supervised, script)
    assert done["status"] == 0, done["said"]
    assert "Error" not in done["said"]  # one in the thread does not end the program
    longest = int(done["said"].split("longest ")[1].split()[0])
    if supervised == "short":
        assert longest <= 31
    elif longest <= 31:
        missing("this file system's places are short by themselves")


def test_device_nodes_are_made_copied_and_unpacked(folder: Path) -> None:
    script = """
        cd $T
        mkdir dev
        mknod -m 666 dev/null c 1 3
        mknod -m 660 dev/sda b 8 0
        cp -a /dev/zero dev/zero
        ln dev/zero dev/linked; mv dev/linked dev/moved
        tar -C / -cf /tmp/nodes.tar dev/full dev/random
        tar -xpf /tmp/nodes.tar
        mknod dev/gone c 5 1; rm dev/gone
        mknod fifo p
        umask 077; mknod dev/private c 10 200
        ! mknod dev/null c 1 3
        echo test > dev/null
        stat -c '%F' dev/null
    """
    done = succeed(folder, script, then=("export",))
    assert done["answers"] == {"node": 7}
    assert "regular file" in done["said"]  # what a script sees of a record
    expected = {
        "null": ("c", 1, 3, 0o666),
        "sda": ("b", 8, 0, 0o660),
        "zero": ("c", 1, 5, 0o666),
        "full": ("c", 1, 7, 0o666),
        "random": ("c", 1, 8, 0o666),
        "private": ("c", 10, 200, 0o600),
    }
    for archive in ("tree.tar", "layer.tar"):
        with tarfile.open(folder / "work" / archive) as members:
            found = {Path(member.name).name: member for member in members if member.ischr() or member.isblk()}
            linked = {found.pop("moved", None), found.pop("zero", None)}
            assert sum(member is not None for member in linked) == 1  # the other is a hard link
            for name, member in found.items():
                kind = "c" if member.ischr() else "b"
                assert (kind, member.devmajor, member.devminor, member.mode) == expected[name]
                assert not any("dib-ctr" in key for key in member.pax_headers)
            assert len(found) == len(expected) - 1
    shown = subprocess.run(
        ["debugfs", "-R", "stat /dev/sda", str(folder / "work/ext4.img")], capture_output=True, text=True, check=True
    ).stdout
    assert "Type: block special" in shown
    assert "Device major/minor number: 08:00" in shown
    listed = subprocess.run(
        ["unsquashfs", "-lln", str(folder / "work/squashfs.img")], capture_output=True, text=True, check=True
    ).stdout
    assert [line.split()[0] for line in listed.splitlines() if line.endswith("/dev/null")] == ["crw-rw-rw-"]
    assert [line.split()[0] for line in listed.splitlines() if line.endswith("/dev/sda")] == ["brw-rw----"]


def test_a_new_root_has_the_devices_that_were_made_in_it(folder: Path) -> None:
    script = """
        cd $T
        mkdir dev usr
        for name in bin lib lib64 sbin; do ln -s usr/$name $name; done
        mount --rbind /usr usr
        mknod -m 666 dev/null c 1 3; mknod -m 666 dev/urandom c 1 9; mknod dev/sda b 8 0
        chroot . /bin/bash -euc 'echo lost > /dev/null; test -c /dev/null; head -c 4 /dev/urandom | wc -c; cat /dev/sda'
        umount -l usr
    """
    done = succeed(folder, script)
    assert done["said"].strip() == "4"
    assert done["answers"] == {"node": 3, "shown": 2}
    upper = folder / "work/upper/dev/null"
    assert stat.S_ISREG(upper.stat().st_mode)
    assert upper.stat().st_size == 0  # what was written went to the device


@pytest.mark.parametrize("network", ["own", "shared"])
@pytest.mark.parametrize("where", ["inside", "outside"])
def test_mounts_that_a_chroot_needs(folder: Path, where: str, network: str) -> None:
    script = """
        mkdir -p /tmp/c; cd /tmp/c; mkdir proc sys dev alone pts
        mount -t proc proc proc; test -e proc/self
        mount -t sysfs -o ro sysfs sys; test -d sys/class; ! touch sys/new
        mount -t devtmpfs devtmpfs dev; test -c dev/null; echo lost > dev/null
        mount --bind /dev alone; test -c alone/null
        mount -t devpts -o gid=70000,mode=620 devpts pts; test -e pts/ptmx
        mount -o remount,ro,bind alone; ! touch alone/new
        umount -f proc; umount -fl pts; umount alone; umount dev; umount -f sys
        ! mountpoint -q dev; rmdir proc sys dev alone pts
    """
    done = succeed(folder, script, where=where, network=network)
    assert done["answers"]["mount"] == (4 if network == "shared" else 3)
    assert done["answers"]["umount"] == 3


def test_a_bind_of_what_may_only_be_shown_whole_keeps_its_flags(folder: Path) -> None:
    script = """
        mkdir -p /tmp/m; mount --bind /sys /tmp/m; mount -o remount,ro,bind /sys /tmp/m; mount -o remount,ro /tmp/m
        findmnt -no OPTIONS /tmp/m
        mkdir /tmp/t; mount -t tmpfs -o size=1m tmpfs /tmp/t; mount -o remount,size=2m /tmp/t
        ! mount -o remount,size=much /tmp/t
        findmnt -no OPTIONS /tmp/t
    """
    said = succeed(folder, script, network="shared")["said"]
    assert said.startswith("ro,")
    assert "size=2048k" in said.splitlines()[-1]


def test_file_systems_on_devices_are_refused_with_the_way_out(folder: Path) -> None:
    done = in_namespace(folder, "outside", "own", "yes", "mount -t ext4 /dev/sda1 /mnt")
    assert done["status"] != 0
    assert "--privileged" in done["said"]
    assert "/dev/sda1" in done["said"]
    assert done["answers"] == {"refused": 1}


def test_flags_owners_and_attributes_reach_the_outputs(folder: Path) -> None:
    script = """
        cd $T
        echo text > held; chattr +i held; lsattr held | grep -q -- '^----i'
        echo text > free; chattr +i free; chattr -i free; lsattr free | grep -vq i
        mkdir log; chattr +a log
        touch owned; chown 100000:70000 owned
        touch back; chown 100000:70000 back; chown 5:6 back
        touch group; chown 7:70000 group
        ln -s owned link; chown -h 100000 link
        touch labelled
        setfattr -n trusted.kept -v value labelled
        setfattr -n security.selinux -v system_u:object_r:etc_t:s0 labelled
        setfattr -n user.own -v 1 labelled
        touch able; setcap cap_net_raw+ep able 2>/dev/null || touch no-setcap
    """
    done = succeed(folder, script, then=("export",))
    assert done["answers"] == {"flags": 3, "owner": 3, "owner-left": 1, "attribute": 2}
    with tarfile.open(folder / "work/tree.tar") as members:
        found = {member.name.removeprefix("./"): member for member in members}
    assert (found["owned"].uid, found["owned"].gid) == (100000, 70000)
    assert (found["back"].uid, found["back"].gid) == (5, 6)
    assert (found["group"].uid, found["group"].gid) == (7, 70000)
    assert (found["link"].uid, found["link"].gid) == (0, 0)
    attributes = found["labelled"].pax_headers
    assert attributes["SCHILY.xattr.trusted.kept"] == "value"
    assert attributes["SCHILY.xattr.security.selinux"] == "system_u:object_r:etc_t:s0"
    assert not any("dib-ctr" in key for member in found.values() for key in member.pax_headers)
    image = str(folder / "work/ext4.img")

    def debugfs(command: str) -> str:
        return subprocess.run(["debugfs", "-R", command, image], capture_output=True, text=True, check=True).stdout

    assert "Flags: 0x80010" in debugfs("stat /held")
    assert "Flags: 0x80000" in debugfs("stat /free")
    assert "Flags: 0x80020" in debugfs("stat /log")
    assert "User: 100000" in debugfs("stat /owned")
    assert "trusted.kept" in debugfs("ea_list /labelled")
    assert "attr" not in debugfs("ea_list /held")
    label = subprocess.run(
        ["xfs_db", "-c", "path /labelled", "-c", "attr_get -r kept", str(folder / "work/xfs.img")],
        capture_output=True,
        text=True,
        check=False,
    )
    if "command attr_get not found" not in label.stderr + label.stdout:
        assert "value" in label.stdout


def test_what_is_for_a_machine_of_its_own_is_refused_and_the_stage_lives(folder: Path) -> None:
    script = """
        /usr/bin/python3 -c 'import ctypes; assert ctypes.CDLL(None).reboot(0x1234567) == -1'
        hostname other; test "$(hostname)" = other
        echo alive
    """
    done = succeed(folder, script)
    assert done["said"].endswith("alive\n")
    assert done["answers"] == {"refused": 1}


def test_who_has_no_capabilities_is_refused_by_the_kernel(folder: Path) -> None:
    script = "cd $T; chmod 777 .; ! setpriv --reuid 33 --clear-groups mknod n c 1 3; ! test -e n"
    assert succeed(folder, script)["answers"] == {}


def test_arguments_that_are_none_get_the_kernels_errors(folder: Path) -> None:
    script = """
        cd $T
        /usr/bin/python3 - <<'END'
        import ctypes, errno, os, stat
        libc = ctypes.CDLL(None, use_errno=True)
        def fails(result, number):
            assert result == -1
            assert ctypes.get_errno() == number, os.strerror(ctypes.get_errno())
        fails(libc.mknod(ctypes.c_void_p(8), stat.S_IFCHR | 0o600, 0x103), errno.EFAULT)
        fails(libc.mknod(b"no/such", stat.S_IFCHR | 0o600, 0x103), errno.ENOENT)
        fails(libc.mknodat(99, b"x", stat.S_IFCHR | 0o600, 0x103), errno.EBADF)
        fails(libc.chown(b"none", 100000, 0), errno.ENOENT)
        fails(libc.fchown(99, 100000, 0), errno.EBADF)
        fails(libc.ioctl(99, 0x40086602, 0), errno.EBADF)
        fails(libc.mount(b"x", b"none", b"devtmpfs", 0, None), errno.ENOENT)
        fails(libc.umount2(b"none", 1), errno.ENOENT)
        fails(libc.chroot(b"none"), errno.ENOENT)
        fails(libc.setxattr(b"none", b"trusted.x", b"", 0, 0), errno.ENOENT)
        END
    """
    assert succeed(folder, textwrap.dedent(script))["answers"] == {}
