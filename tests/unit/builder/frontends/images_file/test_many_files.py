"""Images files: what they mean, and that every mistake is refused at its place."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from blockdev.core.errors import UsageError
from builder.cli import main
from builder.fleet.image import ImageBuild, Needs, Retries
from builder.frontends.images_file import schema
from builder.frontends.images_file.image import chosen, images_of
from builder.frontends.images_file.load import checked, load
from builder.frontends.images_file.read import read
from builder.request.option_values import words as option_words

SCHEMA = Path(__file__).parents[5] / "docs/images.schema.json"


def images(folder: Path, text: str, destination: Path = Path("/out")) -> list[ImageBuild]:
    file = folder / "images.yaml"
    file.write_text(text)
    return images_of(read(file), destination, "")


def words(image: ImageBuild) -> str:
    return " ".join([*option_words(image.options), *image.elements])


WHOLE = """
defaults:
  elements-path: own
  dest: images/${{ release }}
  variables: {DIB_ALL: "1", DIB_OTHER: default}
  retries: 2
images:
  base:
    abstract: true
    elements: [debian-minimal]
    packages: [jq]
    variables: {DIB_OTHER: base}
    disk: {image-size: 4}
  server:
    extends: base
    elements: [vm, debian-minimal]
    packages: [curl]
    release: trixie
    arch: [amd64, arm64]
    outputs: [oci, {type: qcow2, compress: zstd}]
    disk: {root-fs: xfs, privileged: true}
    slim: no
    documents: false
    push: registry.example.org/servers:${{ release }}
    boot-test: uefi
    retries: {times: 1, after: any, wait: 3}
    needs: {cpus: 2, memory: 1.5GiB}
  plain:
    elements: debian-minimal
    release: 1.10
"""


def test_an_image_has_what_it_extends_and_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    server, plain = images(tmp_path, WHOLE)
    assert words(server) == (
        "--name server --arch amd64,arm64 --release trixie --set DIB_ALL=1 --set DIB_OTHER=base"
        f" --elements-path {tmp_path}/own --package jq --package curl --output oci --output qcow2,compress=zstd"
        " --no-slim --no-documents --dest /out/images/trixie --privileged --image-size 4 --root-fs xfs"
        " --push registry.example.org/servers:trixie --firmware uefi --boot-test debian-minimal vm"
    )
    assert (server.retries, server.needs) == (Retries(1, "any", 3), Needs(2, 1536))
    assert (plain.elements, plain.retries, plain.needs) == (("debian-minimal",), Retries(2), Needs())
    assert "--release 1.10 " in words(plain)  # as it is written
    assert "--set DIB_OTHER=default" in words(plain)
    assert plain.inputs == (tmp_path / "own",)


MATRIX = """
images:
  it:
    elements: [debian-minimal]
    matrix:
      release: [bookworm, trixie]
      arch: [amd64, arm64]
      exclude:
        - {release: bookworm, arch: arm64}
      include:
        - {release: trixie, DIB_FLAVOUR: new}
        - {release: sid, arch: amd64, output: "tar,compress=zstd"}
"""


def test_a_matrix_is_that_of_ci_systems(tmp_path: Path) -> None:
    """Excluded combinations go; what is included adds to those that it fits, or is one of its own."""
    found = images(tmp_path, MATRIX)
    assert [image.name for image in found] == [
        "it-bookworm-amd64",
        "it-trixie-amd64-new",
        "it-trixie-arm64-new",
        "it-sid-amd64-tar",
    ]
    assert ["--set DIB_FLAVOUR=new" in words(image) for image in found] == [False, True, True, False]
    assert "--output tar,compress=zstd" in words(found[3])
    assert [image.arches for image in found] == [("amd64",), ("amd64",), ("arm64",), ("amd64",)]
    assert [image.name for image in chosen(found, ["*trixie*"])] == ["it-trixie-amd64-new", "it-trixie-arm64-new"]
    assert chosen(found, ["it"]) == found
    with pytest.raises(UsageError) as caught:
        chosen(found, ["it-trixy-amd64"])
    assert "it-trixie-amd64" in caught.value.hint


def test_templates_name_axes_and_variables_stay_texts(tmp_path: Path) -> None:
    text = """
images:
  it:
    matrix: {release: [a, b], size: [4]}
    name: it-${{ matrix.release }}
    elements: ["debian-${{ size }}"]
    variables: {DIB_JSON: '{"a": "${HOME}"}', DIB_NAME: "${{ name }}"}
