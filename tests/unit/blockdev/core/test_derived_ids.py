"""Ids that follow from a seed: another byte would be another id in every image that was ever built."""

from __future__ import annotations

from blockdev.core.derived_ids import content_id, file_system_id, format_id, guid, mbr_id, within_file_system


def test_they_are_what_they_have_always_been() -> None:
    assert guid("seed", "disk", "a") == "43374984-1C60-58D2-B397-E66120B7CCE8"
    assert mbr_id("seed", "disk", "table") == "0x22af257b"
    assert file_system_id("seed", "ext4", "root") == "20810c82-d7d8-5694-87aa-39f3ffe7f062"
    assert file_system_id("seed", "vfat", "esp", fat=True) == "1D0B-A8D4"
    assert str(within_file_system("seed", "ext4", "uuid")) == "f3657a2e-945e-54c6-b22d-03f7144ab9b0"
    assert str(format_id("seed", "vhd")) == "37114036-9a51-51be-9888-11d7f193188f"
    assert content_id("seed") == 3677973477
