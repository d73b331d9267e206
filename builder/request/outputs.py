"""What is written: outputs as the user types them, their options, and the policies of what they leave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from blockdev.core.checksum_files import CHECKSUMS
from blockdev.core.errors import UsageError
from builder.destination import FILES
from builder.request.choices import one_of
from builder.request.options import NAME
from stages.protocol.request import COMPRESSION_LEVELS, DISK_TYPES, OUTPUT_TYPES, QEMU_OPTION, Output

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
NO_SLIM = "no"
POLICY_WORDS = ("auto", NO_SLIM)  # all else names a policy


def parse_output(text: str) -> Output:
    """``TYPE[,key=value]...`` as an output; raises UsageError naming what is not known."""
    kind, *pairs = text.split(",")
    if kind not in OUTPUT_TYPES:
        raise one_of("output type", kind, (*OUTPUT_TYPES, FILES))
    choices = {**OPTIONS[kind], "dest": ()}
    options = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if kind in DISK_TYPES and key.startswith(QEMU_OPTION) and value:
            options[key] = value
            continue
        if key not in choices:
            raise one_of(f"option of the output {kind}", key, choices)
        if not separator or not value:
            raise UsageError(f"the option {key} of the output {kind} has no value", hint=f"-o {kind},{key}=VALUE")
        if choices[key] and value not in choices[key]:
            raise one_of(f"value of {key} (output {kind})", value, choices[key])
        options[key] = value
    if kind in DISK_TYPES:
        _check_disk(kind, options)
    else:
        _check_level(kind, options)
        _check_sums(kind, options)
    _check_prefix(options.get("prefix", "."))
    return Output(kind, options)


def _check_prefix(prefix: str) -> None:
    if prefix != "." and not NAME.match(prefix):
        raise UsageError(f"{prefix!r} cannot be a folder's name in a tar", hint="one name, as rootfs is, or .")


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
            raise one_of(f"checksum (output {kind})", name, CHECKSUMS)


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
    texts = {output.options["slim"] for output in outputs if "slim" in output.options}
    words = sorted(texts.difference(POLICY_WORDS))
    if not words:
        return tuple(outputs), {}
    from stages.outputs.slim import policy  # only now: it reads YAML, whose library takes its time to load

    return tuple(outputs), {word: policy.read(word) for word in words}


def is_for_disk(outputs: Sequence[Output]) -> bool:
    return any(output.type in DISK_TYPES for output in outputs)
