"""What is written for integrators is current and valid, and says what the engine really takes, answers and records."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from jsonschema.protocols import Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

from adapters.clerk import Answer
from adapters.cloudevents import Unreadable, parse
from domain.commands import Command
from domain.errors import DataInvalid, TypeUnknown
from domain.events import EVENTS, public_type
from scripts.interface.__main__ import DOCS, written
from scripts.interface.schemas import references
from scripts.workload.market import Market
from tests.office import Office
from tests.story import told

COMMANDS = (
    "start-subscription", "configure-user", "delete-user", "open-cart", "choose-seats", "switch-alignment",
    "choose-renewal", "place-order", "register-payment", "match-payment", "unmatch-payment", "split-payment",
    "refund-payment", "correct-payment", "cancel-order", "close-day",
)  # fmt: skip
COMMAND_TYPES = {f"seatline.command.{name}.v1" for name in COMMANDS}
EVENT_TYPES = {public_type(event.topic) for event in EVENTS}

DOCUMENT = json.loads((DOCS / "asyncapi.json").read_text(encoding="utf-8"))
SCHEMAS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in DOCS.glob("schemas/*.json")}
MESSAGES: dict[str, dict[str, Any]] = DOCUMENT["components"]["messages"]

PACKAGE = "https://registry.npmjs.org/@asyncapi/specs/-/specs-6.11.1.tgz"
MEMBER = "package/schemas/3.0.0.json"
SHA256 = "d4571a420e6ffb7fcc7066c95a6db1202f299a3c51daa103d0706bf30f95e626"


@pytest.fixture(scope="module")
def asyncapi_schema() -> Any:
    """AsyncAPI's own schema, from a cache outside the tree: with all its bindings it is larger than what it checks."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "seatline", f"asyncapi-{SHA256[:12]}.json")
    if not cache.exists():
        try:
            package = httpx2.get(PACKAGE, timeout=20).raise_for_status().content
        except httpx2.HTTPError:
            pytest.skip("AsyncAPI's own schema can't be fetched from registry.npmjs.org")
        with tarfile.open(fileobj=io.BytesIO(package)) as archive:
            schema = archive.extractfile(MEMBER)
            assert schema is not None
            _keep(cache, schema.read())
    fetched = cache.read_bytes()
    assert hashlib.sha256(fetched).hexdigest() == SHA256, f"{cache} isn't what was published: delete it"
    return json.loads(fetched)


