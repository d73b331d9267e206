"""Sits by a running machine until its boot is decided, one way or the other."""

from __future__ import annotations

import os
import re
import selectors
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from qemu.boot_failure import End
from qemu.console import Console, Sign
from qemu.ssh import SshWatch

_TICK = 0.2  # seconds between two looks at the clock
# After a failure the rest of what is said about it is waited for: until so many seconds are silent, and no longer than
# the second figure says.
_SETTLE, _SETTLE_AT_MOST = 1.0, 6.0
_CHUNK = 65536
_STAMP = re.compile(r"^\[ *[\d.]+\] ")  # the kernel's, before each line


@dataclass(frozen=True)
class BootResult:
    """How it ended: where ``why`` is None ``reached`` tells what was seen; else ``awaited`` was still to come.

    ``reason`` is the reason that the machine gave itself, where it did.
    """

    why: Sign | End | None
    reached: str = ""
    awaited: str = ""
    reason: str = ""


class BootWatch:
    """What is waited for: the console's expression, an answer by SSH, or first the one and then the other.

    ``process`` is QEMU with its serial line on standard output; ``show`` gets the text as it comes.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], console: Console, show: Callable[[str], None], ssh: SshWatch | None
    ) -> None:
        assert process.stdout is not None
        self._output: IO[bytes] = process.stdout
        self._process = process
        self._console = console
        self._show = show
        self._ssh = ssh
        self._line = ""

    def run(self, deadline: float) -> BootResult:
        """Wait until it is decided, but not beyond ``deadline`` (of time.monotonic)."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
                if self._read(selector, min(_TICK, left)) == b"":
                    return BootResult(End.DIED if self._process.wait() else End.OFF, awaited=self._awaited())
                ending = self._decided()
                if ending and ending.why:
                    self._settle(selector)
                    return self._decided() or ending
                if ending:
                    return ending
        return BootResult(End.TIMEOUT, awaited=self._awaited(), reason=self._ssh.refusal if self._ssh else "")

    def _read(self, selector: selectors.BaseSelector, seconds: float) -> bytes | None:
        """Take what comes within so many seconds; None for nothing, b"" where nothing will come any more."""
        if not selector.select(seconds):
            return None
        data = os.read(self._output.fileno(), _CHUNK)
        self._show(self._console.feed(data))
        return data

    def _decided(self) -> BootResult | None:
        sighting = self._console.sighting
        if sighting and sighting.sign is not Sign.REACHED:
            message = _STAMP.sub("", sighting.line) if sighting.sign is Sign.PANIC else ""
            return BootResult(sighting.sign, awaited=self._awaited(), reason=message)
        if sighting:
            self._line = sighting.line
            if self._ssh is None:
                return BootResult(None, self._line)
            self._console.expect_no_more()
        if self._ssh and self._ssh.reached and self._console.expected is None:
            who = f"logged in by SSH as {self._ssh.user}" if self._ssh.user else f"SSH answers ({self._ssh.banner})"
            return BootResult(None, f"{self._line}; {who}" if self._line else who)
        return None

    def _awaited(self) -> str:
        if self._console.expected is not None:
            return self._console.awaited
        if self._ssh and self._ssh.banner:
            return "an SSH login"
        return "an SSH server's answer"

    def _settle(self, selector: selectors.BaseSelector) -> None:
        end = time.monotonic() + _SETTLE_AT_MOST
        while time.monotonic() < end and self._read(selector, _SETTLE):
            pass
