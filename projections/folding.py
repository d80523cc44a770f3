"""Folding: events into the rows they change, each home by itself, so that a fault in one reaches no other."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from traceback import extract_tb
from typing import Any, NamedTuple, TypeVar

from domain.kernel import Event, Recorded, event_id
from projections.view import AnyView, Key, Rows

Load = Callable[[Iterable[Key]], Mapping[Key, Any]]
"""Gives the rows under these keys, those that exist."""


class Unreadable(NamedTuple):
    """An event in its place whose bytes the handlers' version can't read."""

    originator_id: str
    originator_version: int
    event: type[Event]
    subject: str
    position: int
    error: Exception

    @property
    def id(self) -> str:
        return event_id(self.originator_id, self.originator_version)


class Poison(NamedTuple):
    """The first event of a home that a view can't take; from it on the home's rows stay as they are."""

    home: str
    subject: str
    event_id: str
    position: int
    error: str
    """What kind of fault, and where: its message could hold what belongs to the customer."""


class Folded(NamedTuple):
    changes: Mapping[str, Rows[Any]]
    """The changed rows of each home."""
    poison: Sequence[Poison]


AnyEvent = TypeVar("AnyEvent", bound=Recorded | Unreadable)


def by_home(view: AnyView, events: Iterable[AnyEvent]) -> dict[str, list[AnyEvent]]:
    """The events of each home in their order; rows of different homes have nothing to do with each other."""
    homes: dict[str, list[AnyEvent]] = {}
    for event in events:
        homes.setdefault(event.originator_id if view.home else event.subject, []).append(event)
    return homes


def keys_of(view: AnyView, events: Iterable[Recorded | Unreadable]) -> set[Key]:
    """The rows that the events will look for, except those that can't be applied anyway."""
    keys: set[Key] = set()
    for event in events:
        if isinstance(event, Recorded):
            with suppress(Exception):
                keys.update(view.keys(event))
    return keys


def fold(
    view: AnyView,
    homes: Mapping[str, Sequence[Recorded | Unreadable]],
    load: Load,
    known: Mapping[Key, Any] | None = None,
) -> Folded:
    """Apply the events, all of which concern the view, to the rows they look for, in case these are known already."""
    if known is None:
        known = load({key for events in homes.values() for key in keys_of(view, events)})
    changes: dict[str, Rows[Any]] = {}
    poison = []
    for home, events in homes.items():
        rows: Rows[Any] = Rows(known)
        done = 0
        try:
            for event in events:
                _apply(view, event, rows)
                done += 1
            _settle(view, rows)
        except Exception as error:
            done = min(done, len(events) - 1)
            at = events[done]
            poison.append(Poison(home, at.subject, at.id, at.position, _fault(error)))
            # It may have changed half of what it wanted to.
            rows = Rows(load(keys_of(view, events)))
            for event in events[:done]:
                _apply(view, event, rows)
            _settle(view, rows)
        changes[home] = rows
    return Folded(changes, poison)


def _apply(view: AnyView, event: Recorded | Unreadable, rows: Rows[Any]) -> None:
    if isinstance(event, Unreadable):
        raise event.error
    view.apply(event, rows)


def _settle(view: AnyView, rows: Rows[Any]) -> None:
    for row in rows.kept():
        view.settle(row)


def _fault(error: Exception) -> str:
    place = extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {place.name}, {'/'.join(place.filename.rsplit('/', 2)[-2:])}:{place.lineno}"
