# ruff: noqa
# mypy: ignore-errors
"""Attempts upon processes, namespaces, sockets, terminals and names of others. A part of one script: see ``calls.py``."""


@attempt("the script as it starts")
def _():
    open_ones = {int(name) for name in os.listdir("/proc/self/fd")}
    more = [one for one in open_ones if one > 2 and os.path.exists(f"/proc/self/fd/{one}")]
    return f"open descriptors {[os.readlink(f'/proc/self/fd/{one}') for one in more]}" if more else None


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


ABSTRACT = tuple(os.environ.get("DIB_ATTACK_SOCKETS", "").split())


@attempt("abstract sockets of others")
def _():
    for name in ABSTRACT:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_UNIX, kind) as client, contextlib.suppress(OSError):
                client.connect(b"\0" + name.encode())
                escape(f"connected to the abstract socket {name}")


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
