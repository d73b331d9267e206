"""Partition tables that other programs have written, as an inspection sees them and as these programs do."""

from __future__ import annotations

import json
import random
import uuid
from pathlib import Path
from typing import Any

import pytest

from blockdev.inspect import typenames
from blockdev.inspect.survey import inspect
from tests.integration.foreign_disks import ESP, LINUX, MIB, SECTOR, SWAP, run, sparse


def spans(chance: random.Random, count: int, first: int, end: int, gap: int) -> list[tuple[int, int]]:
    """Starts and lengths of ``count`` ranges, with at least ``gap`` before each."""
    marks = sorted(chance.sample(range(first + gap, end, gap + 1), 2 * count))
    return [
        (low + gap, high - low - gap) for low, high in zip(marks[::2], marks[1::2], strict=True) if high > low + gap
    ]


def gpt_script(chance: random.Random, sectors: int) -> str:
    lines = ["label: gpt", f"label-id: {uuid.UUID(int=chance.getrandbits(128), version=4)}"]
    numbers = chance.sample(range(1, 20), 8)
    for number, (start, length) in zip(numbers, spans(chance, 8, 2048, sectors - 40, 40), strict=False):
        flags = chance.choice(["", ", attrs=LegacyBIOSBootable", ', attrs="RequiredPartition,60"'])
        kind = chance.choice([LINUX, SWAP, ESP])
        lines.append(f'{number}: start={start}, size={length}, type={kind}, name="part {number} ä"{flags}')
    return "\n".join(lines)


def mbr_script(chance: random.Random, sectors: int) -> str:
    lines = ["label: dos", f"label-id: {chance.getrandbits(32):#010x}"]
    found = spans(chance, 4, 2048, sectors, 500)
    numbers = chance.sample(range(1, 5), len(found))
    inside: list[str] = []
    active = chance.randrange(4)
    for at, (number, (start, length)) in enumerate(zip(numbers, found, strict=True)):
        if at == 1:
            lines.append(f"{number}: start={start}, size={length}, type={chance.choice('5f')}")
            logical = spans(chance, 6, start, start + length, 2100) if length > 60000 else []
            inside = [f"{five}: start={first}, size={count}, type=83" for five, (first, count) in enumerate(logical, 5)]
        else:
            kind = chance.choice(("83", "82", "ef", "c"))
            lines.append(f"{number}: start={start}, size={length}, type={kind}{', bootable' * (at == active)}")
    return "\n".join([*lines, *inside])


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("script", [gpt_script, mbr_script])
def test_layouts_as_sfdisk_sees_them(tmp_path: Path, script: Any, seed: int) -> None:
    chance = random.Random(seed)
    size = chance.randrange(40, 400) * MIB
    image = sparse(tmp_path / "disk", size)
    run("sfdisk", "--quiet", "--no-reread", image, stdin=script(chance, size // SECTOR).encode())
    theirs = json.loads(run("sfdisk", "--json", image))["partitiontable"]
    ours = inspect(image).table
    assert ours.kind == {"gpt": "gpt", "dos": "mbr"}[theirs["label"]]
    assert ours.id == theirs["id"].removeprefix("0x")
    assert ours.sector_size == theirs["sectorsize"]
    assert {remark.partition(" of the partitions")[0] for remark in ours.remarks} <= {"the numbers"}
    wanted = {
        int(one["node"].removeprefix(str(image))): (
            one["start"] * SECTOR,
            one["size"] * SECTOR,
            one["type"].zfill(2),
            one.get("name", ""),
            one.get("bootable", False) or "LegacyBIOSBootable" in one.get("attrs", ""),
        )
        for one in theirs["partitions"]
    }
    assert len(wanted) > 2
    assert {one.number: (one.start, one.length, one.type, one.name, one.bootable) for one in ours.partitions} == wanted
    if ours.kind == "gpt":
        assert [one.uuid for one in sorted(ours.partitions, key=lambda one: one.number)] == [
            one["uuid"] for one in sorted(theirs["partitions"], key=lambda one: int(one["node"][len(str(image)) :]))
        ]


def fdisk(image: Path, *answers: str | int) -> list[list[int]]:
    """Write a table for sectors of 4096 bytes, which sfdisk does not for a file; the starts and lengths in bytes."""
    run("fdisk", "-b", "4096", image, stdin="".join(f"{one}\n" for one in (*answers, "w")).encode())
    listed = run("fdisk", "-b", "4096", "-l", "-o", "Start,Sectors", image).partition("Sectors\n")[2]
    return [[int(field) * 4096 for field in line.split()] for line in listed.splitlines() if line.strip()]


@pytest.mark.parametrize("kind", ["gpt", "mbr"])
def test_large_sectors(tmp_path: Path, kind: str) -> None:
    image = sparse(tmp_path / "disk", 128 * MIB)
    if kind == "gpt":
        theirs = fdisk(image, "g", "n", 1, 256, "+511", "n", 5, 1024, "+2047")
    else:
        one, extended = ("n", "p", 1, 256, "+511"), ("n", "e", 2, 1024, "+8191")
        theirs = fdisk(image, "o", *one, *extended, "n", "l", 1280, "+1023", "n", "l", 4096, "+511")
    assert len(theirs) == {"gpt": 2, "mbr": 4}[kind]
    # An MBR does not say how large its sectors are: what is in its partitions does.
    run("mkfs.ext4", "-q", "-E", f"offset={256 * 4096}", image, "2M")
    found = inspect(image)
    assert (found.table.kind, found.table.sector_size, found.table.remarks) == (kind, 4096, ())
    assert [[one.start, one.length] for one in found.table.partitions] == theirs
    assert found.places[0].content.kind == "ext4"


def test_names_of_types_are_those_of_sfdisk() -> None:
    ours = {kind: name for kind in _listed("gpt") if (name := typenames.gpt(kind))}
    assert len(ours) > 25
    for kind, theirs in _listed("gpt").items():
        if kind in ours and "boot" not in theirs:
            words = {word.strip("/()").lower() for word in theirs.split()}
            assert words & {word.strip("/()").lower() for word in ours[kind].split()}, (kind, theirs, ours[kind])


def _listed(label: str) -> dict[str, str]:
    lines = run("sfdisk", "--list-types", "--label", label).splitlines()[2:]
    return {line.split()[0]: line.split(maxsplit=1)[1] for line in lines if line}
