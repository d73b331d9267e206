"""What is secret, and texts, values and keys without it."""

from __future__ import annotations

import base64
import json
import shlex
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockdev.core.errors import UsageError
from builder.elements.check.run import check
from builder.fleet.variables import apart, taken
from builder.request.redact import check_names, secrets_of
from stages.element.resolve import BUILTIN, find_elements
from stages.protocol import events
from stages.redaction.keyed import KEYED, OWN, KeyDigests
from stages.redaction.names import names_of
from stages.redaction.patterns import PLAIN, WITHHELD, is_secret_name, parts, without_credentials, without_parts
from stages.redaction.redaction import Redaction
from tests.examples import examples


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "x") for name in ("DIB_DEV_USER_PASSWORD", "DIB_PASSCODE", "db_passwd", "DIB_TOKEN", "DIB_TOKEN_2")),
        *(
            (name, "x")
            for name in ("DIB_SSH_KEY", "DIB_SIGNING_KEY", "DIB_API_KEY_FILE", "REG_ACTIVATION_KEY", "A_PWD")
        ),
        ("DIB_SSH_KEY", "-----BEGIN OPENSSH PRIVATE KEY-----\nx"),
        ("DIB_SECRETS", "a"),
    ],
)
def test_names_of_secrets(name: str, value: str) -> None:
    assert is_secret_name(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DIB_TOKEN", ""),
        ("PWD", "/root"),
        ("OLDPWD", "/"),
        ("DIB_SSH_KEY", "ssh-ed25519 AAAAC3Nz me"),
        ("DIB_CA_KEY", "-----BEGIN PUBLIC KEY-----\nx"),
        ("DIB_DEV_USER_AUTHORIZED_KEYS", "ssh-rsa AAAA"),
        ("DIB_RPM_KEYS", "/a /b"),
        ("DIB_KEYBOARD", "us"),
        ("DIB_DEV_USER_PWDLESS_SUDO", "yes"),
        ("DIB_RELEASE", "trixie"),
    ],
)
def test_names_of_what_is_none(name: str, value: str) -> None:
    assert not is_secret_name(name, value)


def test_no_default_of_an_element_is_secret() -> None:
    """Else no stage of a usual build would go to a shared cache."""
    variables = {
        "DIB_CTR_DEBIAN_MIRROR": "http://host:3142/debian",
        "DIB_APT_SOURCES_CONF": "default:deb [signed-by=/k.gpg] http://host/debian trixie main\n",
        "DIB_CTR_REPOSITORIES": "fedora metalink=https://host/metalink?repo=fedora-42&arch=x86_64\n"
        "x mirrorlist=https://host/?release=9&arch=x86_64&repo=BaseOS repodata/repomd.xml",
        "DIB_RPM_DEFAULT_KEYS": "/usr/share/distribution-gpg-keys/rocky/RPM-GPG-KEY-Rocky-9",
        "DIB_BOOTLOADER_DEFAULT_CMDLINE": "console=tty0 console=ttyS0,115200 no_timer_check",
        "DIB_REPOLOCATION_x": "git@host:a/b.git",
        "DIB_CTR_APT_OPTIONS": 'Acquire::Languages "none";\nAPT::Sandbox::User "root";',
        "PATH": "/usr/local/sbin:/usr/local/bin",
        "DIB_IMAGE": "registry:5000/name@sha256:0123",
    }
    assert Redaction.of(variables).is_empty
    assert names_of(element.path for element in find_elements([BUILTIN]).values()) == ()


