"""One file per image: a layout as a tar (oci-archive), what ``docker load`` reads (docker-archive), a tree (tar)."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from blockdev.core.errors import UsageError
from stages.outputs.formats import oci_layout
from stages.outputs.formats.tar_stream import DIRECTORY, FILE, Member, TarStream, Written
from stages.outputs.formats.tools import command, explained, feed
from stages.outputs.formats.tree_tar import write_tree
from stages.outputs.slim.changes import NOTHING, Finish

# Both write the same bytes on every number of cores: gzip -n leaves name and time out, zstd cuts jobs by size alone.
_COMPRESSORS: dict[str, tuple[str, ...]] = {
    "none": (),
    "gzip": ("gzip", "-n", "-c"),
    "zstd": ("zstd", "-q", "-T0", "-c"),
}
_SUFFIXES = {".gz": "gzip", ".tgz": "gzip", ".zst": "zstd", ".tzst": "zstd"}
_WORDS = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_REFERENCE = re.compile(rf"(?:{_WORDS}(?::[0-9]+)?/)?{_WORDS}(?:/{_WORDS})*:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}")


def _copy(stream: TarStream, folder: Path, paths: Iterable[Path], epoch: int) -> None:
    for path in paths:
        name = bytes(path.relative_to(folder))
        if path.is_dir():
            stream.add(Member(name + b"/", DIRECTORY, 0o755, mtime=epoch))
        else:
            member = Member(name, FILE, 0o644, mtime=epoch, size=path.stat().st_size)
            stream.add_file(member, bytes(path))


def write_oci_archive(folder: Path, out: BinaryIO, *, epoch: int) -> Written:
    """The image layout ``folder`` as one tar: ``oci-layout`` and ``index.json`` first, so a reader need not seek."""
    stream = TarStream(out)
    blobs = folder / "blobs"
    paths = [folder / "oci-layout", folder / "index.json", blobs, *sorted(blobs.rglob("*"))]
    _copy(stream, folder, paths, epoch)
    return stream.close()


def reference(name: str, tag: str = "latest") -> str:
    """``name:tag`` as engines take it, the name in lower case; a tag in ``name`` wins. UsageError where it is none."""
    path, slash, last = name.rpartition("/")
    base, _, own_tag = last.partition(":")
    whole = f"{(path + slash + base).lower()}:{own_tag or tag}"
    if not _REFERENCE.fullmatch(whole):
        raise UsageError(
            f"{whole!r} cannot be the name of an image",
            hint="use letters, digits and single . _ - between them; --name sets it",
        )
    return whole


def write_docker_archive(folder: Path, out: BinaryIO, *, name: str, epoch: int) -> Written:
    """The one image of the layout ``folder`` as ``docker load`` and ``podman load`` read it, under ``name``.

    ``manifest.json`` comes first; configuration and layers (compressed, as they are) keep their paths in the layout.
    """
    image = oci_layout.read_image(folder)
    config = oci_layout.blob(folder, image.config_digest)
    layers = [oci_layout.blob(folder, digest) for digest in image.layer_digests]
    manifest = {
        "Config": str(config.relative_to(folder)),
        "RepoTags": [reference(name)],
        "Layers": [str(path.relative_to(folder)) for path in layers],
    }
    data = json.dumps([manifest], separators=(",", ":")).encode()
    stream = TarStream(out)
    stream.add(Member(b"manifest.json", FILE, mtime=epoch, size=len(data)), data)
    blobs = folder / "blobs"
    _copy(stream, folder, [blobs, blobs / "sha256", *sorted({config, *layers})], epoch)
    return stream.close()


def compression(name: str, option: str = "") -> str:
    """``none``, ``gzip`` or ``zstd``: the option where it is given, else what the suffix of ``name`` says."""
    chosen = option or _SUFFIXES.get(Path(name).suffix, "none")
    if chosen not in _COMPRESSORS:
        raise UsageError(f"unknown compression {chosen!r}", hint="compress= takes none, gzip or zstd")
    return chosen


def write_tar(
    root: Path, target: Path, *, epoch: int, compress: str = "none", finish: Finish = NOTHING, prefix: str = ""
) -> Written:
    """The tree ``root`` as the file ``target``; ``bytes`` counts the archive before compression.

    ``compress`` is one of the words of :func:`compression`; ``prefix`` the folder of the archive that the tree lies in.
    Raises BuildError where the compressor fails, OSError where writing does; nothing is left at ``target`` then.
    """
    name, *options = _COMPRESSORS[compress] or ("",)
    try:
        with target.open("wb", buffering=1 << 20) as out, explained(name):
            if not name:
                return write_tree(root, out, epoch=epoch, finish=finish, prefix=prefix, sparse=True)
            compressor = command(name, target.parent).bake(*options, _out=out)
            return feed(
                compressor,
                lambda pipe: write_tree(root, pipe, epoch=epoch, finish=finish, prefix=prefix, sparse=True),
            )
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def write_squashfs(root: Path, target: Path, *, epoch: int, compress: str, finish: Finish = NOTHING) -> Written:
    """The tree ``root`` as a squashfs file system; ``compress`` is a compressor of squashfs.

    The bytes depend on the version of squashfs-tools. Raises as :func:`write_tar` does.
    """
    status = root.stat()  # sqfstar takes no notice of the archive's ./
    top = ("-root-mode", f"{stat.S_IMODE(status.st_mode):o}", "-root-uid", status.st_uid, "-root-gid", status.st_gid)
    try:
        with explained("sqfstar"):
            # With -mkfs-time the root's time would be now; no file is younger than SOURCE_DATE_EPOCH.
            packer = command("sqfstar", target.parent, SOURCE_DATE_EPOCH=str(epoch))
            packer = packer.bake("-comp", compress, *top, "-quiet", "-no-progress", "-exit-on-error", str(target))
            return feed(packer, lambda pipe: write_tree(root, pipe, epoch=epoch, finish=finish))
    except BaseException:
        target.unlink(missing_ok=True)
        raise
