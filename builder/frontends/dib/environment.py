"""Which of the caller's variables reach a build beside ``DIB_*``: those that the image's elements name.

diskimage-builder hands on whatever is exported. A build here has a key over all that a script can see, so it takes what
the elements' texts speak of, and nothing that tells of the machine or of the build itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_NAME = re.compile(r"\b[A-Z][A-Z0-9_]{2,}\b")
# Of the machine and its user.
_MACHINE = re.compile(
    r"(HOME|PATH|USER|LOGNAME|SHELL|TERM|PWD|OLDPWD|SHLVL|HOSTNAME|LANG|LANGUAGE|TMPDIR|TMP_DIR|EDITOR|PAGER|DISPLAY|MAIL"
    r"|LC_.*|PS[0-9]|SSH_.*|XDG_.*|SUDO_.*|BASH.*|PYTHON.*|VIRTUAL_ENV|LD_.*|UID|EUID|RANDOM|IFS|TZ|.*_proxy|.*_PROXY)\Z"
)
# What a build sets for its scripts.
_BUILD = re.compile(
    r"(ARCH|ELEMENTS_PATH|IMAGE_NAME|IMAGE_ELEMENT.*|IMAGE_BLOCK_DEVICES?|TARGET_ROOT|TMP_.*|OUT_IMAGE_PATH|DIB_.*"
    r"|SOURCE_DATE_EPOCH|IMAGE_TYPES?|INSTALL_PACKAGES|COMPRESS_IMAGE|MKFS_OPTS|DOCKER_TARGET|LOGFILE|RAMDISK_ELEMENT)\Z"
)


def variables_in(texts: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of the environment that these texts name and that are theirs to see."""
    words = {word for text in texts for word in _NAME.findall(text)}
    return {
        name: environment[name]
        for name in sorted(words & set(environment))
        if not (_MACHINE.match(name) or _BUILD.match(name))
    }
