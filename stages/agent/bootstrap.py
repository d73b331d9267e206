"""The first thing that runs in a build container: takes the request from standard input and starts the agent.

Its text is the argument of ``python3 -I -c``, so it needs nothing but the standard library, and no file of the host:

``--store DIR``                           read a request and answer it
``--store DIR --enter SESSION CODE...``   open the shell of a session on this terminal

A request is a line with its length in bytes, a line with the lengths of the agent's code and its bytecode, these two,
and a tar. Code comes with every request, and is kept in memory and a tmpfs of the container's own: nothing that a build
could have written to the store is ever run. Bytecode is that of the host's earlier builds. Where it is missing, or of
another Python, it is made here, before anything of the store or the request is looked at, and told to the host in
events (``bytecode``). A shell has the terminal as its standard input; its code is in arguments: base64 of what zlib
packed.

A bundle of files is a line of JSON, {magic, files: [[path, mode, length], ...]}, and the files' bytes.
"""

import base64
import contextlib
import ctypes
import errno
import importlib.machinery
import importlib.util
import io
import json
import marshal
import os
import sys
import tarfile
import types
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

SCRATCH = Path("/tmp/dib-ctr")  # a tmpfs of the container's own, gone with it
MAGIC = importlib.util.MAGIC_NUMBER.hex()  # which bytecode this Python runs


def mount_scratch() -> None:
    """An empty tmpfs at SCRATCH, visible only to this container."""
    SCRATCH.mkdir(exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(SCRATCH), b"tmpfs", ctypes.c_ulong(0), b"mode=755") != 0:
        raise OSError(ctypes.get_errno(), f"mount a tmpfs on {SCRATCH}: {os.strerror(ctypes.get_errno())}")


def uncover_sysfs() -> None:
    """Take away what an engine mounts over /sys/kernel (podman, of an ordinary user with the host's network).

    The kernel lets a nested user namespace mount a sysfs only where it sees all of one.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if Path("/sys/kernel").is_mount():
        libc.umount2(b"/sys/kernel", 2)  # lazily; where it may not, the mount of a sysfs says so


def read_exactly(length: int) -> bytes:
    """That many bytes of standard input and not one more: the host's control lines come after them."""
    parts = bytearray()
    while len(parts) < length:
        data = os.read(0, min(length - len(parts), 1 << 20))
        if not data:
            raise EOFError("the request ended early")
        parts += data
    return bytes(parts)


def read_request() -> bytes:
    """The request from standard input, without the line of its length."""
    digits = bytearray()
    while (byte := read_exactly(1)) != b"\n":
        digits += byte
    return read_exactly(int(digits))


def parts_of(request: bytes) -> tuple[bytes, bytes, bytes]:
    """A request's code, its bytecode and its archive."""
    start = request.index(b"\n") + 1
    code, bytecode = (int(word) for word in request[:start].split())
    middle, end = start + code, start + code + bytecode
    return request[start:middle], request[middle:end], request[end:]


def unpack(archive: tarfile.TarFile, target: Path) -> None:
    """Write the archive's folders, files and symbolic links below ``target``; the host puts nothing else in."""
    for member in archive:
        file = target / member.name
        (file if member.isdir() else file.parent).mkdir(parents=True, exist_ok=True)
        if member.issym():
            file.symlink_to(member.linkname)
            continue
        data = archive.extractfile(member)
        if data is None:
            continue
        file.write_bytes(data.read())
        file.chmod(member.mode)


