"""The table of one generation of a view: made from the rows' type, written in batches."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any, LiteralString, NamedTuple, get_args, get_origin, get_type_hints

import msgspec
import psycopg
from psycopg import Connection, Cursor, sql
from psycopg.rows import tuple_row

from adapters.postgres.log import SEPARATOR
from domain.kernel import Recorded
from projections.folding import Poison, Unreadable, by_home, fold, keys_of
from projections.view import AnyView, Key, Row, Rows

SQL_TYPES = {
    str: "text",
    int: "bigint",
    bool: "boolean",
    date: "date",
    datetime: "timestamptz",
    Decimal: "numeric(20,2)",
}

ALSO_LOOKED_UP_BY: Mapping[str, LiteralString] = {
    "orders": "((total - paid), placed_at DESC) WHERE status = 'awaiting_payment'"
}
"""Indexes by view, for questions that no panel asks: which orders miss the amount that somebody paid."""


def sql_type(annotation: Any) -> str:
    """The column type for a row's field: a list becomes an array, a dict jsonb, a handler's own struct its JSON."""
    parts = [part for part in get_args(annotation) if part is not type(None)]
    if get_origin(annotation) is list:
        return f"{sql_type(parts[0])}[]"
    if get_origin(annotation) is dict:
        return "jsonb"
    if _is_struct(annotation):
        return "text"
    return SQL_TYPES[annotation] if annotation in SQL_TYPES else sql_type(parts[0])


PARKED = "SELECT home FROM seatline.parked WHERE reader = %s AND home = ANY(string_to_array(%s, E'\\x1f'))"
NOT_TAKEN = (psycopg.DataError, psycopg.IntegrityError)
"""What the server says to a row that doesn't fit its table."""

Homes = dict[str, list[Recorded | Unreadable]]
Write = Callable[
    [Connection[Any], Mapping[str, Rows[Any]], Mapping[str, Sequence[Recorded | Unreadable]]], list[Poison]
]


class Asked(NamedTuple):
    """What a table has to know before it can take events, perhaps still under way."""

    homes: Homes
    parked: Cursor[Any]
    rows: Cursor[Any] | None


