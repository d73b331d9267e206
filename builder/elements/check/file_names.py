"""Names in an element's folder that are nearly those that mean something: nobody reads such a file or folder."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from builder.elements.check.finding import WARNING, Finding
from stages.element.hooks import PHASE_FOLDERS, SCRIPT_NAME
from stages.element.package_installs import OLD_LIST
from stages.element.resolve import Element

OWN_DISK = "block-device.d"  # a phase of diskimage-builder's, before disks were described
FOLDERS = (*PHASE_FOLDERS, OWN_DISK, "environment.d", "bin", "static")
FILES = (
    *("element-deps", "element-provides", "package-installs.yaml", "package-installs.json", "pkg-map", "svc-map"),
    *("image-config.yaml", "caches.yaml", "secret-variables", "build-image", "block-device-default.yaml"),
)
# Written otherwise, though not mistyped.
_MEANT = {
    "finalize": "finalise.d",
    "pre-finalize": "pre-finalise.d",
    "package-installs.yml": "package-installs.yaml",
    "package-install.yml": "package-installs.yaml",
}
_OTHER = re.compile(r"block-device-[a-z0-9]+\.yaml\Z|.*(~|\.(orig|rej|bak|swp|pyc|md|rst|py))\Z")
# What another element of the image needs for this one's files to have an effect.
_NEEDED = (
    (
        re.compile(r"package-installs\.(yaml|json)\Z|(pre-install|install|post-install)\.d/" + OLD_LIST),
        "package-installs",
    ),
    (re.compile(r"source-repository-[^/]*\Z"), "source-repositories"),
    (re.compile(r"static/"), "install-static"),
    (re.compile(r"install\.d/[^/]+-[^/]+-install/"), "install-types"),
)


def _letters(name: str) -> str:
    """A name as it is compared: without what people write now this way and now that."""
    return re.sub(r"[^a-z]", "", name.lower().removesuffix(".d"))


def _meant(name: str, names: Collection[str]) -> str:
    """Which known name this one may be, or ""."""
    plain = name.lower().removesuffix(".d")
    if plain in _MEANT:
        return _MEANT[plain]
    letters = {_letters(each): each for each in names}
    near = get_close_matches(_letters(name), letters, n=1, cutoff=0.84)
    return letters[near[0]] if near else ""


def check(element: Element, paths: Mapping[str, Path]) -> Iterator[Finding]:
    """A warning for each folder that may be meant as a phase's, and each top-level file that nobody reads.

    ``paths`` are the element's files. A name that a text of the element names is what it was meant to be.
    """
    folders = sorted({path.partition("/")[0] for path in paths if "/" in path} - {*FOLDERS})
    files = sorted(path for path in paths if "/" not in path and path not in FILES and not _OTHER.match(path))
    odd = [(name, meant) for name in folders if (meant := _meant(name, FOLDERS))]
    odd += [(name, meant) for name in files if (meant := _meant(name, FILES))]
    for name, meant in odd:
        if not _is_named(name, paths):
            kind = "folder" if name in folders else "file"
            text = f"no build reads the {kind} {name}; did you mean {meant!r}?"
            yield Finding(WARNING, "misspelt", element.name, element.path / name, 0, text)


def left_out(element: Element, paths: Mapping[str, Path]) -> Iterator[Finding]:
    """A warning for each script of a phase that no build has."""
    for path, file in paths.items():
        folder, _, name = path.partition("/")
        if folder == OWN_DISK and SCRIPT_NAME.match(name) and os.access(file, os.X_OK):
            text = f"no build runs {path}: disks are described in block-device-default.yaml, and made last"
            yield Finding(WARNING, "left-out", element.name, file, 0, text)


def _is_named(name: str, paths: Mapping[str, Path]) -> bool:
    """Does one of the element's own scripts or files speak of this name?"""
    written = re.compile(rb"/" + re.escape(name.encode()) + rb"\b|\b" + re.escape(name.encode()) + rb"/")
    others = (file for path, file in paths.items() if path.partition("/")[0] != name and not _is_prose(path))
    return any(written.search(file.read_bytes()) for file in others if file.is_file())


def _is_prose(path: str) -> bool:
    return path.upper().startswith("README")


def without_effect(element: Element, paths: Mapping[str, Path], image: Collection[str]) -> Iterator[Finding]:
    """A warning for files that only an element reads which is not among those of the image."""
    for pattern, needed in _NEEDED:
        path = next((path for path in paths if pattern.match(path)), "")
        if path and needed not in image:
            text = f"{path} has no effect: the element {needed}, which reads it, is not in the image"
            yield Finding(WARNING, "without-effect", element.name, paths[path], 0, text)
