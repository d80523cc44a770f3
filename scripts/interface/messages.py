"""The messages on each topic: what surrounds the data of commands and events, the answers, and the dead letters."""

from inspect import getmembers, isclass
from typing import Any

from domain import errors
from scripts.interface.schemas import ANSWERS, COMMANDS, DEFS, EVENTS, Schema, described
from scripts.interface.story import Json, Story

BINDING = "0.5.0"
"""Of AsyncAPI's Kafka binding."""

TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": 200}
COMMAND_ID: Schema = TEXT | {
    "pattern": "^(?!fulfil:|close-day:[0-9]{4}-[0-9]{2}-[0-9]{2}:|bank:([0-9a-f]{12}|[0-9a-f]{40}):)",
    "description": "Unique over all sources; the same id again is a duplicate.",
}
TIME: Schema = {"type": "string", "format": "date-time", "description": "Business time, RFC 3339 with an offset."}
SUBJECT: Schema = {"type": "string", "description": "Whom it concerns."}
TRACEPARENT: Schema = {
    "type": "string",
    "pattern": "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
    "description": "W3C trace context, carried from a command to its events.",
}
COMMAND_ATTRIBUTES: dict[str, Schema] = {
    "specversion": {"const": "1.0"},
    "id": COMMAND_ID,
    "source": TEXT | {"description": "Who sends: a URI reference."},
    "type": TEXT,
    "time": TIME,
    "subject": SUBJECT,
    "actor": TEXT | {"description": "Who acted; the source where it is missing."},
}
JSON_TYPE: Schema = {"type": "string", "pattern": "^application/json"}
DIGITS: Schema = {"type": "string", "pattern": "^[0-9]+$"}


def messages() -> dict[str, dict[str, Json]]:
    """The messages by topic, without its `seatline.`, and name."""
    story = Story()
    commands = {command["type"]: command for command in reversed(story.commands)}
    events = {event["headers"]["ce_type"]: event for event in reversed(story.events)}
    return {
        "commands": {type_: _structured(type_, commands[type_]) for type_ in sorted(COMMANDS)}
        | {f"{type_}.binary": _binary(type_, commands[type_]) for type_ in sorted(COMMANDS)},
        "replies": _answers(story.answers),
        "events": {type_: _event(type_, events[type_]) for type_ in sorted(EVENTS)},
        "dead-letters": {"dead-letter": DEAD_LETTER},
    }


def _structured(type_: str, command: Json) -> Json:
    envelope = {"allOf": [_ref("CommandEnvelope"), {"properties": {"type": {"const": type_}, "data": _data(type_)}}]}
    example = {"headers": {"content-type": "application/cloudevents+json"}, "payload": command}
    return _message(type_, "structuredCommand", envelope, example)


def _binary(type_: str, command: Json) -> Json:
    headers = {f"ce_{name}": command[name] for name in COMMAND_ATTRIBUTES} | {"content-type": "application/json"}
    example = {"headers": headers, "payload": command["data"]}
    return _message(type_, "binaryCommand", _data(type_), example) | _of_type(type_)


def _event(type_: str, example: Json) -> Json:
    return _message(type_, "event", _data(type_), example) | _of_type(type_)


def _of_type(type_: str) -> Json:
    return {"headers": {"properties": {"ce_type": {"const": type_}}}}


def _answers(answers: list[Json]) -> dict[str, Json]:
    accepted = next(answer for answer in answers if "data" in answer)
    rejected = next(answer for answer in answers if answer["outcome"] == "rejected")
    duplicate = accepted | {"outcome": "duplicate", "original_outcome": "accepted"}
    return {
        answer["outcome"]: _message(
            f"seatline.answer.{answer['outcome']}",
            "answer",
            _ref(f"{answer['outcome'].title()}Answer"),
            {"headers": {"content-type": "application/json"}, "payload": answer},
        )
        for answer in (accepted, rejected, duplicate)
    }


def _message(name: str, trait: str, payload: Schema, example: Json) -> Json:
    described = {"name": name, "traits": [{"$ref": f"#/components/messageTraits/{trait}"}], "payload": payload}
    return described | {"examples": [example]}


def _data(type_: str) -> Schema:
    roots, _ = described()
    return roots[type_]


def _ref(name: str) -> Schema:
    return {"$ref": DEFS + name}


def _object(properties: dict[str, Schema], *, optional: tuple[str, ...] = ()) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _trait(content_type: str, headers: Schema, *, key: str, correlation: str = "") -> Json:
    trait: Json = {
        "contentType": content_type,
        "headers": headers,
        "bindings": {"kafka": {"key": {"type": "string", "description": key}, "bindingVersion": BINDING}},
    }
    return trait | ({"correlationId": {"location": correlation}} if correlation else {})


COMMAND_KEY = "The command's subject; what is right never depends on it."

