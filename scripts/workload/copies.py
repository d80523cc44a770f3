"""Many more customers in a database, made of those that it has: deciding ten million events would take too long.

A market is decided once, by the engine. Then every row that it left is stored again for each copy, under the copy's own
subscriptions, orders, payments and commands, wherever they are named: in streams, events, answers, due dates and
views. Each event's copies stand one after the other, so that, as in life, a customer's events are spread over
the whole log. Positions stay without gaps. What events say about people stands in the copies in plain, as before
there were keys: what is sealed is bound to its place, and sealing each copy anew would take as long as deciding it.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

from psycopg import Connection
from psycopg.rows import tuple_row

from adapters.postgres.database import Datastore, connected
from adapters.postgres.log import WITH_ACTOR, EventLog
from adapters.postgres.mapper import encode, encode_envelope, recorded

SEED = 1_000_001
"""Of the market that is copied: it stands in the ids of its customers and payments, and nowhere else."""
FIRST_ORDER = 424_200_000_000_000
"""Its order numbers begin with digits that nothing else holds, and four of them count the copies."""
COPIES = 10_000
"""Fewer than so many."""
WRITERS = 2
"""Tables at a time."""

RENAME = f"""
    CREATE OR REPLACE FUNCTION pg_temp.renamed(said text, copy int) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN replace(replace(said, '-{SEED}-', '-{SEED}.' || copy || '-'), '42420000', '4242' || lpad(copy::text, 4, '0'))
"""
TABLES = "SELECT format('%%I.%%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'read_model'"
COLUMNS = "SELECT attname, atttypid::regtype::text FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
KEYS = "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'p'"
INDEXES = """
    SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid)
    FROM pg_index WHERE indrelid = %s::regclass AND NOT indisprimary
"""


def name_in(copy: int, name: str) -> str:
    """What a subscription of the market is called in one of its copies."""
    return name.replace(f"-{SEED}-", f"-{SEED}.{copy}-")


def multiply(url: str, copies: int) -> None:
    """Put so many copies of all that is stored in its place; the views must be up to date, and nobody else at work."""
    assert 0 < copies < COPIES
    _unseal(url)
    with connected(url) as connection, ThreadPoolExecutor(WRITERS) as writers:
        views = [table for (table,) in _rows(connection, TABLES)]
        tables = ["seatline.stored_events", "seatline.answers", "seatline.due", *views]
        list(writers.map(partial(_multiply, url, copies), tables))
        connection.execute("TRUNCATE seatline.memories")
        connection.execute("UPDATE seatline.positions SET position = position * %s", (copies,))


def _unseal(url: str) -> None:
    log = EventLog(Datastore(url))
    with closing(log.datastore), log.connection() as connection, connection.transaction():
        events = [recorded(*row, with_actor=True) for row in log.stored_page(0, log.head(), WITH_ACTOR)]
        connection.cursor().executemany(
            "UPDATE seatline.stored_events SET state = %s WHERE notification_id = %s",
            [(encode(encode_envelope(event.envelope), event.event), event.position) for event in events],
        )
        connection.execute("TRUNCATE seatline.keys")


def _multiply(url: str, copies: int, table: str) -> None:
    with connected(url) as connection, connection.transaction():
        _do(connection, "SET LOCAL maintenance_work_mem = '1GB'")
        _do(connection, RENAME)
        columns = _rows(connection, COLUMNS, table)
        copied = ", ".join(_copied(name, type_, copies) for name, type_ in columns)
        order = next((name for name, _ in columns if name in ("position", "notification_id")), columns[0][0])
        _do(connection, f"CREATE TEMP TABLE base AS TABLE {table}")
        _do(connection, f"TRUNCATE {table}")
        with _without_indexes(connection, table):
            _do(
                connection,
                f"INSERT INTO {table} SELECT {copied} FROM (TABLE base ORDER BY {order}) AS base"  # noqa: S608  our names
                # Looks at the row, so that rows are taken in their order and the copies of each follow one another.
                f" CROSS JOIN generate_series(0, {copies - 1} + (base IS NULL)::int) AS copy",
            )


def _copied(name: str, type_: str, copies: int) -> str:
    match name, type_:
        case "position" | "notification_id", _:
            return f"CASE WHEN {name} > 0 THEN ({name} - 1) * {copies} + copy + 1 ELSE 0 END"
        case "command_id", _:
            return f"{name} || '.' || copy"
        case "state", "bytea":
            renamed = f"pg_temp.renamed(convert_from({name}, 'UTF8'), copy)"
            return rf"""convert_to(regexp_replace({renamed}, '"command_id":"[^"]*', '\&.' || copy), 'UTF8')"""
        case "topic", _:
            return name
        case _, "text":
            return f"pg_temp.renamed({name}, copy)"
        case _, "jsonb":
            return f"pg_temp.renamed({name}::text, copy)::jsonb"
        case _:
            return name


@contextmanager
def _without_indexes(connection: Connection[Any], table: str) -> Iterator[None]:
    """Indexes are faster made of a whole table than kept up to date with each row."""
    keys, indexes = _rows(connection, KEYS, table), _rows(connection, INDEXES, table)
    for name, _ in keys:
        _do(connection, f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    for name, _ in indexes:
        _do(connection, f"DROP INDEX {name}")
    yield
    for name, definition in keys:
        _do(connection, f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
    for _, definition in indexes:
        _do(connection, definition)


def _do(connection: Connection[Any], statement: str) -> None:
    connection.execute(statement.encode())


def _rows(connection: Connection[Any], query: str, *parameters: object) -> Sequence[tuple[Any, ...]]:
    with connection.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(query.encode(), parameters).fetchall()
