"""Row 3: no reader skips an event or takes one twice, whatever becomes of writers, readers and the server."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from typing import Any, LiteralString

from psycopg import Connection
from psycopg.rows import tuple_row

from adapters.clerk import Clerk
from adapters.cloudevents import parse
from adapters.embedded import embedded_postgres, temporary_home
from adapters.postgres.database import DatabaseAway, Datastore, connected, prepare
from adapters.postgres.log import Batch, EventLog, Session
from adapters.postgres.readers import LogSource
from adapters.postgres.rebuild import rebuild
from adapters.postgres.tables import Table
from adapters.postgres.views import ViewWorker, advance, create_views
from adapters.settings import load_shopfront
from domain.events import BY_TOPIC
from domain.kernel import Recorded
from projections.catalogue import VIEWS
from projections.view import Key, Row, Rows, View
from scripts.benches.stage import Stage
from scripts.torments.hands import CONTEXT
from scripts.torments.ledger import Outcome
from scripts.workload.market import Market

WRITERS = 8
LARGEST_BATCH = 40
PAUSES = 0.02
"""Of transactions, in which the writer stands still before COMMIT."""
QUICK, FULL = 3_000, 85_000
LONG_PAUSE = 22.0
"""Seconds: longer than the server lets a transaction stand still."""
READER = "torment"
PATIENCE = 300.0
"""Seconds."""
ANSWERS: LiteralString = "SELECT count(*) FROM seatline.answers"
LAG: LiteralString = """
    SELECT count(*) FROM seatline.positions WHERE (starts_with(reader, 'view:') OR reader = 'torment')
        AND position < (SELECT max(notification_id) FROM seatline.stored_events)
"""
VICTIM: LiteralString = """
    SELECT pid FROM pg_stat_activity
    WHERE backend_type IN ('client backend', 'checkpointer') AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1
