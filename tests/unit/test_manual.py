"""The manual page is what the commands say, and a formatter takes all of it."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from tests.docs.commands import commands
from tests.docs.generated import MANUAL
from tests.docs.manual import manual
from tests.docs.pages import DOCS


def test_the_manual_is_current() -> None:
    assert (DOCS / MANUAL).read_text(encoding="utf-8") == manual(), "run `just docs`"


@pytest.mark.skipif(not shutil.which("groff"), reason="takes groff")
def test_a_formatter_takes_the_manual_and_shows_every_command() -> None:
    words = ["groff", "-man", "-ww", "-Tutf8", "-P-c", "-rLL=100n"]
    done = subprocess.run(words, input=manual(), capture_output=True, text=True, check=True)
    assert done.stderr == ""
    shown = re.sub(r".\x08", "", done.stdout)
    assert [name for name, _ in commands() if name not in shown] == []
    assert "--elements-path DIR:DIR" in shown  # with hyphens that can be copied
