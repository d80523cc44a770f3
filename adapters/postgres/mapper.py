"""Events to bytes and back: pydantic's JSON on the bytes themselves, and only topics that we know."""

import json
from datetime import datetime
from typing import Any, Generic, TypeVar

from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import JSONTranscoder, Mapper, StoredEvent
from pydantic import BaseModel

from domain.events import BY_TOPIC
from domain.kernel import Envelope, Event, Recorded

EventT = TypeVar("EventT", bound=Event)

quoted = json.encoder.encode_basestring
"""A string as JSON, in quotes, not escaped beyond need."""


class UnknownTopic(Exception):
    """The log holds an event that this version doesn't know."""


class State(BaseModel, Generic[EventT]):
    """What is stored of an event beside its place: the envelope's parts, and the event itself as `data`."""

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
    data: EventT


# mypy can't follow a model that is made at run time.
_VALIDATORS: dict[str, Any] = {
    topic: State[event].__pydantic_validator__  # type: ignore[valid-type]
    for topic, event in BY_TOPIC.items()
}


def encode_envelope(envelope: Envelope) -> bytes:
    """The envelope's part of the state, the same for all events of a command: an opening to which `data` is added."""
    id_, more = envelope.command_id, ""
    if envelope.correlation_id != id_:
        more += f',"correlation_id":{quoted(envelope.correlation_id)}'
    if envelope.causation_id != id_:
        more += f',"causation_id":{quoted(envelope.causation_id)}'
    if envelope.command_time is not None:
        more += f',"command_time":"{envelope.command_time.isoformat()}"'
    if envelope.traceparent is not None:
        more += f',"traceparent":"{envelope.traceparent}"'
    return (
        f'{{"business_time":"{envelope.business_time.isoformat()}"'
        f',"recorded_time":"{envelope.recorded_time.isoformat()}"'
        f',"actor":{quoted(envelope.actor)},"command_id":{quoted(id_)},"price_list":{quoted(envelope.price_list)}{more}'
    ).encode()


def encode(opening: bytes, event: Event) -> bytes:
    return b'%b,"data":%b}' % (opening, event.__pydantic_serializer__.to_json(event))


def decode_state(topic: str, state: bytes) -> State[Any]:
    """The state of a stored event; raises UnknownTopic, never imports what a name in a table says."""
    try:
        validator = _VALIDATORS[topic]
    except KeyError:
        raise UnknownTopic(f"the log holds an event of topic {topic!r}, which this version doesn't know") from None
    return validator.validate_json(state)  # type: ignore[no-any-return]


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
    stored = decode_state(topic, state)
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
