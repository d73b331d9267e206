"""Programs that tests run in build containers, and what these print."""

from __future__ import annotations

from builder.engines.protocol import Container, Engine

PYTHON = ("/usr/bin/python3", "-I", "-c")
# Every program first takes its request off standard input.
TAKE = "import sys, os; n = int(sys.stdin.buffer.readline()); request = sys.stdin.buffer.read(n)\n"


def run(
    engine: Engine, image: str, code: str, *arguments: str, request: bytes = b"", network: bool = True
) -> tuple[int, list[str]]:
    """Run Python code in a build container; returns the exit status and what it printed."""
    lines: list[str] = []
    container = Container(image, (*PYTHON, TAKE + code, *arguments), network=network)
    status = engine.run(container, request, lambda line, _: lines.append(line))
    return status, lines


def run_shell(engine: Engine, image: str, script: str, *arguments: str) -> tuple[int, list[str]]:
    """The same for a shell script."""
    code = "import subprocess; sys.exit(subprocess.call(['/bin/bash', '-eu', '-c', *sys.argv[1:]]))"
    return run(engine, image, code, script, "test", *arguments)
