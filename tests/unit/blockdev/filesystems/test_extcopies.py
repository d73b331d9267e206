"""Where ext file systems keep copies of their superblock."""

from __future__ import annotations

from blockdev.filesystems.ext_backups import has_copy


def test_sparse_copies() -> None:
    assert [group for group in range(130) if has_copy(group)] == [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]
