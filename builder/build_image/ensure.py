"""Build images: made from the recipes in ``containerfiles``, named by the recipe's digest, made again when it changes.

Where a registry answers, a recipe is built on a pulled base; else its root file system is made from the machine's
Debian mirror by mmdebstrap, in a user namespace (no maintainer script runs as root of the host), and imported.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

import containerfiles
from blockdev.core.errors import BuildError, UsageError
from blockdev.core.tools import STANDARD_PATH, run
from builder.build_image import usage
from builder.engines import leftovers
from builder.engines.host import Host
from builder.engines.protocol import Engine
from stages.repositories import apt_sources

SUITE = "trixie"
BASE = "debian:trixie-slim"
COMMON = "debian.packages"
# What a build image is for: a family of distributions (the file `build-image` of an element names it), or disks.
DEBIAN, DISK = "debian", "disk"
FAMILIES = (DEBIAN, "redhat", "suse", "arch", "alpine", "gentoo")
FOREIGN = "-foreign"  # at the end of a purpose: with interpreters for foreign architectures
CONTAINERFILE, SETUP = "debian.Containerfile", "debian.setup"
# What the host engine needs, and Debian's and Ubuntu's package of each.
TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "umoci": "umoci",
    "setcap": "libcap2-bin",
    "newuidmap": "uidmap",
    "zstd": "zstd",
    "mount": "mount",
    "tar": "tar",
}
MORE_TOOLS = {
    DISK: {"debugfs": "e2fsprogs", "mkfs.vfat": "dosfstools", "mcopy": "mtools", "qemu-img": "qemu-utils"},
    "redhat": {"dnf": "dnf", "rpm": "rpm"},
    "suse": {"zypper": "zypper", "rpm": "rpm"},
    "arch": {"pacman": "pacman-package-manager"},
    "alpine": {"openssl": "openssl"},
    "gentoo": {"gpg": "gnupg"},
}
MODULES = {"yaml": "python3-yaml", "sh": "python3-sh"}
UNWANTED = ("doc", "info", "locale", "man")  # below /usr/share: a third of the files, read by nobody

Note = Callable[[str], None]
Bring = Callable[[Engine, str], bool]


def _recipe(name: str) -> bytes:
    return Path(str(containerfiles.__file__)).with_name(name).read_bytes()


def _lists(purpose: str) -> tuple[str, ...]:
    """The recipe's lists of packages; raises UsageError for a purpose that there is no recipe for."""
    family = purpose.removesuffix(FOREIGN)
    if family not in (*FAMILIES, DISK):
        raise UsageError(
            f"there is no build image {family!r}", where="build-image", hint=f"one of {', '.join(FAMILIES)}"
        )
    own = () if family == DEBIAN else (f"{family}.packages",)
    return (COMMON, *own, *(("foreign.packages",) if purpose.endswith(FOREIGN) else ()))


