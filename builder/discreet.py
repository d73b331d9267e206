"""What is written down about a build without telling secrets: in its provenance, and in its lock."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

WITHHELD = "(withheld)"
SECRET = re.compile(r"PASSW|SECRET|TOKEN|CREDENTIAL|API_?KEY|PRIVATE_?KEY|PASSPHRASE", re.IGNORECASE)
USER_IN_URL = re.compile(r"(?<=://)[^/\s]+@")


def shareable(value: Any, name: str = "") -> Any:
    """A JSON value without secrets: values whose name is a secret's, and users and passwords in URLs.

    Not even a digest of a secret is told: a password's can be guessed.
    """
    if value and SECRET.search(name):
        return WITHHELD
    if isinstance(value, Mapping):
        return {str(key): shareable(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [shareable(item) for item in value]
    if not isinstance(value, str):
        return value
    # An environment variable may have bytes that are no UTF-8; JSON must not.
    return USER_IN_URL.sub("", value.encode("utf-8", "backslashreplace").decode())
