"""The NoCloud seed: a small disk labelled CIDATA, from which cloud-init takes what is new for each machine.

After cloud-init's documentation, "NoCloud", "Source files".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from blockdev.core.errors import UsageError
from qemu import fat12

LABEL = "CIDATA"
META, USER = "meta-data", "user-data"
FILES = (META, USER, "vendor-data", "network-config")
_NO_FOLDING = 1 << 30  # characters; a key stays on one line
_PLAIN_USER = b"#cloud-config\n{}\n"


def read(folder: Path) -> dict[str, bytes]:
    """The seed's files in a folder, by name; UsageError where there is no user-data."""
    files = {name: (folder / name).read_bytes() for name in FILES if (folder / name).is_file()}
    if USER not in files:
        raise UsageError(
            f"there is no {USER} in the seed's folder", where=str(folder), hint=f"a seed has: {', '.join(FILES)}"
        )
    return files


def contents(own: Mapping[str, bytes], key: str = "") -> dict[str, bytes]:
    """The files of a whole seed: what was given, and ``key`` (a line of authorized_keys) for the image's own user.

    The key goes to the meta-data, as a cloud's would, so that the user-data stay what they are. The instance's id
    follows from the contents: another seed is another instance.
    """
    metadata = _metadata(own.get(META, b""))
    if key:
        metadata["public-keys"] = [*_keys(metadata.get("public-keys")), key]
    files = {USER: _PLAIN_USER, **own}
    digest = hashlib.sha256(repr((sorted(files.items()), key)).encode()).hexdigest()
    whole = {"instance-id": f"dib-ctr-{digest[:12]}", "local-hostname": "dib-ctr-boot", **metadata}
    return {**files, META: yaml.safe_dump(whole, sort_keys=True, width=_NO_FOLDING).encode()}


def _metadata(text: bytes) -> dict[str, Any]:
    try:
        metadata = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"the seed's {META} is no YAML: {error}") from error
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise UsageError(f"the seed's {META} is no mapping", hint="instance-id: SOMETHING")
    return metadata


def _keys(value: object) -> list[str]:
    """The keys among the meta-data: a list, a mapping by name, or lines."""
    if isinstance(value, dict):
        return [key for entry in value.values() for key in _keys(entry)]
    if isinstance(value, list):
        return [str(key) for key in value]
    return value.splitlines() if isinstance(value, str) else []


def write(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write the seed's disk; the same files give the same bytes. UsageError where they are too large."""
    try:
        path.write_bytes(fat12.image(LABEL, files))
    except ValueError as error:
        raise UsageError(f"the seed is too large: {error}", hint="let user-data fetch what is large") from error
    return path
