"""One mirror for one build: which of a repository's copies has the state that the build is planned from.

Copies are out of step for hours after a repository has moved, and a redirector sends each request to another one. So a
copy is chosen once, when the build is planned, by the digest of its index; those in other states are passed over, and
the rest stand behind it, for when it goes away (``stages.repositories.pinned``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from stages.repositories import metalink
from stages.repositories.download import Patience, download
from stages.repositories.metalink import REPOMD, NamedState, NoMirrorError

PROBES = 8  # mirrors that are asked for their state, at most
PROBE_TIMEOUT = 10.0  # seconds


@dataclass(frozen=True)
class Choice:
    """A state, and the mirrors for it, best first: the first has it, of the others that is not known."""

    state: NamedState
    mirrors: tuple[str, ...]


def by_metalink(data: bytes, address: str, last: str, patience: Patience) -> Choice:
    """What is chosen by a metalink that was read at ``address``: its newest state, where a mirror has it already.

    Else the newest of the earlier ones that the metalink still names. ``last`` is the digest of the state that was
    built from last: where that is the newest one, no mirror is asked. Raises OSError where none has a state to take.
    """
    parsed = metalink.parse(data, address)
    newest = parsed.states[0]
    if not parsed.mirrors:
        raise NoMirrorError("the metalink names no mirror that can be asked")
    if newest.digest == last:
        return Choice(newest, parsed.mirrors)
    quick = replace(patience, timeout=min(PROBE_TIMEOUT, patience.timeout))
    having: dict[str, list[str]] = {}
    first_error = ""
    unasked = list(parsed.mirrors)
    while unasked and len(parsed.mirrors) - len(unasked) < PROBES and newest.digest not in having:
        mirror = unasked.pop(0)
        try:
            having.setdefault(_digest_at(mirror, quick), []).append(mirror)
        except OSError as error:
            first_error = first_error or f"; {mirror}: {getattr(error, 'reason', error)}"
    for state in parsed.states:
        if state.digest in having:
            return Choice(state, (*having[state.digest], *unasked))
    asked = len(parsed.mirrors) - len(unasked)
    raise NoMirrorError(f"none of the {asked} mirrors that were asked has a state that the metalink names{first_error}")


def _digest_at(mirror: str, patience: Patience) -> str:
    return hashlib.sha256(download(f"{mirror}/{REPOMD}", patience).data).hexdigest()


def by_list(text: str, address: str, path: str) -> tuple[str, ...]:
    """The addresses of an index at ``path`` below the mirrors of a list, a line each, that was read at ``address``.

    What follows the path is ``NAME=VALUE``, for ``$NAME`` in the list, as dnf fills it in. Raises OSError where there
    is none that can be asked.
    """
    private = metalink.is_private(address)
    lines = text.splitlines()
    bases = [line.strip().rstrip("/") for line in lines if "://" in line and not line.lstrip().startswith("#")]
    suffix, *variables = path.split()
    suffix = suffix.lstrip("/")
    for name, _, value in (word.partition("=") for word in variables):
        bases = [base.replace(f"${name}", value) for base in bases]
    folders = [f"{base}/{suffix}" for base in bases if metalink.folder_of(f"{base}/{REPOMD}", private=private)]
    if not folders:
        raise NoMirrorError(f"the mirror list has no mirror: {' '.join(lines)[:200]}")
    return tuple(dict.fromkeys(folders))[: metalink.MOST]


def after_redirect(asked: str, came_from: str) -> Sequence[str]:
    """The folders of a repository whose index was asked for and came from another address: that one first.

    A redirector's answer to the next request may be another mirror; the one that answered has what was seen. A way
    back from https to http is not gone.
    """
    own = asked.removesuffix(f"/{REPOMD}")
    if came_from == asked or (asked.startswith("https:") and not came_from.startswith("https:")):
        return (own,)
    other = metalink.folder_of(came_from, private=metalink.is_private(asked))
    return (other, own) if other else (own,)
