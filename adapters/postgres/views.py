"""The views' tables: made from the rows' types, filled in batches together with their positions, rebuilt aside."""

import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any, LiteralString, get_args, get_origin, get_type_hints

import psycopg
from psycopg import Connection, sql
from psycopg.rows import tuple_row
from pydantic_core import to_json

from adapters.postgres.database import DatabaseAway
from adapters.postgres.log import EventLog
from adapters.postgres.schema import LOCK, SchemaError
from domain.kernel import Recorded
from projections.catalogue import VIEWS
from projections.view import AnyView, Key, Rows

SQL_TYPES = {
    str: "text",
    int: "bigint",
    bool: "boolean",
    date: "date",
    datetime: "timestamptz",
    Decimal: "numeric(20,2)",
}


def sql_type(annotation: Any) -> str:
    """The column type for a row's field: a list becomes an array, a dict jsonb."""
    parts = [part for part in get_args(annotation) if part is not type(None)]
    if get_origin(annotation) is list:
        return f"{sql_type(parts[0])}[]"
    if get_origin(annotation) is dict:
        return "jsonb"
    return SQL_TYPES[annotation] if annotation in SQL_TYPES else sql_type(parts[0])


class Table:
    """One generation of a view's rows."""

    def __init__(self, view: AnyView, generation: int) -> None:
        self.view = view
        self.generation = generation
        self.name = sql.Identifier("read_model", f"{view.name}_{generation}")
        self.reader = f"view:{view.name}:{generation}"
        hints = get_type_hints(view.row)
        ordered = [field.name for field in fields(view.row) if field.name != "position"]
        self.columns = {name: sql_type(hints[name]) for name in [*ordered, "position"]}

    def create(self, connection: Connection[Any]) -> None:
        columns = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(type_)) for name, type_ in self.columns.items()
        )
        connection.execute(
            sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY ({}))").format(self.name, columns, _names(self.view.key))
        )
        if "subscription_id" in self.columns and self.view.key[0] != "subscription_id":
            connection.execute(sql.SQL("CREATE INDEX ON {} (subscription_id)").format(self.name))
        connection.execute("INSERT INTO seatline.positions (reader) VALUES (%s)", (self.reader,))

    def discard(self, connection: Connection[Any]) -> None:
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(self.name))
        connection.execute("DELETE FROM seatline.positions WHERE reader = %s", (self.reader,))

    def show(self, connection: Connection[Any]) -> None:
        """Make this generation the one that readers of the view see."""
        shown = _names(name for name in self.columns if name not in self.view.hidden)
        panel = sql.Identifier("panel", self.view.name)
        create = sql.SQL("CREATE OR REPLACE VIEW {} AS SELECT {} FROM {}").format(panel, shown, self.name)
        try:
            # Replacing keeps what an operator has granted; it fails where the columns are others.
            with connection.transaction():
                connection.execute(create)
        except psycopg.errors.InvalidTableDefinition:
            connection.execute(sql.SQL("DROP VIEW {}").format(panel))
            connection.execute(create)
        connection.execute(sql.SQL("GRANT SELECT ON {} TO panel_reader").format(panel))
        connection.execute(
            "INSERT INTO seatline.views VALUES (%s, %s, %s)"
            " ON CONFLICT (name) DO UPDATE SET version = excluded.version, generation = excluded.generation",
            (self.view.name, self.view.version, self.generation),
        )

    def fold(self, connection: Connection[Any], events: Sequence[Recorded]) -> None:
        """Apply events and write the changed rows and the position, within the caller's transaction."""
        keys = {key for event in events for key in self.view.keys(event)}
        rows: Rows[Any] = Rows(self._load(connection, keys) if keys else {})
        for event in events:
            self.view.apply(event, rows)
        if kept := rows.kept():
            self._upsert(connection, kept)
        if dropped := rows.dropped():
            self._delete(connection, dropped)
        connection.execute(
            "UPDATE seatline.positions SET position = %s, moved_at = now() WHERE reader = %s",
            (events[-1].position, self.reader),
        )

    def _load(self, connection: Connection[Any], keys: Iterable[Key]) -> dict[Key, Any]:
        query = sql.SQL("SELECT {} FROM {} WHERE ({}) IN (SELECT * FROM unnest({}))").format(
            _names(self.columns), self.name, _names(self.view.key), _arrays(self.view.key)
        )
        with connection.cursor(row_factory=tuple_row) as cursor:
            cursor.execute(query, _columns(keys))
            rows = [self.view.row(**dict(zip(self.columns, row, strict=True))) for row in cursor]
        return {tuple(getattr(row, part) for part in self.view.key): row for row in rows}

    def _upsert(self, connection: Connection[Any], rows: Sequence[Any]) -> None:
        document = to_json([{name: getattr(row, name) for name in self.columns} for row in rows])
        changes = sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name))
            for name in self.columns
            if name not in self.view.key
        )
        connection.execute(
            sql.SQL(
                "INSERT INTO {0} SELECT * FROM jsonb_populate_recordset(NULL::{0}, %s::jsonb)"
                " ON CONFLICT ({1}) DO UPDATE SET {2}"
            ).format(self.name, _names(self.view.key), changes),
            (document.decode(),),
        )

    def _delete(self, connection: Connection[Any], keys: Sequence[Key]) -> None:
        connection.execute(
            sql.SQL("DELETE FROM {} WHERE ({}) IN (SELECT * FROM unnest({}))").format(
                self.name, _names(self.view.key), _arrays(self.view.key)
            ),
            _columns(keys),
        )


