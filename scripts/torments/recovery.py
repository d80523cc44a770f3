"""Row 4: when a fault ends, everybody catches up within ten seconds, and nobody lends a hand."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from psycopg.rows import tuple_row

from adapters.cloudevents import parse
from adapters.embedded import temporary_home
from adapters.kafka.cluster import Cluster as Topics
from adapters.settings import Settings
from adapters.wiring import Engine, engine
from scripts.benches.stage import Stage
from scripts.broker.cluster import Broker, Cluster
from scripts.torments.ledger import Outcome
from scripts.torments.wire import Wire, a_wire
from scripts.workload.market import Market

QUICK, FULL = 10, 100
GOAL = 10.0
"""Seconds."""
GIVING_UP = 150.0
"""Seconds after which nobody believes any more that lag will ever be 0."""
LONG_OUTAGE = 360.0
AT_ONCE = 10
"""How many commands customers send at once."""
READERS = 9
"""Six views, and the workers that keep a position."""
LAG = """
    SELECT (SELECT coalesce(max(notification_id), 0) FROM seatline.stored_events)
        - (SELECT min(position) FROM seatline.positions HAVING count(*) >= %s)
"""
UNDECIDED = "SELECT count(*) FROM unnest(%s::text[]) AS id WHERE id NOT IN (SELECT command_id FROM seatline.answers)"
PROGRAM = "from adapters.cli import main; main()"
WITHOUT_POLLS = f"import adapters.workers as w; w.POLL = 1e6; {PROGRAM}"
WITH_LONG_PAUSES = f"import adapters.workers as w; w.FIRST_PAUSE = w.LONGEST_PAUSE = 1e6; {PROGRAM}"


class NotRecovered(Exception):
    """Somebody has not caught up, long after the fault."""


class Shop:
    """Customers who reach the database whatever happens to the workers, and see how far these are."""

    def __init__(self, near: Engine, wire: Wire, seed: int) -> None:
        self.wire = wire
        self._log = near.log
        self._clerk = near.clerk()
        self._lines = Market(10**6, seed=seed, bad=0, duplicates=0).lines()

    def lines(self, count: int = AT_ONCE) -> list[bytes]:
        return list(islice(self._lines, count))

    def sell(self) -> None:
        self._clerk.handle([parse(line) for line in self.lines()])

    def sell_for(self, seconds: float) -> None:
        """Customers don't stop because something is broken."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.sell()
            time.sleep(min(left, 0.2))

    def seconds_until_level(
        self, *, undecided: Sequence[str] = (), since: float | None = None, giving_up: float = GIVING_UP
    ) -> float:
        """How long until these commands are decided and all readers have read all events."""
        began = since or time.monotonic()
        while behind := self._ask(UNDECIDED, list(undecided)) or self._ask(LAG, READERS):
            if time.monotonic() > began + giving_up:
                raise NotRecovered(f"{giving_up:.0f} s after a fault the workers are still {behind} behind")
            time.sleep(0.01)
        return time.monotonic() - began

    def _ask(self, query: str, parameter: object) -> int:
        with self._log.connection() as connection, connection.cursor(row_factory=tuple_row) as cursor:
            row = cursor.execute(query.encode(), (parameter,)).fetchone()
        return int(row[0]) if row and row[0] is not None else 1


class Upstream:
    """Who publishes the commands of a shop that takes them from Kafka."""

    def __init__(self, settings: Settings) -> None:
        self._cluster = Topics(settings)
        self._cluster.ensure_topics()

    def publish(self, lines: Sequence[bytes]) -> list[str]:
        """The ids of what the broker has acknowledged."""
        producer = self._cluster.producer()
        try:
            for sent in [producer.send(self._cluster.topics.commands, line) for line in lines]:
                sent.get(timeout=10)
        finally:
            producer.close(timeout=5)
        return [parse(line).id for line in lines]


Fault = Callable[[Shop, random.Random], float]
"""Breaks something, mends it, and returns the seconds until all was done."""


def lose_notices(shop: Shop, _: random.Random, *, giving_up: float = GIVING_UP) -> float:
    """This fault never ends, so the seconds count from the last command on."""
    shop.wire.losing_notices = True
    try:
        shop.sell()
        return shop.seconds_until_level(giving_up=giving_up)
    finally:
        shop.wire.losing_notices = False


def black_hole(shop: Shop, chance: random.Random) -> float:
    shop.wire.hold()
    shop.sell_for(chance.choice((0.3, 1, 3, 7, 15)) * chance.uniform(0.5, 1))
    if chance.random() < 0.5:
        # What has been silent for so long is often forgotten on the way.
        shop.wire.cut()
    shop.wire.mend()
    return shop.seconds_until_level()


def outage(shop: Shop, chance: random.Random, *, long: bool, giving_up: float = GIVING_UP) -> float:
    seconds = chance.choice((0.1, 0.5, 2, 6, 20, 40) if long else (0.5, 2))
    return outage_of(seconds * chance.uniform(0.5, 1), shop, chance, giving_up=giving_up)


