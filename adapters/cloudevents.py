"""Commands off the wire: CloudEvents 1.0 in structured JSON or a record's headers, hostile until parsed."""

import json
import re
from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b
from operator import itemgetter
from typing import Any, Literal

import msgspec
from pydantic_core import PydanticSerializationError, to_json

from domain.commands import Command, parse_data
from domain.errors import Refusal
from domain.kernel import ROME

LARGEST = 64 * 1024
"""Bytes of a command; looked at before anything is parsed."""

_RFC_3339 = re.compile(r"(19[7-9]\d|2\d{3})-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_NOT_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters and lone surrogates: no name, no mail header and no log line is to hold one."""
_HIGH_CONTROL = re.compile("[\x7f-\x9f]")
_RESERVED = re.compile(r"fulfil:|close-day:\d{4}-\d\d-\d\d:|bank:(?:[\da-f]{12}|[\da-f]{40}):", re.ASCII)
"""Ids that the engine gives its own commands, and those for what stands in statements; nobody may use one up before."""
_RESERVED_ACTORS = re.compile("seatline/|pseudonym:")
"""Workers, who are stored in plain, and those who have been forgotten: nobody may pass for one."""
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context; whatever else stands there is ignored like an unknown attribute."""
_ATTRIBUTES = {f"ce_{name}": name for name in ("specversion", "id", "source", "type", "time", "actor", "traceparent")}
_ATTRIBUTES["traceparent"] = "traceparent"
"""By a record's header; other headers are ignored like unknown attributes of an object."""
_LONGEST = 200
_LONGEST_NUMBER = 18
"""Digits; what is longer is no quantity, and its conversion would take time."""


class Unreadable(Exception):
    """The input can't be read as a command: it uses up no id (K3)."""

    code = "unreadable"


class _Plain(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An envelope as nearly all come: these attributes and no others."""

    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    time: str
    data: Any
    actor: str | None = None
    subject: str | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None


_PLAIN = msgspec.json.Decoder(_Plain)
_SORTED = msgspec.json.Encoder(order="sorted")


def parse(raw: bytes) -> Command:
    """The command in these bytes; raises Unreadable with the reason."""
    return _parse_plain(raw) or _parse_carefully(raw)


def _parse_plain(raw: bytes) -> Command | None:
    """The command, if nothing at all is unusual about it; it is then what the careful way would make of it."""
    # All control characters above the ASCII ones begin with 0xc2, and few others do.
    if len(raw) > LARGEST or b"\\" in raw or b"\x7f" in raw or b"\xc2" in raw:
        return None
    try:
        envelope = _PLAIN.decode(raw)
        data = parse_data(envelope.type, envelope.data)
        if isinstance(data, Refusal):
            return None
        written = _SORTED.encode(envelope.data)
        id_, type_, source, actor = envelope.id, envelope.type, envelope.source, envelope.actor
        # Without an escape each text and each key has two quotation marks: if one is missing, a key stood twice.
        attributes = len(_Plain.__struct_fields__) - msgspec.structs.astuple(envelope).count(None)
        if raw.count(b'"') != 4 * attributes - 2 + written.count(b'"'):
            return None
        if not (0 < len(id_) <= _LONGEST and 0 < len(source) <= _LONGEST) or _RESERVED.match(id_):
            return None
        return Command(
            id=id_,
            type=type_,
            source=source,
            time=_time(envelope.time),
            actor=_actor(actor, source),
            data=data,
            fingerprint=_digest(type_, written),
            traceparent=_traceparent(envelope.traceparent),
        )
    except (ValueError, RecursionError, Unreadable):
        return None


def _parse_carefully(raw: bytes) -> Command:
    try:
        envelope = _decode(raw)
        if not isinstance(envelope, dict):
            raise Unreadable("not a JSON object")
        return _command(envelope)
    except (RecursionError, PydanticSerializationError):
        raise Unreadable("nested too deeply") from None


def parse_record(value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> Command:
    """The command in a Kafka record, in structured or binary mode; raises Unreadable with the reason."""
    if value is None:
        raise Unreadable("a record without a value")
    if any(name == "ce_specversion" for name, _ in headers):
        return _parse_binary(value, _attributes(headers))
    command = parse(value)
    if command.traceparent is None and headers:
        traces = [
            _traceparent((trace or b"").decode(errors="replace")) for name, trace in headers if name == "traceparent"
        ]
        command = command._replace(traceparent=traces[0] if traces else None)
    return command


def _attributes(headers: Sequence[tuple[str, bytes | None]]) -> dict[str, str]:
    """The attributes that binary mode carries; W3C's own header is as good as the extension of the same name."""
    found: dict[str, str] = {}
    for header, value in headers:
        name = _ATTRIBUTES.get(header)
        if name is None or value is None:
            continue
        if name in found and name != "traceparent":
            raise Unreadable(f"header {header} stands twice")
        try:
            found[name] = value.decode()
        except UnicodeDecodeError:
            raise Unreadable(f"header {header} is not UTF-8") from None
    return found


def _parse_binary(value: bytes, attributes: dict[str, str]) -> Command:
    if len(value) + sum(map(len, attributes.values())) > LARGEST:
        raise Unreadable(f"longer than {LARGEST} bytes")
    if any(map(_has_control, attributes.values())):
        raise Unreadable("a control character or a lone surrogate in a text")
    try:
        return _command({**attributes, "data": _decode(value)})
    except (RecursionError, PydanticSerializationError):
        raise Unreadable("nested too deeply") from None


def _command(envelope: dict[str, Any]) -> Command:
    if envelope.get("specversion") != "1.0":
        raise Unreadable("specversion is not 1.0")
    id_, type_ = _text(envelope, "id"), _text(envelope, "type")
    source = _text(envelope, "source")
    if _RESERVED.match(id_):
        raise Unreadable("ids that begin like this are the engine's own")
    data = envelope.get("data")
    return Command(
        id=id_,
        type=type_,
        source=source,
        time=_time(envelope.get("time")),
        actor=_actor(envelope.get("actor"), source),
        data=parse_data(type_, data),
        fingerprint=fingerprint(type_, data),
        traceparent=_traceparent(envelope.get("traceparent")),
    )


def _actor(named: object, source: str) -> str:
    """Whoever isn't named, or not fitly, is known by where the command comes from."""
    actor = named if isinstance(named, str) and 0 < len(named) <= _LONGEST else source
    if _RESERVED_ACTORS.match(actor):
        raise Unreadable("actors that begin like this are the engine's own")
    return actor


def _traceparent(trace: object) -> str | None:
    return trace if isinstance(trace, str) and _TRACEPARENT.fullmatch(trace) else None


def fingerprint(type_: str, data: object) -> bytes:
    """Digest of what a command asks for, whatever the order of its members or its white space (K1)."""
    # Every object was read with its keys in order, so equal data has equal JSON.
    return _digest(type_, to_json(data, inf_nan_mode="constants"))


def _digest(type_: str, written: bytes) -> bytes:
    return blake2b(type_.encode() + b"\n" + written, digest_size=16).digest()


def _decode(raw: bytes) -> Any:
    if len(raw) > LARGEST:
        raise Unreadable(f"longer than {LARGEST} bytes")
    try:
        text = raw.decode()
        value = _DECODER.decode(text)
    except UnicodeDecodeError:
        raise Unreadable("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise Unreadable(f"not JSON: {error.msg} at character {error.pos + 1}") from None
    # The decoder takes none below a space; without an escape only these can be left, and few commands have either.
    if ("\\" in text or _HIGH_CONTROL.search(text)) and _has_control(value):
        raise Unreadable("a control character or a lone surrogate in a text")
    return value


def _has_control(value: object) -> bool:
    if isinstance(value, str):
        return _NOT_TEXT.search(value) is not None
    if isinstance(value, dict):
        return any(_has_control(part) for item in value.items() for part in item)
    return isinstance(value, list) and any(map(_has_control, value))


def _text(envelope: dict[str, Any], name: str) -> str:
    value = envelope.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST:
        raise Unreadable(f"{name} is not a text of 1 to {_LONGEST} characters")
    return value


def _time(value: object) -> datetime:
    if isinstance(value, str) and _RFC_3339.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper()).astimezone(ROME)
        except (ValueError, OverflowError):
            pass
    raise Unreadable("time is not an RFC 3339 time with its offset")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(sorted(pairs, key=_FIRST))
    if len(members) != len(pairs):
        raise Unreadable("a key stands twice in an object")
    return members


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else float("inf")


def _constant(name: str) -> None:
    raise Unreadable(f"{name} is not JSON")


_FIRST = itemgetter(0)
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_constant=_constant)
