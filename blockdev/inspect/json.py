"""An inspection as data for machines; docs/inspect.md lists the keys, which stay as they are."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from blockdev.inspect.model import Content, Group, Inspection, Partition, Region

VERSION = 1


def to_data(found: Inspection) -> dict[str, Any]:
    """Plain dictionaries, lists, strings and numbers; sizes and places are in bytes."""
    boot = found.boot
    return {
        "version": VERSION,
        "image": {"path": found.path, "format": found.format, "size": found.size, "allocated": found.allocated},
        "table": {
            "kind": found.table.kind,
            "id": found.table.id,
            "sector_size": found.table.sector_size,
            "partitions": [_partition(one, found) for one in found.table.partitions],
            "remarks": list(found.table.remarks),
        },
        "content": next((_place(place) for place in found.places if place.partition is None), None),
        "boot": {
            **{name: {"possible": way.possible, "why": way.why} for name, way in boot.ways.items()},
            "code": asdict(boot.code),
            "core": asdict(boot.core) if boot.core else None,
            "loaders": [asdict(one) for one in boot.loaders],
            "remarks": list(boot.remarks),
        },
        "system": asdict(found.system) if found.system else None,
        "remarks": list(found.remarks),
    }


def _partition(one: Partition, found: Inspection) -> dict[str, Any]:
    place = next((place for place in found.places if place.partition == one), None)
    data = asdict(one)
    data["attributes"] = list(one.attributes)
    return {**data, **(_place(place) if place else {"content": None, "group": None})}


def _place(place: Region) -> dict[str, Any]:
    return {"content": _content(place.content), "group": _group(place.group) if place.group else None}


def _content(content: Content) -> dict[str, Any]:
    return {**asdict(content), "remarks": list(content.remarks)}


def _group(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "uuid": group.uuid,
        "size": group.size,
        "free": group.free,
        "volumes": [{**asdict(one), "content": _content(one.content)} for one in group.volumes],
        "remarks": list(group.remarks),
    }
