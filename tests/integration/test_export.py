"""Trees and layers made by real overlay mounts, exported, unpacked by other programs, and compared file by file."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import sh

from stages.outputs.formats.archives import write_docker_archive, write_oci_archive
from stages.outputs.formats.oci_image import ImageConfig, LayerSource, platform, write_oci

HERE = Path(__file__).parent
OUTER_ROOT = 100_000  # where root itself opens the namespace: the host id that becomes its root
EPOCH = 1_700_000_000


def in_namespace(folder: Path, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> None:
    """Run the scenario as root of a user namespace over subordinate ids, never as root of the host."""
    variables = {**os.environ, "PYTHONPATH": str(folder / "code"), "SCENARIO_UMASK": "022", **(environment or {})}
    python = ["/usr/bin/python3", "-B", str(folder / "code/export_scenario.py"), *map(str, arguments)]
    unshare = ["unshare", "--user", "--mount", "--pid", "--fork", "--kill-child"]
    if os.geteuid():
        subprocess.run([*unshare, "--map-auto", "--map-root-user", "--mount-proc", *python], env=variables, check=True)
        return
    become = ["setpriv", "--reuid", "0", "--regid", "0", "--clear-groups"]
    proc = ["/bin/sh", "-euc", 'mount -t proc proc /proc; exec "$@"', "sh"]
    wait = ["/bin/sh", "-euc", 'echo; read go; exec "$@"', "sh"]
    command = [*unshare, "--keep-caps", *wait, *become, *proc, *python]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=variables, cwd="/") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        for kind in ("uid_map", "gid_map"):
            Path(f"/proc/{process.pid}/{kind}").write_text(f"0 {OUTER_ROOT} 65536")
        process.stdin.write(b"go\n")
        process.stdin.close()
    assert process.returncode == 0


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Upper directories made in the namespace, and under ``first`` everything exported from them."""
    path = Path(tempfile.mkdtemp(prefix="dib-ctr-export-", dir="/var/tmp"))
    path.chmod(0o755)
    work = path / "work"
    work.mkdir()
    (work / "code").mkdir()
    for name in ("stages", "blockdev"):
        shutil.copytree(
            HERE.parents[1] / name, work / "code" / name, ignore=shutil.ignore_patterns("__pycache__", "elements")
        )
    shutil.copytree(Path(sh.__file__).parent, work / "code/sh", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "export_scenario.py", work / "code")
    if not os.geteuid():
        subprocess.run(["chown", "-R", f"{OUTER_ROOT}:{OUTER_ROOT}", work], check=True)
    try:
        in_namespace(work, "make", work)
        in_namespace(work, "export", work, work / "first")
        yield work
    finally:
        remove(path)


def remove(path: Path) -> None:
    """Remove what subordinate ids own, too."""
    inside = [] if not os.geteuid() else ["unshare", "--user", "--map-auto", "--map-root-user"]
    subprocess.run([*inside, "rm", "-rf", path], check=True)


def expected(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "overlay.json").read_text()))


def found(folder: Path, command: str, name: str) -> dict[str, Any]:
    in_namespace(folder, command, folder, name)
    return dict(json.loads((folder / f"{name}.json").read_text()))


def test_the_scenario_has_what_it_is_for(folder: Path) -> None:
    tree = expected(folder)
    assert tree["usr/bin/suid"]["mode"] == "0o104755"
    assert tree["usr/bin/traceroute"]["xattrs"]["security.capability"].startswith("01000002")
    assert tree["etc/keep"]["owner"] == [33, 42]
    assert tree["etc/keep"]["xattrs"] == {"user.note": b"\0binary\xff".hex()}
    assert "system.posix_acl_access" in tree["var/log"]["xattrs"]
    assert tree["links/c"]["group"] == tree["links/new"]["group"] == "links/c"
    assert tree["opaque/newest"]["group"] == "etc/remove"
    assert tree["etc/d"]["group"] == "etc/d"  # the overlay parted it from links/c, which layer 2 linked anew
    assert {"opaque/new", "opaque/old", "todir", "links/a", "x/hidden", "transient"}.isdisjoint(tree)
    assert stat.S_ISDIR(int(tree["tolink"]["mode"], 8))
    assert max(len(name) for name in tree) > 255
    assert tree["."]["owner"] == [0, 3]
    uppers = [path for path in folder.glob("layer*/**/*") if stat.S_ISCHR(path.lstat().st_mode)]
    assert len(uppers) >= 5


