"""The shape of an event's JSON, a line for each field, and what of a shape today's code can no longer read."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec
from msgspec.inspect import (
    BoolType,
    DateTimeType,
    DateType,
    DecimalType,
    DictType,
    EnumType,
    Field,
    IntType,
    LiteralType,
    Metadata,
    NoneType,
    StrType,
    StructType,
    Type,
    UnionType,
    VarTupleType,
    type_info,
)

Shape = dict[str, str]
"""What may stand in each place: `quote.lines[].service_id` → `null | str = null`, the default behind the `=`."""


def shape(struct: type[msgspec.Struct]) -> Shape:
    return dict(_fields(type_info(struct), ""))


def _fields(struct: Type, at: str) -> Iterator[tuple[str, str]]:
    assert isinstance(struct, StructType)
    for field in struct.fields:
        place = at + field.encode_name
        alternatives = list(_alternatives(field.type))
        yield place, _text(alternatives) + _default(field)
        for alternative in alternatives:
            yield from _inside(alternative, place)


def _inside(type_: Type, place: str) -> Iterator[tuple[str, str]]:
    match type_:
        case StructType():
            yield from _fields(type_, f"{place}.")
        case VarTupleType(item_type=part):
            yield from _part(part, f"{place}[]")
        case DictType(value_type=part):
            yield from _part(part, f"{place}{{}}")


def _part(type_: Type, place: str) -> Iterator[tuple[str, str]]:
    alternatives = list(_alternatives(type_))
    yield place, _text(alternatives)
    for alternative in alternatives:
        yield from _inside(alternative, place)


def _alternatives(type_: Type) -> Iterator[Type]:
    match type_:
        case Metadata(type=inner):
            yield from _alternatives(inner)
        case UnionType(types=types):
            for alternative in types:
                yield from _alternatives(alternative)
        case _:
            yield type_


def _text(alternatives: Iterable[Type]) -> str:
    return " | ".join(sorted(word for alternative in alternatives for word in _words(alternative)))


def _words(type_: Type) -> Iterator[str]:
    match type_:
        case NoneType():
            yield "null"
        case BoolType():
            yield "bool"
        case IntType(gt=None, ge=None):
            yield "int"
        case IntType(gt=0):
            yield "int >0"
        case IntType(ge=0):
            yield "int >=0"
        case StrType():
            yield "str"
        case DateType():
            yield "date"
        case DateTimeType():
            yield "datetime"
        case DecimalType():
            yield "decimal"
        case LiteralType(values=values):
            yield from map(_json, values)
        case EnumType(cls=enum):
            yield from (_json(member.value) for member in enum)
        case StructType():
            yield "object"
        case VarTupleType():
            yield "array"
        case DictType():
            yield "map"
        case _:
            # Another kind of type than any event has had: the frozen lines say whether their bytes survive it.
            yield type(type_).__name__


def _default(field: Field) -> str:
    if field.required:
        return ""
    made = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    return f" = {_json(made)}"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


# Compared


def broken(was: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """Each reason why what was written in the old shape can't be read, or means something else, in the new one."""
    for place, said in was.items():
        if place not in now:
            yield f"{place} is gone or renamed"
        elif not _takes(now[place], said):
            yield f"{place} was {said}, and is {now[place]}"
    for place in now.keys() - was.keys():
        within = place[:-2] if place.endswith(("[]", "{}")) else place.rpartition(".")[0]
        if (not within or within in was) and " = " not in now[place]:
            yield f"{place} is new and has no default"


def _takes(now: str, was: str) -> bool:
    """Whether it has the same default, if it had one, and at least the same alternatives, perhaps with wider bounds."""
    types, has_default, default = was.partition(" = ")
    wider, _, default_now = now.partition(" = ")
    known = wider.split(" | ")
    return all(one in known or one.split(" ")[0] in known for one in types.split(" | ")) and (
        not has_default or default == default_now
    )
