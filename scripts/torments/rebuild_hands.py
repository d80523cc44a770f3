"""Who is at work while views are rebuilt, and who rebuilds them, each in a process of its own; bugs can be planted."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from email.message import EmailMessage
from email.utils import make_msgid
from itertools import islice
from multiprocessing.connection import Connection as Pipe

import structlog
from psycopg.rows import tuple_row

from adapters.clerk import Clerk
from adapters.cloudevents import parse
from adapters.mail import SmtpMailer
from adapters.postgres import building
from adapters.postgres import rebuild as rebuilding
from adapters.postgres.building import Build
from adapters.postgres.database import DatabaseAway, Datastore
from adapters.postgres.log import COLUMNS, EventLog, StoredEvent
from adapters.postgres.rebuild import rebuild
from adapters.postgres.schema import SchemaError
from adapters.postgres.views import (
    ViewWorker,
    concerning,
    live_tables,
    lock_positions,
    registered,
)
from adapters.settings import Settings, load_shopfront
from adapters.wiring import engine
from adapters.workers import run
from domain.kernel import Recorded
from domain.order import OrderPlaced
from projections.catalogue import VIEWS
from projections.folding import by_home, fold
from projections.orders import OrderRow, Orders
from projections.view import Rows
from scripts.torments.panels import handlers
from scripts.workload.market import Market

AT_ONCE, PAUSE = 10, 0.05
"""Commands that customers go on giving, and seconds until the next ones."""
OUTSIDE = ("email", "activation")


@dataclass(frozen=True)
class Work:
    """One rebuild."""

    url: str
    name: str
    version: int
    processes: int
    part: int
    """Events in each part."""
    smtp: str
    """Where letters would arrive that a rebuild must not send."""


# Who is at work all the time


def write(url: str, seed: int, lines: int, pipe: Pipe) -> None:
    """Fills the log, and when told to goes on as customers do, until told that it is enough."""
    clerk = Clerk(EventLog(Datastore(url)), load_shopfront(None).prices)
    commands = map(parse, Market(2 * lines, seed=seed, bad=0).lines())
    left = lines
    while left:
        left -= len(clerk.handle(list(islice(commands, min(left, 1_000)))))
    pipe.send("filled")
    pipe.recv()
    given, batch = 0, list(islice(commands, AT_ONCE))
    while batch and not pipe.poll(PAUSE):
        with suppress(DatabaseAway):
            given += len(clerk.handle(batch))
            batch = list(islice(commands, AT_ONCE))
    if not batch:
        pipe.recv()
    pipe.send(given)


def project(url: str, step: Callable[[EventLog], Callable[[], int]] | None = None) -> None:
    """Keeps the views up to date; whichever handlers a view was made by, it is given those, as a new program would."""
    log = EventLog(Datastore(url))
    go = step(log) if step else ViewWorker(log).step
    while True:
        try:
            if not go():
                time.sleep(0.01)
        except DatabaseAway:
            time.sleep(0.05)
        except SchemaError:
            with suppress(DatabaseAway), log.connection() as connection:
                for name, version, _ in registered(connection):
                    VIEWS[name] = handlers(name, version)


def project_in_two_transactions(url: str) -> None:
    """The planted bug: the position moves in another transaction than the rows."""
    project(url, lambda log: lambda: _advance_in_two_transactions(log))


def _advance_in_two_transactions(log: EventLog) -> int:
    with log.connection() as connection:
        tables = {table.reader: table for table in live_tables(connection)}
        positions = lock_positions(connection, list(tables))
        page = log.stored_page(min(positions.values()), 500)
        for reader, position in positions.items():
            with connection.transaction():
                events = concerning([tables[reader].view], [stored for stored in page if stored.position > position])
                tables[reader].fold(connection, events[tables[reader].view.name])
        for stored in page[-1:]:
            time.sleep(0.05)
            connection.execute(
                "UPDATE seatline.positions SET position = %s WHERE reader = ANY(%s)", (stored.position, list(positions))
            )
    return len(page)


def look_after_effects(url: str, smtp: str, provisioning: str) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # crashes are no news
    settings = Settings.model_validate({"database_url": url, "smtp_url": smtp, "provisioning_url": provisioning})
    with engine(settings) as wired:
        run(wired.workers(OUTSIDE), wired.log, threading.Event())


# Who rebuilds, in a process that is killed


def build(work: Work, pipe: Pipe) -> None:
    building.PART = work.part
    # Its pool, when it is killed, would say so at length.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    log = EventLog(Datastore(work.url))
    pipe.send("begun")
    try:
        view = VIEWS[work.name] if work.version == VIEWS[work.name].version else handlers(work.name, work.version)
        pipe.send(rebuild(log, view, lambda *_: None, processes=work.processes))
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")


def build_without_catching_up(work: Work, pipe: Pipe) -> None:
    """A planted bug: what is shown is as far as the log was when the build began."""
    rebuilding._catch_up = lambda *_: None
    build(work, pipe)


def build_noting_first(work: Work, pipe: Pipe) -> None:
    """A planted bug: a part is noted as done before its rows are written."""
    building._fold_a_part = _note_and_fold
    build(replace(work, processes=1), pipe)


def _note_and_fold(log: EventLog, build: Build) -> int:
    with log.connection() as connection, connection.cursor(row_factory=tuple_row) as cursor:
        part = cursor.execute(building.NEXT_PART, (build.view.name,)).fetchone()
        if part is None:
            return 0
        place, *bounds, events = part
        cursor.execute(
            "UPDATE seatline.rebuild_parts SET done = true WHERE view = %s AND place = %s", (build.view.name, place)
        )
        time.sleep(0.1)
        query = building.EVENTS.format("originator_id" if build.view.home else "subject", COLUMNS).encode()
        cursor.execute(query, (*bounds, build.goal, list(build.view.topics)), binary=True)
        stored = list(map(StoredEvent._make, cursor.fetchall()))
        homes = by_home(build.view, concerning([build.view], stored)[build.view.name])
        build.table.write(connection, fold(build.view, homes, lambda _: {}).changes, homes)
        return int(events)


def build_with_letters(work: Work, pipe: Pipe) -> None:
    """A planted bug: a handler that does something outside."""
    VIEWS["orders"] = Talkative(work.smtp)
    build(work, pipe)


class Talkative(Orders):
    def __init__(self, smtp: str) -> None:
        self._smtp = smtp
        self._has_spoken = False

    def apply(self, recorded: Recorded, rows: Rows[OrderRow]) -> None:
        super().apply(recorded, rows)
        if isinstance(recorded.event, OrderPlaced) and not self._has_spoken:
            self._has_spoken = True
            letter = EmailMessage()
            letter["Message-ID"] = make_msgid()
            letter["Subject"] = recorded.event.order_number
            letter["From"], letter["To"] = "shop@seatline.example", "anna@studio.example"
            SmtpMailer(self._smtp).send(letter)
