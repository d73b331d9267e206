"""Which scripts of built-in elements name a package tool and ask no repository, in a tree that an image gave."""

from __future__ import annotations

from collections.abc import Mapping

from stages.element.hooks import HookFile

# Elements that look after a package tool: their scripts put its settings there, and take leftovers away.
CARETAKERS = frozenset("apk base-image dpkg install-bin pacman portage rpm yum zypper".split())  # noqa: SIM905
# The one that fetches lists, for others that install; and those that install what a variable names.
REFRESH = "pre-install.d/99-apt-get-update"
CONDITIONAL = {
    "pre-install.d/00-install-repo-package": "DIB_YUM_REPO_PACKAGE",
    "pre-install.d/00-module-streams": "DIB_DNF_MODULE_STREAMS",
}
# A script that is no stage where the variable is not set: the image that the build begins with has bash.
ONLY_WITH = {"pre-install.d/00-00-bash": "DIB_CTR_BASE_LACKS_BASH"}
BASE_IMAGE = "DIB_CTR_BASE_IMAGE"  # where the tree of an image lies that the build begins with


def begins_with_image(environment: Mapping[str, str]) -> bool:
    """Is the tree an image's: then no stage need ask a repository."""
    return bool(environment.get(BASE_IMAGE))


def asks_nothing(script: HookFile, environment: Mapping[str, str]) -> bool:
    """Does a built-in element's script ask no repository, whatever its text names; never where there is no image."""
    if not begins_with_image(environment) or script.element not in CARETAKERS or script.path == REFRESH:
        return False
    return not environment.get({**CONDITIONAL, **ONLY_WITH}.get(script.path, ""))


def is_needless(script: HookFile, environment: Mapping[str, str], *, asking: bool) -> bool:
    """Is a built-in element's script no stage of a build: it would do nothing, or fetch lists that nobody asks for.

    ``asking``: does any other one ask a repository.
    """
    if script.element not in CARETAKERS:
        return False
    if script.path == REFRESH:
        return not asking
    return script.path in ONLY_WITH and not environment.get(ONLY_WITH[script.path])
