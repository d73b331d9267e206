"""Reading layouts and archives: which image, which tree, and what is said of those that are damaged."""

from __future__ import annotations

import gzip
import json
import tarfile
from pathlib import Path

import pytest

from blockdev.core.errors import BuildError, UsageError
from builder.inspection.image import open_image
from builder.inspection.tree import Tree
from tests.unit import handmade_images as made
from tests.unit.handmade_images import Item, folder, hard, link


def tree(path: Path, *layers: list[Item]) -> Tree:
    """The merged tree of these layers, through a layout on disk."""
    return open_image(made.image(path / "image.oci", *layers)).contents(hashes=True, keep=lambda _: True).tree


def names(found: Tree) -> dict[str, str]:
    """The kinds of what is there, and what is in the files."""
    return {
        path: (entry.content or b"").decode() if entry.kind == "file" else entry.kind
        for path, entry in found.entries.items()
        if path != "/"
    }


# -- merging ---------------------------------------------------------------------------------------------


def test_a_whiteout_hides_what_lower_layers_have_only(tmp_path: Path) -> None:
    """Wherever it stands in its layer, before or after what has the same name."""
    lower = [folder("a"), Item("a/x", b"old"), Item("a/y", b"old"), Item("b", b"old")]
    for upper in (
        [Item("a/.wh.x"), Item("a/x", b"new"), Item(".wh.b")],
        [Item("a/x", b"new"), Item("a/.wh.x"), Item(".wh.b")],
    ):
        assert names(tree(tmp_path, lower, upper)) == {"/a": "folder", "/a/x": "new", "/a/y": "old"}


def test_an_opaque_whiteout_hides_all_that_lower_layers_have_in_a_folder(tmp_path: Path) -> None:
    """In that folder alone, and the folder stays."""
    lower = [folder("a"), Item("a/x"), folder("a/b"), Item("a/b/z"), Item("ab")]
    for upper in (
        [Item("a/new", b"n"), folder("a"), Item("a/.wh..wh..opq")],
        [folder("a"), Item("a/.wh..wh..opq"), Item("a/new", b"n")],
    ):
        assert names(tree(tmp_path, lower, upper)) == {"/a": "folder", "/a/new": "n", "/ab": ""}


def test_a_folder_removed_and_made_again_is_empty(tmp_path: Path) -> None:
    """The whiteout of a folder takes all that is in it."""
    lower = [folder("a"), folder("a/b"), Item("a/b/c")]
    assert names(tree(tmp_path, lower, [folder("a"), Item("a/.wh.b"), folder("a/b"), Item("a/b/d", b"d")])) == {
        "/a": "folder",
        "/a/b": "folder",
        "/a/b/d": "d",
    }


def test_kinds_replace_one_another(tmp_path: Path) -> None:
    """A file where a folder was, a folder where a file or a link was; a folder over a folder keeps what is in it."""
    lower = [folder("d"), Item("d/x"), Item("f", b"f"), link("l", "d"), folder("k"), Item("k/x", b"x")]
    upper = [Item("d", b"now a file"), folder("f"), folder("l"), folder("k", 0o700)]
    found = tree(tmp_path, lower, upper)
    assert names(found) == {"/d": "now a file", "/f": "folder", "/k": "folder", "/k/x": "x", "/l": "folder"}
    assert found.entries["/k"].mode == 0o700


def test_a_name_below_a_link_goes_where_the_link_leads(tmp_path: Path) -> None:
    """As in every tree with a merged /usr; never out of the tree."""
    lower = [folder("usr"), folder("usr/bin"), link("bin", "usr/bin"), link("out", "/../../../usr")]
    upper = [Item("bin/tool", b"t"), Item("out/lib", b"l"), Item("../../etc", b"e")]
    assert names(tree(tmp_path, lower, upper)) == {
        "/bin": "link",
        "/etc": "e",
        "/out": "link",
        "/usr": "folder",
        "/usr/bin": "folder",
        "/usr/bin/tool": "t",
        "/usr/lib": "l",
    }
    assert names(tree(tmp_path, lower, upper, [Item("bin/.wh.tool")])).get("/usr/bin/tool") is None


def test_hard_links_share_one_file(tmp_path: Path) -> None:
    """Also with a file of a lower layer, and after its first name has gone; its bytes count once."""
    found = tree(tmp_path, [Item("a", b"four"), hard("b", "a")], [hard("c", "a"), Item(".wh.a")])
    assert names(found) == {"/b": "four", "/c": "four"}
    assert found.entries["/b"].source == found.entries["/c"].source
    assert [(path, entry.length) for path, entry in found.files()] == [("/b", 4), ("/c", 0)]