@pytest.mark.parametrize(
    ("text", "secret", "without"),
    [
        ("https://me:p@ss@host/x", "p@ss", "https://host/x"),
        ("https://t0ken@host/x.git", "t0ken", "https://host/x.git"),
        ("http://a/ http://u:pass1@b/", "pass1", "http://a/ http://b/"),
        ("u:pass1@proxy:3128", "u:pass1", f"{WITHHELD}@proxy:3128"),
        ("https://h/?a=b&access_token=abcd&c=d", "abcd", f"https://h/?a=b&access_token={WITHHELD}&c=d"),
        ("machine h login me password abcd", "abcd", f"machine h login me password {WITHHELD}"),
        ("-H Authorization: Bearer abcd", "abcd", f"-H Authorization: Bearer {WITHHELD}"),
        ("user=x password='abcd' y", "abcd", f"user=x password='{WITHHELD}' y"),
        ("//r/:_authToken=abcd", "abcd", f"//r/:_authToken={WITHHELD}"),
        ('{"client_secret": "abcd"}', "abcd", f'{{"client_secret": "{WITHHELD}"}}'),
    ],
)
def test_secrets_within_a_text(text: str, secret: str, without: str) -> None:
    assert secret in set(parts(text))
    assert without_parts(text) == without
    assert without_parts(without) == without
    assert Redaction.of({"DIB_X": text}).shown({"DIB_X": text})["DIB_X"] == without


def test_addresses_lose_what_is_secret_and_nothing_else() -> None:
    assert without_credentials("metalink=https://u:p@h/m?repo=a&arch=b") == "metalink=https://h/m?repo=a&arch=b"
    assert without_credentials("git@host:a/b") == "git@host:a/b"


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), min_size=4, max_size=24).filter(
    lambda text: len(text.strip()) >= 4 and not text.startswith("-----") and text.lower() not in PLAIN
)


@given(TEXTS)
@settings(max_examples=examples(100), deadline=None)
def test_a_secret_is_masked_however_it_is_written(secret: str) -> None:
    redaction = Redaction.of({"DIB_PASSWORD": secret})
    data = secret.encode()
    for written in (
        secret,
        json.dumps(secret),
        shlex.quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        base64.b64encode(data).decode(),
        base64.b64encode(data + b"\n").decode(),
        data.hex(),
    ):
        masked = redaction.mask(f"<<{written}>>")
        assert WITHHELD in masked
        assert secret not in masked.replace(WITHHELD, "") or len(secret) < 4
    event = redaction.event(events.Log(number=1, text=f"+ echo {secret}"))
    assert event == events.Log(number=1, text=redaction.mask(f"+ echo {secret}"))
    shown = redaction.shown({"DIB_PASSWORD": secret, "DIB_OTHER": secret})
    assert all(secret not in value.replace(WITHHELD, "") for value in shown.values())


def test_what_machines_compare_is_not_masked() -> None:
    redaction = Redaction.of({"DIB_PASSWORD": "cafe"})
    hit = events.Hit(number=1, source="cafe")
    assert redaction.event(hit) == hit
    failed = events.Failed(
        number=1, status=1, phase="root", element="cafe", script="cafe", tail=["cafe", "x"], why="cafe"
    )
    assert redaction.event(failed) == failed.replace(tail=(WITHHELD, "x"), why=WITHHELD)


def test_short_and_plain_secrets_are_withheld_and_not_looked_for_in_texts() -> None:
    redaction = Redaction.of({"DIB_PASSWORD": "abc", "DIB_TOKEN": "true"})
    assert redaction.shown({"DIB_PASSWORD": "abc", "DIB_TOKEN": "true"}) == {
        "DIB_PASSWORD": WITHHELD,
        "DIB_TOKEN": WITHHELD,
    }
    assert redaction.mask("abc true") == "abc true"
    assert redaction.is_in("DIB_PASSWORD", "abc")
    assert redaction.is_in("DIB_ENV", 'declare -x DIB_PASSWORD="abc"')


