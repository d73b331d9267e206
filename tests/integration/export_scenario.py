"""Runs as root of a user namespace: makes layers with real overlay mounts, exports them, unpacks what came out.

``make`` fills an empty FOLDER with upper directories; ``export`` writes every output of them, and ``overlay.json``:
what the kernel shows; ``unpack`` and ``untar`` unpack one and write ``NAME.json``; ``list`` lists any FOLDER so;
``full`` exports to a disk that is too small.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blockdev.core.errors import BuildError
from stages.outputs.formats.archives import write_docker_archive, write_oci_archive, write_tar
from stages.outputs.formats.oci_image import ImageConfig, LayerSource, write_oci

EPOCH = 1_700_000_000
OLD = 1_500_000_000
CAPABILITY = struct.pack("<5I", 0x02000001, 0x2000, 0, 0, 0)  # cap_net_raw=ep
# version 2; user rwx, user 33 r-x, group r-x, mask r-x, other r-x
ACCESS_LIST = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, allowed, who)
    for tag, allowed, who in ((1, 7, 2**32 - 1), (2, 5, 33), (4, 5, 2**32 - 1), (16, 5, 2**32 - 1), (32, 5, 2**32 - 1))
)
DEEP = "/".join(["deep" * 30, "deeper" * 20, "deepest" * 15])
ODD = os.fsdecode(b"odd \xff\n\x01")


def base(tree: Path) -> None:
    """The first layer: one of everything."""
    tree.chmod(0o755)
    for name in ("etc", "usr/bin", "var/log", "opaque/sub", "tofile/sub", DEEP, "links", "empty", "x"):
        (tree / name).mkdir(parents=True)
    for name in ("etc/keep", "etc/change", "etc/remove", "etc/mode", "etc/owner", "opaque/sub/old", "opaque/old"):
        (tree / name).write_text(f"{name} in layer 1\n")
    for name in ("tofile/sub/old", "todir", f"{DEEP}/file", ODD, "x/stays", "x/hidden", "recreated"):
        (tree / name).write_text("layer 1\n")
    (tree / "var/log/big").write_bytes(b"0123456789abcdef" * (600 << 10))
    (tree / "usr/bin/suid").write_text("suid\n")
    (tree / "usr/bin/suid").chmod(0o4755)
    (tree / "usr/bin/ping").write_text("ping\n")
    os.setxattr(tree / "usr/bin/ping", "security.capability", CAPABILITY)
    os.setxattr(tree / "etc/keep", "user.note", b"\0binary\xff")
    os.setxattr(tree / "var/log", "system.posix_acl_access", ACCESS_LIST)
    os.chown(tree / "etc/keep", 33, 42)
    os.chown(tree / "var/log", 0, 65_000)
    (tree / "etc/link").symlink_to("keep")
    (tree / "tolink").symlink_to("etc")
    os.lchown(tree / "etc/link", 7, 7)
    os.mkfifo(tree / "var/fifo", 0o622)
    (tree / "links/a").write_text("linked\n")
    for name in ("links/b", "links/c", "etc/d"):
        (tree / name).hardlink_to(tree / "links/a")
    os.utime(tree / "etc/keep", (OLD, OLD))
    os.utime(tree / "links/a", (OLD + 1, OLD + 1))
    os.utime(tree / "etc/link", (OLD + 2, OLD + 2), follow_symlinks=False)
    os.utime(tree / "empty", (OLD + 3, OLD + 3))
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(tree / "var")
        server.bind("socket")
        os.chdir("/")


def change(tree: Path) -> None:
    """Content, mode, owner; removals; one hard link changed, another made across layers."""
    (tree / "etc/change").write_text("layer 2\n")
    (tree / "etc/remove").unlink()
    (tree / "etc/mode").chmod(0o600)
    os.chown(tree / "etc/owner", 1000, 1000)
    with (tree / "links/b").open("a") as file:
        file.write("no longer linked\n")
    (tree / "links/new").hardlink_to(tree / "links/c")
    os.utime(tree / "links/b", (OLD + 9, OLD + 9))
    (tree / "empty/file").touch()
    (tree / "recreated").unlink()


def replace(tree: Path) -> None:
    """Directories removed and made again, and things that become other things."""
    subprocess.run(["rm", "-r", tree / "opaque", tree / "tofile"], check=True)
    (tree / "opaque").mkdir(mode=0o700)
    (tree / "opaque/new").write_text("layer 3\n")
    (tree / "tofile").write_text("a file now\n")
    (tree / "todir").unlink()
    (tree / "todir").mkdir()
    (tree / "todir/!first").write_text("sorts before the opaque mark\n")
    (tree / "tolink").unlink()
    (tree / "tolink").mkdir()
    (tree / "tolink/file").write_text("not in etc\n")
    (tree / "recreated").write_text("layer 3\n")
    (tree / "transient").write_text("gone in the same layer\n")
    (tree / "transient").unlink()


def again(tree: Path) -> None:
    """What layer 2 and 3 made goes or comes back; capabilities move."""
    subprocess.run(["rm", "-r", tree / "opaque", tree / "todir"], check=True)
    (tree / "etc/remove").write_text("back in layer 4\n")
    (tree / "links/a").unlink()
    (tree / "usr/bin/ping").unlink()
    (tree / "usr/bin/traceroute").write_text("traceroute\n")
    os.setxattr(tree / "usr/bin/traceroute", "security.capability", CAPABILITY)
    os.chown(tree, 0, 3)
    (tree / "opaque").mkdir()
    (tree / "opaque/newest").hardlink_to(tree / "etc/remove")


def attributes_as_whiteouts(upper: Path) -> None:
    """Written into the upper directory itself: the kernel (6.8 and later) reads this form and never writes it."""
    os.setxattr(upper, "user.overlay.opaque", b"x")
    (upper / "x").mkdir()
    os.setxattr(upper / "x", "user.overlay.opaque", b"x")
    (upper / "x/hidden").touch()
    os.setxattr(upper / "x/hidden", "user.overlay.whiteout", b"")


STEPS: tuple[Callable[[Path], None], ...] = (base, change, replace, again)


def overlay(merged: Path, lower: list[Path], upper: Path | None = None) -> None:
    """Mount layers (lowest first) on ``merged``, the way the layer store does."""
    options = "userxattr,volatile" if upper else "userxattr"
    options += ",lowerdir=" + ":".join(str(path) for path in reversed(lower))
    if upper:
        work = upper.with_suffix(".work")
        work.mkdir()
        options += f",upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, merged], check=True)


def make_layers(folder: Path) -> None:
    """The upper directories of all steps: ``layer0`` is the lowest."""
    merged, bottom = folder / "merged", folder / "bottom"
    merged.mkdir()
    bottom.mkdir()
    layers: list[Path] = []
    for number, step in enumerate(STEPS):
        upper = folder / f"layer{number}"
        upper.mkdir(mode=0o755)
        overlay(merged, [bottom, *layers], upper)
        step(merged)
        subprocess.run(["umount", merged], check=True)
        layers.append(upper)
    if tuple(int(part) for part in os.uname().release.split(".")[:2]) >= (6, 8):
        last = folder / f"layer{len(STEPS)}"
        last.mkdir(mode=0o755)
        os.chown(last, 0, 3)
        attributes_as_whiteouts(last)


def listing(root: Path) -> dict[str, Any]:
    """Every path with all that an image keeps of it; inode numbers become the first name of their group."""
    found: dict[str, Any] = {}
    groups: dict[tuple[int, int], str] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        status = path.lstat()
        if stat.S_ISSOCK(status.st_mode):
            continue
        name = str(path.relative_to(root))
        first = groups.setdefault((status.st_dev, status.st_ino), name)
        xattrs = {
            key: os.getxattr(path, key, follow_symlinks=False).hex()
            for key in os.listxattr(path, follow_symlinks=False)
        }
        content = path.readlink() if path.is_symlink() else path.read_bytes().hex() if path.is_file() else ""
        found[name] = {
            "mode": oct(status.st_mode),
            "owner": [status.st_uid, status.st_gid],
            "mtime": min(int(status.st_mtime), EPOCH),
            "group": first,
            "xattrs": {key: value for key, value in xattrs.items() if not key.startswith("user.overlay.")},
            "content": str(content)[:200] + str(len(str(content))),
        }
    return found


def unpack(folder: Path, layout: str) -> dict[str, Any]:
    """Let umoci unpack an image, as anybody would."""
    bundle = folder / f"{layout}.bundle"
    command: list[str | Path] = ["umoci", "unpack", "--image", f"{folder / 'first' / layout}:latest", bundle]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return listing(bundle / "rootfs")


def untar(folder: Path, archive: str) -> dict[str, Any]:
    """Let GNU tar unpack the plain tree."""
    target = folder / f"{archive}.d"
    target.mkdir()
    command: list[str | Path] = [
        "tar",
        "--numeric-owner",
        "--xattrs",
        "--xattrs-include=*",
        "-xpf",
        folder / "first" / archive,
        "-C",
        target,
    ]
    subprocess.run(command, check=True)
    return listing(target)


def export(source: Path, target: Path) -> None:
    """Every output of the layers in ``source``, into ``target``."""
    layers = sorted(source.glob("layer[0-9]"))
    merged = source / "merged"
    overlay(merged, [source / "bottom", *layers])
    (source / "overlay.json").write_text(json.dumps(listing(merged)))
    config = ImageConfig(
        "arm64",
        EPOCH,
        variant="v8",
        cmd=("/bin/sh", "-c", "echo a=b,c"),
        env={"PATH": "/bin", "A": "x=y"},
        title="scenario",
        version="1",
    )
    target.mkdir()
    write_oci(target / "squashed", "latest", [LayerSource(merged, "tree", "squashed")], config)
    stages = [LayerSource(path, "changes", f"stage {number}") for number, path in enumerate(layers)]
    write_oci(target / "stages", "latest", stages, config)
    write_oci(target / "none", "latest", [], config)
    write_tar(merged, target / "tree.tar", epoch=EPOCH)
    write_tar(merged, target / "tree.tar.zst", epoch=EPOCH, compress="zstd")
    write_tar(merged, target / "tree.tar.gz", epoch=EPOCH, compress="gzip")
    with (target / "squashed.oci.tar").open("wb") as out:
        write_oci_archive(target / "squashed", out, epoch=EPOCH)
    with (target / "squashed.docker.tar").open("wb") as out:
        write_docker_archive(target / "squashed", out, name="scenario", epoch=EPOCH)


def full(folder: Path) -> dict[str, str]:
    """Export to a disk of 1 MB: what each output says, and what it left there."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "disk", disk], check=True)
    tree = folder / "random"
    tree.mkdir()
    (tree / "file").write_bytes(os.urandom(8 << 20))
    layers = [LayerSource(tree, "tree", "random")]
    said = {}
    for name, write in (
        ("oci", lambda: write_oci(disk / "oci", "latest", layers, ImageConfig("amd64", EPOCH))),
        ("zstd", lambda: write_tar(tree, disk / "tar", epoch=EPOCH, compress="zstd")),
    ):
        try:
            write()
        except (BuildError, OSError) as error:
            said[name] = str(error)
        said[f"{name} left"] = " ".join(path.name for path in disk.iterdir())
    return said


def main() -> None:
    """make FOLDER; export FOLDER TARGET; unpack FOLDER LAYOUT; untar FOLDER TAR; list FOLDER RESULT; full FOLDER."""
    command, folder, *rest = sys.argv[1:]
    source = Path(folder)
    if command == "make":
        make_layers(source)
    elif command == "export":
        os.umask(int(os.environ["SCENARIO_UMASK"], 8))
        export(source, Path(rest[0]))
    elif command == "full":
        (source / "full.json").write_text(json.dumps(full(source)))
    elif command == "list":
        Path(rest[0]).write_text(json.dumps(listing(source)))
    else:
        found = unpack(source, rest[0]) if command == "unpack" else untar(source, rest[0])
        (source / f"{rest[0]}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
