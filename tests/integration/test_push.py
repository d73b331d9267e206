"""Pushing to a real registry on loopback: what arrives, what is sent again, what is refused."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockdev.core.errors import BuildError
from builder.build.image_index import write_index
from builder.registry.push import check, parse_reference, push
from stages.outputs.formats import media_types, oci_layout
from tests.integration.command import Command
from tests.integration.engine_cases import missing
from tests.integration.pushed import cli, digest_of, living, raw
from tests.integration.registry import (
    PASSWORD,
    USER,
    Answer,
    Asked,
    Failing,
    Holding,
    Issuing,
    Running,
    free_port,
    proxy,
    registry,
)


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


def test_what_is_pushed_is_the_layouts_own_image(running: Running, image: Path, tmp_path: Path) -> None:
    reference = parse_reference(f"{running.host}/team/tiny:1.0")
    digest = oci_layout.read_image(image).digest
    assert push(image, reference, insecure=True) == f"{running.host}/team/tiny@{digest}"
    assert digest_of(raw(running.host, "team/tiny/manifests/1.0")) == digest
    back = tmp_path / "back"
    source = f"docker://{running.host}/team/tiny:1.0"
    subprocess.run(["skopeo", "copy", "--src-tls-verify=false", "-q", source, f"oci:{back}:1.0"], check=True)
    assert oci_layout.read_image(back).digest == digest


def test_what_is_attached_is_found_by_the_rules_of_referrers(running: Running, image: Path) -> None:
    reference = parse_reference(f"{running.host}/team/attached:1")
    push(image, reference, insecure=True)
    digest = oci_layout.read_image(image).digest
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
    digest = oci_layout.read_image(image).digest
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


@pytest.fixture(scope="module")
def both(image: Path, open_folder: Path) -> Path:
    """The small image twice, the second time as if it were for another architecture."""
    other = open_folder / "other"
    subprocess.run(["cp", "-a", str(image), str(other)], check=True)
    parts = oci_layout.read_image(image)
    layers = [
        oci_layout.Layer(each["mediaType"], each["digest"], each["size"], diff, "")
        for each, diff in zip(parts.manifest["layers"], parts.config["rootfs"]["diff_ids"], strict=True)
    ]
    oci_layout.complete(other, layers, {"architecture": "riscv64", "os": "linux"}, "2026-01-01T00:00:00Z")
    write_index([image, other], open_folder / "both", "1", 1_700_000_000)
    return open_folder / "both"


def test_all_architectures_are_pushed(running: Running, both: Path) -> None:
    raw_index = subprocess.check_output(["skopeo", "inspect", "--raw", f"oci:{both}"])
    reference = parse_reference(f"{running.host}/team/both:1")
    assert push(both, reference, insecure=True).endswith(digest_of(raw_index))
    assert raw(running.host, "team/both/manifests/1") == raw_index
    index = json.loads(raw_index)
    assert len(index["manifests"]) == 2
    for entry in index["manifests"]:
        assert digest_of(raw(running.host, f"team/both/manifests/{entry['digest']}")) == entry["digest"]
    attached = json.loads(raw(running.host, "team/both/tags/list"))["tags"]
    assert f"sha256-{index['manifests'][0]['digest'].removeprefix('sha256:')}" in attached


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
@pytest.mark.parametrize("arch", ["amd64", "riscv64"])
def test_one_of_several_architectures_is_taken_out(both: Path, open_folder: Path, tmp_path: Path, arch: str) -> None:
    """With skopeo (then umoci reads it), and with podman."""
    chosen = ["skopeo", f"--override-arch={arch}", "--override-os=linux", "copy", "-q"]
    subprocess.run([*chosen, f"oci:{both}", f"oci:{tmp_path}/one:1"], check=True)
    assert oci_layout.read_image(tmp_path / "one").config["architecture"] == arch
    rootless = [] if os.geteuid() == 0 else ["--rootless"]
    subprocess.run(["umoci", "unpack", *rootless, "--image", f"{tmp_path}/one:1", str(tmp_path / "bundle")], check=True)
    assert any((tmp_path / "bundle/rootfs").iterdir())
    if shutil.which("podman") is None:
        missing("there is no podman")
    storage = ["--storage-driver=vfs", f"--root={tmp_path}/storage", f"--runroot={open_folder}/{arch}"]
    podman = ["podman", "--remote=false", *storage]
    pulled = subprocess.check_output([*podman, "pull", "-q", f"--arch={arch}", f"oci:{both}"], text=True).split()[-1]
    said = subprocess.check_output([*podman, "image", "inspect", "--format={{.Architecture}}", pulled], text=True)
    assert said.strip() == arch
    subprocess.run(["podman", "--remote=false", *storage, "rmi", "--all", "--force"], check=True, capture_output=True)


def test_a_build_pushes_and_a_layout_can_be_pushed_later(running: Running, command: Command, image: Path) -> None:
    outcome = command.build("--push", f"{running.host}/built/tiny:1", "--insecure", "--name", "pushed", "tiny-os")
    digest = oci_layout.read_image(image).digest
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
        wrong = base64.b64encode(f"{USER}:mistyped".encode()).decode()
        (tmp_path / "auth.json").write_text(json.dumps({"auths": {closed.host: {"auth": wrong}}}))
        assert cli("push", "--insecure", str(image), place, environment=allowed).status == 1


def test_wrong_passwords_are_found_before_any_work(open_folder: Path, command: Command, tmp_path: Path) -> None:
    with registry(open_folder / "wary-registry", password=True) as closed:
        wrong = base64.b64encode(f"{USER}:mistyped".encode()).decode()
        (tmp_path / "auth.json").write_text(json.dumps({"auths": {closed.host: {"auth": wrong}}}))
        (tmp_path / "torn.json").write_text('{"auths":')
        for file, word in (("auth.json", f"podman login {closed.host}"), ("torn.json", "torn.json cannot be read")):
            options = ("--push", f"{closed.host}/a/b:1", "--insecure", "--authfile", str(tmp_path / file))
            outcome = command("build", *options, "--name", "never", "tiny-os")
            assert (outcome.status, outcome.events) == (1, [])
            assert word in outcome.stderr
            assert "mistyped" not in outcome.stderr


def test_a_registry_that_hands_out_tokens(running: Running, image: Path, tmp_path: Path) -> None:
    guard = Issuing()
    with proxy(running.host, guard) as host:
        guard.host = host
        secret = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (tmp_path / "auth.json").write_text(json.dumps({"auths": {f"{host}/team": {"auth": secret}}}))
        environment = {"REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}
        said = cli("push", "--insecure", str(image), f"{host}/team/token:1", environment=environment)
        assert said.status == 0, said.stderr
        assert "repository:team/token:pull,push" in guard.issued
        issued = len(guard.issued)
        refused = cli("push", "--insecure", str(image), f"{host}/other/token:1", environment=environment)
        assert refused.status == 1
        assert "podman login" in refused.stderr
        assert len(guard.issued) == issued
    assert digest_of(raw(running.host, "team/token/manifests/1")) == oci_layout.read_image(image).digest


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_registry_with_a_certificate_of_its_own(open_folder: Path, image: Path, tmp_path: Path) -> None:
    with registry(open_folder / "own-registry", certificate=True) as own:
        place = f"{own.host}/team/tiny:1"
        # What curl and others are told to trust is no reason to mistrust what --insecure allows, nor is a proxy.
        environment = {
            "HOME": str(tmp_path),
            "XDG_CONFIG_HOME": "",
            "REQUESTS_CA_BUNDLE": "/etc/ssl/certs/ca-certificates.crt",
            "https_proxy": f"http://localhost:{free_port()}",
            "no_proxy": "",
        }
        refused = cli("push", str(image), place, environment=environment)
        assert refused.status == 1
        assert "certificate" in refused.stderr
        assert "--insecure" in refused.stderr
        allowed = cli("push", "--insecure", str(image), place, environment=environment)
        assert allowed.status == 0, allowed.stderr
        assert "Warning" not in allowed.stderr
        trusted = tmp_path / ".config/containers/certs.d" / own.host
        trusted.mkdir(parents=True)
        (trusted / "ca.crt").write_bytes((own.folder / "certificate.crt").read_bytes())
        known = cli("push", str(image), f"{own.host}/team/tiny:2", environment=environment)
        assert known.status == 0, known.stderr


@pytest.mark.parametrize(
    ("methods", "part"), [(("POST", "PUT", "PATCH"), "/blobs/"), (("PUT",), "/manifests/sha256-"), (("GET",), "/flaky")]
)
def test_a_registry_that_stumbles_is_asked_again(
    running: Running, image: Path, methods: tuple[str, ...], part: str
) -> None:
    stumble = Failing(2, methods, part)
    name = f"team/flaky-{len(part)}"
    notes: list[str] = []
    with proxy(running.host, stumble) as host:
        digest = oci_layout.read_image(image).digest
        assert push(image, parse_reference(f"{host}/{name}:1"), insecure=True, on_note=notes.append).endswith(digest)
    assert len(stumble.failed) == 2
    assert [note for note in notes if "trying again in" in note]
    assert digest_of(raw(running.host, f"{name}/manifests/1")) == digest


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_registry_that_stays_broken_is_given_up(
    running: Running, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("builder.registry.client.pause", pauses.append)
    stumble = Failing(1000, ("PUT",), "/manifests/")
    with proxy(running.host, stumble) as host, pytest.raises(BuildError) as raised:
        push(image, parse_reference(f"{host}/team/broken:1"), insecure=True)
    assert pauses == [2, 4, 8]
    assert "503" in raised.value.what
    assert "run it again" in raised.value.hint


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_push_that_is_killed_leaves_no_tag_and_goes_on_later(running: Running, image: Path, tmp_path: Path) -> None:
    """Killed when all but the image's own manifest has arrived; what has arrived is not sent again."""
    stop = Holding("PUT", "/manifests/1")
    name = "team/killed"
    with proxy(running.host, stop) as host:
        process = subprocess.Popen(
            [sys.executable, "-m", "builder.cli", "push", "--insecure", str(image), f"{host}/{name}:1"],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert stop.held.wait(30)
        process.terminate()
        _, said = process.communicate(timeout=30)
        assert process.returncode not in (0, None)
        assert b"Traceback" not in said
        assert not list(tmp_path.iterdir())
        end = time.monotonic() + 10
        while living(process.pid):  # nor does skopeo go on
            assert time.monotonic() < end
            time.sleep(0.05)
        stop.let_go.set()
        with pytest.raises(urllib.error.HTTPError):
            raw(running.host, f"{name}/manifests/1")
        sent = len(running.requests("PATCH"))
        push(image, parse_reference(f"{host}/{name}:1"), insecure=True)
        assert len(running.requests("PATCH")) == sent
    assert digest_of(raw(running.host, f"{name}/manifests/1")) == oci_layout.read_image(image).digest


def test_a_registry_that_lists_what_is_attached_gets_no_list(running: Running, image: Path) -> None:
    listing = json.dumps({"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": []}).encode()

    def lists(asked: Asked) -> Answer | None:
        return Answer(200, {"Content-Type": media_types.INDEX}, listing) if "/referrers/" in asked.path else None

    with proxy(running.host, lists) as host:
        push(image, parse_reference(f"{host}/team/modern:1"), insecure=True)
    assert json.loads(raw(running.host, "team/modern/tags/list"))["tags"] == ["1"]


def test_something_else_in_the_place_of_a_list_is_left_alone(running: Running, image: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-a", str(image), str(tmp_path / "plain")], check=True)
    subprocess.run(["rm", "-r", str(tmp_path / "plain/referrers")], check=True)
    tag = oci_layout.read_image(image).digest.replace(":", "-")
    push(tmp_path / "plain", parse_reference(f"{running.host}/team/taken:{tag}"), insecure=True)
    with pytest.raises(BuildError, match="something else"):
        push(image, parse_reference(f"{running.host}/team/taken:1"), insecure=True)
    assert digest_of(raw(running.host, f"team/taken/manifests/{tag}")) == oci_layout.read_image(image).digest


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
    parts = oci_layout.read_image(tmp_path / "torn")
    oci_layout.blob(tmp_path / "torn", parts.layer_digests[0]).unlink()
    with registry(open_folder / "empty-registry") as empty:
        with pytest.raises(BuildError, match="did not take the image"):
            push(tmp_path / "torn", parse_reference(f"{empty.host}/team/torn:1"), insecure=True)
        with pytest.raises(urllib.error.HTTPError):
            raw(empty.host, "team/torn/manifests/1")
