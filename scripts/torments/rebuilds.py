"""Row 5: rows and position of a view move together; a rebuild gives what the log says, harms none, sends nothing."""

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from math import ceil
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from statistics import median
from typing import Any, LiteralString

import psycopg
from psycopg import Connection, sql
from psycopg.rows import tuple_row

from adapters.embedded import embedded_postgres, temporary_home
from adapters.postgres import building
from adapters.postgres.database import DatabaseAway, Datastore, connected, prepare
from adapters.postgres.log import EventLog
from adapters.postgres.rebuild import Rebuilt, roll_back
from adapters.postgres.tables import Table, names
from adapters.postgres.views import (
    advance,
    create_views,
    registered,
)
from scripts.benches.stage import Stage
from scripts.torments.ledger import Outcome
from scripts.torments.panels import AS_THEY_ARE, MARKED, MARKS, WIDER, handlers, poll
from scripts.torments.postoffice import a_post_office
from scripts.torments.provisioner import a_provisioning_system
from scripts.torments.rebuild_hands import (
    OUTSIDE,
    Work,
    build,
    build_noting_first,
    build_with_letters,
    build_without_catching_up,
    look_after_effects,
    project,
    project_in_two_transactions,
    write,
)

QUICK, FULL = 8, 200
MANY = 50
"""Rebuilds from which on they are of a log with a million events."""
COMMANDS, MILLION = 250, 720_000
"""Commands before the first rebuild: for each rebuild of a few, and those that make a million events."""
PARTS = 8
"""Of a rebuild of a small log."""
READERS = 8
READER_PAUSE = 0.05
"""Seconds between two polls, at most; five times as many where there is more to read."""
PATIENCE = 1_800.0
"""Seconds."""
FRESH = 1_000_000
"""The generation of a table that is folded from nothing, beside all others."""

CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["scripts.torments.rebuilds"])

VICTIM: LiteralString = """
    SELECT pid FROM pg_stat_activity
    WHERE backend_type IN ('client backend', 'checkpointer') AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1
"""
BEHIND: LiteralString = """
    SELECT count(*) FROM seatline.readers WHERE position < (SELECT max(notification_id) FROM seatline.stored_events)
"""
OPEN: LiteralString = "SELECT count(*) FROM seatline.effects WHERE state IN ('planned', 'doing')"
EFFECTS: LiteralString = "SELECT coalesce(md5(string_agg(e::text, '' ORDER BY id)), '') FROM seatline.effects AS e"
IN_DOUBT: LiteralString = "SELECT count(*) FROM seatline.effects WHERE in_doubt"
HEAD: LiteralString = "SELECT coalesce(max(notification_id), 0) FROM seatline.stored_events"
KEPT: LiteralString = """
    CREATE VIEW seatline.kept AS
    SELECT format('view:%s:%s', name, unnest(array_remove(ARRAY[generation, previous_generation], NULL))) AS kept
    FROM seatline.views
"""
LEFT_OVER: dict[LiteralString, str] = {
    """
    SELECT coalesce(made, kept) FROM seatline.kept FULL JOIN (
        SELECT tablename AS made FROM pg_tables WHERE schemaname = 'read_model'
    ) AS tables ON made = replace(substr(kept, 6), ':', '_') WHERE made IS NULL OR kept IS NULL
    """: "tables that no view shows or keeps",
    """
    SELECT coalesce(reader, kept) FROM seatline.kept FULL JOIN (
        SELECT reader FROM seatline.positions WHERE starts_with(reader, 'view:')
    ) AS positions ON reader = kept WHERE reader IS NULL OR kept IS NULL
    """: "positions of tables that no view shows or keeps",
    "SELECT view FROM seatline.rebuilds": "rebuilds that are under way for ever",
    "SELECT view FROM seatline.rebuild_parts": "parts of a rebuild that is over",
    "SELECT home FROM seatline.parked": "homes parked",
    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()": (
        "connections of processes that should have ended with a killed one"
    ),
}


# The torment


class Broken(Exception):
    """Something failed that nobody had killed or crashed."""


