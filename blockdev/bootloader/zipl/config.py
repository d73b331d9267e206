"""What /etc/zipl.conf says is started (zipl.conf(5)): a disk starts at first what zipl would make it start later.

Understood is what names one program: ``default`` of the section ``defaultboot``, and of the section it names ``image``,
``ramdisk`` and ``parameters``. Menus, and programs that are found by other files, are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from blockdev.core.errors import BuildError

FILE = "etc/zipl.conf"  # in the tree
_SECTION = re.compile(r"\[([^\]]+)\]\s*\Z")
_SETTING = re.compile(r"([A-Za-z0-9]+)\s*=\s*(.*)\Z")
_START = "defaultboot"
_FOUND_ELSEWHERE = ("defaultauto", "defaultmenu", "parmfile")


@dataclass(frozen=True)
class Program:
    """Paths of the kernel and of its ram disk ("" for none), as the running machine sees them, and the command line."""

    image: str
    ramdisk: str
    parameters: str


def read(text: str, where: str) -> Program:
    """The program that the text of a zipl.conf starts; BuildError, naming ``where``, for what is not understood."""
    sections = _sections(text, where)
    start = sections.get(_START, {})
    _refuse_elsewhere(start, where)
    name = start.get("default")
    if not name:
        raise _error(f"it names no default in the section [{_START}]", where)
    section = sections.get(name)
    if section is None:
        raise _error(f"the default is {name!r}, and there is no such section", where)
    _refuse_elsewhere(section, where)
    if not section.get("image"):
        raise _error(f"the section [{name}] names no image", where)
    return Program(_path(section["image"]), _path(section.get("ramdisk", "")), section.get("parameters", ""))


def _sections(text: str, where: str) -> dict[str, dict[str, str]]:
    sections: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if match := _SECTION.match(line):
            current = sections.setdefault(match[1].strip(), {})
        elif line.startswith(":"):
            current = {}  # a menu, which nothing here reads
        elif match := _SETTING.match(line):
            current[match[1].lower()] = _plain(match[2])
        elif line.lower() in _FOUND_ELSEWHERE:
            current[line.lower()] = line
        else:
            raise _error(f"this is no setting: {line!r}", f"{where}:{number}")
    return sections


def _plain(value: str) -> str:
    """A value without its quotes."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value


def _path(value: str) -> str:
    """A file's path; behind a comma zipl takes an address, which is chosen here."""
    return value.partition(",")[0].strip()


def _refuse_elsewhere(section: dict[str, str], where: str) -> None:
    for name in _FOUND_ELSEWHERE:
        if name in section:
            raise _error(f"{name} is not understood here", where)


def _error(what: str, where: str) -> BuildError:
    return BuildError(
        f"zipl.conf does not say what the disk starts: {what}",
        where=where,
        hint="let the element bootloader write it, or name a section as default= whose image=, ramdisk= and parameters="
        " are what starts",
    )