TRAITS: dict[str, Json] = {
    "structuredCommand": _trait(
        "application/cloudevents+json",
        _object({"content-type": {"type": "string", "pattern": r"^application/cloudevents\+json"}}),
        key=COMMAND_KEY,
        correlation="$message.payload#/id",
    ),
    "binaryCommand": _trait(
        "application/json",
        _object(
            {f"ce_{name}": schema for name, schema in COMMAND_ATTRIBUTES.items()}
            | {"traceparent": TRACEPARENT, "content-type": JSON_TYPE},
            optional=("ce_subject", "ce_actor", "traceparent"),
        ),
        key=COMMAND_KEY,
        correlation="$message.header#/ce_id",
    ),
    "answer": _trait(
        "application/json",
        _object({"content-type": JSON_TYPE}, optional=("content-type",)),
        key="The command's id.",
        correlation="$message.payload#/command_id",
    ),
    "event": _trait(
        "application/json",
        _object(
            {
                "ce_specversion": {"const": "1.0"},
                "ce_id": {"type": "string", "description": "The event's own stable id, the same in every repeat."},
                "ce_source": {"const": "/seatline"},
                "ce_type": {"type": "string"},
                "ce_subject": SUBJECT,
                "ce_time": TIME,
                "ce_position": DIGITS | {"description": "Where the event stands in the log."},
                "ce_recordedtime": TIME | {"description": "When it was stored."},
                "ce_commandtime": TIME | {"description": "The command's own time, where it came late."},
                "ce_actor": TEXT | {"description": "Who acted."},
                "ce_commandid": TEXT | {"description": "The command that led here, perhaps the engine's own."},
                "ce_correlationid": TEXT | {"description": "What began the chain; the command where it is missing."},
                "ce_causationid": TEXT | {"description": "What led here directly; the command where it is missing."},
                "ce_pricelist": TEXT | {"description": "The version of the price list in force."},
                "traceparent": TRACEPARENT,
                "content-type": JSON_TYPE,
            },
            optional=("ce_commandtime", "ce_correlationid", "ce_causationid", "traceparent"),
        ),
        key="The event's subject: the subscription's id, an orphan payment's reference, or the calendar's name.",
    ),
}

DEAD_LETTER: Json = {
    "name": "seatline.dead-letter",
    "contentType": "application/octet-stream",
    "description": "The key, the value and the headers are the original's; these headers are added.",
    "headers": _object(
        {
            "reason": {"type": "string", "description": "Why it could not be read."},
            "topic": {"type": "string", "description": "Where it came from, with partition and offset."},
            "partition": DIGITS,
            "offset": DIGITS,
        }
    ),
    "payload": {"description": "Any bytes, or none."},
    "examples": [
        {
            "headers": {
                "reason": "not JSON: Expecting value at character 1",
                "topic": "seatline.commands",
                "partition": "0",
                "offset": "4711",
            },
            "payload": "hello",
        }
    ],
}


def envelopes() -> dict[str, Schema]:
    """The schemas of what is no model of the domain; an answer's are what the clerk writes."""
    roots, _ = described()
    reply: dict[str, Schema] = {
        "command_id": TEXT,
        "outcome": {"type": "string"},
        "events": {"type": "array", "items": _ref("EventReference")},
        "position": {
            "type": "integer",
            "minimum": 0,
            "description": "Where the decision stands in the log: a view that has reached it shows its effect.",
        },
        "data": {"anyOf": [roots[name] for name in ANSWERS]},
    }
    refused = reply | {"code": _ref("Code"), "message": _ref("Message")}
    original: Schema = {"enum": ["accepted", "rejected"], "description": "The outcome when it was decided."}
    return {
        "CommandEnvelope": _object(
            COMMAND_ATTRIBUTES | {"datacontenttype": JSON_TYPE, "traceparent": TRACEPARENT, "data": {"type": "object"}},
            optional=("subject", "actor", "datacontenttype", "traceparent"),
        ),
        "AcceptedAnswer": _object(reply | {"outcome": {"const": "accepted"}}, optional=("data",)),
        "RejectedAnswer": _object(refused | {"outcome": {"const": "rejected"}}, optional=("data",)),
        "DuplicateAnswer": _object(
            refused | {"outcome": {"const": "duplicate"}, "original_outcome": original},
            optional=("data", "code", "message"),
        )
        | {"description": "All that the original had; code and message if it was a rejection."},
        "EventReference": _object({"type": {"enum": sorted(EVENTS)}, "id": {"type": "string"}}),
        "Message": _object({"it": {"type": "string"}, "en": {"type": "string"}}),
        "Code": _codes(),
    }


def _codes() -> Schema:
    refusals: list[Any] = [found for _, found in getmembers(errors, isclass) if hasattr(found, "code")]
    texts = {refusal.code: {"it": refusal.it, "en": refusal.en} for refusal in refusals}
    return {
        "type": "string",
        "description": "Why a command was rejected. No code is ever renamed, but some may be added.",
        "enum": sorted(texts),
        "x-texts": dict(sorted(texts.items())),
    }
