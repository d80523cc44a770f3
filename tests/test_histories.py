"""What was ever stored is read for ever: frozen bytes of every event, through all that reads events."""

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from adapters.postgres.keys import Cipher
from adapters.postgres.log import StoredEvent
from adapters.postgres.mapper import decode_state, encode_value, recorded
from adapters.postgres.rebuild import rebuild
from domain.events import BY_TOPIC, EVENTS, OLDER, Older
from projections.catalogue import VIEWS
from tests.histories import frozen, mutants
from tests.histories.compatible import incompatibilities, is_kept, today
from tests.histories.shapes import shape
from tests.office import Office

MORE = "tell it in tests/histories/story.py and run `scripts/freeze NAME` with the name of a new history"
UPDATE = "run `scripts/freeze`, and look at what it changes"


def of_topic(topic: str) -> list[StoredEvent]:
    """The frozen events of a topic; every event has an envelope."""
    return [event for event in frozen.events() if topic in (event.topic, "envelope")]


# All of it is there


def test_every_event_that_may_be_stored_is_frozen() -> None:
    missing = BY_TOPIC.keys() - {event.topic for event in frozen.events()}
    assert not missing, f"no frozen history holds {', '.join(sorted(missing))}: {MORE}"


@pytest.mark.parametrize("topic", [event.topic for event in EVENTS])
def test_every_field_that_may_be_missing_is_frozen_with_and_without_a_value(topic: str) -> None:
    said = defaultdict[str, set[str]](set)
    for event in of_topic(topic):
        for place, value in places(json.loads(event.state)["data"]):
            said[place].add(value)
    for place, text in shape(BY_TOPIC[topic]).items():
        types, has_default, default = text.partition(" = ")
        one_of = types.split(" | ")
        usual = default if has_default else "null"
        if (has_default and len(one_of) > 1) or types == "bool = false" or "null" in one_of:
            assert said[place] - {usual}, f"{topic}: {place} is never anything but {usual}: {MORE}"
            # What is null may have been left out.
            assert usual == "null" or usual in said[place], f"{topic}: {place} is never {usual}: {MORE}"


def places(value: Any, at: str = "") -> Iterator[tuple[str, str]]:
    match value:
        case dict():
            if at:
                yield at, "object"
            for name, part in value.items():
                yield from places(part, f"{at}.{name}" if at else name)
        case list():
            yield at, "array"
            for part in value:
                yield from places(part, f"{at}[]")
        case _:
            yield at, json.dumps(value)


def test_the_envelope_is_frozen_with_and_without_all_that_may_be_missing() -> None:
    envelopes = [json.loads(event.state) for event in frozen.events()]
    for field in ("correlation_id", "causation_id", "command_time", "traceparent", "sealed_actor"):
        assert {field in envelope for envelope in envelopes} == {True, False}


@pytest.mark.parametrize("name", frozen.names())
def test_a_frozen_history_is_never_edited(name: str) -> None:
    assert frozen.digest(name) == frozen.expected(name)["history"]["sha256"], f"{name} was edited: take it from Git"


# It is read as it was meant


def test_nothing_that_is_stored_is_lost_to_todays_events() -> None:
    reasons = list(incompatibilities(today(), frozen.shapes(), frozen.events()))
    assert not reasons, "\n".join([*reasons, "docs/events.md says how an event may change"])


def test_the_shapes_of_todays_events_are_frozen() -> None:
    known = frozen.shapes()
    for topic, struct in today().items():
        assert known.get(topic) == shape(struct), f"the shape of {topic} isn't the frozen one: {UPDATE}"


def test_events_are_written_again_as_they_were() -> None:
    for event in frozen.events():
        if event.topic not in OLDER:
            assert is_kept(encode_value(decode_state(event.topic, event.state)), event.state), event


@pytest.mark.parametrize("name", frozen.names())
def test_aggregates_remember_what_they_did(name: str) -> None:
    assert_same(frozen.aggregates(frozen.events(name)), frozen.expected(name)["aggregates"])


@pytest.mark.parametrize("name", frozen.names())
def test_views_show_what_they_did_live_and_rebuilt(office: Office, name: str) -> None:
    frozen.load(office, frozen.events(name))
    check_views(office, name)


def check_views(office: Office, name: str) -> None:
    assert_same(frozen.views(office), frozen.expected(name)["views"])
    for view in VIEWS.values():
        rebuilt = rebuild(office.log, view, lambda done, goal: None)
        assert (rebuilt.differences.rows, rebuilt.parked) == (0, 0)
    assert_same(frozen.views(office), frozen.expected(name)["views"])
    assert office.ask("SELECT FROM seatline.parked") == []


