"""Upstream: whoever publishes commands, and reads what comes back, over Kafka; and the program between."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from kafka import KafkaAdminClient, KafkaProducer, TopicPartition  # type: ignore[import-untyped]
from kafka.admin import ConfigResource, ConfigResourceType  # type: ignore[import-untyped]

from adapters.kafka.cluster import Cluster
from scripts.torments.machine import all_records
from tests.office import Office, Reply

Headers = list[tuple[str, bytes]]
PROGRAM = Path(sys.executable).with_name("seatline")


@contextmanager
def running(
    office: Office, cluster: Cluster, broker: str, *arguments: str, **more: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """The installed program in a process of its own."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SEATLINE_")}
    settings = {
        "SEATLINE_DATABASE_URL": office.url,
        "SEATLINE_KAFKA": broker,
        "SEATLINE_KAFKA_PREFIX": cluster.topics.commands.removesuffix("commands"),
        "SEATLINE_BATCH_SIZE": "20",
        "SEATLINE_LOG_FORMAT": "json",
    }
    with subprocess.Popen(
        [PROGRAM, *arguments],
        env=plain | settings | more,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class Upstream:
    """Whoever publishes commands and reads what comes back."""

    def __init__(self, cluster: Cluster, bootstrap: str) -> None:
        self.cluster = cluster
        self.bootstrap = bootstrap
        self.topics = cluster.topics
        cluster.ensure_topics()

    def publish(self, *values: bytes | None, headers: Headers | None = None, partition: int | None = None) -> None:
        producer = self.cluster.producer()
        key = None if all(values) else b"k"
        sent = [producer.send(self.topics.commands, value, key, headers, partition) for value in values]
        for future in sent:
            future.get(timeout=10)
        producer.close(timeout=5)

    def publish_in_transaction(self, value: bytes, *, commit: bool) -> None:
        producer = KafkaProducer(bootstrap_servers=self.bootstrap, transactional_id=uuid4().hex)
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(self.topics.commands, value, partition=0).get(timeout=10)
        (producer.commit_transaction if commit else producer.abort_transaction)()
        producer.close(timeout=5)

    def take_away_before(self, offset: int) -> None:
        """As the broker does with records that are too old."""
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        admin.delete_records({TopicPartition(self.topics.commands, 0): offset})
        admin.close()

    def squeeze_dead_letters(self, size: int) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        topic = ConfigResource(ConfigResourceType.TOPIC, self.topics.dead_letters, {"max.message.bytes": str(size)})
        admin.alter_configs([topic])
        admin.close()

    def read(self, topic: str) -> list[Any]:
        """All records of a topic, partition by partition."""
        return all_records(self.cluster, topic)

    def replies(self) -> list[Reply]:
        return [json.loads(record.value) for record in self.read(self.topics.replies)]

    def dead_letters(self) -> list[Any]:
        return self.read(self.topics.dead_letters)

    def events(self) -> list[Any]:
        return self.read(self.topics.events)
