"""How a secret is known by itself: by the name of its variable, or by its place within a text.

Where in doubt it is one: what is withheld without need costs a word in a document, what is told costs the secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

WITHHELD = "(withheld)"
_NAME = re.compile(
    r"PASSW|PASSPHRASE|PASSCODE|SECRET|TOKEN|CREDENTIAL|PRIVATE_?KEY|API_?KEY|ACCESS_?KEY|ACTIVATION_?KEY|COOKIE|NETRC"
    r"|_PWD\Z|(?:^|_)(?:PASS|PSK|AUTH|PIN)\Z|(?:^|_)(?:PASS|AUTH)_",
    re.IGNORECASE,
)
# Key material, or a public key: that hangs on the value.
_KEY = re.compile(r"[^_]_KEY\Z|[^_]_KEY_(?:DATA|CONTENT|B64|BASE64|PEM)\Z", re.IGNORECASE)
_PUBLIC = re.compile(
    r"\s*(?:(?:ssh|ecdsa|sk-ssh|sk-ecdsa)-\S+ AAAA|untrusted comment: (?:minisign|signify) public"
    r"|-----BEGIN (?:\w+ )?(?:PUBLIC KEY|CERTIFICATE|PGP PUBLIC))"
)
_WORDS = "passw(?:or)?d|passwd|passphrase|passcode|secret|token|api_?key|access_?key|private_?key|credentials?"
# Where a secret stands within a text: the group ``secret`` of each.
_WITHIN = (
    # A private key, whole.
    re.compile(
        r"(?P<secret>-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END[^-\n]*-----|\Z))", re.DOTALL
    ),
    re.compile(r"(?P<secret>AGE-SECRET-KEY-[A-Z0-9]+)"),
    # Part of an address's query.
    re.compile(
        rf"[?&;](?:[\w.-]*(?:{_WORDS})|key|sig|signature|auth|pw|pass)=(?P<secret>[^&;\s\"'<>#]+)", re.IGNORECASE
    ),
    # netrc(5), apt_auth.conf(5).
    re.compile(r"\blogin\s+\S+\s+(?:password|passwd)\s+(?P<secret>\S+)"),
    # A header of HTTP.
    re.compile(
        r"\b(?:proxy-)?authorization\s*[:=]\s*(?:(?:basic|bearer|token|digest)\s+)?(?P<secret>[^\s\"',;]+)",
        re.IGNORECASE,
    ),
    # A setting: `password = x`, `--token=x`, `_authToken=x`, `"secret": "x"`.
    re.compile(rf"(?:{_WORDS}|_auth(?:token)?)[\"']?\s*[=:]\s*[\"']?(?P<secret>[^\s\"',;&]+)", re.IGNORECASE),
)
# User and password before a host: of an address, or without a scheme (`user:password@proxy:3128`).
_IN_ADDRESS = re.compile(r"(?<=://)(?P<secret>[^/\s\"'<>]+)@")
_BEFORE_HOST = re.compile(r"(?<![\w./:@-])(?P<secret>[^\s/:@\"'=,]+:[^\s/@\"',]+)@(?=[\w\[])")
# A value that says yes or no is none, whatever its variable is called.
PLAIN = frozenset("true false yes none null enabled disabled auto default required optional".split())  # noqa: SIM905


def is_secret_name(name: str, value: str, more: Iterable[str] = ()) -> bool:
    """Is the variable of this name a secret as a whole, by its name, its value, or ``more`` names (``*`` counts)."""
    if not value:
        return False
    if any(fnmatchcase(name, pattern) for pattern in more):
        return True
    return bool(_NAME.search(name)) or (bool(_KEY.search(name)) and not _PUBLIC.match(value))


def parts(text: str) -> Iterator[str]:
    """The secrets that stand within a text; of an address its user and password, and the password alone."""
    for pattern in _WITHIN:
        yield from (match["secret"] for match in pattern.finditer(text) if match["secret"] != WITHHELD)
    for pattern in (_IN_ADDRESS, _BEFORE_HOST):
        for match in pattern.finditer(text):
            user, separator, password = match["secret"].partition(":")
            if match["secret"] != WITHHELD and (separator or pattern is _IN_ADDRESS):
                yield match["secret"]
                yield password if separator else user


def without_parts(text: str) -> str:
    """The text without the secrets that stand within it; an address loses its user and password altogether."""
    text = _IN_ADDRESS.sub("", text)
    for pattern in (*_WITHIN, _BEFORE_HOST):
        text = pattern.sub(_withheld, text)
    return text


def without_credentials(address: str) -> str:
    """An address as it may be told: without user and password, and without what is secret of its query."""
    return without_parts(address) if "://" in address else address


def _withheld(match: re.Match[str]) -> str:
    begin, end = match.span("secret")
    whole = match[0]
    return whole[: begin - match.start()] + WITHHELD + whole[end - match.start() :]
