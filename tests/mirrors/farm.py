"""A farm of mirrors on loopback: copies of one repository in states of their own, a metalink over them, a redirector.

It has the properties of the real ones that a build can trip over, each to be switched off: copies that are out of step
(``Copy.state``), copies that go away or move while a build runs (``Copy.gone_after``, ``Farm.moves_after``), a
redirector that sends each request to the next copy (``Farm.redirects``), earlier states that the metalink names
(``Farm.alternates``).
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from itertools import count
from pathlib import Path
from urllib.parse import unquote

from tests.mirrors.serve import running

REPOMD = "repodata/repomd.xml"


@dataclass
class Copy:
    """A mirror: the ``state`` that it is in, and how many answers it gives before it is gone (-1: it stays)."""

    state: str
    gone_after: int = -1
    answers: int = 0


@dataclass
class Farm:
    """Copies by name, and the folders of the repository's states by theirs.

    The metalink (``metalink``) names ``newest`` and ``alternates``, and the copies in their order; the dates of states
    are seconds from ``date`` on, by their names. The address ``redirect`` is every copy in turn. After ``moves_after``
    answers of the copies all are in the state ``moves_to`` (-1: never), and with ``metalink_follows`` the metalink says
    so. ``more`` are farms of other repositories, by the names that the metalink is asked for.
    """

    states: Mapping[str, Path]
    copies: dict[str, Copy]
    newest: str
    alternates: tuple[str, ...] = ()
    redirects: bool = True
    moves_after: int = -1
    moves_to: str = ""
    metalink_follows: bool = True
    more: Mapping[str, Farm] = field(default_factory=dict)
    date: int = 1_770_000_000
    address: str = ""
    asked: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    turn: Iterator[int] = field(default_factory=count)

    @property
    def metalink(self) -> str:
        """Where the metalink is."""
        return f"metalink={self.address}/metalink?repo=r&arch=x86_64"

    @property
    def redirector(self) -> str:
        """Where the redirector has the repository's index."""
        return f"{self.address}/redirect/{REPOMD}"

    def digest(self, state: str) -> str:
        """The SHA-256 of a state's index."""
        return hashlib.sha256((self.states[state] / REPOMD).read_bytes()).hexdigest()

    def metalink_text(self) -> str:
        """The metalink, as MirrorManager writes it."""
        urls = "".join(
            f'<url protocol="http" type="http" preference="{100 - rank}">{self.address}/{name}/{REPOMD}</url>'
            for rank, name in enumerate(self.copies)
        )
        earlier = "".join(f"<mm0:alternate>{self._details(state)}</mm0:alternate>" for state in self.alternates)
        return (
            '<?xml version="1.0" encoding="utf-8"?>\n<metalink version="3.0" xmlns="http://www.metalinker.org/" '
            'type="dynamic" generator="mirrormanager" xmlns:mm0="http://fedorahosted.org/mirrormanager"><files>'
            f'<file name="repomd.xml">{self._details(self.newest)}<mm0:alternates>{earlier}</mm0:alternates>'
            f'<resources maxconnections="1">{urls}</resources></file></files></metalink>'
        )

    def _details(self, state: str) -> str:
        size = (self.states[state] / REPOMD).stat().st_size
        return (
            f"<mm0:timestamp>{self.date + sorted(self.states).index(state)}</mm0:timestamp><size>{size}</size>"
            f'<verification><hash type="md5">00</hash><hash type="sha256">{self.digest(state)}</hash></verification>'
        )

    def answer(self, address: str) -> tuple[int, bytes | str]:
        """The status and what goes with it: content, or where to go."""
        path, _, query = unquote(address).partition("?")
        with self.lock:
            self.asked.append(path)
            if path == "/metalink":
                named = dict(word.partition("=")[::2] for word in query.split("&")).get("repo", "")
                return 200, self.more.get(named, self).metalink_text().encode()
            name, _, rest = path.lstrip("/").partition("/")
            if name == "redirect" and self.redirects:
                names = list(self.copies)
                return 302, f"{self.address}/{names[next(self.turn) % len(names)]}/{rest}"
            copy = self.copies.get(next(iter(self.copies)) if name == "redirect" else name)
            if copy is None or copy.answers == copy.gone_after:
                return 503, b""
            copy.answers += 1
            if sum(each.answers for each in self.copies.values()) - 1 == self.moves_after:
                for each in self.copies.values():
                    each.state = self.moves_to
                self.newest = self.moves_to if self.metalink_follows else self.newest
            file = self.states[copy.state] / rest
            return (200, file.read_bytes()) if file.is_file() else (404, b"")


@contextlib.contextmanager
def serving(farm: Farm) -> Iterator[Farm]:
    """The farm, served as long as this is held."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, what = farm.answer(self.path)
            self.send_response(status)
            body = b"" if isinstance(what, str) else what
            if isinstance(what, str):
                self.send_header("Location", what)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                with contextlib.suppress(OSError):
                    self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: ``asked`` has it."""

    with running(Handler) as farm.address:
        yield farm
