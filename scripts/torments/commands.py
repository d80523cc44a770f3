"""Row 1: a command acknowledged by the broker gets exactly one durable decision per id, and an answer.

Workers are killed at every step of their work, stand still for longer than their session lasts, never hear that the
database has committed, and see others join and leave while they are in the middle of a batch.
"""

import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from functools import partial
from itertools import cycle, islice
from typing import Any, TypeVar

from kafka import KafkaAdminClient, TopicPartition  # type: ignore[import-untyped]
from kafka.errors import CoordinatorNotAvailableError, NotCoordinatorError  # type: ignore[import-untyped]

from adapters.kafka import KafkaAway
from adapters.kafka.asking import publish
from adapters.kafka.cluster import Cluster, end_producer
from adapters.postgres.database import connected
from adapters.settings import Settings
from adapters.wiring import engine
from scripts.benches.stage import Stage
from scripts.torments.ledger import Outcome
from scripts.torments.machine import a_machine, all_records
from scripts.torments.mortals import USUAL_MS, Bug, Fate, Mortal, Point, mortal
from scripts.torments.wire import Wire

Made = TypeVar("Made")

FULL = 1_000
QUICK = 12
"""Kills; on top come a fifth as many stops, and a tenth of each other fault."""
LANES = 4
"""Installations beside each other on one database and one broker, since a group needs a while after each death."""
AT_ONCE = 25
"""Commands published before each fault."""
PATIENCE = 15.0
STORING = b',"events":['
"""What only that question holds which stores a batch, and commits it."""

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
WITHIN_A_BATCH = POINTS[1:5]
PLANTED = {
    "the offset moves before the commit": {
        "bug": Bug("adapters.postgres.log:Session.append", "scripts.torments.commands:move_first_and_store_later")
    },
    "answers count as given when they are handed over": {
        "bug": Bug("adapters.kafka.sending:Sending.acknowledged", "scripts.torments.commands:believe_at_once")
    },
}


