"""Row 6: events go out at least once, in order per key, and a repeat carries the same id and position.

Publishers are killed; brokers are killed, and stand still for longer than a producer's delivery timeout; the network
between them is cut before or after events have arrived, and is silent.
"""

import random
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import cycle, islice
from typing import Any
from uuid import uuid4

from adapters.cloudevents import parse
from adapters.embedded import temporary_home
from adapters.kafka.cluster import Cluster
from adapters.kafka.envelopes import headers as true_headers
from adapters.postgres.log import EventLog
from adapters.settings import Settings
from adapters.wiring import Engine, engine
from scripts.benches.stage import Stage
from scripts.broker.cluster import Broker
from scripts.broker.cluster import Cluster as Brokers
from scripts.torments.ledger import Outcome
from scripts.torments.machine import all_records
from scripts.torments.mortals import Bug, Fate, Mortal, Point
from scripts.torments.wire import HOST, Line
from scripts.workload.market import Market

FULL, QUICK = 320, 10
"""Faults, of ten kinds."""
AT_ONCE = 100
"""Commands decided before each fault, and again during it."""
STANDSTILL = (0.2, 4.0)
"""Seconds; the publisher's producer is given up after 2.5."""
OUTAGE = (0.0, 0.5)
"""Seconds for which a network that was cut refuses everybody."""
PATIENCE = 60.0
TO_A_POINT = 15.0
"""Seconds in which a publisher with something to send comes to where it is to be killed, if it ever does."""
EVENTS = b"ce_position"
"""What only packets with events hold."""

POINTS = (
    Point("read", "adapters.postgres.log:EventLog.stored_page", after=True),
    Point("before it is sent", "adapters.kafka.sending:Sending.send"),
    Point("after it is sent", "adapters.kafka.sending:Sending.send", after=True),
    Point("before the position", "adapters.kafka.publisher:reach_position"),
    Point("after the position", "adapters.kafka.publisher:reach_position", after=True),
)
PLANTED = {
    "the position moves before the brokers have the events": {
        "bug": Bug("adapters.kafka.sending:Sending.acknowledged", "scripts.torments.commands:believe_at_once")
    },
    "a repeat gets an id of its own": {
        "bug": Bug("adapters.kafka.publisher:headers", "scripts.torments.publishing:under_a_new_id")
    },
}


def torment(stage: Stage, size: int, seed: int, *, bug: Bug | None = None) -> Outcome:
    with (
        stage.database() as url,
        _broker_at_a_line() as (broker, line),
        engine(Settings(database_url=url)) as near,
        closing(Outbox(url, near, broker, line, seed, bug)) as outbox,
    ):
        for fault in outbox.faults(size):
            fault()
        complaints = [] if _is_level(near.log) else [f"not everything is published after {PATIENCE:.0f} s"]
        records = _published(line.address)
        complaints += _complaints(near.log, records)
        head = near.log.head()
    return Outcome({"events": head, "repeats": len(records) - head, **dict(sorted(outbox.fired.items()))}, complaints)


@contextmanager
def _broker_at_a_line() -> Iterator[tuple[Broker, Line]]:
    """A broker that all clients reach over the line alone."""
    with temporary_home() as home, closing(Line(lambda: socket.create_connection((HOST, broker.port)))) as line:
        brokers = Brokers.at(home, more={"advertised.listeners": f"CLIENTS://{line.address}"})
        [broker] = brokers.brokers
        brokers.start()
        try:
            yield broker, line
        finally:
            brokers.stop()


