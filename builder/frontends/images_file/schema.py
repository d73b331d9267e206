"""The keys of an images file, in one table: what the reader takes, and the JSON schema that editors take.

``docs/images.schema.json`` is what :func:`json_schema` gives (JSON Schema, draft 2020-12); a test holds one against the
other.
"""

from __future__ import annotations

from typing import Any

from builder.request.option_table import OPTIONS
from builder.request.option_table.option import Form, InMap, Key, Kind, Option

KINDS_OF_FAILURES = ("network", "any")
SIZE = r"[0-9]+(\.[0-9]+)? ?(MiB|GiB)"


def key_of(option: Option) -> tuple[str, Key] | None:
    """The key that an option has in a file, with its name; None where it has none of its own."""
    key = option.doors.images_file
    return (key.name or option.long.removeprefix("--"), key) if isinstance(key, Key) else None


def _in_map(name: str) -> tuple[str, ...]:
    """The keys of a map whose values are options, those that are true or false last."""
    options = [option for option in OPTIONS if option.doors.images_file == InMap(name)]
    return tuple(option.long.removeprefix("--") for option in sorted(options, key=lambda each: each.kind is Kind.FLAG))


RETRIES: dict[str, Key] = {
    "times": Key(Form.NUMBER, "how often a failed build is tried again"),
    "after": Key(Form.TEXT, "which failures", choices=KINDS_OF_FAILURES),
    "wait": Key(Form.NUMBER, "seconds before the first of these, twice as long before each further one"),
}
NEEDS: dict[str, Key] = {
    "cpus": Key(Form.NUMBER, "processors that the build fills"),
    "memory": Key(Form.TEXT, "memory that the build takes", pattern=SIZE),
}
# What an image says that is no option of its build.
_OWN: dict[str, Key] = {
    "extends": Key(Form.TEXTS, "the images whose keys this one begins with, the last one first to be heard"),
    "abstract": Key(Form.FLAG, "only there to be extended"),
    "matrix": Key(Form.MATRIX, "one image for each combination of values; include and exclude as in GitHub Actions"),
    "elements": Key(Form.TEXTS, "the elements", joins=True),
    "disk": Key(Form.MAP, "options of disks", joins=True, keys=_in_map("disk")),
    "retries": Key(Form.MAP, "what to do after a failure; a number is that of the times", keys=tuple(RETRIES)),
    "needs": Key(Form.MAP, "what the build takes of a machine", joins=True, keys=tuple(NEEDS)),
}
# How the documentation shows them; a key that is not here comes after these.
_ORDER = (
    *("extends", "abstract", "matrix", "name", "elements", "elements-path", "from", "arch", "release", "variables"),
    *("secrets", "packages", "outputs", "dest", "disk", "slim", "documents", "offline", "snapshot", "lock", "locked"),
    *("cache-from", "cache-to", "push", "load", "boot-test", "retries", "needs"),
)
_KEYS = {**_OWN, **dict(filter(None, map(key_of, OPTIONS)))}
IMAGE: dict[str, Key] = {
    name: _KEYS[name] for name in sorted(_KEYS, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))
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
        schema: dict[str, Any] = {"enum": [*key.choices, *(_TRUTHS[text] for text in key.choices if text in _TRUTHS)]}
    elif key.kind == Form.TEXTS:
        schema = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
    elif key.kind == Form.FLAG:
        schema = {"enum": [True, False, "true", "false"]}
    elif key.kind == Form.NUMBER:
        schema = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": _WHOLE}]}
    elif key.kind == Form.MAP:
        schema = {"type": "object", "additionalProperties": _TEXT}
        if inner is not None:
            properties = {name: _of_key(inner_key, None) for name, inner_key in inner.items()}
            schema = {"type": "object", "additionalProperties": False, "properties": properties}
        elif key.keys:
            schema = {"type": "object", "additionalProperties": False, "properties": dict.fromkeys(key.keys, _TEXT)}
    elif key.kind == Form.OUTPUTS:
        kind = {"properties": {"type": {"type": "string"}}, "required": ["type"]}
        output = {"type": "object", **kind, "additionalProperties": _TEXT}
        schema = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"anyOf": [{"type": "string"}, output]}}]}
    elif key.kind == Form.MATRIX:
        entries = {"type": "array", "items": {"type": "object", "minProperties": 1, "additionalProperties": _TEXT}}
        axis = {"anyOf": [_TEXT, {"type": "array", "minItems": 1, "items": _TEXT}]}
        schema = {
            "type": "object",
            "properties": {"include": entries, "exclude": entries},
            "additionalProperties": axis,
        }
    else:
        schema = {"type": "string", "pattern": f"^{key.pattern}$"} if key.pattern else dict(_TEXT)
    return {"description": key.about, **schema}


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