@pytest.mark.parametrize("layout", ["squashed", "stages"])
def test_an_image_unpacks_to_the_tree_that_the_overlay_shows(folder: Path, layout: str) -> None:
    assert found(folder, "unpack", layout) == expected(folder)


@pytest.mark.parametrize("archive", ["tree.tar", "tree.tar.zst"])
def test_a_tar_unpacks_to_the_tree_that_the_overlay_shows(folder: Path, archive: str) -> None:
    assert found(folder, "untar", archive) == expected(folder)


def equal(left: Path, right: Path) -> bool:
    names = [sorted(str(path.relative_to(side)) for path in side.rglob("*")) for side in (left, right)]
    files = [name for name in names[0] if (left / name).is_file()]
    _, differ, failed = filecmp.cmpfiles(left, right, files, shallow=False)
    modes = [[(side / name).stat().st_mode for name in names[0]] for side in (left, right)]
    return names[0] == names[1] and not differ and not failed and modes[0] == modes[1]


def test_the_same_bytes_whatever_the_caller_s_surroundings(folder: Path) -> None:
    surroundings = {
        "TZ": "Asia/Kathmandu",
        "LC_ALL": "C",
        "LANG": "tr_TR.UTF-8",
        "SCENARIO_UMASK": "077",
        "GOMAXPROCS": "1",
    }
    in_namespace(folder, "export", folder, folder / "second", environment=surroundings)
    for name in ("squashed", "stages", "none"):
        assert equal(folder / "first" / name, folder / "second" / name)
    for name in ("tree.tar", "tree.tar.zst", "tree.tar.gz", "squashed.oci.tar", "squashed.docker.tar"):
        assert filecmp.cmp(folder / "first" / name, folder / "second" / name, shallow=False), name


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(folder: Path) -> None:
    in_namespace(folder, "full", folder)
    said = json.loads((folder / "full.json").read_text())
    assert said["zstd"].startswith("zstd could not write the output: ")
    for name in ("oci", "zstd"):
        assert "no space left on device" in said[name].lower()
        assert said[f"{name} left"] == ""


def inspect(reference: str, *options: str) -> dict[str, Any]:
    result = subprocess.run(["skopeo", "inspect", *options, reference], check=True, capture_output=True)
    return dict(json.loads(result.stdout))


def test_skopeo_reads_the_image(folder: Path) -> None:
    reference = f"oci:{folder}/first/stages:latest"
    summary, config = inspect(reference), inspect(reference, "--config")
    assert summary["Labels"] == {
        "org.opencontainers.image.created": "2023-11-14T22:13:20Z",
        "org.opencontainers.image.title": "scenario",
        "org.opencontainers.image.version": "1",
    }
    assert config["architecture"] == "arm64"
    assert config["variant"] == "v8"
    assert config["created"] == "2023-11-14T22:13:20Z"
    assert config["config"]["Cmd"] == ["/bin/sh", "-c", "echo a=b,c"]
    assert config["config"]["Env"] == ["A=x=y", "PATH=/bin"]
    layers = sorted(folder.glob("layer[0-9]"))
    assert [step["created_by"] for step in config["history"]] == [f"stage {number}" for number in range(len(layers))]
    assert {step["created"] for step in config["history"]} == {"2023-11-14T22:13:20Z"}
    assert len(config["rootfs"]["diff_ids"]) == len(layers)


def test_archives_hold_the_same_image(folder: Path) -> None:
    digests = [
        inspect(f"{kind}:{folder}/first/{name}")["Digest"]
        for kind, name in (("oci", "squashed:latest"), ("oci-archive", "squashed.oci.tar"))
    ]
    assert digests[0] == digests[1]
    assert inspect(f"docker-archive:{folder}/first/squashed.docker.tar", "--config")["variant"] == "v8"


