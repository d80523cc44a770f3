"""Copies of what was personal: rows of views, letters, errors; and their bytes that stay in the server's files."""

import json
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg import Connection, sql
from psycopg.rows import tuple_row

from adapters.postgres.tables import Table
from adapters.postgres.views import generation_of
from domain.kernel import ERASED
from projections.catalogue import VIEWS

Progress = Callable[[str], None]
"""Told what is being done."""

PATIENCE = 30.0
"""Seconds for transactions to end that still see what was deleted, or are at a table that is to be written anew."""
GIVES_WAY = "100ms"
"""How long others may wait behind us for a table that we don't get."""

PAYMENTS_OF = """
    SELECT DISTINCT own.subject
    FROM seatline.stored_events AS hers JOIN seatline.stored_events AS own USING (originator_id)
    WHERE hers.subject = %s AND hers.originator_id LIKE 'payment/%%' AND own.originator_id = 'payment/' || own.subject
"""
GENERATIONS = r"""
    SELECT substring(relname FROM '^(.*)_\d+$'), substring(relname FROM '_(\d+)$')::int FROM pg_class
    WHERE relnamespace = 'read_model'::regnamespace AND relkind = 'r' AND relname ~ '^(users|payments)_\d+$'
    ORDER BY 1, 2
"""
LETTERS = """
    UPDATE seatline.dead_letters SET key = NULL, value = NULL, header_names = '{}', header_values = '{}',
        state = CASE state WHEN 'open' THEN 'skipped' ELSE state END,
        decided_by = %(operator)s, decided_because = 'erased', changed_at = now()
    -- A person may have decided in that very word, which empties nothing.
    WHERE (decided_because IS DISTINCT FROM 'erased' OR num_nonnulls(key, value) > 0) AND (key = %(subject)s OR EXISTS (
        SELECT FROM unnest(%(said)s::bytea[]) AS said, unnest(ARRAY[key, value] || header_values) AS part
        WHERE position(said IN part) > 0
    ))
"""
ERRORS = "UPDATE seatline.effects SET error = 'erased' WHERE subject = %s AND error <> 'erased'"
DECISIONS = """
    UPDATE seatline.effect_decisions SET operator = 'erased', reason = 'erased'
    WHERE effect_id IN (SELECT id FROM seatline.effects WHERE subject = %s)
        AND (operator, reason) <> ('erased', 'erased')
"""
EMPTIED = """
    SELECT 'dead_letters' WHERE EXISTS (SELECT FROM seatline.dead_letters WHERE decided_because = 'erased') UNION ALL
    SELECT 'effects' WHERE EXISTS (SELECT FROM seatline.effects WHERE subject = %(of)s AND error = 'erased') UNION ALL
    SELECT 'effect_decisions' WHERE EXISTS (
        SELECT FROM seatline.effect_decisions JOIN seatline.effects ON id = effect_id
        WHERE subject = %(of)s AND operator = 'erased'
    )
"""
SEEING_OLD_ROWS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND age(backend_xmin) > age(%s::xid)
"""
STILL_WRITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND age(backend_xid) > age(%s::xid)
"""


class Left(NamedTuple):
    """What could not be done, and by which statement somebody else can."""

    why: str
    statement: str


def payments_of(connection: Connection[Any], subscription: str) -> list[str]:
    """References of its payments that came without its order number, so that their events are partly their own."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        return [reference for (reference,) in cursor.execute(PAYMENTS_OF, (subscription,))]


def erase_letters(connection: Connection[Any], subscription: str, said: Collection[str], operator: str) -> int:
    """Empty the dead letters that are keyed by the subscription, or mention it or what is said of its people."""
    # Whoever was to be made a user by a letter is named nowhere else.
    forms = {form for text in said for form in (text.encode(), *_in_json(text))} | {json.dumps(subscription).encode()}
    parameters = {"subject": subscription.encode(), "said": list(forms), "operator": operator}
    return connection.execute(LETTERS, parameters).rowcount


def _in_json(text: str) -> Iterator[bytes]:
    """As it stands in JSON, with and without escapes for what is not ASCII."""
    yield json.dumps(text)[1:-1].encode()
    yield json.dumps(text, ensure_ascii=False)[1:-1].encode()


def erase_notes(connection: Connection[Any], subscription: str) -> tuple[int, int]:
    """Empty what went wrong with the subscription's effects, and what people said about it."""
    errors = connection.execute(ERRORS, (subscription,)).rowcount
    return errors, connection.execute(DECISIONS, (subscription,)).rowcount


