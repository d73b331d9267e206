"""Documents attached to the image of a layout: what lies there afterwards, and what other tools make of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from blockdev.core.errors import BuildError
from builder.describe.referrers import Document, attach, read
from stages.outputs.formats import media_types

BILL = Document("application/spdx+json", "application/spdx+json", "x.spdx.json", b'{"spdxVersion":"SPDX-2.3"}')
NOTE = Document(
    "application/vnd.in-toto+json", "application/vnd.in-toto+json", "x.provenance.json", b'{"_type":"\xc3\xa4"}'
)
CREATED, EPOCH = "2025-11-22T08:26:40Z", 1763800000


def put(layout: Path, data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    (blobs / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data), **more}


def put_image(layout: Path, arch: str = "amd64", created: str = CREATED) -> dict[str, Any]:
    layer = bytes(1024)  # an empty tar
    rootfs = {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}
    config = {"architecture": arch, "os": "linux", "created": created, "config": {}, "rootfs": rootfs}
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.MANIFEST,
        "config": put(layout, json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": [put(layout, layer, "application/vnd.oci.image.layer.v1.tar")],
    }
    platform = {"architecture": arch, "os": "linux"}
    return put(layout, json.dumps(manifest).encode(), media_types.MANIFEST, platform=platform)


def finish(layout: Path, *entries: dict[str, Any]) -> Path:
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (layout / "index.json").write_text(
        json.dumps({"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": entries})
    )
    return layout


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    folder = tmp_path / "x.oci"
    entry = put_image(folder)
    return finish(folder, {**entry, "annotations": {"org.opencontainers.image.ref.name": "latest"}})


def entry_of(layout: Path) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads((layout / "index.json").read_bytes())["manifests"][0]
    return entry


def blob(layout: Path, descriptor: dict[str, Any]) -> bytes:
    """A blob that is what its descriptor says."""
    data: bytes = (layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()
    assert (len(data), "sha256:" + hashlib.sha256(data).hexdigest()) == (descriptor["size"], descriptor["digest"])
    return data


def content(layout: Path) -> dict[str, tuple[bytes, int, float]]:
    return {
        file.relative_to(layout).as_posix(): (
            b"" if file.is_dir() else file.read_bytes(),
            stat.S_IMODE(file.stat().st_mode),
            file.stat().st_mtime,
        )
        for file in (layout, *layout.rglob("*"))
    }


def test_an_artifact_names_its_subject(layout: Path) -> None:
    image = entry_of(layout)
    attach(layout, [BILL, NOTE])
    listing = json.loads((layout / "referrers/sha256" / f"{image['digest'][7:]}.json").read_bytes())
    assert (listing["schemaVersion"], listing["mediaType"]) == (2, media_types.INDEX)
    assert [entry["artifactType"] for entry in listing["manifests"]] == [BILL.artifact_type, NOTE.artifact_type]
    for entry, document in zip(listing["manifests"], (BILL, NOTE), strict=True):
        assert entry["mediaType"] == media_types.MANIFEST
        manifest = json.loads(blob(layout, entry))
        assert (manifest["mediaType"], manifest["artifactType"]) == (media_types.MANIFEST, document.artifact_type)
        assert manifest["subject"] == {name: image[name] for name in ("mediaType", "digest", "size")}
        assert manifest["annotations"] == entry["annotations"] == {"org.opencontainers.image.created": CREATED}
        assert manifest["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
        assert blob(layout, manifest["config"]) == b"{}"
        (layer,) = manifest["layers"]
        assert (layer["mediaType"], blob(layout, layer)) == (document.media_type, document.data)
        assert layer["annotations"] == {"org.opencontainers.image.title": document.title}
    assert [data for _, data in read(layout, image["digest"])] == [BILL.data, NOTE.data]


def test_the_index_keeps_its_one_entry(layout: Path) -> None:
    before = (layout / "index.json").read_bytes()
    attach(layout, [BILL, NOTE])
    assert (layout / "index.json").read_bytes() == before
    assert {path.name for path in layout.iterdir()} == {"blobs", "index.json", "oci-layout", "referrers"}


def test_nothing_is_attached_to_an_image_as_it_comes(layout: Path) -> None:
    assert read(layout, entry_of(layout)["digest"]) == []


def test_attached_again_or_in_another_order_is_the_same(layout: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.oci"
    shutil.copytree(layout, other)
    attach(layout, [BILL, NOTE])
    before = content(layout)
    attach(layout, [NOTE])
    assert content(layout) == before
    attach(other, [NOTE])
    attach(other, [BILL])
    assert content(other) == before


@pytest.mark.parametrize("umask", [0o077, 0o000])
def test_neither_umask_nor_clock_show(layout: Path, umask: int) -> None:
    previous = os.umask(umask)
    try:
        attach(layout, [BILL])
    finally:
        os.umask(previous)
    found = content(layout)
    assert {mode for name, (_, mode, _) in found.items() if (layout / name).is_dir()} == {0o755}
    assert {mode for name, (_, mode, _) in found.items() if not (layout / name).is_dir()} == {0o644}
    assert {time for _, _, time in found.values()} == {EPOCH}


def test_of_several_architectures_one_is_named_by_its_digest(tmp_path: Path) -> None:
    folder = tmp_path / "x.oci"
    images = [put_image(folder), put_image(folder, "arm64", "2025-11-23T00:00:00Z")]
    index = {"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": images}
    whole = put(folder, json.dumps(index).encode(), media_types.INDEX)
    finish(folder, whole)
    for image, document in zip(images, (BILL, NOTE), strict=True):
        attach(folder, [document], image["digest"])
    attach(folder, [BILL])
    assert [data for _, data in read(folder, images[0]["digest"])] == [BILL.data]
    assert [data for _, data in read(folder, images[1]["digest"])] == [NOTE.data]
    ((descriptor, _),) = read(folder, whole["digest"])
    assert json.loads(blob(folder, descriptor))["subject"]["mediaType"] == media_types.INDEX
    assert descriptor["annotations"] == {"org.opencontainers.image.created": "2025-11-23T00:00:00Z"}


def test_no_such_image(layout: Path) -> None:
    with pytest.raises(BuildError, match="has no manifest sha256:00"):
        attach(layout, [BILL], "sha256:" + "00" * 32)
    finish(layout, put_image(layout), put_image(layout, "arm64"))
    with pytest.raises(BuildError, match="has 2 images"):
        attach(layout, [BILL])
    assert not (layout / "referrers").exists()


@pytest.mark.skipif(not shutil.which("skopeo"), reason="no skopeo here")
def test_skopeo_reads_the_image_and_the_artifacts(layout: Path, tmp_path: Path) -> None:
    image = entry_of(layout)
    attach(layout, [BILL, NOTE])
    shown = subprocess.run(["skopeo", "inspect", f"oci:{layout}"], check=True, capture_output=True).stdout
    assert json.loads(shown)["Digest"] == image["digest"]
    for descriptor, data in read(layout, image["digest"]):
        # A layout whose entry is the artifact: skopeo takes it for what it is and copies it with its digest.
        artifact = tmp_path / descriptor["digest"][7:]
        artifact.mkdir()
        (artifact / "blobs").symlink_to(layout / "blobs")
        finish(artifact, descriptor)
        copy = tmp_path / f"copy-{artifact.name}"
        command = ["skopeo", "--insecure-policy", "copy", "--preserve-digests", f"oci:{artifact}", f"dir:{copy}"]
        subprocess.run(command, check=True, capture_output=True)
        assert "sha256:" + hashlib.sha256((copy / "manifest.json").read_bytes()).hexdigest() == descriptor["digest"]
        assert (copy / hashlib.sha256(data).hexdigest()).read_bytes() == data