@pytest.mark.parametrize("name", frozen.names())
def test_panels_of_the_past_are_what_they_were(office: Office, name: str) -> None:
    stored = frozen.events(name)
    frozen.load(office, stored)
    assert_same(frozen.panels(office, stored), frozen.expected(name)["panels"])


def assert_same(now: frozen.Json, was: frozen.Json) -> None:
    for name in now.keys() | was.keys():
        assert now.get(name) == was.get(name), f"{name} has become another: if it was meant to, {UPDATE}"


# Changes to an event


@pytest.mark.parametrize("topic", today())
def test_any_change_that_loses_what_is_stored_is_found(topic: str) -> None:
    """Every field of the event and of all it holds: renamed, removed, retyped, required; and one more required."""
    known, stored = {topic: frozen.shapes()[topic]}, of_topic(topic)
    for what, mutant in mutants.incompatible(today()[topic]):
        reasons = list(incompatibilities({topic: mutant}, known, stored))
        assert reasons, what
        assert all(reason.startswith(f"{topic}: ") for reason in reasons)


@pytest.mark.parametrize("topic", [event.topic for event in EVENTS])
def test_an_event_that_is_gone_or_has_another_topic_is_found(topic: str) -> None:
    others = {name: struct for name, struct in today().items() if name != topic}
    renamed = others | {f"{topic}.new": today()[topic]}
    for structs in (others, renamed):
        [reason] = incompatibilities(structs, frozen.shapes(), frozen.events())
        assert reason.startswith(f"{topic}: no event has this topic")


@pytest.mark.parametrize("topic", today())
def test_a_change_that_loses_nothing_passes(topic: str) -> None:
    """One more field with a default; any field that may be missing from now on."""
    known, stored = {topic: frozen.shapes()[topic]}, of_topic(topic)
    for what, mutant in mutants.compatible(today()[topic]):
        assert list(incompatibilities({topic: mutant}, known, stored)) == [], what


# Older versions


@pytest.fixture
def older_versions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Of every event two planted versions: the oldest held its fields below one name, the next below another."""
    for event in EVENTS:
        oldest, older = f"{event.topic}.oldest", f"{event.topic}.older"
        monkeypatch.setitem(OLDER, oldest, Older(older, lambda data: {"said": data["held"]}))
        monkeypatch.setitem(OLDER, older, Older(event.topic, lambda data: dict(data["said"])))
        for topic in (oldest, older):
            monkeypatch.setitem(BY_TOPIC, topic, event)
    forget_topics()
    yield
    forget_topics()


def forget_topics() -> None:
    """Views work them out once."""
    for view in VIEWS.values():
        vars(view).pop("topics", None)


def opened(event: StoredEvent) -> Any:
    return recorded(*event, with_actor=True)


def as_once_stored(event: StoredEvent) -> StoredEvent:
    """The same event, had it been stored in one of the planted versions, or if it is an older one anyhow, as it is."""
    if event.topic in OLDER:
        return event
    state = json.loads(event.state)
    name, below = ("oldest", "held") if event.position % 2 else ("older", "said")
    state["data"] = {below: state["data"]}
    # Under an older key than the subject has today, it stays sealed for ever.
    if event.key and "sealed" in state and (plain := (cipher := Cipher(event.key)).open(state["sealed"], event.id)):
        said = {f"{below}.{place}": text for place, text in json.loads(plain).items()}
        state["sealed"] = cipher.seal(encode_value(said), event.id)
    return event._replace(topic=f"{event.topic}.{name}", state=encode_value(state))


@pytest.mark.usefixtures("older_versions")
@pytest.mark.parametrize("name", frozen.names())
def test_older_versions_are_read_as_todays(office: Office, name: str) -> None:
    stored = frozen.events(name)
    older = [as_once_stored(event) for event in stored]
    for was, event in zip(older, stored, strict=True):
        assert opened(was) == opened(event)
    assert_same(frozen.aggregates(older), frozen.expected(name)["aggregates"])
    frozen.load(office, older)
    assert_same(frozen.panels(office, stored), frozen.expected(name)["panels"])
    check_views(office, name)


def test_an_older_version_that_nobody_reads_any_more_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    known = frozen.shapes() | {"subscription.user-admitted.v1": {"user": "str"}}
    [reason] = incompatibilities(today(), known, [])
    assert reason.startswith("subscription.user-admitted.v1: no event has this topic")
    monkeypatch.setitem(OLDER, "subscription.user-admitted.v1", Older("subscription.user-configured.v1", dict))
    assert list(incompatibilities(today(), known, [])) == []
