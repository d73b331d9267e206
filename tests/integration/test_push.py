"""Pushing to a real registry on loopback: what arrives, what is sent again, what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.multiarch import write_index
from builder.push import check, parse_reference, push
from stages.errors import BuildError
from stages.export import layout
from tests.integration.command import Command, Outcome
from tests.integration.registry import PASSWORD, USER, Running, flaky, free_port, registry


@pytest.fixture(scope="module")
def running(open_folder: Path) -> Iterator[Running]:
    with registry(open_folder / "registry") as found:
        yield found


@pytest.fixture(scope="module")
def command(open_folder: Path) -> Command:
    return Command("host", open_folder / "push-store", open_folder / "push-out")


@pytest.fixture(scope="module")
def image(command: Command) -> Path:
    """A small image with its documents."""
    command.build("--name", "pushed", "tiny-os")
    return command.destination / "pushed.oci"


def raw(host: str, path: str) -> bytes:
    types = f"{layout.MANIFEST_TYPE}, {layout.INDEX_TYPE}"
    asked = urllib.request.Request(f"http://{host}/v2/{path}", headers={"Accept": types})
    with urllib.request.urlopen(asked) as answer:
        data: bytes = answer.read()
        return data


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_what_is_pushed_is_the_layouts_own_image(running: Running, image: Path, tmp_path: Path) -> None:
    reference = parse_reference(f"{running.host}/team/tiny:1.0")
    digest = layout.read_image(image).digest
    assert push(image, reference, insecure=True) == f"{running.host}/team/tiny@{digest}"
    assert digest_of(raw(running.host, "team/tiny/manifests/1.0")) == digest
    back = tmp_path / "back"
    source = f"docker://{running.host}/team/tiny:1.0"
    subprocess.run(["skopeo", "copy", "--src-tls-verify=false", "-q", source, f"oci:{back}:1.0"], check=True)
    assert layout.read_image(back).digest == digest


def test_what_is_attached_is_found_by_the_rules_of_referrers(running: Running, image: Path) -> None:
    reference = parse_reference(f"{running.host}/team/attached:1")
    push(image, reference, insecure=True)
    digest = layout.read_image(image).digest
    tag = digest.replace(":", "-")
    listed = json.loads(raw(running.host, f"team/attached/manifests/{tag}"))["manifests"]
    kinds = {"application/vnd.cyclonedx+json", "application/spdx+json", "application/vnd.in-toto+json"}
    assert {entry["artifactType"] for entry in listed} == kinds
    documents = set()
    for entry in listed:
        manifest = raw(running.host, f"team/attached/manifests/{entry['digest']}")
        assert digest_of(manifest) == entry["digest"]
        parsed = json.loads(manifest)
        assert parsed["subject"]["digest"] == digest
        documents.add(raw(running.host, f"team/attached/blobs/{parsed['layers'][0]['digest']}"))
    beside = {path.read_bytes() for path in image.parent.glob("pushed.oci.*.json")}
    assert documents == beside


def test_a_list_that_is_there_is_added_to(running: Running, image: Path, tmp_path: Path) -> None:
    reference = parse_reference(f"{running.host}/team/joined:1")
    subprocess.run(["cp", "-a", str(image), str(tmp_path / "one")], check=True)
    digest = layout.read_image(image).digest
    listing = tmp_path / "one/referrers/sha256" / f"{digest.removeprefix('sha256:')}.json"
    whole = json.loads(listing.read_text())
    for part in (whole["manifests"][:1], whole["manifests"][1:]):
        listing.write_text(json.dumps({**whole, "manifests": part}))
        push(tmp_path / "one", reference, insecure=True)
    listed = json.loads(raw(running.host, f"team/joined/manifests/{digest.replace(':', '-')}"))["manifests"]
    assert {entry["digest"] for entry in listed} == {entry["digest"] for entry in whole["manifests"]}


def test_pushing_again_sends_nothing(running: Running, image: Path) -> None:
    reference = parse_reference(f"{running.host}/team/again:1")
    push(image, reference, insecure=True)
    sent = len(running.requests("PATCH")) + len(running.requests("POST"))
    push(image, reference, insecure=True)
    assert len(running.requests("PATCH")) + len(running.requests("POST")) == sent
    push(image, parse_reference(f"{running.host}/team/again:2"), insecure=True)
    assert len(running.requests("PATCH")) + len(running.requests("POST")) == sent


def test_all_architectures_are_pushed(running: Running, image: Path, command: Command, tmp_path: Path) -> None:
    subprocess.run(["cp", "-a", str(image), str(tmp_path / "other")], check=True)
    parts = layout.read_image(image)
    layers = [
        layout.Layer(each["mediaType"], each["digest"], each["size"], diff, "")
        for each, diff in zip(parts.manifest["layers"], parts.config["rootfs"]["diff_ids"], strict=True)
    ]
    layout.complete(tmp_path / "other", layers, {"architecture": "riscv64", "os": "linux"}, "2026-01-01T00:00:00Z")
    digest = write_index([image, tmp_path / "other"], tmp_path / "both", "1", 1_700_000_000)
    reference = parse_reference(f"{running.host}/team/both:1")
    assert push(tmp_path / "both", reference, insecure=True).endswith(digest)
    index = json.loads(raw(running.host, "team/both/manifests/1"))
    for entry in index["manifests"]:
        assert digest_of(raw(running.host, f"team/both/manifests/{entry['digest']}")) == entry["digest"]


def cli(*arguments: str, environment: dict[str, str] | None = None) -> Outcome:
    done = subprocess.run(
        [sys.executable, "-m", "builder.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_a_build_pushes_and_a_layout_can_be_pushed_later(running: Running, command: Command, image: Path) -> None:
    outcome = command.build("--push", f"{running.host}/built/tiny:1", "--insecure", "--name", "pushed", "tiny-os")
    digest = layout.read_image(image).digest
    assert f"pushed: {running.host}/built/tiny@{digest}" in outcome.stderr
    said = cli("push", "--insecure", str(image), f"{running.host}/later/tiny:1")
    assert said.stdout.strip().endswith(f"{digest} (as 1)"), said.stderr
    refused = cli("push", str(image), f"{running.host}/later/tiny:1")
    assert refused.status == 1
    assert "--insecure" in refused.stderr


def test_passwords_come_from_the_engines_auth_file(open_folder: Path, image: Path, tmp_path: Path) -> None:
    with registry(open_folder / "locked-registry", password=True) as closed:
        secret = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (tmp_path / "auth.json").write_text(json.dumps({"auths": {closed.host: {"auth": secret}}}))
        none = {"REGISTRY_AUTH_FILE": str(tmp_path / "none.json")}
        place = f"{closed.host}/team/tiny:1"
        refused = cli("push", "--insecure", str(image), place, environment=none)
        assert refused.status == 1
        assert f"podman login {closed.host}" in refused.stderr
        allowed = {"REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}
        assert cli("push", "--insecure", str(image), place, environment=allowed).status == 0
        given = cli(
            "push", "--insecure", "--authfile", str(tmp_path / "auth.json"), str(image), place, environment=none
        )
        assert given.status == 0, given.stderr
        wrong = base64.b64encode(f"{USER}:wrong".encode()).decode()
        (tmp_path / "auth.json").write_text(json.dumps({"auths": {closed.host: {"auth": wrong}}}))
        assert cli("push", "--insecure", str(image), place, environment=allowed).status == 1


def test_a_registry_that_stumbles_is_asked_again(running: Running, image: Path) -> None:
    with flaky(running.host, 2) as way:
        reference = parse_reference(f"{way.host}/team/flaky:1")
        digest = layout.read_image(image).digest
        assert push(image, reference, insecure=True).endswith(digest)
        assert len(way.failed) == 2
    assert digest_of(raw(running.host, "team/flaky/manifests/1")) == digest


def test_a_registry_that_is_not_there_is_refused_before_any_work(command: Command) -> None:
    place = f"localhost:{free_port()}/team/tiny:1"
    before = sorted(command.destination.rglob("*"))
    outcome = command("build", "--push", place, "--insecure", "--name", "never", "tiny-os")
    assert outcome.status == 1
    assert outcome.events == []
    assert "does not answer" in outcome.stderr
    assert sorted(command.destination.rglob("*")) == before
    with pytest.raises(BuildError, match="does not answer"):
        check(parse_reference(place), insecure=False, authfile=None)


def test_what_makes_no_sense_is_bad_usage(command: Command, image: Path, tmp_path: Path) -> None:
    for arguments, word in (
        (("build", "--push", "nginx", "tiny-os"), "name the registry"),
        (("build", "--push", "localhost:5000/UPPER:1", "tiny-os"), "lower case"),
        (("build", "--push", "localhost:5000/a@sha256:" + "0" * 64, "tiny-os"), "name a tag"),
        (("build", "--push", "localhost:5000/a:1", "-o", "tar", "tiny-os"), "output oci"),
        (("build", "--insecure", "tiny-os"), "--push only"),
        (("build", "--sign", "tiny-os"), "--push only"),
    ):
        outcome = command(*arguments)
        assert outcome.status == 2, arguments
        assert word in outcome.stderr
    assert cli("push", str(tmp_path), "localhost:5000/a:1").status == 2


def test_a_push_that_fails_leaves_no_tag(open_folder: Path, image: Path, tmp_path: Path) -> None:
    """The tag comes last: what arrived before is no image yet."""
    subprocess.run(["cp", "-a", str(image), str(tmp_path / "torn")], check=True)
    parts = layout.read_image(tmp_path / "torn")
    layout.blob(tmp_path / "torn", parts.layer_digests[0]).unlink()
    with registry(open_folder / "empty-registry") as empty:
        with pytest.raises(BuildError, match="did not take the image"):
            push(tmp_path / "torn", parse_reference(f"{empty.host}/team/torn:1"), insecure=True)
        with pytest.raises(urllib.error.HTTPError):
            raw(empty.host, "team/torn/manifests/1")
