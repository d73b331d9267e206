"""The filter, the answers and the records of supervision, without any call to a kernel."""

from __future__ import annotations

import errno
import os
import stat
import struct

import pytest

from blockdev.core.syscalls import MS_BIND, MS_RDONLY, MS_REC, MS_REMOUNT
from blockdev.tree import recorded_status
from blockdev.tree.recorded_status import Node
from stages.sandbox.seccomp import filter as bpf
from stages.sandbox.seccomp import policy
from stages.sandbox.seccomp.policy import MountCall
from stages.sandbox.seccomp.supervisor import mapped

MACHINES = ("x86_64", "aarch64", "ppc64le", "s390x", "riscv64")
IDS = 65536


def result(program: bytes, number: int, audit: int, arguments: tuple[int, ...], *, big_endian: bool = False) -> int:
    """What a BPF program says of a call: an interpreter of the few instructions that it may have."""
    order = ">" if big_endian else "="
    data = struct.pack(f"{order}iIQ6Q", number, audit, 0, *arguments, *(0,) * (6 - len(arguments)))
    code = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    accumulator = at = 0
    while True:
        kind, if_true, if_false, value = code[at]
        at += 1
        match kind:
            case 0x20:
                (accumulator,) = struct.unpack_from(f"{order}I", data, value)
            case 0x54:
                accumulator &= value
            case 0x15:
                at += if_true if accumulator == value else if_false
            case 0x25:
                at += if_true if accumulator > value else if_false
            case 0x35:
                at += if_true if accumulator >= value else if_false
            case 0x05:
                at += value
            case 0x06:
                return int(value)
            case _:
                pytest.fail(f"an instruction that is not known: {kind:#x}")


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("mknodat", (0, 1, stat.S_IFCHR | 0o666, 0x103), bpf.NOTIFY),
        ("mknodat", (0, 1, stat.S_IFBLK, 0x800), bpf.NOTIFY),
        ("mknodat", (0, 1, stat.S_IFIFO | 0o644, 0), bpf.ALLOW),
        ("mknodat", (0, 1, stat.S_IFREG | 0o644, 0), bpf.ALLOW),
        ("mknodat", (0, 1, stat.S_IFSOCK, 0), bpf.ALLOW),
        ("fchownat", (0, 1, 0, 0), bpf.ALLOW),
        ("fchownat", (0, 1, 65535, 2**32 - 1), bpf.ALLOW),
        ("fchownat", (0, 1, 2**64 - 1, 2**64 - 1), bpf.ALLOW),
        ("fchownat", (0, 1, 65536, 0), bpf.NOTIFY),
        ("fchownat", (0, 1, 0, 2**32 - 2), bpf.NOTIFY),
        ("fchown", (3, 65536, 0), bpf.NOTIFY),
        ("ioctl", (0, 0x5401), bpf.ALLOW),
        ("mount", (), bpf.NOTIFY),
        ("umount2", (0, 0), bpf.NOTIFY),
        ("reboot", (), bpf.NOTIFY),
        ("keyctl", (0, -3 & 2**64 - 1), bpf.NO_SUCH_CALL),
        ("add_key", (), bpf.NO_SUCH_CALL),
        ("request_key", (), bpf.NO_SUCH_CALL),
        ("ioctl", (0, 0x5412), bpf.NOT_PERMITTED),
        ("ioctl", (0, 0x541C), bpf.NOT_PERMITTED),
        ("ioctl", (0, 0x5413), bpf.ALLOW),
    ],
)
@pytest.mark.parametrize("machine", MACHINES)
def test_only_what_a_user_namespace_refuses_is_handed_over(
    machine: str, name: str, arguments: tuple[int, ...], expected: int
) -> None:
    program = bpf.program(machine, IDS)
    for architecture in bpf.architectures(machine):
        number = architecture.numbers[name]
        big = architecture.big_endian
        assert result(program, number, architecture.audit, arguments, big_endian=big) == expected


def test_calls_of_x32_do_not_exist() -> None:
    """Their numbers would pass for other calls' under the same architecture's value."""
    program = bpf.program("x86_64", IDS)
    for number in (165, 166, 250, 0):
        assert result(program, 0x40000000 | number, 0xC000003E, ()) == bpf.NO_SUCH_CALL


@pytest.mark.parametrize("machine", MACHINES)
def test_every_other_call_is_allowed(machine: str) -> None:
    program = bpf.program(machine, IDS)
    for architecture in bpf.architectures(machine):
        named = {*architecture.numbers.values(), *bpf.NEW_MOUNT_CALLS.values()}
        for number in set(range(600)) - named:
            assert result(program, number, architecture.audit, (), big_endian=architecture.big_endian) == bpf.ALLOW
    big = bpf.architectures(machine)[0].big_endian
    assert result(program, 165, 0x1234, (), big_endian=big) == bpf.ALLOW  # another architecture


