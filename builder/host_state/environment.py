"""The caller's environment, as far as what we run may see it.

Programs that we start (engines, tar, git, cp) are to do what they always do. So the variables that make a program load,
run or look at something else, or say something else, are taken out once, before anything is started. What is a user's
setting of an engine or of the way to the network stays: PATH, HOME, XDG_*, TMPDIR, DOCKER_*, CONTAINER*, proxies.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
from collections.abc import Mapping, MutableMapping

_TAKEN_OUT = re.compile(
    r"""LD_.* | GCONV_PATH | LOCPATH | NLSPATH | GLIBC_TUNABLES | MALLOC_.* | HOSTALIASES | RES_OPTIONS | LOCALDOMAIN
    | BASH_.* | ENV | SHELLOPTS | BASHOPTS | IFS | CDPATH | PS4 | GLOBIGNORE | PROMPT_COMMAND | POSIXLY_CORRECT
    | PYTHON.* | PERL.* | RUBY.* | NODE_.* | LUA_.* | JAVA_TOOL_OPTIONS | _JAVA_OPTIONS | GODEBUG | GOTRACEBACK
    | GIT_.* | SSH_ASKPASS | TAR_OPTIONS | TAPE | GZIP | BZIP2? | XZ_.* | ZSTD_.* | GREP_OPTIONS | LESS.* | DPKG_.*""",
    re.VERBOSE,
)
_FOLDERS = [f"XDG_{kind}" for kind in ("CACHE_HOME", "CONFIG_HOME", "DATA_HOME", "STATE_HOME", "RUNTIME_DIR")]
_taken_out: dict[str, str] = {}


def is_taken_out(name: str) -> bool:
    """Is this the name of a variable that no program of ours is to see."""
    return _TAKEN_OUT.fullmatch(name) is not None


def of_caller() -> MutableMapping[str, str]:
    """The environment of this process. Commands ask for it, and hand it on to what they call."""
    return os.environ


def clean(environment: MutableMapping[str, str] = os.environ) -> None:
    """Take out of this process's environment what no program that it starts is to see, and folders that are none.

    A folder of XDG_* that is relative does not count (XDG Base Directory Specification, "Environment variables"), and
    a HOME that is none is the user's own: nothing of ours lands in whatever folder we were called in.
    """
    for name in [name for name in environment if is_taken_out(name)]:
        _taken_out[name] = environment.pop(name)
    for name in _FOLDERS:
        if name in environment and not environment[name].startswith("/"):
            del environment[name]
    if not environment.get("HOME", "").startswith("/"):
        with contextlib.suppress(KeyError):  # a user id without a name has no home
            environment["HOME"] = pwd.getpwuid(os.getuid()).pw_dir


def for_ourselves() -> Mapping[str, str]:
    """The environment for a process that is dib-ctr again: this Python may need what was taken out to start at all."""
    return {**_taken_out, **os.environ}
