"""Building an image again from what its provenance says was asked for, to see whether the same comes out."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blockdev.core.errors import BuildError, UsageError
from blockdev.core.typed_json import reader
from builder.describe.generate import PROVENANCE, SUFFIXES
from builder.request.options import BuildOptions
from builder.request.prepared_build import PreparedBuild
from builder.request.variables import EPOCH
from stages.redaction.patterns import WITHHELD

if TYPE_CHECKING:
    from builder.build.run import BuildSession

REBUILT = "rebuilt.oci"
_ASKED = {"elements": tuple[str, ...], "packages": tuple[str, ...], "name": str, "arch": str}  # what is always there


@dataclass(frozen=True)
class Provenance:
    """What an image's provenance says: the image's digest (``sha256:...``), what was asked for, and what it came from.

    ``materials`` has a digest (hex) for each thing that went in, by a name for a person.
    """

    digest: str
    asked: Mapping[str, Any]
    epoch: int
    made_by: str
    materials: Mapping[str, str]

    @classmethod
    def from_json(cls, text: bytes, source: str) -> Provenance:
        """Read the statement; UsageError naming ``source`` for one that did not come with an image of ours."""
        try:
            data = json.loads(text)
            definition = data["predicate"]["buildDefinition"]
            internal = definition["internalParameters"]
            for name, kind in _ASKED.items():
                reader(kind)(definition["externalParameters"][name])
            return cls(
                f"sha256:{data['subject'][0]['digest']['sha256']}",
                definition["externalParameters"],
                int(internal["sourceDateEpoch"]),
                f"dib-ctr {internal['dibCtr']}, build image {internal['buildImage']}, {internal['compression']}",
                {
                    " ".join(str(each[key]) for key in ("name", "uri") if key in each): str(
                        each.get("digest", {}).get("sha256", "")
                    )
                    for each in definition["resolvedDependencies"]
                },
            )
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise UsageError(
                f"this is no provenance of an image that dib-ctr made ({type(error).__name__}: {error})", where=source
            ) from error


def find(image: Path, digest: str) -> Provenance:
    """The provenance of the image at ``image`` whose manifest has this digest: attached, or the file beside it."""
    from builder.describe import referrers

    if image.is_dir():
        for descriptor, data in referrers.read(image, digest):
            if descriptor.get("artifactType") == PROVENANCE:
                return Provenance.from_json(data, str(image))
    beside = image.with_name(image.name + SUFFIXES[PROVENANCE])
    try:
        provenance = Provenance.from_json(beside.read_bytes(), str(beside))
    except OSError as error:
        raise UsageError(
            f"{image} has no provenance: nothing says what it was built from",
            hint=f"it is attached to the image, or lies beside it as {beside.name}; --no-documents leaves it out",
        ) from error
    if provenance.digest != digest:
        raise UsageError(
            f"{beside} is about another image: {provenance.digest}", where=str(image), hint=f"this one is {digest}"
        )
    return provenance


def rebuild_options(
    provenance: Provenance, folder: Path, *, settings: Sequence[str], elements_path: str, offline: bool
) -> BuildOptions:
    """The same request again, from scratch, into ``folder``; ``settings`` add to what the provenance tells."""
    asked = provenance.asked
    names = {text.partition("=")[0] for text in settings}
    variables = {str(name): str(value) for name, value in asked.get("variables", {}).items()}
    withheld = sorted(name for name, value in variables.items() if WITHHELD in value and name not in names)
    if withheld:
        raise UsageError(
            f"the provenance does not tell the value of {', '.join(withheld)}", hint=f"--set {withheld[0]}=VALUE"
        )
    variables.setdefault(EPOCH, str(provenance.epoch))
    options = {name: str(value) for name, value in asked.get("output", {}).items() if name != "type"}
    for word, text in asked.get("slim", {}).items():
        policy = folder / "policy.yaml"
        policy.write_text(text, encoding="utf-8")
        options["slim"] = str(policy) if word == options.get("slim") else options["slim"]
    options |= {"documents": "yes", "dest": str(folder / REBUILT)}
    output = ",".join(["oci", *(f"{name}={value}" for name, value in options.items())])
    return BuildOptions(
        elements=tuple(asked["elements"]),
        outputs=(output,),
        name=asked["name"],
        destination=folder,
        arch=asked["arch"],
        settings=(*(f"{name}={value}" for name, value in variables.items() if name not in names), *settings),
        elements_path=elements_path,
        packages=tuple(asked["packages"]),
        base=str(asked.get("from", "")),
        no_cache=True,
        offline=offline,
    )


def moved(then: Provenance, now: Provenance) -> list[str]:
    """What went into the two builds and was not the same, one sentence each."""
    changes = []
    for name in sorted(then.materials.keys() | now.materials.keys()):
        before, after = then.materials.get(name), now.materials.get(name)
        if before is None or after is None:
            changes.append(f"{name}: {'only in the rebuild' if before is None else 'no longer in the rebuild'}")
        elif before != after:
            changes.append(f"{name}: was {before[:12]}, is now {after[:12]}")
    if then.made_by != now.made_by:
        changes.append(f"made by {then.made_by}; now by {now.made_by}")
    return changes


def report(
    image: Path,
    arch: str,
    options: BuildOptions,
    environment: Mapping[str, str],
    open_session: Callable[[PreparedBuild], BuildSession],
) -> str:
    """Rebuild and compare; returns a sentence where the same came out, raises BuildError with the difference else."""
    from builder.build.run import build
    from builder.inspection import compare
    from builder.request.prepare import prepare

    digest = manifest_digest(image, arch)
    then = find(image, digest)
    with tempfile.TemporaryDirectory(prefix="dib-ctr-verify-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        rebuild = rebuild_options(
            then,
            folder,
            settings=options.settings,
            elements_path=options.elements_path,
            offline=options.offline,
        )
        prepared = prepare("build", rebuild, environment)
        build(prepared, open_session(prepared), load=False, folder=folder / "beside", say=lambda _: None)
        rebuilt = folder / REBUILT
        now = find(rebuilt, manifest_digest(rebuilt, ""))
        if now.digest == digest:
            return f"{image} is what its elements give: built again from scratch, {digest}"
        difference = compare.first_difference(image, rebuilt, arch)
        lines = [f"built again from scratch it is another image: {now.digest}, not {digest}"]
        lines += [f"  the first difference: {difference}"] if difference else []
        lines += [f"  {sentence}" for sentence in moved(then, now)]
    hint = "--locked builds from what was used then (docs/locking.md)"
    if not moved(then, now):
        hint = "nothing that went in has changed: a script of it does not always do the same"
    raise BuildError("\n".join(lines), where=str(image), hint=hint)


def manifest_digest(image: Path, arch: str) -> str:
    """The digest of the image's manifest, of this architecture where it has several."""
    from builder.inspection.image import open_image

    return open_image(image, arch).digest
