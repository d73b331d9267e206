"""The YAML files that configure: block devices, the image, package caches, and whatever else ends in .yaml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from blockdev.configuration import read as blockdevices
from blockdev.configuration.check import check as check_nodes
from blockdev.core import yaml_document
from blockdev.core.errors import UsageError
from builder.elements.check.finding import ERROR, WARNING, Finding, refused, remarked
from builder.elements.check.package_files import INSTALLS
from stages.element import cache_rules, image_config
from stages.element.resolve import Element


def _text(file: Path, element: str, code: str) -> str | Finding:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return Finding(ERROR, code, element, file, 0, f"this file cannot be read: {error}")


def check_block_devices(element: Element) -> Iterator[Finding]:
    """What is wrong in ``block-device-*.yaml``, as far as it can be told without a tree to put on the disk."""
    for file in sorted(element.path.glob("block-device-*.yaml")):
        text = _text(file, element.name, "block-device")
        if isinstance(text, Finding):
            yield text
            continue
        try:
            configuration = blockdevices.read(text, str(file))
            check_nodes(configuration)
        except UsageError as error:
            yield refused(error, "block-device", element.name, file)
            continue
        for remark in configuration.remarks:
            yield remarked(remark, "block-device", element.name, file)


def check_image(element: Element) -> Iterator[Finding]:
    """What is wrong in ``image-config.yaml``."""
    file = element.path / image_config.FILE
    if not file.is_file():
        return
    text = _text(file, element.name, "image-config")
    if isinstance(text, Finding):
        yield text
        return
    try:
        image_config.parse(text, str(file))
    except UsageError as error:
        yield refused(error, "image-config", element.name, file)


def check_caches(element: Element) -> Iterator[Finding]:
    """What is wrong in ``caches.yaml``: a list of maps, each with a name and a path in the tree."""
    file = element.path / cache_rules.FILE
    if not file.is_file():
        return
    text = _text(file, element.name, "caches")
    if isinstance(text, Finding):
        yield text
        return
    try:
        cache_rules.parse_cache_rules(text, str(file))
    except UsageError as error:
        yield refused(error, "caches", element.name, file)


def check_other(element: Element, paths: Mapping[str, Path]) -> Iterator[Finding]:
    """A warning for every other file ``*.yaml`` that no YAML reader takes; ``paths`` are the element's files."""
    for path, file in paths.items():
        has_reader = path in (image_config.FILE, cache_rules.FILE, *INSTALLS) or path.startswith("block-device-")
        if has_reader or not path.endswith((".yaml", ".yml")):
            continue
        try:
            text = file.read_text(encoding="utf-8")
            yaml_document.check_size(text, str(file))
            list(yaml.safe_load_all(text))
        except UsageError as error:
            yield refused(error, "yaml", element.name, file)
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            mark = getattr(error, "problem_mark", None)
            text = f"this is no YAML: {getattr(error, 'problem', None) or error}"
            yield Finding(WARNING, "yaml", element.name, file, mark.line + 1 if mark else 0, text)


def check(element: Element, paths: Mapping[str, Path]) -> Iterator[Finding]:
    """All of the above for one element."""
    yield from check_block_devices(element)
    yield from check_image(element)
    yield from check_caches(element)
    yield from check_other(element, paths)