def test_everything_a_header_tells_is_there(tmp_path: Path) -> None:
    """Owner, mode, time to the nanosecond, extended attributes with any bytes, devices, pipes, odd names."""
    binary = b"\x01\0\xff\xfe".decode("utf-8", "surrogateescape")
    headers = {"SCHILY.xattr.security.capability": binary, "SCHILY.xattr.user.a": "b", "mtime": "1700000000.123456789"}
    odd = b"na\xffme".decode("utf-8", "surrogateescape")
    found = tree(
        tmp_path,
        [
            Item("f", b"abc", mode=0o4755, owner=(1000, 70000), headers=headers),
            Item("c", type=tarfile.CHRTYPE, device=(1, 3)),
            Item("b", type=tarfile.BLKTYPE, device=(8, 0)),
            Item("p", type=tarfile.FIFOTYPE),
            Item(odd, b"odd"),
            Item("x" * 300, b"long"),
        ],
    ).entries
    file = found["/f"]
    assert (file.mode, file.uid, file.gid, file.length) == (0o4755, 1000, 70000, 3)
    assert file.mtime == 1_700_000_000_123_456_789
    assert file.xattrs == {"security.capability": b"\x01\0\xff\xfe", "user.a": b"b"}
    assert file.sha256 == made.digest(b"abc")[7:]
    assert [(found[path].kind, found[path].target) for path in ("/c", "/b", "/p")] == [
        ("character device", "1:3"),
        ("block device", "8:0"),
        ("pipe", ""),
    ]
    assert found["/" + odd].content == b"odd"
    assert found["/" + "x" * 300].content == b"long"


def test_folders_that_no_layer_has_are_implied(tmp_path: Path) -> None:
    """A layer may leave them out."""
    found = tree(tmp_path, [Item("a/b/c", b"x")]).entries
    assert [found[path].implied for path in ("/a", "/a/b", "/a/b/c")] == [True, True, False]


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([hard("b", "a")], "/b is a hard link to a, which is not there"),
        ([folder("a"), hard("b", "a")], "/b is a hard link to a, which is a folder"),
        ([link("a", "b"), link("b", "a"), Item("a/x")], "go in circles"),
        ([Item("./", type=tarfile.SYMTYPE, target="x")], "the root is a link"),
        ([Item("a", type=b"V")], "of a kind that no layer can have"),
    ],
)
def test_what_no_layer_can_have(tmp_path: Path, items: list[Item], said: str) -> None:
    """It is an error that names the layer."""
    with pytest.raises(BuildError, match=said) as caught:
        tree(tmp_path, [Item("fine")], items)
    assert "layer 2" in str(caught.value)


# -- the ways an image is kept ----------------------------------------------------------------------------

LAYERS = ([folder("etc"), Item("etc/a", b"a" * 5000)], [Item("etc/b", b"b")])
TREE = {"/etc": "folder", "/etc/a": "a" * 5000, "/etc/b": "b"}


def in_members(data: bytes) -> bytes:
    """gzip in several members, one of them empty, zeros at the end."""
    return b"".join(gzip.compress(part) for part in (data[:700], b"", data[700:701], data[701:])) + bytes(512)


@pytest.mark.parametrize("compress", [made.packed, in_members, bytes])
def test_compression_is_told_by_the_data(tmp_path: Path, compress: made.Compress) -> None:
    """Whatever the media type says: gzip, in one member or several, or none."""
    path = made.image(tmp_path / "image.oci", *LAYERS, compress=compress)
    found = open_image(path).contents(keep=lambda _: True)
    assert names(found.tree) == TREE
    assert found.layer_bytes == tuple(len(made.tar(layer)) for layer in LAYERS)


def test_an_archive_is_as_good_as_a_folder(tmp_path: Path) -> None:
    """An oci-archive gives the same image."""
    layout = made.image(tmp_path / "image.oci", *LAYERS)
    archive = open_image(made.archive(layout, tmp_path / "image.tar"))
    assert archive.digest == open_image(layout).digest
    assert [layer.created_by for layer in archive.layers] == ["layer 1", "layer 2"]
    assert names(archive.contents(keep=lambda _: True).tree) == TREE


