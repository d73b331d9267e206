"""The build variables: from the environment, the machine's mirrors and the options."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from blockdev.core.errors import BuildError, UsageError
from stages.element.environment import SERVICES, VARIABLE
from stages.repositories import apt_sources

# Settings of this machine, not of the image (all other DIB_CTR_* are dib-ctr's own business).
MIRRORS = (
    *("DIB_CTR_DEBIAN_MIRROR", "DIB_CTR_DEBIAN_SECURITY_MIRROR", "DIB_CTR_UBUNTU_MIRROR", "DIB_CTR_APT_OPTIONS"),
    *(f"DIB_CTR_{name}_MIRROR" for name in ("FEDORA", "CENTOS", "ROCKY", "ALMALINUX", "OPENSUSE")),
    *(f"DIB_CTR_{name}_MIRROR" for name in ("GENTOO", "ARCH", "ALPINE")),
)
EPOCH = "SOURCE_DATE_EPOCH"  # https://reproducible-builds.org/specs/source-date-epoch


def variables(
    settings: Sequence[str],
    release: str,
    environment: Mapping[str, str],
    machine: Mapping[str, str],
    secrets: Sequence[str] = (),
) -> dict[str, str]:
    """The build variables: ``DIB_*``, the date and proxies of the environment, the ``machine``'s, the options'.

    Those that ``secrets`` name come from the environment too, whatever they are called: so none is seen in the list
    of processes.
    """
    handed_on = (name for name in environment if name in (*SERVICES, EPOCH) or name.startswith("DIB_"))
    result = {name: environment[name] for name in handed_on if not name.startswith("DIB_CTR_")}
    result.update(machine)
    if release:
        _refuse_other_release(release, settings, result.get("DIB_RELEASE"))
        result["DIB_RELEASE"] = release
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not separator or not VARIABLE.match(name):
            shown = f"{name}=..." if separator else name  # the value may be a secret
            raise UsageError(f"--set {shown!r} is not NAME=VALUE", hint="--set DIB_RELEASE=bookworm")
        result[name] = value
    for name in secrets:
        if "*" in name or name in result:
            continue
        if name not in environment:
            raise UsageError(f"--secret {name}: this variable is not set", hint=f"export {name} before")
        result[name] = environment[name]
    if EPOCH in result and not result[EPOCH].isdecimal():
        raise UsageError(f"{EPOCH} is {result[EPOCH]!r}, not a number", hint="give it in seconds since 1970")
    return result


def _refuse_other_release(release: str, settings: Sequence[str], exported: str | None) -> None:
    """UsageError where somebody says another release than the option."""
    values = [value for name, _, value in (setting.partition("=") for setting in settings) if name == "DIB_RELEASE"]
    for other, where in ((values[-1] if values else None, "--set"), (exported, "the environment")):
        if other not in (None, "", release):
            raise UsageError(
                f"--release {release} and DIB_RELEASE={other} of {where} are two releases", hint="leave one of them out"
            )


def mirrors(environment: Mapping[str, str], etc: Path = apt_sources.ETC) -> dict[str, str]:
    """The mirrors that elements fall back on where no variable names one: this machine's own, if it has any.

    ``DIB_CTR_DEBIAN_MIRROR`` and its like of the environment go first.
    """
    of_machine = {
        "DIB_CTR_UBUNTU_MIRROR": apt_sources.ubuntu_mirror(etc),
        "DIB_CTR_APT_OPTIONS": "\n".join(apt_sources.settings()),
    }
    of_caller = {name: value for name, value in environment.items() if name in MIRRORS and value}
    with contextlib.suppress(BuildError):  # not a Debian machine: the build image's mirror serves
        mirror = apt_sources.debian_mirror(etc)
        of_machine |= {"DIB_CTR_DEBIAN_MIRROR": mirror.archive, "DIB_CTR_DEBIAN_SECURITY_MIRROR": mirror.security}
        of_caller.pop("DIB_CTR_DEBIAN_MIRROR", None)  # it may name both archives, and has been taken apart
    return {name: value for name, value in {**of_machine, **of_caller}.items() if value}
