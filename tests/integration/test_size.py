"""What is read from images without unpacking them, beside what other tools make of the same images."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import posixpath
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from blockdev.core.errors import BuildError
from builder.inspection.compare import differences
from builder.inspection.image import ImageFile, open_image
from builder.inspection.size import NO_PACKAGE, measure
from builder.inspection.tree import FILE, FOLDER, LINK
from tests.examples import examples
from tests.integration.command import Command, has
from tests.integration.engine_cases import missing
from tests.unit import handmade_images as made
from tests.unit.handmade_images import Item, folder, hard, link


def umoci(layout: Path, bundle: Path) -> Path | None:
    """The tree that umoci unpacks; None where it refuses to."""
    if os.geteuid() != 0:
        missing("only root can give files their owners")
    if not has("umoci"):
        missing("there is no umoci")
    done = subprocess.run(
        ["umoci", "unpack", "--image", f"{layout}:latest", str(bundle)], capture_output=True, text=True
    )
    return bundle / "rootfs" if done.returncode == 0 else None


# -- merging layers, beside umoci ----------------------------------------------------------------------------

NAMES = ("a", "b", "c")
NAME = st.sampled_from(NAMES)
PATH = st.lists(NAME, min_size=1, max_size=3).map("/".join)
CONTENT = st.sampled_from([b"", b"1", b"22"])
MODE = st.sampled_from([0o600, 0o755, 0o4711])
OWNER = st.sampled_from([(0, 0), (1000, 50)])
TIME = st.sampled_from([0.0, 1e9, made.EPOCH])
TARGET = st.sampled_from(["a", "b", "../c", "/a", "/a/b", "/nowhere", "../../../b"])


def whiteout(path: str) -> Item:
    """It hides the path."""
    above, name = posixpath.split(path)
    return Item(posixpath.join(above, f".wh.{name}"))


ITEM = st.one_of(
    st.builds(Item, PATH, CONTENT, mode=MODE, owner=OWNER, mtime=TIME),
    st.builds(Item, PATH, type=st.just(tarfile.DIRTYPE), mode=MODE, owner=OWNER, mtime=TIME),
    st.builds(Item, PATH, type=st.just(tarfile.DIRTYPE), mode=MODE, owner=OWNER, mtime=TIME),
    st.builds(link, PATH, TARGET),
    st.builds(hard, PATH, PATH),
    st.builds(whiteout, PATH),
    st.builds(lambda path: Item(f"{path}/.wh..wh..opq"), PATH),
)


def consistent(items: list[Item]) -> list[Item]:
    """A layer has each name once, nothing below what is no folder, and no whiteout of what it has itself."""
    kept: dict[str, Item] = {}
    for item in sorted(items, key=lambda item: item.name.count("/")):
        above = posixpath.dirname(item.name)
        parents = [above[:end] for end in range(1, len(above) + 1) if above[end : end + 1] in ("", "/")]
        hidden = posixpath.join(above, posixpath.basename(item.name).removeprefix(".wh."))
        if any(kept[each].type != tarfile.DIRTYPE for each in parents if each in kept):
            continue
        if item.name in kept or hidden in kept or whiteout(item.name).name in kept:
            continue
        if any(whiteout(each).name in kept for each in parents):
            continue
        kept[item.name] = item
    return list(kept.values())


def complete(layer: list[Item]) -> list[Item]:
    """The layer with a folder for each one that its names need, before them."""
    names = {item.name for item in layer}
    needed = {str(parent) for item in layer for parent in Path(item.name).parents} - names - {"."}
    return sorted([*layer, *map(folder, needed)], key=lambda item: item.name.count("/"))


LAYERS = st.lists(st.lists(ITEM, min_size=1, max_size=8).map(consistent), min_size=1, max_size=4)


Seen = tuple[Any, ...]


def seen_on_disk(root: Path) -> dict[str, Seen]:
    """Each path with all that is known of it, and the first name of its file."""
    found: dict[str, Seen] = {}
    first: dict[int, str] = {}
    for path in sorted(root.rglob("*"), key=lambda path: path.parts):
        status, name = path.lstat(), "/" + str(path.relative_to(root))
        value: str | bytes = ""
        if stat.S_ISDIR(status.st_mode):
            kind, same = FOLDER, name
        else:
            kind = LINK if path.is_symlink() else FILE
            value = str(path.readlink()) if kind == LINK else path.read_bytes()
            same = first.setdefault(status.st_ino, name)
        mode = 0 if kind == LINK else stat.S_IMODE(status.st_mode)
        found[name] = (kind, value, same, mode, status.st_uid, status.st_gid, int(status.st_mtime))
    return found


def seen_by_us(image: ImageFile) -> tuple[dict[str, Seen], set[str]]:
    """The same of the merged tree; and which folders are implied: who owns them no layer says."""
    found: dict[str, Seen] = {}
    first: dict[tuple[int, int], str] = {}
    entries = image.contents(keep=lambda _: True).tree.entries
    for name, entry in entries.items():
        if name == "/":
            continue
        value = (entry.content or b"") if entry.kind == FILE else entry.target
        same = name if entry.kind == FOLDER else first.setdefault(entry.source, name)
        mode = 0 if entry.kind == LINK else entry.mode
        found[name] = (entry.kind, value, same, mode, entry.uid, entry.gid, entry.mtime // 10**9)
    return found, {name for name, entry in entries.items() if entry.implied}


@settings(
    max_examples=examples(80), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
@given(LAYERS, st.booleans())
def test_merged_layers_are_what_umoci_unpacks(layers: list[list[Item]], whole: bool) -> None:
    """Whiteouts, links, hard links, one kind replacing another, names below links; and metadata.

    Where layers leave out folders (not ``whole``), what umoci makes of those and their times says nothing.
    """
    layers = [complete(layer) for layer in layers] if whole else layers
    with tempfile.TemporaryDirectory(prefix="dib-ctr-test-") as name:
        entry = made.manifest(Path(name, "image"), layers)
        entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
        layout = made.index(Path(name, "image"), [entry])
        root = umoci(layout, Path(name, "bundle"))
        if root is None:  # a name below a file, a hard link to nothing, links in circles
            event("umoci refuses")
            with contextlib.suppress(BuildError):
                open_image(layout).contents()
        assume(root is not None)
        assert root is not None
        expected = seen_on_disk(root)
        found, implied = seen_by_us(open_image(layout))
        for path in implied & expected.keys():
            expected[path] = found[path] = expected[path][:3]
        if not whole:
            expected, found = (
                {path: each[:-1] if each[0] == FOLDER else each for path, each in tree.items()}
                for tree in (expected, found)
            )
        assert found == expected


# -- a real image ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(open_folder: Path) -> Iterator[Path]:
    """debian-minimal in each form of an image, all from one build."""
    path = open_folder / "size"
    path.mkdir()
    command = Command("host", path / "store", path)
    outputs = ["oci", "oci-archive", "docker-archive"]
    outputs += [f"oci,layers=stages,dest={path}/stages.oci", f"oci,compress=zstd,dest={path}/zstd.oci"]
    command.build(*(word for output in outputs for word in ("-o", output)), "--no-documents", "debian-minimal")
    yield path
    shutil.rmtree(path, ignore_errors=True)


FORMS = ("debian-minimal.oci", "debian-minimal.oci.tar", "debian-minimal.docker.tar", "stages.oci", "zstd.oci")


@pytest.mark.thorough("debian-minimal in six forms: minutes")
@pytest.mark.slow
def test_every_form_has_the_same_tree(built: Path) -> None:
    """One layer or many, gzip, zstd or none, folder or archive."""
    trees = {form: seen_by_us(open_image(built / form))[0] for form in FORMS}
    assert len(trees[FORMS[0]]) > 1000
    for form in FORMS[1:]:
        assert trees[form] == trees[FORMS[0]], form


@pytest.mark.thorough("debian-minimal in six forms: minutes")
@pytest.mark.slow
def test_differences_of_its_forms(built: Path) -> None:
    """The archives have no difference, zstd that of the compression, stages their number and history."""
    one = built / FORMS[0]
    assert differences(one, built / FORMS[1]) == []
    assert differences(one, built / FORMS[2]) == []
    (compression,) = differences(one, built / "zstd.oci")
    assert "its compression is not" in compression.what
    assert "application/vnd.oci.image.layer.v1.tar+zstd" in compression.theirs
    stages = differences(one, built / "stages.oci")
    assert {each.path for each in stages} == {"the image's configuration", "the image"}


@pytest.mark.thorough("debian-minimal in six forms: minutes")
@pytest.mark.slow
@pytest.mark.parametrize("form", ["debian-minimal.oci", "stages.oci"])
def test_sums_are_those_of_the_unpacked_tree(built: Path, tmp_path: Path, form: str) -> None:
    """In all, by directory and by package, as du and dpkg-query count what umoci unpacks."""
    if not has("dpkg-query"):
        missing("there is no dpkg-query")
    root = umoci(built / form, tmp_path / "bundle")
    assert root is not None
    size = measure(open_image(built / form))
    assert size.uncompressed == length_of(path for path in root.rglob("*"))
    assert size.files == sum(1 for path in root.rglob("*") if path.is_symlink() or not path.is_dir())
    for share in size.directories:
        inside = root / share.name.lstrip("/")
        deep = share.name.count("/") == 2  # else what lies in it directly
        assert share.bytes == length_of(inside.rglob("*") if deep else inside.glob("*")), share.name
    query = ["dpkg-query", f"--admindir={root}/var/lib/dpkg"]
    format_ = "${binary:Package}\t${Version}\t${Installed-Size}\n"
    told = subprocess.run([*query, "-W", "-f", format_], capture_output=True, text=True, check=True).stdout
    rows = [line.split("\t") for line in told.splitlines()]
    shares = {share.name: share for share in size.packages}
    assert len(rows) > 50
    assert {share.name: share.version for share in size.packages if share.name != NO_PACKAGE} == {
        name.partition(":")[0]: version for name, version, _ in rows
    }
    for name, _, kilobytes in rows:
        listed = subprocess.run([*query, "-L", name], capture_output=True, text=True, check=True).stdout.splitlines()
        share = shares[name.partition(":")[0]]
        assert share.bytes == length_of({place(root, path) for path in listed}), name
        assert share.bytes <= int(kilobytes) * 1024, name  # which counts documentation too, and folders


def place(root: Path, path: str) -> Path:
    """Where a path of the tree is on disk: /bin and the like are links."""
    above, name = posixpath.split(path)
    return root / posixpath.relpath(os.path.realpath(f"{root}{above}"), os.path.realpath(root)) / name


def length_of(paths: Iterable[Path]) -> int:
    """The bytes of all plain files, each counted once."""
    found = {}
    for path in paths:
        if path.is_file() and not path.is_symlink():
            found[path.stat().st_ino] = path.stat().st_size
    return sum(found.values())


@pytest.mark.thorough("debian-minimal in six forms: minutes")
@pytest.mark.slow
def test_the_command(built: Path) -> None:
    """Its JSON, one image and two."""
    command = [sys.executable, "-m", "builder.cli", "size", "--json", str(built / FORMS[0])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    blobs = sum(layer.bytes for layer in open_image(built / FORMS[0]).layers)
    assert found["compressed"] == blobs
    assert found["uncompressed"] == sum(share["bytes"] for share in found["packages"])
    again = subprocess.run([*command, str(built / "stages.oci")], capture_output=True, text=True, check=True)
    both = json.loads(again.stdout)
    assert (both["packages"], both["directories"]) == ([], [])
    assert len(both["after"]["layers"]) > 3


@pytest.mark.thorough("debian-minimal in six forms: minutes")
@pytest.mark.slow
def test_skopeo_and_this_name_the_same_image(built: Path) -> None:
    """The digest of the manifest, and the layers' digests."""
    if not has("skopeo"):
        missing("there is no skopeo")
    for kind, form in (("oci", "debian-minimal.oci"), ("oci-archive", "debian-minimal.oci.tar")):
        told = subprocess.run(
            ["skopeo", "inspect", f"{kind}:{built / form}"], capture_output=True, text=True, check=True
        )
        image = open_image(built / form)
        assert json.loads(told.stdout)["Digest"] == image.digest
        assert json.loads(told.stdout)["Layers"] == [layer.blob.digest for layer in image.layers]