def test_a_variable_that_names_a_given_file_is_no_secret_but_the_file_is(tmp_path: Path) -> None:
    file = tmp_path / "activation"
    file.write_text("the-key\n")
    other = tmp_path / "plain"
    other.write_text("nothing\n")
    netrc = tmp_path / "login"
    netrc.write_text("machine h login me password geheim\n")
    variables = {"REG_ACTIVATION_KEY": str(file), "DIB_PLAIN": str(other), "DIB_LOGIN": str(netrc)}
    files = {str(path): path for path in (file, other, netrc)}
    said = secrets_of((), (), variables, files, {})
    assert said == {"files": (str(file), str(netrc))}
    redaction = Redaction.of(variables, (), files, {path: files[path].read_bytes() for path in said["files"]})
    assert redaction.shown(variables) == variables
    assert redaction.mask("the-key geheim nothing machine") == f"{WITHHELD} {WITHHELD} nothing machine"
    digests = KeyDigests(redaction, tmp_path)
    assert digests.of_given(str(other), "0" * 64) == "0" * 64
    assert digests.of_given(str(file), "0" * 64).startswith(KEYED)


def test_keyed_digests_are_of_one_store_or_of_those_with_a_common_key(tmp_path: Path) -> None:
    redaction = Redaction.of({"DIB_TOKEN": "abcd"})
    one, other = tmp_path / "one", tmp_path / "other"
    for store in (one, other):
        store.mkdir()
    own = KeyDigests(redaction, one)
    found = own.of_variable("DIB_TOKEN", "abcd")
    assert found == KeyDigests(redaction, one).of_variable("DIB_TOKEN", "abcd")
    assert found != own.of_variable("DIB_TOKEN", "abce")
    assert found != KeyDigests(redaction, other).of_variable("DIB_TOKEN", "abcd")
    assert not own.of_variable("DIB_RELEASE", "abc").startswith(KEYED)
    assert (one / "secret-key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in one.iterdir()] == ["secret-key"]
    common = [KeyDigests(redaction, store, "k" * 32) for store in (one, other)]
    assert common[0].of_variable("DIB_TOKEN", "abcd") == common[1].of_variable("DIB_TOKEN", "abcd") != found
    assert own.may_travel({}) and common[0].may_travel({})
    assert not own.may_travel({"secrets": OWN}) and not common[0].may_travel({"secrets": OWN})
    assert common[0].may_travel({"secrets": common[1].whose})
    assert not common[0].may_travel({"secrets": KeyDigests(redaction, one, "j" * 32).whose})
    (one / "secret-key").write_bytes(b"cut")
    assert KeyDigests(redaction, one).of_variable("DIB_TOKEN", "abcd") != found


def test_a_short_common_key_is_refused() -> None:
    with pytest.raises(UsageError, match="could be guessed"):
        secrets_of((), (), {}, {}, {"DIB_CTR_KEY_SECRET": "x" * 31})
    assert secrets_of((), (), {}, {}, {"DIB_CTR_KEY_SECRET": "x" * 32}) == {"key": "x" * 32}


@pytest.mark.parametrize("name", ["", "*", "__*", "A B", "A=B", "-x", "1A", "A\nB"])
def test_names_that_are_none_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="not a variable's name"):
        check_names([name])
    if name.strip() and "\n" not in name:
        element = tmp_path / "one"
        element.mkdir()
        (element / "secret-variables").write_text(f"# what follows\nDIB_A*\n\n{name}\n")
        with pytest.raises(UsageError, match="not a variable's name") as caught:
            names_of([element])
        assert caught.value.where.endswith("secret-variables:4")
        found = [finding for finding in check([tmp_path]).findings if finding.code == "bad-secret"]
        assert [(finding.severity, finding.line) for finding in found] == [("error", 4)]


def test_settings_leave_the_command_line() -> None:
    words, environment = apart(["dib-ctr", "--set", "A=b c", "-p", "x", "--set", "B=", "--", "--set"])
    assert words == ["dib-ctr", "-p", "x", "--", "--set"]
    assert taken(environment) == ("A=b c", "B=")
    assert environment == {}
    assert apart(["x"]) == (["x"], {})
