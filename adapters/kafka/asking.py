"""Asking over Kafka: commands published and their answers gathered, with nothing but what any other client knows."""

import json
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import TopicPartition  # type: ignore[import-untyped]

from adapters.kafka.cluster import DELIVERY_MS, PATIENCE_MS, Cluster, end_producer

POLL_MS = 200


class Asking:
    def __init__(self, cluster: Cluster, producer: Any, replies: Any) -> None:
        self._topics = cluster.topics
        self._producer = producer
        self._replies = replies

    def publish(self, lines: Sequence[bytes]) -> None:
        """Returns when the brokers have them all; raises KafkaError, and then some may have been delivered."""
        publish(self._producer, self._topics.commands, [(_key(line), line, []) for line in lines])

    def answers(self, ids: Sequence[str], go_on: Callable[[int], bool]) -> list[bytes | None]:
        """The answers to what was published, in this order; those that had not come when `go_on` said no are None.

        `go_on` is asked now and then, with how many answers have come so far.
        """
        found: dict[bytes, deque[bytes]] = defaultdict(deque)
        open_ = defaultdict[bytes, int](int)
        for id_ in ids:
            open_[id_.encode()] += 1
        came = 0
        while came < len(ids) and go_on(came):
            for records in self._replies.poll(timeout_ms=POLL_MS).values():
                for record in records:
                    # Answers may come twice, and others may ask too.
                    if open_.get(record.key):
                        open_[record.key] -= 1
                        found[record.key].append(record.value)
                        came += 1
        return [found[id_.encode()].popleft() if found[id_.encode()] else None for id_ in ids]


@contextmanager
def asking(cluster: Cluster) -> Iterator[Asking]:
    """Ready to ask: whatever is answered from here on will be seen. Raises KafkaAway."""
    with cluster.naming_outages():
        cluster.ensure_topics()
        producer = cluster.producer()
        try:
            replies = cluster.consumer(None, auto_offset_reset="none")
            try:
                topic = cluster.topics.replies
                there = [TopicPartition(topic, partition) for partition in replies.partitions_for_topic(topic) or ()]
                replies.assign(there)
                for place, end in replies.end_offsets(there, timeout_ms=PATIENCE_MS).items():
                    replies.seek(place, end)
                yield Asking(cluster, producer, replies)
            finally:
                replies.close(autocommit=False, timeout_ms=1_000)
        finally:
            end_producer(producer, 1)


def publish(producer: Any, topic: str, records: Sequence[tuple[bytes | None, bytes | None, list[Any]]]) -> None:
    """Returns when the brokers have all of these keys, values and headers; raises KafkaError."""
    for future in [producer.send(topic, value, key, headers) for key, value, headers in records]:
        future.get(timeout=(DELIVERY_MS + PATIENCE_MS) / 1000)


def _key(line: bytes) -> bytes:
    """What keeps a subscription's commands in order, said or not."""
    command = json.loads(line)
    data = command.get("data")
    for said in (command.get("subject"), data.get("subscription_id") if isinstance(data, dict) else None):
        if said and isinstance(said, str):
            return said.encode()
    return str(command["id"]).encode()
