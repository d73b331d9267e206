"""What the build container tells arrives at the host as it was, and nothing else is taken for it."""

from __future__ import annotations

import json
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdev.core.errors import BuildError
from blockdev.core.typed_json import Reader, Struct, reader
from builder.remote_cache.index import IndexEntry
from builder.remote_cache.upload import entry_of
from stages.protocol import emit as emitting
from stages.protocol import events
from stages.protocol.events import KINDS, CacheEntry, Event, parse

KEY = "a" * 64
DIGEST = f"sha256:{KEY}"

# Among these each field of a text finds some that its reader takes.
TEXTS = [
    *("", "x", "50-name", "inside", "outside", "error", "before", "tar", "raw", "files", "tree", "cwd", "1-1-aa"),
    *("AAAA", "0123abcd", KEY, KEY[:32], KEY[:10], DIGEST, "/store/outputs/x", "a line", "no", "r\u00e4t \U0001f980"),
]
ANY = st.recursive(st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=5), lambda each: st.lists(each))


def values(of: Any) -> st.SearchStrategy[Any]:
    """What a field of this type may hold, as the container would make it."""
    if typing.get_origin(of) is typing.Annotated:
        return _values(typing.get_args(of)[0], lambda value: takes(reader(of), value))
    return _values(of, lambda _: True)


def _values(of: Any, may_be: Callable[[Any], bool]) -> st.SearchStrategy[Any]:
    arguments = typing.get_args(of)
    if of is str:
        return st.sampled_from([text for text in TEXTS if may_be(text)])
    if typing.get_origin(of) is Sequence:
        each = arguments[0]
        return st.lists(structs(each) if each is not str else _values(str, lambda text: may_be([text])), max_size=3)
    if isinstance(of, type) and issubclass(of, Struct):
        return structs(of)
    if of is bool:
        return st.booleans()
    if of in (int, float):
        return st.integers(0, 9).filter(may_be)
    return st.dictionaries(st.sampled_from(TEXTS), st.sampled_from(TEXTS), max_size=3).filter(may_be) | ANY.filter(
        may_be
    )


def takes(read: Reader, value: Any) -> bool:
    try:
        read(value)
    except ValueError:
        return False
    return True


def fields(of: type[Struct]) -> dict[str, Any]:
    hints = typing.get_type_hints(of, include_extras=True)
    return {name: hint for name, hint in hints.items() if typing.get_origin(hint) is not ClassVar}


@st.composite
def structs(draw: st.DrawFn, of: type[Struct]) -> Struct:
    """A value of this class; fields with a default lack now and then."""
    return of(
        **{
            name: draw(values(hint))
            for name, hint in fields(of).items()
            if not hasattr(of, name) or draw(st.booleans())
        }
    )


EVENTS = st.sampled_from(sorted(KINDS.values(), key=lambda kind: kind.kind)).flatmap(structs)


@given(EVENTS)
def test_what_is_emitted_is_what_the_host_takes(event: Struct) -> None:
    assert isinstance(event, Event)
    line = event.as_json()
    taken = parse(line)
    assert taken is not None
    assert type(taken) is type(event)
    assert list(json.loads(taken.as_json())) == list(json.loads(line))
    for name in fields(type(event)):
        before, after = getattr(event, name), getattr(taken, name)
        assert json.loads(json.dumps(before, default=vars)) == json.loads(json.dumps(after, default=vars))


WILD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.sampled_from(TEXTS),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each, max_size=3),
    max_leaves=6,
)


def fits(value: Any, of: Any) -> bool:
    """Is a value of this type, whatever else it is to be like."""
    origin, arguments = typing.get_origin(of), typing.get_args(of)
    if origin is Sequence:
        return isinstance(value, tuple) and all(fits(each, arguments[0]) for each in value)
    if origin is Mapping:
        return isinstance(value, dict)
    if type(None) in arguments:
        return value is None or fits(value, arguments[0])
    if of is Any:
        return True
    if issubclass(of, Struct):
        hints = {name: hint for name, hint in typing.get_type_hints(of).items() if name in fields(of)}
        return isinstance(value, of) and all(fits(getattr(value, name), hint) for name, hint in hints.items())
    return type(value) is of


