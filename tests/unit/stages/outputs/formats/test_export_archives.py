"""The archives of a layout, and the small decisions about names, platforms and compression."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from blockdev.core.errors import BuildError, UsageError
from stages.outputs.formats import oci_layout
from stages.outputs.formats.archives import compression, reference, write_docker_archive, write_oci_archive, write_tar
from stages.outputs.formats.oci_image import platform
from stages.outputs.formats.oci_layout import date
from stages.outputs.formats.tools import command, explained, feed

EPOCH = 1_700_000_000


def put(folder: Path, data: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    (folder / "blobs/sha256" / digest).write_bytes(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A small layout such as umoci leaves it (its layers are no real archives: nothing here reads them)."""
    folder = tmp_path / "image"
    (folder / "blobs/sha256").mkdir(parents=True)
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    layers = [put(folder, b"lowest"), put(folder, b"upper"), put(folder, b"lowest")]
    config = put(folder, json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {}}).encode())
    manifest = put(folder, json.dumps({"schemaVersion": 2, "config": config, "layers": layers}).encode())
    index = {"schemaVersion": 2, "manifests": [{**manifest, "annotations": {"org.opencontainers.image.ref.name": "x"}}]}
    (folder / "index.json").write_text(json.dumps(index))
    return folder


LAYERS = [
    oci_layout.Layer(
        "application/vnd.oci.image.layer.v1.tar+gzip", "sha256:" + "1" * 64, 7, "sha256:" + "2" * 64, "one"
    ),
    oci_layout.Layer(
        "application/vnd.oci.image.layer.v1.tar+zstd", "sha256:" + "3" * 64, 8, "sha256:" + "4" * 64, "two"
    ),
]


def test_complete_rewrites_each_digest(image: Path) -> None:
    before = oci_layout.read_image(image)
    oci_layout.complete(image, LAYERS, {"architecture": "arm", "os": "linux", "variant": "v7"}, "2026-01-01T00:00:00Z")
    after = oci_layout.read_image(image)
    assert after.config["variant"] == "v7"
    assert after.config["rootfs"] == {"type": "layers", "diff_ids": ["sha256:" + "2" * 64, "sha256:" + "4" * 64]}
    assert [entry["created_by"] for entry in after.config["history"]] == ["one", "two"]
    assert after.manifest["layers"][1] == {
        "mediaType": "application/vnd.oci.image.layer.v1.tar+zstd",
        "digest": "sha256:" + "3" * 64,
        "size": 8,
    }
    assert after.index["manifests"][0]["platform"] == {"architecture": "arm", "os": "linux", "variant": "v7"}
    assert after.index["manifests"][0]["annotations"] == before.index["manifests"][0]["annotations"]
    assert after.digest != before.digest
    for descriptor in (after.index["manifests"][0], after.manifest["config"]):
        data = oci_layout.blob(image, descriptor["digest"]).read_bytes()
        assert descriptor["digest"] == "sha256:" + hashlib.sha256(data).hexdigest()
        assert descriptor["size"] == len(data)


def test_the_same_documents_in_another_order_of_keys_give_the_same_digest(image: Path) -> None:
    index = json.loads((image / "index.json").read_text())
    (image / "index.json").write_text(json.dumps(dict(reversed(index.items()))))
    oci_layout.complete(image, LAYERS, {"os": "linux", "architecture": "arm"}, "2026-01-01T00:00:00Z")
    first = oci_layout.read_image(image).digest
    oci_layout.complete(image, LAYERS, {"architecture": "arm", "os": "linux"}, "2026-01-01T00:00:00Z")
    assert oci_layout.read_image(image).digest == first


def test_settle_makes_modes_and_times_equal(image: Path) -> None:
    (image / "index.json").chmod(0o600)
    (image / "blobs").chmod(0o700)
    assert oci_layout.settle(image, EPOCH) == sum(path.stat().st_size for path in image.rglob("*") if path.is_file())
    assert {path.stat().st_mode & 0o7777 for path in image.rglob("*") if path.is_file()} == {0o644}
    assert {path.stat().st_mode & 0o7777 for path in image.rglob("*") if path.is_dir()} == {0o755}
    assert {path.stat().st_mtime for path in [image, *image.rglob("*")]} == {EPOCH}


