"""The AsyncAPI document of what Seatline reads and writes on Kafka."""

from typing import Any

from scripts.interface.messages import BINDING, TRAITS, envelopes, messages
from scripts.interface.schemas import DEFS, described
from scripts.interface.story import Json

VERSION = "1.0.0"
"""Of the interface: it is raised when the interface changes, not with every release."""
SCHEMAS = "#/components/schemas/"

DESCRIPTION = """\
Commands in, answers and events out. A command is decided exactly once by its id, however often it is sent. Answers and
events come at least once, in order per key, and a repeat carries the same id and position. Fields, headers, codes and
event types may be added: whoever reads ignores what it doesn't know. Money is in euro, as decimal strings; dates are
civil dates in Europe/Rome.
"""
BROKERS = {
    "host": "{bootstrap}",
    "variables": {"bootstrap": {"default": "localhost:9092", "description": "What SEATLINE_KAFKA names."}},
}
SASL = ["plain", "scramSha256", "scramSha512"]


def document() -> Json:
    """The whole document; it refers to no other file."""
    _, defs = described()
    by_topic = messages()
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Seatline", "version": VERSION, "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {
            "plain": {
                **BROKERS,
                "protocol": "kafka",
                "description": "Without TLS; with SASL, or with nothing at all.",
                "security": _security(*SASL),
            },
            "secure": {
                **BROKERS,
                "protocol": "kafka-secure",
                "description": "With TLS; a client shows who it is by SASL or by its certificate.",
                "security": _security(*SASL, "certificate"),
            },
        },
        "channels": {
            "commands": _channel("commands", by_topic, "What others ask for. The key is the command's subject."),
            "replies": _channel("replies", by_topic, "One answer to every readable command. The key is its id."),
            "events": _channel(
                "events",
                by_topic,
                "What happened. The key is the subscription's id; an orphan payment's its reference.",
            ),
            "deadLetters": _channel("dead-letters", by_topic, "What could not be read, byte for byte, and why."),
        },
        "operations": {
            "receiveCommands": {
                "action": "receive",
                "channel": {"$ref": "#/channels/commands"},
                "reply": {"channel": {"$ref": "#/channels/replies"}},
            },
            "sendAnswers": {"action": "send", "channel": {"$ref": "#/channels/replies"}},
            "sendEvents": {"action": "send", "channel": {"$ref": "#/channels/events"}},
            "sendDeadLetters": {"action": "send", "channel": {"$ref": "#/channels/deadLetters"}},
        },
        "components": {
            "messages": _in_components(
                {name: message for named in by_topic.values() for name, message in named.items()}
            ),
            "messageTraits": TRAITS,
            "schemas": _in_components(dict(sorted({**defs, **envelopes()}.items()))),
            "securitySchemes": {
                "certificate": {"type": "X509"},
                "plain": {"type": "plain"},
                "scramSha256": {"type": "scramSha256"},
                "scramSha512": {"type": "scramSha512"},
            },
        },
    }


def _security(*schemes: str) -> list[Json]:
    return [{"$ref": f"#/components/securitySchemes/{scheme}"} for scheme in schemes]


def _channel(topic: str, by_topic: dict[str, dict[str, Json]], description: str) -> Json:
    return {
        "address": f"seatline.{topic}",
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in by_topic[topic]},
        "bindings": {
            "kafka": {
                "topic": f"seatline.{topic}",
                "topicConfiguration": {"cleanup.policy": ["delete"]},
                "bindingVersion": BINDING,
            }
        },
    }


def _in_components(schema: Any) -> Any:
    """The same, with references to where this document keeps its schemas."""
    match schema:
        case dict():
            return {name: _in_components(part) for name, part in schema.items()}
        case list():
            return [_in_components(part) for part in schema]
        case str() if schema.startswith(DEFS):
            return SCHEMAS + schema.removeprefix(DEFS)
        case _:
            return schema