def docker_archive(path: Path, folder: Path, *, linked: bool = False) -> Path:
    """What `docker save` writes: a configuration, layers without compression, manifest.json."""
    folder.mkdir(exist_ok=True)
    tars = [made.tar(layer) for layer in LAYERS]
    config = {
        "os": "linux",
        "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [made.digest(data) for data in tars]},
        "history": [{"created_by": "one"}, {"created_by": "ENV x", "empty_layer": True}, {"created_by": "two"}],
    }
    data = json.dumps(config).encode()
    name = made.digest(data)[7:] + ".json"
    (folder / name).write_bytes(data)
    for number, each in enumerate(tars):
        (folder / f"{number}.tar").write_bytes(each)
    layers = [f"{number}.tar" for number in range(len(tars))]
    if linked:
        (folder / "first").mkdir()
        (folder / "first/layer.tar").symlink_to("../0.tar")
        layers[0] = "first/layer.tar"
    (folder / "manifest.json").write_text(json.dumps([{"Config": name, "RepoTags": ["x:y"], "Layers": layers}]))
    with tarfile.open(path, "w") as out:
        for file in sorted(folder.rglob("*"), reverse=True):
            out.add(file, str(file.relative_to(folder)), recursive=False)
    return path


@pytest.mark.parametrize("linked", [False, True])
def test_a_docker_archive(tmp_path: Path, linked: bool) -> None:
    """Its digest is its configuration's; steps without a layer are left out; a layer may be a link to another."""
    image = open_image(docker_archive(tmp_path / "image.tar", tmp_path / "parts", linked=linked))
    assert names(image.contents(keep=lambda _: True).tree) == TREE
    assert [layer.created_by for layer in image.layers] == ["one", "two"]
    assert (tmp_path / "parts" / (image.digest[7:] + ".json")).exists()


def test_an_image_without_layers(tmp_path: Path) -> None:
    """Has the root alone."""
    assert names(tree(tmp_path)) == {}


# -- platforms -----------------------------------------------------------------------------------------


def several(path: Path) -> Path:
    """A layout for amd64, arm64 and armhf, with an index in the index and an artifact beside the images."""
    entries = [made.manifest(path, [[Item(arch)]], arch=arch) for arch in ("amd64", "arm64")]
    entries.append(made.manifest(path, [[Item("arm")]], arch="arm", variant="v7"))
    attached = {**made.manifest(path, [[Item("sbom")]]), "annotations": {"vnd.docker.reference.type": "x"}}
    inner = made.put(path, {"schemaVersion": 2, "manifests": [*entries, attached]}, made.INDEX)
    artifact = made.put(path, {"config": {"mediaType": "application/x"}, "layers": []}, made.MANIFEST)
    return made.index(path, [inner, artifact])


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("amd64", "amd64"),
        ("arm64", "arm64"),
        ("linux/arm64", "arm64"),
        ("linux/arm64/v8", "arm64"),
        ("armhf", "arm"),
        ("linux/arm/v7", "arm"),
    ],
)
def test_the_platform_is_chosen(tmp_path: Path, wanted: str, found: str) -> None:
    """By Debian's name, or OCI's."""
    assert names(open_image(several(tmp_path), wanted).contents(keep=lambda _: True).tree) == {"/" + found: ""}


