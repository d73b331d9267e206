"""What a Containerfile is made of, when its result counts as old, and which image an element brings."""

from __future__ import annotations

from pathlib import Path

import pytest

from blockdev.core.errors import BuildError, UsageError
from builder.base_image import build_context, choose, recipe
from builder.base_image.containerfile import StageImage, instructions, read
from builder.base_image.fetch import Base
from builder.base_image.inspect import BaseImageInfo
from builder.request.elements import resolve_elements
from builder.request.options import BuildOptions
from stages.element.resolve import BUILTIN, Element, find_elements

TEXT = """# syntax=whatever
# escape=\\
ARG VERSION=1
ARG NAME=host.invalid/base
FROM --platform=$BUILDPLATFORM host.invalid/tools:${VERSION} AS tools
RUN echo FROM nowhere && \\
    # a comment
    echo more
RUN <<END
FROM host.invalid/not-an-image
END
FROM $NAME:${OTHER:-latest} as last
COPY --from=tools /a /b
COPY --from=0 /a /c
COPY --from=host.invalid/third:2 /d /d
RUN --mount=type=cache,target=/x --mount=type=bind,from=host.invalid/fourth,target=/y true
FROM last
"""


def test_the_images_are_those_that_come_from_elsewhere() -> None:
    names = [(image.name, image.platform) for image in read(TEXT, {}).images]
    assert names == [
        ("host.invalid/tools:1", "$BUILDPLATFORM"),
        ("host.invalid/base:latest", ""),
        ("host.invalid/third:2", ""),
        ("host.invalid/fourth", ""),
    ]
    assert [image.name for image in read(TEXT, {"VERSION": "7", "NAME": "x"}).images[:2]] == [
        "host.invalid/tools:7",
        "x:latest",
    ]
    assert read(TEXT, {}, "other:3").images[0].name == "other:3"


def test_pinned_text_differs_in_nothing_but_its_images() -> None:
    found = read(TEXT, {})
    pinned = found.pinned({image: f"pinned-{number}" for number, image in enumerate(found.images)})
    changed = [(old, new) for old, new in zip(TEXT.splitlines(), pinned.splitlines(), strict=True) if old != new]
    assert [new for _, new in changed] == [
        "FROM pinned-0 AS tools",
        "FROM pinned-1 as last",
        "COPY --from=pinned-2 /d /d",
        "RUN --mount=type=cache,target=/x --mount=type=bind,from=pinned-3,target=/y true",
    ]
    again = read(pinned, {})
    assert [image.name for image in again.images] == ["pinned-0", "pinned-1", "pinned-2", "pinned-3"]


def test_scratch_and_windows_ways_of_going_on() -> None:
    text = "# escape=`\nFROM scratch\nCOPY a `\n  b /c\n"
    assert [(each.name, each.text.split()) for each in instructions(text)] == [
        ("FROM", ["scratch"]),
        ("COPY", ["a", "b", "/c"]),
    ]
    assert read(text, {}).images == ()


