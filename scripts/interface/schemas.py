"""JSON Schemas of what goes in and out, made from the models and the docstrings in the domain."""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from pydantic import TypeAdapter

from domain import events
from domain.commands import PUBLIC
from domain.events import public_type
from domain.shop import OrderGiven, QuoteGiven

Schema = dict[str, Any]

DOMAIN = Path(__file__).parents[2] / "domain"
DEFS = "#/$defs/"
RULES = re.compile(r" \([A-Z]\d+(/[A-Z])?(, [A-Z]\d+)*\)")
"""References to the rules, which tell the outside nothing."""

COMMANDS: Mapping[str, Any] = PUBLIC
EVENTS: dict[str, Any] = {public_type(event.topic): event for event in events.EVENTS}
ANSWERS: dict[str, Any] = {"quote": QuoteGiven, "order": OrderGiven}
"""What an answer's `data` may hold."""


def files() -> dict[str, Schema]:
    """A schema of its own for the data of each command and event, by type."""
    roots, defs = described()
    return {type_: _alone(type_, roots[type_], defs) for type_ in sorted({**COMMANDS, **EVENTS})}


@cache
def described() -> tuple[dict[str, Schema], dict[str, Schema]]:
    """The schema of each type, mostly a reference, and the definitions they refer to as `#/$defs/…`.

    What is read is described, not what is written: a field with a default may be missing from events that are older
    than the field.
    """
    asked, pool = TypeAdapter.json_schemas(
        [(type_, "validation", TypeAdapter(model)) for type_, model in COMMANDS.items()], ref_template=DEFS + "{model}"
    )
    said = EVENTS | ANSWERS
    told, defs = msgspec.json.schema_components(said.values(), ref_template=DEFS + "{name}")
    roots = {type_: asked[type_, "validation"] for type_ in COMMANDS} | dict(zip(said, told, strict=True))
    defs |= pool["$defs"]
    for name, schema in defs.items():
        defs[name] = {"title": name, **_tidy(schema)}
        _add_docstrings(defs[name])
    incoming = set().union(*(_needed(roots[type_], defs) for type_ in COMMANDS))
    for name in defs.keys() - incoming:
        # A field may be added to what the engine says, so whoever reads must ignore what it doesn't know.
        if defs[name].get("additionalProperties") is False:
            del defs[name]["additionalProperties"]
    return roots, dict(sorted(defs.items()))


def _alone(type_: str, root: Schema, defs: Mapping[str, Schema]) -> Schema:
    if "$ref" in root:
        root = defs[root["$ref"].removeprefix(DEFS)]
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:seatline:{type_}", **root}
    if needed := sorted(_needed(root, defs)):
        schema["$defs"] = {name: defs[name] for name in needed}
    return schema


def _needed(schema: object, defs: Mapping[str, Schema]) -> set[str]:
    """The definitions that a schema refers to, directly or not."""
    names = {reference.removeprefix(DEFS) for reference in references(schema)}
    return names.union(*(_needed(defs[name], defs) for name in names))


def references(schema: object) -> Iterator[str]:
    """Every `$ref` in a schema."""
    match schema:
        case dict():
            if isinstance(reference := schema.get("$ref"), str):
                yield reference
            for part in schema.values():
                yield from references(part)
        case list():
            for part in schema:
                yield from references(part)


def _tidy(schema: Any, *, names: bool = False) -> Any:
    """Without pydantic's titles, which repeat the names; what JSON Schema has no word for is said in words."""
    if isinstance(schema, list):
        return [_tidy(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if names:
        return {name: _tidy(part) for name, part in schema.items()}
    tidy = {word: _tidy(part, names=word == "properties") for word, part in schema.items() if word != "title"}
    if "ge" in tidy:
        tidy["description"] = f"From {tidy.pop('ge')} to {tidy.pop('le')}."
    return tidy


def _add_docstrings(schema: Schema) -> None:
    if "description" in schema:
        schema["description"] = RULES.sub("", schema["description"])
    fields = schema.get("properties", {})
    for field, text in _docstrings().get(schema["title"], {}).items():
        if field in fields:
            fields[field]["description"] = RULES.sub("", text)


@cache
def _docstrings() -> dict[str, dict[str, str]]:
    """What stands below a field in the domain's classes, by class and field."""
    classes = [
        node
        for path in sorted(DOMAIN.glob("*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    ]
    return {
        node.name: {
            field.target.id: " ".join(str(below.value.value).split())
            for field, below in zip(node.body, node.body[1:], strict=False)
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        }
        for node in classes
    }
