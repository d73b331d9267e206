"""A finished tree, on its way to outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.element.environment import without_services
from stages.layers.store import Store
from stages.plan.plan import Plan
from stages.redaction.redaction import Redaction

DESCRIBED = "described.json"


@dataclass(frozen=True)
class FinishedTree:
    """A tree and what outputs need to know of it: ``titles`` name the stage that made each layer of ``chain``."""

    plan: Plan
    chain: tuple[str, ...]
    titles: Mapping[str, str]
    redaction: Redaction = field(default_factory=Redaction)

    @property
    def epoch(self) -> int:
        """SOURCE_DATE_EPOCH in seconds."""
        return int(self.plan.environment["SOURCE_DATE_EPOCH"])

    def told_variables(self) -> dict[str, str]:
        """The variables that may change a result, as they may be told: without secrets."""
        variables = without_services(self.plan.environment)
        redaction = self.redaction
        return variables if redaction.is_empty else redaction.shown(variables)

    @property
    def release(self) -> str:
        """The distribution's release, as the elements have it ("" where they have none)."""
        return self.plan.environment.get("DIB_RELEASE", "")


def layer_titles(store: Store, keys: Sequence[str]) -> dict[str, str]:
    """Which stage made which layer, for the history of an image."""
    here: set[str] = set()
    records = (store.find(key, here) for key in keys)
    return {record.layer: record.title for record in records if record and record.layer}


MANIFEST = "/usr/share/dib-ctr/manifest.json"  # in each image: what is in it


def manifest(described: Mapping[str, Any]) -> bytes:
    """The image's own list of what is in it."""
    fields = ("name", "version", "architecture")
    packages = [{field: package[field] for field in fields} for package in described["packages"]]
    shown = {name: described[name] for name in ("name", "arch", "epoch", "asked", "elements")}
    return (json.dumps({**shown, "packages": packages}, indent=1, sort_keys=True) + "\n").encode()
