"""An image as its users would take it from a registry: slim, described, configured; read with other people's tools."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.command import Command, Outcome, script, write_element

pytestmark = [pytest.mark.slow, pytest.mark.thorough("debian-minimal in six forms: minutes")]

LIMIT = 29_800_000  # bytes: what the distribution's own slim image comes to


@pytest.fixture(scope="module")
def host(open_folder: Path) -> Iterator[Command]:
    """The host engine, with debian-minimal in every shape that these tests look at."""
    folder = open_folder / "image"
    folder.mkdir()
    write_element(
        folder / "elements",
        "web",
        {
            "image-config.yaml": "entrypoint: [/bin/sh, -c]\ncmd: [echo served]\nuser: www-data\nports: [8080]\n"
            "volumes: [/srv/data]\nenv: {MODE: fast}\nlabels: {org.example.team: web}\nstop-signal: SIGQUIT\n"
            "workdir: /srv\n",
            "install.d/50-web": script("mkdir -p /usr/share/doc/web /srv/data; echo > /usr/share/doc/web/README"),
        },
    )
    command = Command("host", folder / "store", folder / "out", (folder / "elements",))
    yield command
    if os.geteuid() != 0:
        subprocess.run(["unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf", command.store], check=False)


def built(host: Command, name: str, *arguments: str) -> Path:
    """An image layout of this name, built with these arguments."""
    target = host.destination / f"{name}.oci"
    host.build(*arguments, "--name", name, "debian-minimal")
    return target


def manifest_of(layout: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(subprocess.check_output(["skopeo", "inspect", "--raw", f"oci:{layout}"]))
    return found


def names_in(layout: Path) -> dict[str, tarfile.TarInfo]:
    """The members of all layers, by name; whiteouts and what they hide are as they come."""
    found = {}
    for layer in manifest_of(layout)["layers"]:
        blob = layout / "blobs/sha256" / layer["digest"].removeprefix("sha256:")
        with tarfile.open(blob) as archive:
            found.update({member.name: member for member in archive})
    return found


def content(layout: Path, name: str) -> bytes:
    layer = manifest_of(layout)["layers"][-1]
    with tarfile.open(layout / "blobs/sha256" / layer["digest"].removeprefix("sha256:")) as archive:
        data = archive.extractfile(name)
        assert data is not None
        return data.read()


# -- slim


def test_an_image_is_as_small_as_the_official_slim_one(host: Command) -> None:
    layout = built(host, "plain")
    assert sum(layer["size"] for layer in manifest_of(layout)["layers"]) <= LIMIT
    names = names_in(layout)
    assert {"usr/bin/apt-get", "usr/bin/dpkg", "usr/share/doc/apt/copyright", "usr/share/common-licenses/GPL-3"} <= set(
        names
    )
    for folder in ("usr/share/man/", "usr/share/info/", "var/lib/apt/lists/", "var/cache/apt/"):
        assert not [name for name, member in names.items() if name.startswith(folder) and member.isreg()], folder
    documents = [name for name, member in names.items() if name.startswith("usr/share/doc/") and member.isreg()]
    assert {name.rpartition("/")[2] for name in documents} == {"copyright"}
    assert not [name for name in names if "__pycache__" in name or name.startswith("etc/ssh/ssh_host")]
    locales = {name for name, member in names.items() if name.startswith("usr/share/locale/") and member.isreg()}
    assert locales <= {"usr/share/locale/locale.alias"}
    assert "usr/lib/locale/C.utf8/LC_CTYPE" in names
    assert all(member.size == 0 for name, member in names.items() if name.startswith("var/log/") and member.isreg())
    assert "etc/machine-id" not in names or names["etc/machine-id"].size == 0
    assert b"path-exclude=/usr/share/man/*" in content(layout, "etc/dpkg/dpkg.cfg.d/90-slim")


def test_every_document_and_no_rule_is_there_without_slim(host: Command) -> None:
    layout = built(host, "whole", "--no-slim")
    names = names_in(layout)
    assert [name for name in names if name.startswith("usr/share/man/man1/")]
    assert "etc/dpkg/dpkg.cfg.d/90-slim" not in names
    host.build("-o", "tar", "--name", "whole-tar", "debian-minimal")
    with tarfile.open(host.destination / "whole-tar.tar") as archive:
        assert set(archive.getnames()) == set(names)


def test_a_policy_of_ones_own(host: Command, place: Path) -> None:
    (place / "mine.yaml").write_text("leftover: {drop: [/usr/share/zoneinfo/**, /usr/share/man/**]}\n")
    layout = built(host, "mine", "--slim", str(place / "mine.yaml"))
    names = names_in(layout)
    assert not [name for name in names if name.startswith("usr/share/man/")]
    assert [name for name in names if name.startswith("usr/share/doc/apt/")]
    (place / "mine.yaml").write_text("leftover: {drop: [/usr/share/doc/apt/**]}\n")
    layout = built(host, "mine", "--slim", str(place / "mine.yaml"))
    assert not [name for name in names_in(layout) if name.startswith("usr/share/doc/apt/")]


def test_a_layer_per_stage_is_the_same_slim_tree(host: Command, tmp_path: Path) -> None:
    trees = []
    for name, layers in (("one", "squashed"), ("one", "stages")):
        target = host.destination / f"{name}-{layers}.oci"
        host.build("-o", f"oci,layers={layers},dest={target}", "--name", name, "debian-minimal", "web")
        bundle = tmp_path / layers
        rootless = [] if os.geteuid() == 0 else ["--rootless"]
        subprocess.run(["umoci", "unpack", *rootless, "--image", f"{target}:latest", str(bundle)], check=True)
        root = bundle / "rootfs"
        trees.append(
            {
                str(path.relative_to(root)): (path.lstat().st_mode, path.lstat().st_size if path.is_file() else 0)
                for path in root.rglob("*")
            }
        )
    assert len(trees[0]) > 2000
    assert trees[0] == trees[1]


def test_zstd_is_smaller_and_reads_back(host: Command, tmp_path: Path) -> None:
    target = host.destination / "small.oci"
    host.build("-o", f"oci,compress=zstd,dest={target}", "--name", "plain", "debian-minimal")
    plain = built(host, "plain")
    layers = manifest_of(target)["layers"]
    assert layers[0]["mediaType"].endswith("+zstd")
    assert layers[0]["size"] < manifest_of(plain)["layers"][0]["size"]
    data = (target / "blobs/sha256" / layers[0]["digest"].removeprefix("sha256:")).read_bytes()
    plain_tar = subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=True).stdout
    config = json.loads(subprocess.check_output(["skopeo", "inspect", "--config", "--raw", f"oci:{plain}"]))
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(plain_tar).hexdigest()}"]


# -- configuration


def test_an_element_configures_the_image(host: Command) -> None:
    host.build("--name", "web", "debian-minimal", "web")
    config = json.loads(
        subprocess.check_output(["skopeo", "inspect", "--config", "--raw", f"oci:{host.destination}/web.oci"])
    )["config"]
    assert config["Entrypoint"] == ["/bin/sh", "-c"]
    assert config["Cmd"] == ["echo served"]
    assert config["User"] == "www-data"
    assert config["ExposedPorts"] == {"8080/tcp": {}}
    assert config["Volumes"] == {"/srv/data": {}}
    assert "MODE=fast" in config["Env"]
    assert config["Labels"]["org.example.team"] == "web"
    assert config["StopSignal"] == "SIGQUIT"
    assert config["WorkingDir"] == "/srv"


def refused(host: Command, *arguments: str) -> Outcome:
    """A build that is refused as bad usage, before it starts."""
    before = sorted(host.destination.rglob("*"))
    outcome = host("build", *arguments)
    assert outcome.status == 2, outcome.stdout + outcome.stderr
    assert outcome.events == []
    assert sorted(host.destination.rglob("*")) == before
    return outcome


def test_bad_input_is_refused_before_any_work(host: Command, place: Path) -> None:
    other = Command("host", host.store, host.destination, (*host.elements, place / "elements"))
    write_element(place / "elements", "wrong", {"image-config.yaml": "user: web\nport: [80]\n"})
    said = refused(other, "debian-minimal", "wrong").stderr
    assert "wrong/image-config.yaml:2" in said
    assert "'port'" in said
    write_element(place / "elements", "clash", {"image-config.yaml": "user: nobody\n"})
    said = refused(other, "debian-minimal", "web", "clash").stderr
    assert "web/image-config.yaml" in said
    assert "clash/image-config.yaml" in said
    (place / "bad.yaml").write_text("leftover:\n  drop: /usr\n")
    assert "bad.yaml:2" in refused(host, "--slim", str(place / "bad.yaml"), "debian-minimal").stderr
    assert "there is" in refused(host, "--slim", "debain", "debian-minimal").stderr
    assert "exclude each other" in refused(host, "--slim", "debian", "--no-slim", "debian-minimal").stderr
    assert "seconds" in refused(host, "--set", "SOURCE_DATE_EPOCH=today", "debian-minimal").stderr


# -- documents


def test_documents_lie_beside_the_image_and_are_attached(host: Command) -> None:
    layout = built(host, "plain")
    digest = (
        "sha256:" + hashlib.sha256(subprocess.check_output(["skopeo", "inspect", "--raw", f"oci:{layout}"])).hexdigest()
    )
    beside = {suffix: layout.with_name(f"plain.oci.{suffix}.json") for suffix in ("cdx", "spdx", "provenance")}
    documents = {suffix: json.loads(path.read_text()) for suffix, path in beside.items()}
    assert {"apt", "dpkg", "libc6"} <= {each["name"] for each in documents["cdx"]["components"]}
    assert {"apt", "dpkg", "libc6"} <= {each["name"] for each in documents["spdx"]["packages"]}
    statement = documents["provenance"]
    assert statement["subject"][0]["digest"]["sha256"] == digest.removeprefix("sha256:")
    listed = json.loads((layout / f"referrers/sha256/{digest.removeprefix('sha256:')}.json").read_text())
    attached = []
    for entry in listed["manifests"]:
        manifest = json.loads((layout / "blobs/sha256" / entry["digest"].removeprefix("sha256:")).read_text())
        assert manifest["subject"]["digest"] == digest
        attached.append(layout / "blobs/sha256" / manifest["layers"][0]["digest"].removeprefix("sha256:"))
    assert {path.read_bytes() for path in attached} == {path.read_bytes() for path in beside.values()}
    inside = json.loads(content(layout, "usr/share/dib-ctr/manifest.json"))
    assert {package["name"] for package in inside["packages"]} >= {"apt", "dpkg", "libc6"}
    assert inside["elements"] == sorted(inside["elements"])


def test_a_document_that_is_gone_comes_back_and_no_documents_means_none(host: Command) -> None:
    layout = built(host, "plain")
    beside = layout.with_name("plain.oci.cdx.json")
    text = beside.read_bytes()
    beside.unlink()
    built(host, "plain")
    assert beside.read_bytes() == text
    bare = built(host, "bare", "--no-documents")
    assert not list(bare.parent.glob("bare.oci.*"))
    assert not (bare / "referrers").exists()
