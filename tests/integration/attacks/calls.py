#!/usr/bin/python3
# ruff: noqa
# mypy: ignore-errors
"""Runs as a stage's script, with the standard library alone, and tries to get out of the sandbox.

It prints ``ESCAPE what`` for each attempt that reached something, ``BROKEN what`` for one that was not made as it stands
here, and in the end ``TRIED`` with how many there were.
What it looks for has the name MARK, or the folders of a store; a stage's own folders have neither.

This is how it begins; the attempts, by kind, are in the other files here (``tests/integration/attack_scenario.py``).
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
            try:
                found = function()
                if isinstance(found, str):
                    escape(f"{what}: {found}")
            except OSError:
                pass
            except BaseException as error:
                say(f"BROKEN {what}: {error!r}")
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


def finish():
    look("in the end")
    status = subprocess.run(["/bin/sh", "-c", "exit 0"]).returncode
    say(f"TRIED {tried} {status}")
