"""Commands from Kafka: each decided once and answered, whoever is killed, cut off or sent nonsense."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from kafka import TopicPartition  # type: ignore[import-untyped]

from adapters.kafka.cluster import Cluster
from adapters.kafka.inbox import CommandsWorker
from adapters.postgres.database import DatabaseAway
from adapters.settings import Settings
from tests.office import BASE, Office, Reply, an_office, service, until
from tests.wire import Wire

pytestmark = pytest.mark.kafka

Headers = list[tuple[str, bytes]]
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Upstream:
    """Whoever publishes commands and reads what comes back."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.topics = cluster.topics
        cluster.ensure_topics()

    def publish(self, *values: bytes | None, headers: Headers | None = None, partition: int | None = None) -> None:
        producer = self.cluster.producer()
        key = None if all(values) else b"k"
        sent = [producer.send(self.topics.commands, value, key, headers, partition) for value in values]
        for future in sent:
            future.get(timeout=10)
        producer.close(timeout=5)

    def read(self, topic: str) -> list[Any]:
        """All records of a topic, partition by partition."""
        consumer = self.cluster.consumer(None)
        there = [TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic)]
        consumer.assign(there)
        consumer.seek_to_beginning(*there)
        ends, found = consumer.end_offsets(there), []
        while any(consumer.position(place) < ends[place] for place in there):
            for records in consumer.poll(timeout_ms=100).values():
                found += records
        consumer.close()
        return found

    def replies(self) -> list[Reply]:
        return [json.loads(record.value) for record in self.read(self.topics.replies)]

    def dead_letters(self) -> list[Any]:
        return self.read(self.topics.dead_letters)


@pytest.fixture
def cluster(broker: str, kafka_prefix: str) -> Cluster:
    return Cluster(Settings(kafka=broker, kafka_prefix=kafka_prefix, kafka_partitions=2))


@pytest.fixture
def upstream(cluster: Cluster) -> Upstream:
    return Upstream(cluster)


@contextmanager
def working(office: Office, cluster: Cluster) -> Iterator[CommandsWorker]:
    worker = CommandsWorker(office.log, office.another_clerk(), cluster, batch_size=100)
    try:
        yield worker
    finally:
        worker.close()


@pytest.fixture
def worker(office: Office, cluster: Cluster) -> Iterator[CommandsWorker]:
    with working(office, cluster) as worker:
        yield worker


def binary(line: bytes) -> tuple[bytes, Headers]:
    """The same command in binary mode."""
    envelope = json.loads(line)
    data = envelope.pop("data")
    return json.dumps(data).encode(), [(f"ce_{name}", value.encode()) for name, value in envelope.items()]


def start(office: Office, **said: Any) -> bytes:
    return office.line("start-subscription", services=[service(BASE, "2026-06-30")], **said)


def test_commands_in_both_modes_are_decided_and_answered(
    office: Office, upstream: Upstream, worker: CommandsWorker
) -> None:
    upstream.publish(start(office, id="one", subscription_id="SUB-1"))
    value, headers = binary(start(office, id="two", subscription_id="SUB-2"))
    upstream.publish(value, headers=[*headers, ("traceparent", TRACE.encode()), ("other", b"\xff")])

    office.drain(worker)

    assert {reply["command_id"]: reply["outcome"] for reply in upstream.replies()} == {
        "one": "accepted",
        "two": "accepted",
    }
    records = {record.key: record for record in upstream.read(upstream.topics.replies)}
    assert records[b"one"].headers == []
    assert records[b"two"].headers == [("traceparent", TRACE.encode())]
    assert {recorded.envelope.traceparent for recorded in office.log.page(0, 10)} == {None, TRACE}
