"""The GitHub Action's side of things: its inputs as a command line, its outputs, the summary of a job.

``action.yml`` gives the inputs as variables ``INPUT_NAME``. Lists are separated by blanks or lines, output types, cache
places and variables by lines only. Outputs are written as "Workflow commands for GitHub Actions" says.
"""

from __future__ import annotations

import re
import shlex
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from blockdev.core.errors import UsageError
from builder.progress.report import size
from builder.request.option_table import OPTIONS
from builder.request.option_table.option import Each, Input, No, Option
from builder.request.option_values import options_of
from builder.request.option_values import words as option_words

PREFIX = "INPUT_"


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
    """The words of ``dib-ctr`` for these inputs; it writes what came of it to ``report``, and a page beside it where
    one is wished for. Raises UsageError.

    The input ``arguments`` is a command line by nature, and so the whole is one.
    """
    images = "images_file" in inputs
    if images == ("elements" in inputs):
        raise UsageError(
            "the action takes elements or images-file, one of them",
            where="the inputs of the action",
            hint="with: { elements: debian-minimal }",
        )
    strange = [name for name in _for_elements_only() if images and name in inputs]
    if strange:
        raise UsageError(
            f"the input {_dashed(strange[0])} does not go with images-file",
            where="the inputs of the action",
            hint="say it of the images, in that file",
        )
    values = {option.name: _value(option, option.doors.action, inputs) for option in _options(images=images)}
    try:
        more = shlex.split(inputs.get("arguments", ""))
    except ValueError as error:
        raise UsageError(f"the input arguments cannot be split: {error}", where="the inputs of the action") from error
    elements = inputs.get("images" if images else "elements", "").split()
    page = ["--report", str(report.with_suffix(".html"))] if wants_page(inputs) else []
    return ["build", "--report", str(report), *page, *option_words(options_of(values)), *more, *elements]


def _options(*, images: bool) -> Iterable[Option]:
    """The options that inputs make, for a build of elements or of an images file."""
    for option in OPTIONS:
        door = option.doors.action
        if isinstance(door, Input) and not (images and door.each is Each.TRUTH):
            yield option


def _for_elements_only() -> Iterable[str]:
    doors = (option.doors.action for option in OPTIONS if isinstance(option.doors.action, Input))
    return (name for door in doors if not door.with_images and door.each is not Each.TRUTH for name in door.names)


def _value(option: Option, door: Input | No, inputs: Mapping[str, str]) -> Any:
    """What the inputs say of an option; nothing where they are not there."""
    assert isinstance(door, Input)
    texts = [inputs[name] for name in door.names if name in inputs]
    if door.each is Each.TRUTH:
        return _is_true(inputs, door.names[0])
    if door.each is Each.LINE:
        return [line for text in texts for line in _lines(text)]
    if door.each is Each.WORD:
        return [word for text in texts for word in text.split()]
    return texts if option.multiple else next(iter(texts), None)


def _is_true(inputs: Mapping[str, str], name: str) -> bool:
    value = inputs.get(name, "false").lower()
    if value not in ("true", "false"):
        raise UsageError(f"the input {_dashed(name)} is {value!r}", hint="true or false")
    return value == "true"


def wants_summary(inputs: Mapping[str, str]) -> bool:
    """Is a summary of the job to be written; raises UsageError for a word that says neither."""
    return _is_true({"summary": "true", **inputs}, "summary")


def wants_page(inputs: Mapping[str, str]) -> bool:
    """Is a page that tells of the build to be written and uploaded; raises UsageError as :func:`wants_summary`."""
    return _is_true({"page": "true", **inputs}, "page")


def page_name(report: Mapping[str, Any]) -> str:
    """A name for the page's artifact that no other one of the run has, of letters that artifacts may have."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", report["images"][0]["name"])[:60] if len(report["images"]) == 1 else "images"
    return f"dib-ctr-report-{name}-{uuid.uuid4().hex[:8]}"


def written(outputs: Mapping[str, str]) -> str:
    """Outputs as the file ``GITHUB_OUTPUT`` takes them, whatever is in their values."""
    parts = []
    for name, value in outputs.items():
        end = f"end-{uuid.uuid4()}"
        parts.append(f"{name}<<{end}\n{value}\n{end}\n")
    return "".join(parts)


def outputs(report: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """The action's outputs by what the report of a build tells; ``folder`` is where the build ran and wrote."""
    written = [output for image in report["images"] for output in image["outputs"]]
    places = [str(folder / output["place"]) for output in written]
    pushed = [image["pushed"] for image in report["images"] if image.get("pushed")]
    name, _, digest = pushed[0].partition("@") if len(pushed) == 1 else ("", "", "")
    return {
        "path": places[0] if places else "",
        "paths": "\n".join(places),
        "files": "\n".join(path for path in places if Path(path).is_file()),
        "digest": written[0]["digest"] if written else "",
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
        if image.get("changes"):
            lines += ["", f"{_cell(image['name'])}, since the build before: {_cell(image['changes'])}"]
        took = [step for step in image.get("slowest", ()) if step["seconds"] >= 1]
        if took:
            steps = ", ".join(f"`{step['what'].replace('`', '')}` {step['seconds']:.0f} s" for step in took)
            lines += ["", f"{_cell(image['name'])}, the slowest: {steps}"]
        if image.get("failure"):
            lines += ["", f"**{image['name']}**", "", "```text", image["failure"]["text"].replace("```", "'''"), "```"]
    return "\n".join(lines) + "\n"