def torment(stage: Stage, size: int, seed: int, *, bug: Bug | None = None) -> Outcome:
    fired: Counter[str] = Counter()
    complaints: list[str] = []
    sent = 0
    with a_machine() as servers, stage.database() as url, ThreadPoolExecutor(LANES) as threads, ExitStack() as stack:
        with engine(Settings(database_url=url)):
            pass  # makes the schema
        lanes = [stack.enter_context(closing(Lane(url, servers, number, seed, bug))) for number in range(LANES)]
        for running in [threads.submit(lane.run, size // LANES) for lane in lanes]:
            ids, faults, wrong = running.result()
            sent += len(ids)
            fired += faults
            complaints += wrong
        complaints += _gaps(url)
    return Outcome({"commands": sent, **dict(sorted(fired.items()))}, complaints)


class Lane:
    """An installation whose workers die one after the other, two at a time."""

    def __init__(self, url: str, servers: str, number: int, seed: int, bug: Bug | None) -> None:
        prefix = f"lane-{number}."
        self._url = url
        self._wire = Wire(url)
        self._bug = bug
        self._number = number
        self._chance = random.Random(f"{seed} {number}")  # noqa: S311  reproducible on purpose
        self._settings = {
            "SEATLINE_DATABASE_URL": self._wire.url,
            "SEATLINE_KAFKA": servers,
            "SEATLINE_KAFKA_PREFIX": prefix,
            "SEATLINE_BATCH_SIZE": "10",
        }
        self._cluster = Cluster(Settings(kafka=servers, kafka_prefix=prefix, kafka_partitions=3))
        self._group = Group(servers, f"{prefix}commands")
        self._ids: list[str] = []
        self._fired: Counter[str] = Counter()
        self._beside: Mortal | None = None

    def close(self) -> None:
        self._group.close()
        self._wire.close()

    def run(self, kills: int) -> tuple[list[str], Counter[str], list[str]]:
        _patiently(self._cluster.ensure_topics)
        stops, others = max(1, kills // 5), max(1, kills // 10)
        faults: list[Callable[[], None]] = []
        faults += [partial(self._strike, point, signal.SIGKILL) for point in self._share(POINTS, kills)]
        faults += [partial(self._strike, point, signal.SIGSTOP) for point in self._share(POINTS, stops)]
        faults += [self._lose_an_answer] * others
        faults += self._share((self._join_another, self._leave_one), others)
        self._chance.shuffle(faults)
        for fault in faults:
            fault()
        self._end_beside()
        self._fired["answers to COMMIT lost"] = self._wire.lost
        return self._ids, self._fired, list(self._complaints())

    def _share(self, kinds: Sequence[Made], count: int) -> Iterator[Made]:
        """So many of all the lanes' faults, which are of each kind in turn."""
        return islice(cycle(kinds), self._number * count, (self._number + 1) * count)

    def _strike(self, point: Point, sign: signal.Signals) -> None:
        self._publish()
        process = self._worker(Fate(point, self._chance.choice((1, 1, 2, 3)), sign))
        if process.wait(PATIENCE):
            self._fired[f"{'stops' if sign == signal.SIGSTOP else 'kills'}, {point.name}"] += 1
        self._go_on_beside(process)

    def _lose_an_answer(self) -> None:
        self._publish()
        lost, until = self._wire.lost, time.monotonic() + PATIENCE
        self._wire.lose_answer(to=STORING)
        process = self._worker(None)
        while self._wire.lost == lost and time.monotonic() < until:
            time.sleep(0.02)
        self._go_on_beside(process)
        self._end_beside()

    def _join_another(self) -> None:
        self._end_beside()
        self._group.wait_for("Empty", "Dead")
        one = self._worker(self._lingering())
        self._publish()
        if one.wait(PATIENCE):
            self._go_on_beside(self._worker(None))
            self._note_rebalance("joined", one)
        self._go_on_beside(one)
        self._end_beside()

    def _leave_one(self) -> None:
        self._end_beside()
        self._group.wait_for("Empty", "Dead")
        other = self._worker(None)
        self._go_on_beside(other)
        self._group.wait_for("Stable")  # so that nobody who is at a batch must first let it in
        one = self._worker(self._lingering())
        if self._group.wait_for("Stable", members=2):
            self._publish()
            if one.wait(PATIENCE):
                other.leave()
                self._note_rebalance("left", one)
        self._go_on_beside(one)
        self._end_beside()

    def _note_rebalance(self, how: str, one: Mortal) -> None:
        """The group shares its partitions anew, and waits for `one`, which is still at its batch."""
        if self._group.wait_for("PreparingRebalance"):
            self._fired[f"others {how} within a batch"] += 1
        one.go_on()

    def _go_on_beside(self, process: Mortal) -> None:
        """Whoever stands still is awake again when another has its partitions, and both go on for a while."""
        if self._beside:
            self._beside.go_on()
            if self._chance.random() < 0.5:
                process.wait(0.5)
            self._beside.kill()
        self._beside = process

    def _end_beside(self) -> None:
        """Whoever is to be struck next must have the work for itself."""
        if self._beside:
            self._beside.go_on()
            if self._chance.random() < 0.5:
                time.sleep(0.5)
            self._beside.kill()
        self._beside = None

    def _lingering(self) -> Fate:
        return Fate(self._chance.choice(WITHIN_A_BATCH), 1, None)

    def _worker(self, fate: Fate | None) -> Mortal:
        return Mortal(self._settings, "commands", fate, self._bug)

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
        # On a busy machine a quick group would go on without it again and again.
        with mortal(self._settings, "commands", session_ms=USUAL_MS):
            yield from self._unfinished()
        records = all_records(self._cluster, self._cluster.topics.replies)
        answered = {json.loads(record.value)["command_id"] for record in records}
        with connected(self._url) as connection:
            query = "SELECT command_id, outcome FROM seatline.answers WHERE command_id LIKE %s"
            decided = dict(connection.execute(query, (f"{self._number}-%",)).fetchall())
        for id_ in self._ids:
            if id_ not in decided:
                yield f"{id_} was never decided"
            elif decided[id_] != "accepted":
                yield f"{id_} was decided twice: {decided[id_]}"
            elif id_ not in answered:
                yield f"{id_} was never answered"
        yield from (f"{id_} was decided and never sent" for id_ in decided.keys() - set(self._ids))

    def _unfinished(self) -> Iterator[str]:
        """What is left although a worker was there whom nothing befell."""
        topic, until = self._cluster.topics.commands, time.monotonic() + 8 * PATIENCE
        consumer = _patiently(lambda: self._cluster.consumer(None))
        there = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        ends = {place.partition: end for place, end in consumer.end_offsets(there).items()}
        consumer.close(timeout_ms=1_000)
        query = "SELECT partition, answered_offset FROM seatline.inbox WHERE topic = %s"
        with connected(self._url) as connection:
            while (answered := dict(connection.execute(query, (topic,)).fetchall())) != ends:
                if time.monotonic() > until:
                    yield f"{topic} is answered up to {answered}, and ends at {ends}"
                    return
                time.sleep(0.05)


class Group:
    """What the broker says of the workers that share a lane's commands."""

    def __init__(self, servers: str, name: str) -> None:
        self._admin = KafkaAdminClient(bootstrap_servers=servers)
        self._name = name

    def close(self) -> None:
        self._admin.close()

    def wait_for(self, *states: str, members: int | None = None) -> bool:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with suppress(CoordinatorNotAvailableError, NotCoordinatorError):  # as long as nobody has ever joined
                said = self._admin.describe_groups([self._name])[self._name]
                if said["group_state"] in states and members in (None, len(said["members"])):
                    return True
            time.sleep(0.05)
        return False


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
    if random.random() < 0.2:  # noqa: S311
        sending.start_over()  # as after a failure
    return marks
