"""What of an event is personal: taken out of it before it is stored, and put back where the key still exists."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, Union

import msgspec
from msgspec.inspect import DictType, Metadata, StructType, Type, UnionType, VarTupleType, type_info
from msgspec.structs import replace

from adapters.postgres.keys import Cipher
from domain.events import EVENTS
from domain.kernel import Event

Said = dict[str, str]
"""The personal values, by their places: `account_holder.name`."""
ValueT = TypeVar("ValueT", bound=msgspec.Struct)
Places = Mapping[str, Union[Callable[[str], bool], "Places"]]
"""By the names of fields: whether a value is personal, or the places within."""


def _places(struct: StructType) -> Places:
    return {
        field.name: inner
        for field in struct.fields
        for alternative in (field.type.types if isinstance(field.type, UnionType) else (field.type,))
        if (inner := _inner(alternative))
    }


def _inner(type_: Type) -> Callable[[str], bool] | Places | None:
    match type_:
        case Metadata(extra={"personal": rule}):
            is_personal: Callable[[str], bool] = rule
            return is_personal
        case StructType():
            return _places(type_)
        case VarTupleType(item_type=part) | DictType(value_type=part):
            assert not _inner(part), "what is personal within a list or a map would stay in plain"
            return None
        case _:
            return None


def _struct(event: type[Event]) -> StructType:
    struct = type_info(event)
    assert isinstance(struct, StructType)
    return struct


PERSONAL: dict[type[Event], Places] = {event: places for event in EVENTS if (places := _places(_struct(event)))}


def personal_values(event: Event) -> list[str]:
    """What an event says about somebody, or the pseudonyms of it."""
    return list(_values(event, PERSONAL.get(type(event), {})))


def _values(value: msgspec.Struct, places: Places) -> Iterator[str]:
    for name, inner in places.items():
        part = getattr(value, name)
        if part is not None:
            if not callable(inner):
                yield from _values(part, inner)
            elif inner(part):
                yield part


def hide(value: ValueT, places: Places, cipher: Cipher, said: Said, at: str = "") -> ValueT:
    """The same with pseudonyms for what is personal, which is added to `said`."""
    hidden: dict[str, Any] = {}
    for name, inner in places.items():
        part = getattr(value, name)
        if part is None:
            continue
        if not callable(inner):
            hidden[name] = hide(part, inner, cipher, said, f"{at}{name}.")
        elif inner(part):
            said[at + name] = part
            hidden[name] = cipher.pseudonym(part)
    return replace(value, **hidden) if hidden else value


def reveal(value: ValueT, places: Places, said: Said, at: str = "") -> ValueT:
    """The same with what was hidden in it."""
    revealed: dict[str, Any] = {}
    for name, inner in places.items():
        if not callable(inner):
            revealed[name] = reveal(getattr(value, name), inner, said, f"{at}{name}.")
        elif (text := said.get(at + name)) is not None:
            revealed[name] = text
    return replace(value, **revealed) if revealed else value


def reveal_in(data: dict[str, Any], said: Said) -> None:
    """The same within the JSON of an event, of whatever version."""
    for place, text in said.items():
        *way, name = place.split(".")
        part = data
        for step in way:
            part = part[step]
        part[name] = text