class Company:
    """All who are at work while views are rebuilt, and what befalls them."""

    def __init__(self, url: str, seed: int, projector: Callable[[str], None]) -> None:
        self.figures = Counter[str]()
        self.complaints: list[str] = []
        self._url = url
        self._seed = seed
        self._projector = projector
        self._processes: list[BaseProcess] = []

    def fill(self, lines: int) -> None:
        self._writer = self._talk_to(write, self._url, self._seed, lines)
        if not self._hears(self._writer):
            raise Broken("the log could not be filled; why is above")

    def start(self, smtp: str, provisioning: str, reader_pause: float) -> None:
        self._project()
        self._start(look_after_effects, self._url, smtp, provisioning)
        _wait_until(self._url, BEHIND)
        seeds = range(READERS * self._seed, READERS * (self._seed + 1))
        self._readers = [self._talk_to(poll, self._url, seed, reader_pause) for seed in seeds]
        self._writer.send("go on")

    def kill_the_projector(self) -> None:
        if not self._projecting.is_alive():
            raise Broken("who keeps the views up to date failed; what it said is above")
        _kill(self._projecting)
        self.figures["kills of who keeps the views"] += 1
        self._project()

    def crash_the_server(self, _: BaseProcess) -> None:
        """It ends all connections and recovers from its log, as after a loss of power."""
        with suppress(psycopg.OperationalError), connected(self._url) as connection:
            os.kill(_one(connection, VICTIM), signal.SIGKILL)
            self.figures["server crashes"] += 1
            while True:
                connection.execute("SELECT pg_sleep(0.01)")
        _wait_until_back(self._url)

    def stop_writing(self) -> None:
        self._writer.send("enough")
        self.figures["commands meanwhile"] = self._writer.recv()

    def stop_reading(self) -> None:
        for reader in self._readers:
            reader.send("enough")
        for reader in self._readers:
            figures, complaints = reader.recv()
            self.figures.update({f"reader {what}": count for what, count in figures.items()})
            self.complaints += [f"{complaint} ({times} times)" for complaint, times in complaints.items()]
        # One that comes back too early loses another connection by the same crash.
        if self.figures["reader connections lost"] > 2 * READERS * self.figures["server crashes"]:
            self.complaints.append("readers lost connections without a crash of the server")

    def end(self) -> None:
        for process in self._processes:
            _kill(process)

    def _project(self) -> None:
        self._projecting = self._start(self._projector, self._url)

    def _talk_to(self, work: Callable[..., None], *arguments: object) -> Pipe:
        ours, theirs = CONTEXT.Pipe()
        self._start(work, *arguments, theirs)
        theirs.close()
        return ours

    def _hears(self, pipe: Pipe) -> bool:
        with suppress(EOFError):
            return bool(pipe.recv())
        return False

    def _start(self, work: Callable[..., None], *arguments: object) -> BaseProcess:
        process = CONTEXT.Process(target=work, args=arguments, daemon=True)
        process.start()
        self._processes.append(process)
        return process


