"""The system calls that supervision needs and Python's library lacks."""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import select
import struct
import sys

from stages.sandbox.seccomp.filter import architectures

_SECCOMP = {"x86_64": 317, "aarch64": 277, "riscv64": 277, "ppc64le": 358, "s390x": 348}
_SET_MODE_FILTER = 1
_NEW_LISTENER, _WAIT_KILLABLE = 1 << 3, 1 << 5
_NOTIFICATION = struct.Struct("=QII64s")
_RESPONSE = struct.Struct("=QqiI")
_RECEIVE, _SEND, _STILL_WAITS = 0xC0502100, 0xC0182101, 0x40082102
_CONTINUE = 1
_PIDFD_GETFD = 438  # everywhere

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def install(program: bytes) -> int:
    """Put a filter on this process and all that come of it; the descriptor that is told of its calls.

    Raises OSError where the kernel (before 5.5) or a container's own filter refuses.
    """
    whole = _Program(len(program) // 8, program)
    number = _SECCOMP[os.uname().machine]
    try:  # without the second flag (Linux 5.19) a signal breaks a call off, which programs rarely expect of these
        return _checked(_libc.syscall(number, _SET_MODE_FILTER, _NEW_LISTENER | _WAIT_KILLABLE, ctypes.byref(whole)))
    except OSError:
        return _checked(_libc.syscall(number, _SET_MODE_FILTER, _NEW_LISTENER, ctypes.byref(whole)))


def wait(listener: int) -> bool:
    """Wait until there is a call to answer (True), or no process left that could make one."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        for _, events in poll.poll():
            if events & select.POLLIN:
                return True
            if events & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
                return False


def receive(listener: int) -> tuple[int, int, bytes]:
    """The id of a notification, the caller's process id, and its ``struct seccomp_data``."""
    buffer = bytearray(_NOTIFICATION.size)
    fcntl.ioctl(listener, _RECEIVE, buffer)
    identity, pid, _, data = _NOTIFICATION.unpack(buffer)
    return identity, pid, data


def respond(listener: int, identity: int, result: int | None) -> None:
    """Let a call return ``result``, fail with an errno (that, negative), or go on to the kernel (None)."""
    number = result or 0
    flags = _CONTINUE if result is None else 0
    fcntl.ioctl(listener, _SEND, bytearray(_RESPONSE.pack(identity, max(number, 0), min(number, 0), flags)))


def still_waits(listener: int, identity: int) -> bool:
    """Does the caller of a notification live and wait; else its process id may be another's by now."""
    try:
        fcntl.ioctl(listener, _STILL_WAITS, struct.pack("=Q", identity))
    except OSError:
        return False
    return True


def descriptor_of(process: int, number: int) -> int:
    """A copy of another process's descriptor: one open file, with one position, for both (pidfd_getfd(2))."""
    handle = os.pidfd_open(process)
    try:
        return _checked(_libc.syscall(_PIDFD_GETFD, handle, number, 0))
    finally:
        os.close(handle)


def entries(directory: int, size: int) -> bytes:
    """The next entries of an open directory, at most ``size`` bytes of them; none at its end (getdents64(2))."""
    buffer = ctypes.create_string_buffer(size)
    call = architectures(os.uname().machine)[0].numbers["getdents64"]
    length = _checked(_libc.syscall(call, directory, buffer, size))
    return buffer.raw[:length]


def enter(namespace: int, kind: int) -> None:
    """setns(2) for a namespace of a kind (CLONE_NEWUSER, CLONE_NEWNS: then root and current folder are its root)."""
    _checked(_libc.setns(namespace, kind))


def mount(source: bytes, target: bytes, kind: bytes, flags: int, options: bytes) -> None:
    """mount(2)."""
    _checked(_libc.mount(source or b"none", target, kind or None, ctypes.c_ulong(flags), options or None))


def unmount(target: bytes, flags: int) -> None:
    """umount2(2)."""
    _checked(_libc.umount2(target, flags))


def file_flags(descriptor: int, command: int) -> int:
    """FS_IOC_GETFLAGS."""
    value = array.array("l", [0])
    fcntl.ioctl(descriptor, command, value)
    return int.from_bytes(value.tobytes()[:4], sys.byteorder)


def set_file_flags(descriptor: int, command: int, bits: int) -> None:
    """FS_IOC_SETFLAGS."""
    fcntl.ioctl(descriptor, command, struct.pack("=Iq", bits, 0)[:8])


def flag_commands() -> tuple[int, int, int]:
    """This process's own numbers for getting and setting a file's flags, and for setting them with a struct."""
    architecture = architectures(os.uname().machine)[0]
    get, set_, extended = architecture.flag_commands()
    return get, set_, extended