"""
    first, second = images(tmp_path, text)
    assert (first.name, second.name, first.elements) == ("it-a", "it-b", ("debian-4",))
    assert 'DIB_JSON={"a": "${HOME}"}' in first.options.settings
    assert "DIB_NAME=it-a" in first.options.settings


def test_anchors_and_merge_keys_work(tmp_path: Path) -> None:
    text = """
images:
  one: &one {elements: [a], release: x}
  two: {<<: *one, release: y}
"""
    one, two = images(tmp_path, text)
    assert (one.elements, two.elements) == (("a",), ("a",))
    assert "--release y" in words(two)


WRONG = [
    ("images:\n  a:\n    elments: [x]\n", 3, 5, "there is no key 'elments'", "elements"),
    ("imges:\n  a: {elements: [x]}\n", 1, 1, "there is no key 'imges'", "images"),
    ("defaults: {extends: a}\nimages:\n  a: {elements: [x]}\n", 1, 12, "not for all", ""),
    ("images:\n  a: {elements: [x], elements: [y]}\n", 2, 22, "'elements' is there twice", ""),
    ("images:\n  a:\n    elements:\n      b: c\n", 4, 7, "elements is a map", ""),
    ("images:\n  a: [\n", 3, 1, "no YAML", ""),
    ("images:\n  a b: {elements: [x]}\n", 2, 3, "cannot be an image's name", ""),
    ("images:\n  a: {release: x}\n", 2, 3, "has no element", ""),
    ("images:\n  a: {extends: b, elements: [x]}\n  bb: {elements: [x]}\n", 2, 16, "no image 'b'", ""),
    ("images:\n  a: {extends: b}\n  b: {extends: c}\n  c:\n    extends: [a]\n", 5, 15, "a -> b -> c -> a", ""),
    ("images:\n  a: {extends: a}\n", 2, 16, "a -> a", ""),
    ("images:\n  a: {elements: [x], offline: maybe}\n", 2, 31, "expected true or false", ""),
    ("images:\n  a: {elements: [x], retries: {after: netwrk}}\n", 2, 39, "after is 'netwrk'", "network"),
    ("images:\n  a: {elements: [x], retries: many}\n", 2, 31, "expected a whole number", ""),
    ("images:\n  a: {elements: [x], needs: {memory: 3}}\n", 2, 38, "memory is '3'", "2GiB"),
    ("images:\n  a: {elements: [x], disk: {image-sise: 3}}\n", 2, 29, "no key 'image-sise' in disk", "image-size"),
    ("images:\n  a: {elements: [x], disk: {privileged: 3}}\n", 2, 41, "expected true or false", ""),
    ("images:\n  a: {elements: [x], outputs: [{compress: zstd}]}\n", 2, 32, "an output has no type", ""),
    ("images:\n  a: {elements: [x], matrix: {release: []}}\n", 2, 31, "the axis release has no value", ""),
    ("images:\n  a: {elements: [x], matrix: {}}\n", 2, 30, "no axis", ""),
    (
        "images:\n  a:\n    elements: [x]\n    matrix: {release: [y], exclude: [{relase: y}]}\n",
        *(4, 47, "exclude names relase", "release"),
    ),
    ("images:\n  a: {elements: ['${{ relase }}']}\n", 2, 18, "names 'relase'", "release"),
    ("images:\n  a: {elements: ['${{ }}']}\n", 2, 18, "cannot be read", ""),
    ("images:\n  a: {elements: [x], locked: no.json}\n", 2, 30, "there is no", ""),
    ("images:\n  a: {elements: [x], name: n, matrix: {release: [b, c]}}\n", 2, 3, "the name 'n'", ""),
    ("images:\n  a: {elements: [x], variables: {A-B: c}}\n", 2, 39, "variable's name", ""),
    ("images: {}\n", 1, 9, "there are no images", ""),
    ("a text\n", 1, 1, "expected a map", ""),
]


@pytest.mark.parametrize(("text", "line", "column", "what", "hint"), WRONG)
def test_mistakes_are_refused_at_their_place(
    tmp_path: Path, text: str, line: int, column: int, what: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        images(tmp_path, text)
    assert what in caught.value.what
    assert caught.value.where == f"{tmp_path}/images.yaml:{line}:{column}"
    assert hint in caught.value.hint


IN_ELEMENTS = [
    ("elements: [debian-minmal]", 18, "debian-minmal", "debian-minimal"),
    ("elements: [debian-minimal], outputs: [oci, qcow3]", 50, "'qcow3' is no output type", "qcow2"),
    ("elements: [debian-minimal], arch: amd46", 41, "'amd46' is no architecture", "amd64"),
    ("elements: [debian-minimal], packages: [jq, 'b;']", 50, "is not a package's name", ""),
    ("elements: [debian-minimal], push: here, outputs: [oci]", 41, "is no place in a registry", ""),
    ("elements: [debian-minimal], push: r.example.org/a, outputs: [tar]", 41, "takes the output oci", ""),
    ("elements: [debian-minimal], cache-from: [type=nothing]", 48, "nothing", ""),
    ("elements: [vm]", 3, "operating system", ""),
]


@pytest.mark.parametrize(("text", "column", "what", "hint"), IN_ELEMENTS)
def test_what_a_build_would_refuse_is_refused_before_any(
    tmp_path: Path, text: str, column: int, what: str, hint: str
) -> None:
    found = images(tmp_path, f"images:\n  a: {{{text}}}\n", tmp_path)
    with pytest.raises(UsageError) as caught:
        checked(found, os.environ)
    assert what in caught.value.what
    assert caught.value.where == f"{tmp_path}/images.yaml:2:{column}"
    assert hint in caught.value.hint


def test_two_images_in_one_place_are_refused(tmp_path: Path) -> None:
    text = "images:\n  a: {elements: [debian-minimal], outputs: ['oci,dest=x']}\n"
    text += "  b: {elements: [debian-minimal], outputs: ['oci,dest=x']}\n"
    with pytest.raises(UsageError, match="a and b would both be written to"):
        checked(images(tmp_path, text, tmp_path), os.environ)


def test_both_forms_in_one_request(tmp_path: Path) -> None:
    own, dib = tmp_path / "own.yaml", tmp_path / "dib.yaml"
    own.write_text("images: {a: {elements: [debian-minimal]}}\n")
    dib.write_text("- imagename: b\n  types: [tar]\n  arch: amd64\n  elements: [debian-minimal]\n")
    found = load([own, dib], tmp_path)
    assert {image.name: image.command for image in found} == {"a": "build", "b": "disk-image-create"}
    assert [one.prepared.request.name for one in checked(found, os.environ)] == [image.name for image in found]
    dib.write_text("- imagename: a\n  elements: [debian-minimal]\n")
    with pytest.raises(UsageError, match="two images have the name 'a'"):
        load([own, dib], tmp_path)


# -- the schema --------------------------------------------------------------------------------------


def test_the_schema_in_the_documentation_is_that_of_the_reader() -> None:
    assert json.loads(SCHEMA.read_text()) == schema.json_schema()


def _validator() -> Any:
    import jsonschema  # seconds, and every process of a test run collects this file

    jsonschema.Draft202012Validator.check_schema(schema.json_schema())
    return jsonschema.Draft202012Validator(schema.json_schema())


@pytest.mark.parametrize("text", [WHOLE, MATRIX])
def test_the_schema_takes_what_the_reader_takes(text: str) -> None:
    _validator().validate(yaml.safe_load(text))


# What only a reader of the whole file knows: names that are defined elsewhere, templates, YAML itself.
BEYOND = (
    *(
        "there twice",
        "no YAML",
        "no element",
        "no image 'b'",
        "->",
        "exclude names",
        "names 'relase'",
        "cannot be read",
    ),
    *("there is no", "the name", "variable's name", "no axis"),
)
SHAPES = [
    (text, what) for text, *_, what, _ in WRONG if not any(word in what for word in BEYOND) and "privileged" not in text
]


@pytest.mark.parametrize(("text", "what"), SHAPES)
def test_the_schema_refuses_shapes_that_the_reader_refuses(text: str, what: str) -> None:
    assert not _validator().is_valid(yaml.safe_load(text)), what


# -- the command line --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("build", "--jobs", "2", "debian-minimal"), "--jobs is for images files"),
        (("plan", "--stages", "debian-minimal"), "--stages is for images files"),
        (("build", "-f", "FILE", "--name", "x"), "--name does not go with -f"),
        (("build", "-f", "FILE", "-o", "tar"), "does not go with -f"),
        (("plan", "-f", "FILE", "--release", "sid"), "--release does not go with -f"),
        (("build", "-f", "FILE", "sever"), "did you mean 'server'"),
        (("build", "-f", "FILE.no"), "cannot be read"),
        (("build", "-f", "FILE", "--push", "r.example.org/x:1"), "with a / at the end"),
        (("build", "--host", "unix:///x", "debian-minimal"), "the engine auto is not told where"),
    ],
)
def test_what_does_not_go_together_is_refused(
    arguments: tuple[str, ...], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "images.yaml"
    file.write_text("images: {server: {elements: [debian-minimal]}}\n")
    assert main([word.replace("FILE", str(file)) for word in arguments]) == 2
    assert named in capsys.readouterr().err