def test_nothing_lies_in_a_layout_but_what_is_referenced(folder: Path) -> None:
    for name, layers in (("squashed", 1), ("stages", len(list(folder.glob("layer[0-9]")))), ("none", 0)):
        layout = folder / "first" / name
        assert len(list((layout / "blobs/sha256").iterdir())) == layers + 2
        assert {path.name for path in layout.iterdir()} == {"oci-layout", "index.json", "blobs"}


@pytest.fixture(scope="module")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of one static busybox, from the package mirror of this machine."""
    folder = tmp_path_factory.mktemp("busybox")
    subprocess.run(["apt-get", "-qq", "download", "busybox-static"], cwd=folder, check=True, stderr=subprocess.DEVNULL)
    (package,) = folder.glob("*.deb")
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "-x", package, tree], check=True)
    if not (tree / "bin").exists():
        (tree / "bin").symlink_to("usr/bin")
    for name in ("sh", "cat"):
        (tree / "bin" / name).symlink_to("busybox")
    (tree / "etc").mkdir(exist_ok=True)
    (tree / "etc/motd").write_text("from the image\n")
    return tree


PODMAN_RUN = ("--network=host", "--pull=never", "--rm")
ROOT_LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000")


@pytest.fixture
def storage() -> Iterator[Path]:
    """A storage of podman's own."""
    path = Path(tempfile.mkdtemp(prefix="dib-ctr-podman-", dir="/var/tmp"))
    yield path
    remove(path)


def podman_command(storage: Path) -> list[str]:
    """Podman with that storage, and the run-time that works on machines with a mixed cgroup hierarchy."""
    own = [f"--root={storage}/root", f"--runroot={storage}/run", f"--tmpdir={storage}/tmp"]
    return ["podman", *own, "--runtime=runc", "--storage-driver=vfs", "--cgroup-manager=cgroupfs"]


def podman(storage: Path, *arguments: str | Path) -> str:
    command = [*podman_command(storage), *map(str, arguments)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


OTHER = pytest.param("oci-archive", marks=pytest.mark.thorough("the same image in another archive"))


@pytest.mark.parametrize("kind", ["docker-archive", OTHER])
def test_podman_loads_and_runs_the_archive(busybox: Path, tmp_path: Path, storage: Path, kind: str) -> None:
    architecture = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout
    goarch, variant = platform(architecture.strip())
    config = ImageConfig(goarch, EPOCH, variant=variant, cmd=("sh", "-c", "cat /etc/motd; echo $A"), env={"A": "a=b"})
    layout, archive = tmp_path / "layout", tmp_path / "archive.tar"
    write_oci(layout, "latest", [LayerSource(busybox, "tree", "busybox")], config)
    with archive.open("wb") as out:
        if kind == "docker-archive":
            write_docker_archive(layout, out, name="Tiny-Image", epoch=EPOCH)
        else:
            write_oci_archive(layout, out, epoch=EPOCH)
    name = podman(storage, "load", "--input", archive).strip().split()[-1]
    if kind == "docker-archive":
        assert name == "localhost/tiny-image:latest"
    limits = () if os.geteuid() else ROOT_LIMITS
    assert podman(storage, "run", *PODMAN_RUN, *limits, name) == "from the image\na=b\n"


def test_podman_unpacks_the_layers_to_the_tree_that_the_overlay_shows(
    folder: Path, tmp_path: Path, storage: Path
) -> None:
    archive = tmp_path / "stages.tar"
    with archive.open("wb") as out:
        write_docker_archive(folder / "first/stages", out, name="stages", epoch=EPOCH)
    podman(storage, "load", "--input", archive)
    script = 'code=$1 out=$2; shift 2; PYTHONPATH=$code exec python3 -B $code/export_scenario.py list "$("$@")" "$out"'
    mounting = [*podman_command(storage), "image", "mount", "localhost/stages:latest"]
    listing = ["/bin/sh", "-euc", script, "sh", str(folder / "code"), str(tmp_path / "list.json"), *mounting]
    inside = [*podman_command(storage), "unshare"] if os.geteuid() else []
    subprocess.run([*inside, *listing], check=True)
    trees = [json.loads((tmp_path / "list.json").read_text()), expected(folder)]
    for entry in (entry for tree in trees for entry in tree.values()):
        entry["xattrs"].pop("system.posix_acl_access", None)  # podman's vfs storage loses access lists
    assert trees[0] == trees[1]
