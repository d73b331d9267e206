"""Who may write to a cache: not a pull request from a fork, whose code nobody has looked at yet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

EVENTS = ("pull_request", "pull_request_target", "pull_request_review", "pull_request_review_comment")


def is_from_fork(environment: Mapping[str, str]) -> bool:
    """Does this run for a pull request from a fork; yes where it is for one, and nothing says from where.

    The variables and the file are GitHub's (docs.github.com, "Store information in variables" and "Webhook events").
    """
    if environment.get("GITHUB_EVENT_NAME") not in EVENTS:
        return False
    try:
        event: Any = json.loads(Path(environment["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
        request = event["pull_request"]
        head, base = request["head"]["repo"], request["base"]["repo"]
        return head is None or head["full_name"] != base["full_name"]
    except (OSError, ValueError, KeyError, TypeError):
        return True