def _names(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _arrays(key: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("%s::text[]") for _ in key)


def _columns(keys: Iterable[Key]) -> list[list[str]]:
    return [list(column) for column in zip(*keys, strict=True)]


def create_views(connection: psycopg.Connection[Any]) -> None:
    """Give every view that has none its first table; a view whose handlers changed has to be rebuilt first."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        known = {name: version for name, version, _ in _registered(connection)}
        for view in VIEWS.values():
            if view.name not in known:
                table = Table(view, 1)
                table.create(connection)
                table.show(connection)


def live_tables(connection: Connection[Any], names: Collection[str] = VIEWS.keys()) -> list[Table]:
    """The tables that readers see until this transaction ends; SchemaError if the handlers are of another version."""
    tables = []
    for name, version, generation in _registered(connection, "FOR SHARE"):
        if name in names:
            if version != VIEWS[name].version:
                raise SchemaError(
                    f"view {name} was made by version {version} of its handlers, this program has"
                    f" {VIEWS[name].version}: run `seatline rebuild {name}`"
                )
            tables.append(Table(VIEWS[name], generation))
    return tables


def _registered(connection: Connection[Any], lock: LiteralString = "") -> list[tuple[str, int, int]]:
    with connection.cursor(row_factory=tuple_row) as cursor:
        query = sql.SQL("SELECT name, version, generation FROM seatline.views ORDER BY name {}").format(sql.SQL(lock))
        return cursor.execute(query).fetchall()


def advance(
    log: EventLog,
    tables: Callable[[Connection[Any]], Sequence[Table]],
    limit: int = 5_000,
    until: int | None = None,
) -> int:
    """Fold the next page into the tables, in one transaction with their positions; returns how many events it had."""
    with log.connection() as connection, connection.transaction():
        wanted = {table.reader: table for table in tables(connection)}
        positions = _lock_positions(connection, list(wanted))
        if not positions:
            return 0
        events = [event for event in log.page(min(positions.values()), limit) if not until or event.position <= until]
        for reader, position in positions.items():
            if news := [event for event in events if event.position > position]:
                wanted[reader].fold(connection, news)
    return len(events)


def rebuild(log: EventLog, view: AnyView, progress: Callable[[int, int], None]) -> int:
    """Build the view anew from the log beside the live one, swap, and return in how many rows they differ.

    `progress` is told how many events of how many have been folded. One rebuild of a view waits for the other.
    """
    with log.connection() as connection, _one_at_a_time(connection, view):
        generations = {name: generation for name, _, generation in _registered(connection)}
        live, fresh = Table(view, generations[view.name]), Table(view, generations[view.name] + 1)
        with connection.transaction():
            fresh.discard(connection)  # what a killed rebuild left behind
            fresh.create(connection)
        try:
            goal, done = _position(connection, live), 0
            while goal and (count := advance(log, lambda _: [fresh], until=goal)):
                done += count
                progress(done, goal)
            return _swap(log, connection, live, fresh)
        except BaseException:
            with suppress(psycopg.Error):
                fresh.discard(connection)
            raise


def _swap(log: EventLog, connection: Connection[Any], live: Table, fresh: Table) -> int:
    """Show the fresh table in place of the live one, at the same position; returns in how many rows they differ."""
    with connection.transaction():
        # From here on runners wait, first for the view and then for its position, as they would for each other.
        connection.execute("SELECT FROM seatline.views WHERE name = %s FOR UPDATE", (live.view.name,))
        goal = _lock_positions(connection, [live.reader])[live.reader]
        while missing := [e for e in log.page(_position(connection, fresh), 5_000) if e.position <= goal]:
            fresh.fold(connection, missing)
        different = _differences(connection, live, fresh)
        fresh.show(connection)
        live.discard(connection)
    return different


@contextmanager
def _one_at_a_time(connection: Connection[Any], view: AnyView) -> Iterator[None]:
    key = zlib.crc32(f"seatline rebuild {view.name}".encode())
    connection.execute("SELECT pg_advisory_lock(%s)", (key,))
    try:
        yield
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", (key,))


def _lock_positions(connection: Connection[Any], readers: list[str]) -> dict[str, int]:
    """The readers' positions, kept from moving; in one order, so that two runners wait instead of deadlocking."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(
            "SELECT reader, position FROM seatline.positions WHERE reader = ANY(%s) ORDER BY reader FOR UPDATE",
            (readers,),
        )
        return dict(cursor.fetchall())


def _position(connection: Connection[Any], table: Table) -> int:
    with connection.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute("SELECT position FROM seatline.positions WHERE reader = %s", (table.reader,)).fetchone()
    assert row is not None, "a table has a position from its creation on"
    return int(row[0])


def _differences(connection: Connection[Any], live: Table, fresh: Table) -> int:
    """How many rows stand in one table and not, or not so, in the other; with other columns, all of them."""
    query = sql.SQL(
        "SELECT count(*) FROM {} AS live FULL JOIN {} AS fresh USING ({})"
        " WHERE to_jsonb(live) IS DISTINCT FROM to_jsonb(fresh)"
    ).format(live.name, fresh.name, _names(fresh.view.key))
    with connection.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute(query).fetchone()
    assert row is not None, "a count has a row"
    return int(row[0])


class ViewWorker:
    """Keeps all views up to date."""

    name = "projections"

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def step(self) -> bool:
        try:
            return advance(self._log, live_tables) > 0
        except DatabaseAway:
            raise
        except Exception:
            # A fault in one view stops that view, loudly, and no other.
            for name in VIEWS:
                with suppress(Exception):
                    while advance(self._log, partial(live_tables, names=[name])):
                        pass
            raise
