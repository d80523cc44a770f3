"""Row 6: events go out at least once, in order per key, and a repeat carries the same id and position.

Brokers are killed, and stand still for longer than a producer's delivery timeout; publishers are killed.
"""

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

from adapters.cloudevents import parse
from adapters.embedded import temporary_home
from adapters.kafka.cluster import Cluster
from adapters.kafka.envelopes import headers as true_headers
from adapters.postgres.log import EventLog
from adapters.settings import Settings
from adapters.wiring import engine
from scripts.benches.stage import Stage
from scripts.broker.cluster import Broker
from scripts.broker.cluster import Cluster as Brokers
from scripts.torments.ledger import Outcome
from scripts.torments.machine import all_records
from scripts.torments.mortals import Bug, Fate, Mortal, Point
from scripts.workload.market import Market

FULL = 100
QUICK = 6
AT_ONCE = 200
"""Commands decided before each fault."""
STANDSTILL = (0.2, 4.0)
"""Seconds; the publisher's producer is given up after 2.5."""
PATIENCE = 60.0

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


def torment(stage: Stage, size: int, *, bug: Bug | None = None) -> Outcome:
    chance = random.Random(6)  # noqa: S311  reproducible on purpose
    faults: Counter[str] = Counter()
    with stage.database() as url, temporary_home() as home, engine(Settings(database_url=url)) as near:
        brokers = Brokers.at(home)
        brokers.start()
        try:
            clerk = near.clerk()
            lines = Market(10**6, seed=6, bad=0, duplicates=0).lines()
            settings = {"SEATLINE_DATABASE_URL": url, "SEATLINE_KAFKA": brokers.bootstrap}
            publisher = Mortal(settings, "publisher", None, bug)
            for number in range(size):
                clerk.handle([parse(next(lines)) for _ in range(AT_ONCE)])
                match number % 3:
                    case 0:
                        publisher.kill()
                        publisher = Mortal(settings, "publisher", Fate(chance.choice(POINTS), 1, signal.SIGKILL), bug)
                        if publisher.wait(PATIENCE):
                            faults[f"publishers killed, {publisher.fate and publisher.fate.point.name}"] += 1
                        publisher.kill()
                        publisher = Mortal(settings, "publisher", None, bug)
                    case kind:
                        _strike(brokers.brokers[0], "kill" if kind == 1 else "pause", chance)
                        faults[f"brokers {'killed' if kind == 1 else 'paused'}"] += 1
            level = _is_level(near.log)
            publisher.kill()
            complaints = [] if level else [f"not everything is published after {PATIENCE:.0f} s"]
            records = _published(brokers.bootstrap)
            complaints += _complaints(near.log, records)
        finally:
            brokers.stop()
        head = near.log.head()
    return Outcome({"events": head, "repeats": len(records) - head, **dict(sorted(faults.items()))}, complaints)


def _strike(broker: Broker, how: str, chance: random.Random) -> None:
    time.sleep(chance.uniform(0, 0.1))
    if how == "kill":
        broker.kill()
        broker.start()
    else:
        broker.pause()
        time.sleep(chance.uniform(*STANDSTILL))
        broker.resume()


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
