"""Row 2: versions of an aggregate are 1..n whatever befalls the database; a restored older backup is refused at start.

Writers go on while PostgreSQL is stopped without any order, again and again.
"""

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import psycopg
from psycopg.rows import tuple_row

from adapters.clerk import Clerk
from adapters.cloudevents import parse
from adapters.embedded import embedded_postgres, temporary_home
from adapters.postgres.database import DatabaseAway, prepare
from adapters.postgres.schema import SchemaError
from adapters.settings import Settings
from adapters.wiring import WORKERS, engine
from adapters.workers import drain
from domain.commands import Command
from domain.kernel import event_id
from scripts.benches.stage import Stage
from scripts.torments.ledger import Outcome
from scripts.workload.market import Market

QUICK, FULL = 3, 200
"""Restarts."""
WRITERS = 3
AT_ONCE = 10
"""Commands in a batch."""
LOSING_COMMITS = "&options=-c%20synchronous_commit%3Doff"
SET_BACK = """
    UPDATE seatline.positions
    SET position = least(position, (SELECT coalesce(max(notification_id), 0) FROM seatline.stored_events))
"""
PLANTED = {
    "a commit is answered before it is on the disk": {"writers": LOSING_COMMITS},
    "a batch counts as decided when its outcome is unknown": {"hasty": True},
    "readers that are ahead are set back without a word": {"set_back": True},
}


def torment(
    stage: Stage,  # whose server may be somebody else's, which nobody may stop
    size: int,
    seed: int,
    *,
    writers: str = "",
    hasty: bool = False,
    set_back: bool = False,
) -> Outcome:
    chance = random.Random(seed)  # noqa: S311  reproducible on purpose
    with temporary_home() as home, embedded_postgres(home) as url:
        with engine(Settings(database_url=url, home=home)):
            pass  # makes the schema
        customers = Customers(seed)
        enough = threading.Event()
        writing = [Writer(url + writers, customers, enough, hasty=hasty) for _ in range(WRITERS)]
        with ThreadPoolExecutor(WRITERS) as threads:
            running = [threads.submit(writer.run) for writer in writing]
            try:
                for _ in range(size):
                    time.sleep(chance.uniform(0.2, 1))
                    _restart(home)
            finally:
                enough.set()
        # On a log that has lost versions a writer comes to an end too, alone and with nothing in memory.
        stuck = [f"a writer could not go on: {error}" for thread in running if (error := thread.exception())]
        given = {id_: position for writer in writing for id_, position in writer.given.items()}
        complaints = [*stuck, *_broken_log(url), *_broken_answers(url, given)]
        # Nothing can be decided upon a log that has lost versions, so its workers wouldn't get through.
        refused, unnoticed = (0, []) if complaints else _older_backups(url, home, set_back=set_back)
        figures = {
            "restarts": size,
            "commands acknowledged": len(given),
            "outages seen by writers": sum(writer.outages for writer in writing),
            "older backups refused": refused,
        }
        return Outcome(figures, complaints + unnoticed)


class Customers:
    """All writers serve the same ones, so that they get in each other's way."""

    def __init__(self, seed: int) -> None:
        self._lines = Market(10**6, seed=seed, bad=0, duplicates=0).lines()
        self._turn = threading.Lock()

    def commands(self) -> list[Command]:
        with self._turn:
            return [parse(line) for line in islice(self._lines, AT_ONCE)]


class Writer:
    def __init__(self, url: str, customers: Customers, enough: threading.Event, *, hasty: bool) -> None:
        self.given: dict[str, int] = {}
        """The position in the answer that was given to each command."""
        self.outages = 0
        self._url = url
        self._customers = customers
        self._enough = enough
        self._hasty = hasty

    def run(self) -> None:
        with engine(Settings(database_url=self._url)) as wired:
            clerk = wired.clerk()
            while not self._enough.is_set():
                self._write(clerk, self._customers.commands())
                time.sleep(0.01)

    def _write(self, clerk: Clerk, commands: list[Command]) -> None:
        while True:
            try:
                self.given |= {answer.command_id: answer.position for answer in clerk.handle(commands)}
                return
            except DatabaseAway:
                self.outages += 1
                if self._hasty:
                    self.given |= {command.id: 0 for command in commands}
                    return
                time.sleep(0.05)


def _restart(home: Path) -> None:
    """As `pg_ctl stop -m immediate` does: nothing is written any more, and the next start recovers."""
    postmaster = int((home / "postgres/postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGQUIT)
    while _is_alive(postmaster):
        time.sleep(0.01)
    with embedded_postgres(home):
        pass  # whoever opened it first keeps it open


def _is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _broken_log(url: str) -> Iterator[str]:
    with psycopg.connect(url, row_factory=tuple_row) as connection:
        [(events, first, last)] = connection.execute(
            "SELECT count(*), min(notification_id), max(notification_id) FROM seatline.stored_events"
        ).fetchall()
        if (first, last) != (1, events):
            yield f"{events} events have the positions {first} to {last}"
        for stream, count, highest in connection.execute(
            "SELECT originator_id, count(*), max(originator_version) FROM seatline.stored_events GROUP BY 1"
            " HAVING min(originator_version) <> 1 OR max(originator_version) <> count(*)"
        ):
            yield f"{stream} has {count} versions up to {highest}"


def _broken_answers(url: str, given: dict[str, int]) -> Iterator[str]:
    """Whether each acknowledged command has the answer it was given, and each event stands in one answer."""
    with psycopg.connect(url, row_factory=tuple_row) as connection:
        kept = {
            id_: (position, json.loads(f"{{{body[1:]}}}"))
            for id_, position, body in connection.execute("SELECT command_id, position, body FROM seatline.answers")
        }
        stored = {
            event_id(stream, version)
            for stream, version in connection.execute(
                "SELECT originator_id, originator_version FROM seatline.stored_events"
            )
        }
    for id_, position in given.items():
        if id_ not in kept:
            yield f"{id_} was acknowledged and is lost"
        elif kept[id_][0] != position:
            yield f"{id_} was answered with position {position}, and {kept[id_][0]} is kept"
    # A refusal that names somebody is kept sealed, and has no events.
    answered = Counter(event["id"] for _, body in kept.values() for event in body.get("events", ()))
    yield from (f"{event} stands in {times} answers" for event, times in answered.items() if times > 1)
    yield from (f"{event} stands in an answer or in the log, not in both" for event in answered.keys() ^ stored)


def _older_backups(url: str, home: Path, *, set_back: bool) -> tuple[int, list[str]]:
    """How many starts on ever older logs, under readers that have read more, were refused; and which were not."""
    with engine(Settings(database_url=url, home=home)) as wired:
        drain(wired.workers(WORKERS), threading.Event())
        head = wired.log.head()
    prepare(url)  # which has nothing to say against a log that is whole
    refused, unnoticed = 0, []
    for older in (head - 1, head // 2, 0):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DELETE FROM seatline.stored_events WHERE notification_id > %s", (older,))
            connection.execute("DELETE FROM seatline.answers WHERE position > %s", (older,))
            if set_back:
                connection.execute(SET_BACK)
        try:
            prepare(url)
            unnoticed.append(f"a log up to {older} was taken under readers that had read up to {head}")
        except SchemaError:
            refused += 1
    return refused, unnoticed