# -- other programs ----------------------------------------------------------------------------------------------


def test_what_skopeo_and_umoci_write(tmp_path: Path) -> None:
    """A layout changed by umoci, and copied by skopeo to each kind of archive, is read all the same."""
    if not has("skopeo", "umoci"):
        missing("there is no skopeo or no umoci")
    entry = made.manifest(tmp_path / "image", [[folder("etc"), Item("etc/a", b"a"), Item("etc/b", b"b")]])
    entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    layout = made.index(tmp_path / "image", [entry])
    root = umoci(layout, tmp_path / "bundle")
    assert root is not None
    (root / "etc/b").unlink()
    (root / "etc/c").write_text("c")
    for changed in (root / "etc/c", root / "etc"):
        os.utime(changed, (made.EPOCH + 5, made.EPOCH + 5))  # umoci rounds fractions of a second, up or down
    subprocess.run(["umoci", "repack", "--image", f"{layout}:latest", tmp_path / "bundle"], check=True)
    wanted = seen_on_disk(root)
    assert seen_by_us(open_image(layout))[0] == wanted
    for kind in ("oci-archive", "docker-archive"):
        archive = tmp_path / f"{kind}.tar"
        subprocess.run(["skopeo", "copy", "-q", f"oci:{layout}:latest", f"{kind}:{archive}"], check=True)
        assert seen_by_us(open_image(archive))[0] == wanted


