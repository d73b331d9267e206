"""What of a command line and of the environment has no effect here, in sentences: nothing of it is passed over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from builder.frontends.dib.arguments import Asked

# Variables of diskimage-builder's driver that change nothing, in groups, and what there is to say of each group.
NO_EFFECT: tuple[tuple[tuple[str, ...], str], ...] = (
    (("DIB_NO_TMPFS", "DIB_MIN_TMPFS"), "builds take no memory for a tmpfs: {} nothing"),
    (("DIB_IMAGE_CACHE", "DIB_LOCKFILES"), "what scripts keep there lies in the store (--store): {} nothing"),
    (("TMP_DIR",), "a build's folders lie in the store (--store): {} nothing"),
    (("DIB_PYTHON_EXEC",), "scripts find the build container's own Python: {} nothing"),
    (("EXTRA_DETACH", "EXTRA_UNMOUNT"), "nothing of the image is mounted on this machine: {} nothing"),
    (("DUMP_CONFIG_GRAPH",), "dib-ctr disk plan shows the disk: {} nothing"),
)
_OPTIONS = {"DIB_NO_TMPFS": "--no-tmpfs", "DIB_MIN_TMPFS": "--min-tmpfs", "DIB_IMAGE_CACHE": "--image-cache"}


def remarks(asked: Asked, environment: Mapping[str, str], types: Sequence[str]) -> Iterator[str]:
    """A sentence for each thing that is asked for and has no effect, or another one than its author may think."""
    if "aci" in types and not environment.get("ACI_MANIFEST"):
        yield "an application container image is of no use without a manifest: ACI_MANIFEST names one"
    if "vm" in asked.elements and not any(name.startswith("block-device-") for name in asked.elements):
        yield "vm brings a block-device element, as in diskimage-builder; block-device-hybrid boots both ways"
    if environment.get("IMAGE_ELEMENT", "").split():
        yield f"IMAGE_ELEMENT adds elements, as in diskimage-builder: {environment['IMAGE_ELEMENT']}"
    for names, sentence in NO_EFFECT:
        if words := [word for name in names if (word := _option_or_variable(name, asked, environment))]:
            yield sentence.format(f"{' and '.join(words)} {'change' if len(words) > 1 else 'changes'}")
    if "tgz" in types and environment.get("DIB_GZIP_BIN", "gzip") not in ("", "gzip"):
        yield "the build container compresses a tgz, in gzip's format: DIB_GZIP_BIN changes nothing"
    usage = [name for name in ("DIB_SHOW_IMAGE_USAGE", "DIB_SHOW_IMAGE_USAGE_FULL") if _is_on(environment.get(name))]
    if usage:
        yield f"{' and '.join(usage)}: no report is printed; dib-ctr size FILE shows what takes how much (-t tar)"
    stops = [point for point in environment.get("break", "").split(",") if point]
    if missing := [point for point in stops if point.endswith("-block-device")]:
        yield f"no build has the phase block-device: break={','.join(missing)} stops nowhere"
    if stops:
        yield "what is changed at a break point is thrown away"


def _option_or_variable(name: str, asked: Asked, environment: Mapping[str, str]) -> str:
    """The option or the variable of this name, whichever is there; "" for neither."""
    option = _OPTIONS.get(name, "")
    if option.removeprefix("--") in asked.values or (option == "--no-tmpfs" and asked.no_tmpfs):
        return option
    return name if environment.get(name) else ""


def _is_on(value: str | None) -> bool:
    return value not in (None, "", "0")