def test_oci_archive_begins_with_layout_and_index(image: Path) -> None:
    out = io.BytesIO()
    write_oci_archive(image, out, epoch=EPOCH)
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        members = tar.getmembers()
    names = [member.name for member in members]
    assert names[:4] == ["oci-layout", "index.json", "blobs", "blobs/sha256"]
    assert names[4:] == sorted(f"blobs/sha256/{path.name}" for path in (image / "blobs/sha256").iterdir())
    assert {(member.uid, member.gid, member.mtime) for member in members} == {(0, 0, EPOCH)}


def test_docker_archive_names_config_layers_and_tag(image: Path) -> None:
    out = io.BytesIO()
    write_docker_archive(image, out, name="Debian-Minimal", epoch=EPOCH)
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        assert tar.getnames()[0] == "manifest.json"
        manifest_file = tar.extractfile("manifest.json")
        assert manifest_file is not None
        (manifest,) = json.load(manifest_file)
        contents = []
        for name in manifest["Layers"]:
            layer = tar.extractfile(name)
            assert layer is not None
            contents.append(layer.read())
        assert manifest["Config"] in tar.getnames()
        assert len(tar.getnames()) == len(set(tar.getnames()))
    assert manifest["RepoTags"] == ["debian-minimal:latest"]
    assert contents == [b"lowest", b"upper", b"lowest"]


@pytest.mark.parametrize(
    ("name", "tag", "expected"),
    [
        ("debian-minimal", "latest", "debian-minimal:latest"),
        ("Debian", "Trixie", "debian:Trixie"),
        ("debian:13", "latest", "debian:13"),
        ("localhost:5000/a/b", "1", "localhost:5000/a/b:1"),
        ("localhost/a_b:T-1", "1", "localhost/a_b:T-1"),
    ],
)
def test_reference(name: str, tag: str, expected: str) -> None:
    assert reference(name, tag) == expected


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/", "ä", "a:b:c", "a:-"])
def test_no_reference(name: str) -> None:
    with pytest.raises(UsageError):
        reference(name)


@pytest.mark.parametrize(
    ("name", "option", "expected"),
    [
        ("a.tar", "", "none"),
        ("a.tar.gz", "", "gzip"),
        ("a.tgz", "", "gzip"),
        ("a.tar.zst", "", "zstd"),
        ("a.tar.zst", "gzip", "gzip"),
        ("a.tar.gz", "none", "none"),
    ],
)
def test_compression(name: str, option: str, expected: str) -> None:
    assert compression(name, option) == expected


def test_unknown_compression() -> None:
    with pytest.raises(UsageError, match="lzma"):
        compression("a.tar", "lzma")


def test_gzip_leaves_no_trace_of_the_moment(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("content")
    archives = []
    for name in ("one", "two"):
        write_tar(tree, tmp_path / name, epoch=EPOCH, compress="gzip")
        archives.append((tmp_path / name).read_bytes())
    assert archives[0] == archives[1]
    with tarfile.open(tmp_path / "one", "r:gz") as tar:
        assert tar.getnames() == [".", "file"]


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    script = command("sh", tmp_path).bake("-c", "echo no room >&2; exit 3")
    endless = bytes(1 << 22)

    def write(pipe: Any) -> Any:
        while True:  # ends with the broken pipe
            pipe.write(endless)

    with pytest.raises(BuildError, match="no room"), explained("sh"):
        feed(script, write)


def test_a_source_that_fails_ends_the_command(tmp_path: Path) -> None:
    script = command("sh", tmp_path).bake("-c", "echo $$ > pid; cat; exec sleep 1000")

    def write(pipe: Any) -> Any:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            pipe.write(b"x")
        raise BuildError("a file became shorter")

    with pytest.raises(BuildError, match="became shorter"):
        feed(script, write)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_missing_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="no-such-command is not installed"):
        command("no-such-command", tmp_path)


def test_platform() -> None:
    assert platform("amd64") == ("amd64", "")
    assert platform("arm64") == ("arm64", "v8")
    assert platform("armhf") == ("arm", "v7")
    assert platform("ppc64el") == ("ppc64le", "")


def test_date() -> None:
    assert date(EPOCH) == "2023-11-14T22:13:20Z"
