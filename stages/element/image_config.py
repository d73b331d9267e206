"""What elements say of the image that a container engine runs: ``image-config.yaml``, checked and merged.

::

    entrypoint: [/usr/bin/tini, --]
    cmd: [/usr/sbin/nginx, -g, daemon off;]
    env: {LANG: C.UTF-8}
    user: www-data
    workdir: /srv
    volumes: [/srv/data]
    ports: [80/tcp]
    labels: {org.example.team: web}
    stop-signal: SIGQUIT

The names are those of the OCI image specification (config.md, "Properties"). Elements are merged in their order;
lists of volumes and ports add up, so do variables and labels; for all else two elements must agree.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blockdev.core import yaml_document
from blockdev.core.errors import UsageError
from blockdev.core.yaml_document import Document
from stages.element.environment import VARIABLE

FILE = "image-config.yaml"
_PORT = re.compile(r"([0-9]{1,5})(?:/(tcp|udp|sctp))?\Z")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?\Z")


def _text(value: Any, document: Document, *path: Hashable) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        document.refuse(f"{value!r} is no text", *path)
    text = str(value)
    if "\0" in text:
        document.refuse("a text here cannot hold a zero byte", *path)
    return text


def _words(value: Any, document: Document, key: str) -> list[str]:
    if not isinstance(value, list):
        document.refuse(f"{key} is no list", key, hint=f"write {key}: [/usr/bin/program, argument]")
    return [_text(word, document, key, index) for index, word in enumerate(value)]


def _absolute(value: Any, document: Document, *path: Hashable) -> str:
    text = _text(value, document, *path)
    if not text.startswith("/") or ".." in text.split("/"):
        document.refuse(f"{text!r} is no absolute path", *path)
    return text


def _paths(value: Any, document: Document, key: str) -> list[str]:
    if not isinstance(value, list):
        document.refuse(f"{key} is no list of paths", key, hint=f"write {key}: [/srv/data]")
    return [_absolute(path, document, key, index) for index, path in enumerate(value)]


def _ports(value: Any, document: Document, key: str) -> list[str]:
    if not isinstance(value, list):
        document.refuse(f"{key} is no list of ports", key, hint=f"write {key}: [80/tcp]")
    ports = []
    for index, port in enumerate(value):
        match = _PORT.match(_text(port, document, key, index))
        if not match or not 0 < int(match[1]) < 65536:
            document.refuse(f"{port!r} is no port", key, index, hint="a number up to 65535, with /tcp, /udp or /sctp")
        ports.append(f"{int(match[1])}/{match[2] or 'tcp'}")
    return ports


def _pairs(value: Any, document: Document, key: str) -> dict[str, str]:
    if not isinstance(value, dict):
        document.refuse(f"{key} is no mapping", key, hint=f"write {key}: {{NAME: value}}")
    for name in value:
        if not isinstance(name, str) or not name or (key == "env" and not VARIABLE.match(name)):
            document.refuse(f"{name!r} is no name of a {'variable' if key == 'env' else 'label'}", key, name)
    return {name: _text(text, document, key, name) for name, text in value.items()}


def _user(value: Any, document: Document, key: str) -> str:
    text = _text(value, document, key)
    if not _USER.match(text):
        document.refuse(f"{text!r} is no user", key, hint="a name or a number, and with a colon that of a group")
    return text


def _signal(value: Any, document: Document, key: str) -> str:
    text = _text(value, document, key)
    names = {each.name for each in signal.Signals}
    if not (text in names or re.match(r"SIGRTM(?:IN\+|AX-)[0-9]{1,2}\Z", text) or re.match(r"[1-9][0-9]?\Z", text)):
        document.refuse(f"{text!r} is no signal", key, hint="SIGTERM, SIGQUIT, SIGRTMIN+3 ...")
    return text


_READERS: dict[str, Callable[[Any, Document, str], Any]] = {
    "entrypoint": _words,
    "cmd": _words,
    "env": _pairs,
    "user": _user,
    "workdir": _absolute,
    "volumes": _paths,
    "ports": _ports,
    "labels": _pairs,
    "stop-signal": _signal,
}


def parse(text: str, file: str) -> dict[str, Any]:
    """One element's file as plain data; UsageError with ``file`` and line for what is wrong in it."""
    document = yaml_document.read(text, file)
    if document.data is None:
        return {}
    if not isinstance(document.data, dict):
        document.refuse("an image's configuration is a mapping", hint=f"it has {', '.join(_READERS)}")
    for key in document.data:
        if key not in _READERS:
            document.refuse(f"an image's configuration has no {key!r}", key, hint=f"it has {', '.join(_READERS)}")
    return {key: _READERS[key](value, document, key) for key, value in document.data.items()}


@dataclass
class _Merging:
    """The merged configuration so far, and the file that each part of it came from."""

    data: dict[str, Any] = field(default_factory=dict)
    source: dict[tuple[str, ...], str] = field(default_factory=dict)

    def agree(self, path: tuple[str, ...], old: Any, new: Any, file: str) -> None:
        """Refuse a part that another file has otherwise."""
        if path in self.source and old != new:
            raise UsageError(
                f"two elements disagree on the image's {' '.join(path)}: {old!r} in {self.source[path]}, "
                f"{new!r} in {file}",
                where=file,
                hint="leave it to one of the two",
            )
        self.source.setdefault(path, file)

    def add(self, config: Mapping[str, Any], file: str) -> None:
        """Merge one element's configuration."""
        for key, value in config.items():
            if isinstance(value, dict):
                merged = self.data.setdefault(key, {})
                for name, text in value.items():
                    self.agree((key, name), merged.get(name), text, file)
                    merged[name] = text
            elif key in ("volumes", "ports"):
                self.data[key] = list(dict.fromkeys([*self.data.get(key, ()), *value]))
            else:
                self.agree((key,), self.data.get(key), value, file)
                self.data[key] = value


def merge(configs: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Merge (file, configuration) pairs in their order; UsageError naming both files where two disagree."""
    merging = _Merging()
    for file, config in configs:
        merging.add(config, file)
    return merging.data


def read(folders: Iterable[Path]) -> dict[str, Any]:
    """The merged configuration of elements' folders that have one, in their order."""
    configs = []
    for file in (folder / FILE for folder in folders):
        try:
            configs.append((str(file), parse(file.read_text(encoding="utf-8"), str(file))))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"an image's configuration cannot be read: {error}", where=str(file)) from error
    return merge(configs)
