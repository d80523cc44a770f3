"""Events as a careless or a careful hand might change them: copies of their structs, each with one change."""

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from functools import reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Struct

from domain.kernel import Event

OTHERS: tuple[type, ...] = (int, str, bool, date, Decimal, list[str])
"""Types that a field might be given instead of its own."""

Change = tuple[str, type[Struct]]
"""In words, and the struct with it."""


class Field(NamedTuple):
    name: str
    encode_name: str
    type: Any
    default: Any


def incompatible(struct: type[Struct]) -> Iterator[Change]:
    """Every field renamed, removed, retyped, or no longer allowed to be missing; and one more that must be there."""
    return _changed(struct, _spoilt)


def compatible(struct: type[Struct]) -> Iterator[Change]:
    """One more field that may be missing, and every field allowed to be missing from now on."""
    return _changed(struct, _eased)


def _spoilt(fields: Sequence[Field]) -> Iterator[tuple[str, Sequence[Field]]]:
    for field in fields:
        others = [other for other in fields if other is not field]
        yield f"{field.name} renamed", [*others, field._replace(name="other", encode_name="other")]
        yield f"{field.name} removed", others
        for type_ in OTHERS:
            if _bare(field.type) is not type_:
                yield f"{field.name} retyped to {type_}", [*others, field._replace(type=type_)]
        if field.default is not NODEFAULT:
            yield f"{field.name} required", [*others, field._replace(default=NODEFAULT)]
    yield "one more required", [*fields, Field("added", "added", str, NODEFAULT)]


def _eased(fields: Sequence[Field]) -> Iterator[tuple[str, Sequence[Field]]]:
    yield "one more with a default", [*fields, Field("added", "added", str | None, None)]
    for field in fields:
        if field.default is NODEFAULT:
            yield (
                f"{field.name} may be missing",
                [one._replace(type=_bare(one.type) | None, default=None) if one is field else one for one in fields],
            )


def _changed(
    struct: type[Struct], changes: Callable[[Sequence[Field]], Iterator[tuple[str, Sequence[Field]]]]
) -> Iterator[Change]:
    """In the struct itself, and in those that its fields hold."""
    fields = [
        Field(field.name, field.encode_name, field.type, field.default) for field in msgspec.structs.fields(struct)
    ]
    for what, changed in changes(fields):
        yield what, _remade(struct, changed)
    for place, field in enumerate(fields):
        for part in _structs_in(field.type):
            for what, new in _changed(part, changes):
                replaced = field._replace(type=_exchanged(field.type, part, new))
                yield f"{field.name}: {what}", _remade(struct, [*fields[:place], replaced, *fields[place + 1 :]])


def _remade(struct: type[Struct], fields: Sequence[Field]) -> type[Struct]:
    namespace = {"__module__": __name__, "__annotations__": {field.name: field.type for field in fields}}
    defaults = {field.name: field.default for field in fields if field.default is not NODEFAULT}
    metaclass: Any = type(struct)
    options: dict[str, Any] = {"topic": struct.topic} if issubclass(struct, Event) else {}
    remade: type[Struct] = metaclass(
        struct.__name__,
        struct.__bases__,
        namespace | defaults,
        kw_only=True,
        rename={field.name: field.encode_name for field in fields},
        omit_defaults=struct.__struct_config__.omit_defaults,
        **options,
    )
    return remade


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _structs_in(hint: Any) -> Iterator[type[Struct]]:
    if isinstance(hint, type) and issubclass(hint, Struct):
        yield hint
    else:
        for part in get_args(hint):
            yield from _structs_in(part)


def _exchanged(hint: Any, old: type[Struct], new: type[Struct]) -> Any:
    """The same type, holding another struct."""
    if hint is old:
        return new
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (None, Annotated, Literal):
        return hint
    exchanged = [_exchanged(part, old, new) for part in parts]
    return reduce(or_, exchanged) if origin in (Union, UnionType) else origin[tuple(exchanged)]
