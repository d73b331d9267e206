"""The seccomp filter: a BPF program that hands a few system calls, with certain arguments, to a supervisor.

All others run at the kernel's full speed. Pure: no call is made here.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from stages.sandbox.seccomp import dirent_offsets

ALLOW = 0x7FFF0000
NOTIFY = 0x7FC00000
NO_SUCH_CALL = 0x00050000 | 38  # SECCOMP_RET_ERRNO with ENOSYS
NOT_PERMITTED = 0x00050000 | 1

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND = 0x54
_EQUAL, _ABOVE, _AT_LEAST = 0x15, 0x25, 0x35
_JUMP = 0x05
_RETURN = 0x06
_WORD = 0xFFFFFFFF
_LONGEST = 4096  # BPF_MAXINSNS

FORMAT, CHARACTER, BLOCK = 0xF000, 0x2000, 0x6000


@dataclass(frozen=True)
class Check:
    """True where ``lowest <= (argument & mask) <= highest``, of the low 32 bits of an argument counted from 0.

    ``action``: what the call gets then, where that is not its rule's.
    """

    argument: int
    lowest: int
    highest: int
    mask: int = _WORD
    action: int | None = None


@dataclass(frozen=True)
class Rule:
    """A call by its number gets ``action`` where one of the checks is true, or always where there are none."""

    number: int
    checks: tuple[Check, ...] = ()
    action: int = NOTIFY


@dataclass(frozen=True)
class Architecture:
    """``audit`` is the kernel's AUDIT_ARCH value, ``numbers`` those of the calls by name, ``bits`` of a long.

    ``end``: numbers from here on are another architecture's under the same AUDIT_ARCH value (x32), which gets no call.
    """

    audit: int
    numbers: dict[str, int]
    bits: int = 64
    big_endian: bool = False
    ioctl_write: int = 1  # what _IOC_WRITE is; _IOC_READ is 2 in any case
    ioctl_shift: int = 30
    end: int = 0

    def ioctl(self, direction: int, letter: str, number: int, size: int) -> int:
        """A command's number; ``direction``: 1 for what the kernel reads, 2 for what it writes."""
        first = self.ioctl_write if direction == 1 else 2
        return first << self.ioctl_shift | size << 16 | ord(letter) << 8 | number

    def flag_commands(self) -> dict[int, str]:
        """The commands of ioctl(2) that get and set a file's flags, by number."""
        long = self.bits // 8
        return {
            self.ioctl(2, "f", 1, long): "get",
            self.ioctl(1, "f", 2, long): "set",
            self.ioctl(1, "X", 32, 28): "set-extended",
        }


def _numbers(text: str) -> dict[str, int]:
    words = text.split()
    return {name: int(number) for name, number in zip(words[::2], words[1::2], strict=True)}


_GENERIC = _numbers(
    "mknodat 33 mount 40 umount2 39 ioctl 29 setxattr 5 lsetxattr 6 fsetxattr 7 fchown 55 fchownat 54 chroot 51 "
    "init_module 105 finit_module 273 swapon 224 reboot 142 settimeofday 170 clock_settime 112 lseek 62 getdents64 61 "
    "add_key 217 request_key 218 keyctl 219"
)
_I386 = _numbers(
    "mknod 14 mknodat 297 mount 21 umount2 52 ioctl 54 setxattr 226 lsetxattr 227 fsetxattr 228 chown 212 fchown 207 "
    "lchown 198 fchownat 298 chroot 61 init_module 128 finit_module 350 swapon 87 reboot 88 settimeofday 79 "
    "clock_settime 264 add_key 286 request_key 287 keyctl 288"
)
_NATIVE_AND_COMPAT: dict[str, tuple[Architecture, ...]] = {
    "x86_64": (
        Architecture(
            0xC000003E,
            _numbers(
                "mknod 133 mknodat 259 mount 165 umount2 166 ioctl 16 setxattr 188 lsetxattr 189 fsetxattr 190 "
                "chown 92 fchown 93 lchown 94 fchownat 260 chroot 161 init_module 175 finit_module 313 swapon 167 "
                "reboot 169 settimeofday 164 clock_settime 227 lseek 8 getdents64 217 "
                "add_key 248 request_key 249 keyctl 250"
            ),
            end=0x40000000,
        ),
        Architecture(0x40000003, _I386, bits=32),
    ),
    "aarch64": (
        Architecture(0xC00000B7, _GENERIC),
        Architecture(
            0x40000028,
            {
                **_I386,
                "mknodat": 324,
                "fchownat": 325,
                "finit_module": 379,
                "clock_settime": 262,
                "add_key": 309,
                "request_key": 310,
                "keyctl": 311,
            },
            bits=32,
        ),
    ),
    "riscv64": (Architecture(0xC00000F3, _GENERIC),),
    "ppc64le": (
        Architecture(
            0xC0000015,
            _numbers(
                "mknod 14 mknodat 288 mount 21 umount2 52 ioctl 54 setxattr 209 lsetxattr 210 fsetxattr 211 chown 181 "
                "fchown 95 lchown 16 fchownat 289 chroot 61 init_module 128 finit_module 353 swapon 87 reboot 88 "
                "settimeofday 79 clock_settime 245 lseek 19 getdents64 202 "
                "add_key 269 request_key 270 keyctl 271"
            ),
            ioctl_write=4,
            ioctl_shift=29,
        ),
    ),
    "s390x": (
        Architecture(
            0x80000016,
            _numbers(
                "mknod 14 mknodat 290 mount 21 umount2 52 ioctl 54 setxattr 224 lsetxattr 225 fsetxattr 226 chown 212 "
                "fchown 207 lchown 198 fchownat 291 chroot 61 init_module 128 finit_module 344 swapon 87 reboot 88 "
                "settimeofday 79 clock_settime 259 lseek 19 getdents64 220 "
                "add_key 278 request_key 279 keyctl 280"
            ),
            big_endian=True,
        ),
    ),
}
# Programs try these first and use mount(2), whose arguments are all in one place, on a kernel that has none of them.
# Their numbers are the same everywhere.
NEW_MOUNT_CALLS = {
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "mount_setattr": 442,
}
_ALWAYS = (
    *("mount", "umount2", "setxattr", "lsetxattr", "fsetxattr", "chroot"),
    *("init_module", "finit_module", "swapon", "reboot", "settimeofday", "clock_settime"),
)
# The kernel's keys belong to users, in whatever namespaces: a script could take those of the user who builds.
_KEYS = ("add_key", "request_key", "keyctl")
# TIOCSTI and TIOCLINUX put characters into a terminal: a shell's would be the caller's own.
_TYPING = (0x5412, 0x541C)
_OWNERS = {"chown": 1, "lchown": 1, "fchown": 1, "fchownat": 2}  # which argument is the user; the group follows


