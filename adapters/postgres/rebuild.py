"""A view built anew beside the live one, compared with it and swapped; the one before is kept to go back to."""

import random
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg import Connection, sql
from psycopg.rows import tuple_row

from adapters.postgres.building import Build, Progress, begin, fill, forget
from adapters.postgres.comparing import Differences, compare
from adapters.postgres.hands import hands
from adapters.postgres.log import COLUMNS, EventLog, StoredEvent
from adapters.postgres.tables import Table, names
from adapters.postgres.views import concerning, generation_of, lock_positions, show, tell
from projections.folding import by_home, fold
from projections.view import AnyView, Key, Rows

PAGE = 5_000
WAITING = "50ms"
"""How long a swap waits for readers who are just at it, and lets others wait behind it, before it gives way."""
GIVE_WAY = (0.02, 0.2)
"""Seconds before the next attempt."""

OF_SUBJECT = f"""
    SELECT {COLUMNS}
    FROM seatline.stored_events WHERE subject = %s AND notification_id <= %s ORDER BY notification_id
"""  # noqa: S608
STREAMS_OF_SUBJECT = f"""
    SELECT {COLUMNS}
    FROM seatline.stored_events
    WHERE originator_id IN (SELECT originator_id FROM seatline.stored_events WHERE subject = %s)
        AND notification_id <= %s ORDER BY notification_id
"""  # noqa: S608


class NothingKept(Exception):
    """The view has not been rebuilt, so that there is nothing to go back to."""


class NothingKnown(Exception):
    """Nothing ever happened to such a subscription."""


class Rebuilt(NamedTuple):
    """What came of a rebuild."""

    was_version: int
    differences: Differences
    """Between the live view and the new one, both after the same event."""
    parked: int
    """Homes that the new handlers can't go on with."""
    locked: float
    """Seconds in which a reader may have had to wait."""


class Checked(NamedTuple):
    """What a rebuild would find."""

    was_version: int
    differences: Differences
    parked: int
    examples: Sequence[tuple[Key, Any, Any]]
    """Some of the rows that differ, each as readers see it and as it was made anew; None where there is none."""


class Returned(NamedTuple):
    """What a view shows after going back."""

    version: int
    behind: int
    """Events that it doesn't show; not none only if handlers of another version made it, which must go on with it."""
    locked: float


def rebuild(log: EventLog, view: AnyView, progress: Progress, *, processes: int = 1) -> Rebuilt:
    """Goes on where one by the same handlers was killed; of two rebuilds of a view one waits for the other."""
    with log.connection() as connection, _one_at_a_time(connection, view):
        build, shown = _built(log, connection, view, progress, processes)
        with _after_the_same_event(log, connection, shown.table, build.table) as looking:
            differences = compare(looking, shown.table, build.table)
        _discard_kept(connection, shown)
        locked = _swap(log, connection, shown, build.table, view.version)
        return Rebuilt(shown.version, differences, _parked(connection, build.table), locked)


def check(log: EventLog, view: AnyView, progress: Progress, *, processes: int = 1) -> Checked:
    """Rebuild and compare, show nothing of it and leave nothing behind."""
    with log.connection() as connection, _one_at_a_time(connection, view):
        build, shown = _built(log, connection, view, progress, processes)
        with _after_the_same_event(log, connection, shown.table, build.table) as looking:
            differences = compare(looking, shown.table, build.table)
            live, anew = (table.load(looking, differences.examples) for table in (shown.table, build.table))
        parked = _parked(connection, build.table)
        with connection.transaction():
            forget(connection, view)
            build.table.discard(connection)
    return Checked(
        shown.version, differences, parked, [(key, live.get(key), anew.get(key)) for key in differences.examples]
    )


def roll_back(log: EventLog, view: AnyView) -> Returned:
    """Show what the view showed before its last rebuild, brought up to date if the same handlers made it."""
    with log.connection() as connection, _one_at_a_time(connection, view):
        shown = _shown(connection, view)
        if shown.previous_generation is None or shown.previous_version is None:
            raise NothingKept(f"view {view.name} has not been rebuilt: there is nothing to go back to")
        table = generation_of(view, shown.previous_generation)
        locked = _swap(log, connection, shown, table, shown.previous_version)
        return Returned(shown.previous_version, log.head() - _position(connection, table), locked)


def rebuild_only(log: EventLog, view: AnyView, subject: str) -> tuple[int, int]:
    """Make the rows of one subscription anew in the live table, and let it go on if it was parked.

    Returns how many rows were different, and how many homes can still not go on; raises NothingKnown.
    """
    with log.connection() as connection, connection.transaction():
        table = _shown(connection, view, "FOR SHARE").table
        position = lock_positions(connection, [table.reader])[table.reader]
        with connection.cursor(row_factory=tuple_row) as cursor:
            cursor.execute(STREAMS_OF_SUBJECT if view.home else OF_SUBJECT, (subject, position), binary=True)
            stored = list(map(StoredEvent._make, cursor.fetchall()))
        homes = by_home(view, concerning([view], stored)[view.name])
        changes, poison = fold(view, homes, lambda _: {})
        made = {key for rows in changes.values() for key in rows.changed}
        there = table.load(connection, made | set(_keys_of(connection, table, subject)))
        if not stored and not there:
            raise NothingKnown(f"nothing ever happened to {subject}: is it the subscription's id?")
        different: dict[str, Rows[Any]] = {home: _different(rows, there) for home, rows in changes.items()}
        for key in there.keys() - made:
            different.setdefault(subject, Rows()).drop(*key)
        connection.execute(
            "DELETE FROM seatline.parked WHERE reader = %s AND (subject = %s OR home = ANY(%s))",
            (table.reader, subject, list(homes)),
        )
        poison = [*poison, *table.write(connection, different, homes)]
        table.park(connection, poison)
        keys = [key for rows in different.values() for key in rows.changed]
        tell(connection, view, position, keys)
        return len(keys), len(poison)


