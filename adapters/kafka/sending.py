"""Sending in the background: batches of records, each done when the brokers have acknowledged all of it."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar
from zlib import crc32

from kafka import TopicPartition  # type: ignore[import-untyped]
from kafka.errors import KafkaTimeoutError  # type: ignore[import-untyped]
from kafka.producer.producer_batch import ProducerBatch  # type: ignore[import-untyped]
from kafka.record.memory_records import MemoryRecordsBuilder  # type: ignore[import-untyped]

from adapters.kafka.cluster import DELIVERY_MS, Cluster, end_producer

Mark = TypeVar("Mark")
GIVEN_UP = DELIVERY_MS / 1000  # seconds
MOST = 16
"""Batches under way, so that brokers that don't acknowledge fill no memory."""
FULL = 256 * 1024
"""Bytes of records that go to a partition in one piece; a topic takes a megabyte if nobody says otherwise."""
MAGIC = 2
"""The format of records since Kafka 0.11, and the only one in Kafka 4."""


class Outgoing(NamedTuple):
    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class Sending(Generic[Mark]):
    """After an error of any method nothing that was under way counts as sent, though some of it may have been."""

    def __init__(self, cluster: Cluster, hash_of: Callable[[bytes], int] = crc32) -> None:
        """Keys go to partitions by their hash; the usual one is the quickest, and also librdkafka's."""
        self._cluster = cluster
        self._hash_of = hash_of
        self._producer: Any = None
        self._under_way: deque[tuple[Mark, float, list[Any]]] = deque()

    def __bool__(self) -> bool:
        """Whether anything is under way."""
        return bool(self._under_way)

    @property
    def is_full(self) -> bool:
        return len(self._under_way) >= MOST

    def send(self, records: Sequence[Outgoing], mark: Mark) -> None:
        """Hand a batch to the producer; `mark` comes back when all of it is acknowledged."""
        if self._producer is None:
            self._producer = self._cluster.producer()
        self._under_way.append((mark, time.monotonic(), _hand_over(self._producer, records, self._hash_of)))

    def acknowledged(self, *, wait: float = 0) -> list[Mark]:
        """The marks of the batches that are done, in their order; raises KafkaError."""
        marks = []
        if wait and self._under_way:
            with suppress(KafkaTimeoutError):
                self._under_way[0][2][-1].get(timeout=wait)
        while self._under_way:
            mark, since, futures = self._under_way[0]
            for future in futures:
                if future.exception is not None:
                    raise future.exception
            if not all(future.is_done for future in futures):
                if time.monotonic() - since > GIVEN_UP:
                    raise KafkaTimeoutError(f"nothing was acknowledged for {GIVEN_UP:.0f} seconds")
                break
            marks.append(mark)
            self._under_way.popleft()
        return marks

    def start_over(self) -> None:
        """Forget what is under way, and the producer, which can't be trusted after a failure."""
        self._under_way.clear()
        self.close(0)

    def close(self, seconds: float) -> None:
        if self._producer is not None:
            producer, self._producer = self._producer, None
            end_producer(producer, seconds)


def _hand_over(producer: Any, records: Sequence[Outgoing], hash_of: Callable[[bytes], int]) -> list[Any]:
    """What the producer's `send` does for each record, for all of them together; gives their futures.

    `send` takes several times as long, and the producer's thread would be off with every few records that it finds.
    """
    counts = {topic: len(producer.partitions_for(topic)) for topic in {record.topic for record in records}}
    now, futures = int(time.time() * 1000), []
    filled: dict[TopicPartition, list[Any]] = {}
    for topic, key, value, headers in records:
        place = TopicPartition(topic, hash_of(key or value or b"") % counts[topic])
        batches = filled.setdefault(place, [])
        future = batches[-1].try_append(now, key, value, headers) if batches else None
        if future is None:
            # The first record of a batch fits in whatever its size.
            batches.append(ProducerBatch(place, MemoryRecordsBuilder(MAGIC, 0, FULL)))
            future = batches[-1].try_append(now, key, value, headers)
        futures.append(future)
    waiting = producer._accumulator
    for place, batches in filled.items():
        with waiting._tp_lock(place):
            waiting._batches[place].extend(batches)
            for batch in batches:
                waiting._incomplete.add(batch)
    producer._sender.wakeup()
    return futures