def _packages(purpose: str) -> list[str]:
    lines = [line.strip() for name in _lists(purpose) for line in _recipe(name).decode().splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def purpose_of(family: str, *, foreign: bool) -> str:
    """What a build of a family ("": Debian's), perhaps of a foreign architecture, wants a build image for."""
    purpose = (family or DEBIAN) + (FOREIGN if foreign else "")
    _lists(purpose)
    return purpose


def reference(purpose: str = DEBIAN) -> str:
    """The name of the build image of this recipe on this architecture; costs no call of an engine."""
    digest = hashlib.sha256(platform.machine().encode())
    for name in (CONTAINERFILE, SETUP, *_lists(purpose)):
        digest.update(name.encode() + b"\0" + _recipe(name) + b"\0")
    base = os.environ.get("DIB_CTR_BASE_IMAGE", "")
    digest.update(base.encode())
    return f"localhost/dib-ctr-build-{purpose}:{digest.hexdigest()[:12]}"


def references() -> set[str]:
    """The names of the build images of all recipes as they are now."""
    return {reference(family + kind) for family in (*FAMILIES, DISK) for kind in ("", FOREIGN)}


def digest(engine: Engine, purpose: str = DEBIAN) -> str:
    """What stands for the build image in keys of outside stages; for the host engine: its tools' state.

    And that of what outside stages see of its settings (``stages.sandbox.system``).
    """
    return _host_digest(purpose) if engine.name == "host" else reference(purpose).rpartition(":")[2]


def _tools(purpose: str) -> dict[str, str]:
    return {**TOOLS, **MORE_TOOLS.get(purpose.removesuffix(FOREIGN), {})}


def _host_digest(purpose: str) -> str:
    from stages.sandbox import system

    digest = hashlib.sha256(Path("/etc/os-release").read_bytes() + system.state().encode())
    tools = _tools(purpose)
    for path in ("/usr/bin/python3", *(shutil.which(tool, path=STANDARD_PATH) or tool for tool in sorted(tools))):
        file = Path(path).resolve()
        state = file.stat() if file.exists() else None
        digest.update(f"{file} {(state.st_size, state.st_mtime_ns) if state else None}\n".encode())
    return digest.hexdigest()[:12]


def ensure(engine: Engine, purpose: str = DEBIAN, on_note: Note = lambda _: None, bring: Bring | None = None) -> str:
    """Make the build image where it is not there; returns its reference ("" for the host engine).

    ``on_note`` hears one sentence before each long step, ``bring`` may have the image from elsewhere. Raises BuildError
    with what to do next.
    """
    if engine.name == "host":
        _check_tools(purpose)
        return ""
    image = reference(purpose)
    if not engine.has_image(image) and not (bring and bring(engine, image)):
        _make(engine, purpose, image, on_note)
    usage.note_use(engine.name, image)
    for old in usage.prune(engine, references()):  # a recipe has changed: its earlier images may be of no use
        on_note(f"the build image {old.removeprefix(usage.OURS)} is removed: no build has used it for a month")
    return image


def _check_tools(purpose: str) -> None:
    missing = {package for tool, package in _tools(purpose).items() if shutil.which(tool, path=STANDARD_PATH) is None}
    probe = "import importlib.util,sys;print(*(m for m in sys.argv[1:] if importlib.util.find_spec(m) is None))"
    done = run(["/usr/bin/python3", "-I", "-c", probe, *MODULES])
    missing |= {MODULES[name] for name in done.text.split()}
    if missing:
        raise BuildError(
            f"the host engine needs tools that are not there: {', '.join(sorted(missing))}",
            where="host engine",
            hint=f"sudo apt-get install --no-install-recommends {' '.join(sorted(missing))}",
        )


def _make(engine: Engine, purpose: str, image: str, on_note: Note) -> None:
    base = os.environ.get("DIB_CTR_BASE_IMAGE", "")
    try:
        on_note(f"making the build image on {base or BASE} (once)")
        _build(engine, purpose, image, base or BASE)
    except BuildError:
        if base:
            raise  # asked for by name: another one would be a surprise
        mirror = apt_sources.debian_mirror()
        on_note(f"no registry gives {BASE}: making the build image from {mirror.archive}, about half a minute")
        _bootstrap(engine, purpose, image, mirror)


def _build(engine: Engine, purpose: str, image: str, base: str) -> None:
    with leftovers.scratch_folder("dib-ctr-recipe-") as folder:
        (folder / CONTAINERFILE).write_bytes(_recipe(CONTAINERFILE))
        arguments = {"BASE": base, "PACKAGES": " ".join(_packages(purpose)), "SETUP": _recipe(SETUP).decode()}
        engine.build_image(folder, CONTAINERFILE, image, {**arguments, **of_this_machine()})


def of_this_machine() -> dict[str, str]:
    """What a build image gets from the machine it is made on: its Debian mirror, and apt's settings that go with it.

    Nothing where it has no Debian mirror: the base image names one of its own.
    """
    try:
        sources = apt_sources.debian_mirror().sources(SUITE)
    except BuildError:
        return {}
    return {"SOURCES": sources, "APT_SETTINGS": "\n".join(apt_sources.settings())}


def _bootstrap(engine: Engine, purpose: str, image: str, mirror: apt_sources.Mirror) -> None:
    if shutil.which("mmdebstrap") is None:
        raise BuildError(
            "mmdebstrap is not there, which makes the build image where no registry answers",
            where="build image",
            hint="sudo apt-get install --no-install-recommends mmdebstrap debian-archive-keyring gpg",
        )
    with leftovers.scratch_file("dib-ctr-image-", ".tar", _roomy()) as archive:
        with archive.open("wb") as output:
            write_archive(output.fileno(), purpose, mirror)
        engine.import_image(archive, image)


def write_archive(output: int, purpose: str = DEBIAN, mirror: apt_sources.Mirror | None = None) -> None:
    """Write the recipe's root file system, made from the mirror, as a tar to the descriptor ``output``."""
    environment = {"DIB_CTR_SETUP": _recipe(SETUP).decode(), "DEBIAN_FRONTEND": "noninteractive"}
    argv = mmdebstrap_argv(_packages(purpose), mirror or apt_sources.debian_mirror())
    Host().make_archive(argv, environment, output)


def _roomy() -> str | None:
    """A folder for some hundred MB: /tmp is often memory."""
    return None if "TMPDIR" in os.environ or not os.access("/var/tmp", os.W_OK) else "/var/tmp"


def mmdebstrap_argv(packages: list[str], mirror: apt_sources.Mirror) -> tuple[str, ...]:
    """mmdebstrap as root of a user namespace, which writes the image's tar to standard output."""
    return (
        *("mmdebstrap", "--mode=root", "--variant=apt", "--format=tar", "--quiet"),
        "--skip=check/qemu,check/empty,chroot/mount/sys,output/dev",
        f"--include={','.join(packages)}",
        *(f"--aptopt={line.rstrip(';')}" for line in apt_sources.settings()),
        *('--aptopt=APT::Sandbox::User "root"', '--aptopt=Acquire::Languages "none"'),
        *("--dpkgopt=force-unsafe-io", *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in UNWANTED)),
        '--customize-hook=bash -c "$DIB_CTR_SETUP" debian.setup finish "$1"',
        *(SUITE, "-", *mirror.sources(SUITE).splitlines()),
    )
