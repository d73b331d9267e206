"""The GitHub Action's side of things: its inputs as a command line, its outputs, the summary of a job.

``action.yml`` gives the inputs as variables ``INPUT_NAME``. Lists are separated by blanks or lines, output types, cache
places and variables by lines only. Outputs are written as "Workflow commands for GitHub Actions" says.
"""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from blockdev.core.errors import UsageError
from builder.progress.report import size

PREFIX = "INPUT_"
# Inputs that become an option each, once for each line or once in all.
BY_LINE = {
    "output": "--output",
    "variables": "--set",
    "cache": "--cache-from",
    "cache_from": "--cache-from",
    "cache_to": "--cache-to",
}
ONCE = {
    "name": "--name",
    "arch": "--arch",
    "release": "--release",
    "elements_path": "--elements-path",
    "from": "--from",
    "engine": "--engine",
    "dest": "--dest",
    "push": "--push",
    "firmware": "--firmware",
}
FOR_ELEMENTS_ONLY = ("output", "name", "arch", "release", "packages", "from", "firmware")


def inputs_of(environment: Mapping[str, str]) -> dict[str, str]:
    """The action's inputs, by their names with ``_``, without the empty ones."""
    return {
        name.removeprefix(PREFIX).lower(): value.strip()
        for name, value in environment.items()
        if name.startswith(PREFIX) and value.strip()
    }


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def words(inputs: Mapping[str, str], report: Path) -> list[str]:
    """The words of ``dib-ctr`` for these inputs; it writes what came of it to ``report``. Raises UsageError."""
    images = "images_file" in inputs
    if images == ("elements" in inputs):
        raise UsageError(
            "the action takes elements or images-file, one of them",
            where="the inputs of the action",
            hint="with: { elements: debian-minimal }",
        )
    strange = [_dashed(name) for name in FOR_ELEMENTS_ONLY if images and name in inputs]
    if strange:
        raise UsageError(
            f"the input {strange[0]} does not go with images-file",
            where="the inputs of the action",
            hint="say it of the images, in that file",
        )
    found = ["build", "--report", str(report)]
    for name, option in ONCE.items():
        found += [option, inputs[name]] if name in inputs else []
    for name, option in BY_LINE.items():
        found += [word for line in _lines(inputs.get(name, "")) for word in (option, line)]
    found += [word for line in _lines(inputs.get("cache", "")) for word in ("--cache-to", line)]
    for package in inputs.get("packages", "").split():
        found += ["--package", package]
    if _is_true(inputs, "boot_test") and not images:  # a file says it of each image
        found.append("--boot-test")
    try:
        found += shlex.split(inputs.get("arguments", ""))
    except ValueError as error:
        raise UsageError(f"the input arguments cannot be split: {error}", where="the inputs of the action") from error
    if images:
        return [*found, "-f", inputs["images_file"], *inputs.get("images", "").split()]
    return [*found, *inputs["elements"].split()]


def _is_true(inputs: Mapping[str, str], name: str) -> bool:
    value = inputs.get(name, "false").lower()
    if value not in ("true", "false"):
        raise UsageError(f"the input {_dashed(name)} is {value!r}", hint="true or false")
    return value == "true"


def wants_summary(inputs: Mapping[str, str]) -> bool:
    """Is a summary of the job to be written; raises UsageError for a word that says neither."""
    return _is_true({"summary": "true", **inputs}, "summary")


def written(outputs: Mapping[str, str]) -> str:
    """Outputs as the file ``GITHUB_OUTPUT`` takes them, whatever is in their values."""
    parts = []
    for name, value in outputs.items():
        end = f"end-{uuid.uuid4()}"
        parts.append(f"{name}<<{end}\n{value}\n{end}\n")
    return "".join(parts)


def outputs(report: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """The action's outputs by what the report of a build tells; ``folder`` is where the build ran and wrote."""
    made = [output for image in report["images"] for output in image["outputs"]]
    places = [str(folder / output["place"]) for output in made]
    pushed = [image["pushed"] for image in report["images"] if image.get("pushed")]
    name, _, digest = pushed[0].partition("@") if len(pushed) == 1 else ("", "", "")
    return {
        "path": places[0] if places else "",
        "paths": "\n".join(places),
        "files": "\n".join(place for place in places if Path(place).is_file()),
        "digest": made[0]["digest"] if made else "",
        "pushed": "\n".join(pushed),
        "pushed-name": name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name,
        "pushed-digest": digest,
        "stages": str(sum(image["stages"] for image in report["images"])),
        "hits": str(sum(image["hits"] for image in report["images"])),
    }


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")


def _row(image: Mapping[str, Any]) -> Iterable[str]:
    cached = f"{image['hits']} of {image['stages']}" if image["stages"] else ""
    first = (image["name"], image["status"], f"{image['seconds']:.0f}", cached)
    rows: Sequence[tuple[str, str, str]] = [
        (Path(output["place"]).name, size(output["bytes"]) if output["bytes"] else "", output["digest"])
        for output in image["outputs"]
    ] or [("", "", "")]
    for number, row in enumerate(rows):
        yield "| " + " | ".join(map(_cell, (*(first if number == 0 else ("", "", "", "")), *row))) + " |"


def summary(report: Mapping[str, Any]) -> str:
    """A summary of the job in Markdown: a table of images and their outputs, and what failed."""
    lines = [
        "| image | | seconds | stages from the cache | output | size | digest |",
        "| --- | --- | ---: | ---: | --- | ---: | --- |",
        *(line for image in report["images"] for line in _row(image)),
    ]
    for image in report["images"]:
        if image.get("failure"):
            lines += ["", f"**{image['name']}**", "", "```text", image["failure"]["text"].replace("```", "'''"), "```"]
    return "\n".join(lines) + "\n"
