"""Images made by hand, file by file, for tests of what reads them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EPOCH = 1_700_000_000
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True)
class Item:
    """A member of a layer."""

    name: str
    content: bytes = b""
    type: bytes = tarfile.REGTYPE
    target: str = ""
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)
    mtime: float = EPOCH
    headers: Mapping[str, str] = field(default_factory=dict)
    device: tuple[int, int] = (0, 0)
    user: str = ""


def folder(name: str, mode: int = 0o755) -> Item:
    """A folder."""
    return Item(name, type=tarfile.DIRTYPE, mode=mode)


def link(name: str, target: str) -> Item:
    """A symbolic link."""
    return Item(name, type=tarfile.SYMTYPE, target=target, mode=0o777)


def hard(name: str, target: str) -> Item:
    """A hard link."""
    return Item(name, type=tarfile.LNKTYPE, target=target)


def tar(items: Sequence[Item]) -> bytes:
    """The tar archive of a layer."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for item in items:
            info = tarfile.TarInfo(item.name)
            info.type, info.linkname, info.mode, info.mtime = item.type, item.target, item.mode, item.mtime
            info.uid, info.gid = item.owner
            info.uname = item.user
            info.devmajor, info.devminor = item.device
            info.pax_headers = dict(item.headers)
            info.size = len(item.content)
            archive.addfile(info, io.BytesIO(item.content))
    return out.getvalue()


def packed(data: bytes) -> bytes:
    """gzip, the same each time."""
    return gzip.compress(data, mtime=0)


def digest(data: bytes) -> str:
    """sha256:..."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def put(layout: Path, data: bytes | dict[str, Any], media_type: str) -> dict[str, Any]:
    """Write a blob; its descriptor."""
    content = data if isinstance(data, bytes) else json.dumps(data).encode()
    place = layout / "blobs" / Path(*digest(content).split(":"))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return {"mediaType": media_type, "digest": digest(content), "size": len(content)}


Compress = Callable[[bytes], bytes]


def manifest(
    layout: Path,
    layers: Sequence[Sequence[Item] | bytes],
    *,
    compress: Compress = packed,
    arch: str = "amd64",
    media_type: str = LAYER,
    **more: Any,
) -> dict[str, Any]:
    """Write an image's blobs; the descriptor of its manifest. A layer is its members, or its tar archive as it is."""
    tars = [layer if isinstance(layer, bytes) else tar(layer) for layer in layers]
    made = [{"created_by": f"layer {number + 1}"} for number in range(len(tars))]
    rootfs = {"type": "layers", "diff_ids": [digest(data) for data in tars]}
    config = {"os": "linux", "architecture": arch, "rootfs": rootfs, "history": made, **more}
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": put(layout, config, CONFIG),
        "layers": [put(layout, compress(data), media_type) for data in tars],
    }
    return put(layout, document, MANIFEST)


def index(layout: Path, entries: Sequence[dict[str, Any]]) -> Path:
    """Write what makes a folder a layout."""
    layout.mkdir(parents=True, exist_ok=True)
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries)}
    (layout / "index.json").write_text(json.dumps(document))
    return layout


def image(layout: Path, *layers: Sequence[Item] | bytes, **options: Any) -> Path:
    """A layout of one image."""
    return index(layout, [manifest(layout, layers, **options)])


def archive(layout: Path, path: Path) -> Path:
    """The layout as an archive."""
    with tarfile.open(path, "w") as out:
        out.add(layout, ".")
    return path