@pytest.mark.parametrize(
    ("line", "sources"),
    [
        ("RUN true", ()),
        ("COPY one ./two/ /there/", ("one", "two")),
        ('ADD ["with space", "/etc/"]', ("with space",)),
        ("ADD https://host.invalid/x /x", ()),
        ("COPY --chown=1:1 --from=stage x /x", ()),
        ("COPY <<END /etc/x\nthis\nEND", ()),
        ("COPY . /all", None),
        ("COPY $ANY /any", None),
        ("COPY ../up /up", None),
        ("RUN --mount=type=bind,target=/src make", None),
        ("RUN --mount=target=/src make", None),
        ("RUN --mount=type=cache,target=/cache make", ()),
    ],
)
def test_what_is_taken_of_the_context(line: str, sources: tuple[str, ...] | None) -> None:
    assert read(f"FROM a AS stage\n{line}\n", {}).sources == sources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path in ("one", "two/a", "two/b/c", "other", "two/left-out"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    (tmp_path / "link").symlink_to("one")
    (tmp_path / ".containerignore").write_text("# a comment\ntwo/left*\n")
    (tmp_path / "Containerfile").write_text("FROM a\nCOPY one t*o /x/\n")
    return tmp_path


def test_the_context_is_what_counts_and_nothing_else(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = folder / "Containerfile"
    found = build_context.read(folder, ("one", "t*o", "link"), file)
    assert found.paths == ("link", "one", "two", "two/a", "two/b", "two/b/c")
    (folder / "other").write_text("changed")
    (folder / "two/left-out").write_text("changed")
    assert build_context.read(folder, ("one", "t*o", "link"), file).digest == found.digest
    target = tmp_path_factory.mktemp("copy") / "context"
    found.copy(target)
    assert build_context.read(target, None, file).digest == found.digest
    (folder / "two/b/c").chmod(0o755)
    assert build_context.read(folder, ("one", "t*o", "link"), file).digest != found.digest
    (folder / "Containerfile.dockerignore").write_text("*\n")
    assert build_context.read(folder, None, file).paths == ()


def test_the_result_hangs_on_all_that_goes_in(folder: Path) -> None:
    variables = {"DIB_CONTAINERFILE_RUNTIME": ""}
    digests = {StageImage("a"): "sha256:1"}

    def key(arch: str = "amd64", **more: str) -> str:
        return recipe.read(folder, {**variables, **more}).key(digests, arch)

    try:
        first = key()
    except BuildError as error:
        pytest.skip(error.what)
    assert key() == first
    keys = {first, key("arm64"), key(DIB_CONTAINERFILE_BUILDOPTS="--build-arg=A=1")}
    keys.add(key(DIB_CONTAINERFILE_NETWORK_DRIVER="none"))
    digests = {StageImage("a"): "sha256:2"}
    keys.add(key())
    (folder / "one").write_text("changed")
    keys.add(key())
    (folder / "Containerfile").write_text("FROM a\nCOPY one t*o /y/\n")
    keys.add(key())
    assert len(keys) == 7


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"DIB_CONTAINERFILE_RUNTIME": "buildah"}, "'buildah' builds no Containerfiles here"),
        ({"DIB_CONTAINERFILE_BUILDOPTS": "'open"}, "is no command line"),
        ({"DIB_CONTAINER_CONTEXT": "/nowhere"}, "there is no folder /nowhere"),
    ],
)
def test_bad_settings_are_refused(folder: Path, variables: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        recipe.read(folder, variables)


def test_a_folder_without_a_containerfile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no Containerfile and no Dockerfile"):
        recipe.file_of(tmp_path)
    (tmp_path / "Dockerfile").write_text("FROM a\n")
    assert recipe.file_of(tmp_path) == tmp_path / "Dockerfile"


@pytest.mark.parametrize(
    ("system", "release", "registry", "image"),
    [
        ("debian", "trixie", "", "debian:trixie"),
        ("fedora", "rawhide", "host.invalid:5000/mirror/", "host.invalid:5000/mirror/fedora:rawhide"),
        ("centos", "10-stream", "host.invalid", "host.invalid/centos/centos:stream10"),
        ("opensuse", "16.0", "", "opensuse/leap:16.0"),
        ("opensuse", "tumbleweed", "", "opensuse/tumbleweed:latest"),
        ("rocky", "9.6", "", "rockylinux/rockylinux:9.6"),
        ("alpine", "v3.23", "", "alpine:3.23"),
    ],
)
def test_the_image_of_a_release(system: str, release: str, registry: str, image: str) -> None:
    text = (BUILTIN / f"{system}-container/container-image").read_text()
    assert choose.image_of(text, release, registry) == image


def test_an_image_that_is_not_known_is_told() -> None:
    with pytest.raises(UsageError, match="is in a registry of its own"):
        choose.image_of("* REGISTRY/centos/centos:stream{number}\n", "9-stream", "")
    with pytest.raises(UsageError, match="no image of the release '2026/01/01' is known"):
        choose.image_of("rolling archlinux:latest\n", "2026/01/01", "")


def _elements(*names: str) -> tuple[Element, ...]:
    universe = find_elements([BUILTIN])
    return tuple(universe[name] for name in names)


def test_what_elements_bring_is_taken_in_order(tmp_path: Path) -> None:
    own = Element("own", tmp_path)
    (tmp_path / "containerfiles").mkdir()
    (tmp_path / "containerfiles/44").write_text("FROM a\n")
    elements = (own, *_elements("containerfile", "fedora-container"))
    assert choose.of_elements(elements, {})[0] == f"containerfile:{tmp_path}/containerfiles/44"
    assert choose.of_elements(elements, {"DIB_RELEASE": "45"})[0] == "fedora:45"
    assert choose.of_elements(elements, {"DIB_CONTAINER_IMAGE": "b"})[0] == "b"
    given = {"DIB_CONTAINER_IMAGE": "b", "DIB_CONTAINERFILE_DOCKERFILE": "/c"}
    assert choose.of_elements(elements, given)[0] == "containerfile:/c"
    assert choose.of_elements(_elements("alpine-container"), {})[0] == "alpine:3.23"
    (tmp_path / "containerfiles/default").write_text("ARG IMAGE\nFROM $IMAGE\n")
    (tmp_path / "containerfiles/44").unlink()
    (tmp_path / "container-image").write_text("* fedora:{release}\n")
    text, settings = choose.of_elements((*_elements("containerfile"), own), {"DIB_RELEASE": "44"})
    assert text.endswith("containerfiles/default")
    assert settings["DIB_CONTAINERFILE_BUILDOPTS"].strip() == "--build-arg=IMAGE=fedora:44"
    with pytest.raises(UsageError, match="no element has an image or a Containerfile"):
        choose.of_elements(_elements("containerfile"), {})


def test_a_containerfile_element_that_calls_an_engine_is_stood_in_for(tmp_path: Path) -> None:
    (tmp_path / "containerfile/root.d").mkdir(parents=True)
    (tmp_path / "containerfile/root.d/08-containerfile").write_text("#!/bin/bash\npodman build .\n")
    (tmp_path / "containerfile/element-provides").write_text("operating-system\n")
    found, _, notes = resolve_elements(BuildOptions(("containerfile",), elements_path=str(tmp_path)), {})
    assert found.operating_system.name == "base-image"
    assert any("no container engine is in a build container" in note for note in notes)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("containerfile:/srv/web/Containerfile", "web"),
        ("containerfile:/srv/web/Dockerfile", "web"),
        ("containerfile:/srv/web/api", "api"),
        ("containerfile:web/43", "43"),
    ],
)
def test_the_name_of_what_a_containerfile_gives(name: str, title: str) -> None:
    found = Base(name, "0" * 64, Path("/nowhere"), "1" * 64, BaseImageInfo("", "", "", ""))
    assert (found.title, found.pinned) == (title, f"containerfile:{Path(name).name}")
