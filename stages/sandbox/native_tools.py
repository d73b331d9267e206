"""This machine's own programs in the stages of a foreign tree: what gives the same bytes need not be emulated.

A stage has them in ``/dev/native``, which is gone with it: ``own`` are the programs, changed so that they find their
loader and their libraries there; ``bin`` is what dpkg and its scripts find before the tree's own (the element ``dpkg``
sees to that), and ``initramfs`` what mkinitramfs finds.

A program serves only where the tree's is of the same upstream version: then both write the same. For what the bootstrap
has brought that is seen before the stage; for the rest a small script sees it when the program is called.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.tools import run

PLACE = "/dev/native"  # in a stage, whose /dev is its own
_OWN = f"{PLACE}/own"
_LIBRARY = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x", re.MULTILINE)
_VERSION = re.compile(r"(?:\d+:)?(?P<upstream>.+?)(?:-[^-]*)?")  # Debian Policy, 5.6.12


@dataclass(frozen=True)
class Tool:
    """A program and the Debian package that it is in.

    ``any_version``: dpkg unpacks packages with it, which every version does in the same way. ``late``: its package may
    come in the very stage that calls it. ``initramfs``: mkinitramfs and what that runs call it for each file.
    ``loads``: libraries that it loads when it meets a compressed module. ldd does not tell of them; dpkg-deb has them.
    ``path``: where it is called; else programs find it in PATH. What calls it is told of ours by the element ``dpkg``.
    """

    name: str
    package: str
    any_version: bool = False
    late: bool = False
    initramfs: bool = False
    loads: tuple[str, ...] = ()
    path: str = ""


_KMOD = ("liblzma.so.5", "libzstd.so.1")
TOOLS = (
    Tool("dpkg-deb", "dpkg", any_version=True),
    Tool("dpkg-split", "dpkg", any_version=True),
    Tool("tar", "tar", any_version=True),
    *(Tool(name, "coreutils", initramfs=True) for name in ("basename", "cp", "dirname", "ln", "mkdir", "readlink")),
    Tool("realpath", "coreutils", initramfs=True),
    Tool("sed", "sed", initramfs=True),
    Tool("rm", "coreutils", any_version=True, initramfs=True),
    Tool("cpio", "cpio", late=True),
    Tool("depmod", "kmod", late=True, loads=_KMOD),
    Tool("dracut-install", "dracut-install", late=True, loads=_KMOD, path="/usr/lib/dracut/dracut-install"),
    Tool("gzip", "gzip", late=True),
    Tool("modinfo", "kmod", late=True, loads=_KMOD),
    Tool("modprobe", "kmod", late=True, loads=_KMOD),
    Tool("xz", "xz-utils", late=True),
    Tool("zstd", "zstd", late=True),
)
_SAME = """\
#!/bin/sh
[ "$(dpkg-query -W -f '${{source:Upstream-Version}}' {tool.package} 2> /dev/null)" = '{version}' ]
"""
_LATE = """\
#!/bin/sh
if {own}/same/{tool.name}; then
    exec {own}/programs/{tool.name} "$@"
fi
PATH="${{PATH#{place}/bin:}}"
exec {tool.name} "$@"
"""


@dataclass(frozen=True)
class Programs:
    """Programs made ready in ``folder``, and the upstream version of each tool's."""

    folder: Path
    versions: Mapping[str, str]

    def ready(self, tree: Path) -> tuple[Path, tuple[Tool, ...]]:
        """What a stage of this tree is told: the folder, and which of the programs serve."""
        return self.folder, self.serving(tree)

    def serving(self, tree: Path) -> tuple[Tool, ...]:
        """Those that serve a tree, also one that is still to be made."""
        from stages.tree import package_database  # foreign trees alone need it

        packages = package_database.read(tree) if (tree / "var/lib/dpkg/status").is_file() else ()
        theirs = {package.name: upstream(package.version) for package in packages}
        return tuple(
            tool
            for tool in TOOLS
            if tool.name in self.versions
            and (tool.any_version or tool.late or theirs.get(tool.package) == self.versions[tool.name])
        )


def upstream(version: str) -> str:
    """Upstream's part of a Debian package's version."""
    match = _VERSION.fullmatch(version)
    return match["upstream"] if match else version


def link(folder: Path, tools: tuple[Tool, ...]) -> None:
    """In a stage's ``/dev/native`` at ``folder``, where ``own`` has the programs: what leads to those that serve."""
    for name in ("bin", "initramfs"):
        (folder / name).mkdir(parents=True)
    for tool in tools:
        if tool.path:
            continue
        (folder / "bin" / tool.name).symlink_to(f"{_OWN}/{'late' if tool.late else 'programs'}/{tool.name}")
        if tool.initramfs:
            (folder / "initramfs" / tool.name).symlink_to(f"{_OWN}/programs/{tool.name}")


def prepare(folder: Path) -> Programs | None:
    """Put the programs that this machine has into ``folder``; None where they cannot be changed as it takes."""
    if not all(shutil.which(name) for name in ("ldd", "dpkg-query", "patchelf")):
        return None
    for name in ("late", "lib", "programs", "same"):
        (folder / name).mkdir(parents=True)
    versions = {tool.name: version for tool in TOOLS if (version := _add(tool, folder))}
    return Programs(folder, versions) if versions else None


def _add(tool: Tool, folder: Path) -> str:
    """Copy one program with its libraries; returns its upstream version, or nothing where it is not here."""
    binary = shutil.which(tool.path or tool.name)
    version = upstream(_ask("dpkg-query", "-W", "-f", "${Version}", tool.package))
    libraries = [Path(path) for path in _LIBRARY.findall(_ask("ldd", binary))] if binary else []
    loader = next((path for path in libraries if path.name.startswith("ld")), None)
    if binary is None or not version or loader is None:
        return ""
    for path in libraries:
        shutil.copyfile(path, folder / ("loader" if path == loader else f"lib/{path.name}"))
    if not all((folder / "lib" / name).is_file() for name in tool.loads):
        return ""
    (folder / "loader").chmod(0o755)
    program = folder / "programs" / tool.name
    shutil.copyfile(binary, program)
    program.chmod(0o755)
    # (An rpath of the old kind is the libraries' own libraries', too.)
    change = ("--set-interpreter", f"{_OWN}/loader", "--force-rpath", "--set-rpath", f"{_OWN}/lib")
    if run(["patchelf", *change, str(program)]).status != 0:
        return ""
    if tool.late:
        theirs = _ask("dpkg-query", "-W", "-f", "${source:Upstream-Version}", tool.package)
        for name, text in (("same", _SAME), ("late", _LATE)):
            script = folder / name / tool.name
            script.write_text(text.format(tool=tool, version=theirs, own=_OWN, place=PLACE))
            script.chmod(0o755)
    return version


def _ask(*words: str) -> str:
    """What a program says, or nothing where it fails."""
    done = run(words)
    return done.text.strip() if done.status == 0 else ""