class Rebuilder:
    """Rebuilds one view after the other, and is killed while it does."""

    def __init__(self, company: Company, seed: int, builder: Callable[[Work, Pipe], None]) -> None:
        self.locked: list[float] = []
        self.seconds_back: list[float] = []
        self._company = company
        self._chance = random.Random(seed)  # noqa: S311  reproducible on purpose
        self._builder = builder
        self._usual: dict[object, float] = {}
        """Seconds that a rebuild took last time."""

    def rebuild(self, work: Work, strike: Callable[[BaseProcess], None] | None = None) -> Rebuilt:
        """Again and again until it is done; `strike` is what befalls the first attempts."""
        while True:
            ours, theirs = CONTEXT.Pipe()
            process = CONTEXT.Process(target=self._builder, args=(work, theirs))
            process.start()
            theirs.close()
            try:
                struck, said = self._attempt(work, process, ours, strike)
            finally:
                _kill(process)
            if isinstance(said, Rebuilt):
                self._judge(work, said)
                return said
            if not struck:
                raise Broken(f"a rebuild of {work.name} failed: {said}")
            if self._chance.random() < 0.7:
                strike = None

    def _attempt(
        self, work: Work, process: BaseProcess, pipe: Pipe, strike: Callable[[BaseProcess], None] | None
    ) -> tuple[bool, object]:
        struck = False
        said: object = None
        with suppress(EOFError):
            pipe.recv()
            began = time.monotonic()
            kind = (work.name, work.processes)
            if strike and not pipe.poll(self._chance.uniform(0, self._usual.get(kind) or self._guess())):
                strike(process)
                struck = True
            said = pipe.recv()
            if not struck:
                self._usual[kind] = time.monotonic() - began
        if struck and not isinstance(said, Rebuilt):
            self._company.figures["rebuilds killed" if said is None else "rebuilds cut off by a crash"] += 1
        return struck, said

    def _guess(self) -> float:
        return median(self._usual.values()) if self._usual else 0.2

    def _judge(self, work: Work, rebuilt: Rebuilt) -> None:
        self._company.figures["rebuilds"] += 1
        self._company.figures["rebuilds by two processes"] += work.processes == 2
        self.locked.append(rebuilt.locked)
        differences = rebuilt.differences
        if rebuilt.was_version == work.version:
            if differences.rows or differences.gone or differences.new:
                self._complain(f"a rebuild of {work.name} by the same handlers differs: {differences}")
            return
        self._company.figures["rebuilds by other handlers"] += 1
        column, _ = MARKS[work.name]
        only = differences.only_before, differences.only_after, [*differences.columns]
        wider = [*differences.gone, *differences.new]
        if only != (0, 0, [column]) or wider != (["marked"] if work.name in WIDER else []):
            self._complain(f"a rebuild of {work.name} by handlers that mark {column} tells {differences}")
        self._company.figures["rows told to differ"] += differences.changed
        if rebuilt.parked:
            self._complain(f"a rebuild of {work.name} parked {rebuilt.parked}")

    def roll_back(self, url: str, name: str, version: int) -> None:
        with _log(url) as log:
            began = time.monotonic()
            returned = roll_back(log, handlers(name, version))
            self.seconds_back.append(time.monotonic() - began)
        self.locked.append(returned.locked)
        if returned.version != version:
            self._complain(f"{name} went back to version {returned.version} instead of {version}")

    def _complain(self, complaint: str) -> None:
        self._company.complaints.append(complaint)


def torment(
    _: Stage,
    rebuilds: int,
    seed: int,
    *,
    projector: Callable[[str], None] = project,
    builder: Callable[[Work, Pipe], None] = build,
) -> Outcome:
    """On a server of its own, which crashes; for planted bugs, others keep the views, or rebuild them."""
    lines = MILLION if rebuilds >= MANY else COMMANDS * rebuilds
    with (
        temporary_home() as home,
        embedded_postgres(home) as url,
        a_post_office() as office,
        a_provisioning_system() as outside,
    ):
        prepare(url)
        with connected(url) as connection:
            create_views(connection)
            connection.execute(KEPT)
        company = Company(url, seed, projector)
        rebuilder = Rebuilder(company, seed, builder)
        part = lines // PARTS if lines < MILLION else building.PART
        work = [Work(url, name, view.version, 1, part, office.url) for name, view in AS_THEY_ARE.items()]
        try:
            company.fill(lines)
            _take_for_done(url)
            company.start(office.url, outside.url, READER_PAUSE * (5 if lines == MILLION else 1))
            _rebuild_under_load(company, rebuilder, work, rebuilds)
            company.stop_writing()
            _wait_until(url, BEHIND, OPEN)
            before = _outside(url, office.message_ids, outside.keys)
            last = [rebuilder.rebuild(one) for one in work]
            rebuilder.roll_back(url, work[0].name, last[0].was_version)
            _wait_until(url, BEHIND, OPEN)
            if _outside(url, office.message_ids, outside.keys) != before:
                company.complaints.append("rebuilds of a log that stood still changed something outside")
            if len(office.message_ids) - len({*office.message_ids}) > _count(url, IN_DOUBT):
                company.complaints.append("letters were sent again without a doubt")
            company.stop_reading()
        except Broken as complaint:
            company.complaints.append(str(complaint))
        finally:
            company.end()
        company.complaints += _complaints(url)
        figures: dict[str, float] = {"events": _count(url, HEAD), **company.figures}
    figures |= {
        "letters": len(office.message_ids),
        "calls": len(outside.calls),
        "rollbacks": len(rebuilder.seconds_back),
    }
    figures |= {"ms of the longest rollback": round(max(rebuilder.seconds_back, default=0) * 1_000)}
    locked = sorted(seconds * 1_000 for seconds in rebuilder.locked)
    for name, share in {"median": 0.5, "p99": 0.99, "longest": 1.0}.items():
        figures[f"ms of a swap ({name})"] = round(locked[ceil(share * len(locked)) - 1], 1) if locked else 0
    return Outcome(figures, company.complaints)


