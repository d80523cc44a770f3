"""Events to bytes and back: msgspec's JSON on the bytes themselves, what is personal sealed, only topics we know."""

import json
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec
from msgspec.structs import replace

from adapters.postgres.keys import Cipher, Tampered
from adapters.postgres.personal import PERSONAL, Said, hide, reveal, reveal_in
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
    sealed_actor: str | None = None
    """The actor, of whom the envelope then has a pseudonym; bound to the command, and under the subject's key."""


class State(Opening, Generic[EventT], frozen=True, kw_only=True, gc=False):
    """What is stored of an event beside its place."""

    data: EventT
    sealed: str | None = None
    """What is personal of the data, which then has pseudonyms; bound to the event's place. It comes last."""


_said = msgspec.json.Decoder(Said).decode
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    # mypy can't follow a type that is made at run time.
    event.topic: msgspec.json.Decoder(State[event])  # type: ignore[valid-type]
    for event in EVENTS
}
encode_value = msgspec.json.Encoder().encode
"""A value's JSON: money with two decimals and dates as strings."""


def is_personal(event: Recorded) -> bool:
    """Whether storing it takes a key."""
    return type(event.event) in PERSONAL or is_somebody(event.envelope.actor)


def is_somebody(actor: str) -> bool:
    """Whether a person or a system outside gave a command, not one of our workers."""
    return not actor.startswith("seatline/")


def encode_envelope(envelope: Envelope, cipher: Cipher | None = None) -> bytes:
    """The envelope's part of the state, to which `data` is added; without a cipher the actor stays as it is."""
    id_, actor, sealed = envelope.command_id, envelope.actor, None
    if cipher and is_somebody(actor):
        actor, sealed = cipher.pseudonym(actor), cipher.seal(actor.encode(), _of_command(id_))
    opening = Opening(
        business_time=envelope.business_time,
        recorded_time=envelope.recorded_time,
        actor=actor,
        command_id=id_,
        correlation_id=None if envelope.correlation_id == id_ else envelope.correlation_id,
        causation_id=None if envelope.causation_id == id_ else envelope.causation_id,
        price_list=envelope.price_list,
        command_time=envelope.command_time,
        traceparent=envelope.traceparent,
        sealed_actor=sealed,
    )
    return encode_value(opening).removesuffix(b"}")


def encode(opening: bytes, event: Event, id_: str = "", cipher: Cipher | None = None) -> bytes:
    """The state of the event with this id, whose personal values are sealed if there is a cipher."""
    if cipher and (places := PERSONAL.get(type(event))):
        said: Said = {}
        event = hide(event, places, cipher, said)
        if said:
            return b'%b,"data":%b,"sealed":"%b"}' % (
                opening,
                encode_value(event),
                cipher.seal(encode_value(said), id_).encode(),
            )
    return b'%b,"data":%b}' % (opening, encode_value(event))


def decode_state(topic: str, state: bytes, id_: str = "", key: bytes | None = None) -> State[Any]:
    """The state of a stored event, with pseudonyms where its key is gone or isn't given.

    Raises UnreadableEvent; never imports what a name in a table says.
    """
    try:
        decoder = _DECODERS[topic]
    except KeyError:
        return _decode_older(topic, state, id_, key)
    try:
        stored: State[Any] = decoder.decode(state)
    except msgspec.DecodeError as error:
        # Its message could quote what belongs to a customer.
        raise UnreadableEvent(f"the log holds an event of topic {topic} that can't be read") from error
    if key and stored.sealed and (said := _opened(topic, stored.sealed, id_, key)):
        return replace(stored, data=reveal(stored.data, PERSONAL[type(stored.data)], said))
    return stored


def _decode_older(topic: str, state: bytes, id_: str, key: bytes | None) -> State[Any]:
    """The same, of a version that is no longer written, as the next version has it."""
    if topic not in OLDER:
        raise UnreadableEvent(f"the log holds an event of topic {topic!r}, which this version doesn't know")
    becomes, upcast = OLDER[topic]
    stored = opened_json(topic, state, id_, key)
    stored["data"] = upcast(stored["data"])
    return decode_state(becomes, encode_value(stored))


def opened_json(topic: str, state: bytes, id_: str, key: bytes | None) -> dict[str, Any]:
    """A stored event's JSON in the version in which it was written, with what was sealed in its place if it can be."""
    stored: dict[str, Any] = msgspec.json.decode(state)
    if key and (sealed := stored.get("sealed")) and (said := _opened(topic, sealed, id_, key)):
        reveal_in(stored["data"], said)
    return stored


def _opened(topic: str, sealed: str, id_: str, key: bytes) -> Said | None:
    try:
        said = Cipher(key).open(sealed, id_)
    except Tampered as error:
        raise UnreadableEvent(f"the log holds an event of topic {topic} whose sealed part was changed") from error
    return None if said is None else _said(said)


def opened_actor(pseudonym: str, sealed: str | None, command_id: str, key: bytes | None) -> str:
    """Who it was, or the pseudonym where that can't be known any more."""
    try:
        actor = Cipher(key).open(sealed, _of_command(command_id)) if key and sealed else None
    except Tampered as error:
        raise UnreadableEvent(f"the log holds an actor of command {command_id} that was changed") from error
    return pseudonym if actor is None else actor.decode()


def _of_command(id_: str) -> str:
    return f"actor of {id_}"


def recorded(
    stream: str,
    version: int,
    topic: str,
    state: bytes,
    subject: str,
    position: int,
    key: bytes | None = None,
    *,
    with_actor: bool = False,
) -> Recorded:
    """A row of the log as the domain knows it; who did it stays a pseudonym for whoever doesn't ask."""
    id_ = event_id(stream, version)
    try:
        stored = decode_state(topic, state, id_, key)
        actor = stored.actor
        if with_actor:
            actor = opened_actor(actor, stored.sealed_actor, stored.command_id, key)
    except UnreadableEvent as error:
        raise UnreadableEvent(f"{error}: {id_}, at position {position}") from error
    envelope = Envelope(
        business_time=stored.business_time,
        recorded_time=stored.recorded_time,
        actor=actor,
        command_id=stored.command_id,
        correlation_id=stored.correlation_id or stored.command_id,
        causation_id=stored.causation_id or stored.command_id,
        price_list=stored.price_list,
        command_time=stored.command_time,
        traceparent=stored.traceparent,
    )
    return Recorded(stream, version, stored.data, subject, envelope, position)