def architectures(machine: str) -> tuple[Architecture, ...]:
    """The native architecture of a machine (as uname(2) calls it), then its 32-bit one; none for unknown machines."""
    return _NATIVE_AND_COMPAT.get(machine, ())


def rules(architecture: Architecture, ids: int, *, short: bool = False) -> tuple[Rule, ...]:
    """What to hand over, where user and group ids from ``ids`` on are outside the user namespace's map.

    ``short``: places in directories get 31 bits (see ``stages.sandbox.seccomp.dirent_offsets``).
    """
    numbers = architecture.numbers
    result = [Rule(numbers[name]) for name in _ALWAYS]
    absent = (*NEW_MOUNT_CALLS.values(), *(numbers[name] for name in _KEYS))
    result += [Rule(number, action=NO_SUCH_CALL) for number in absent]
    for name, position in (("mknod", 1), ("mknodat", 2)):
        if name in numbers:
            kinds = tuple(Check(position, kind, kind, FORMAT) for kind in (CHARACTER, BLOCK))
            result.append(Rule(numbers[name], kinds))
    commands = [Check(1, command, command) for command in architecture.flag_commands()]
    commands += [Check(1, command, command, action=NOT_PERMITTED) for command in _TYPING]
    result.append(Rule(numbers["ioctl"], tuple(commands)))
    for name, position in _OWNERS.items():
        if name in numbers and ids < _WORD:  # the highest number of all means "leave it"
            outside = tuple(Check(argument, ids, _WORD - 1) for argument in (position, position + 1))
            result.append(Rule(numbers[name], outside))
    if short and "getdents64" in numbers:
        result.append(Rule(numbers["getdents64"]))
        result.append(Rule(numbers["lseek"], (Check(1, dirent_offsets.LOWEST, dirent_offsets.HIGHEST),)))
    return tuple(result)


@dataclass(frozen=True)
class _Instruction:
    code: int
    value: int
    if_true: int = 0
    if_false: int = 0

    def packed(self) -> bytes:
        return struct.pack("=HBBI", self.code, self.if_true, self.if_false, self.value)


def _argument(number: int, *, big_endian: bool) -> _Instruction:
    return _Instruction(_LOAD, 16 + 8 * number + (4 if big_endian else 0))


def _rule(rule: Rule, *, big_endian: bool) -> list[_Instruction]:
    """The accumulator holds the number of the call, and does still where the rule is not for it."""
    block: list[_Instruction] = []
    for check in rule.checks:
        block += [
            _argument(check.argument, big_endian=big_endian),
            _Instruction(_AND, check.mask),
            _Instruction(_AT_LEAST, check.lowest, 0, 2),
            _Instruction(_ABOVE, check.highest, 1, 0),
            _Instruction(_RETURN, rule.action if check.action is None else check.action),
        ]
    block.append(_Instruction(_RETURN, ALLOW if rule.checks else rule.action))
    return [_Instruction(_EQUAL, rule.number, 0, len(block)), *block]


@cache
def program(machine: str, ids: int, *, short: bool = False) -> bytes:
    """The filter of these :func:`rules`, an array of ``struct sock_filter``; empty for a machine that is not known."""
    instructions: list[_Instruction] = [_Instruction(_LOAD, 4)]
    for architecture in architectures(machine):
        section = [_Instruction(_LOAD, 0)]
        if architecture.end:
            section += [_Instruction(_AT_LEAST, architecture.end, 0, 1), _Instruction(_RETURN, NO_SUCH_CALL)]
        for rule in rules(architecture, ids, short=short):
            section += _rule(rule, big_endian=architecture.big_endian)
        section.append(_Instruction(_RETURN, ALLOW))
        instructions += [
            _Instruction(_EQUAL, architecture.audit, 1, 0),
            _Instruction(_JUMP, len(section)),
            *section,
        ]
    instructions.append(_Instruction(_RETURN, ALLOW))
    return _packed(instructions) if len(instructions) > 2 else b""


def _packed(instructions: Sequence[_Instruction]) -> bytes:
    assert len(instructions) <= _LONGEST
    return b"".join(instruction.packed() for instruction in instructions)


def decode(data: bytes, machine: str) -> tuple[str, Architecture, tuple[int, ...]] | None:
    """What a ``struct seccomp_data`` asks: the call's name, the caller's architecture, six arguments."""
    number, audit, _, *arguments = struct.unpack("=iIQ6Q", data)
    for architecture in architectures(machine):
        if architecture.audit == audit:
            for name, its in architecture.numbers.items():
                if its == number:
                    return name, architecture, tuple(arguments)
    return None