def test_zstd(tmp_path: Path) -> None:
    """What the program compresses is read; what is cut off or rubbish is an error."""
    if not has("zstd"):
        missing("there is no zstd")
    layer = [Item("a", os.urandom(3_000_000)), Item("b", b"b")]

    def zstd(data: bytes) -> bytes:
        return subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout

    frames = made.image(tmp_path / "frames", layer, compress=lambda data: zstd(data[:99]) + zstd(data[99:]))
    entries = open_image(frames).contents(hashes=True).tree.entries
    assert entries["/a"].sha256 == made.digest(layer[0].content)[7:]
    for number, compress in enumerate((lambda data: zstd(data)[:-100], lambda data: zstd(data)[:1000] + bytes(5000))):
        with pytest.raises(BuildError, match="zstd data of a layer are broken"):
            open_image(made.image(tmp_path / str(number), layer, compress=compress)).contents()
    blob = frames / open_image(frames).layers[0].blob.name
    data = bytearray(blob.read_bytes())
    data[1000] ^= 1
    blob.write_bytes(data)
    with pytest.raises(BuildError, match="is damaged: its content has the digest"):
        open_image(frames).contents()


def test_a_layer_that_is_not_read_to_its_end_leaves_no_program_behind(tmp_path: Path) -> None:
    """zstd is stopped, however much there is left to read."""
    if not has("zstd"):
        missing("there is no zstd")

    def zstd(data: bytes) -> bytes:
        return subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout

    image = open_image(
        made.image(tmp_path / "image", [Item("a", b"a"), Item("b", os.urandom(9_000_000))], compress=zstd)
    )
    before = threading.active_count()
    image.extract({(0, 0): tmp_path / "a"}, 10)
    assert (tmp_path / "a").read_bytes() == b"a"
    assert threading.active_count() == before
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    assert "zstd" not in [Path(f"/proc/{child}/comm").read_text().strip() for child in children]


def test_diffoscope_tells_more(tmp_path: Path) -> None:
    """Of a compressed file that is in both images: what is in it."""
    if not has("diffoscope"):
        missing("there is no diffoscope")
    images = [
        made.image(tmp_path / name, [Item("usr/share/text.gz", gzip.compress(text, mtime=0))])
        for name, text in (("a", b"same\nold\n"), ("b", b"same\nnew\n"))
    ]
    (difference,) = differences(images[0], images[1])
    assert difference.what.startswith("content, from byte ")
    assert "--- first/text.gz" in difference.details
    assert "-old" in difference.details
    assert "+new" in difference.details
    assert str(tmp_path) not in str(difference)
