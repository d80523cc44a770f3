"""Row 12: SIGTERM ends every worker with 0 within ten seconds, also with broker, database or mail server gone.

Whoever starts next does the rest.
"""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import count, islice
from pathlib import Path

import psycopg
from psycopg.rows import tuple_row

from adapters.embedded import temporary_home
from adapters.settings import Settings
from adapters.wiring import engine
from scripts.benches.stage import Stage
from scripts.broker.cluster import Cluster
from scripts.torments.ledger import Outcome
from scripts.torments.postoffice import SILENCE, PostOffice
from scripts.torments.recovery import READERS, Upstream
from scripts.torments.wire import Wire, a_wire
from scripts.workload.market import Market

QUICK, FULL = 4, 300
"""Signals."""
AT_ONCE = 6
"""Processes with all workers each, beside each other."""
LINES = 60
"""Commands published before each fault."""
GOAL = 10.0
"""Seconds."""
PATIENCE = 90.0
"""Seconds after which something that must come to an end never will."""
STARTED = b"workers.started"
PROGRAM = "from adapters.cli import main; main()"
PATIENT = f"import adapters.workers as w; w.GRACE = 2 * {GOAL:.0f}; {PROGRAM}"
DEAF = f"import signal; was = signal.signal; signal.signal = lambda number, _: was(number, signal.SIG_DFL); {PROGRAM}"
REST = """
    SELECT (SELECT count(*) FROM unnest(%s::text[]) AS id WHERE id NOT IN (SELECT command_id FROM seatline.answers)),
        (SELECT coalesce(max(notification_id), 0) FROM seatline.stored_events)
            - coalesce((SELECT min(position) FROM seatline.positions HAVING count(*) >= %s), 0),
        (SELECT count(*) FROM seatline.effects WHERE state IN ('planned', 'doing')),
        (SELECT coalesce(sum(next_offset - answered_offset), 0) FROM seatline.inbox)
"""
PLANTED = {
    "workers are waited for as long as they take": {"program": PATIENT, "only": "database silent"},
    "nobody listens to the signal": {"program": DEAF, "only": "nothing"},
}


class SilentOffice(PostOffice):
    """One that takes connections and says nothing while it is `silent`."""

    silent = False

    def answer(self, verb: str, usual: str) -> str:
        return SILENCE if self.silent else usual


Fault = tuple[Callable[[], None], Callable[[], None]]
"""What breaks something, and what mends it."""