class Table:
    """One generation of a view's rows."""

    def __init__(self, view: AnyView, generation: int) -> None:
        self.view = view
        self.generation = generation
        self.name = sql.Identifier("read_model", f"{view.name}_{generation}")
        self.reader = f"view:{view.name}:{generation}"
        fields = view.row.__struct_fields__
        hints = get_type_hints(view.row)
        # The table ends with the position, with which the struct begins.
        self.columns = {name: sql_type(hints[name]) for name in [*fields[1:], "position"]}
        self._structs = {
            place: msgspec.json.Decoder(hints[name]) for place, name in enumerate(fields) if _is_struct(hints[name])
        }
        key, keys = names(view.key), sql.SQL(", ").join(sql.SQL("string_to_array(%s, E'\\x1f')") for _ in view.key)
        others = [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(n)) for n in self.columns if n not in view.key]
        self._load = (
            sql.SQL("SELECT {} FROM {} WHERE ({}) IN (SELECT * FROM unnest({}))")
            .format(names(fields), self.name, key, keys)
            .as_bytes()
        )
        self._upsert = (
            sql.SQL(
                "INSERT INTO {0} SELECT * FROM json_populate_recordset(NULL::{0}, %s)"
                " ON CONFLICT ({1}) DO UPDATE SET {2}"
            )
            .format(self.name, key, sql.SQL(", ").join(others))
            .as_bytes()
        )
        self._delete = (
            sql.SQL("DELETE FROM {} WHERE ({}) IN (SELECT * FROM unnest({}))").format(self.name, key, keys).as_bytes()
        )

    def create(self, connection: Connection[Any]) -> None:
        columns = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(type_)) for name, type_ in self.columns.items()
        )
        connection.execute(
            sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY ({}))").format(self.name, columns, names(self.view.key))
        )
        if "subscription_id" in self.columns and self.view.key[0] != "subscription_id":
            connection.execute(sql.SQL("CREATE INDEX ON {} (subscription_id)").format(self.name))
        if index := ALSO_LOOKED_UP_BY.get(self.view.name):
            connection.execute(sql.SQL("CREATE INDEX ON {} {}").format(self.name, sql.SQL(index)))
        for column in self.view.personal:
            # What ANALYZE samples stays in the catalogue after its row is gone.
            unmeasured = sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET STATISTICS 0")
            connection.execute(unmeasured.format(self.name, sql.Identifier(column)))
        connection.execute("INSERT INTO seatline.positions (reader) VALUES (%s)", (self.reader,))

    def discard(self, connection: Connection[Any]) -> None:
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(self.name))
        connection.execute("DELETE FROM seatline.positions WHERE reader = %s", (self.reader,))
        connection.execute("DELETE FROM seatline.parked WHERE reader = %s", (self.reader,))

    def fold(self, connection: Connection[Any], events: Sequence[Recorded | Unreadable]) -> list[Key]:
        """Apply events within the caller's transaction; gives the keys of the changed rows.

        A home that can't go on is parked: its rows stay as they were before the event that they can't take.
        """
        return self.answer(connection, self.ask(connection, events), self.write)

    def ask(self, connection: Connection[Any], events: Sequence[Recorded | Unreadable]) -> Asked:
        """The first half of `fold`: what has to be read. In a pipeline nobody waits for it yet."""
        homes = by_home(self.view, events)
        parked = connection.execute(PARKED, (self.reader, SEPARATOR.join(homes)), prepare=True)
        return Asked(homes, parked, self._look_up(connection, keys_of(self.view, events)))

    def answer(self, connection: Connection[Any], asked: Asked, write: Write) -> list[Key]:
        """The second half: apply, and write in the given way."""
        homes = asked.homes
        for row in asked.parked:
            del homes[row["home"]]
        changes, poison = fold(self.view, homes, partial(self.load, connection), self._found(asked.rows))
        self.park(connection, [*poison, *write(connection, changes, homes)])
        return [key for rows in changes.values() for key in (*rows.changed, *rows.cleared())]

    def load(self, connection: Connection[Any], keys: Iterable[Key]) -> dict[Key, Any]:
        return self._found(self._look_up(connection, keys))

    def _look_up(self, connection: Connection[Any], keys: Iterable[Key]) -> Cursor[Any] | None:
        wanted = list(keys)
        cursor = connection.cursor(row_factory=tuple_row)
        return cursor.execute(self._load, _joined(wanted), prepare=True) if wanted else None

    def _found(self, rows: Cursor[Any] | None) -> dict[Key, Any]:
        found = map(self._row, rows or ())
        return {tuple([getattr(row, part) for part in self.view.key]): row for row in found}

    def _row(self, values: tuple[Any, ...]) -> Row:
        read = list(values)
        for place, decoder in self._structs.items():
            read[place] = decoder.decode(read[place])
        return self.view.row(*read)  # type: ignore[no-any-return]

    def write(
        self,
        connection: Connection[Any],
        changes: Mapping[str, Rows[Any]],
        homes: Mapping[str, Sequence[Recorded | Unreadable]],
    ) -> list[Poison]:
        """Write changed rows; a home whose rows the table doesn't take is left as it was, and told."""
        try:
            with connection.transaction():
                return self.write_all(connection, changes, homes)
        except NOT_TAKEN as error:
            if len(changes) > 1:
                alone = ({home: rows} for home, rows in changes.items())
                return [poison for change in alone for poison in self.write(connection, change, homes)]
            [home] = changes
            first = homes[home][0]
            return [Poison(home, first.subject, first.id, first.position, f"{type(error).__name__} when written")]

    def write_all(
        self,
        connection: Connection[Any],
        changes: Mapping[str, Rows[Any]],
        homes: Mapping[str, Sequence[Recorded | Unreadable]],
    ) -> list[Poison]:
        """Write changed rows, all or none: what the table doesn't take ends the transaction."""
        kept = [row for rows in changes.values() for row in rows.kept()]
        dropped = [key for rows in changes.values() for key in rows.dropped()]
        for begin in [begin for rows in changes.values() for begin in rows.cleared()]:
            self.clear(connection, begin)
        if kept:
            connection.execute(self._upsert, (msgspec.json.encode(kept).decode(),), prepare=True)
        if dropped:
            connection.execute(self._delete, _joined(dropped), prepare=True)
        return []

    def clear(self, connection: Connection[Any], begin: Key) -> int:
        """Drop the rows whose keys begin so; returns how many there were."""
        part = names(self.view.key[: len(begin)])
        values = sql.SQL(", ").join([sql.Placeholder()] * len(begin))
        return connection.execute(
            sql.SQL("DELETE FROM {} WHERE ({}) = ({})").format(self.name, part, values), begin
        ).rowcount

    def park(self, connection: Connection[Any], poison: Sequence[Poison]) -> None:
        if not poison:
            return
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO seatline.parked (reader, home, subject, event_id, position, error)"
                " VALUES (%s, %s, %s, %s, %s, %s)",
                [(self.reader, *found) for found in poison],
            )


def names(columns: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _joined(keys: Iterable[Key]) -> list[str]:
    return [SEPARATOR.join(column) for column in zip(*keys, strict=True)]


def _is_struct(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)
