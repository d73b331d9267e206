"""This machine's own programs in the stages of a foreign tree: what gives the same bytes need not be emulated.

A stage has them in ``/dev/native``, which is gone with it: ``loader`` and ``lib`` start a program of ``programs`` below
the tree's root, and ``bin`` has the commands that the element ``dpkg`` puts before the tree's own. A command runs the
native program only where the tree's is of the same upstream version: then both write the same. ``dpkg-deb`` may be of
any version, as it only unpacks here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

PLACE = "/dev/native"  # in a stage, whose /dev is its own
_LIBRARY = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x", re.MULTILINE)


@dataclass(frozen=True)
class Tool:
    """A program, the Debian package that it is in, and whether only the tree's own version will do."""

    name: str
    package: str
    same_version: bool = True


TOOLS = (
    Tool("dpkg-deb", "dpkg", same_version=False),
    Tool("depmod", "kmod"),
    Tool("cpio", "cpio"),
    Tool("gzip", "gzip"),
    Tool("xz", "xz-utils"),
    Tool("zstd", "zstd"),
)
# Started by the tree's shell, so in an interpreter: it is small, and loads no libraries but its own.
_COMMAND = """\
#!/bin/sh
if {condition}; then
    exec {place}/loader --library-path {place}/lib {place}/programs/{name} "$@"
fi
PATH="${{PATH#{place}/bin:}}"
exec {name} "$@"
"""
_SAME = "[ \"$(dpkg-query -W -f '${{source:Upstream-Version}}' {package} 2> /dev/null)\" = '{version}' ]"


def prepare(folder: Path) -> Path | None:
    """Put the programs that this machine has into ``folder``; None where there are none that can be started so."""
    if shutil.which("ldd") is None or shutil.which("dpkg-query") is None:
        return None
    for name in ("bin", "lib", "programs"):
        (folder / name).mkdir(parents=True)
    there = [tool for tool in TOOLS if _add(tool, folder)]
    return folder if there and (folder / "loader").is_file() else None


def _add(tool: Tool, folder: Path) -> bool:
    """Copy one program with its libraries and write its command; False where it is not here."""
    found = shutil.which(tool.name)
    version = _ask("dpkg-query", "-W", "-f", "${source:Upstream-Version}", tool.package)
    libraries = [Path(path) for path in _LIBRARY.findall(_ask("ldd", found))] if found else []
    loaders = [path for path in libraries if path.name.startswith("ld")]
    if found is None or not version or not loaders:
        return False
    shutil.copyfile(found, folder / "programs" / tool.name)
    for path in libraries:
        if path not in loaders:
            shutil.copyfile(path, folder / "lib" / path.name)
    _write(folder / "loader", loaders[0].read_bytes())
    _write(folder / "bin" / tool.name, command(tool, version).encode())
    return True


def command(tool: Tool, version: str) -> str:
    """The shell script that starts a native program, or the tree's own where that is of another version."""
    condition = _SAME.format(package=tool.package, version=version) if tool.same_version else "true"
    return _COMMAND.format(condition=condition, place=PLACE, name=tool.name)


def _write(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    file.chmod(0o755)


def _ask(*words: str) -> str:
    """What a program says, or nothing where it fails."""
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
