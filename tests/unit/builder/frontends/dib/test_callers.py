"""What scripts around disk-image-create pass it: empty words, lists in one word, variables instead of options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from blockdev.core.errors import BuildError, UsageError
from blockdev.core.yaml_document import read
from builder.frontends.dib import image_lists
from builder.frontends.dib.arguments import VALUES, parse
from builder.frontends.dib.remarks import remarks
from builder.frontends.dib.translate import Translation, translate


def told(*argv: str, **environment: str) -> Translation:
    return translate(parse("disk-image-create", argv), argv, environment, "amd64", Path("/scratch"), ramdisk=False)


def ramdisk(*argv: str, **environment: str) -> Translation:
    return translate(parse("ramdisk-image-create", argv), argv, environment, "amd64", Path("/scratch"), ramdisk=True)


def elements(*argv: str, **environment: str) -> str:
    return " ".join(told(*argv, **environment).options.elements)


def name(*argv: str, **environment: str) -> str:
    return told(*argv, **environment).options.name


def test_empty_words_and_several_elements_in_one() -> None:
    assert elements("", "", "-n", "-t", "raw", "", "os vm  block-device-gpt\n") == "os vm block-device-gpt"
    with pytest.raises(BuildError, match="no element is named"):
        elements("", " ")


def test_variables_that_are_as_good_as_options() -> None:
    assert elements("os", SKIP_BASE="1") == "os"
    assert elements("os", SKIP_BASE="yes") == "base os"
    assert elements("os", IMAGE_ELEMENT="vm other") == "base vm other os block-device-mbr"
    assert "IMAGE_ELEMENT adds elements, as in diskimage-builder: other" in told("os", IMAGE_ELEMENT="other").notes
    assert name("os", IMAGE_NAME="x.qcow2") == "x"
    assert told("os", ARCH="arm64").options.arch == "arm64"


def test_an_empty_option_sets_the_variable_aside() -> None:
    assert name("-o", "", "os", IMAGE_NAME="x") == "image"
    assert told("-a", "", "os", ARCH="arm64").options.arch == "amd64"
    assert "qemu." not in told("--qemu-img-options", "", "os", QEMU_IMG_OPTIONS="compat=1.1").options.outputs[0]
    assert told("--image-size", "", "os", DIB_IMAGE_SIZE="5").variables["DIB_IMAGE_SIZE"] == ""
    asked = ramdisk("--ramdisk-element", "", "os", RAMDISK_ELEMENT="dracut-ramdisk")
    assert asked.options.elements == ("ramdisk", "base", "os")
    assert ramdisk("os", RAMDISK_ELEMENT="one two").options.elements[:2] == ("one", "two")


@pytest.mark.parametrize(
    ("argv", "environment", "named"),
    [
        (("--no-tmpfs",), {}, "--no-tmpfs changes"),
        ((), {"DIB_MIN_TMPFS": "5"}, "DIB_MIN_TMPFS changes"),
        (("--image-cache", "/c"), {"DIB_LOCKFILES": "/l"}, "--image-cache and DIB_LOCKFILES change "),
        ((), {"DIB_IMAGE_CACHE": "/c"}, "DIB_IMAGE_CACHE changes"),
        ((), {"TMP_DIR": "/big"}, "TMP_DIR changes"),
        (("-t", "tgz"), {"DIB_GZIP_BIN": "pigz"}, "DIB_GZIP_BIN changes"),
        ((), {"DIB_SHOW_IMAGE_USAGE": "1"}, "DIB_SHOW_IMAGE_USAGE: no report"),
        (
            (),
            {"DIB_SHOW_IMAGE_USAGE": "1", "DIB_SHOW_IMAGE_USAGE_FULL": "1"},
            "and DIB_SHOW_IMAGE_USAGE_FULL: no report",
        ),
        ((), {"DIB_PYTHON_EXEC": "/venv/bin/python"}, "DIB_PYTHON_EXEC changes"),
        ((), {"EXTRA_UNMOUNT": "umount x"}, "EXTRA_UNMOUNT changes"),
        ((), {"break": "before-block-device,after-root"}, "break=before-block-device stops nowhere"),
    ],
)
def test_what_has_no_effect_is_told(argv: tuple[str, ...], environment: dict[str, str], named: str) -> None:
    assert any(named in note for note in told(*argv, "os", **environment).notes)


def test_nothing_is_told_of_what_is_not_there() -> None:
    quiet = {"DIB_SHOW_IMAGE_USAGE": "0", "DIB_GZIP_BIN": "pigz", "DIB_IMAGE_CACHE": "", "break": ","}
    assert list(remarks(parse("c", ["os"]), quiet, ("qcow2",))) == []
    assert list(remarks(parse("c", ["os"]), {"DIB_GZIP_BIN": "gzip"}, ("tgz",))) == []


def test_scripts_get_a_python_that_is_there() -> None:
    assert told("os", DIB_PYTHON_EXEC="/venv/bin/python").variables["DIB_PYTHON_EXEC"] == "/usr/bin/python3"
    assert "DIB_PYTHON_EXEC" not in told("os").variables


# -- files of images -------------------------------------------------------------------------------------------------


def images(tmp_path: Path, text: str) -> list[image_lists.Image]:
    file = tmp_path / "images.yaml"
    file.write_text(text)
    return image_lists.read([file])


def test_a_name_that_nobody_gives(tmp_path: Path) -> None:
    (one,) = images(tmp_path, "- elements: [os]\n  environment: {IMAGE_NAME: other}\n- elements: [vm]\n")
    assert (one.name, one.arguments) == ("image", ("os", "vm"))
    (empty,) = images(tmp_path, "- imagename: ''\n  elements: [os]\n")
    assert (empty.name, empty.arguments) == ("image", ("os",))


def test_an_empty_text_is_no_option(tmp_path: Path) -> None:
    texts = [key for key, kind in image_lists.KINDS.items() if kind == "a text" and key in VALUES]
    texts.remove("install-type")
    lines = "".join(f"  {key}: ''\n" for key in texts)
    (one,) = images(tmp_path, f"- imagename: a\n  elements: [os]\n  packages: []\n  qemu-img-options: {{}}\n{lines}")
    assert one.arguments == ("-o", "a", "os")


def test_options_for_qemu_img_as_one_text(tmp_path: Path) -> None:
    (one,) = images(tmp_path, "- elements: [os]\n  qemu-img-options: compat=0.10\n")
    assert one.arguments == ("--qemu-img-options", "compat=0.10", "os")


def test_merge_keys_and_anchors(tmp_path: Path) -> None:
    text = """
