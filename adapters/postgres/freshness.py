"""How fresh the views are: waiting until they are far enough, reading them as of one moment, hearing what changed."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString

import msgspec
from psycopg import Connection, sql
from psycopg.rows import TupleRow, tuple_row

from adapters.postgres.log import EventLog
from adapters.postgres.views import CHANNEL
from projections.catalogue import VIEWS

AT_IT = 5.0
"""Seconds since a view has moved, up to which somebody seems to be moving it."""

BEHIND: LiteralString = """
    SELECT name, version, coalesce(position, 0), coalesce(extract(epoch FROM now() - moved_at)::float8, 'inf')
    FROM seatline.views LEFT JOIN seatline.positions ON reader = format('view:%%s:%%s', name, generation)
    WHERE name = ANY(%s) AND coalesce(position, 0) < %s ORDER BY name
"""
PARKED: LiteralString = """
    SELECT name, event_id FROM seatline.parked JOIN seatline.views ON reader = format('view:%%s:%%s', name, generation)
    WHERE name = ANY(%s) AND subject = %s AND position <= %s ORDER BY position LIMIT 1
"""


class NoSuchPosition(Exception):
    """No answer can have said this position, because the log ends before it."""


class NotShown(Exception):
    """The views don't show what happened up to a position; says why, and the way out."""


class Notice(msgspec.Struct):
    """What a view's worker tells when it has changed rows."""

    view: str
    position: int
    keys: list[list[str]] | None
    """None: so many that they aren't named."""


def wait_for(log: EventLog, views: Sequence[str], position: int, seconds: float) -> None:
    """Until these views show what happened up to the position; raises NoSuchPosition at once, NotShown in the end."""
    if position > (head := log.head()):
        raise NoSuchPosition(f"position {position:,} has not been given out: the log ends at {head:,}")
    with log.connection() as connection:
        [(reached,)] = _rows(connection, "SELECT panel.wait_for(%s, %s, %s)", position, seconds, list(views))
        if not reached and (behind := _rows(connection, BEHIND, list(views), position)):
            raise NotShown(f"position {position:,} is not reached after {seconds:g} s: {_why(behind, seconds)}")


def _why(behind: Sequence[TupleRow], seconds: float) -> str:
    far = ", ".join(f"{name} is at {reached:,}" for name, _, reached, _ in behind)
    outdated = [name for name, version, _, _ in behind if name in VIEWS and version != VIEWS[name].version]
    if outdated:
        return f"{far}; handlers of another version made it: run `seatline rebuild {' '.join(outdated)}`"
    if min(rest for _, _, _, rest in behind) > max(seconds, AT_IT):
        return f"{far}, and nothing moves: does `seatline run projections` run?"
    return f"{far}, and moves: wait longer (--timeout)"


@contextmanager
def one_moment(log: EventLog, views: Sequence[str]) -> Iterator[Connection[Any]]:
    """A transaction in which all these views are seen as of the same moment."""
    panels = sql.SQL(", ").join(sql.Identifier("panel", view) for view in views)
    with log.connection() as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        # Before the moment is chosen: in a table that is swapped in after it, the latest rows would be missing.
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(panels))
        yield connection


def is_shown(connection: Connection[Any], views: Sequence[str], subscription: str, position: int) -> bool:
    """Whether this transaction sees what happened up to the position; raises NotShown if it never will."""
    for view, event in _rows(connection, PARKED, list(views), subscription, position):
        raise NotShown(
            f"view {view} leaves {subscription} as it was before event {event}, which it can't take:"
            " see `seatline status`"
        )
    [(reached,)] = _rows(connection, "SELECT panel.position(%s) >= %s", list(views), position)
    return bool(reached)


def listen(connection: Connection[Any]) -> None:
    connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))


def notices(connection: Connection[Any], seconds: float) -> Iterator[Notice | None]:
    """What is told on a listening connection within this time; None for what can't be read, as everybody may notify."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        for notification in connection.notifies(timeout=left, stop_after=1):
            try:
                yield msgspec.json.decode(notification.payload, type=Notice)
            except msgspec.DecodeError:
                yield None


def _rows(connection: Connection[Any], query: LiteralString, *parameters: object) -> list[TupleRow]:
    with connection.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(query, parameters).fetchall()
