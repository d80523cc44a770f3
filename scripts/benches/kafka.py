"""From topic to committed events and back to a topic, beside the library's own consumer; and the wait for an answer."""

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any, LiteralString, NamedTuple
from uuid import uuid4

import psycopg

from adapters.cloudevents import Unreadable, parse
from adapters.kafka.cluster import Cluster
from adapters.postgres.database import connected
from adapters.postgres.log import WRITER_LOCK
from adapters.settings import Settings
from scripts.benches.consuming import consume
from scripts.benches.figures import Figure, Measured, Report, interleaved
from scripts.benches.stage import SPAWN, Stage, engine_at, ingest, lines_of, running
from scripts.broker.cluster import Cluster as Brokers

SIZE = 20_000
LIGHT = 0.1
"""Of what one worker can do; the load at which the wait for an answer is measured."""
LIGHT_SECONDS = 10
SETTLED = 3.0
"""Seconds without a claim after which a group counts as settled."""
PATIENCE = 120.0
LOOK = 0.01


class Place(NamedTuple):
    """A database and topics that only one sample uses."""

    url: str
    kafka: str
    prefix: str

    @property
    def settings(self) -> Settings:
        return Settings(database_url=self.url, kafka=self.kafka, kafka_prefix=self.prefix)


def run(stage: Stage, size: int, rounds: int) -> Report:
    workload = stage.workload(size)
    with _brokers() as kafka:

        @contextmanager
        def place() -> Iterator[Place]:
            with stage.database() as url:
                yield Place(url, kafka, f"bench-{uuid4().hex[:8]}.")

        def sampled(side: Callable[[Place, Path], Any]) -> Any:
            with place() as here:
                return side(here, workload)

        samples = interleaved(
            rounds,
            {
                "plain": lambda: sampled(lambda here, lines: _consume(here, lines, as_installed=True)),
                "consume": lambda: sampled(lambda here, lines: _consume(here, lines, as_installed=False)),
                "one": lambda: sampled(lambda here, lines: _decide(here, lines, workers=1)),
                "two": lambda: sampled(lambda here, lines: _decide(here, lines, workers=2)),
                "publish": lambda: sampled(_publish),
            },
        )
        rate = sorted(samples["one"])[rounds // 2] * LIGHT
        waits = [sampled(lambda here, lines: _wait(here, lines, rate)) for _ in range(rounds)]
    measured = [
        Measured("kafka-python only consuming, as it installs", samples["plain"], "records/s"),
        Measured("the same with checksums in C, as we use it", samples["consume"], "records/s"),
        Measured("topic to committed events, 1 worker", samples["one"], "commands/s"),
        Measured("topic to committed events, 2 workers", samples["two"], "commands/s"),
        Measured("event log to topic", samples["publish"], "events/s"),
        Measured("produce to answer at 10 % load, p50", [p50 for p50, _ in waits], "ms"),
        Measured("produce to answer at 10 % load, p99", [p99 for _, p99 in waits], "ms"),
    ]
    plain, _, one, two, publish, p50, p99 = (side.median for side in measured)
    return Report(
        {"commands": size},
        measured,
        [
            Figure("1 worker ÷ consuming", 100 * one / plain, least=60, unit="%"),
            Figure("2 workers ÷ 1 worker", two / one, least=1.6),
            Figure("publishing ÷ consuming", 100 * publish / plain, least=60, unit="%"),
            Figure("produce to answer, p50", p50, most=15, unit="ms"),
            Figure("produce to answer, p99", p99, most=60, unit="ms"),
        ],
    )


@contextmanager
def _brokers() -> Iterator[str]:
    """SEATLINE_KAFKA, else a broker of our own."""
    if given := os.environ.get("SEATLINE_KAFKA"):
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="seatline-bench-kafka-") as home:
        brokers = Brokers.at(Path(home))
        brokers.start()
        try:
            yield brokers.bootstrap
        finally:
            brokers.stop()


# The sides


def _consume(here: Place, workload: Path, *, as_installed: bool) -> float:
    cluster, count = _filled(here, workload)
    with ProcessPoolExecutor(1, mp_context=SPAWN) as process:
        reading = process.submit(consume, here.kafka, cluster.topics.commands, count, as_installed=as_installed)
        return reading.result()


def _decide(here: Place, workload: Path, *, workers: int) -> float:
    """Commands a second of whole worker processes that have shared the partitions before the first may write."""
    _, count = _filled(here, workload)
    with ExitStack() as processes, connected(here.url) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (WRITER_LOCK,))
        for _ in range(workers):
            processes.enter_context(_seatline(here, "commands"))
        _settle(lambda: _number(connection, "SELECT coalesce(sum(epoch), 0) FROM seatline.inbox"))
        connection.execute("SELECT pg_advisory_unlock(%s)", (WRITER_LOCK,))
        return _rate(lambda: _number(connection, "SELECT sum(next_offset) FROM seatline.inbox"), count)