- imagename: one
  elements: &els [os, info]
  environment: &env {A: a, B: b}
- &two
  imagename: two
  elements: *els
  environment: {<<: *env, B: own}
- <<: *two
  imagename: three
"""
    one, two, three = images(tmp_path, text)
    assert (two.arguments[2:], dict(two.environment)) == (("os", "info"), {"A": "a", "B": "own"})
    assert three.arguments == ("-o", "three", "os", "info")
    assert one.environment == {"A": "a", "B": "b"}
    with pytest.raises(UsageError, match="<< takes a map") as caught:
        images(tmp_path, "- imagename: one\n  <<: nothing\n")
    assert str(caught.value.where).endswith("images.yaml:2")


KEYS = st.sampled_from("abcd")
MAPS = st.dictionaries(KEYS, st.integers(0, 9).map(str), max_size=3)


@given(MAPS, MAPS, MAPS, st.sampled_from(["*x", "[*x]", "[*x, *y]", "[*y, *x]"]), st.booleans())
def test_merge_keys_mean_what_yaml_says(
    first: dict[str, str], second: dict[str, str], own: dict[str, str], merged: str, texts: bool
) -> None:
    """A map's own keys go first, then those of the earlier map of a list (https://yaml.org/type/merge.html)."""

    def flow(values: dict[str, Any]) -> str:
        return yaml.safe_dump(values, default_flow_style=True, width=999).strip()

    lines = [f"x: &x {flow(first)}", f"y: &y {flow(second)}", "z:", f"  <<: {merged}"]
    lines += [f"  {key}: {value!r}" for key, value in own.items()]
    by_place = {"*x": [first], "[*x]": [first], "[*x, *y]": [first, second], "[*y, *x]": [second, first]}[merged]
    expected: dict[str, str] = {}
    for each in (*reversed(by_place), own):
        expected.update(each)
    assert read("\n".join(lines), "f", texts=texts).data["z"] == expected


def test_merge_keys_in_a_block_device_configuration() -> None:
    from blockdev.configuration.read import read as read_configuration
    from blockdev.layout.options import Options
    from blockdev.layout.plan import plan

    text = """
- local_loop: {name: image0, size: 1GiB}
- partitioning:
    base: image0
    label: gpt
    partitions:
    - &part {name: one, size: 100MiB, type: '8309'}
    - {<<: *part, name: two}
    - {<<: *part, name: root, size: 100%, type: '8300', mkfs: {type: ext4, mount: {mount_point: /}}}
"""
    slots = plan(read_configuration(text, "f.yaml"), Options(), 0).disks[0].slots
    assert [(slot.name, slot.type[:4]) for slot in slots] == [("one", "CA7D"), ("two", "CA7D"), ("root", "0FC6")]
    assert slots[0].length == slots[1].length == 100 << 20