def outage_of(seconds: float, shop: Shop, _: random.Random, *, giving_up: float = GIVING_UP) -> float:
    shop.wire.cut()
    shop.sell_for(seconds)
    shop.wire.mend()
    return shop.seconds_until_level(giving_up=giving_up)


def broker_restart(upstream: Upstream, machine: Broker, shop: Shop, chance: random.Random) -> float:
    ids = upstream.publish(shop.lines(300))
    chance.choice((machine.stop, machine.kill))()
    time.sleep(chance.uniform(0, 5))
    machine.start()
    since = time.monotonic()
    ids += upstream.publish(shop.lines())
    return shop.seconds_until_level(undecided=ids, since=since)


class Lane:
    """A shop of its own, so that faults of several kinds can happen at the same time."""

    def __init__(self, stage: Stage, seed: int, program: str) -> None:
        self._stage = stage
        self._seed = seed
        self._chance = random.Random(seed)  # noqa: S311  reproducible on purpose
        self._program = program

    def run(self, fault: Fault, times: int) -> list[float]:
        with self._stage.database() as url, temporary_home() as home, self._opened(url, home, {}) as shop:
            return [fault(shop, self._chance) for _ in range(times)]

    def restart_brokers(self, times: int) -> list[float]:
        with self._stage.database() as url, temporary_home() as home:
            cluster = Cluster.at(home / "kafka")
            cluster.start()
            try:
                upstream = Upstream(Settings(kafka=cluster.bootstrap, kafka_partitions=2))
                fault = partial(broker_restart, upstream, cluster.brokers[0])
                with self._opened(url, home, {"SEATLINE_KAFKA": cluster.bootstrap}) as shop:
                    return [fault(shop, self._chance) for _ in range(times)]
            finally:
                cluster.stop()

    @contextmanager
    def _opened(self, url: str, home: Path, more: dict[str, str]) -> Iterator[Shop]:
        with engine(Settings(database_url=url)) as near, a_wire(url) as wire:
            own = {name: value for name, value in os.environ.items() if not name.startswith("SEATLINE_")}
            settings = {"SEATLINE_DATABASE_URL": wire.url, "SEATLINE_HOME": str(home), **more}
            shop = Shop(near, wire, self._seed)
            with (home / "run.log").open("wb") as log:
                workers = subprocess.Popen(
                    [sys.executable, "-P", "-c", self._program, "run"], stdout=log, stderr=log, env=own | settings
                )
            try:
                shop.seconds_until_level()
                yield shop
                if workers.poll() is not None:
                    raise NotRecovered(f"the workers ended with {workers.returncode}")
            finally:
                workers.send_signal(signal.SIGKILL)
                workers.wait()


def torment(
    stage: Stage, size: int, seed: int, *, only: str = "", program: str = PROGRAM, giving_up: float = GIVING_UP
) -> Outcome:
    """`size` is how many faults; the rest is for planted bugs: one kind of fault, and other workers."""
    many = size >= FULL
    seeds = range(5 * seed, 5 * seed + 5)
    outages, holes = size * 27 // 100, size * 30 // 100
    work: dict[str, Callable[[], list[float]]] = {
        "lost notices": lambda: Lane(stage, seeds[0], program).run(partial(lose_notices, giving_up=giving_up), holes),
        "black holes": lambda: Lane(stage, seeds[1], program).run(black_hole, holes),
        "outages": lambda: Lane(stage, seeds[2], program).run(partial(outage, giving_up=giving_up, long=many), outages),
    }
    if many:
        work["broker restarts"] = lambda: Lane(stage, seeds[3], program).restart_brokers(size - 2 * holes - outages - 1)
        work["outages of six minutes"] = lambda: Lane(stage, seeds[4], program).run(partial(outage_of, LONG_OUTAGE), 1)
    stage.server  # noqa: B018  started before the lanes ask for it at the same time
    with ThreadPoolExecutor(len(work)) as lanes:
        running = {kind: lanes.submit(faults) for kind, faults in work.items() if only in ("", kind)}
    figures, complaints = dict[str, float](), list[str]()
    for kind, faults in running.items():
        try:
            seconds = faults.result()
        except NotRecovered as complaint:
            complaints.append(f"{kind}: {complaint}")
            continue
        figures[kind] = len(seconds)
        figures[f"seconds after {kind} (median)"] = round(median(seconds), 1)
        figures[f"seconds after {kind} (longest)"] = round(max(seconds), 1)
        complaints += [f"{kind}: {late:.1f} s until all had caught up" for late in seconds if late > GOAL]
    return Outcome(figures, complaints)


PLANTED: dict[str, dict[str, Any]] = {
    "workers that only wait for notices": {"only": "lost notices", "program": WITHOUT_POLLS, "giving_up": 15.0},
    "pauses without an end": {"only": "outages", "program": WITH_LONG_PAUSES, "giving_up": 15.0},
}
