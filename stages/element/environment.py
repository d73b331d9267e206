"""Build variables: what the request brings, and what the elements' ``environment.d`` snippets make of it.

diskimage-builder sources the snippets once a phase, in one shell; here they are sourced once a build, and of what they
export each stage is given what it names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from blockdev.core.tools import STANDARD_PATH
from stages.element.hooks import HookFile, HooksTree
from stages.protocol.request import Request

PYTHON = "/usr/bin/python3"  # of the build container
PATH = STANDARD_PATH
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")  # a variable's name
# How the machine that builds reaches the network, if at all. It is handed to every stage with a network, for package
# tools and downloaders; in a key it is only where a script names it.
SERVICES = (
    "DIB_OFFLINE",
    "DIB_MIRROR_TIMEOUT",
    "DIB_MIRROR_MIN_RATE",
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
)
SHELL_OWN = frozenset({"_", "PWD", "OLDPWD", "SHLVL", "PATH", "HOME", "USER", "LOGNAME", "TERM"})
SNIPPET_NAME = re.compile(r"[0-9A-Za-z_\\-][0-9A-Za-z_.\\-]*\Z")  # DIB copies no hidden file, and sources no other name
RELEASE = "DIB_RELEASE"

# Sources each snippet under the rules that DIB's dib-run-parts gives it, in a function without arguments, and writes
# what is exported; a snippet that fails is named in the last line of the output. An operating system's snippet derives
# much from the release. Where a later one names another release, all are sourced once more, beginning with that.
SOURCE = """
set -u -e -o pipefail
dib_ctr_snippets=("$@")
dib_ctr_source() {
    for dib_ctr_snippet in "${dib_ctr_snippets[@]}"; do
        source "$dib_ctr_snippet"
        dib_ctr_release="${dib_ctr_release:-${DIB_RELEASE:-}}"
    done
}
dib_ctr_end() {
    [ "$dib_ctr_snippet" != environment ] || return "$1"
    echo "dib-ctr: $dib_ctr_snippet ended with status $1" >&2
    [ "$1" -ne 0 ] || echo 'dib-ctr: exit ends the shell that runs all scripts; return ends a snippet' >&2
    exit "$(($1 ? $1 : 1))"
}
"""
CAPTURE = f"""{SOURCE}
dib_ctr_capture() {{
    trap 'dib_ctr_end $?' EXIT
    dib_ctr_release=
    dib_ctr_source
    dib_ctr_snippet=environment
    unset -f dib_ctr_source dib_ctr_capture
    env -0 > "$DIB_CTR_CAPTURE"
    [ "$dib_ctr_release" = "${{DIB_RELEASE:-}}" ] || printf %s "${{DIB_RELEASE:-}}" > "$DIB_CTR_CAPTURE.release"
}}
(dib_ctr_capture)
if [ -e "$DIB_CTR_CAPTURE.release" ]; then
    export DIB_RELEASE="$(cat "$DIB_CTR_CAPTURE.release")"
    (dib_ctr_capture)
fi
"""


def initial(request: Request, epoch: int) -> dict[str, str]:
    """The variables before any snippet: the request's own, and those that DIB's driver sets before its first phase.

    ``epoch`` is SOURCE_DATE_EPOCH in seconds, where the request does not set it.
    """
    variables = {
        "DIB_OFFLINE": "1" if request.offline else "",
        "DIB_DEBUG_TRACE": "0",
        "DIB_DEFAULT_INSTALLTYPE": "source",
        "DIB_CHECKSUM": "0",
        "DIB_NO_TMPFS": "1",
        "DIB_MIN_TMPFS": "2",
        "OUT_IMAGE_PATH": "",
        "DIB_PYTHON_EXEC": PYTHON,
        "FS_TYPE": "ext4",
        "IMAGE_TYPE": "qcow2",
        "SOURCE_DATE_EPOCH": str(epoch),
    }
    variables.update(_without_disk(request.variables.get("FS_TYPE") or "ext4"))
    variables["DIB_ARGS"] = " ".join(request.asked)
    asked = {name: value for name, value in request.variables.items() if name.startswith("DIB_")}
    variables["DIB_ENV"] = declared({name: asked[name] for name in asked if not name.startswith("DIB_CTR_")})
    # An empty value is none, as for DIB's driver.
    variables.update({name: value for name, value in request.variables.items() if value or name not in variables})
    variables.update(request.disk.get("variables", {}))
    variables.update(
        {
            "ARCH": request.arch,
            "IMAGE_NAME": request.name,
            "IMAGE_ELEMENT": " ".join(request.elements),
            "LC_ALL": "C",
        }
    )
    return variables


def _without_disk(kind: str) -> dict[str, str]:
    """What scripts hear of the disk where the request has none: DIB's driver always has its own, one file system."""
    return {
        "DIB_ROOT_LABEL": "cloudimg-rootfs",
        "DIB_ROOT_FSTYPE": kind,
        "DIB_BOOT_LABEL": "",
        "DIB_MOUNTPOINTS": "/",
    }


def declared(variables: Mapping[str, str]) -> str:
    """Variables as bash's ``declare -p`` shows exported ones, a line each, sorted by name."""
    lines = []
    for name, value in sorted(variables.items()):
        quoted = re.sub(r'([\\"$`])', r"\\\1", value)
        lines.append(f'declare -x {name}="{quoted}"')
    return "\n".join(lines)


def snippets(tree: HooksTree) -> list[HookFile]:
    """The ``environment.d`` snippets in the order in which DIB sources them: bytewise by path."""
    hooks = [hook for path, hook in tree.items() if path.startswith("environment.d/") and path.count("/") == 1]
    return sorted(
        (hook for hook in hooks if SNIPPET_NAME.match(hook.path.partition("/")[2])), key=lambda hook: hook.path.encode()
    )


def parse_capture(data: bytes) -> dict[str, str]:
    """What ``env -0`` wrote, without the shell's own variables; exported functions are among it."""
    captured = {}
    for entry in data.split(b"\0"):
        name, separator, value = entry.decode("utf-8", "surrogateescape").partition("=")
        if separator and name not in SHELL_OWN and not name.startswith("DIB_CTR_CAPTURE"):
            captured[name] = value
    return captured


def as_functions(bodies: Mapping[str, str]) -> dict[str, str]:
    """Bash functions, by name, as an environment holds exported ones."""
    return {f"BASH_FUNC_{name}%%": body for name, body in bodies.items()}


def parted(captured: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The variables, and the bodies of the exported functions by name."""
    functions = {name: value for name, value in captured.items() if name.startswith("BASH_FUNC_")}
    bodies = {name.removeprefix("BASH_FUNC_").removesuffix("%%"): value for name, value in functions.items()}
    return {name: value for name, value in captured.items() if name not in functions}, bodies


def without_services(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that may change a result."""
    return {name: value for name, value in environment.items() if name not in SERVICES}


def capture_argv(paths: Sequence[str]) -> list[str]:
    """The command that sources these files and writes what they export to ``$DIB_CTR_CAPTURE``."""
    return ["/bin/bash", "-c", CAPTURE, "environment.d", *paths]
