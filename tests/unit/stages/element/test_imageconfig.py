"""What elements say of an image: checked with file and line, merged, and refused where two disagree."""

from __future__ import annotations

from pathlib import Path

import pytest

from blockdev.core.errors import UsageError
from stages.element import image_config

WHOLE = """
entrypoint: [/usr/bin/tini, --]
cmd: [/usr/sbin/nginx, -g, daemon off;]
env: {LANG: C.UTF-8, WORKERS: 4}
user: www-data:www-data
workdir: /srv
volumes: [/srv/data]
ports: [80, 443/tcp, 53/udp]
labels: {org.example.team: web}
stop-signal: SIGRTMIN+3
"""


def test_a_whole_configuration() -> None:
    assert image_config.parse(WHOLE, "x") == {
        "entrypoint": ["/usr/bin/tini", "--"],
        "cmd": ["/usr/sbin/nginx", "-g", "daemon off;"],
        "env": {"LANG": "C.UTF-8", "WORKERS": "4"},
        "user": "www-data:www-data",
        "workdir": "/srv",
        "volumes": ["/srv/data"],
        "ports": ["80/tcp", "443/tcp", "53/udp"],
        "labels": {"org.example.team": "web"},
        "stop-signal": "SIGRTMIN+3",
    }
    assert image_config.parse("# nothing yet\n", "x") == {}


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        ("entrypoint: /bin/sh -c\n", "entrypoint is no list", 1),
        ("cmd:\n  - [a]\n", "no text", 2),
        ("user: root\nenvironment: {}\n", "no 'environment'", 2),
        ("env: [A=b]\n", "env is no mapping", 1),
        ("env:\n  1A: b\n", "'1A' is no name of a variable", 2),
        ("env:\n  A: [b]\n", "no text", 2),
        ("workdir: srv\n", "no absolute path", 1),
        ("volumes:\n  - /a/../b\n", "no absolute path", 2),
        ("volumes: /srv\n", "no list of paths", 1),
        ("ports:\n  - 80\n  - 99999\n", "99999 is no port", 3),
        ("ports: [80/http]\n", "'80/http' is no port", 1),
        ("ports: 80\n", "no list of ports", 1),
        ("user: 'a b'\n", "no user", 1),
        ("user: true\n", "no text", 1),
        ("stop-signal: SIGNOTHING\n", "no signal", 1),
        ("labels: {'': x}\n", "no name of a label", 1),
        ("- a\n", "is a mapping", 1),
        ("user: a\nuser: b\n", "twice", 2),
        ("env: {A: b\n", "no YAML", 2),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, what: str, line: int) -> None:
    with pytest.raises(UsageError) as raised:
        image_config.parse(text, "image-config.yaml")
    assert what in raised.value.what
    assert raised.value.where == f"image-config.yaml:{line}"


def test_elements_add_up() -> None:
    first = {"env": {"A": "1"}, "ports": ["80/tcp"], "user": "web"}
    second = {"env": {"A": "1", "B": "2"}, "ports": ["443/tcp", "80/tcp"], "volumes": ["/x"], "user": "web"}
    assert image_config.merge([("one", first), ("two", second)]) == {
        "env": {"A": "1", "B": "2"},
        "ports": ["80/tcp", "443/tcp"],
        "volumes": ["/x"],
        "user": "web",
    }


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        ({"cmd": ["a"]}, {"cmd": ["b"]}, "cmd"),
        ({"env": {"A": "1"}}, {"env": {"A": "2"}}, "env A"),
        ({"stop-signal": "SIGTERM"}, {"stop-signal": "SIGQUIT"}, "stop-signal"),
    ],
)
def test_two_that_disagree_are_both_named(first: dict[str, object], second: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError) as raised:
        image_config.merge([("/a/image-config.yaml", first), ("/b/image-config.yaml", second)])
    assert f"image's {named}:" in raised.value.what
    assert "/a/image-config.yaml" in raised.value.what
    assert "/b/image-config.yaml" in raised.value.what


def test_folders_are_read_in_their_order(tmp_path: Path) -> None:
    for name, port in (("one", 80), ("two", 81)):
        (tmp_path / name).mkdir()
        (tmp_path / name / image_config.FILE).write_text(f"ports: [{port}]\n")
    assert image_config.read([tmp_path / "two", tmp_path / "one"]) == {"ports": ["81/tcp", "80/tcp"]}
    (tmp_path / "one" / image_config.FILE).write_bytes(b"\xff")
    with pytest.raises(UsageError, match="cannot be read"):
        image_config.read([tmp_path / "one"])
