"""A broker of its own, or the cluster that the settings name, and what is to be read there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kafka import TopicPartition  # type: ignore[import-untyped]

from adapters.embedded import temporary_home
from adapters.kafka.cluster import Cluster
from scripts.broker.cluster import Cluster as Brokers


@contextmanager
def a_machine() -> Iterator[str]:
    """The bootstrap servers."""
    if given := os.environ.get("SEATLINE_KAFKA"):
        yield given
        return
    with temporary_home() as home:
        brokers = Brokers.at(home)
        brokers.start()
        try:
            yield brokers.bootstrap
        finally:
            brokers.stop()


def all_records(cluster: Cluster, topic: str) -> list[Any]:
    """What a topic holds now, partition by partition."""
    consumer = cluster.consumer(None)
    there = [TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic)]
    consumer.assign(there)
    consumer.seek_to_beginning(*there)
    ends, found = consumer.end_offsets(there), []
    while any(consumer.position(place) < ends[place] for place in there):
        for records in consumer.poll(timeout_ms=100).values():
            found += records
    consumer.close(timeout_ms=1_000)
    return found