def _publish(here: Place, workload: Path) -> float:
    with engine_at(here.url) as engine:
        ingest(engine.clerk(), lines_of(workload))
        count = engine.log.head()
    Cluster(here.settings).ensure_topics()
    with _seatline(here, "publisher"), connected(here.url) as connection:
        query = "SELECT coalesce(max(position), 0) FROM seatline.positions WHERE reader = 'publisher'"
        return _rate(lambda: _number(connection, query), count)


def _wait(here: Place, workload: Path, rate: float) -> tuple[float, float]:
    """How long an answer takes, p50 and p99 in milliseconds, for commands that come at an even rate."""
    cluster = Cluster(here.settings)
    cluster.ensure_topics()
    records = list(_records(workload))[: int(rate * LIGHT_SECONDS)]
    sent: dict[bytes, float] = {}
    waits: list[float] = []
    listening, done = threading.Event(), threading.Event()

    def listen() -> None:
        consumer = cluster.consumer(None, cluster.topics.replies, auto_offset_reset="latest")
        while not consumer.assignment() or not listening.is_set():
            consumer.poll(timeout_ms=200)
            listening.set()
        while not done.is_set():
            for replies in consumer.poll(timeout_ms=200).values():
                now = time.perf_counter()
                waits.extend(now - sent.pop(reply.key) for reply in replies if reply.key in sent)
        consumer.close()

    thread = threading.Thread(target=listen)
    with engine_at(here.url):
        pass  # makes the schema
    with _seatline(here, "commands"), connected(here.url) as connection:
        thread.start()
        listening.wait(PATIENCE)
        _settle(lambda: _number(connection, "SELECT coalesce(sum(epoch), 0) FROM seatline.inbox"))
        producer = cluster.producer()
        began = time.perf_counter()
        for number, (id_, key, value) in enumerate(records):
            if (early := began + number / rate - time.perf_counter()) > 0:
                time.sleep(early)
            sent[id_] = time.perf_counter()
            producer.send(cluster.topics.commands, key=key, value=value)
        producer.close(timeout=5)
        until = time.monotonic() + 5
        while sent and time.monotonic() < until:
            time.sleep(LOOK)
        done.set()
        thread.join()
    # As with `single`: the first ones find nothing loaded and no connection made.
    percentiles = quantiles(waits[len(waits) // LIGHT_SECONDS :], n=100)
    return percentiles[49] * 1e3, percentiles[98] * 1e3


# Their parts


def _filled(here: Place, workload: Path) -> tuple[Cluster, int]:
    """The commands' topic with a whole workload in it, unreadable lines left out, and how many there are."""
    with engine_at(here.url):
        pass  # makes the schema
    cluster = Cluster(here.settings)
    cluster.ensure_topics()
    producer = cluster.producer()
    sending = [producer.send(cluster.topics.commands, key=key, value=value) for _, key, value in _records(workload)]
    for future in sending:
        future.get(timeout=30)
    producer.close(timeout=5)
    return cluster, len(sending)


def _records(workload: Path) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Command id, key and value of each readable line, each id once, because a repeat is answered under the same key.

    Without payments: whose order they reach would depend on which worker comes first.
    """
    seen = set()
    for line in lines_of(workload):
        try:
            id_ = parse(line).id
        except Unreadable:
            continue
        if id_ not in seen and b"payment" not in line:
            seen.add(id_)
            yield id_.encode(), str(json.loads(line).get("subject") or id_).encode(), line


def _seatline(here: Place, *workers: str) -> AbstractContextManager[None]:
    return running(
        *workers, SEATLINE_DATABASE_URL=here.url, SEATLINE_KAFKA=here.kafka, SEATLINE_KAFKA_PREFIX=here.prefix
    )


def _settle(number: Callable[[], int]) -> None:
    """Wait until a number is there and rests."""
    last, since = 0, time.monotonic()
    until = since + PATIENCE
    while not last or time.monotonic() - since < SETTLED:
        if (now := number()) != last:
            last, since = now, time.monotonic()
        if time.monotonic() > until:
            raise RuntimeError("the workers don't settle")
        time.sleep(LOOK)


def _rate(number: Callable[[], int], goal: int) -> float:
    """How fast a number grows from its first step to the goal, per second."""
    first, began = 0, 0.0
    until = time.monotonic() + PATIENCE
    while (now := number()) < goal:
        if now and not first:
            first, began = now, time.perf_counter()
        if time.monotonic() > until:
            raise RuntimeError(f"stuck at {now:,} of {goal:,}")
        time.sleep(LOOK)
    return (goal - first) / (time.perf_counter() - began)


def _number(connection: psycopg.Connection, query: LiteralString) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0] or 0) if row else 0
