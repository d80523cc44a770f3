"""Whether what is stored can still be read, and still means the same, with the events as they are in the code."""

import json
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from adapters.postgres.log import StoredEvent
from adapters.postgres.mapper import Opening, State, encode_value
from domain.events import EVENTS, OLDER
from tests.histories.shapes import Shape, broken, shape

ENVELOPE = "envelope"
"""Stands in place of a topic for what surrounds every event."""

Structs = Mapping[str, type[msgspec.Struct]]
"""What is stored, by topic."""


def today() -> dict[str, type[msgspec.Struct]]:
    return {ENVELOPE: Opening} | {event.topic: event for event in EVENTS}


def incompatibilities(structs: Structs, shapes: Mapping[str, Shape], stored: Iterable[StoredEvent]) -> Iterator[str]:
    """Each reason why what has a frozen shape, or was stored, is lost to the structs; it begins with the topic."""
    for topic, was in shapes.items():
        if topic in structs:
            yield from (f"{topic}: {reason}" for reason in broken(was, shape(structs[topic])))
        elif topic not in OLDER:
            yield f"{topic}: no event has this topic, and domain/events.py doesn't say what it becomes"
    decoders = {
        # mypy can't follow a type that is made at run time.
        topic: msgspec.json.Decoder(State[struct])  # type: ignore[valid-type]
        for topic, struct in structs.items()
    }
    for event in stored:
        if decoder := decoders.get(event.topic):
            try:
                again = encode_value(decoder.decode(event.state))
                fault = "" if is_kept(again, event.state) else "is read as something else"
            except msgspec.DecodeError as error:
                fault = f"can't be read: {error}"
            if fault:
                yield f"{event.topic}: {event.stream} {event.version} {fault}"
                del decoders[event.topic]  # the first of many says it all


def is_kept(again: bytes, state: bytes) -> bool:
    """Whether what is written again is the same to the byte, but for fields that have been added since."""
    now, was = json.loads(again), json.loads(state)
    return again == state if now == was else _holds(now, was)


def _holds(now: object, was: object) -> bool:
    """Whether all that was said still is; what has been added since stands beside it with its default."""
    match was:
        case dict():
            return isinstance(now, dict) and all(name in now and _holds(now[name], was[name]) for name in was)
        case list():
            return isinstance(now, list) and len(now) == len(was) and all(map(_holds, now, was))
        case _:
            return type(now) is type(was) and now == was
