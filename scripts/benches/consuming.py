"""The peer of the Kafka bench: kafka-python that only consumes. It imports it late, to have it as it installs."""

import sys
import time


def consume(servers: str, topic: str, count: int, *, as_installed: bool) -> float:
    """Records a second until so many have come; call it in a new process.

    kafka-python brings no `crc32c`, which Seatline adds: without it the checksums are counted in Python.
    """
    if as_installed:
        sys.modules["crc32c"] = None  # type: ignore[assignment]
    from kafka import KafkaConsumer, TopicPartition  # type: ignore[import-untyped]

    consumer = KafkaConsumer(
        bootstrap_servers=servers, auto_offset_reset="earliest", enable_auto_commit=False, max_poll_records=1_000
    )
    partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
    seen, began = 0, time.perf_counter()
    consumer.assign(partitions)
    while seen < count:
        seen += sum(map(len, consumer.poll(timeout_ms=500).values()))
    rate = seen / (time.perf_counter() - began)
    consumer.close()
    return rate