@given(EVENTS, st.data())
def test_no_field_is_taken_with_a_value_of_another_type(event: Struct, data: st.DataObject) -> None:
    assert isinstance(event, Event)
    sent = json.loads(event.as_json())
    name = data.draw(st.sampled_from([*sent, "more"]))
    sent[name] = data.draw(WILD)
    try:
        taken = parse(json.dumps(sent))
    except BuildError as error:
        assert error.what.startswith("the build container sent an event")
    else:
        assert taken is None or fits(taken, type(taken))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"type": "x"}', "an event of an unknown kind: 'x'"),
        ('{"type": "log-file", "path": "/x"}', "an event of an unknown kind: 'log-file'"),
        ('{"type": ["note"]}', "an event of an unknown kind: ['note']"),
        ('{"type": "note"}', "an event that cannot be (note): text is missing"),
        ('{"type": "note", "text": "x", "more": 1}', "an event that cannot be (note): 'more' is no field of it"),
        ('{"type": "note", "text": "x", "kind": "y"}', "an event that cannot be (note): 'kind' is no field of it"),
        ('{"type": "note", "text": 1}', "an event that cannot be (note): text: 1 is no text"),
        (
            '{"type": "hit", "number": true}',
            "(hit): number: True is no number from 0 to 100000",
        ),
        ('{"type": "hit", "number": 1, "source": null}', "an event that cannot be (hit): source: None is no text"),
        ('{"type": "fetch", "blobs": {}}', "an event that cannot be (fetch): blobs: a dict is no list"),
        ('{"type": "fetch", "blobs": ["x"]}', "an event that cannot be (fetch): blobs: 'x' is not allowed here"),
        ('{"type": "plan", "stages": [[]]}', "an event that cannot be (plan): stages: a list is no mapping"),
        ('{"type": "plan", "stages": [{}]}', "an event that cannot be (plan): stages: number is missing"),
        ('{"type": "used", "used": ' + "[" * 60 + "]" * 60 + "}", "used: too many values, or too deep in one another"),
        ('{"type": "start", "number": 1' + " " * (1 << 20) + "}", "an event of 1048606 bytes (start)"),
    ],
)
def test_what_is_wrong_is_said(line: str, said: str) -> None:
    with pytest.raises(BuildError) as error:
        parse(line)
    assert said in error.value.what
    assert error.value.where == "build container"


def test_every_kind_has_a_name_and_is_read() -> None:
    def below(of: type[Event]) -> list[type[Event]]:
        return [each for one in of.__subclasses__() for each in (one, *below(one))]

    ours = {each for each in below(Event) if each.__module__ == events.__name__} - {events.OfStage}
    assert set(KINDS.values()) == ours
    assert {name: kind.kind for name, kind in KINDS.items()} == {name: name for name in KINDS}


def test_what_is_packed_for_caches_is_an_entry_of_an_index() -> None:
    entry = IndexEntry(KEY, KEY[:32], KEY[:10], DIGEST, 1, 1, ("tree",), "install/x/50-y", 1.0, DIGEST)
    packed = {name: value for name, value in vars(entry).items() if name in fields(CacheEntry)}
    assert entry_of(reader(CacheEntry)(json.loads(json.dumps(packed)))) == entry


def test_long_texts_are_cut_to_what_the_host_takes(capsys: pytest.CaptureFixture[str]) -> None:
    emitting.emit(events.Note(text="x" * (1 << 20)))
    emitting.emit(events.Error(what="x" * (1 << 20), where="y", hint="", status=1, trace="z" * (1 << 20)))
    note, error = map(parse, capsys.readouterr().out.splitlines())
    assert isinstance(note, events.Note)
    assert isinstance(error, events.Error)
    assert (len(note.text), note.text[-5:]) == (events.LONGEST_LINE, "x ...")
    assert (len(error.what), error.where, len(error.trace)) == (events.LONGEST_TEXT, "y", events.LONGEST_TRACE)


def test_an_event_stays_as_it_is() -> None:
    hit = events.Hit(number=1)
    with pytest.raises(AttributeError):
        hit.number = 2  # type: ignore[misc]
    assert hit == events.Hit(number=1) != events.Hit(number=2)
    assert hit.replace(number=2) == events.Hit(number=2)
    assert hit.as_json(image="x") == '{"image": "x", "type": "hit", "number": 1}'
    assert repr(hit) == "Hit(number=1)"
