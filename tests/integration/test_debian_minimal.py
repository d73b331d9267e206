"""The main job on the real mirror: debian-minimal in every output, read back with other people's tools."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.engines import select
from builder.engines.podman import Podman
from stages.repositories.apt_sources import settings
from tests.integration.command import Command, has
from tests.integration.synthetic import check_dpkg_tree

pytestmark = pytest.mark.slow

OUTPUTS = ("oci", "oci,layers=stages,dest={}", "oci-archive", "docker-archive", "tar", "dir")


@pytest.fixture(scope="module")
def host(debian_store: Path) -> Iterator[Command]:
    """The host engine with debian-minimal and the package hello built in every output."""
    folder = Path(tempfile.mkdtemp(prefix="dib-ctr-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    command = Command("host", debian_store, folder / "out")
    stages = folder / "out/stages.oci"
    outputs = [word for output in OUTPUTS for word in ("-o", output.format(stages))]
    command.build(*outputs, "-p", "hello", "debian-minimal")
    yield command
    shutil.rmtree(folder, ignore_errors=True)


Entry = tuple[object, ...]


def members(archive: Path, *, times: bool) -> dict[str, Entry]:
    """What a tar says of each member, its content included."""
    found: dict[str, Entry] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            data = tar.extractfile(member) if member.isreg() else None
            content = hashlib.sha256(data.read()).hexdigest() if data else ""
            entry: Entry = (member.type, member.mode, member.uid, member.gid, member.linkname, content)
            attributes = {name: text for name, text in member.pax_headers.items() if name.startswith("SCHILY.xattr")}
            found[member.name] = (*entry, *sorted(attributes.items()), int(member.mtime) if times else 0)
    return found


def unpacked(image: Path, bundle: Path) -> dict[str, Entry]:
    """The tree that umoci unpacks from an image, entry by entry; hard links by the names that share an inode."""
    rootless = [] if os.geteuid() == 0 else ["--rootless"]
    subprocess.run(["umoci", "unpack", *rootless, "--image", f"{image}:latest", str(bundle)], check=True)
    root = bundle / "rootfs"
    shared: dict[int, list[str]] = {}
    paths = sorted(root.rglob("*"))
    for path in paths:
        if path.is_file() and not path.is_symlink():
            shared.setdefault(path.stat().st_ino, []).append(str(path.relative_to(root)))
    tree: dict[str, Entry] = {}
    for path in paths:
        state = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else ""
        if path.is_file() and not path.is_symlink():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        attributes = [
            (name, os.getxattr(path, name, follow_symlinks=False)) for name in os.listxattr(path, follow_symlinks=False)
        ]
        links = tuple(shared.get(state.st_ino, ())) if state.st_nlink > 1 and not path.is_dir() else ()
        tree[str(path.relative_to(root))] = (
            state.st_mode,
            state.st_uid,
            state.st_gid,
            int(state.st_mtime),
            content,
            links,
            *sorted(attributes),
        )
    return tree


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_the_squashed_image_and_the_one_with_a_layer_per_stage_are_the_same_tree(host: Command, tmp_path: Path) -> None:
    squashed = unpacked(host.destination / "debian-minimal.oci", tmp_path / "squashed")
    stages = unpacked(host.destination / "stages.oci", tmp_path / "stages")
    assert len(squashed) > 2000
    assert {path for path in squashed if squashed[path] != stages.get(path)} == set()
    assert set(stages) == set(squashed)
    manifest = json.loads(subprocess.check_output(["skopeo", "inspect", "--raw", f"oci:{host.destination}/stages.oci"]))
    assert len(manifest["layers"]) > 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a tree's own programs in it")
def test_the_tree_s_own_dpkg_finds_its_packages_as_they_were_installed(host: Command) -> None:
    assert "hello" in check_dpkg_tree(host.destination / "debian-minimal.dir", "debian", "trixie")


def test_skopeo_reads_the_image(host: Command) -> None:
    shown = json.loads(subprocess.check_output(["skopeo", "inspect", f"oci:{host.destination}/debian-minimal.oci"]))
    assert shown["Os"] == "linux"
    assert shown["Labels"]["org.opencontainers.image.title"] == "debian-minimal"
    assert shown["Labels"]["org.opencontainers.image.version"] == "trixie"
    assert len(shown["Layers"]) == 1
    archive = json.loads(
        subprocess.check_output(["skopeo", "inspect", f"oci-archive:{host.destination}/debian-minimal.oci.tar"])
    )
    assert archive["Digest"] == shown["Digest"]


def test_the_tree_is_clean_and_complete(host: Command) -> None:
    tree = members(host.destination / "debian-minimal.tar", times=True)
    names = {name.removeprefix("./") for name in tree}
    assert {"usr/bin/apt-get", "usr/bin/hello", "usr/share/doc/hello/copyright", "etc/os-release", "etc/hosts"} <= names
    assert not {"sbin/init", "usr/sbin/init", "usr/bin/python3", "etc/hostname", "etc/resolv.conf"} & names
    assert not [
        name for name in names if name.startswith(("tmp/", "var/lib/apt/lists/deb", "var/cache/apt/archives/hello"))
    ]
    assert not [name for name, entry in tree.items() if entry[0] in (tarfile.CHRTYPE, tarfile.BLKTYPE)]
    folder = host.destination / "debian-minimal.dir"
    assert (folder / "usr/bin/hello").read_bytes()[:4] == b"\x7fELF"
    if os.geteuid() == 0:
        assert (folder / "usr/bin/passwd").exists() is ("usr/bin/passwd" in names)
        assert (folder / "var/cache/apt").stat().st_uid == 0


def test_a_second_build_finds_everything_and_needs_no_network(host: Command) -> None:
    before = {path: path.stat().st_mtime_ns for path in host.destination.rglob("*")}
    again = host.build("--offline", "-p", "hello", "debian-minimal")
    assert again.titles("start") == []
    if os.geteuid() == 0:
        arguments = host.arguments("build", "--offline", "-p", "hello", "debian-minimal")
        cut = subprocess.run(["unshare", "--net", *arguments], capture_output=True, text=True)
        assert cut.returncode == 0, cut.stderr
        assert '"start"' not in cut.stdout
    assert {path: path.stat().st_mtime_ns for path in host.destination.rglob("*")} == before


def test_a_shell_in_the_finished_tree_runs_the_installed_package(host: Command) -> None:
    outcome = host("shell", "-p", "hello", "debian-minimal", "--", "hello")
    assert outcome.status == 0, outcome.stderr
    assert outcome.stdout.splitlines()[-1] == "Hello, world!"


def plain_podman(engine: Podman) -> list[str]:
    """`podman run` on the user's own images with the flags that work here, as the engine's probe found them."""
    general = list(engine.probe_result.general)
    runtime = general[general.index("--runtime") :][:2] if "--runtime" in general else []
    return ["podman", *runtime, "run", "--rm", "--network=host", *engine.probe_result.run]


@pytest.mark.thorough("debian-minimal once more; `just test` has podman build small trees")
def test_podman_runs_the_loaded_image_and_apt_works_in_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has("podman"):
        pytest.skip("podman is not there")
    own = f"dib-ctr-test-{os.getpid()}"
    monkeypatch.setenv("DIB_CTR_STORE", own)  # a volume of the test's own
    engine = select("podman")
    assert isinstance(engine, Podman)
    name = f"localhost/{own}:1"
    run = [*plain_podman(engine), name]
    try:
        Command("podman", place / "store", place / "out").build("--load", "-o", f"oci,tag={name}", "debian-minimal")
        release = subprocess.check_output([*run, "cat", "/etc/os-release"], text=True)
        assert "VERSION_CODENAME=trixie" in release
        conf = "\n".join(settings())  # what the machine's mirror may need
        script = f"""
            echo '{conf}' > /etc/apt/apt.conf.d/99test
            apt-get -qq update
            apt-get -qq install hello >&2
            # It stays slim: licences come, manuals do not, nothing downloaded is left.
            ls /usr/share/doc/hello
            find /usr/share/man /usr/share/info /var/cache/apt -type f -not -name lock
            dpkg --verify hello | grep -v ' /usr/share/' >&2 || true
            hello
        """
        done = subprocess.run([*run, "bash", "-euc", script], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == ["copyright", "Hello, world!"]
    finally:
        subprocess.run(["podman", "rmi", "-f", name], capture_output=True)
        engine.remove_store()


@pytest.mark.thorough("debian-minimal once more")
def test_an_older_release_builds(place: Path) -> None:
    command = Command("host", place / "store", place / "out")
    command.build("-o", "tar", "--release", "bookworm", "debian-minimal")
    with tarfile.open(command.destination / "debian-minimal.tar") as archive:
        release = archive.extractfile("usr/lib/os-release")
        assert release is not None
        assert b"VERSION_CODENAME=bookworm" in release.read()