def _keep(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(content)
    unfinished.rename(path)


def in_document(pointer: str) -> Validator:
    """Checks against a schema somewhere in the document."""
    resource = DRAFT7.create_resource(DOCUMENT)
    registry: Registry[Any] = Registry().with_resource("urn:document", resource)
    schema = {"$ref": f"urn:document#/{pointer}"}
    return Draft7Validator(schema, registry=registry, format_checker=Draft7Validator.FORMAT_CHECKER)


def data_of(type_: str, *, closed: bool = False) -> Validator:
    """Checks against a type's own file, if wanted without room for fields that it doesn't name."""
    schema = _closed(SCHEMAS[type_]) if closed else SCHEMAS[type_]
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def _closed(schema: Any) -> Any:
    match schema:
        case dict():
            closed = {word: _closed(part) for word, part in schema.items()}
            return {"additionalProperties": False, **closed} if schema.get("type") == "object" else closed
        case list():
            return [_closed(part) for part in schema]
        case _:
            return schema


def merged(trait: Any, message: Any) -> Any:
    """A trait merged into its message as a JSON Merge Patch, in which the message wins."""
    if not isinstance(trait, dict) or not isinstance(message, dict):
        return message
    common = {name: merged(trait[name], message[name]) for name in trait.keys() & message.keys()}
    return trait | message | common


def with_traits(message: dict[str, Any]) -> dict[str, Any]:
    for trait in message.get("traits", []):
        message = merged(DOCUMENT["components"]["messageTraits"][trait["$ref"].rpartition("/")[2]], message)
    return message


def workload(lines: int) -> Iterator[tuple[bytes, Command]]:
    for line in Market(lines, seed=7, bad=0.2, duplicates=0.05).lines():
        try:
            yield line, parse(line)
        except Unreadable:
            continue


# The files


def test_what_is_committed_is_what_the_models_say_today() -> None:
    texts = written()
    assert {path.relative_to(DOCS) for path in DOCS.glob("schemas/*.json")} == texts.keys() - {Path("asyncapi.json")}
    for path, text in texts.items():
        assert (DOCS / path).read_text(encoding="utf-8") == text, f"docs/{path} is out of date: run scripts/asyncapi"


def test_the_document_is_valid_by_asyncapis_own_schema(asyncapi_schema: Any) -> None:
    Draft7Validator(asyncapi_schema).validate(DOCUMENT)


def test_a_wrong_document_is_not(asyncapi_schema: Any) -> None:
    wrong = DOCUMENT | {
        "operations": {"receiveCommands": {"action": "take", "channel": {"$ref": "#/channels/commands"}}}
    }
    assert not Draft7Validator(asyncapi_schema).is_valid(wrong)


def test_all_references_lead_somewhere_in_the_document() -> None:
    for reference in set(references(DOCUMENT)):
        place = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def test_every_schema_is_one() -> None:
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft7Validator.check_schema(schema)


# All that the contract names


def test_every_command_and_every_event_has_a_schema_named_by_its_type() -> None:
    assert SCHEMAS.keys() == COMMAND_TYPES | EVENT_TYPES
    assert all(schema["$id"] == f"urn:seatline:{type_}" for type_, schema in SCHEMAS.items())


def test_every_topic_has_its_messages() -> None:
    channels = {channel["address"]: channel["messages"].keys() for channel in DOCUMENT["channels"].values()}
    assert channels == {
        "seatline.commands": COMMAND_TYPES | {f"{type_}.binary" for type_ in COMMAND_TYPES},
        "seatline.replies": {"accepted", "rejected", "duplicate"},
        "seatline.events": EVENT_TYPES,
        "seatline.dead-letters": {"dead-letter"},
    }


@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_has_an_example_that_is_valid(name: str) -> None:
    message = with_traits(MESSAGES[name])
    [example] = message["examples"]
    Draft7Validator(message["headers"]).validate(example["headers"])
    in_document(f"components/messages/{name}/payload").validate(example["payload"])


def test_an_example_of_another_type_is_not_valid() -> None:
    message, other = with_traits(MESSAGES["seatline.order.order-paid.v1"]), MESSAGES["seatline.order.order-placed.v1"]
    assert not Draft7Validator(message["headers"]).is_valid(other["examples"][0]["headers"])
    another = MESSAGES["seatline.command.open-cart.v1"]["examples"][0]["payload"]
    assert not in_document("components/messages/seatline.command.choose-seats.v1/payload").is_valid(another)


def test_the_worked_example_is_the_contracts() -> None:
    quote = MESSAGES["accepted"]["examples"][0]["payload"]["data"]["quote"]
    assert [(line["kind"], line["fraction"], line["net"]) for line in quote["lines"]] == [
        ("seats", "1", "36.00"),
        ("extension", "245/365", "16.78"),
    ]
    assert (quote["net"], quote["vat"], quote["total"]) == ("52.78", "11.61", "64.39")


# What really comes and goes


def test_what_the_engine_stores_is_as_described(office: Office) -> None:
    for _ in told(office):
        pass
    stored = office.ask("SELECT topic, convert_from(state, 'UTF8')::json -> 'data' FROM seatline.stored_events")
    assert len({topic for topic, _ in stored}) > 25
    for topic, data in stored:
        data_of(public_type(topic), closed=True).validate(data)


def test_a_schema_refuses_exactly_the_data_that_the_engine_refuses() -> None:
    refused = 0
    for line, command in workload(4_000):
        if isinstance(command.data, TypeUnknown):
            continue
        valid = data_of(command.type).is_valid(json.loads(line)["data"])
        assert valid != isinstance(command.data, DataInvalid), line
        refused += not valid
    assert refused > 50


def test_commands_are_as_described_with_all_that_surrounds_them() -> None:
    for line, command in workload(500):
        if not isinstance(command.data, TypeUnknown | DataInvalid):
            in_document(f"components/messages/{command.type}/payload").validate(json.loads(line))


def test_what_the_engine_answers_is_as_described(office: Office) -> None:
    office.on("2026-11-02")
    commands = [command for _, command in workload(2_000)]
    answers: list[Answer] = office.clerk.handle(commands)
    outcomes = {
        outcome: in_document(f"components/messages/{outcome}/payload")
        for outcome in ("accepted", "rejected", "duplicate")
    }
    for answer in answers:
        outcomes[answer.outcome].validate(json.loads(answer.line()))
    assert {answer.outcome for answer in answers} == outcomes.keys()
