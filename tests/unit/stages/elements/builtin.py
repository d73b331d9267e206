"""The built-in elements by kind, and their snippets, sourced without a build."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from stages.element.hooks import PHASE_FOLDERS
from stages.element.release_facts import built_release
from stages.element.resolve import BUILTIN, OPERATING_SYSTEM, find_elements, resolve

ELEMENTS = find_elements([BUILTIN])
NAMES = sorted(ELEMENTS)
FROM_IMAGE = ("base-image", "containerfile")  # any distribution's
SYSTEMS = tuple(name for name in NAMES if OPERATING_SYSTEM in ELEMENTS[name].provides and name not in FROM_IMAGE)
FROM_IMAGES = tuple(name for name in NAMES if FROM_IMAGE[1] in ELEMENTS[name].deps)
# What belongs to the distributions of a family: all that its operating systems' elements need.
NEEDED = {system: set(resolve([system], ELEMENTS).names) for system in (*SYSTEMS, *FROM_IMAGES)}
LAYOUTS = tuple(name for name in NAMES if "block-device" in ELEMENTS[name].provides)
SCRIPTS = sorted(
    path
    for path in BUILTIN.rglob("*")
    if path.is_file() and path.relative_to(BUILTIN).parts[1] in {*PHASE_FOLDERS, "bin", "machine.d"}
)
SNIPPETS = sorted([*BUILTIN.glob("*/environment.d/*"), *BUILTIN.glob("*/bootloader.d/*")])
MIRRORS = {
    "DIB_CTR_DEBIAN_MIRROR": "http://mirror.invalid/debian",
    "DIB_CTR_DEBIAN_SECURITY_MIRROR": "http://mirror.invalid/debian-security",
    "DIB_CTR_UBUNTU_MIRROR": "http://mirror.invalid/ubuntu",
}


def label(path: Path) -> str:
    """A script as its element and name."""
    return path.relative_to(BUILTIN).as_posix()


def known(elements: Iterable[str], variables: Mapping[str, str]) -> dict[str, str]:
    """What a build knows of the release that these elements and variables say, as variables."""
    folders = [(name, ELEMENTS[name].path) for name in elements]
    return built_release(folders, variables, variables.get("ARCH", "amd64")).facts()


def source(snippet: str, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Source a snippet as a build does and print the exported variables."""
    command = f"set -ue -o pipefail; source {BUILTIN / snippet}; env"
    facts = known([snippet.partition("/")[0]], variables)
    return subprocess.run(
        ["/bin/bash", "-c", command],
        env={"PATH": os.environ["PATH"], **facts, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