def _rebuild_under_load(company: Company, rebuilder: Rebuilder, work: Sequence[Work], rebuilds: int) -> None:
    """Round by round: handlers with a bug, their mend, and the same again; each fifth rebuild is taken back."""
    for number in range(rebuilds):
        round_, place = divmod(number, len(work))
        one = work[place]
        if round_ % 3 == 0:
            # By one process: others would take the view from the catalogue.
            one = replace(one, version=one.version + MARKED)
        elif number % 4 == 3:
            one = replace(one, processes=2)
        strike = company.crash_the_server if number % 20 == 4 else _kill if number % 2 else None
        rebuilt = rebuilder.rebuild(one, strike)
        if number % 5 == 2:
            rebuilder.roll_back(one.url, one.name, rebuilt.was_version)
        if number % 3 == 1:
            company.kill_the_projector()
        if rebuilds >= MANY:
            print(f"  {number + 1} of {rebuilds} rebuilds", file=sys.stderr)


def _take_for_done(url: str) -> None:
    """What the log was filled with concerns nobody outside any more."""
    with connected(url) as connection:
        for reader in OUTSIDE:
            connection.execute(f"INSERT INTO seatline.positions (reader, position) SELECT %s, ({HEAD})", (reader,))
        connection.execute("VACUUM ANALYZE")


def _outside(url: str, letters: list[str], keys: list[str]) -> tuple[object, ...]:
    """All that somebody outside could notice, and the log."""
    with connected(url) as connection, connection.cursor(row_factory=tuple_row) as cursor:
        return len(letters), len(keys), cursor.execute(EFFECTS).fetchone(), cursor.execute(HEAD).fetchone()


def _complaints(url: str) -> Iterator[str]:
    until = time.monotonic() + 10  # the server goes on for a while with what a killed process asked for
    with connected(url) as connection, connection.cursor(row_factory=tuple_row) as cursor:
        for query, complaint in LEFT_OVER.items():
            while (left := cursor.execute(query).fetchall()) and time.monotonic() < until:
                time.sleep(0.1)
            if left:
                yield f"{complaint}: {', '.join(str(name) for (name,) in left)}"
    with _log(url) as log, log.connection() as connection:
        live = {name: Table(AS_THEY_ARE[name], generation) for name, _, generation in registered(connection)}
        fresh = {name: Table(table.view, FRESH) for name, table in live.items()}
        for table in fresh.values():
            table.create(connection)
        while advance(log, lambda _: [*fresh.values()], 20_000):
            pass
        for name, table in live.items():
            if _checksum(connection, table) != _checksum(connection, fresh[name]):
                yield f"the rows of {name} are not what the log makes from nothing"


def _checksum(connection: Connection[Any], table: Table) -> tuple[object, ...] | None:
    query = sql.SQL("SELECT count(*), md5(string_agg(md5(t::text), '' ORDER BY {})) FROM {} AS t")
    with connection.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(query.format(names(table.view.key), table.name)).fetchone()


def _wait_until(url: str, *queries: LiteralString) -> None:
    """Until none of these counts anything."""
    until = time.monotonic() + PATIENCE
    while any(_count(url, query) for query in queries):
        if time.monotonic() > until:
            raise Broken(f"somebody is still behind after {PATIENCE:.0f} seconds")
        time.sleep(0.05)


def _wait_until_back(url: str) -> None:
    while True:
        with suppress(DatabaseAway), connected(url):
            return
        time.sleep(0.02)


@contextmanager
def _log(url: str) -> Iterator[EventLog]:
    log = EventLog(Datastore(url))
    with closing(log.datastore):
        yield log


def _kill(process: BaseProcess) -> None:
    process.kill()
    process.join()


def _count(url: str, query: LiteralString) -> int:
    with connected(url) as connection:
        return _one(connection, query)


def _one(connection: Connection[Any], query: LiteralString) -> int:
    with connection.cursor(row_factory=tuple_row) as cursor:
        [(value,)] = cursor.execute(query)
    return int(value)


PLANTED: dict[str, dict[str, Any]] = {
    "a swap without catching up": {"builder": build_without_catching_up},
    "parts noted as done before their rows are written": {"builder": build_noting_first},
    "the position in another transaction than the rows": {"projector": project_in_two_transactions},
    "a letter from a handler": {"builder": build_with_letters},
}
