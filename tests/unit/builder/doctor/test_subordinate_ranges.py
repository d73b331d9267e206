"""The doctor proposes subordinate ids that nobody has, by a command that does what it says."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.doctor.diagnosis import HostFacts, add_ranges, diagnose, free_range

# Works on copies of the machine's files of users: those of a mount namespace of its own.
_ALONE = r"""
set -eu
mkdir -p "$1/upper" "$1/work"
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work"
mount -t overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" none /etc
useradd mended
printf 'first:100000:65536\\nsecond:165536:1000\\n' >/etc/subuid
printf 'first:100000:65536\\nthird:170000:65536\\n' >/etc/subgid
eval "$2"
grep -h ^mended: /etc/subuid /etc/subgid
"""


@pytest.mark.parametrize(
    ("texts", "first"),
    [
        ((), 100000),
        (("", ""), 100000),
        (("a:100000:65536\n",), 165536),
        (("a:100000:65536\n", "a:100000:65536\nb:165536:65536\n"), 231072),
        (("a:100000:10\n",), 100010),
        (("a:300000:65536\n",), 100000),
        (("a:150000:65536\n",), 215536),
        (("root:1000000:1000000000\na:100000:65536\n",), 165536),
        (("# a remark\nbroken\na:x:y\n",), 100000),
    ],
)
def test_the_first_free_range_is_proposed(texts: tuple[str, ...], first: int) -> None:
    assert free_range(*texts) == first


@given(st.lists(st.tuples(st.integers(0, 600_000), st.integers(0, 200_000)), max_size=12))
def test_a_proposed_range_is_nobodys(ranges: list[tuple[int, int]]) -> None:
    start = free_range("".join(f"u:{first}:{count}\n" for first, count in ranges))
    assert start >= 100000
    assert all(first + count <= start or first >= start + 65536 for first, count in ranges if count)


def test_the_command_is_the_answer_to_missing_ranges() -> None:
    facts = HostFacts(user="ann", ranges=False, free=165536)
    for text in ("newuidmap: permission denied", "no subuid ranges found for user ann"):
        assert diagnose(text, facts).command == add_ranges(facts)


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("usermod"), reason="takes root, and usermod")
def test_the_command_gives_the_user_these_ids(tmp_path: os.PathLike[str]) -> None:
    facts = HostFacts(user="mended", free=free_range("a:100000:65536\nb:165536:1000\n", "c:170000:65536\n"))
    command = add_ranges(facts).removeprefix("sudo ")
    words = ["unshare", "--mount", "sh", "-c", _ALONE, "sh", str(tmp_path), command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["mended:235536:65536"] * 2
