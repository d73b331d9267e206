"""Places in a registry, credentials in engines' files, and cosign's arguments."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest
import requests
from docker.auth import INDEX_NAME, INDEX_URL

from blockdev.core.errors import BuildError, UsageError
from builder.registry import cosign
from builder.registry.client import Registry, is_loopback
from builder.registry.credentials import auth_files, credentials
from builder.registry.push import Reference, check, parse_reference


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("localhost:5000/a", Reference("localhost:5000", "a", "latest")),
        ("localhost/a:1", Reference("localhost", "a", "1")),
        (
            "docker://registry.example.org/team/a-b__c.d:v1.0",
            Reference("registry.example.org", "team/a-b__c.d", "v1.0"),
        ),
        ("[::1]:5000/a:1", Reference("[::1]:5000", "a", "1")),
        ("myhost:443/a/b/c", Reference("myhost:443", "a/b/c", "latest")),
    ],
)
def test_a_place_in_a_registry(text: str, found: Reference) -> None:
    assert parse_reference(text) == found


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("nginx", "name the registry"),
        ("library/nginx:1", "name the registry"),
        ("localhost:5000/A:1", "lower case"),
        ("localhost:5000/a@sha256:" + "0" * 64, "name a tag"),
        ("localhost:5000/a:", "HOST"),
        ("localhost:5000/a b", "HOST"),
        ("localhost:5000/", "HOST"),
        ("https://localhost:5000/a:1", "HOST"),
    ],
)
def test_what_is_no_place_says_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_reference(text)
    assert hint in raised.value.hint


def encoded(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def test_credentials_are_found_where_engines_keep_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    first.write_text(json.dumps({"auths": {"https://one:1/v2/": encoded("me:pass:word")}}))
    second.write_text(json.dumps({"auths": {"two": {}}, "credHelpers": {"two": "test"}, "credsStore": "nowhere"}))
    helper = tmp_path / "docker-credential-test"
    helper.write_text('#!/bin/sh\nread -r host\necho "{\\"Username\\": \\"at-$host\\", \\"Secret\\": \\"s\\"}"\n')
    helper.chmod(helper.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    files = [tmp_path / "none.json", first, second]
    assert credentials("one:1", "a", files) == ("me", "pass:word")
    assert credentials("two", "a", files) == ("at-two", "s")
    assert credentials("three", "a", files) is None
    second.write_text(json.dumps({"credsStore": "test"}))
    assert credentials("three", "a", files) == ("at-three", "s")


def test_the_most_exact_credentials_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "auth.json"
    entries = {"one/team": encoded("team:1"), "one": encoded("all:1"), "one/team/app": encoded("app:1")}
    file.write_text(json.dumps({"auths": entries}))
    for name, user in (("team/app", "app"), ("team/app/part", "app"), ("team/other", "team"), ("teams", "all")):
        assert credentials("one", name, [file]) == (user, "1")
    file.write_text(json.dumps({"auths": {"one/team": encoded("team:1")}}))
    assert credentials("one", "other", [file]) is None


def test_the_central_registry_has_several_names(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"auths": {INDEX_URL: encoded("me:1")}}))
    assert credentials(INDEX_NAME, "me/app", [file]) == ("me", "1")
    assert credentials("one", "me/app", [file]) is None


def test_the_central_registry_answers_elsewhere_and_has_a_folder_for_short_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def send(self: Registry, method: str, url: str, **_: object) -> requests.Response:
        asked.append(url)
        answer = requests.Response()
        answer.status_code, answer.url = 200, url
        return answer

    monkeypatch.setattr(Registry, "_send", send)
    Registry(INDEX_NAME).manifest("app", "1")
    Registry("one:5000").manifest("app", "1")
    base = f"https://registry-1.{INDEX_NAME}/v2/"
    assert asked == [
        base,
        f"{base}library/app/manifests/1",
        "https://one:5000/v2/",
        "https://one:5000/v2/app/manifests/1",
    ]


@pytest.mark.parametrize(
    "text", ["no JSON", "[]", '{"auths": ["one"]}', '{"auths": {"one": "x"}}', '{"auths": {"one": {"auth": "%"}}}']
)
def test_a_file_that_is_none_of_credentials_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "auth.json").write_text(text)
    with pytest.raises(BuildError, match=r"auth\.json cannot be read"):
        credentials("one", "a", [tmp_path / "auth.json"])


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("localhost:5000", True),
        ("127.0.0.2", True),
        ("[::1]:5000", True),
        ("registry.example.org:5000", False),
        ("localhost.example.org", False),
        ("192.0.2.1:5000", False),
    ],
)
def test_no_proxy_is_asked_about_this_machine(host: str, answer: bool) -> None:
    assert is_loopback(host) is answer


def test_the_order_of_files_is_skopeos(tmp_path: Path) -> None:
    assert list(auth_files({"REGISTRY_AUTH_FILE": "/a/b"})) == [Path("/a/b")]
    found = list(auth_files({"HOME": "/h", "XDG_RUNTIME_DIR": "/r", "DOCKER_CONFIG": "/d"}))
    assert found == [Path("/r/containers/auth.json"), Path("/h/.config/containers/auth.json"), Path("/d/config.json")]


def test_cosign_is_told_what_to_sign(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cosign.arguments("h/n@sha256:1", key="", insecure=False) == ["sign", "--yes", "h/n@sha256:1"]
    assert cosign.arguments("h/n@sha256:1", key="k.pem", insecure=True) == [
        "sign",
        "--yes",
        *("--key", "k.pem"),
        *("--allow-insecure-registry", "--allow-http-registry"),
        "h/n@sha256:1",
    ]
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="cosign is not there"):
        cosign.check()


def test_what_cosign_makes_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """cosign itself is not packaged: a program of its name notes what it is told and ends as the test wants."""
    program = tmp_path / "cosign"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/told\nexit $COSIGN_STATUS\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("COSIGN_STATUS", "0")
    cosign.sign("h/n@sha256:1", key="k.pem", insecure=False)
    assert (tmp_path / "told").read_text() == "sign --yes --key k.pem h/n@sha256:1\n"
    monkeypatch.setenv("COSIGN_STATUS", "3")
    with pytest.raises(BuildError, match="status 3") as raised:
        cosign.sign("h/n@sha256:1", key="", insecure=False)
    assert "is pushed and not signed" in raised.value.hint


def test_skopeo_is_looked_for_before_the_registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="skopeo is not there") as raised:
        check(Reference("registry.invalid", "a"), insecure=False, authfile=None)
    assert "apt-get install skopeo" in raised.value.hint
