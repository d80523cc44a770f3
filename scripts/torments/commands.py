"""Row 1: a command acknowledged by the broker gets exactly one durable decision per id, and an answer.

Workers are killed at every step of their work, and stand still for longer than their session lasts.
"""

import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from typing import Any, TypeVar

from kafka import TopicPartition  # type: ignore[import-untyped]

from adapters.kafka import KafkaAway
from adapters.kafka.asking import publish
from adapters.kafka.cluster import Cluster, end_producer
from adapters.postgres.database import connected
from adapters.settings import Settings
from adapters.wiring import engine
from scripts.benches.stage import Stage
from scripts.torments.ledger import Outcome
from scripts.torments.machine import a_machine
from scripts.torments.mortals import Bug, Fate, Mortal, Point, mortal

Made = TypeVar("Made")

FULL = 1_000
QUICK = 20
"""Kills; a fifth as many stops come on top."""
LANES = 4
"""Installations beside each other on one database and one broker, since a group needs a while after each death."""
AT_ONCE = 25
"""Commands published before each fault."""
PATIENCE = 15.0

INBOX = "adapters.kafka.inbox:CommandsWorker"
POINTS = (
    Point("polled", f"{INBOX}._take_batch"),
    Point("loaded", "domain.desk:Desk.begin", after=True),
    Point("decided", "domain.desk:Desk.due_changes", after=True),
    Point("before COMMIT", "adapters.postgres.log:Session.append"),
    Point("after COMMIT", "adapters.postgres.log:Session.append", after=True),
    Point("before the answers", "adapters.kafka.sending:Sending.send"),
    Point("after the answers", "adapters.kafka.sending:Sending.send", after=True),
    Point("before the offset", f"{INBOX}._note_answered"),
    Point("after the offset", "adapters.kafka.partitions:Partitions.tell_kafka", after=True),
)
PLANTED = {
    "the offset moves before the commit": {
        "bug": Bug("adapters.postgres.log:Session.append", "scripts.torments.commands:move_first_and_store_later")
    },
    "answers count as given when they are handed over": {
        "bug": Bug("adapters.kafka.sending:Sending.acknowledged", "scripts.torments.commands:believe_at_once")
    },
}


