"""Which subvolumes are refused before mkfs.btrfs starts."""

from __future__ import annotations

import pytest

from blockdev.core.errors import BuildError
from blockdev.filesystems import Spec, Subvolume, btrfs


@pytest.mark.parametrize(
    ("version", "subvolumes", "said"),
    [
        ((6, 2), (Subvolume("home"),), "mkfs.btrfs 6.2 cannot make subvolumes"),
        ((6, 11), (Subvolume("home"),), "mkfs.btrfs 6.11 cannot make subvolumes"),
        ((6, 14), (Subvolume("home", "snapshot"),), "a subvolume is of no kind 'snapshot'"),
        ((6, 14), (Subvolume("/"),), "a subvolume is a folder below the root"),
        ((6, 14), (Subvolume(""),), "a subvolume is a folder below the root"),
        ((6, 14), (Subvolume("../etc"),), "a subvolume is a folder below the root"),
        ((6, 14), (Subvolume("home/"), Subvolume("//home", "ro")), "a subvolume is there twice"),
        ((6, 14), (Subvolume("a", "default"), Subvolume("b", "default-ro")), "only one subvolume can be the default"),
    ],
)
def test_refused(version: tuple[int, int], subvolumes: tuple[Subvolume, ...], said: str) -> None:
    """A version without subvolumes, and what no version makes."""
    with pytest.raises(BuildError) as caught:
        btrfs.refuse_wrong(Spec("btrfs", subvolumes=subvolumes), version)
    assert said in str(caught.value)


def test_taken() -> None:
    """None at all with any version; one of each kind with a new one."""
    btrfs.refuse_wrong(Spec("btrfs"), (4, 0))
    btrfs.refuse_wrong(Spec("btrfs", subvolumes=(Subvolume("/home"), Subvolume("var", "default"))), (6, 12))
