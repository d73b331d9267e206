"""A name that an image cannot have is refused before the build."""

from __future__ import annotations

from pathlib import Path

import pytest

from blockdev.core.errors import BuildError, UsageError
from builder.frontends.dib.arguments import parse
from builder.frontends.dib.translate import translate
from builder.request.image_names import is_image_name
from builder.request.options import BuildOptions
from builder.request.prepare import prepare

GOOD = ["v1.0", "latest", "_a", "1", "A" * 128, "x:1", "h.example.org:5000/a/b", "UPPER/x:1", "a/b-c_d:V2"]
BAD = ["A B", "-x", "x:@", "a/b:", "x:1:2", "name:tag!", "a" * 129, "a//b:1", "/a:1", "x:-1", "ä"]


@pytest.mark.parametrize("text", GOOD)
def test_names_and_tags(text: str) -> None:
    assert is_image_name(text)


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"])
@pytest.mark.parametrize("text", BAD)
def test_refused_before_the_build(text: str, kind: str) -> None:
    options = BuildOptions(("debian-minimal",), name="x", outputs=(f"{kind},tag={text}",), destination=Path("/tmp"))
    with pytest.raises(UsageError, match=f"cannot be the tag of the output {kind}"):
        prepare("build", options, {})


@pytest.mark.parametrize("text", [text for text in BAD if ":" in text or "/" in text or " " in text])
def test_a_docker_target_that_cannot_be(text: str) -> None:
    argv = ("-t", "docker", "--docker-target", text, "os")
    with pytest.raises(BuildError, match="--docker-target is") as refused:
        translate(parse("c", argv), argv, {}, "amd64", Path("/scratch"), ramdisk=False)
    assert refused.value.exit_status == 1


@pytest.mark.parametrize(("output", "load"), [("docker-archive", False), ("oci", True)])
def test_a_name_that_no_engine_takes(output: str, load: bool) -> None:
    options = BuildOptions(("debian-minimal",), name="x-", outputs=(output,), destination=Path("/tmp"), load=load)
    with pytest.raises(UsageError, match="'x-:latest' cannot be the name of an image"):
        prepare("build", options, {})
