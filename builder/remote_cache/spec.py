"""What ``--cache-from`` and ``--cache-to`` say, spelled as BuildKit spells it: ``type=registry,ref=HOST/NAME:TAG``."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.errors import UsageError
from blockdev.core.suggest import nearest
from builder.registry.push import Reference, parse_reference

MODES = ("min", "max")
TRUE = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
PLACES = {
    "registry": ("ref", "insecure", "registry.insecure", "authfile"),
    "dir": ("path",),
    "local": ("src", "dest"),
    "gha": ("scope",),
}
READING = ("key", "writers")
WRITING = ("mode", "sign", "writer", "force")


@dataclass(frozen=True)
class Spec:
    """One cache, and how it is to be used.

    ``kind`` is registry (with ``reference``), dir (with ``path``) or gha (with ``scope``). Of reading: ``key``, a file
    with public keys, one of which must have signed an entry, and ``writers``, the names that count then. Of writing:
    ``mode``, ``sign``, a file with a private key, ``writer``, the name that goes into signed entries, and ``force``:
    write for a pull request from a fork, too.
    """

    text: str
    kind: str
    reference: Reference | None = None
    insecure: bool = False
    authfile: Path | None = None
    path: Path = Path()
    scope: str = ""
    key: Path | None = None
    writers: tuple[str, ...] = ()
    mode: str = "min"
    sign: Path | None = None
    writer: str = ""
    force: bool = False

    @property
    def name(self) -> str:
        """The cache for a person."""
        if self.kind == "registry":
            return str(self.reference)
        return str(self.path) if self.kind == "dir" else f"GitHub's cache ({self.scope})"


def parse(text: str, *, writing: bool) -> Spec:
    """One option's text; raises UsageError that says what to write."""
    option = "--cache-to" if writing else "--cache-from"
    fields = next(csv.reader([text])) if text else []
    pairs: dict[str, str] = {}
    if len(fields) == 1 and "=" not in fields[0]:
        pairs = {"type": "registry", "ref": fields[0]}
        fields = []
    for field in fields:
        name, separator, value = field.partition("=")
        if not separator or not value:
            raise UsageError(f"{option} {text!r}: {field!r} is not NAME=VALUE", hint=EXAMPLE)
        if name in pairs:
            raise UsageError(f"{option} {text!r} names {name} twice", hint=EXAMPLE)
        pairs[name] = value
    kind = pairs.pop("type", "")
    if kind not in PLACES:
        hint = nearest(kind, PLACES) or f"there is: {', '.join(PLACES)}"
        raise UsageError(f"{option} {text!r}: {kind!r} is no type of cache", hint=hint)
    names = (*PLACES[kind], *(WRITING if writing else READING))
    for name in pairs:
        if name not in names:
            hint = nearest(name, names) or f"there is: {', '.join(names)}"
            raise UsageError(f"{option} {text!r}: a cache of type {kind} has no {name}", hint=hint)
    spec = _spec(text, kind, pairs, option)
    if spec.writers and not spec.key:
        raise UsageError(f"{option} {text!r}: names of writers count in signed entries only", hint="add key=FILE")
    if spec.writer and not spec.sign:
        raise UsageError(f"{option} {text!r}: a writer's name counts in signed entries only", hint="add sign=FILE")
    if spec.mode not in MODES:
        raise UsageError(f"{option} {text!r}: {spec.mode!r} is no mode", hint="mode=min or mode=max")
    return spec


EXAMPLE = "type=registry,ref=HOST/NAME:TAG or type=dir,path=DIR"


def _spec(text: str, kind: str, pairs: Mapping[str, str], option: str) -> Spec:
    def needed(*names: str) -> str:
        value = next((pairs[name] for name in names if name in pairs), "")
        if not value:
            raise UsageError(f"{option} {text!r} has no {names[0]}", hint=f"add {names[0]}=")
        return value

    def truth(name: str) -> bool:
        if pairs.get(name, "no") not in TRUE:
            raise UsageError(f"{option} {text!r}: {name} is true or false", hint=f"{name}=true")
        return TRUE[pairs.get(name, "no")]

    return Spec(
        text=text,
        kind="dir" if kind == "local" else kind,
        reference=parse_reference(needed("ref")) if kind == "registry" else None,
        insecure=truth("insecure") or truth("registry.insecure"),
        authfile=Path(pairs["authfile"]) if "authfile" in pairs else None,
        path=Path(needed("path", "dest", "src")) if kind in ("dir", "local") else Path(),
        scope=pairs.get("scope", "dib-ctr"),
        key=Path(pairs["key"]) if "key" in pairs else None,
        writers=tuple(pairs["writers"].split("+")) if "writers" in pairs else (),
        mode=pairs.get("mode", "min"),
        sign=Path(pairs["sign"]) if "sign" in pairs else None,
        writer=pairs.get("writer", ""),
        force=truth("force"),
    )


def parse_all(texts: Sequence[str], *, writing: bool) -> tuple[Spec, ...]:
    """All texts of one option, in order."""
    return tuple(parse(text, writing=writing) for text in texts)