def torment(stage: Stage, size: int, seed: int, *, program: str = PROGRAM, only: str = "") -> Outcome:
    chance = random.Random(seed)  # noqa: S311  reproducible on purpose
    ended, complaints, longest = Counter[str](), list[str](), 0.0
    with _scene(stage, seed, program) as scene:
        kinds = [only] if only else [*scene.faults]
        chance.shuffle(kinds)
        at_once = min(AT_ONCE, max(1, size // QUICK))
        while ended.total() < size:
            kind = kinds[len(scene.published) // LINES % len(kinds)]
            for seconds, code in scene.round(kind, min(at_once, size - ended.total()), chance):
                ended[f"signals, {kind}"] += 1
                longest = max(longest, seconds)
                if code is None:
                    complaints.append(f"{kind}: a process was still there {GOAL:.0f} s after its signal")
                elif code or seconds > GOAL:
                    complaints.append(f"{kind}: a process ended with {code} after {seconds:.1f} s")
        complaints += [] if only else scene.rest()
        figures = {**dict(sorted(ended.items())), "seconds until the end (longest)": round(longest, 1)}
        return Outcome({**figures, "commands": len(scene.published), "letters": len(scene.office.taken)}, complaints)


class Scene:
    """An installation whose processes come and go, and all that they need, each of which can go."""

    def __init__(
        self, url: str, wire: Wire, home: Path, cluster: Cluster, office: SilentOffice, seed: int, program: str
    ) -> None:
        [broker] = cluster.brokers
        self.published: list[str] = []
        self.office = office
        self.faults: dict[str, Fault] = {
            "nothing": (lambda: None, lambda: None),
            "database cut": (wire.cut, wire.mend),
            "database silent": (wire.hold, wire.mend),
            "broker killed": (broker.kill, broker.start),
            "broker paused": (broker.pause, broker.resume),
            "mail server silent": (partial(setattr, office, "silent", True), partial(setattr, office, "silent", False)),
        }
        self._url = url
        self._home = home
        self._program = program
        self._names = map("run-{}.log".format, count(1))
        # Few customers at once, so that they soon order and get letters.
        self._lines = Market(10**6, seed=seed, bad=0, duplicates=0, in_flight=20).lines()
        self._upstream = Upstream(Settings(kafka=cluster.bootstrap, kafka_partitions=6))
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("SEATLINE_")} | {
            "SEATLINE_DATABASE_URL": wire.url,
            "SEATLINE_HOME": str(home),
            "SEATLINE_KAFKA": cluster.bootstrap,
            "SEATLINE_SMTP_URL": office.url,
            "SEATLINE_LOG_FORMAT": "json",
        }

    def round(self, kind: str, processes: int, chance: random.Random) -> Iterator[tuple[float, int | None]]:
        """How long after its signal each ended, and with what; None if it didn't."""
        breaks, mends = self.faults[kind]
        self._publish()
        with ExitStack() as stack:
            running = [stack.enter_context(self._running()) for _ in range(processes)]
            for process in running:
                process.wait_until_started()
            self._make_due()
            stack.callback(mends)
            time.sleep(chance.uniform(0, 1.5))
            breaks()
            time.sleep(chance.uniform(0, 3))
            for process in running:
                process.tell()
                time.sleep(chance.uniform(0, 0.1))
            yield from [process.end() for process in running]

    def rest(self) -> list[str]:
        """What is left to do although one more process was there to do it."""
        until = time.monotonic() + PATIENCE
        with self._running() as process:
            process.wait_until_started()
            while any(rest := self._rest()):
                if time.monotonic() > until:
                    undecided, unread, open_, unanswered = rest
                    return [f"left: {undecided} commands, {unread} events, {open_} effects, {unanswered} answers"]
                self._make_due()
                time.sleep(0.1)
        return []

    def _publish(self) -> None:
        self.published += self._upstream.publish(list(islice(self._lines, LINES)))

    def _make_due(self) -> None:
        """Nobody waits ten minutes here for the next attempt."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("UPDATE seatline.effects SET due_at = now() WHERE state IN ('planned', 'doing')")

    def _rest(self) -> Sequence[int]:
        with psycopg.connect(self._url, row_factory=tuple_row) as connection:
            return connection.execute(REST, (self.published, READERS)).fetchone() or ()

    @contextmanager
    def _running(self) -> Iterator["Run"]:
        run = Run(self._program, self._home / next(self._names), self._environment)
        try:
            yield run
        finally:
            run.kill()


class Run:
    """One `seatline run`."""

    def __init__(self, program: str, log: Path, environment: dict[str, str]) -> None:
        self._log = log
        self._told = 0.0
        with log.open("wb") as into:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", program, "run"], stdout=into, stderr=into, env=environment
            )

    def wait_until_started(self) -> None:
        until = time.monotonic() + PATIENCE
        while STARTED not in self._log.read_bytes():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"a process did not start: {self._log.read_text()[-500:]}")
            time.sleep(0.02)

    def tell(self) -> None:
        self._told = time.monotonic()
        self._process.terminate()

    def end(self) -> tuple[float, int | None]:
        try:
            code: int | None = self._process.wait(max(0.0, self._told + GOAL - time.monotonic()))
        except subprocess.TimeoutExpired:
            code = None
        return time.monotonic() - self._told, code

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def _scene(stage: Stage, seed: int, program: str) -> Iterator[Scene]:
    with (
        stage.database() as url,
        temporary_home() as home,
        a_wire(url) as wire,
        closing(SilentOffice()) as office,
    ):
        cluster = Cluster.at(home / "kafka")
        cluster.start()
        try:
            with engine(Settings(database_url=url, home=home)):
                pass  # makes the schema
            yield Scene(url, wire, home, cluster, office, seed, program)
        finally:
            cluster.stop()
