"""One layout over several architectures: what is in it, that it is the same each time, that its sources stay."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdev.core.errors import BuildError
from builder.build.image_index import _images, manifests, write_index
from builder.describe.referrers import Document, attach, read
from stages.outputs.formats import media_types, oci_layout

EPOCH = 1_700_000_000
REF = "org.opencontainers.image.ref.name"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def make(folder: Path, arch: str, *, variant: str = "", version: str = "13", **extra: str) -> Path:
    """A layout with one image for this architecture, as a build writes it."""
    (folder / "blobs/sha256").mkdir(parents=True)
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    platform = {"architecture": arch, "os": "linux", **({"variant": variant} if variant else {})}
    data = f"layer of {arch}".encode()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    oci_layout.blob(folder, digest).write_bytes(data)
    config = {**platform, "created": oci_layout.date(EPOCH), "rootfs": {"type": "layers", "diff_ids": [digest]}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.MANIFEST,
        "config": oci_layout.put(folder, {"mediaType": "application/vnd.oci.image.config.v1+json"}, config),
        "layers": [{"mediaType": LAYER, "digest": digest, "size": len(data)}],
        "annotations": {"org.opencontainers.image.title": "tiny", "org.opencontainers.image.version": version},
    }
    entry = oci_layout.put(folder, {"mediaType": media_types.MANIFEST}, manifest)
    index = {
        "schemaVersion": 2,
        "mediaType": media_types.INDEX,
        "manifests": [{**entry, "platform": platform, "annotations": {REF: "latest", **extra}}],
    }
    (folder / "index.json").write_bytes(oci_layout.encode(index))
    oci_layout.settle(folder, EPOCH)
    return folder


def looks(folder: Path) -> dict[str, tuple[bytes, int, float]]:
    """Everything that can be seen of a folder: content, modes, dates."""
    return {
        str(path.relative_to(folder)): (
            b"" if path.is_dir() else path.read_bytes(),
            stat.S_IMODE(path.stat().st_mode),
            path.stat().st_mtime,
        )
        for path in (folder, *folder.rglob("*"))
    }


def document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    return [make(tmp_path / arch, arch) for arch in ("arm64", "amd64")]


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    old = os.umask(request.param)
    yield request.param
    os.umask(old)


def test_the_layout_has_one_entry_an_index_sorted_by_platform(pair: list[Path], tmp_path: Path) -> None:
    digest = write_index(pair, tmp_path / "both", "1.0", EPOCH)
    (entry,) = document(tmp_path / "both/index.json")["manifests"]
    assert entry["digest"] == digest
    assert (entry["mediaType"], entry["annotations"]) == (media_types.INDEX, {REF: "1.0"})
    data = oci_layout.blob(tmp_path / "both", digest).read_bytes()
    assert (f"sha256:{hashlib.sha256(data).hexdigest()}", len(data)) == (digest, entry["size"])
    listed = json.loads(data)["manifests"]
    assert [each["platform"]["architecture"] for each in listed] == ["amd64", "arm64"]
    assert [each["digest"] for each in listed] == [oci_layout.read_image(each).digest for each in reversed(pair)]
    assert all("annotations" not in each for each in listed)


def test_the_order_of_the_parts_and_the_umask_change_nothing(pair: list[Path], tmp_path: Path, umask: int) -> None:
    write_index(pair, tmp_path / "one", "1", EPOCH)
    write_index(pair[::-1], tmp_path / "two", "1", EPOCH)
    assert looks(tmp_path / "one") == looks(tmp_path / "two")
    for name, (_, mode, changed) in looks(tmp_path / "one").items():
        assert changed == EPOCH, name
        assert mode == (0o755 if (tmp_path / "one" / name).is_dir() else 0o644), name


@pytest.mark.parametrize("epoch", [EPOCH, EPOCH + 5])
def test_the_parts_stay_as_they_are(pair: list[Path], tmp_path: Path, epoch: int) -> None:
    before = [looks(each) for each in pair]
    write_index(pair, tmp_path / "both", "1", epoch)
    assert [looks(each) for each in pair] == before
    blob = oci_layout.read_image(pair[0]).layer_digests[0]
    shared = oci_layout.blob(pair[0], blob).samefile(oci_layout.blob(tmp_path / "both", blob))
    assert shared is (epoch == EPOCH)


def test_annotations_are_carried_over(tmp_path: Path) -> None:
    parts = [
        make(tmp_path / "a", "amd64", version="13", note="fast"),
        make(tmp_path / "b", "arm64", version="12"),
    ]
    digest = write_index(parts, tmp_path / "both", "1", EPOCH)
    index = document(oci_layout.blob(tmp_path / "both", digest))
    assert index["annotations"] == {
        "org.opencontainers.image.title": "tiny",
        "org.opencontainers.image.created": "2023-11-14T22:13:20Z",
    }
    assert [each.get("annotations") for each in index["manifests"]] == [{"note": "fast"}, None]


def test_what_is_attached_to_each_comes_along(pair: list[Path], tmp_path: Path) -> None:
    for part in pair:
        attach(part, [Document("application/x+json", "application/x+json", "x.json", part.name.encode())])
    write_index(pair, tmp_path / "both", "1", EPOCH)
    for part in pair:
        ((_, data),) = read(tmp_path / "both", oci_layout.read_image(part).digest)
        assert data == part.name.encode()


def test_manifests_of_either_shape(pair: list[Path], tmp_path: Path) -> None:
    write_index(pair, tmp_path / "both", "1", EPOCH)
    single = [manifests(each)[0]["digest"] for each in reversed(pair)]
    assert [each["digest"] for each in manifests(tmp_path / "both")] == single
    write_index([tmp_path / "both", make(tmp_path / "third", "riscv64")], tmp_path / "three", "1", EPOCH)
    assert [each["digest"] for each in manifests(tmp_path / "three")][:2] == single
    assert len(manifests(tmp_path / "three")) == 3


def test_what_cannot_be_joined_is_refused_and_leaves_nothing(pair: list[Path], tmp_path: Path) -> None:
    before = looks(tmp_path)
    for layouts, target, word in (
        ([*pair, pair[0]], "both", "two images are for linux/arm64"),
        (pair, "arm64", "is there already"),
    ):
        with pytest.raises(BuildError, match=word) as raised:
            write_index(layouts, tmp_path / target, "1", EPOCH)
        assert raised.value.hint
    assert looks(tmp_path) == before
    index = document(pair[0] / "index.json")
    del index["manifests"][0]["platform"]
    (pair[0] / "index.json").write_bytes(oci_layout.encode(index))
    with pytest.raises(BuildError, match="for which platform"):
        write_index(pair, tmp_path / "both", "1", EPOCH)


def test_a_part_that_is_torn_leaves_nothing(pair: list[Path], tmp_path: Path) -> None:
    oci_layout.blob(pair[1], oci_layout.read_image(pair[1]).digest).unlink()
    names = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(FileNotFoundError):
        write_index(pair, tmp_path / "both", "1", EPOCH)
    assert {path.name for path in tmp_path.iterdir()} == names


PLATFORM = st.tuples(st.sampled_from(["amd64", "arm", "arm64", "s390x"]), st.sampled_from(["", "v6", "v7", "v8"]))


@given(platforms=st.lists(PLATFORM, min_size=1, max_size=6))
def test_each_platform_is_there_once_or_it_is_refused(
    tmp_path_factory: pytest.TempPathFactory, platforms: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    parts = [make(folder / str(number), arch, variant=each) for number, (arch, each) in enumerate(platforms)]
    if len(set(platforms)) < len(platforms):
        with pytest.raises(BuildError, match="two images"):
            _images(parts)
    else:
        found = [(each["platform"]["architecture"], each["platform"].get("variant", "")) for each in _images(parts)]
        assert found == sorted(platforms)
