"""Small texts that would be no end of work are refused at every door, with a sentence and in no time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blockdev.configuration.read import read as read_block_devices
from blockdev.core import yaml_document
from blockdev.core.errors import UsageError
from builder.elements.check.run import check as check_elements
from builder.frontends.images_file.read import is_list
from builder.frontends.images_file.read import read as read_images
from stages.element import cache_rules, image_config
from stages.element.package_installs import read_document
from stages.outputs.slim.policy import parse as parse_policy

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 30))
BOMBS = {
    "aliases of aliases": LAUGHS,
    "merges of merges": MERGES,
    "itself": "a: &a [*a]\n",
    "itself as a key": "&a {*a : 1}\n",
    "nested": "[" * 100_000,
    "nested and closed": "a: " + "[" * 5000 + "]" * 5000,
    "nested mappings": "a: " + "{a: " * 3000 + "}" * 3000,
    "nested by indentation": "".join(f"{' ' * n}a:\n" for n in range(1500)),
    "long": "a: " + "x" * (5 << 20),
    "many": "a:\n" + "- x\n" * 400_000,
}
ODD = {
    "a number without end": "a: " + "9" * 100_000,
    "a number to the base of 60": "a: 1" + ":59" * 20_000,
    "a key without end": "9" * 100_000 + ": a",
    "no date": "a: 2026-99-99",
    "python": "a: !!python/object/apply:os.system ['id']",
    "a key that is a list": "? [a]\n: b",
    "infinite": "a: .inf",
    "binary": "a: !!binary '='",
    "control characters": "a: \x00\x1b[31m",
    "half of a character": 'a: "\\ud800"',
    "tabs": "\ta: b",
}
# Each door: the file's name, and what reads it.
DOORS: dict[str, Callable[[Path], Any]] = {
    "located.yaml": lambda file: yaml_document.read(file.read_text(), str(file)),
    "images.yaml": read_images,
    "list.yaml": is_list,
    "package-installs.yaml": read_document,
    "pkg-map": read_document,
    "caches.yaml": lambda file: cache_rules.parse_cache_rules(file.read_text(), str(file)),
    "image-config.yaml": lambda file: image_config.parse(file.read_text(), str(file)),
    "block-device-default.yaml": lambda file: read_block_devices(file.read_text(), str(file)),
    "policy.yaml": lambda file: parse_policy(file.read_text(), str(file), "own"),
}


# Every bomb at the first two doors, and the first bomb at every door: behind all of them stands the one reader of YAML.
AGAIN = pytest.mark.thorough("five seconds of a processor: the same reader at another door")
BOMBS_AT_DOORS = [
    pytest.param(bomb, door, marks=() if door in tuple(DOORS)[:2] or bomb == next(iter(BOMBS)) else AGAIN)
    for bomb in BOMBS
    for door in DOORS
]


@pytest.mark.parametrize(("bomb", "door"), BOMBS_AT_DOORS)
def test_bombs_are_refused_in_no_time(tmp_path: Path, bomb: str, door: str) -> None:
    file = tmp_path / door
    file.write_text(BOMBS[bomb])
    since = time.process_time()
    with pytest.raises(UsageError) as caught:
        DOORS[door](file)
    assert len(str(caught.value)) < 2000
    assert time.process_time() - since < 20


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("odd", ODD)
def test_odd_values_are_no_fault_of_ours(tmp_path: Path, odd: str, door: str) -> None:
    file = tmp_path / door
    file.write_text(ODD[odd])
    try:
        DOORS[door](file)
    except UsageError as error:
        assert "\x1b" not in error.what


@pytest.mark.parametrize("name", ["any.yaml", "image-config.yaml", "pkg-map", "svc-map", "package-installs.yaml"])
@pytest.mark.parametrize("text", [LAUGHS, "[" * 100_000, '{"a":' * 50_000], ids=["laughs", "nested", "json"])
def test_checking_elements_ends_too(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / name).write_text(text)
    report = check_elements([tmp_path], ["one"])
    assert not report.passed(strict=True)


def test_json_is_bounded() -> None:
    for text in ("[" * 100_000, "[" + "9" * 100_000 + "]", "x" * (5 << 20)):
        with pytest.raises((UsageError, json.JSONDecodeError)):
            yaml_document.json_of(text, "file")


def test_aliases_that_are_few_are_followed() -> None:
    text = "base: &base [1, 2]\nmore: {a: *base, b: *base}\n"
    assert yaml_document.read(text, "file").data == {"base": [1, 2], "more": {"a": [1, 2], "b": [1, 2]}}
