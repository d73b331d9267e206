"""Layers packed and unpacked: the same again, and nothing outside, whatever is in the archive."""

from __future__ import annotations

import io
import json
import os
import random
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.layers.extent import measure
from stages.layers.store import Record
from stages.remote_cache.layer_archive import BadLayerError, NotPortableError, PackedRecord, pack, unpack
from stages.remote_cache.offers import Offer, chain_digest, longest

RECORD = PackedRecord(
    key="k", below="", layer="0123456789", parts=("tree",), title="install", created=1.5, content="", seconds=2.0
)


def packed(layer: Path | None) -> io.BytesIO:
    out = io.BytesIO()
    pack(layer, RECORD, out)
    out.seek(0)
    return out


def shape(root: Path) -> dict[str, object]:
    """Everything about a layer that another machine must see alike."""
    found: dict[str, object] = {}
    inodes: dict[int, str] = {}
    for folder, folders, files in sorted(os.walk(root)):
        for name in sorted([".", *folders, *files]):
            path = os.path.normpath(f"{folder}/{name}")
            status = os.lstat(path)
            content: object = str(Path(path).readlink()) if stat.S_ISLNK(status.st_mode) else ""
            if stat.S_ISREG(status.st_mode):
                content = Path(path).read_bytes()
            link = inodes.setdefault(status.st_ino, path) if not stat.S_ISDIR(status.st_mode) else path
            xattrs = {
                key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)
            }
            about = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_rdev)
            found[os.path.relpath(path, root)] = (*about, content, os.path.relpath(link, root), xattrs)
    return found


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """All that an overlay's upper folder can hold."""
    root = tmp_path / "layer"
    tree = root / "tree"
    (tree / "etc/opaque").mkdir(parents=True)
    (root / "hooks").mkdir()
    (root / "hooks/message").write_text("told")
    os.setxattr(tree / "etc/opaque", "user.overlay.opaque", b"y")
    os.setxattr(tree / "etc/opaque", "user.overlay.origin", b"\x00\xfb\x21")
    (tree / "plain").write_bytes(random.Random(1).randbytes(200_000))
    os.setxattr(tree / "plain", "user.dib-ctr.owner", b"0 - 1 2")
    os.setxattr(tree / "plain", "user.binary", bytes(range(256)) + b"\n=\xff\xfe")
    os.link(tree / "plain", tree / "etc/again")
    (tree / ("n" * 200)).write_text("a long name")
    (tree / "link").symlink_to("/".join(["l" * 60] * 5))
    (tree / "absolute").symlink_to("/etc")
    Path(os.fsdecode(os.fsencode(tree) + b"/latin-\xe9\xff")).write_text("no UTF-8")
    os.mkfifo(tree / "pipe", 0o640)
    os.mknod(tree / "socket", stat.S_IFSOCK | 0o600)
    os.mknod(tree / "whiteout", stat.S_IFCHR, 0)
    with (tree / "sparse").open("wb") as file:
        file.write(b"begin")
        file.truncate(50 << 20)
    (tree / "setuid").write_text("")
    (tree / "setuid").chmod(0o4755)
    (tree / "closed").mkdir(mode=0o1700)
    for number, path in enumerate(sorted(tree.rglob("*"))):
        os.utime(path, ns=(0, 1_700_000_000_123_456_789 + number), follow_symlinks=False)
    os.utime(tree / "plain", ns=(0, -1_500_000_001))
    return root