def test_by_default_it_is_this_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the only one there is."""
    monkeypatch.setattr("builder.inspection.image.native", lambda: "arm64")
    assert open_image(several(tmp_path / "several")).platform == "linux/arm64"
    assert open_image(made.image(tmp_path / "one", [], arch="s390x")).platform == "linux/s390x"


def test_a_platform_that_is_not_there(tmp_path: Path) -> None:
    """The error names those that are."""
    with pytest.raises(UsageError, match="no image for riscv64") as caught:
        open_image(several(tmp_path), "riscv64")
    assert "linux/amd64, linux/arm/v7, linux/arm64" in str(caught.value)


def test_several_images_for_one_platform(tmp_path: Path) -> None:
    """Which is meant cannot be known."""
    made.index(tmp_path, [made.manifest(tmp_path, [[Item(name)]]) for name in "ab"])
    with pytest.raises(UsageError, match="several images for linux/amd64"):
        open_image(tmp_path, "amd64")


# -- what is no image, or damaged --------------------------------------------------------------------------


def test_what_is_no_image(tmp_path: Path) -> None:
    """A wrong path is a usage error which says what an image is."""
    (tmp_path / "text").write_text("text " * 1000)
    (tmp_path / "empty").touch()
    (tmp_path / "root.tar").write_bytes(made.tar([Item("etc/passwd")]))
    (tmp_path / "root.tar.gz").write_bytes(made.packed(made.tar([Item("index.json")])))
    for name, said in (
        ("nothing", "there is no"),
        ("text", "neither a folder nor an archive"),
        ("empty", "neither a folder nor an archive"),
        ("root.tar", "neither an index.json nor a manifest.json"),
        ("root.tar.gz", "it is compressed"),
        ("", "neither an index.json nor a manifest.json"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            open_image(tmp_path / name)
        assert caught.value.hint


def blob_of_layer(path: Path, number: int = 0) -> Path:
    """The file of a layer."""
    image = open_image(path)
    return path / image.layers[number].blob.name


def damaged(path: Path) -> BuildError:
    """The error of reading everything."""
    with pytest.raises(BuildError) as caught:
        open_image(path).contents()
    assert str(path) in str(caught.value)
    return caught.value


def test_damaged_layers(tmp_path: Path) -> None:
    """Changed in the middle or at the end, cut off, missing: each says what it is."""
    path = made.image(tmp_path / "image.oci", *LAYERS)
    file = blob_of_layer(path)
    whole = file.read_bytes()
    for place in (0, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        assert "is damaged: its content has the digest" in damaged(path).what
    file.write_bytes(whole[:-5])
    assert f"has {len(whole) - 5} bytes where {len(whole)} are announced" in damaged(path).what
    file.unlink()
    assert "is missing" in damaged(path).what


@pytest.mark.parametrize(
    ("compress", "said"),
    [
        (lambda data: made.packed(data)[:-9], "end in the middle"),
        (lambda data: made.packed(data)[:10] + b"\xff" * 50, "gzip data of a layer are broken"),
        (lambda data: made.packed(data) + b"rubbish", "gzip data of a layer are broken"),
        (lambda data: made.packed(data[:-2000]), "not the one of the image's configuration"),
        (lambda _: b"no tar archive at all" * 100, "no sound tar archive"),
    ],
)
def test_layers_that_are_wrong_though_their_digest_is_right(tmp_path: Path, compress: made.Compress, said: str) -> None:
    """What was wrong when it was written."""
    path = made.image(tmp_path / "image.oci", *LAYERS, compress=compress)
    assert said in damaged(path).what


def test_a_broken_header_is_not_the_end_of_an_archive(tmp_path: Path) -> None:
    """Nothing after it may get lost in silence."""
    data = bytearray(made.tar([Item("a", b"a"), Item("b", b"b"), Item("c", b"c")]))
    data[1024 + 150] ^= 1  # in the checksum of the second header
    path = made.image(tmp_path / "image.oci", bytes(data))
    assert "no sound tar archive" in damaged(path).what


def test_damaged_documents(tmp_path: Path) -> None:
    """Each is named; none ends in a traceback."""
    path = made.image(tmp_path / "image.oci", *LAYERS)
    index = path / "index.json"
    sound = index.read_text()
    for text, said in (
        ("{", "index.json is no JSON"),
        ("[]", "index.json is malformed"),
        ('{"manifests": [{"digest": "sha256:../../../etc/passwd", "size": 1}]}', "is no digest"),
        ('{"manifests": 5}', "index.json is malformed"),
        ('{"manifests": []}', "has no image"),
        (sound.replace('"size": ', '"size": 1'), "are announced"),
        (sound.replace("sha256:", "sha999:"), "is no digest"),
    ):
        index.write_text(text)
        assert said in damaged(path).what
    index.write_text(sound)
    config = path / "blobs/sha256" / open_image(path).manifest["config"]["digest"][7:]
    config.write_bytes(config.read_bytes().replace(b"linux", b"xunil"))
    assert "is damaged" in damaged(path).what


def test_a_manifest_with_more_layers_than_its_configuration(tmp_path: Path) -> None:
    """It is malformed."""
    descriptor = made.manifest(tmp_path, LAYERS, rootfs={"type": "layers", "diff_ids": []})
    assert "is malformed" in damaged(made.index(tmp_path, [descriptor])).what


def test_a_layer_that_is_encrypted(tmp_path: Path) -> None:
    """Its media type is named."""
    path = made.image(tmp_path / "image.oci", *LAYERS, media_type=made.LAYER + "+encrypted")
    assert "media type that cannot be read" in damaged(path).what


def test_an_archive_that_was_cut_off(tmp_path: Path) -> None:
    """It is no worse image than one in a folder."""
    layout = made.image(tmp_path / "image.oci", *LAYERS)
    data = made.archive(layout, tmp_path / "image.tar").read_bytes()
    for length in range(600, len(data) - 10240, 700):
        (tmp_path / "cut.tar").write_bytes(data[:length])
        with pytest.raises(BuildError) as caught:
            open_image(tmp_path / "cut.tar").contents()
        assert str(tmp_path / "cut.tar") in str(caught.value)


def test_zstd_without_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Says what to install."""
    path = made.image(tmp_path / "image.oci", [], compress=lambda _: b"\x28\xb5\x2f\xfd rest")
    monkeypatch.setenv("PATH", str(tmp_path))
    error = damaged(path)
    assert "no program here" in error.what
    assert "install zstd" in error.hint
