"""Readers of events: where they get them, how far each has got, and the workers that answer events with commands."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from psycopg import Connection
from psycopg.rows import tuple_row

from adapters.clerk import Clerk
from adapters.postgres.log import EventLog
from consumers import activation, calendar
from consumers.effects import Refused
from domain.calendar import DayClosed
from domain.commands import Command
from domain.kernel import Recorded

PAGE = 1_000


def claim_position(connection: Connection[Any], reader: str) -> int:
    """The reader's position, kept from moving until the caller's transaction ends."""
    connection.execute("INSERT INTO seatline.positions (reader) VALUES (%s) ON CONFLICT DO NOTHING", (reader,))
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute("SELECT position FROM seatline.positions WHERE reader = %s FOR UPDATE", (reader,))
        row = cursor.fetchone()
    assert row is not None, "inserted above"
    return int(row[0])


def move_position(connection: Connection[Any], reader: str, position: int) -> None:
    connection.execute(
        "UPDATE seatline.positions SET position = %s, moved_at = now() WHERE reader = %s", (position, reader)
    )


def read_position(connection: Connection[Any], reader: str) -> int:
    with connection.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute("SELECT position FROM seatline.positions WHERE reader = %s", (reader,)).fetchone()
    return int(row[0]) if row else 0


def reach_position(connection: Connection[Any], reader: str, position: int) -> None:
    """Note that a reader has got so far; it never goes back, whoever else may have been quicker."""
    connection.execute(
        "INSERT INTO seatline.positions AS was (reader, position) VALUES (%s, %s) ON CONFLICT (reader)"
        " DO UPDATE SET position = excluded.position, moved_at = now() WHERE was.position < excluded.position",
        (reader, position),
    )


@contextmanager
def only_one(connection: Connection[Any], what: str) -> Iterator[bool]:
    """Whether we alone do this until the context ends; others are told no and stand by."""
    key = zlib.crc32(what.encode())
    with connection.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute("SELECT pg_try_advisory_lock(%s)", (key,)).fetchone()
    if not (row and row[0]):
        yield False
        return
    try:
        yield True
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", (key,))


class EventSource(Protocol):
    """Where a worker gets the events from that it has not yet read."""

    def page(self) -> AbstractContextManager[tuple[Connection[Any], Sequence[Recorded]]]:
        """The next events, if any, and a transaction for what the worker makes of them.

        Left without an error it commits, and the events count as read. They may come again: from a source that can't
        note in this very transaction how far it has got, whenever that is lost.
        """
        ...

    def close(self) -> None: ...


class LogSource:
    """A reader's place in the log; of several processes one at a time reads a page."""

    def __init__(self, log: EventLog, reader: str) -> None:
        self._log = log
        self._reader = reader

    @contextmanager
    def page(self) -> Iterator[tuple[Connection[Any], Sequence[Recorded]]]:
        with self._log.connection() as connection, connection.transaction():
            events = self._log.page(claim_position(connection, self._reader), PAGE)
            yield connection, events
            if events:
                move_position(connection, self._reader, events[-1].position)

    def close(self) -> None:
        """Nothing is kept open between two pages."""


class CommandingReader:
    """A worker that answers events with commands.

    Its commands carry ids derived from their causes, so what is decided and not yet noted is a duplicate next time.
    """

    def __init__(self, name: str, source: EventSource, react: Callable[[Sequence[Recorded]], None]) -> None:
        self.name = name
        self._source = source
        self._react = react

    def step(self) -> bool:
        with self._source.page() as (_, events):
            if events:
                self._react(events)
        return bool(events)

    def close(self) -> None:
        self._source.close()


def activation_worker(source: EventSource, clerk: Clerk) -> CommandingReader:
    """Fulfils paid orders."""

    def react(events: Sequence[Recorded]) -> None:
        if commands := activation.fulfilments(events):
            clerk.handle(commands)

    return CommandingReader(activation.NAME, source, react)


def decide(clerk: Clerk, command: Command) -> None:
    """Decide one command that must not be rejected; raises Refused if it is."""
    [answer] = clerk.handle([command])
    if answer.counts_as_rejected:
        raise Refused(f"the engine rejects {command.id}")


def calendar_worker(log: EventLog, clerk: Clerk) -> CommandingReader:
    """Brings what a closed day means to every stream that is due, a page of streams at a time."""

    def react(events: Sequence[Recorded]) -> None:
        for closing in events:
            if isinstance(closing.event, DayClosed):
                after = ""
                while streams := _due(log, closing.event, after):
                    clerk.handle(calendar.consequences(closing, streams))
                    after = streams[-1]

    return CommandingReader(calendar.NAME, LogSource(log, calendar.NAME), react)


def _due(log: EventLog, closed: DayClosed, after: str) -> list[str]:
    with log.connection() as connection, connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(
            "SELECT stream FROM seatline.due WHERE due_on <= %s AND stream > %s ORDER BY stream LIMIT %s",
            (closed.date, after, PAGE),
        )
        return [row[0] for row in cursor.fetchall()]
