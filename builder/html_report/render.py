"""The page's values as HTML. Everything in them is somebody else's text: the template escapes all it is given.

The page may load nothing and run nothing, whatever would slip through: its policy allows the one sheet of styles that
is in it, by its digest.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from pathlib import Path
from typing import Any

import jinja2

from builder.html_report.page import Page
from builder.progress.report import size

HERE = Path(__file__).parent
# What is no letter, digit or sign that can be shown, with what turns the direction of text around.
_UNFIT = re.compile(
    "[^\t\n\u0020-\u007e\u00a0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)


def _fit(value: Any) -> Any:
    """A value for the template: texts without what no page should show."""
    return _UNFIT.sub("\ufffd", value) if type(value) is str else value


def seconds(count: float) -> str:
    """A time as a person reads it."""
    if count < 60:
        return f"{count:.1f} s"
    minutes, rest = divmod(round(count), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def signed(count: int) -> str:
    """A difference of bytes."""
    return f"+{size(count)}" if count > 0 else f"-{size(-count)}" if count else "0 B"


def html(page: Page) -> str:
    """The page."""
    styles = (HERE / "page.css").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_fit,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(size=size, seconds=seconds, signed=signed, shell=shlex.join)
    digest = base64.b64encode(hashlib.sha256(styles.encode()).digest()).decode()
    text: str = environment.get_template("page.html").render(page=page, styles=styles, digest=digest)
    return text
