"""The first thing that runs in a build container: takes the request from standard input and starts the agent.

Its text is the argument of ``python3 -I -c``, so it needs nothing but the standard library, and no file of the host:

``--store DIR``                                 read a request (a line with its length, then a tar) and answer it
``--store DIR --enter SESSION --code DIGEST``   open the shell of a session on this terminal

The agent's code travels in the request and is kept in the store under its digest, with its bytecode.
"""

import argparse
import ctypes
import errno
import hashlib
import io
import json
import os
import secrets
import shutil
import sys
import tarfile
from pathlib import Path

SCRATCH = Path("/tmp/dib-ctr")  # a tmpfs of the container's own, gone with it


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
    """The request archive from standard input."""
    digits = bytearray()
    while (byte := read_exactly(1)) != b"\n":
        digits += byte
    return read_exactly(int(digits))


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


def _sync(folder: Path) -> None:
    """Bring the files to the disk: what is found after a power loss is taken for whole."""
    for file in folder.rglob("*"):
        handle = os.open(file, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def keep_code(code: bytes, store: Path) -> Path:
    """The folder in the store that holds this code."""
    folder = store / "agent" / hashlib.sha256(code).hexdigest()[:24]
    if not folder.is_dir():
        partial = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
        partial.mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(code)) as archive:
            unpack(archive, partial)
        _sync(partial)
        try:
            partial.rename(folder)
        except OSError:  # another build was first
            shutil.rmtree(partial)
            if not folder.is_dir():
                raise
    return folder


def answer(store: Path) -> int:
    """Read the request, unpack it and have the agent answer it."""
    mount_scratch()
    uncover_sysfs()
    request = SCRATCH / "request"
    request.mkdir()
    with tarfile.open(fileobj=io.BytesIO(read_request())) as archive:
        unpack(archive, request)
    code = keep_code((request / "code.tar").read_bytes(), store)
    sys.path.insert(0, str(code))
    from stages import agent

    return agent.main(request, store, 0)


def enter(store: Path, session: str, code: str) -> int:
    """Open a session's shell."""
    mount_scratch()
    uncover_sysfs()
    sys.path.insert(0, str(store / "agent" / code))
    from stages import agent

    return agent.enter(session, store, SCRATCH)


def close_to_others(store: Path) -> None:
    """Let nobody else into the store: a volume's folder lies where any user of the machine may pass.

    It may be a folder in the store that is not there yet (``builder.trialbuild``).
    """
    store.mkdir(mode=0o700, exist_ok=True)
    state = store.stat()
    if state.st_uid == os.geteuid() and state.st_mode & 0o077:
        store.chmod(0o700)


def _explained(error: OSError, store: Path) -> str:
    """What went wrong before the agent runs; ``stages.diskspace`` says the same later."""
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
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--enter", default="")
    parser.add_argument("--code", default="")
    options = parser.parse_args()
    os.umask(0o022)
    try:
        close_to_others(options.store)
        if options.enter:
            return enter(options.store, options.enter, options.code)
        return answer(options.store)
    except OSError as error:
        hint = "look at the disk that holds the store; `dib-ctr doctor` tries the engine"
        event = {"type": "error", "what": _explained(error, options.store), "where": str(options.store)}
        print(json.dumps({**event, "hint": hint, "status": 1, "trace": ""}), flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