def torment(stage: Stage, size: int, *, bug: Bug | None = None) -> Outcome:
    fired: Counter[str] = Counter()
    complaints: list[str] = []
    sent = 0
    with a_machine() as servers, stage.database() as url, ThreadPoolExecutor(LANES) as lanes:
        with engine(Settings(database_url=url)):
            pass  # makes the schema
        running = [
            lanes.submit(Lane(url, servers, number, bug).run, size // LANES, max(1, size // LANES // 5))
            for number in range(LANES)
        ]
        for lane in running:
            ids, points, wrong = lane.result()
            sent += len(ids)
            fired += points
            complaints += wrong
        complaints += _gaps(url)
    return Outcome({"commands": sent, **dict(sorted(fired.items()))}, complaints)


class Lane:
    """An installation whose workers die one after the other, two at a time."""

    def __init__(self, url: str, servers: str, number: int, bug: Bug | None) -> None:
        prefix = f"lane-{number}."
        self._url = url
        self._bug = bug
        self._number = number
        self._chance = random.Random(number)  # noqa: S311  reproducible on purpose
        self._settings = {
            "SEATLINE_DATABASE_URL": url,
            "SEATLINE_KAFKA": servers,
            "SEATLINE_KAFKA_PREFIX": prefix,
            "SEATLINE_BATCH_SIZE": "10",
        }
        self._cluster = Cluster(Settings(kafka=servers, kafka_prefix=prefix, kafka_partitions=3))
        self._ids: list[str] = []

    def run(self, kills: int, stops: int) -> tuple[list[str], Counter[str], list[str]]:
        _patiently(self._cluster.ensure_topics)
        fired: Counter[str] = Counter()
        fates = [(point, signal.SIGKILL) for point in islice(cycle(POINTS), kills)]
        fates += [(point, signal.SIGSTOP) for point in islice(cycle(POINTS), stops)]
        self._chance.shuffle(fates)
        beside: Mortal | None = None
        for point, sign in fates:
            self._publish()
            fate = Fate(point, self._chance.choice((1, 1, 2, 3)), sign)
            process = Mortal(self._settings, "commands", fate, self._bug)
            if process.wait(PATIENCE):
                fired[f"{'stops' if sign == signal.SIGSTOP else 'kills'}, {point.name}"] += 1
            # Whoever stands still is awake again when another has its partitions, and both go on for a while.
            if beside:
                beside.go_on()
                self._chance.random() < 0.5 and process.wait(0.5)
                beside.kill()
            beside = process
        if beside:
            beside.kill()
        return self._ids, fired, list(self._complaints())

    def _publish(self) -> None:
        lines: list[tuple[bytes | None, bytes | None, list[Any]]] = []
        for _ in range(AT_ONCE):
            id_ = f"{self._number}-{len(self._ids)}"
            self._ids.append(id_)
            lines.append((id_.encode(), command(id_), []))
        producer = _patiently(self._cluster.producer)
        publish(producer, self._cluster.topics.commands, lines)
        end_producer(producer, 1)

    def _complaints(self) -> Iterator[str]:
        with mortal(self._settings, "commands", bug=self._bug):
            answered = self._answers()
        with connected(self._url) as connection:
            query = "SELECT command_id, outcome FROM seatline.answers WHERE command_id LIKE %s"
            decided = dict(connection.execute(query, (f"{self._number}-%",)).fetchall())
        for id_ in self._ids:
            if id_ not in decided:
                yield f"{id_} was never decided"
            elif decided[id_] != "accepted":
                yield f"{id_} was decided twice: {decided[id_]}"
            elif not answered[id_]:
                yield f"{id_} was never answered"
        yield from (f"{id_} was decided and never sent" for id_ in decided.keys() - set(self._ids))

    def _answers(self) -> Counter[str]:
        """How often each id was answered, when no more answers come."""
        found: Counter[str] = Counter()
        topic = self._cluster.topics.replies
        consumer = _patiently(lambda: self._cluster.consumer(None))
        consumer.assign([TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)])
        silent = 0
        while silent < PATIENCE * 2 and len(found) < len(self._ids):
            records = [record for some in consumer.poll(timeout_ms=500).values() for record in some]
            silent = 0 if records else silent + 1
            found.update(json.loads(record.value)["command_id"] for record in records)
        consumer.close(timeout_ms=1_000)
        return found


def _patiently(make: Callable[[], Made]) -> Made:
    """On a machine that is busy with dying workers, a broker may take long to answer somebody new."""
    until = time.monotonic() + PATIENCE * 4
    while True:
        try:
            return make()
        except KafkaAway:
            if time.monotonic() > until:
                raise


def command(id_: str) -> bytes:
    """One that can be accepted only once."""
    holder = {"name": "Anna Verdi", "email": "anna@example.com", "language": "it"}
    services = [{"sku": "fe-solo-ricezione", "quantity": 1, "expires_on": "2026-06-30"}]
    data = {"subscription_id": f"SUB-{id_}", "account_holder": holder, "services": services}
    envelope = {"specversion": "1.0", "id": id_, "source": "/torture", "time": "2026-03-02T09:00:00+01:00"}
    return json.dumps(envelope | {"type": "seatline.command.start-subscription.v1", "data": data}).encode()


def _gaps(url: str) -> list[str]:
    with connected(url) as connection:
        [(events, head, double)] = connection.execute(
            "SELECT count(*), coalesce(max(notification_id), 0),"
            " count(*) FILTER (WHERE originator_version > 1) FROM seatline.stored_events"
        ).fetchall()
    return [f"{events} events, head {head}, {double} second versions"] if events != head or double else []


# Planted


def move_first_and_store_later(session: Any, batch: Any) -> int:
    from adapters.postgres.log import Batch, Session

    write = Session._write
    if batch.intake:
        write(session, Batch(intake=batch.intake))
        batch.intake = None
        if random.random() < 0.2:  # noqa: S311
            import os

            os.kill(os.getpid(), signal.SIGKILL)
    return write(session, batch)


def believe_at_once(sending: Any, *, wait: float = 0) -> list[Any]:
    marks = [mark for mark, *_ in sending._under_way]
    sending._under_way.clear()
    return marks
