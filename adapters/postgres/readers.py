"""Readers of the log: how far each has got, and the workers that turn what they read into commands."""

from collections.abc import Callable, Sequence
from typing import Any

from psycopg import Connection
from psycopg.rows import tuple_row

from adapters.clerk import Clerk
from adapters.postgres.log import EventLog
from consumers import activation, calendar
from domain.calendar import DayClosed
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


class CommandingReader:
    """A worker that answers events with commands; of several processes one at a time reads a page.

    Its commands carry ids derived from their causes, so what is decided and not yet noted is a duplicate next time.
    """

    def __init__(self, name: str, log: EventLog, react: Callable[[Sequence[Recorded]], None]) -> None:
        self.name = name
        self._log = log
        self._react = react

    def step(self) -> bool:
        with self._log.connection() as connection, connection.transaction():
            events = self._log.page(claim_position(connection, self.name), PAGE)
            if not events:
                return False
            self._react(events)
            move_position(connection, self.name, events[-1].position)
        return True


def activation_worker(log: EventLog, clerk: Clerk) -> CommandingReader:
    """Fulfils paid orders."""

    def react(events: Sequence[Recorded]) -> None:
        if commands := activation.fulfilments(events):
            clerk.handle(commands)

    return CommandingReader(activation.NAME, log, react)


def calendar_worker(log: EventLog, clerk: Clerk) -> CommandingReader:
    """Brings what a closed day means to every stream that is due, a page of streams at a time."""

    def react(events: Sequence[Recorded]) -> None:
        for closing in events:
            if isinstance(closing.event, DayClosed):
                after = ""
                while streams := _due(log, closing.event, after):
                    clerk.handle(calendar.consequences(closing, streams))
                    after = streams[-1]

    return CommandingReader(calendar.NAME, log, react)


def _due(log: EventLog, closed: DayClosed, after: str) -> list[str]:
    with log.connection() as connection, connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(
            "SELECT stream FROM seatline.due WHERE due_on <= %s AND stream > %s ORDER BY stream LIMIT %s",
            (closed.date, after, PAGE),
        )
        return [row[0] for row in cursor.fetchall()]
