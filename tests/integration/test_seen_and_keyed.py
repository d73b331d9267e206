"""Two stages with one key see the same: builds in worlds that differ at random, each script telling all it sees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from stages.element.environment import SERVICES
from tests.examples import examples
from tests.integration.command import ELEMENTS, Command, script, write_element

# Not by `env`, which is a way of asking for everything: what is there without being asked for must be covered as well.
TELL = (
    "shopt -s globstar nullglob dotglob",
    'tell() { printf "SEEN %s\\n" "$*"; }',
    "files() {",
    '    for each in "$@"; do',
    '        if [ -f "$each" ]; then tell "$each $(stat -c %a "$each") $(sha256sum < "$each")"; fi',
    "    done",
    "}",
    'while IFS= read -r -d "" each; do tell "variable ${each//$\'\\n\'/ }"; done < /proc/self/environ',
    'files "$TMP_HOOKS_PATH"/** /run/dib-ctr.build/cwd/** /tmp/**',
    'tell "network $(grep -c : /proc/net/dev) $(grep -c . /proc/net/route)"',
    'if [ -n "${DIB_PATH:-}" ] && [ -e "$DIB_PATH" ]; then tell "given $(cat "$DIB_PATH")"; fi',
)
SCRIPTS = {
    "extra-data.d/50-plain": script(*TELL),
    "extra-data.d/60-given": script("# DIB_PATH leads to a file", *TELL),
    "extra-data.d/70-net": script("# curl", *TELL),
    "install.d/50-plain": script(*TELL),
    "install.d/55-named": script("# DIB_ONE, http_proxy and DIB_OFFLINE", *TELL),
    "install.d/60-net": script("# curl", *TELL),
    "install.d/65-net-named": script("# curl, http_proxy, DIB_MIRROR_TIMEOUT, DIB_OFFLINE", *TELL),
    "install.d/70-prefix": script("# DIB_${name}", *TELL),
    "install.d/80-all": script("# curl", "env > /dev/null", *TELL),
    "install.d/90-shared": script("# static/shared and helper", *TELL),
}
WORLDS = st.fixed_dictionaries(
    {
        "DIB_ONE": st.sampled_from(["", "1", "2"]),
        "DIB_TWO": st.sampled_from(["", "1"]),
        "http_proxy": st.sampled_from(["", "http://proxy:1"]),
        "DIB_MIRROR_TIMEOUT": st.sampled_from(["", "7"]),
        "offline": st.booleans(),
        "own file": st.sampled_from(["", "one", "two"]),
        "shared file": st.sampled_from(["one", "two"]),
        "command": st.sampled_from(["one", "two"]),
        "given": st.sampled_from(["one", "two"]),
        "name": st.sampled_from(["image", "other"]),
    }
)


@dataclass
class Seen:
    """What every stage that ran has seen, by its key."""

    place: Path
    by_key: dict[str, frozenset[str]] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    compared: int = 0

    def build(self, world: dict[str, str | bool]) -> None:
        """Build in a world, and compare each stage with another one of its key that ran in another world."""
        elements, given_file = self.place / "elements", self.place / "given"
        given_file.write_text(f"{world['given']}\n")
        own = {"probe.data": f"{world['own file']}\n"} if world["own file"] else {}
        (elements / "probe/probe.data").unlink(missing_ok=True)
        write_element(elements, "probe", {**SCRIPTS, **own})
        shared = {"static/shared": f"{world['shared file']}\n"}
        write_element(elements, "other", {**shared, "bin/helper": script(f"echo {world['command']}")})
        variables = {
            name: str(world[name]) for name in ("DIB_ONE", "DIB_TWO", "DIB_MIRROR_TIMEOUT", "http_proxy") if world[name]
        }
        command = Command("host", self.place / "store", self.place / "out", (elements, ELEMENTS))
        options = ["--offline"] if world["offline"] else []
        outcome = command.build(
            *("--no-cache", *options, "-o", "tar", "--name", str(world["name"]), "tiny-os", "probe", "other"),
            variables={**variables, "DIB_PATH": str(given_file)},
        )
        keys = {
            stage["number"]: stage for event in outcome.events if event["type"] == "plan" for stage in event["stages"]
        }
        seen: dict[int, set[str]] = {number: set() for number in keys}
        for event in outcome.events:
            if event["type"] == "log" and event["text"].startswith("SEEN "):
                seen[event["number"]].add(event["text"])
        for number, stage in keys.items():
            if stage["element"] == "probe":
                self.compare(stage["key"], stage["script"], frozenset(seen[number]))

    def compare(self, key: str, title: str, seen: frozenset[str]) -> None:
        """A service that a stage has for its downloaders, and does not name, is all that may differ."""
        assert seen, f"{title} told nothing"
        if "named" not in title and "all" not in title:
            seen = frozenset(
                line for line in seen if not line.startswith(tuple(f"SEEN variable {name}=" for name in SERVICES))
            )
        before = self.by_key.setdefault(key, seen)
        self.compared += before is not seen
        assert before == seen, (
            f"{title} sees another world under one key: {json.dumps(sorted(before ^ seen), indent=1)}"
        )


@pytest.fixture
def seen(place: Path) -> Iterator[Seen]:
    yield Seen(place)


@pytest.mark.thorough("many builds of one key: half a minute")
def test_two_stages_with_one_key_see_the_same(seen: Seen) -> None:
    base: dict[str, str | bool] = {
        "DIB_ONE": "",
        "DIB_TWO": "",
        "http_proxy": "",
        "DIB_MIRROR_TIMEOUT": "",
        "offline": False,
        "own file": "",
        "shared file": "one",
        "command": "one",
        "given": "one",
        "name": "image",
    }
    seen.build(base)
    seen.build({**base, "DIB_TWO": "1"})
    seen.build({**base, "http_proxy": "http://proxy:1", "DIB_MIRROR_TIMEOUT": "7"})
    seen.build({**base, "offline": True})

    @settings(
        max_examples=examples(6),
        phases=[Phase.generate],
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(WORLDS)
    def in_a_world(world: dict[str, str | bool]) -> None:
        seen.build(world)

    in_a_world()
    assert seen.compared > len(SCRIPTS), "worlds that have no key in common compare nothing"


def test_a_stage_that_ran_without_its_network_is_no_hit_for_a_build_that_has_one(place: Path) -> None:
    """Nor is anything on top of it; what has run with a network serves both."""
    net = script("# curl", "grep -c : /proc/net/dev > /etc/links", "echo $DIB_OFFLINE > /etc/offline")
    write_element(place / "elements", "net", {"install.d/50-net": net, "install.d/60-after": script("true")})
    command = Command("host", place / "store", place / "out", (place / "elements", ELEMENTS))
    what = ("-o", "tar", "tiny-os", "net")
    first = command.build("--offline", *what)
    online = command.build(*what)
    assert {"50-net", "60-after"} <= set(online.titles("start"))
    assert "10-copy-shell" in online.titles("hit")
    assert online.digest("tar") != first.digest("tar")
    again = command.build("--offline", *what)
    assert again.titles("start") == []
    assert again.digest("tar") == online.digest("tar")
    write_element(place / "elements", "net", {"install.d/40-before": script("true")})
    cut = command.build("--offline", *what)
    assert cut.digest("tar") == first.digest("tar")
    assert command.build("--offline", *what).titles("start") == [], "an offline build finds what one before it made"
