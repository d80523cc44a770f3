"""An office: a clerk who decides and workers who follow, on a real database, by a clock that the test sets."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from email.message import EmailMessage
from itertools import count
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg import sql
from psycopg.rows import dict_row, tuple_row

from adapters.books import StoredBooks
from adapters.clerk import Clerk
from adapters.cloudevents import parse
from adapters.postgres.database import Datastore
from adapters.postgres.effects import EffectWorker
from adapters.postgres.log import WRITER_LOCK, EventLog
from adapters.postgres.readers import LogSource, activation_worker, calendar_worker
from adapters.postgres.views import ViewWorker
from adapters.settings import load_shopfront
from adapters.workers import Worker
from consumers.email import Email
from domain.kernel import ROME, Event
from tests.domain.given import BASE, SEAT, SPACE, SUB, USUAL, chosen, midnight_after, service

__all__ = ["BASE", "OPENING", "SEAT", "SPACE", "SUB", "Office", "chosen", "service"]

OPENING = datetime(2026, 3, 2, 9, 15, tzinfo=ROME)
SHOPFRONT = load_shopfront(None)

WAITING: LiteralString = """
    SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = database
    WHERE locktype = 'advisory' AND objid = %s AND NOT granted AND datname = current_database()
"""
Outcome = TypeVar("Outcome")
Reply = dict[str, Any]
"""An answer as its receiver reads it."""


class Office:
    def __init__(self, url: str, *, letters: str = "") -> None:
        """`letters` tells the ids of two offices on one database apart."""
        self.url = url
        self.log = EventLog(Datastore(url))
        self.now = OPENING
        self.books = StoredBooks(self.log)
        self.mail: list[EmailMessage] = []
        self._ids: Iterator[str] = map(f"{letters or 'c'}{{}}".format, count(1))
        self.clerk = self.another_clerk()

    def close(self) -> None:
        self.log.datastore.close()

    def another_clerk(self, *, clock: Callable[[], datetime] | None = None) -> Clerk:
        """A writer of its own, with aggregates that it keeps warm by itself."""
        return Clerk(self.log, SHOPFRONT.prices, clock=clock or (lambda: self.now))

    # Commands

    def line(self, command: str, *, id: str | None = None, at: datetime | None = None, **data: Any) -> bytes:
        """A command of the contract as it comes in; what the test doesn't say is as usual."""
        said = USUAL.get(command, {}) | data
        if command not in WITHOUT_SUBSCRIPTION:
            said = {"subscription_id": SUB} | said
        envelope = {
            "specversion": "1.0",
            "id": id or next(self._ids),
            "source": "/tests",
            "type": f"seatline.command.{command}.v1",
            "time": (at or self.now).isoformat(),
            "actor": "anna",
            "data": said,
        }
        return json.dumps(envelope).encode()

    def handle(self, *lines: bytes, clerk: Clerk | None = None) -> list[Reply]:
        """Have one batch decided."""
        answers = (clerk or self.clerk).handle([parse(line) for line in lines])
        return [json.loads(answer.line()) for answer in answers]

    def send(self, command: str, *, clerk: Clerk | None = None, **said: Any) -> Reply:
        [reply] = self.handle(self.line(command, **said), clerk=clerk)
        return reply

    def do(self, command: str, **said: Any) -> Reply:
        """Have a command decided that must be accepted."""
        reply = self.send(command, **said)
        assert reply["outcome"] == "accepted", reply
        return reply

    def on(self, day: str) -> "Office":
        """Go on at a quarter past nine of a later day."""
        self.now = datetime.combine(date.fromisoformat(day), OPENING.timetz())
        return self

    # What people do, in one word

    def start(self, *services: dict[str, object], **said: Any) -> Reply:
        """A subscription; unless something else is said, with a base service that ends on 2026-06-30."""
        return self.do("start-subscription", services=list(services) or [service(BASE, "2026-06-30")], **said)

    def order_seats(
        self, quantity: int = 1, *, extend: bool = True, method: str = "bank_transfer", **whose: Any
    ) -> str:
        """From the cart to a confirmed order, not paid; gives its number."""
        self.do("open-cart", **whose)
        self.do("choose-seats", quantity=quantity, **whose)
        if not extend:
            self.do("switch-alignment", extend=False, **whose)
        placed = self.do("place-order", payment_method=method, **whose)
        return str(placed["data"]["order_number"])

    def order_renewal(self, years: int = 1, *, aligned: bool = False, **services: int) -> str:
        """From the cart to a confirmed order, not paid: `order_renewal(S1=1, S2=0)`."""
        self.do("open-cart")
        if not aligned:
            self.do("switch-alignment", extend=False)
        self.do("choose-renewal", services=chosen(**services), years=years)
        return str(self.do("place-order")["data"]["order_number"])

    def pay(self, order_number: str, amount: str | None = None, *, reference: str | None = None, **said: Any) -> Reply:
        """Register a payment, of what the order misses if nothing else is said."""
        amount = amount or f"{self.books.order(order_number).missing:.2f}"
        reference = reference or f"PAY-{next(self._ids)}"
        return self.do("register-payment", order_number=order_number, amount=amount, reference=reference, **said)

    def close_day(self, day: str) -> Reply:
        """Close a day a moment after it ended, as a scheduler does."""
        self.now = midnight_after(day) + timedelta(minutes=1)
        return self.do("close-day", date=day)

    # Workers

    def post(self, message: EmailMessage) -> None:
        """Where letters go as long as the test names no mail server."""
        self.mail.append(message)

    def projections(self) -> ViewWorker:
        return ViewWorker(self.log)

    def activation(self) -> Worker:
        return activation_worker(LogSource(self.log, "activation"), self.another_clerk())

    def calendar(self) -> Worker:
        return calendar_worker(self.log, self.another_clerk())

    def email(self, send: Callable[[EmailMessage], None] | None = None) -> EffectWorker:
        email = Email(self.books, send or self.post, SHOPFRONT.prices, SHOPFRONT.seller)
        return EffectWorker(self.log, LogSource(self.log, email.name), email, clock=lambda: self.now)

    def drain(self, *workers: Worker) -> None:
        """Let these workers, or all, step until none finds anything to do."""
        team = workers or (self.projections(), self.activation(), self.calendar(), self.email())
        busy = True
        while busy:
            busy = sum(worker.step() for worker in team) > 0

    # Races

    def race(self, *calls: Callable[[], Outcome]) -> list[Outcome | BaseException]:
        """Have these calls decide on what is stored now, and write one after the other in this order.

        The first to lose a race decides again on its own; what a call raises is its outcome.
        """
        with ThreadPoolExecutor(len(calls)) as threads:
            with self.writers_held() as waiting:
                futures = []
                for number, call in enumerate(calls, start=1):
                    futures.append(threads.submit(call))
                    until(lambda number=number: len(waiting()) == number or futures[-1].done())  # type: ignore[misc]
            return [future.exception() or future.result() for future in futures]

    @contextmanager
    def writers_held(self) -> Iterator[Callable[[], list[int]]]:
        """Let nobody write; gives a function that tells which backends wait to."""

        def waiting() -> list[int]:
            return [pid for (pid,) in self.ask(WAITING, WRITER_LOCK)]

        with psycopg.connect(self.url) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (WRITER_LOCK,))
            yield waiting

    # What is so now

    def ask(self, query: LiteralString, *parameters: object) -> list[tuple[Any, ...]]:
        """The rows of a query on a connection of its own."""
        with psycopg.connect(self.url, autocommit=True, row_factory=tuple_row) as connection:
            return connection.execute(query, parameters).fetchall()

    def tell(self, statement: LiteralString, *parameters: object) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement, parameters)

    def view(self, name: str) -> list[dict[str, Any]]:
        """A view's rows once all events are projected, without their positions."""
        self.drain(self.projections())
        with self.log.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            query = sql.SQL("SELECT * FROM {} ORDER BY 1, 2").format(sql.Identifier("panel", name))
            rows = cursor.execute(query).fetchall()
        return [{column: value for column, value in row.items() if column != "position"} for row in rows]

    def row(self, name: str, **wanted: object) -> dict[str, Any]:
        """The one row of a view in which these columns have these values."""
        [row] = [row for row in self.view(name) if wanted.items() <= row.items()]
        return row

    def events(self) -> list[Event]:
        return [recorded.event for recorded in self.log.page(0, 100_000)]

    def facts(self) -> list[str]:
        """The names of all events, in order: `SeatsAdded`."""
        return [type(event).__name__ for event in self.events()]

    def check_log(self) -> None:
        """Positions and versions are 1..n without gaps, and every answer is kept once."""
        positions = [row[0] for row in self.ask("SELECT notification_id FROM seatline.stored_events ORDER BY 1")]
        assert positions == list(range(1, len(positions) + 1))
        gaps = self.ask(
            "SELECT originator_id FROM seatline.stored_events GROUP BY 1"
            " HAVING max(originator_version) <> count(*) OR min(originator_version) <> 1"
        )
        assert not gaps


def until(true: Callable[[], object], *, seconds: float = 10) -> None:
    """Wait for something that another thread or process brings about."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it didn't happen"
        time.sleep(0.005)


WITHOUT_SUBSCRIPTION = {
    "register-payment",
    "match-payment",
    "unmatch-payment",
    "split-payment",
    "refund-payment",
    "correct-payment",
    "cancel-order",
    "close-day",
}


@contextmanager
def an_office(url: str, **kwargs: Any) -> Iterator[Office]:
    office = Office(url, **kwargs)
    try:
        yield office
    finally:
        office.close()
