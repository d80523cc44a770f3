"""Stored events as CloudEvents in binary mode, and back: the envelope in headers, the event's own data as the value."""

from collections.abc import Mapping, Sequence

from pydantic_core import from_json, to_json

from adapters.postgres.log import StoredEvent
from adapters.postgres.mapper import encode_value, opened_actor, opened_json, recorded
from domain.events import BY_TOPIC, public_type
from domain.kernel import Recorded

DATA = b',"data":'
"""Between the envelope and the event in a stored state; inside a JSON string its quotes would be escaped."""
ATTRIBUTES = {
    "business_time": "ce_time",
    "recorded_time": "ce_recordedtime",
    "actor": "ce_actor",
    "command_id": "ce_commandid",
    "correlation_id": "ce_correlationid",
    "causation_id": "ce_causationid",
    "price_list": "ce_pricelist",
    "command_time": "ce_commandtime",
    "traceparent": "traceparent",
}
"""The envelope's members by the header that carries each."""
PREFIX = public_type("")
FIXED = [("ce_specversion", b"1.0"), ("ce_source", b"/seatline"), ("content-type", b"application/json")]


def headers(event: StoredEvent) -> tuple[bytes, list[tuple[str, bytes]]]:
    """The data of a stored event, what is personal of it in its place, and the headers that say the rest."""
    envelope, data = _parts(event)
    if sealed := envelope.pop("sealed_actor", None):
        envelope["actor"] = opened_actor(envelope["actor"], sealed, envelope["command_id"], event.key)
    said = [(ATTRIBUTES[name], value.encode()) for name, value in envelope.items()]
    return data, [
        *FIXED,
        ("ce_id", event.id.encode()),
        ("ce_type", public_type(event.topic).encode()),
        ("ce_subject", event.subject.encode()),
        ("ce_position", str(event.position).encode()),
        *said,
    ]


def _parts(event: StoredEvent) -> tuple[dict[str, str], bytes]:
    if event.state.endswith(b'"}'):
        stored = opened_json(event.topic, event.state, event.id, event.key)
        del stored["sealed"]
        return stored, encode_value(stored.pop("data"))
    envelope, _, data = event.state.partition(DATA)
    return from_json(envelope + b"}"), data[:-1]


def event_in(data: bytes, headers: Sequence[tuple[str, bytes]]) -> Recorded | None:
    """The event of a record that the publisher made; None if it is somebody else's, or of a type not known here."""
    topic = (dict(headers).get("ce_type") or b"").decode(errors="replace").removeprefix(PREFIX)
    if topic not in BY_TOPIC:
        return None
    said: Mapping[str, str] = {name: value.decode() for name, value in headers}
    stream, _, version = said["ce_id"].rpartition("@")
    envelope = {name: said[header] for name, header in ATTRIBUTES.items() if header in said}
    state = b"%b%b%b}" % (to_json(envelope)[:-1], DATA, data)
    return recorded(stream, int(version), topic, state, said["ce_subject"], int(said["ce_position"]))
