"""Metalinks are read as what anybody may have written, and written for dnf."""

from __future__ import annotations

import pytest

from stages.repositories import metalink
from stages.repositories.metalink import NamedState, folder_of, is_private, parse

A, B = "a" * 64, "b" * 64
PUBLIC = "https://lists.example/metalink?repo=fedora-43&arch=x86_64"
HEAD = (
    '<?xml version="1.0" encoding="utf-8"?><metalink version="3.0" xmlns="http://www.metalinker.org/" '
    'xmlns:mm0="http://fedorahosted.org/mirrormanager"><files><file name="repomd.xml">'
)
TAIL = "</file></files></metalink>"


def details(digest: str, date: str = "1770000000") -> str:
    return (
        f"<mm0:timestamp>{date}</mm0:timestamp><size>10</size><verification>"
        f'<hash type="sha1">00</hash><hash type="sha256"> {digest} </hash></verification>'
    )


def url(address: str, preference: str = "100") -> str:
    return f'<url protocol="x" preference="{preference}">{address}/repodata/repomd.xml</url>'


def made(*urls: str, newest: str = A, more: str = "") -> bytes:
    return f"{HEAD}{details(newest)}{more}<resources>{''.join(urls)}</resources>{TAIL}".encode()


def test_states_and_mirrors_in_their_order() -> None:
    earlier = f"<mm0:alternates><mm0:alternate>{details(B, '1760000000')}</mm0:alternate></mm0:alternates>"
    urls = (
        url("http://one.example/f", "90"),
        url("rsync://one.example/f", "99"),
        url("https://two.example/f", "80"),
        url("https://one.example/f", "90"),
    )
    found = parse(made(*urls, more=earlier), PUBLIC)
    assert found.states == (NamedState(A, 1770000000), NamedState(B, 1760000000))
    assert found.mirrors == ("https://one.example/f", "https://two.example/f"), "once, by https"


@pytest.mark.parametrize(
    "address",
    [
        "ftp://m.example/f",
        "file:///etc",
        "https://user:secret@m.example/f",
        "https://user@m.example/f",
        "http://127.0.0.1/f",
        "http://10.0.0.7:8080/f",
        "http://169.254.169.254/latest",
        "http://[::1]/f",
        "http://[fd00::1]/f",
        "http://2130706433/f",
        "http://0x7f.1/f",
        "http://localhost./f",
        "http://a.localhost/f",
        "http://m.example:99999/f",
        "http://m.example/f?x=",
        "http://m.example/f#x",
        "http://m.example/a b",
        "http:///f",
        'http://m.example/"',
        "http://m.example/" + "x" * 3000,
    ],
)
def test_addresses_that_lead_elsewhere_are_passed_over(address: str) -> None:
    text = address.replace("&", "&amp;").replace('"', "&quot;")
    found = parse(made(url(text), url("https://m.example/f")), PUBLIC)
    assert found.mirrors == ("https://m.example/f",)


def test_a_list_of_a_private_network_may_name_mirrors_there() -> None:
    found = parse(made(url("http://10.0.0.7/f"), url("http://127.0.0.1:8/f")), "http://192.168.1.1/metalink")
    assert found.mirrors == ("http://10.0.0.7/f", "http://127.0.0.1:8/f")
    assert not is_private("https://mirrors.example/x")
    assert folder_of("http://8.8.8.8/f/repodata/repomd.xml", private=False) == "http://8.8.8.8/f"
    assert folder_of("http://m.example/f/repodata/other.xml", private=False) == ""


BOMB = '<!DOCTYPE metalink [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"nothing", "cannot be read"),
        (made().replace(b"<metalink", BOMB.encode() + b"<metalink", 1), "declarations of its own"),
        (made().replace(b"<files>", b"<!ENTITY % x SYSTEM 'file:///etc/passwd'><files>"), "declarations of its own"),
        (made().decode().encode("utf-16"), "declarations of its own"),
        (made().replace(b"utf-8", b"utf-7"), "cannot be read"),
        (made().replace(b"repomd.xml", b"other.xml"), "names no repomd.xml"),
        (made(newest="A" * 64), "no SHA-256"),
        (made(newest="a" * 63), "no SHA-256"),
        (b" " * (metalink.LARGEST + 1), "larger than"),
        (b"<html><body>busy</body></html>", "names no repomd.xml"),
    ],
)
def test_what_is_no_metalink_is_refused_with_a_sentence(data: bytes, said: str) -> None:
    with pytest.raises(OSError, match=said):
        parse(data, PUBLIC)


def test_what_is_written_is_read_again() -> None:
    mirrors = ("https://one.example/f&amp", "http://two.example/f")
    found = parse(metalink.write(A, mirrors).encode(), PUBLIC)
    assert [state.digest for state in found.states] == [A]
    assert found.mirrors == mirrors
    many = [f"https://m{number}.example" for number in range(200)]
    assert len(parse(made(*map(url, many)), PUBLIC).mirrors) == metalink.MOST