"""
COMPLAINTS: dict[LiteralString, str] = {
    "SELECT sum(disorder) FROM read_model.seen_1": "events were not projected in their order",
    """
    SELECT count(*) FROM read_model.seen_1 AS seen FULL JOIN (
        SELECT originator_id AS stream, count(*) AS events, max(notification_id) AS position
        FROM seatline.stored_events GROUP BY 1
    ) AS stored USING (stream)
    WHERE (seen.events, seen.position) IS DISTINCT FROM (stored.events, stored.position)
    """: "streams are not projected as they are stored",
    """
    SELECT count(*) FROM (SELECT position, count(*) AS times FROM seatline.noted GROUP BY 1) AS noted
    FULL JOIN seatline.stored_events ON position = notification_id WHERE times IS DISTINCT FROM 1
    """: "events were not noted once",
}


class SeenRow(Row):
    stream: str
    events: int
    version: int
    """Of the last event."""
    disorder: int
    """How many events came when another one was to come."""


class Seen(View[SeenRow]):
    """What has been projected of each stream, and whether in its order."""

    name = "seen"
    version = 1
    key = ("stream",)
    home = "any"
    events = tuple(BY_TOPIC.values())
    row = SeenRow

    def keys(self, recorded: Recorded) -> list[Key]:
        return [(recorded.originator_id,)]

    def apply(self, recorded: Recorded, rows: Rows[SeenRow]) -> None:
        stream = recorded.originator_id
        row = rows.get(stream) or SeenRow(0, stream, 0, 0, 0)
        row.disorder += not (recorded.originator_version == row.version + 1 and recorded.position > row.position)
        row.events += 1
        row.version, row.position = recorded.originator_version, recorded.position
        rows.put(row, stream)


SEEN = Table(Seen(), 1)


# Writers


class PausingLog(EventLog):
    """Stands still now and then, holding the lock, when all is written and nothing committed."""

    def __init__(self, datastore: Datastore, pipe: Pipe, chance: random.Random) -> None:
        super().__init__(datastore)
        self._pipe = pipe
        self._chance = chance

    @contextmanager
    def session(self) -> Iterator[Session]:
        with self.connection() as connection, connection.transaction():
            yield SavingSession(connection)
            if self._chance.random() < PAUSES:
                self._pipe.send("holding")
                self._pipe.recv()


class SavingSession(Session):
    """Within a longer transaction, which a conflict must not end."""

    def append(self, batch: Batch) -> int:
        with self._connection.transaction():
            return super().append(batch)


def write(url: str, seed: int, lines: int, pipe: Pipe) -> None:
    chance = random.Random(seed)  # noqa: S311  reproducible on purpose
    clerk = Clerk(PausingLog(Datastore(url), pipe, chance), load_shopfront(None).prices)
    commands = [parse(line) for line in Market(lines, seed=seed, bad=0).lines()]
    while commands:
        count = chance.randint(1, LARGEST_BATCH)
        with suppress(DatabaseAway):
            clerk.handle(commands[:count])
            del commands[:count]


# Readers, each of which is killed again and again


def project(url: str) -> None:
    _read(url, lambda log: partial(advance, log, lambda _: [SEEN], 500))


def project_in_two_transactions(url: str) -> None:
    """The planted bug: the position moves in another transaction than the rows."""
    _read(url, lambda log: partial(_advance_in_two_transactions, log))


def _advance_in_two_transactions(log: EventLog) -> int:
    with log.connection() as connection:
        position = _one(connection, "SELECT position FROM seatline.positions WHERE reader = %s", SEEN.reader)
        events = log.page(position, 500)
        if events:
            connection.execute(
                "UPDATE seatline.positions SET position = %s WHERE reader = %s", (events[-1].position, SEEN.reader)
            )
            with connection.transaction():
                SEEN.fold(connection, events)
    return len(events)


def project_views(url: str) -> None:
    _read(url, lambda log: ViewWorker(log).step)


def note(url: str) -> None:
    """A reader as the workers are."""
    _read(url, lambda log: partial(_note_page, LogSource(log, READER)))


def _note_page(source: LogSource) -> int:
    with source.page() as (connection, events), connection.cursor() as cursor:
        cursor.executemany("INSERT INTO seatline.noted (position) VALUES (%s)", [(event.position,) for event in events])
    return len(events)


def _read(url: str, steps: Callable[[EventLog], Callable[[], int]]) -> None:
    step: Callable[[], int] | None = None
    while True:
        with suppress(DatabaseAway):  # from the start on: who was killed may come again while the server is away
            step = step or steps(EventLog(Datastore(url)))
            if not step():
                time.sleep(0.01)


# The torment


class ReaderFailed(Exception):
    """A reader could not go on, which nobody had killed."""


class Company:
    """Eight writers and four readers, and what befalls them."""

    def __init__(self, url: str, lines: int, seed: int, projector: Callable[[str], None]) -> None:
        self.figures = Counter[str]()
        self._url = url
        self._chance = random.Random(seed)  # noqa: S311  reproducible on purpose
        self._work = [projector, projector, project_views, note]
        self._readers = [self._process(work, url) for work in self._work]
        self._writers: dict[Pipe, BaseProcess] = {}
        for number in range(1, WRITERS + 1):
            ours, theirs = CONTEXT.Pipe()
            self._writers[ours] = self._process(write, url, WRITERS * seed + number, lines // WRITERS, theirs)
        self._standing: dict[Pipe, float] = {}
        """When they go on."""

    @property
    def writing(self) -> bool:
        if any(writer.exitcode for writer in self._writers.values()):
            raise RuntimeError("a writer failed; what it said is above")
        return any(writer.is_alive() for writer in self._writers.values())

    def pause_writers(self, long_pauses: int) -> None:
        for pipe, writer in self._writers.items():
            if pipe in self._standing:
                if time.monotonic() > self._standing[pipe]:
                    del self._standing[pipe]
                    _signal(writer, signal.SIGCONT)
                    pipe.send("go on")
            elif writer.is_alive() and pipe.poll():
                try:
                    pipe.recv()
                except EOFError:  # it is about to end
                    continue
                _signal(writer, signal.SIGSTOP)
                is_long = self.figures["long pauses"] < long_pauses
                self.figures["long pauses" if is_long else "pauses"] += 1
                seconds = LONG_PAUSE if is_long else self._chance.uniform(0.02, 0.4)
                self._standing[pipe] = time.monotonic() + seconds

    def kill_a_reader(self) -> None:
        place = self._chance.randrange(len(self._readers))
        self.see_readers_alive()
        self._end(self._readers[place])
        self._readers[place] = self._process(self._work[place], self._url)
        self.figures["readers killed"] += 1

    def see_readers_alive(self) -> None:
        if not all(reader.is_alive() for reader in self._readers):
            raise ReaderFailed("a reader failed; what it said is above")

    def crash_the_server(self) -> None:
        """It ends all connections and recovers from its log, as after a loss of power."""
        with suppress(DatabaseAway), connected(self._url) as connection:
            os.kill(_one(connection, VICTIM), signal.SIGKILL)
            self.figures["server restarts"] += 1

    def end(self) -> None:
        for process in (*self._readers, *self._writers.values()):
            self._end(process)

    def _end(self, process: BaseProcess) -> None:
        process.kill()
        process.join()

    def _process(self, work: Callable[..., None], *arguments: object) -> BaseProcess:
        process = CONTEXT.Process(target=work, args=arguments, daemon=True)
        process.start()
        return process


def _signal(process: BaseProcess, number: signal.Signals) -> None:
    assert process.pid, "started when it was made"
    os.kill(process.pid, number)


def torment(
    _: Stage,
    lines: int,
    seed: int,
    *,
    projector: Callable[[str], None] = project,
    numbered_before_the_lock: bool = False,
    restarts: int | None = None,
) -> Outcome:
    """On a server of its own, which crashes; `lines` are commands, and the rest is for planted bugs."""
    restarts = max(2, 20 * lines // FULL) if restarts is None else restarts
    long_pauses = 1 if lines >= FULL else 0
    with temporary_home() as home, embedded_postgres(home) as url:
        prepare(url)
        with connected(url) as connection:
            create_views(connection)
            SEEN.create(connection)
            connection.execute("CREATE TABLE seatline.noted (position bigint NOT NULL)")
            if numbered_before_the_lock:
                _number_before_the_lock(connection)
        company = Company(url, lines, seed, projector)
        try:
            next_kill, next_restart, answers_between = 0.0, 1, lines * 0.9 / (restarts + 1)
            while company.writing:
                company.pause_writers(long_pauses)
                if time.monotonic() > next_kill:
                    next_kill = time.monotonic() + 0.5
                    company.kill_a_reader()
                    if next_restart <= restarts and _count(url, ANSWERS) > next_restart * answers_between:
                        company.crash_the_server()
                        next_restart += 1
                time.sleep(0.002)
            _wait_until_level(url, company)
        except ReaderFailed as complaint:
            return Outcome(company.figures, [str(complaint)])
        finally:
            company.end()
        complaints = list(_complaints(url))
        events = _count(url, "SELECT count(*) FROM seatline.stored_events")
    return Outcome({"events": events, **company.figures}, complaints)


def _wait_until_level(url: str, company: Company) -> None:
    until = time.monotonic() + PATIENCE
    while _count(url, LAG) != 0:
        if time.monotonic() > until:
            raise TimeoutError(f"readers are still behind after {PATIENCE:.0f} seconds")
        company.see_readers_alive()
        time.sleep(0.05)


def _complaints(url: str) -> Iterator[str]:
    for query, complaint in COMPLAINTS.items():
        if count := _count(url, query):
            yield f"{count} {complaint}"
    log = EventLog(Datastore(url))
    with closing(log.datastore):
        for view in VIEWS.values():
            if different := rebuild(log, view, lambda *_: None).differences.rows:
                yield f"{different} rows of {view.name} are not what a rebuild makes of the same events"


def _number_before_the_lock(connection: Connection[Any]) -> None:
    """As with the library's own numbers: drawn before it is certain who commits first."""
    [text] = connection.execute("SELECT pg_get_functiondef('seatline.append'::regproc)").fetchone() or ("",)
    lock = "PERFORM pg_advisory_xact_lock(7328041);"
    for was, becomes in {
        lock: f"head := nextval('seatline.numbers'); {lock}",
        "SELECT coalesce(max(notification_id), 0) INTO head FROM seatline.stored_events;": "",
    }.items():
        assert was in text, "the function has changed, and the planted bug must too"
        text = text.replace(was, becomes)
    connection.execute("CREATE SEQUENCE seatline.numbers INCREMENT 1000")
    connection.execute(text.encode())


def _count(url: str, query: LiteralString) -> int:
    """-1 while the server is starting again."""
    try:
        with connected(url) as connection:
            return _one(connection, query)
    except DatabaseAway:
        return -1


def _one(connection: Connection[Any], query: LiteralString, *parameters: object) -> int:
    with connection.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute(query, parameters).fetchone()
    assert row is not None, "asked for what there is"
    return int(row[0])


PLANTED: dict[str, dict[str, Any]] = {
    "the position in another transaction than the rows": {"projector": project_in_two_transactions, "restarts": 0},
    "positions drawn before the lock": {"numbered_before_the_lock": True, "restarts": 0},
}
