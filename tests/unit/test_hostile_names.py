"""Names with `../`, leading dashes, line ends and worse, at every door that takes one: refused, or harmless."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from blockdev.core.errors import BuildError
from builder import cli

HOSTILE = {
    "upwards": "../x",
    "dots": "..",
    "upwards inside": "a/../../b",
    "absolute": "/no/such",
    "option": "-x",
    "long option": "--no-such-option",
    "line end": "a\nb",
    "escape": "a\x1b[31mb",
    "bell": "a\x07",
    "no utf-8": "a\udcffb",
    "empty": "",
    "blank": " ",
    "words": "a b",
    "long": "x" * 5000,
    "command": "$(touch ran)",
    "commands": "a;touch ran",
    "pattern": "*",
    "format": "{0.__class__}%s",
}
DOORS = {
    "element": ["build", "--engine=host", "--", "{}"],
    "name": ["build", "--engine=host", "--name={}", "os"],
    "tag": ["build", "--engine=host", "-o", "docker-archive,tag={}", "os"],
    "destination": ["build", "--engine=host", "-o", "tar,dest={}", "os"],
    "output": ["build", "--engine=host", "-o", "{}", "os"],
    "option of an output": ["build", "--engine=host", "-o", "tar,{}=1", "os"],
    "package": ["build", "--engine=host", "-p", "{}", "os"],
    "architecture": ["build", "--engine=host", "--arch={}", "os"],
    "release": ["build", "--engine=host", "--release={}", "os"],
    "setting": ["build", "--engine=host", "--set={}=1", "os"],
    "value": ["build", "--engine=host", "--set=DIB_X={}", "os"],
    "stage": ["shell", "--engine=host", "--at={}", "os"],
    "break": ["build", "--engine=host", "--break={}", "os"],
    "lock": ["build", "--engine=host", "--locked={}", "os"],
    "elements path": ["build", "--engine=host", "--elements-path={}", "os"],
    "described element": ["elements", "--", "{}"],
    "checked element": ["elements", "--check", "--", "{}"],
    "engine": ["build", "--engine={}", "os"],
    "age": ["cache", "prune", "--engine=host", "--older-than={}"],
    "size": ["cache", "prune", "--engine=host", "--max-size={}"],
    "images file": ["build", "-f", "{}"],
    "cache": ["build", "--engine=host", "--cache-from={}", "os"],
    "base": ["build", "--engine=host", "--offline", "--from={}", "os"],
}
REACHED = "a container would have been started"


# Every word at the first two doors and every third one at the others.
AGAIN = pytest.mark.thorough("five seconds of a processor: a word that other doors have seen")
WORDS_AT_DOORS = [
    pytest.param(hostile, door, marks=() if place < 2 or (place + number) % 3 == 0 else AGAIN)
    for number, hostile in enumerate(HOSTILE)
    for place, door in enumerate(DOORS)
]


@pytest.mark.parametrize(("hostile", "door"), WORDS_AT_DOORS)
def test_every_door(
    door: str, hostile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "elements/os").mkdir(parents=True)
    (tmp_path / "elements/os/element-provides").write_text("operating-system\n")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name, place in (("ELEMENTS_PATH", "elements"), ("XDG_CACHE_HOME", "cache"), ("DIB_CTR_STORE", "store")):
        monkeypatch.setenv(name, str(tmp_path / place))

    def reached(*_: object, **__: object) -> NoReturn:
        raise BuildError(REACHED)

    monkeypatch.setattr("builder.engines.select", reached)
    before = sorted(tmp_path.rglob("*"))
    try:
        status = cli.main([word.replace("{}", HOSTILE[hostile]) for word in DOORS[door]])
    except SystemExit as error:
        status = int(error.code or 0)
    said = capsys.readouterr()
    text = said.out + said.err
    assert "Traceback" not in text
    assert "stumbled" not in text
    assert status == 2 or REACHED in text or (status == 1 and "error: " in text), text
    made = [
        path for path in sorted(tmp_path.rglob("*")) if path not in before and tmp_path / "cache" not in path.parents
    ]
    assert made in ([], [tmp_path / "cache"])
