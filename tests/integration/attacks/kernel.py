# ruff: noqa
# mypy: ignore-errors
"""Attempts upon devices, files by their handles, and what the kernel keeps for the whole machine. A part of one script: see ``calls.py``."""


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
