"""Images on many machines: groups for runners, and manifests that Kubernetes takes."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from blockdev.core.errors import UsageError
from builder.cli import main
from builder.engines import remote_address
from builder.engines.protocol import EngineError
from builder.engines.subordinate_ids import ids_of
from builder.fleet import ci_matrix, kubernetes
from builder.fleet.image import PlannedBuild
from builder.frontends.images_file.load import checked, load

ELEMENTS = Path(__file__).parents[3] / "elements"
KUBERNETES = "1.33"
FILE = """
defaults: {elements-path: elements}
images:
  base: {abstract: true, elements: [tiny]}
  plain: {extends: base}
  greets: {extends: base, elements: [greeting], matrix: {DIB_GREETING: [hi, hello]}}
  small: {extends: base, arch: arm64, outputs: [tar]}
  other: {elements: [other-os]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An images file with elements of its own beside it."""
    for name, script in (("tiny", "echo 1"), ("other-os", "echo 2"), ("greeting", 'echo "$DIB_GREETING"')):
        phase = "install.d" if name == "greeting" else "root.d"
        place = tmp_path / "elements" / name / phase / "50-it"
        place.parent.mkdir(parents=True)
        place.write_text(f"#!/bin/bash\nset -eu\n{script}\n")
        place.chmod(0o755)
        if phase == "root.d":
            (tmp_path / "elements" / name / "element-provides").write_text("operating-system\n")
    (tmp_path / "images.yaml").write_text(FILE)
    return tmp_path


def _validator() -> Any:
    import kubernetes_validate  # seconds, and every process of a test run collects this file

    return kubernetes_validate


def validate(manifest: dict[str, Any]) -> None:
    """As Kubernetes of that version would take it; a field that it does not know is a mistake."""
    _validator().validate(manifest, KUBERNETES, strict=True)


def planned(folder: Path) -> list[PlannedBuild]:
    return checked(load([folder / "images.yaml"], folder), os.environ)


# -- runners -----------------------------------------------------------------------------------------


def test_images_that_share_layers_meet_on_one_runner(folder: Path) -> None:
    found = ci_matrix.groups(planned(folder), labels=ci_matrix.RUNNERS)
    assert [(group.images, group.label) for group in found] == [
        (("plain", "greets-hi", "greets-hello"), "ubuntu-24.04"),
        (("small",), "ubuntu-24.04-arm"),
        (("other",), "ubuntu-24.04"),
    ]
    assert found[0].shared == 2  # the tree's beginning, and what follows it; the greeting differs
    assert found == ci_matrix.groups(planned(folder), labels=ci_matrix.RUNNERS)


def test_few_runners_and_few_images_each(folder: Path) -> None:
    images = planned(folder)
    two = ci_matrix.groups(images, labels=ci_matrix.RUNNERS, most=2)
    assert [group.images for group in two] == [("plain", "greets-hi", "greets-hello", "other"), ("small",)]
    pairs = ci_matrix.groups(images, labels=ci_matrix.RUNNERS, each=2)
    assert [len(group.images) for group in pairs] == [2, 1, 1, 1]
    with pytest.raises(UsageError, match="one for each of amd64, arm64"):
        ci_matrix.groups(images, labels=ci_matrix.RUNNERS, most=1)
    with pytest.raises(UsageError, match="2 runners with at most 2 images each are too few"):
        ci_matrix.groups(images, labels=ci_matrix.RUNNERS, most=2, each=2)


def test_at_most_256_jobs() -> None:
    keys = {f"i{number}": (f"k{number // 2}", f"{number}") for number in range(700)}
    arches = dict.fromkeys(keys, "amd64")
    found = ci_matrix.grouped(keys, arches, labels=ci_matrix.RUNNERS, most=1000)
    assert len(found) == 256
    assert sorted(name for group in found for name in group.images) == sorted(keys)
    places = {name: group for group in found for name in group.images}
    assert all(places[f"i{number}"] is places[f"i{number + 1}"] for number in range(0, 700, 2))
    with pytest.raises(UsageError, match="256 runners with at most 1 images each are too few for 700"):
        ci_matrix.grouped(keys, arches, labels=ci_matrix.RUNNERS, each=1, most=1000)


@pytest.mark.parametrize(
    ("arches", "runner"),
    [
        (["amd64"], "amd64"),
        (["arm64"], "arm64"),
        (["arm64", "amd64"], "amd64"),
        (["i386"], "amd64"),
        (["s390x"], "amd64"),
    ],
)
def test_runners_by_architecture(arches: list[str], runner: str) -> None:
    assert ci_matrix.runner_arch(arches, ci_matrix.RUNNERS) == runner


def test_the_matrix_is_one_line_of_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(folder / "images.yaml")
    assert main(["matrix", "-f", file, "--format", "github", "--runner", "arm64=mine", "--max-images", "2"]) == 0
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    jobs = json.loads(line)["include"]
    assert [job["runs-on"] for job in jobs] == ["ubuntu-24.04", "ubuntu-24.04", "mine", "ubuntu-24.04"]
    assert sorted(" ".join(job["images"] for job in jobs).split()) == sorted(
        ["plain", "greets-hi", "greets-hello", "small", "other"]
    )
    assert main(["matrix", "-f", file, "--runner", "arm64"]) == 2
    assert main(["matrix"]) == 2


# -- Kubernetes --------------------------------------------------------------------------------------


def wanted(folder: Path, **more: Any) -> kubernetes.KubernetesOptions:
    return kubernetes.KubernetesOptions(image="registry.example.org/dib-ctr:1", files=(folder / "images.yaml",), **more)


def test_manifests_are_what_kubernetes_takes(folder: Path) -> None:
    images = [one for one in planned(folder) if one.image.name != "small"]
    found = kubernetes.manifests(images, wanted(folder, push="registry.example.org/os/", secret="login", namespace="x"))
    for manifest in found.values():
        validate(manifest)
    jobs = {name: one for name, one in found.items() if one["kind"] == "Job"}
    assert list(jobs) == ["job-plain.yaml", "job-greets-hi.yaml", "job-greets-hello.yaml", "job-other.yaml"]
    pod = jobs["job-greets-hi.yaml"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["hostUsers"] is False
    assert container["args"][-1] == "greets-hi"
    context = container["securityContext"]
    assert (context["privileged"], context["allowPrivilegeEscalation"]) == (False, False)
    assert "SYS_ADMIN" not in context["capabilities"]["add"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_a_validator_finds_a_wrong_field(folder: Path) -> None:
    """That the check above can fail."""
    found = kubernetes.manifests(planned(folder), wanted(folder, claim="out"))
    found["job-plain.yaml"]["spec"]["template"]["spec"]["hostUser"] = False
    with pytest.raises(_validator().ValidationError):
        validate(found["job-plain.yaml"])


def test_what_images_need_travels_in_a_config_map_of_the_same_bytes(folder: Path) -> None:
    found = kubernetes.manifests(planned(folder), wanted(folder, claim="out"))
    config = found["config.yaml"]
    assert config["data"] == {"images.yaml": FILE}
    archive = base64.b64decode(config["binaryData"]["elements.tar.gz"])
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        member = tar.getmember("elements/tiny/root.d/50-it")
        assert (member.mode, member.uid, member.mtime) == (0o755, 0, 0)
    (folder / "elements/tiny/root.d/50-it").touch()
    assert kubernetes.manifests(planned(folder), wanted(folder, claim="out")) == found


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({}, "would be gone with its pod"),
        ({"claim": "out", "files": ("a/images.yaml", "b/images.yaml")}, "have the name"),
    ],
)
def test_what_makes_no_sense_is_refused(folder: Path, more: dict[str, Any], what: str) -> None:
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "images.yaml").write_text(FILE)
    files = tuple(folder / name for name in more.pop("files", ("images.yaml",)))
    with pytest.raises(UsageError, match=what):
        kubernetes.manifests(planned(folder), kubernetes.KubernetesOptions("i", files, **more))


def test_large_elements_are_refused_before_the_cluster_refuses_them(folder: Path) -> None:
    (folder / "elements/tiny/large").write_bytes(subprocess.check_output(["head", "-c", "1100000", "/dev/urandom"]))
    with pytest.raises(UsageError, match="a ConfigMap holds"):
        kubernetes.manifests(planned(folder), wanted(folder, claim="out"))


def test_names_become_labels() -> None:
    assert kubernetes.label("Debian_12.oci") == "debian-12-oci"
    long = [kubernetes.label(f"{'x' * 50}{end}") for end in "ab"]
    assert long[0] != long[1]
    assert all(len(name) <= 40 for name in long)


def test_files_for_kustomize(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "k8s",
        "-f",
        str(folder / "images.yaml"),
        "--image",
        "i",
        "--claim",
        "out",
        "--output",
        str(folder / "k8s"),
    ]
    assert main([*words, "plain", "other"]) == 0
    listed = yaml.safe_load((folder / "k8s/kustomization.yaml").read_text())["resources"]
    assert listed == ["config.yaml", "job-other.yaml", "job-plain.yaml"]
    assert main([*words, "plain"]) == 0
    assert sorted(file.name for file in (folder / "k8s").iterdir()) == [
        *("config.yaml", "job-plain.yaml", "kustomization.yaml")
    ]
    capsys.readouterr()
    assert main(["k8s", "-f", str(folder / "images.yaml"), "--image", "i", "--claim", "out"]) == 0
    text = capsys.readouterr().out
    assert "&id" not in text  # no anchors: people read it
    kinds = [one["kind"] for one in yaml.safe_load_all(text)]
    assert kinds == ["ConfigMap", *["Job"] * 5]


# -- engines elsewhere -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "host", "variables"),
    [
        ("docker", "ssh://me@there", {"DOCKER_HOST": "ssh://me@there"}),
        ("docker", "there", {"DOCKER_CONTEXT": "there"}),
        ("docker-socket", "tcp://127.0.0.1:1", {"DOCKER_HOST": "tcp://127.0.0.1:1"}),
        ("podman", "unix:///run/x", {"CONTAINER_HOST": "unix:///run/x"}),
        ("podman", "there", {"CONTAINER_CONNECTION": "there"}),
    ],
)
def test_where_an_engine_is(engine: str, host: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("DOCKER_HOST", "DOCKER_CONTEXT", "CONTAINER_HOST", "CONTAINER_CONNECTION")
    for name in names:
        monkeypatch.setenv(name, "before")
    remote_address.use(engine, host)
    mine = names[:2] if engine.startswith("docker") else names[2:]
    expected = variables if engine != "docker-socket" else {**variables, "DOCKER_CONTEXT": "before"}
    assert {name: os.environ[name] for name in mine if name in os.environ} == expected


@pytest.mark.parametrize(
    ("engine", "host", "what"),
    [
        ("host", "unix:///x", "the engine host is not told where"),
        ("auto", "unix:///x", "the engine auto is not told where"),
        ("docker", "ftp://x", "there is no ftp://"),
        ("podman-socket", "name", "takes an address"),
    ],
)
def test_where_an_engine_cannot_be(engine: str, host: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        remote_address.use(engine, host)


def test_what_does_not_fit_the_machine_behind_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match="of the architecture s390x"):
        remote_address.check_architecture("docker", "s390x")
    with pytest.raises(EngineError, match="knows unix:// and tcp://") as caught:
        remote_address.check_socket("docker-socket", "ssh://x")
    assert "--engine docker" in caught.value.hint
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    with pytest.raises(EngineError, match="speaks no TLS"):
        remote_address.check_socket("docker-socket", "tcp://x:1")
    remote_address.check_socket("podman-socket", "tcp://x:1")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("         0          0 4294967295\n", 4294967295),
        ("         0     100000      65536\n", 65536),
        ("         0       1000          1\n         1     100000      65536\n", 65537),
        ("      1000       1000          1\n", 0),
    ],
)
def test_how_many_ids_a_namespace_has(text: str, count: int) -> None:
    assert ids_of(text) == count
