"""An inspection as data for machines; docs/inspect.md lists the keys, which stay as they are."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from blockdev.inspect.model import Content, Group, Inspection, Partition, Region

VERSION = 1


def to_data(inspection: Inspection) -> dict[str, Any]:
    """Plain dictionaries, lists, strings and numbers; sizes and places are in bytes."""
    boot = inspection.boot
    return {
        "version": VERSION,
        "image": {
            "path": inspection.path,
            "format": inspection.format,
            "size": inspection.size,
            "allocated": inspection.allocated,
        },
        "table": {
            "kind": inspection.table.kind,
            "id": inspection.table.id,
            "sector_size": inspection.table.sector_size,
            "partitions": [_partition(item, inspection) for item in inspection.table.partitions],
            "remarks": list(inspection.table.remarks),
        },
        "content": next((_region(region) for region in inspection.places if region.partition is None), None),
        "boot": {
            **{name: {"possible": way.possible, "why": way.why} for name, way in boot.ways.items()},
            "code": asdict(boot.code),
            "core": asdict(boot.core) if boot.core else None,
            "loaders": [asdict(item) for item in boot.loaders],
            "remarks": list(boot.remarks),
        },
        "system": asdict(inspection.system) if inspection.system else None,
        "remarks": list(inspection.remarks),
    }


def _partition(partition: Partition, inspection: Inspection) -> dict[str, Any]:
    region = next((region for region in inspection.places if region.partition == partition), None)
    data = asdict(partition)
    data["attributes"] = list(partition.attributes)
    return {**data, **(_region(region) if region else {"content": None, "group": None})}


def _region(region: Region) -> dict[str, Any]:
    return {"content": _content(region.content), "group": _group(region.group) if region.group else None}


def _content(content: Content) -> dict[str, Any]:
    return {**asdict(content), "remarks": list(content.remarks)}


def _group(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "uuid": group.uuid,
        "size": group.size,
        "free": group.free,
        "volumes": [{**asdict(volume), "content": _content(volume.content)} for volume in group.volumes],
        "remarks": list(group.remarks),
    }