@pytest.mark.parametrize("machine", MACHINES)
def test_directories_are_handed_over_for_interpreted_programs_of_32_bits_alone(machine: str) -> None:
    architecture = bpf.architectures(machine)[0]
    cases = [
        ("getdents64", (3, 0x1000, 32768), bpf.NOTIFY),
        ("lseek", (3, 0x70000000, 0), bpf.NOTIFY),
        ("lseek", (3, 0x7FFFFFFF, 0), bpf.NOTIFY),
        ("lseek", (3, 0x6FFFFFFF, 0), bpf.ALLOW),
        ("lseek", (3, 0x80000000, 0), bpf.ALLOW),
    ]
    for name, arguments, expected in cases:
        call = (architecture.numbers[name], architecture.audit, arguments)
        big = architecture.big_endian
        assert result(bpf.program(machine, IDS), *call, big_endian=big) == bpf.ALLOW
        assert result(bpf.program(machine, IDS, short=True), *call, big_endian=big) == expected


def test_new_mount_calls_are_not_there() -> None:
    program = bpf.program("x86_64", IDS)
    assert {result(program, number, 0xC000003E, ()) for number in bpf.NEW_MOUNT_CALLS.values()} == {0x50000 | 38}
    assert errno.ENOSYS == 38


@pytest.mark.parametrize(
    ("machine", "place", "command"),
    [
        ("x86_64", 0, 0x40086602),
        ("x86_64", 1, 0x40046602),
        ("x86_64", 0, 0x80086601),
        ("aarch64", 0, 0x401C5820),
        ("ppc64le", 0, 0x80086602),
        ("ppc64le", 0, 0x40086601),
    ],
)
def test_the_commands_for_flags_are_handed_over(machine: str, place: int, command: int) -> None:
    architecture = bpf.architectures(machine)[place]
    number = architecture.numbers["ioctl"]
    assert result(bpf.program(machine, IDS), number, architecture.audit, (3, command)) == bpf.NOTIFY


def test_with_all_ids_no_change_of_owner_is_handed_over() -> None:
    program = bpf.program("x86_64", 2**32 - 1)
    assert result(program, 92, 0xC000003E, (0, 2**32 - 2, 0)) == bpf.ALLOW


def test_an_unknown_machine_has_no_filter() -> None:
    assert bpf.program("sparc64", IDS) == b""


def test_a_call_is_decoded_by_its_architecture() -> None:
    data = struct.pack("=iIQ6Q", 21, 0x40000003, 0, 1, 2, 3, 4, 5, 6)
    found = bpf.decode(data, "x86_64")
    assert found
    assert (found[0], found[1].bits, found[2]) == ("mount", 32, (1, 2, 3, 4, 5, 6))
    assert bpf.decode(struct.pack("=iIQ6Q", 0, 0xC000003E, 0, *range(6)), "x86_64") is None


@pytest.mark.parametrize(
    ("mode", "encoded", "expected"),
    [
        (stat.S_IFCHR | 0o666, os.makedev(1, 3), Node(stat.S_IFCHR, 1, 3)),
        (stat.S_IFBLK, 0x12345678, Node(stat.S_IFBLK, os.major(0x12345678), os.minor(0x12345678))),
        (stat.S_IFBLK, 0, Node(stat.S_IFBLK, 0, 0)),
        (stat.S_IFCHR, 0, None),  # a whiteout
        (stat.S_IFIFO, 0x103, None),
    ],
)
def test_devices(mode: int, encoded: int, expected: Node | None) -> None:
    assert policy.device(mode, encoded) == expected


def plan(kind: bytes, flags: int = 0, options: bytes = b"", **facts: bool) -> list[tuple[str, int, bytes, bool]]:
    """The attempts at a mount, as (what is shown, flags, options, with the flags that are there)."""
    call = MountCall(b"source", kind, flags, options)
    found = policy.attempts(call, own_network=facts.get("own_network", False), devices=facts.get("devices", False))
    return [(one.show, one.call.flags, one.call.options, one.keeping) for one in found]


def test_mounts() -> None:
    assert plan(b"proc") == plan(b"tmpfs") == plan(b"overlay") == plan(b"", MS_BIND | MS_REC) == []
    assert plan(b"sysfs", own_network=True) == []
    assert plan(b"sysfs", MS_RDONLY) == [("", MS_RDONLY, b"", False), ("/sys", MS_RDONLY, b"", False)]
    assert plan(b"devtmpfs", 0xC0ED0000) == [("/dev", 0, b"", False)]
    assert plan(b"", MS_BIND) == [("", MS_BIND, b"", False), ("", MS_BIND | MS_REC, b"", False)]
    assert plan(b"", MS_BIND, devices=True) == [("", MS_BIND | MS_REC, b"", False)]
    remount = MS_REMOUNT | MS_BIND | MS_RDONLY
    assert plan(b"", remount) == [("", remount, b"", False), ("", remount, b"", True)]
    whole = plan(b"", MS_REMOUNT | MS_RDONLY, b"size=1m")
    assert whole == [("", MS_REMOUNT | MS_RDONLY, b"size=1m", False), ("", remount, b"", True)]
    own = [attempt[1:3] for attempt in plan(b"", MS_REMOUNT, b"uid=7,size=1m")]
    assert own == [(MS_REMOUNT, b"uid=7,size=1m"), (MS_REMOUNT, b"size=1m"), (MS_REMOUNT | MS_BIND, b"")]
    options = [attempt[2] for attempt in plan(b"devpts", 0, b"gid=5,mode=620")]
    assert options == [b"gid=5,mode=620", b"mode=620", b""]
    assert [attempt[2] for attempt in plan(b"devpts")] == [b""]