def files_of(bundle: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Each file of a bundle: path, mode, content."""
    start = bundle.index(b"\n") + 1
    for path, mode, length in json.loads(bundle[:start])["files"]:
        yield path, mode, bundle[start : start + length]
        start += length


def unpack_bundle(bundle: bytes, target: Path, but: str = "") -> None:
    """Write a bundle's files below ``target``, and the folders of those that end with ``but``."""
    folders = set()
    for path, mode, data in files_of(bundle):
        folder = path.rpartition("/")[0]
        if folder not in folders:
            (target / folder).mkdir(parents=True, exist_ok=True)
            folders.add(folder)
        if but and path.endswith(but):
            continue
        handle = os.open(f"{target}/{path}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(data)


def compile_all(code: bytes, target: Path) -> Iterator[tuple[str, bytes]]:
    """The bytecode of every module of the code, as it would lie below ``target``: path there, content."""
    for path, _, data in files_of(code):
        if path.endswith(".py"):
            # (Without docstrings and assertions: every request has it along.)
            compiled = compile(data, f"{target}/{path}", "exec", dont_inherit=True, optimize=2)
            yield f"{path}c", importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(compiled)


class Modules:
    """Finds the modules of the code in their bytecode, as if it lay in files below ``target``.

    There are hundreds, and a build in which nothing has changed spends a good part of its time on files otherwise.
    """

    def __init__(self, target: Path, bytecode: dict[str, bytes]) -> None:
        self._target, self._bytecode = target, bytecode

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """See importlib.abc.MetaPathFinder."""
        base = name.replace(".", "/")
        for file in (f"{base}.pyc", f"{base}/__init__.pyc"):
            if file in self._bytecode:
                loader: Any = self  # (importlib.abc, which says so, is slow to load)
                spec = importlib.machinery.ModuleSpec(name, loader, origin=f"{self._target}/{file}")
                spec.has_location = True
                if file.endswith("/__init__.pyc"):
                    spec.submodule_search_locations = [f"{self._target}/{base}"]
                return spec
        return None

    def create_module(self, spec: object) -> None:
        """See importlib.abc.Loader: a module as usual."""

    def exec_module(self, module: types.ModuleType) -> None:
        """See importlib.abc.Loader."""
        path = os.path.relpath(str(module.__file__), self._target)
        exec(marshal.loads(memoryview(self._bytecode[path])[16:]), module.__dict__)

    def write(self, path: str = "") -> None:
        """Have a module's bytecode (``path`` below the target; all without it) in a file, for another process."""
        for each in [path] if path else self._bytecode:
            file = self._target / each
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(self._bytecode[each])


def ready_code(code: bytes, bytecode: bytes) -> bool:
    """Have modules found in the code's bytecode; the code's files that are none are written.

    Without bytecode it is made here, and told to the host. Tells whether all is ready: bytecode of another Python is of
    no use, and the host knows then.
    """
    target = SCRATCH / "code"
    unpack_bundle(code, target, but=".py")
    ready: dict[str, bytes] = {}
    if not bytecode:
        for path, data in compile_all(code, target):
            ready[path] = data
            print(json.dumps({"type": "bytecode", "path": path, "data": base64.b64encode(data).decode()}))
    elif json.loads(bytecode[: bytecode.index(b"\n")])["magic"] == MAGIC:
        ready = {path: data for path, _, data in files_of(bytecode)}
    if not bytecode or not ready:
        print(json.dumps({"type": "compiled", "magic": MAGIC}), flush=True)
    sys.dont_write_bytecode = True
    sys.meta_path.insert(0, Modules(target, ready))
    return bool(ready)


def answer(store: Path) -> int:
    """Read the request, unpack it and have the agent answer it."""
    mount_scratch()
    code, bytecode, archive = parts_of(read_request())
    if not ready_code(code, bytecode):
        return 0
    uncover_sysfs()
    from stages.sandbox import spawner

    spawner.ready()  # while this process is small: each sandbox of it takes several forks
    request = SCRATCH / "request"
    request.mkdir()
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        unpack(opened, request)
    from stages.agent import main as agent

    return agent.main(request, store, 0)


def enter(store: Path, session: str, code: str) -> int:
    """Open a session's shell."""
    mount_scratch()
    uncover_sysfs()
    target = SCRATCH / "code"
    unpack_bundle(zlib.decompress(base64.b64decode(code)), target)
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(target))
    from stages.agent import main as agent

    return agent.enter(session, store, SCRATCH)


def close_to_others(store: Path) -> None:
    """Let nobody else into the store: a volume's folder lies where any user of the machine may pass.

    It may be a folder in the store that is not there yet (``builder.doctor.trial_build``).
    """
    store.mkdir(mode=0o700, exist_ok=True)
    state = store.stat()
    if state.st_uid == os.geteuid() and state.st_mode & 0o077:
        store.chmod(0o700)


def _explained(error: OSError, store: Path) -> str:
    """What went wrong before the agent runs; ``blockdev.core.disk_space`` says the same later."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT) and not str(error.filename or "").startswith(str(SCRATCH)):
        state = os.statvfs(store)
        free, total = state.f_bavail * state.f_frsize >> 20, state.f_blocks * state.f_frsize >> 20
        room = f"{free} of {total} MiB free, {state.f_favail} of {state.f_files} inodes free"
        return f"the disk that holds the store is full ({room})"
    if error.errno == errno.EROFS:
        return "the store lies on a file system that is mounted read-only"
    return f"the build container could not start: {error}"


def main() -> int:
    """Parse the arguments; what goes wrong before the agent runs is reported as its error event would be."""
    match sys.argv[1:]:
        case ["--store", folder]:
            session, code = "", list[str]()
        case ["--store", folder, "--enter", session, *code]:
            pass
        case _:
            print(__doc__)
            return 2
    store = Path(folder)
    os.umask(0o022)
    try:
        close_to_others(store)
        return enter(store, session, "".join(code)) if session else answer(store)
    except OSError as error:
        hint = "look at the disk that holds the store; `dib-ctr doctor` tries the engine"
        event = {"type": "error", "what": _explained(error, store), "where": str(store)}
        print(json.dumps({**event, "hint": hint, "status": 1, "trace": ""}), flush=True)
        return 1


def leave(status: int) -> NoReturn:
    """End at once: what Python takes down otherwise, the kernel does in a fraction of the time."""
    with contextlib.suppress(OSError):  # (the host has gone)
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    leave(main())
