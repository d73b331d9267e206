"""The option table: what each front door has of it, why one leaves an option out, and values there and back."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from blockdev.core.errors import UsageError
from builder.cli import cli
from builder.frontends.dib import arguments
from builder.frontends.images_file import schema
from builder.request.option_table import BY_NAME, OPTIONS, of_command
from builder.request.option_table.option import Doors, InMap, Input, Key, Kind, No, Option
from builder.request.option_values import from_environment, options_of, shell_command, value_of, words
from builder.request.options import BuildOptions
from stages.redaction.redaction import Redaction

CHECKOUT = Path(__file__).parents[4]
DOORS = tuple(field.name for field in fields(Doors))
COMMANDS = ("build", "plan", "shell")
NAMES = [option.name for option in OPTIONS]


def command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def flags_of(name: str) -> list[tuple[str, ...]]:
    return [tuple(each.opts) for each in command(name).params if isinstance(each, click.Option)]


def named(door: str) -> dict[str, Any]:
    """What a door calls the options that it has, by their names."""
    found = {option.name: getattr(option.doors, door) for option in OPTIONS}
    return {name: way for name, way in found.items() if not isinstance(way, No)}


@pytest.mark.parametrize("door", DOORS)
def test_a_door_has_an_option_or_says_why_not(door: str) -> None:
    for option in OPTIONS:
        way = getattr(option.doors, door)
        assert len(way.why.split()) >= 3 if isinstance(way, No) else way, f"{option.name} at {door}"


def test_no_name_flag_or_place_stands_twice() -> None:
    flags = [flag for option in OPTIONS for flag in option.flags]
    assert len(set(NAMES)) == len(NAMES)
    assert len(set(flags)) == len(flags)
    twice = {
        option.field_name for option in OPTIONS if [each.field_name for each in OPTIONS].count(option.field_name) > 1
    }
    assert twice == {"slim", "shown.progress"}  # --slim, --no-slim; --progress, --quiet


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_its_rows_and_nothing_else(name: str) -> None:
    assert flags_of(name) == [option.flags for option in of_command(name)]
    assert set(named(name)) == {option.name for option in of_command(name)}


def test_each_option_is_an_option_of_some_command() -> None:
    assert {option.name for name in COMMANDS for option in of_command(name)} == set(NAMES)


def test_keys_of_an_images_file_are_options_or_its_own() -> None:
    keys = {key.name or BY_NAME[name].long[2:] for name, key in named("images_file").items() if isinstance(key, Key)}
    own = {"extends", "abstract", "matrix", "elements", "disk", "retries", "needs"}
    assert set(schema.IMAGE) == keys | own
    in_disk = {BY_NAME[name].long[2:] for name, key in named("images_file").items() if key == InMap("disk")}
    assert set(schema.IMAGE["disk"].keys) == in_disk


def test_inputs_of_the_action_are_options_or_its_own() -> None:
    inputs = {name for door in named("action").values() if isinstance(door, Input) for name in door.names}
    action = yaml.safe_load((CHECKOUT / "action.yml").read_text(encoding="utf-8"))
    own = {"elements", "images", "arguments", "summary", "working_directory", "registry", "username", "password"}
    own |= {"attest", "upload", "retention_days", "page"}
    assert {name.replace("-", "_") for name in action["inputs"]} == inputs | own


def test_options_of_disk_image_create_are_options_or_its_own() -> None:
    """What it says by a variable is no option of its command line."""
    told = {word for way in named("dib").values() for word in str(way).split() if word.startswith("-")}
    short = {f"-{letter}" for letter in arguments._SHORT if letter != ":"}
    known = short | {f"--{name}" for name in (*arguments.VALUES, *arguments._FLAGS)}
    of_diskimage_builder = {"--jobs", "--stop-on-failure"}
    assert told - known == of_diskimage_builder
    own = {"-h", "-x", "-u", "-c", "-n", "--help", "--version", "--checksum", "--no-tmpfs", "--min-tmpfs"}
    own |= {"--image-cache", "--qemu-img-options", "--ramdisk-element", "--install-type", "--docker-target"}
    assert known - told == own
    assert of_diskimage_builder <= {flag for flags in flags_of("diskimage-builder") for flag in flags}


def test_options_of_k8s_are_options_or_its_own() -> None:
    told = set(named("kubernetes").values())
    own = {"--file", "--image", "--claim", "--store", "--secret", "--namespace", "--set-name", "--disk", "--output"}
    assert {flags[-1] for flags in flags_of("k8s")} == told | own | {"--debug"}


def test_a_shell_takes_what_hints_name() -> None:
    hints = named("hint")
    assert len(set(hints.values())) == len(hints)
    assert set(hints) <= set(named("shell"))


def test_what_means_nothing_without_a_file_goes_with_one() -> None:
    assert {option.name for option in OPTIONS if option.only_beside_file} <= set(named("beside_file"))


def test_every_option_is_in_the_documentation() -> None:
    pages = [CHECKOUT / "README.md", *(CHECKOUT / "docs").glob("**/*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    written = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text))
    plain = {"--debug", "--log", "--break", "--break-command", "--break-outside"}  # their help says all there is
    assert {option.long for option in OPTIONS if not written & set(option.flags)} <= plain


# -- values there and back ---------------------------------------------------------------------------


def sample(option: Option, folder: Path) -> Any:
    if option.kind is Kind.FLAG:
        return True
    if option.kind is Kind.NUMBER:
        return 3
    if option.kind is Kind.CHOICE:
        return option.choices[-1]
    if option.kind is Kind.OWN_FILE:
        (folder / "file").touch()
        return folder / "file"
    text = Path("some/place") if option.kind in (Kind.PATH, Kind.FILE, Kind.FOLDER) else "A=some text"
    return (text, f"{text}s") if option.multiple and isinstance(text, str) else (text,) if option.multiple else text


def parsed(name: str, arguments: list[str]) -> BuildOptions:
    return options_of(command(name).make_context(name, list(arguments)).params)


@pytest.mark.parametrize("option", of_command("build"), ids=lambda option: option.name)
def test_what_another_process_is_told_is_what_was_asked(option: Option, tmp_path: Path) -> None:
    options = options_of({"elements": ("one", "two"), option.name: sample(option, tmp_path)})
    assert value_of(option, options) != value_of(option, BuildOptions())
    assert words(options)
    assert parsed("build", [*words(options), "--", *options.elements]) == options


def test_nothing_said_is_nothing_told() -> None:
    assert options_of({}) == BuildOptions()
    assert words(BuildOptions(("a",))) == []
    assert parsed("build", ["a"]) == BuildOptions(("a",))


def test_a_hint_opens_a_shell_with_the_same_request(tmp_path: Path) -> None:
    values = {name: sample(BY_NAME[name], tmp_path) for name in named("hint")}
    options = options_of({"elements": ("one", "two"), **values})
    hint = shell_command(options)
    assert hint[:2] == ["dib-ctr", "shell"]
    assert parsed("shell", hint[2:]) == options


def test_a_hint_names_a_secret_and_does_not_tell_it() -> None:
    options = BuildOptions(("a",), settings=("DIB_TOKEN=hush-hush", "DIB_B=c"), secrets=("DIB_OTHER",))
    redaction = Redaction.of({"DIB_TOKEN": "hush-hush"}, ["DIB_TOKEN"])
    assert shell_command(options, redaction)[2:] == [
        *("--set", "DIB_B=c", "--secret", "DIB_OTHER", "--secret", "DIB_TOKEN", "a"),
    ]


def test_options_that_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="--slim and --no-slim exclude each other"):
        options_of({"slim": "auto", "no_slim": True})


def test_variables_say_options() -> None:
    assert from_environment({"DIB_CTR_ENGINE": "host", "OTHER": "x"}) == {"engine": "host"}
    with pytest.raises(UsageError, match="'docked' is not one of 'auto', 'podman'"):
        from_environment({"DIB_CTR_ENGINE": "docked"})