def test_a_layer_is_the_same_again(layer: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert unpack(packed(layer), tmp_path / "out") == RECORD
    os.removexattr(layer / "tree/etc/opaque", "user.overlay.origin")
    assert shape(tmp_path / "out") == shape(layer)
    assert measure(tmp_path / "out").fingerprint == measure(layer).fingerprint
    assert (tmp_path / "out/tree/sparse").stat().st_blocks < 1000


def test_owners_capabilities_and_access_lists_travel(layer: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    os.chown(layer / "tree/plain", 1234, 3_000_000)
    os.lchown(layer / "tree/link", 42, 43)
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(layer / "tree/setuid", "security.capability", capability)
    (tmp_path / "out").mkdir()
    unpack(packed(layer), tmp_path / "out")
    os.removexattr(layer / "tree/etc/opaque", "user.overlay.origin")
    assert shape(tmp_path / "out") == shape(layer)


def test_a_stage_that_changed_nothing_has_a_record_only(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert unpack(packed(None), tmp_path / "out") == RECORD
    assert list((tmp_path / "out").iterdir()) == []


def test_what_no_archive_can_hold_does_not_travel(layer: Path) -> None:
    os.setxattr(layer / "tree/plain", "user.a=b", b"x")
    with pytest.raises(NotPortableError):
        packed(layer)


def hostile(*members: tuple[str, bytes, str], xattr: str = "") -> io.BytesIO:
    """An archive of name, kind and link target; folders ``layer`` and ``layer/tree`` are there."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        text = json.dumps(vars(RECORD)).encode()
        record = tarfile.TarInfo("record.json")
        record.size = len(text)
        archive.addfile(record, io.BytesIO(text))
        for name, kind, target in (("layer", tarfile.DIRTYPE, ""), ("layer/tree", tarfile.DIRTYPE, ""), *members):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.uid, member.gid = kind, target, os.getuid(), os.getgid()
            member.mode = 0o755
            member.pax_headers = {"mtime": "1.000000000"}
            if xattr and name not in ("layer", "layer/tree"):
                member.pax_headers[f"SCHILY.xattr.{xattr}"] = "x"
            if kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
                member.devmajor, member.devminor = 1, 3
            archive.addfile(member)
    out.seek(0)
    return out


FILE, LINK, HARD, FOLDER = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE


@pytest.mark.parametrize(
    "archive",
    [
        lambda: hostile(("../evil", FILE, "")),
        lambda: hostile(("/evil", FILE, "")),
        lambda: hostile(("layer/../evil", FILE, "")),
        lambda: hostile(("layer/tree/..", FOLDER, "")),
        lambda: hostile(("layer/tree/out", LINK, ".."), ("layer/tree/out/evil", FILE, "")),
        lambda: hostile(("layer/tree/out", LINK, "/"), ("layer/tree/out", FILE, "")),
        lambda: hostile(("layer/tree/passwd", HARD, "/etc/passwd")),
        lambda: hostile(("layer/tree/out", LINK, "/etc/passwd"), ("layer/tree/hard", HARD, "layer/tree/out/../x")),
        lambda: hostile(("layer/tree/null", tarfile.CHRTYPE, "")),
        lambda: hostile(("layer/tree/disk", tarfile.BLKTYPE, "")),
        lambda: hostile(("evil", FILE, "")),
        lambda: hostile(("layer/tree/a", FILE, ""), ("layer/tree/a", FILE, "")),
        lambda: hostile(("layer/tree/a", FILE, ""), xattr="security.selinux"),
        lambda: hostile(("layer/tree/a", FILE, ""), xattr="trusted.overlay.opaque"),
        lambda: io.BytesIO(b"no archive"),
        lambda: io.BytesIO(b""),
    ],
)
def test_what_would_write_elsewhere_or_is_no_layer_is_refused(
    archive: Callable[[], io.BytesIO], tmp_path: Path
) -> None:
    out = tmp_path / "inner/out"
    out.mkdir(parents=True)
    with pytest.raises(BadLayerError):
        unpack(archive(), out)
    assert [path.name for path in tmp_path.rglob("*") if "evil" in path.name] == []


# -- which offers are of use ---------------------------------------------------------------------------------------


def offer(key: str, below: tuple[str, ...], layer: str, size: int = 100) -> Offer:
    return Offer(
        key, chain_digest(below), layer, "sha256:" + "0" * 64, size, 0, ("tree",), "sha256:" + "1" * 64, "cache"
    )


def record(key: str, below: tuple[str, ...], layer: str) -> Record:
    return Record(key, layer, below, ("tree",), {}, key, 0.0, 1.0, 0, "")


def chosen(keys: str, local: list[Record], offers: list[Offer]) -> list[tuple[str, str]]:
    known = {each.key: each for each in local}
    found: dict[str, list[Offer]] = {}
    for each in offers:
        found.setdefault(each.key, []).append(each)
    return [(type(step).__name__, step.layer) for step in longest(list(keys), known.get, found)]


def test_what_is_here_is_not_fetched() -> None:
    here = [record("a", (), "1"), record("b", ("1",), "2")]
    offers = [offer("a", (), "1"), offer("b", ("1",), "2"), offer("c", ("1", "2"), "3")]
    assert chosen("abcd", here, offers) == [("Record", "1"), ("Record", "2"), ("Offer", "3")]


def test_a_layer_on_other_layers_is_of_no_use() -> None:
    assert chosen("ab", [record("a", (), "1")], [offer("b", ("9",), "2")]) == [("Record", "1")]


def test_more_layers_elsewhere_go_before_fewer_here() -> None:
    offers = [offer("a", (), "7"), offer("b", ("7",), "8"), offer("c", ("7", "8"), "")]
    assert chosen("abc", [record("a", (), "1")], offers) == [("Offer", "7"), ("Offer", "8"), ("Offer", "")]


def test_of_two_writers_the_chain_that_leads_further_counts() -> None:
    offers = [offer("a", (), "1"), offer("a", (), "2"), offer("b", ("2",), "3"), offer("c", ("2", "3"), "4")]
    assert [layer for _, layer in chosen("abc", [], offers)] == ["2", "3", "4"]


def test_a_stage_that_changed_nothing_is_no_gap() -> None:
    offers = [offer("a", (), "1"), offer("b", ("1",), ""), offer("c", ("1",), "3")]
    assert [layer for _, layer in chosen("abc", [], offers)] == ["1", "", "3"]


@pytest.mark.parametrize("layer", ["base", "../x", "0123", "ABCDEF0123"])
def test_an_offer_that_names_something_else_than_a_layer_is_passed_over(layer: str) -> None:
    data = {**vars(offer("a", (), "0123456789")), "parts": ["tree"]}
    assert Offer.read(data) is not None
    assert Offer.read({**data, "layer": layer}) is None
    assert Offer.read({**data, "blob": "sha256:../../x"}) is None
