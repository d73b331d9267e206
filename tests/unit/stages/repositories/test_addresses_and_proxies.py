"""What is wrong with the way to a repository is said of the right one: of its address, or of the proxy."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator

import pytest

from blockdev.core.errors import UsageError
from stages.repositories.download import Patience, ProxyError, download

PATIENCE = Patience(5.0, 1.0)
_VARIABLES = [f"{scheme}_proxy" for scheme in ("http", "https", "ftp", "all", "no")]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    urllib.request.install_opener(None)  # what it was when a program begins: it keeps proxies
    yield
    urllib.request.install_opener(None)


@pytest.fixture
def nobody() -> str:
    """A place where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{bound.getsockname()[1]}"


@pytest.mark.parametrize("address", ["mirror.example.com/debian", "/srv/mirror", "htp://mirror.example.com/", ""])
def test_an_address_without_a_scheme_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="is no address of a repository") as caught:
        download(address, PATIENCE)
    assert "http://" in caught.value.hint


def test_a_password_is_not_told(nobody: str) -> None:
    with pytest.raises(UsageError) as caught:
        download("gopher://me:hidden@mirror.example.com/", PATIENCE)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("spelling", ["http://{}", "{}", "http://me:hidden@{}/"])
def test_a_proxy_that_does_not_answer_is_named(nobody: str, spelling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", spelling.format(nobody))
    with pytest.raises(ProxyError, match=f"the proxy http://{nobody}.* does not answer: .*refused") as caught:
        download("http://mirror.example.com/debian/dists/trixie/InRelease", PATIENCE)
    assert "hidden" not in str(caught.value)


def test_where_no_proxy_is_asked_the_mirror_is_blamed(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(OSError, match="refused") as caught:
        download(f"http://{nobody}/debian/dists/trixie/InRelease", PATIENCE)
    assert not isinstance(caught.value, ProxyError)
