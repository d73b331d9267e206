"""The style checks of DIB's ``dib-lint``, with its words, its exclusions and its form: ``ERROR: ...`` a line.

Each check is a small function over one file's text; names in the table are those that a ``dib-lint: disable=`` comment
or ``ignore`` in the section ``dib-lint`` of tox.ini turns off. Two differences, both stricter about what is meant: a
comment turns a check off in its own file only, and Python files are compiled instead of passed to flake8.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from blockdev.core import tools, yaml_document
from blockdev.core.errors import UsageError

DISABLE = re.compile(r"^# dib-lint: disable=(.*)$", re.MULTILINE)
TARGETS = ("TARGET_ROOT", "IMAGE_BLOCK_DEVICE", "TMP_MOUNT_PATH", "TMP_IMAGE_PATH")
OUTSIDE = re.compile(r"root\.d|extra-data\.d|block-device\.d|finalise\.d|cleanup\.d")


@dataclass(frozen=True)
class Source:
    """One file: its name as messages have it, its text, whether it is executable, and the checks turned off in it."""

    file: Path
    text: str
    executable: bool
    excluded: frozenset[str]

    @property
    def first(self) -> str:
        """The first line."""
        return self.text.split("\n", 1)[0]

    @property
    def lines(self) -> list[str]:
        """The lines, without blanks around them; those that a backslash continues are one."""
        return [line.strip() for line in self.text.replace("\\\n", "").splitlines()]

    def matches(self, pattern: str) -> bool:
        """Is there a line with the pattern?"""
        return re.search(pattern, self.text, re.MULTILINE) is not None


def ignored_everywhere(folder: Path) -> frozenset[str]:
    """What ``ignore`` in the section ``dib-lint`` of the folder's tox.ini turns off."""
    parser = configparser.ConfigParser()
    try:
        parser.read(folder / "tox.ini", encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return frozenset()
    return frozenset(parser.get("dib-lint", "ignore", fallback="").split())


def read(file: Path, everywhere: frozenset[str]) -> Source:
    """A file with what is turned off in it."""
    text = file.read_bytes().decode("utf-8", "replace")
    here = {word for words in DISABLE.findall(text) for word in words.split()}
    return Source(file, text, bool(file.stat().st_mode & 0o111), everywhere | here)


def _is_bash(source: Source) -> bool:
    return "#!/bin/bash" in source.first


def _is_python(source: Source) -> bool:
    return source.first.startswith("#!") and ("python" in source.first)


def _executable(source: Source) -> Iterator[str]:
    if source.first.startswith("#!") and not source.executable:
        yield f"{source.file} is not executable"


def _python(source: Source) -> Iterator[str]:
    if _is_python(source):
        try:
            compile(source.text, str(source.file), "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            yield f"{source.file} failed flake8"


def _indent(source: Source) -> Iterator[str]:
    if source.first.startswith("#!") and not _is_python(source) and source.matches(r"^(?: {4})* {1,3}[^ \n]"):
        yield f"{source.file} should use 4 spaces indent"


def _sorted(source: Source) -> Iterator[str]:
    if source.file.name == "element-deps":
        names = [line for line in source.text.splitlines() if line and not line.startswith("#")]
        if names != sorted(names):
            yield f"{source.file} is not sorted alphabetically"


def _shebang(source: Source) -> Iterator[str]:
    if re.match(r"#!.*bash", source.first) and source.first != "#!/bin/bash":
        yield f"{source.file} : only use #!/bin/bash for scripts"


def _set_e(source: Source) -> Iterator[str]:
    if _is_bash(source) and not source.matches(r"^set -[^ \n]*e"):
        yield f"{source.file} is not set -e"


def _set_u(source: Source) -> Iterator[str]:
    if _is_bash(source) and not source.matches(r"^set -[^ \n]*u"):
        yield f"{source.file} is not set -u"


def _set_pipefail(source: Source) -> Iterator[str]:
    if _is_bash(source) and not source.matches(r"^set -o pipefail"):
        yield f"{source.file} is not set -o pipefail"


def _debug_trace(source: Source) -> Iterator[str]:
    if _is_bash(source) and "DIB_DEBUG_TRACE" not in source.text:
        yield f"{source.file} does not follow DIB_DEBUG_TRACE"


def _environment(source: Source) -> Iterator[str]:
    if "environment.d" in str(source.file):
        if "set -x" in source.text:
            yield f"Environment file {source.file} should not set tracing"
        if source.executable:
            yield f"Environment file {source.file} should not be marked as executable"


def _export(source: Source) -> Iterator[str]:
    if source.matches(r"export .*\$\("):
        yield f"Split export and assignments in {source.file}"


def _sudo(source: Source) -> Iterator[str]:
    if OUTSIDE.search(str(source.file.parent)):
        for line in source.lines:
            fine = ("dib-lint: safe_sudo", "install-packages", *TARGETS)
            if "sudo " in line and not line.startswith("#") and not any(word in line for word in fine):
                yield f"{source.file} : potentially unsafe sudo\n -- {line}"


def _which(source: Source) -> Iterator[str]:
    for line in source.lines:
        if "which " in line and not line.startswith("#") and "dib-lint: which" not in line:
            yield f"{source.file} : potential use of which\n -- {line}"


def _source_newline(source: Source) -> Iterator[str]:
    if "source-repository-" in source.file.name and source.text and not source.text.endswith("\n"):
        yield f"{source.file} does not end with a newline"


def _tabs(source: Source) -> Iterator[str]:
    if source.matches(r"^ *\t"):
        yield f"{source.file} contains tab characters"


def _newline(source: Source) -> Iterator[str]:
    if source.text and not source.text.endswith("\n"):
        yield f"No newline at end of file: {source.file}"


Check = Callable[[Source], Iterator[str]]
CHECKS: tuple[tuple[str, Check], ...] = (
    ("", _source_newline),
    ("executable", _executable),
    ("", _python),
    ("indent", _indent),
    ("", _sorted),
    ("", _shebang),
    ("sete", _set_e),
    ("setu", _set_u),
    ("setpipefail", _set_pipefail),
    ("dibdebugtrace", _debug_trace),
    ("", _environment),
    ("", _export),
    ("safe_sudo", _sudo),
    ("which", _which),
)
INDENTS: tuple[tuple[str, Check], ...] = (("tabindent", _tabs), ("newline", _newline))


def _applied(source: Source, checks: Iterable[tuple[str, Check]]) -> Iterator[str]:
    for name, check in checks:
        if name not in source.excluded:
            yield from check(source)


def _kept_by_git(files: Sequence[Path]) -> list[Path]:
    """The files without those that git is told to ignore; all, where there is no git or no checkout."""
    if tools.locate("git") is None:
        return list(files)
    done = tools.run(["git", "check-ignore", "-z", "--stdin"], data=b"\0".join(map(os.fsencode, files)))
    ignored = set(done.out.split(b"\0"))
    return [file for file in files if os.fsencode(file) not in ignored]


def _parsed(file: Path) -> Iterator[str]:
    if file.suffix == ".yaml":
        try:
            text = file.read_text(encoding="utf-8")
            yaml_document.check_size(text, str(file))
            yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError, UsageError):
            yield f"{file} is not a valid YAML file"
    elif file.name == "pkg-map" and not file.stat().st_mode & 0o111:
        try:
            yaml_document.json_of(file.read_text(encoding="utf-8"), str(file))
        except (ValueError, UsageError):
            yield f"{file} is not a valid JSON file"


def element_folders(paths: Sequence[Path], names: Sequence[str]) -> list[Path]:
    """The folders of elements as they are on the path; with names, only those, and of each the first."""
    folders = [
        folder
        for path in paths
        for folder in sorted(path.iterdir())
        if folder.is_dir() and not folder.name.startswith((".", "__"))
    ]
    if not names:
        return folders
    first: dict[str, Path] = {}
    for folder in folders:
        first.setdefault(folder.name, folder)
    return [first[name] for name in names if name in first]


def lint(folders: Sequence[Path], everywhere: frozenset[str]) -> list[str]:
    """What is wrong with the style of the elements in ``folders``, one text each, in dib-lint's words and order."""
    files = [
        file for folder in folders for file in sorted(folder.rglob("*")) if file.is_file() and not file.is_symlink()
    ]
    sources = [read(file, everywhere) for file in _kept_by_git(files)]
    problems = [f"{folder} lacks a README.rst" for folder in folders if not (folder / "README.rst").is_file()]
    for source in sources:
        if source.file.suffix not in (".rst", ".yaml", ".py"):
            problems += _applied(source, CHECKS)
    for source in sources:
        if source.executable or source.file.suffix == ".rst":
            problems += _applied(source, INDENTS)
    documents = [str(file) for file in files if file.suffix == ".md"]
    if documents and "mddocs" not in everywhere:
        problems.append(f".md docs found: {' '.join(documents)}")
    for file in files:
        problems += _parsed(file)
    return problems


def render(problems: Sequence[str]) -> str:
    """``ERROR:`` lines, and dib-lint's last line."""
    return "\n".join([*(f"ERROR: {text}" for text in problems), "*** FAIL: Some tests failed!" if problems else "PASS"])
