"""The keys of an images file, in one table: what the reader takes, and the JSON schema that editors take.

``docs/images.schema.json`` is what :func:`json_schema` gives (JSON Schema, draft 2020-12); a test holds one against the
other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TEXT, TEXTS, FLAG, NUMBER, MAP = "a text", "a list of texts", "true or false", "a whole number", "a map of texts"
OUTPUTS, MATRIX = "a list of outputs", "a matrix"
KINDS_OF_FAILURES = ("network", "any")
FIRMWARE = ("true", "false", "bios", "uefi", "both")
SIZE = r"[0-9]+(\.[0-9]+)? ?(MiB|GiB)"


@dataclass(frozen=True)
class Key:
    """One key: its kind, what it is for, and whether what an image says is added to what it extends.

    ``keys`` are those that a map may have (none: any), ``choices`` the texts that a value may be.
    """

    kind: str
    about: str
    joins: bool = False
    keys: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    pattern: str = ""


# The names of `dib-ctr build`'s own options for disks.
DISK_KEYS = (
    *("image-size", "image-extra-size", "root-label", "root-fs", "mkfs-options", "mkfs-journal-size"),
    *("max-online-resize", "block-device", "privileged"),
)
RETRIES: dict[str, Key] = {
    "times": Key(NUMBER, "how often a failed build is tried again"),
    "after": Key(TEXT, "which failures", choices=KINDS_OF_FAILURES),
    "wait": Key(NUMBER, "seconds before the first of these, twice as long before each further one"),
}
NEEDS: dict[str, Key] = {
    "cpus": Key(NUMBER, "processors that the build fills"),
    "memory": Key(TEXT, "memory that the build takes", pattern=SIZE),
}
IMAGE: dict[str, Key] = {
    "extends": Key(TEXTS, "the images whose keys this one begins with, the last one first to be heard"),
    "abstract": Key(FLAG, "only there to be extended"),
    "matrix": Key(MATRIX, "one image for each combination of values; include and exclude as in GitHub Actions"),
    "name": Key(TEXT, "the image's name"),
    "elements": Key(TEXTS, "the elements", joins=True),
    "elements-path": Key(TEXTS, "folders of elements, beside this file", joins=True),
    "from": Key(TEXT, "an image to begin with"),
    "arch": Key(TEXTS, "the architecture; several make one image of them all"),
    "release": Key(TEXT, "the distribution's release"),
    "variables": Key(MAP, "elements' variables", joins=True),
    "secrets": Key(TEXTS, "names of variables that are secret", joins=True),
    "packages": Key(TEXTS, "packages to install", joins=True),
    "outputs": Key(OUTPUTS, "what to write"),
    "dest": Key(TEXT, "the folder for outputs, below that of --dest"),
    "disk": Key(MAP, "options of disks", joins=True, keys=DISK_KEYS),
    "slim": Key(TEXT, "a policy of what to leave out, or no"),
    "documents": Key(FLAG, "whether SBOMs and provenance are written"),
    "offline": Key(FLAG, "without a network"),
    "snapshot": Key(TEXT, "packages of this time"),
    "lock": Key(TEXT, "write a lock to this file, below the folder of --dest"),
    "locked": Key(TEXT, "build what this lock names"),
    "cache-from": Key(TEXTS, "caches to read layers from"),
    "cache-to": Key(TEXTS, "caches to write layers to"),
    "push": Key(TEXT, "a registry's HOST/NAME:TAG to push to"),
    "load": Key(FLAG, "put the image into the engine's own images, too"),
    "boot-test": Key(TEXT, "start a machine from the disk image", choices=FIRMWARE),
    "retries": Key(MAP, "what to do after a failure; a number is that of the times", keys=tuple(RETRIES)),
    "needs": Key(MAP, "what the build takes of a machine", joins=True, keys=tuple(NEEDS)),
}
INNER = {"retries": RETRIES, "needs": NEEDS}  # the keys of maps whose values are no plain texts
NOT_IN_DEFAULTS = ("extends", "abstract", "matrix", "name")
TOP = {
    "defaults": "what every image begins with",
    "images": "the images by name",
}

_TEXT: dict[str, Any] = {"type": ["string", "number", "boolean"]}
_TRUTHS = {"true": True, "false": False}
_WHOLE = r"^[0-9]+$"


def _of_key(key: Key, inner: dict[str, Key] | None) -> dict[str, Any]:
    """The schema of one key's value. A text may look like a number or a truth: YAML would read it so."""
    if key.choices:
        found: dict[str, Any] = {"enum": [*key.choices, *(_TRUTHS[text] for text in key.choices if text in _TRUTHS)]}
    elif key.kind == TEXTS:
        found = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
    elif key.kind == FLAG:
        found = {"enum": [True, False, "true", "false"]}
    elif key.kind == NUMBER:
        found = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": _WHOLE}]}
    elif key.kind == MAP:
        found = {"type": "object", "additionalProperties": _TEXT}
        if inner is not None:
            properties = {name: _of_key(one, None) for name, one in inner.items()}
            found = {"type": "object", "additionalProperties": False, "properties": properties}
        elif key.keys:
            found = {"type": "object", "additionalProperties": False, "properties": dict.fromkeys(key.keys, _TEXT)}
    elif key.kind == OUTPUTS:
        kind = {"properties": {"type": {"type": "string"}}, "required": ["type"]}
        output = {"type": "object", **kind, "additionalProperties": _TEXT}
        found = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"anyOf": [{"type": "string"}, output]}}]}
    elif key.kind == MATRIX:
        entries = {"type": "array", "items": {"type": "object", "minProperties": 1, "additionalProperties": _TEXT}}
        axis = {"anyOf": [_TEXT, {"type": "array", "minItems": 1, "items": _TEXT}]}
        found = {"type": "object", "properties": {"include": entries, "exclude": entries}, "additionalProperties": axis}
    else:
        found = {"type": "string", "pattern": f"^{key.pattern}$"} if key.pattern else dict(_TEXT)
    return {"description": key.about, **found}


def json_schema() -> dict[str, Any]:
    """The schema of an images file of dib-ctr's own form (diskimage-builder's, a list, has none)."""
    properties = {name: _of_key(key, INNER.get(name)) for name, key in IMAGE.items()}
    times = {"type": "integer", "minimum": 0}
    properties["retries"] = {"description": IMAGE["retries"].about, "anyOf": [times, properties["retries"]]}
    shared = {name: schema for name, schema in properties.items() if name not in NOT_IN_DEFAULTS}
    image = {"type": ["object", "null"], "additionalProperties": False, "properties": properties}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "images for dib-ctr build -f",
        "type": "object",
        "required": ["images"],
        "additionalProperties": False,
        "properties": {
            "defaults": {
                "description": TOP["defaults"],
                "type": ["object", "null"],
                "additionalProperties": False,
                "properties": shared,
            },
            "images": {
                "description": TOP["images"],
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$"},
                "additionalProperties": image,
            },
        },
    }
