"""What can't be read as a command: kept byte for byte, and sent to a topic of its own."""

from typing import Any

import structlog

from adapters.kafka.cluster import Cluster
from adapters.kafka.header_names import as_sent
from adapters.kafka.sending import Outgoing
from adapters.postgres.log import DeadLetter

log = structlog.get_logger()

ROOM = 1_024
"""Bytes that Kafka adds to a record, at most; one that its topic wouldn't take is kept in the database alone."""


def dead_letter(record: Any, reason: str) -> DeadLetter:
    return DeadLetter(
        record.topic,
        record.partition,
        record.offset,
        record.key,
        record.value,
        [name.encode() for name, _ in record.headers],
        [value for _, value in record.headers],
        reason,
    )


def as_record(letter: DeadLetter, cluster: Cluster) -> Outgoing:
    """The letter as it came, with what there is to say about it in further headers."""
    key, value, headers = as_sent(letter.key, letter.value, letter.header_names, letter.header_values)
    about = {"reason": letter.reason, "topic": letter.topic, "partition": letter.partition, "offset": letter.offset}
    headers += [(name, str(said).encode(errors="replace")) for name, said in about.items()]
    size = len(key or b"") + len(value or b"") + sum(len(name.encode()) + len(said) + 8 for name, said in headers)
    if size > cluster.dead_letter_bytes - ROOM:
        log.error("dead_letter.too_large", partition=letter.partition, offset=letter.offset, bytes=size)
        key, value, headers = None, b"", [(name, str(said).encode()) for name, said in about.items()]
    return Outgoing(cluster.topics.dead_letters, key, value, headers)