def tables_emptied(connection: Connection[Any], subscription: str) -> list[str]:
    """Where letters and notes were emptied, by an erasure that was interrupted too."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        return [name for (name,) in cursor.execute(EMPTIED, {"of": subscription})]


def generations(connection: Connection[Any]) -> list[Table]:
    """Every table of a view in which people are named: shown, kept to go back to, or being built."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        return [generation_of(VIEWS[name], number) for name, number in cursor.execute(GENERATIONS)]


def count_rows(connection: Connection[Any], table: Table, subscription: str) -> int:
    """How many people a table names."""
    if table.view.name != "users":
        return 0
    query = sql.SQL("SELECT FROM {} WHERE subscription_id = %s").format(table.name)
    return connection.execute(query, (subscription,)).rowcount


def erase_rows(connection: Connection[Any], table: Table, subscription: str, payments: Sequence[str]) -> int:
    """Take a subscription's people out of a table, whether or not anybody folds events into it; gives how many rows."""
    if table.view.name == "users":
        return table.clear(connection, (subscription,))
    erase = sql.SQL("UPDATE {} SET order_number = %s WHERE reference = ANY(%s) AND order_number !~ '^[0-9]+$'")
    return connection.execute(erase.format(table.name), (ERASED, list(payments))).rowcount


# What the server leaves in its files


def wait_for_writers(connection: Connection[Any]) -> list[Left]:
    """Whoever began to fold while there were keys, as a part of a rebuild, may still write who it was."""
    until = time.monotonic() + PATIENCE
    return list(_wait_for(STILL_WRITING, "may still write who it was", connection, until))


def scrub(connection: Connection[Any], changed: Sequence[sql.Identifier], progress: Progress) -> list[Left]:
    """Write tables anew without the deleted rows, and drop the log that led to them; returns what is left to others."""
    until = time.monotonic() + PATIENCE
    left = list(_wait_for(SEEING_OLD_ROWS, "still sees the deleted rows", connection, until))
    for table in changed:
        name = table.as_string(connection)
        progress(f"writing {name} anew")
        left += _write_anew(connection, name, until)
    progress("dropping the write-ahead log")
    for statement in ("CHECKPOINT", "SELECT pg_switch_wal()", "CHECKPOINT"):
        left += _do(connection, statement)
    if connection.execute("SELECT FROM pg_settings WHERE name = 'wal_recycle' AND setting = 'on'").rowcount:
        left.append(
            Left(
                "old files of the write-ahead log wait to be written over with what stood in them",
                "ALTER SYSTEM SET wal_recycle = off; SELECT pg_reload_conf(); then erase once more",
            )
        )
    return list(dict.fromkeys(left))


def _wait_for(who: LiteralString, does: str, connection: Connection[Any], until: float) -> Iterator[Left]:
    """Until nobody is left from before now who keeps deleted rows in a table, or adds to it."""
    now = _one(connection, "SELECT pg_current_xact_id()::xid::text")
    while _one(connection, who, now):
        if time.monotonic() > until:
            yield Left(f"a transaction that began before {does}", "when it has ended, erase once more")
            return
        time.sleep(0.05)


def _write_anew(connection: Connection[Any], name: str, until: float) -> Iterator[Left]:
    """Without letting others wait behind whoever has the table: one tries again."""
    connection.execute("SELECT set_config('lock_timeout', %s, false)", (GIVES_WAY,))
    try:
        while True:
            try:
                yield from _do(connection, f"VACUUM (FULL) {name}")
                return
            except psycopg.errors.LockNotAvailable:
                if time.monotonic() > until:
                    yield Left("somebody else has been at the table all the time", f"VACUUM (FULL) {name}")
                    return
                time.sleep(0.05)
    finally:
        connection.execute("RESET lock_timeout")


def _do(connection: Connection[Any], statement: str) -> Iterator[Left]:
    try:
        connection.execute(statement.encode())
    except psycopg.errors.InsufficientPrivilege:
        yield Left("this role may not", statement)


def _one(connection: Connection[Any], query: LiteralString, *parameters: object) -> Any:
    with connection.cursor(row_factory=tuple_row) as cursor:
        [(value,)] = cursor.execute(query, parameters)
    return value