@pytest.mark.parametrize(
    ("kind", "flags", "expected"),
    [(b"ext4", 0, True), (b"ext4", MS_REMOUNT, False), (b"ext4", MS_BIND, False), (b"tmpfs", 0, False)],
)
def test_what_needs_privileges(kind: bytes, flags: int, *, expected: bool) -> None:
    assert policy.needs_privileges(MountCall(b"/dev/sda", kind, flags)) == expected


def test_unmounting_is_never_forced() -> None:
    assert policy.unmounting(1, whole=False) == 0
    assert policy.unmounting(3, whole=False) == 2
    assert policy.unmounting(0, whole=True) == 2


def test_owners_outside_of_the_map_are_recorded() -> None:
    keep = policy.NOBODY
    assert policy.owners((0, 0), b"", (100000, 5), IDS) == policy.Owners((65535, 5), b"100000 - 65535 65535")
    assert policy.owners((65535, 5), b"100000 - 65535 65535", (keep, 70000), IDS) == policy.Owners(
        (65535, 65535), b"100000 70000 65535 65535"
    )
    assert policy.owners((0, 0), b"100000 - 65535 65535", (keep, 70000), IDS).record == b"- 70000 65535 65535"
    assert policy.owners((7, 8), b"", (9, keep), IDS) == policy.Owners((9, 8), b"")


@pytest.mark.parametrize(
    ("value", "now", "expected"),
    [
        (b"100000 - 65535 65535", (65535, 5), (100000, 5)),
        (b"100000 - 65535 65535", (0, 65535), (0, 65535)),
        (b"1 2 3", (0, 0), (0, 0)),
        (b"", (4, 5), (4, 5)),
    ],
)
def test_a_recorded_owner_holds_until_the_next(value: bytes, now: tuple[int, int], expected: tuple[int, int]) -> None:
    assert recorded_status.owner(value, *now) == expected


def test_nodes_are_read_back() -> None:
    for node in (Node(stat.S_IFCHR, 1, 3), Node(stat.S_IFBLK, 259, 1048575)):
        assert recorded_status.node(node.encoded()) == node
    for value in (b"", b"c 1", b"x 1 3", b"c 1 -3", b"c one 3", b"\xff 1 3"):
        assert recorded_status.node(value) is None


def test_a_record_has_the_status_of_what_it_stands_for() -> None:
    plain = os.stat_result((stat.S_IFREG | 0o640, 5, 6, 2, 65535, 8, 99, 1, 2, 3))
    status = recorded_status.restored(plain, b"b 8 1", b"100000 - 65535 65535")
    assert status.st_mode == stat.S_IFBLK | 0o640
    assert (os.major(status.st_rdev), os.minor(status.st_rdev)) == (8, 1)
    assert (status.st_uid, status.st_gid, status.st_size, status.st_nlink, status.st_ino) == (100000, 8, 0, 2, 5)
    assert recorded_status.restored(plain, None, None) is plain


def test_flags_are_read_back() -> None:
    for bits in (
        0,
        recorded_status.IMMUTABLE,
        recorded_status.APPEND,
        recorded_status.IMMUTABLE | recorded_status.APPEND,
    ):
        assert recorded_status.flag_bits(recorded_status.flag_letters(bits | 0x80000)) == bits


def test_names_of_attributes() -> None:
    assert recorded_status.true_name("user.dib-ctr.xattr.trusted.x") == "trusted.x"
    assert recorded_status.true_name("user.dib-ctr.node") == ""
    assert recorded_status.true_name("user.mine") == "user.mine"
    assert policy.recorded_attribute("trusted.overlay.opaque")
    assert policy.recorded_attribute("security.ima")
    assert not policy.recorded_attribute("security.capability")
    assert not policy.recorded_attribute("user.mine")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 100000 65536", 65536),
        ("0 1000 1\n1 100000 65536", 65537),
        ("0 1000 1", 1),
        ("1 100000 10\n0 1000 1\n100 5 5", 11),
        ("1000 1000 1", 0),
        ("0 0 4294967295", 4294967295),
    ],
)
def test_how_many_ids_there_are(text: str, expected: int) -> None:
    assert mapped(text) == expected


def test_notes_tell_each_kind_once() -> None:
    told = policy.notes({"node": 7, "umount": 2, "owner": 0})
    assert len(told) == 2
    assert told[0].startswith("made 7 device")
