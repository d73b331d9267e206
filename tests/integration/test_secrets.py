"""No secret, nor a digest that could be guessed of one, is written or sent: every byte is looked at."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.command import Command, Outcome, has, script, write_element
from tests.integration.leaks import files, leaks

pytestmark = pytest.mark.skipif(not has("zstd", "mmdebstrap"), reason="no zstd, or no tools for the host engine")


@dataclass(frozen=True)
class Kind:
    """A kind of secret: the variable it comes in by, the value with ``{}`` for the secret, and how it is given.

    ``way`` is one of: environment, set, file (the variable names a file with that content), secret (``--secret``).
    """

    name: str
    value: str = "{}"
    way: str = "environment"

    @property
    def secret(self) -> str:
        """The secret itself: one that nothing else has in it."""
        return f"s3kr+t.{self.name.lower()}~" + "9" * 16


KINDS = (
    Kind("DIB_DEV_USER_PASSWORD"),
    Kind("DIB_TOKEN", way="set"),
    Kind("DIB_SSH_KEY", way="set"),
    Kind("DIB_PASSCODE"),
    Kind("DIB_DISK_PASSPHRASE"),
    Kind("DIB_CLIENT_SECRET"),
    Kind("DIB_DATABASE_PWD"),
    Kind("DIB_SIGNING_KEY", way="file"),
    Kind("REG_ACTIVATION_KEY", way="file"),
    Kind("DIB_MIRROR_AT", "https://user:{}@mirror.invalid/debian"),
    Kind("DIB_GIT_AT", "https://{}@git.invalid/x.git", way="set"),
    Kind("DIB_LINK_AT", "https://host.invalid/x?a=b&access_token={}"),
    Kind("DIB_PIP_CONFIG", "[global]\nindex-url = https://me:{}@pip.invalid/simple\n", way="file"),
    Kind("DIB_NPM_CONFIG", "//registry.invalid/:_authToken={}\n"),
    Kind("DIB_APT_LOGIN", "machine mirror.invalid login me password {}"),
    Kind("DIB_NET_LOGIN", "machine mirror.invalid login me password {}\n", way="file"),
    Kind("DIB_CURL_HEADER", "Authorization: Bearer {}"),
    Kind("DIB_PEM", "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", way="set"),
    Kind("DIB_ODDITY"),  # the element says so
    Kind("OF_THE_USER", way="secret"),
    Kind("DIB_CTR_UBUNTU_MIRROR", "https://me:{}@ubuntu.invalid/"),
    Kind("DIB_CTR_APT_OPTIONS", 'Acquire::http::Proxy "http://me:{}@proxy.invalid:3128";'),
    Kind("https_proxy", "http://me:{}@proxy.invalid:3128"),
    Kind("DIB_CTR_KEY_SECRET"),
)
SECRETS = {kind.name: kind.secret for kind in KINDS}
DERIVED = "d3riv3d.of-it~7"


@dataclass(frozen=True)
class Scene:
    """A build with every kind of secret, and where all of it lies."""

    command: Command
    folder: Path
    variables: dict[str, str]
    options: tuple[str, ...]

    def build(self, *more: str, common: bool = False, elements: str = "secret-reader") -> Outcome:
        variables = dict(self.variables)
        if not common:
            del variables["DIB_CTR_KEY_SECRET"]
        words = [*self.options, *more, "tiny-system", elements]
        return self.command("build", *words, variables=variables)

    def found(self, *outcomes: Outcome) -> list[str]:
        said = [("standard output", each.stdout.encode()) for each in outcomes]
        said += [("standard error", each.stderr.encode()) for each in outcomes]
        places = [self.folder / name for name in ("store", "out", "user-cache", "shared", "log")]
        content = [*files(place for place in places if place.exists()), *said]
        assert len(content) > 50
        return leaks({**SECRETS, "DIB_DERIVED_TOKEN": DERIVED}, content)


@pytest.fixture
def scene(place: Path) -> Scene:
    own = place / "elements"
    system = "mkdir -p $TARGET_ROOT/{etc,tmp,proc,sys,dev,opt}; echo 1 > $TARGET_ROOT/etc/one"
    write_element(own, "tiny-system", {"element-provides": "operating-system\n", "root.d/10-system": script(system)})
    names = [kind.name for kind in KINDS if not kind.name.startswith("DIB_CTR_KEY")]
    shown = [f'[ -z "${{{name}:-}}" ] || echo "{name} is ${{{name}}}"' for name in (*names, "DIB_DERIVED_TOKEN")]
    read = [f'[ ! -f "${{{kind.name}}}" ] || cat "${{{kind.name}}}"' for kind in KINDS if kind.way == "file"]
    chatty = script(*shown, *read, "set -x", *shown, 'echo -n "$DIB_TOKEN" | base64', 'echo "$DIB_ENV"')
    environment = f'export DIB_DERIVED_TOKEN="{DERIVED[:4]}"\nDIB_DERIVED_TOKEN+="{DERIVED[4:]}"\n'
    reader = {
        "secret-variables": "DIB_ODD*  # a comment\n",
        "environment.d/10-derived": environment,
        "post-root.d/50-reader": chatty,
        "extra-data.d/50-all": script("env > /dev/null", ": ${DIB_TOKEN} $(curl --version || true)"),
    }
    write_element(own, "secret-reader", reader)
    write_element(own, "secret-failing", {**reader, "post-root.d/60-fails": chatty + "exit 3\n"})
    variables = {"XDG_CACHE_HOME": str(place / "user-cache")}
    options = ["--cache-to", f"type=dir,path={place / 'shared'},mode=max", "--log", str(place / "log")]
    for kind in KINDS:
        value = kind.value.format(kind.secret)
        if kind.way == "file":
            file = place / kind.name.lower()
            file.write_text(value)
            value = str(file)
        if kind.way == "set" or kind.name.startswith("REG_"):
            options += ["--set", f"{kind.name}={value}"]
        else:
            variables[kind.name] = value
        if kind.way == "secret":
            options += ["--secret", kind.name]
    return Scene(Command("host", place / "store", place / "out", (own,)), place, variables, tuple(options))


@pytest.mark.parametrize("common", [False, True])
def test_every_byte_of_a_build_is_without_secrets(scene: Scene, common: bool) -> None:
    outputs = ("-o", "oci", "-o", "tar", "-o", "docker-archive,layers=stages", "--lock", str(scene.folder / "out/lock"))
    outcome = scene.build(*outputs, common=common)
    assert outcome.status == 0, outcome.stderr
    assert "DIB_TOKEN is (withheld)" in outcome.stdout  # it was there to be printed
    assert scene.found(outcome) == []
    sent = list((scene.folder / "shared").rglob("*"))
    assert sent
    entries = json.dumps([file.read_text(errors="replace") for file in sent if file.suffix == ".json"])
    assert ("50-reader" in entries) == common
    assert ("go to no cache" in outcome.stdout) != common
    again = scene.build(*outputs, common=common)
    assert again.titles("hit") and not again.titles("start")


def test_a_secret_that_changes_changes_the_key(scene: Scene) -> None:
    assert scene.build("-o", "tar").titles("start").count("50-reader") == 1
    for name in ("DIB_DEV_USER_PASSWORD", "DIB_MIRROR_AT", "DIB_ODDITY", "OF_THE_USER"):
        scene.variables[name] += "x"
        assert "50-reader" in scene.build("-o", "tar").titles("start")
    (scene.folder / "reg_activation_key").write_text("another")
    assert "50-reader" in scene.build("-o", "tar").titles("start")


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_another_store_makes_other_keys_of_a_secret_unless_the_key_is_common(scene: Scene) -> None:
    def keys(store: str, *, common: bool) -> dict[str, str]:
        command = Command("host", scene.folder / store, scene.folder / "out", scene.command.elements)
        outcome = Scene(command, scene.folder, scene.variables, scene.options).build("-o", "tar", common=common)
        plan = next(event for event in outcome.events if event["type"] == "plan")
        return {stage["script"]: stage["key"] for stage in plan["stages"]}

    one, other = keys("store", common=False), keys("store-2", common=False)
    assert one["10-system"] == other["10-system"]
    assert one["50-reader"] != other["50-reader"]
    assert keys("store", common=True) == keys("store-2", common=True)
    key = scene.folder / "store/secret-key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_bytes() != (scene.folder / "store-2/secret-key").read_bytes()


def test_what_fails_tells_no_secret(scene: Scene) -> None:
    outcome = scene.build("-o", "tar", elements="secret-failing")
    assert outcome.status == 1
    assert "--secret DIB_TOKEN" in outcome.stderr  # the command for a shell there
    assert scene.found(outcome) == []


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_shell_has_the_secrets_and_leaves_none(scene: Scene) -> None:
    command = 'echo "length ${#DIB_TOKEN}" > /proc/1/fd/2 || true; test -n "$DIB_TOKEN"'
    outcome = scene.build("-o", "tar", "--break", "after:50-reader", "--break-command", command)
    assert outcome.status == 0, outcome.stderr
    assert [event for event in outcome.events if event["type"] == "break"]
    assert scene.found(outcome) == []
    assert list((scene.folder / "store/sessions").iterdir()) == []


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_an_images_file_keeps_variables_off_command_lines(scene: Scene) -> None:
    """Every word of every process of the machine, read from /proc while a stage of it runs."""
    own = scene.command.elements[0]
    write_element(own, "waits", {"post-root.d/50-waits": script(': "${DIB_TOKEN}"', "sleep 3")})
    images = scene.folder / "images.yaml"
    secret = SECRETS["DIB_TOKEN"]
    images.write_text(
        f"images:\n  one:\n    elements: [tiny-system, waits]\n    elements-path: {own}\n"
        f"    variables: {{DIB_TOKEN: {secret}, ODD: {secret}}}\n    secrets: [ODD]\n    outputs: [tar]\n"
    )
    command = scene.command.arguments("build", "-f", str(images))
    environment = {**os.environ, "XDG_CACHE_HOME": str(scene.folder / "user-cache")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment) as process:
        seen = set()
        while process.poll() is None:
            for folder in Path("/proc").iterdir():  # (a glob stumbles over one that has just ended)
                with contextlib.suppress(OSError):
                    seen.add((folder / "cmdline").read_bytes())
        assert process.stdout is not None
        assert process.returncode == 0, process.stdout.read().decode()
    assert any(b"50-waits" in words for words in seen)
    assert [words for words in seen if secret.encode() in words] == []
    assert leaks({"DIB_TOKEN": secret}, files([scene.folder / "store", scene.folder / "out"])) == []
