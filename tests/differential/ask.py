"""diskimage-builder's program (``program.py``), running: it is asked, and it answers."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests import upstream

Answer = dict[str, Any]


class Program:
    """One process that answers questions until it is closed."""

    def __init__(self, log: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("DIB_", "PYTHON"))}
        with log.open("wb") as said:
            self.process = subprocess.Popen(
                [str(upstream.python()), str(Path(__file__).with_name("program.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env=environment,
            )
        self.log = log

    def ask(self, name: str, **question: Any) -> Answer:
        """The answer to a question; AssertionError with what the program said where it has ended."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"ask": name, **question}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.log.read_text(errors="replace")[-3000:]
        answer: Answer = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(timeout=30)
