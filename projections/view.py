"""A view: rows of one type under a key, and how one event changes them."""

from collections.abc import Iterable, Mapping, Set
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from domain.events import BY_TOPIC
from domain.kernel import Event, Recorded

Key = tuple[str, ...]


class Row(msgspec.Struct):
    """Every row begins with the position of the last event that changed it."""

    position: int


RowT = TypeVar("RowT", bound=Row)


class Rows(Generic[RowT]):
    """The rows that events touch: read before, changed in memory, written after."""

    def __init__(self, known: Mapping[Key, RowT] | None = None) -> None:
        self._known = known or {}
        self._changed: dict[Key, RowT | None] = {}
        self._cleared: dict[Key, None] = {}

    @property
    def changed(self) -> Set[Key]:
        return self._changed.keys()

    def get(self, *key: str) -> RowT | None:
        return self._changed[key] if key in self._changed else self._known.get(key)

    def put(self, row: RowT, *key: str) -> None:
        self._changed[key] = row

    def drop(self, *key: str) -> None:
        self._changed[key] = None

    def clear(self, *key: str) -> None:
        """Drop all rows whose keys begin so, whichever there are; none of them may be looked for."""
        self._changed = {known: row for known, row in self._changed.items() if known[: len(key)] != key}
        self._cleared[key] = None

    def kept(self) -> list[RowT]:
        """The changed rows that are to be written."""
        return [row for row in self._changed.values() if row is not None]

    def dropped(self) -> list[Key]:
        return [key for key, row in self._changed.items() if row is None]

    def cleared(self) -> list[Key]:
        """What the keys of rows begin with that are to be dropped before others are written."""
        return list(self._cleared)


class View(Generic[RowT]):
    """One read model; the same handler serves live events, a rebuild, and the panel as it was at some time."""

    name: ClassVar[str]
    version: ClassVar[int]
    """Raised with every change of what the rows say; the view is then rebuilt."""
    key: ClassVar[tuple[str, ...]]
    """The columns that identify a row."""
    hidden: ClassVar[tuple[str, ...]] = ()
    """Columns that only the handler needs; readers of the view don't see them."""
    personal: ClassVar[tuple[str, ...]] = ()
    """Columns that say who somebody is; of keys, listeners are only told what stands before them."""
    home: ClassVar[str] = ""
    """The kind of stream whose events alone make a row; if none is named, all events of one subject do."""
    events: ClassVar[tuple[type[Event], ...]]
    """The only ones that the handler is given."""
    row: type[RowT]

    @cached_property
    def topics(self) -> frozenset[str]:
        """Those of older versions too, which are read as today's."""
        return frozenset(topic for topic, event in BY_TOPIC.items() if event in self.events)

    def keys(self, recorded: Recorded) -> Iterable[Key]:
        """The rows that applying this event will look for."""
        raise NotImplementedError

    def apply(self, recorded: Recorded, rows: Rows[RowT]) -> None:
        """Change the rows as the event says."""
        raise NotImplementedError

    def settle(self, row: RowT) -> None:
        """Bring what a row says in sum into line, once all events at hand are applied to it."""


AnyView = View[Any]