class Outbox:
    """A log whose events a publisher sends to a broker over a line, and what befalls each of the three."""

    def __init__(self, url: str, near: Engine, broker: Broker, line: Line, seed: int, bug: Bug | None) -> None:
        self.fired: Counter[str] = Counter()
        self._clerk = near.clerk()
        self._broker = broker
        self._line = line
        self._bug = bug
        self._chance = random.Random(seed)  # noqa: S311  reproducible on purpose
        self._commands = Market(10**6, seed=seed, bad=0, duplicates=0).lines()
        self._settings = {"SEATLINE_DATABASE_URL": url, "SEATLINE_KAFKA": line.address}
        self._publisher = self._new_publisher()

    def close(self) -> None:
        self._publisher.kill()

    def faults(self, count: int) -> list[Callable[[], None]]:
        """As many of each kind, in any order."""
        kinds: list[Callable[[], None]] = [partial(self._kill_publisher, point) for point in POINTS]
        kinds += [
            partial(self._strike, "brokers killed", self._broker.kill, self._broker.start),
            partial(self._strike, "brokers paused", self._broker.pause, self._broker.resume),
            partial(self._strike, "networks silent", self._line.hold, self._line.mend),
            partial(self._cut, "networks cut, events lost", self._line.lose_question),
            partial(self._cut, "networks cut, acknowledgements lost", self._line.lose_answer),
        ]
        faults = list(islice(cycle(kinds), count))
        self._chance.shuffle(faults)
        return faults

    def _kill_publisher(self, point: Point) -> None:
        self._publisher.kill()
        self._publisher = self._new_publisher(Fate(point, 1, signal.SIGKILL))
        self._sell()
        if self._publisher.wait(TO_A_POINT):
            self.fired[f"publishers killed, {point.name}"] += 1
        self._publisher.kill()
        self._publisher = self._new_publisher()

    def _strike(self, kind: str, breaks: Callable[[], None], mends: Callable[[], None]) -> None:
        self._sell()
        time.sleep(self._chance.uniform(0, 0.1))
        breaks()
        self._sell()
        time.sleep(self._chance.uniform(*STANDSTILL))
        mends()
        self.fired[kind] += 1

    def _cut(self, kind: str, lose: Callable[[bytes], None]) -> None:
        """When events are on the wire."""
        lost, until = self._line.lost, time.monotonic() + PATIENCE
        lose(EVENTS)
        self._sell()
        while self._line.lost == lost and time.monotonic() < until:
            time.sleep(0.01)
        self.fired[kind] += self._line.lost - lost
        self._line.cut()
        self._sell()
        time.sleep(self._chance.uniform(*OUTAGE))
        self._line.mend()

    def _sell(self) -> None:
        self._clerk.handle([parse(line) for line in islice(self._commands, AT_ONCE)])

    def _new_publisher(self, fate: Fate | None = None) -> Mortal:
        return Mortal(self._settings, "publisher", fate, self._bug)


def _is_level(log: EventLog) -> bool:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with log.connection() as connection, suppress(TypeError):
            found = connection.execute("SELECT position FROM seatline.positions WHERE reader = 'publisher'").fetchone()
            if found and found["position"] == log.head():
                return True
        time.sleep(0.1)
    return False


def _published(servers: str) -> list[Any]:
    cluster = Cluster(Settings(kafka=servers))
    return all_records(cluster, cluster.topics.events)


def _complaints(log: EventLog, records: list[Any]) -> Iterator[str]:
    wanted: dict[str, list[str]] = {}
    places: dict[str, int] = {}
    for event in log.page(0, 10**9):
        wanted.setdefault(event.subject, []).append(event.id)
        places[event.id] = event.position
    came: dict[str, list[str]] = {}
    seen: set[str] = set()
    for record in records:
        said = {name: value.decode() for name, value in record.headers}
        id_ = said["ce_id"]
        if places.get(id_) != int(said["ce_position"]):
            yield f"{id_} came as position {said['ce_position']}, in the log it is {places.get(id_)}"
        if id_ not in seen:
            seen.add(id_)
            came.setdefault(record.key.decode(), []).append(id_)
    for key in wanted.keys() | came.keys():
        if wanted.get(key) != came.get(key):
            yield f"{key}: {len(came.get(key, ()))} events came of {len(wanted.get(key, ()))}, or in another order"


def under_a_new_id(event: Any) -> tuple[bytes, list[tuple[str, bytes]]]:
    data, said = true_headers(event)
    return data, [(name, f"new@{uuid4().int % 10**6}".encode() if name == "ce_id" else value) for name, value in said]
