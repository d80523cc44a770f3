"""Events to bytes and back: msgspec's JSON on the bytes themselves, and only topics that we know."""

import json
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import JSONTranscoder, Mapper, StoredEvent

from domain.events import EVENTS, OLDER
from domain.kernel import Envelope, Event, Recorded, event_id

EventT = TypeVar("EventT", bound=Event)

quoted = json.encoder.encode_basestring
"""A string as JSON, in quotes, not escaped beyond need."""


class UnreadableEvent(Exception):
    """The log holds an event that this version can't read: a newer one wrote it, or it was damaged."""


class Opening(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The envelope as it is stored, the same for all events of a command."""

    business_time: datetime
    recorded_time: datetime
    actor: str
    command_id: str
    correlation_id: str | None = None
    """None where the command itself is the first of the chain."""
    causation_id: str | None = None
    """None where the command itself is the cause."""
    price_list: str
    command_time: datetime | None = None
    traceparent: str | None = None


class State(Opening, Generic[EventT], frozen=True, kw_only=True, gc=False):
    """What is stored of an event beside its place."""

    data: EventT


_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    # mypy can't follow a type that is made at run time.
    event.topic: msgspec.json.Decoder(State[event])  # type: ignore[valid-type]
    for event in EVENTS
}
encode_value = msgspec.json.Encoder().encode
"""A value's JSON: money with two decimals and dates as strings."""


def encode_envelope(envelope: Envelope) -> bytes:
    """The envelope's part of the state, to which `data` is added."""
    id_ = envelope.command_id
    opening = Opening(
        business_time=envelope.business_time,
        recorded_time=envelope.recorded_time,
        actor=envelope.actor,
        command_id=id_,
        correlation_id=None if envelope.correlation_id == id_ else envelope.correlation_id,
        causation_id=None if envelope.causation_id == id_ else envelope.causation_id,
        price_list=envelope.price_list,
        command_time=envelope.command_time,
        traceparent=envelope.traceparent,
    )
    return encode_value(opening).removesuffix(b"}")


def encode(opening: bytes, event: Event) -> bytes:
    return b'%b,"data":%b}' % (opening, encode_value(event))


def decode_state(topic: str, state: bytes) -> State[Any]:
    """The state of a stored event; raises UnreadableEvent, never imports what a name in a table says."""
    try:
        decoder = _DECODERS[topic]
    except KeyError:
        return _decode_older(topic, state)
    try:
        return decoder.decode(state)  # type: ignore[no-any-return]
    except msgspec.DecodeError as error:
        # Its message could quote what belongs to a customer.
        raise UnreadableEvent(f"the log holds an event of topic {topic} that can't be read") from error


def _decode_older(topic: str, state: bytes) -> State[Any]:
    """The same, of a version that is no longer written, as the next version has it."""
    if topic not in OLDER:
        raise UnreadableEvent(f"the log holds an event of topic {topic!r}, which this version doesn't know")
    becomes, upcast = OLDER[topic]
    stored = msgspec.json.decode(state)
    stored["data"] = upcast(stored["data"])
    return decode_state(becomes, encode_value(stored))


class EventMapper(Mapper[str]):
    """The same, as the library's mapper, for whoever uses its event store or repository."""

    def __init__(self) -> None:
        super().__init__(JSONTranscoder())

    def to_stored_event(self, domain_event: DomainEventProtocol[str]) -> StoredEvent:
        assert isinstance(domain_event, Recorded)
        return StoredEvent(
            originator_id=domain_event.originator_id,
            originator_version=domain_event.originator_version,
            topic=domain_event.event.topic,
            state=encode(encode_envelope(domain_event.envelope), domain_event.event),
        )

    def to_domain_event(self, stored_event: StoredEvent) -> Recorded:
        return recorded(
            str(stored_event.originator_id),
            stored_event.originator_version,
            stored_event.topic,
            stored_event.state,
            subject="",
            position=getattr(stored_event, "id", 0),
        )


def recorded(stream: str, version: int, topic: str, state: bytes, subject: str, position: int) -> Recorded:
    """A row of the log as the domain knows it."""
    try:
        stored = decode_state(topic, state)
    except UnreadableEvent as error:
        raise UnreadableEvent(f"{error}: {event_id(stream, version)}, at position {position}") from error
    envelope = Envelope(
        business_time=stored.business_time,
        recorded_time=stored.recorded_time,
        actor=stored.actor,
        command_id=stored.command_id,
        correlation_id=stored.correlation_id or stored.command_id,
        causation_id=stored.causation_id or stored.command_id,
        price_list=stored.price_list,
        command_time=stored.command_time,
        traceparent=stored.traceparent,
    )
    return Recorded(stream, version, stored.data, subject, envelope, position)
