"""From what the user typed to a request: parsed, checked and resolved before anything runs."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blockdev.core.errors import BuildError, UsageError
from blockdev.core.suggest import nearest
from builder.destination import FILES, check_targets, is_files, side_folder_of, target_of
from builder.request.host_files import file_digest, given_files
from builder.request.options import BuildOptions, LockOptions
from builder.request.redact import check_names, redaction_of, secrets_of
from builder.request.releases import check as releases
from builder.request.releases.support import ended
from builder.request.substitutes import CONTAINERFILE, for_engines, stand_ins, with_stand_ins
from qemu.architecture import ARCHITECTURES, canonical, native
from stages.element.environment import SERVICES
from stages.element.files import check_links
from stages.element.resolve import BUILTIN, Element, Resolution, find_elements, resolve
from stages.plan.breakpoints import WANTED, is_point
from stages.protocol.request import CHECKSUMS, COMPRESSION_LEVELS, DISK_TYPES, OUTPUT_TYPES, Output, Request
from stages.redaction.redaction import Redaction
from stages.repositories import apt_sources

if TYPE_CHECKING:
    from builder.base_image.fetch import Base
    from builder.request.disk import Disk

# The options of each output type and, where they are few, their values.
SLIM: dict[str, tuple[str, ...]] = {"slim": ()}
IMAGE = {"layers": ("squashed", "stages"), "tag": (), "level": (), "documents": ("yes", "no"), **SLIM}
OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "oci": {"compress": ("gzip", "zstd"), **IMAGE},
    "oci-archive": {"compress": ("gzip", "zstd"), **IMAGE},
    "docker-archive": {"compress": ("gzip",), **IMAGE},  # what docker load of any age reads
    "tar": {"compress": ("none", "gzip", "zstd"), "prefix": (), "checksum": (), **SLIM},
    "squashfs": {"compress": ("xz", "zstd", "gzip"), "checksum": (), **SLIM},
    "dir": {"closed": ("yes", "no"), **SLIM},
    **{kind: {"compress": (), "level": (), "checksum": (), **SLIM} for kind in DISK_TYPES},
}
NO_FINAL_IMAGE = "no-final-image"  # in the name of an element: it makes the image's files itself
QEMU_OPTION = "qemu."  # options of a disk image that go to qemu-img
NO_SLIM = "no"
POLICY_WORDS = ("auto", NO_SLIM)  # all else names a policy
# The element whose tree an image gives (--from), and where its script finds that.
BASE_ELEMENT, BASE_PLACE = "base-image", "/dib-ctr/base-image.tar"
# Settings of this machine, not of the image (all other DIB_CTR_* are dib-ctr's own business).
MIRRORS = (
    *("DIB_CTR_DEBIAN_MIRROR", "DIB_CTR_DEBIAN_SECURITY_MIRROR", "DIB_CTR_UBUNTU_MIRROR", "DIB_CTR_APT_OPTIONS"),
    *(f"DIB_CTR_{name}_MIRROR" for name in ("FEDORA", "CENTOS", "ROCKY", "ALMALINUX", "OPENSUSE")),
    *(f"DIB_CTR_{name}_MIRROR" for name in ("GENTOO", "ARCH", "ALPINE")),
)
EPOCH = "SOURCE_DATE_EPOCH"  # https://reproducible-builds.org/specs/source-date-epoch
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.:_~=@/-]*\Z")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True)
class PreparedBuild:
    """A checked request, the elements that go with it, and where each of its outputs will lie (in the same order).

    ``passphrases`` (in base64) are those of encrypted containers by name; they are no part of the request. ``given``
    are the files of this machine that scripts may see, by the path at which they do; ``notes`` are for the user.
    ``files`` says that the files which scripts leave beside the outputs were asked for. ``build_image`` is the one that
    the elements want ("": any). ``large`` are given files that travel only when a stage needs them, by digest.
    ``replace``: files at the outputs' places may go, whoever wrote them. ``side_folder`` takes the files that scripts
    leave beside the outputs, whatever their names.
    """

    request: Request
    elements: tuple[Element, ...]
    targets: tuple[Path, ...]
    locks: LockOptions = field(default_factory=LockOptions)
    passphrases: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, Path] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    files: bool = False
    build_image: str = ""
    large: Mapping[str, Path] = field(default_factory=dict)
    replace: bool = False
    side_folder: Path | None = None

    @cached_property
    def redaction(self) -> Redaction:
        """What is secret in it."""
        return redaction_of(self.request, self.given, self.passphrases)


def _one_of(what: str, given: str, known: Iterable[str]) -> UsageError:
    known = sorted(known)
    hint = nearest(given, known) or f"there is: {', '.join(known)}"
    return UsageError(f"{given!r} is no {what}", hint=hint)


def parse_output(text: str) -> Output:
    """``TYPE[,key=value]...`` as an output; raises UsageError naming what is not known."""
    kind, *pairs = text.split(",")
    if kind not in OUTPUT_TYPES:
        raise _one_of("output type", kind, (*OUTPUT_TYPES, FILES))
    known = {**OPTIONS[kind], "dest": ()}
    options = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if kind in DISK_TYPES and key.startswith(QEMU_OPTION) and value:
            options[key] = value
            continue
        if key not in known:
            raise _one_of(f"option of the output {kind}", key, known)
        if not separator or not value:
            raise UsageError(f"the option {key} of the output {kind} has no value", hint=f"-o {kind},{key}=VALUE")
        if known[key] and value not in known[key]:
            raise _one_of(f"value of {key} (output {kind})", value, known[key])
        options[key] = value
    if kind in DISK_TYPES:
        _check_disk(kind, options)
    else:
        _check_level(kind, options)
        _check_sums(kind, options)
    if not NAME.match(options.get("prefix", "a")):
        raise UsageError(f"{options['prefix']!r} cannot be a folder's name in a tar", hint="one name, as rootfs is")
    return Output(kind, options)


def _check_disk(kind: str, options: Mapping[str, str]) -> None:
    """Can a disk image of this type be made as these options say."""
    if not options.get("level", "0").isdecimal():
        raise UsageError(f"{options['level']!r} is no level of compression (output {kind})", hint="a number")
    from blockdev.convert import plan
    from stages.outputs.disk.job import wish

    plan(wish(kind, options, "image", 0, ""))


def _check_sums(kind: str, options: Mapping[str, str]) -> None:
    for name in options.get("checksum", "none").split("+"):
        if name not in (*CHECKSUMS, "none"):
            raise _one_of(f"checksum (output {kind})", name, CHECKSUMS)


def _check_level(kind: str, options: Mapping[str, str]) -> None:
    if "level" not in options:
        return
    name = options.get("compress", "gzip")
    low, high = COMPRESSION_LEVELS[name]
    if not options["level"].isdecimal() or not low <= int(options["level"]) <= high:
        raise UsageError(
            f"{options['level']!r} is no level of {name} (output {kind})", hint=f"a number from {low} to {high}"
        )


def policies(outputs: Sequence[Output], slim: str) -> tuple[tuple[Output, ...], dict[str, str]]:
    """Outputs that say which policy they are to follow, and the texts of the policies by what the user calls them.

    ``slim`` is the policy of those that name none of their own ("": images for containers follow their distribution's).
    """
    if slim:
        outputs = [replace(output, options={"slim": slim, **output.options}) for output in outputs]
    named = {output.options["slim"] for output in outputs if "slim" in output.options}
    words = sorted(named.difference(POLICY_WORDS))
    if not words:
        return tuple(outputs), {}
    from stages.outputs.slim import policy  # only now: it reads YAML, whose library takes its time to load

    return tuple(outputs), {word: policy.read(word) for word in words}


def image_config(elements: Iterable[Element]) -> dict[str, Any]:
    """What the elements say of the image, merged; UsageError naming file and line."""
    folders = [element.path for element in elements if (element.path / "image-config.yaml").is_file()]
    if not folders:
        return {}
    from stages.element import image_config as imageconfig

    return imageconfig.read(folders)


def parse_arch(text: str) -> str:
    """An architecture by any of its names as Debian's name; empty means this machine's."""
    name = canonical(text) if text else native()
    if name is None or name not in ARCHITECTURES:
        names = {alias: name for name, known in ARCHITECTURES.items() for alias in (name, *known.uname)}
        raise _one_of("architecture", text or native(), names)
    return name


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
    wanted = (name for name in environment if name in (*SERVICES, EPOCH) or name.startswith("DIB_"))
    found = {name: environment[name] for name in wanted if not name.startswith("DIB_CTR_")}
    found.update(machine)
    if release:
        found["DIB_RELEASE"] = release
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not separator or not VARIABLE.match(name):
            shown = f"{name}=..." if separator else name  # the value may be a secret
            raise UsageError(f"--set {shown!r} is not NAME=VALUE", hint="--set DIB_RELEASE=bookworm")
        found[name] = value
    for name in secrets:
        if "*" in name or name in found:
            continue
        if name not in environment:
            raise UsageError(f"--secret {name}: this variable is not set", hint=f"export {name} before")
        found[name] = environment[name]
    if EPOCH in found and not found[EPOCH].isdecimal():
        raise UsageError(f"{EPOCH} is {found[EPOCH]!r}, not a number", hint="give it in seconds since 1970")
    return found


def mirrors(environment: Mapping[str, str], etc: Path = apt_sources.ETC) -> dict[str, str]:
    """The mirrors that elements fall back on where no variable names one: this machine's own, if it has any.

    ``DIB_CTR_DEBIAN_MIRROR`` and its like of the environment go first.
    """
    found = {
        "DIB_CTR_UBUNTU_MIRROR": apt_sources.ubuntu_mirror(etc),
        "DIB_CTR_APT_OPTIONS": "\n".join(apt_sources.settings()),
    }
    given = {name: value for name, value in environment.items() if name in MIRRORS and value}
    with contextlib.suppress(BuildError):  # not a Debian machine: the build image's mirror serves
        mirror = apt_sources.debian_mirror(etc)
        found |= {"DIB_CTR_DEBIAN_MIRROR": mirror.archive, "DIB_CTR_DEBIAN_SECURITY_MIRROR": mirror.security}
        given.pop("DIB_CTR_DEBIAN_MIRROR", None)  # it may name both archives, and has been taken apart
    return {name: value for name, value in {**found, **given}.items() if value}


def _packages(given: Iterable[str]) -> tuple[str, ...]:
    names = [name for word in given for name in word.replace(",", " ").split()]
    for name in names:
        if not PACKAGE.match(name):
            raise UsageError(f"{name!r} is not a package's name", hint="-p NAME, or -p NAME,NAME")
    return tuple(dict.fromkeys(names))


def _breaks(given: Iterable[str]) -> tuple[str, ...]:
    for point in given:
        if not is_point(point):
            raise UsageError(f"--break {point!r} is no point to stop at", hint=WANTED)
    return tuple(given)


def elements_path(given: str, environment: Mapping[str, str]) -> list[Path]:
    """The folders that are searched for elements: the option, else ``ELEMENTS_PATH``; the built-in ones come last."""
    text = given or environment.get("ELEMENTS_PATH", "")
    return [*(Path(entry) for entry in text.split(":") if entry), BUILTIN]


def resolve_elements(
    wish: BuildOptions, environment: Mapping[str, str], outputs: Sequence[Output] = ()
) -> tuple[Resolution, list[Output], tuple[str, ...]]:
    """Find and resolve the wished elements, and those that a bootable disk among the outputs needs.

    Returns the outputs too, without disk images where an element wants none (diskimage-builder knows it by its name),
    and a sentence on that and on each given element that a built-in one stands in for.
    """
    universe = find_elements(elements_path(wish.elements_path, environment))
    found = resolve(wish.elements, universe)
    check_links(found.elements)
    asked = list(wish.elements)
    without = next((name for name in found.names if NO_FINAL_IMAGE in name), "") if _is_for_disk(outputs) else ""
    kept = [output for output in outputs if not without or output.type not in DISK_TYPES]
    notes: tuple[str, ...] = (f"the element {without} leaves disk images out: none is written",) if without else ()
    if _is_for_disk(kept):
        from builder.request.disk import added_elements

        more = added_elements(found.names, found.elements, kept, parse_arch(wish.arch))
        asked += more
        if more:
            found = resolve(asked, universe)
            check_links(found.elements)
    instead = for_engines(found.elements)
    if not wish.disk.get("privileged"):
        instead |= stand_ins(found.elements)
    if instead:
        found = resolve(asked, with_stand_ins(universe, instead))
        check_links(found.elements)
    return found, kept, (*notes, *instead.values())


def _is_for_disk(outputs: Sequence[Output]) -> bool:
    return any(output.type in DISK_TYPES for output in outputs)


def _disk_of(wish: BuildOptions, request: Request, found: Resolution, environment: Mapping[str, str]) -> Disk | None:
    """What the request says of a disk, where its elements or outputs speak of any."""
    speaks = _is_for_disk(request.outputs) or "DIB_BLOCK_DEVICE_CONFIG" in request.variables or wish.disk
    if not speaks and not any("block-device" in element.provides for element in found.elements):
        return None
    from builder.request.disk import (
        DiskOptions,
        describe,
    )  # only now: it reads YAML, whose library takes its time to load

    wished = DiskOptions(**wish.disk)
    return describe(request.name, request.arch, found.elements, request.variables, wished, request.outputs, environment)


def _base_of(
    wish: BuildOptions, found: Resolution | None, settings: Mapping[str, str], on_note: Callable[[str], None]
) -> Base | None:
    """The image that the build is to begin with, fetched or built where it is not at hand.

    It is the one that ``--from`` names, or the one that the elements bring, once they are ``found``.
    """
    if not wish.base and (found is None or BASE_ELEMENT not in found.names):
        return None
    from builder.base_image import choose  # only now: it brings the client of registries, which takes its time to load

    text = wish.base
    if found and not text:
        text, settings = choose.of_elements(found.elements, settings)
    return choose.begin(text, parse_arch(wish.arch), settings, offline=wish.offline, on_note=on_note)


def _with_base(request: Request, base: Base) -> Request:
    """The request with what its stages must know of the image that it begins with."""
    facts = base.facts
    variables = {
        "DIB_CTR_BASE_IMAGE": BASE_PLACE,
        "DIB_CTR_BASE_DISTRIBUTION": facts.distribution,
        "DIB_CTR_BASE_RELEASE": facts.release,
        "DIB_CTR_BASE_INIT": facts.init,
        "DIB_CTR_REPOSITORIES": "\n".join(facts.repositories),
    }
    given = {**request.given, BASE_PLACE: base.content}
    config = {**facts.config, **request.config}
    for part in ("env", "labels"):
        if part in facts.config and part in request.config:
            config[part] = {**facts.config[part], **request.config[part]}
    told = {"name": base.pinned, "digest": f"sha256:{base.digest}"}
    return replace(request, variables={**variables, **request.variables}, given=given, config=config, base=told)


def _check_locked_base(request: Request) -> None:
    """Raise UsageError where a lock says that the build begins with another image."""
    used = request.locking.used
    if used is not None and dict(request.base) not in [dict(each) for each in used.base_images]:
        known = ", ".join(each["name"] for each in used.base_images) or "none"
        raise UsageError(
            f"the lock does not begin with the image {request.base['name']}, but with {known}",
            where="--from",
            hint="name that one, or make a new lock: --lock FILE",
        )


def _and(wish: BuildOptions, *elements: str) -> BuildOptions:
    return replace(wish, elements=tuple(dict.fromkeys((*wish.elements, *filter(None, elements)))))


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def prepare(
    command: str,
    wish: BuildOptions,
    environment: Mapping[str, str] = os.environ,
    on_note: Callable[[str], None] = _tell,
) -> PreparedBuild:
    """Check everything that can be checked before a container runs; raises UsageError.

    ``on_note`` hears at once what takes a while: fetching or building the image that the build begins with.
    """
    parsed = [parse_output(text) for text in wish.outputs if not is_files(text)]
    names = check_names(wish.secrets)
    settings = variables(wish.settings, wish.release, environment, mirrors(environment), names)
    base = _base_of(wish, None, settings, on_note)
    name = wish.name or (base.title if base else "")
    if base:
        wish = _and(wish, BASE_ELEMENT, base.facts.manager)
    found, outputs_left, about_elements = resolve_elements(wish, environment, parsed)
    about_release = releases.about(found.elements, settings, parse_arch(wish.arch))
    if base is None and (base := _base_of(wish, found, settings, on_note)):
        name = name or next((each.name for each in found.elements if CONTAINERFILE in each.deps), CONTAINERFILE)
        wish = _and(wish, BASE_ELEMENT, base.facts.manager)
        found, outputs_left, about_elements = resolve_elements(wish, environment, parsed)
    parsed = outputs_left
    if base and not about_release:
        about_release = ended(base.facts.distribution, base.facts.release, releases.today(settings))
    name = name or found.operating_system.name
    if not NAME.match(name):
        raise UsageError(f"{name!r} cannot be an image's name", hint="letters, digits, '.', '_' and '-'")
    outputs, texts = policies(parsed, wish.slim)
    if wish.no_documents:
        outputs = tuple(replace(output, options={**output.options, "documents": "no"}) for output in outputs)
    targets = tuple(target_of(output, name, wish.destination) for output in outputs)
    check_targets(outputs, targets, replace=wish.replace)
    request = Request(
        command=command,
        name=name,
        arch=parse_arch(wish.arch),
        asked=wish.elements,
        elements=found.names,
        builtin=tuple(element.name for element in found.elements if element.path.is_relative_to(BUILTIN)),
        variables=settings,
        packages=_packages(wish.packages),
        outputs=outputs,
        no_cache=wish.no_cache,
        offline=wish.offline,
        breaks=_breaks(wish.breaks),
        break_command=wish.break_command,
        break_outside=wish.break_outside,
        config=image_config(found.elements),
        slim=texts,
    )
    disk = _disk_of(wish, request, found, environment)
    if disk:
        request = replace(request, disk=disk.data)
    given, notes = given_files(request.variables, Path(environment.get("HOME", "/nonexistent")))
    request = replace(
        request,
        given={place: file_digest(file) for place, file in sorted(given.items())},
        secrets=secrets_of(names, found.elements, request.variables, given, environment),
    )
    if wish.locks != LockOptions():
        from builder.request.lock_file import with_locks

        request = with_locks(request, wish.locks, environment)
    if base:
        request = _with_base(request, base)
        _check_locked_base(request)
    passphrases = disk.passphrases if disk else {}
    return PreparedBuild(
        request=request,
        elements=found.elements,
        targets=targets,
        locks=wish.locks,
        passphrases=passphrases,
        given=given,
        notes=(*about_elements, *about_release, *notes),
        files=any(is_files(text) for text in wish.outputs),
        build_image=found.build_image,
        large={base.content: base.archive} if base else {},
        replace=wish.replace,
        side_folder=side_folder_of(wish.outputs),
    )