def _different(rows: Rows[Any], there: dict[Key, Any]) -> Rows[Any]:
    """What of the rows has to be written over those that are there."""
    different: Rows[Any] = Rows()
    for key in rows.changed:
        row = rows.get(*key)
        if row is not None and row != there.get(key):
            different.put(row, *key)
        elif row is None and key in there:
            different.drop(*key)
    return different


def _keys_of(connection: Connection[Any], table: Table, subject: str) -> list[Key]:
    if "subscription_id" not in table.columns:
        return []
    query = sql.SQL("SELECT {} FROM {} WHERE subscription_id = %s").format(names(table.view.key), table.name)
    with connection.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(query, (subject,)).fetchall()


# The steps of a rebuild


class _Shown(NamedTuple):
    """What readers of a view see, and what they saw before its last rebuild."""

    view: AnyView
    version: int
    generation: int
    previous_version: int | None
    previous_generation: int | None
    previous_columns: Sequence[str] | None

    @property
    def table(self) -> Table:
        return generation_of(self.view, self.generation)


def _shown(connection: Connection[Any], view: AnyView, lock: LiteralString = "") -> _Shown:
    query = sql.SQL(
        "SELECT version, generation, previous_version, previous_generation, previous_columns"
        " FROM seatline.views WHERE name = %s {}"
    ).format(sql.SQL(lock))
    with connection.cursor(row_factory=tuple_row) as cursor:
        [row] = cursor.execute(query, (view.name,))
    return _Shown(view, *row)


def _built(
    log: EventLog, connection: Connection[Any], view: AnyView, progress: Progress, processes: int
) -> tuple[Build, _Shown]:
    """A table beside the one that readers see, about as far."""
    # The other processes get ready while the parts are made.
    with hands(log, processes) as team:
        build = begin(connection, view)
        fill(log, build, progress, team)
    shown = _shown(connection, view)
    _catch_up(log, connection, build.table, _position(connection, shown.table))
    return build, shown


def _catch_up(log: EventLog, connection: Connection[Any], table: Table, goal: int) -> None:
    """Fold what a table that no runner keeps up to date misses up to this position."""
    while (position := _position(connection, table)) < goal:
        page = log.stored_page(position, min(PAGE, goal - position))
        with connection.transaction():
            if events := concerning([table.view], page)[table.view.name]:
                table.fold(connection, events)
            connection.execute(
                "UPDATE seatline.positions SET position = %s, moved_at = now() WHERE reader = %s",
                (page[-1].position, table.reader),
            )


@contextmanager
def _after_the_same_event(
    log: EventLog, connection: Connection[Any], before: Table, after: Table
) -> Iterator[Connection[Any]]:
    """A connection whose snapshot has both tables after one event, so that nobody waits while rows are compared."""
    with log.connection() as looking, looking.transaction():
        looking.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        with log.connection() as holding, holding.transaction():
            position = lock_positions(holding, [before.reader])[before.reader]
            _catch_up(log, connection, after, position)
            looking.execute("SELECT")  # takes the snapshot
        yield looking


def _discard_kept(connection: Connection[Any], shown: _Shown) -> None:
    """Drop what the view could go back to until now; within the swap, readers would wait while its files go."""
    if shown.previous_generation is not None:
        with connection.transaction():
            generation_of(shown.view, shown.previous_generation).discard(connection)
            connection.execute(
                "UPDATE seatline.views SET previous_generation = NULL, previous_version = NULL, previous_columns = NULL"
                " WHERE name = %s",
                (shown.view.name,),
            )


def _swap(log: EventLog, connection: Connection[Any], shown: _Shown, table: Table, version: int) -> float:
    """Show this table, at least up to where readers already are; returns for how many seconds they may have waited."""
    while True:
        if is_ours := version == table.view.version:
            _catch_up(log, connection, table, log.head())
        try:
            with connection.transaction():
                # Runners wait from here on, first for the view and then for its position, as for each other.
                connection.execute("SELECT FROM seatline.views WHERE name = %s FOR UPDATE", (table.view.name,))
                position = lock_positions(connection, [shown.table.reader])[shown.table.reader]
                if is_ours:
                    _catch_up(log, connection, table, position)
                connection.execute("SELECT set_config('lock_timeout', %s, true)", (WAITING,))
                began = time.perf_counter()
                show(connection, table, version, () if is_ours else shown.previous_columns or ())
                forget(connection, table.view)
                tell(connection, table.view, position, None)
            return time.perf_counter() - began
        except psycopg.errors.LockNotAvailable:
            time.sleep(random.uniform(*GIVE_WAY))  # noqa: S311  spreads attempts, guards nothing


@contextmanager
def _one_at_a_time(connection: Connection[Any], view: AnyView) -> Iterator[None]:
    key = zlib.crc32(f"seatline rebuild {view.name}".encode())
    connection.execute("SELECT pg_advisory_lock(%s)", (key,))
    try:
        yield
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", (key,))


def _parked(connection: Connection[Any], table: Table) -> int:
    return connection.execute("SELECT FROM seatline.parked WHERE reader = %s", (table.reader,)).rowcount


def _position(connection: Connection[Any], table: Table) -> int:
    with connection.cursor(row_factory=tuple_row) as cursor:
        [(position,)] = cursor.execute("SELECT position FROM seatline.positions WHERE reader = %s", (table.reader,))
    return int(position)
