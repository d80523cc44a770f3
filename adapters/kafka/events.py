"""Events read from Kafka instead of the log, for workers whose work may be repeated."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import structlog
from kafka import OffsetAndMetadata, TopicPartition  # type: ignore[import-untyped]
from kafka.errors import (  # type: ignore[import-untyped]
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from psycopg import Connection

from adapters.kafka.cluster import PATIENCE_MS, Cluster
from adapters.kafka.envelopes import event_in
from adapters.postgres.log import EventLog
from adapters.postgres.readers import reach_position
from domain.kernel import Recorded

log = structlog.get_logger()

PAGE = 1_000
POLL_MS = 200
SESSION_MS = 6_000
JOINING = 30.0
"""Seconds that a group may take to give us partitions, before it counts as having none left for us."""


class KafkaSource:
    """One member of the group that reads the events' topic for a worker.

    The offsets are noted in Kafka after the worker's transaction: what is lost between the two is read again.
    """

    def __init__(self, events: EventLog, cluster: Cluster, reader: str) -> None:
        self._events = events
        self._cluster = cluster
        self._reader = reader
        self._place = f"{reader} from kafka"
        """What says in the database how far the group has got; where to go on from, Kafka knows better."""
        self._consumer: Any = None
        self._joined = 0.0

    @contextmanager
    def page(self) -> Iterator[tuple[Connection[Any], Sequence[Recorded]]]:
        """The next events, in a transaction; leaving it without an error marks them as read. Raises KafkaAway."""
        with self._cluster.naming_outages():
            polled = self._poll()
        try:
            events = [
                event
                for records in polled.values()
                for record in records
                if (event := event_in(record.value, record.headers))
            ]
            with self._events.connection() as connection, connection.transaction():
                yield connection, events
                if events:
                    reach_position(connection, self._place, max(event.position for event in events))
        except BaseException:
            for place, records in polled.items():
                self._consumer.seek(place, records[0].offset)
            raise
        self._note(polled)

    def close(self) -> None:
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            with suppress(KafkaError):
                consumer.close(autocommit=False, timeout_ms=1_000)

    def _poll(self) -> dict[TopicPartition, list[Any]]:
        if self._consumer is None:
            self._cluster.ensure_topics()
            self._consumer = self._cluster.consumer(
                self._reader,
                self._cluster.topics.events,
                most=PAGE,
                auto_offset_reset="none",
                session_timeout_ms=SESSION_MS,
                heartbeat_interval_ms=SESSION_MS // 3,
            )
            self._joined = time.monotonic()
        while True:
            try:
                polled: dict[TopicPartition, list[Any]] = self._consumer.poll(timeout_ms=POLL_MS)
                if polled or not self._is_on_the_way():
                    return polled
            except NoOffsetForPartitionError as nothing_read:
                self._begin(dict.fromkeys(nothing_read.args[0]))
            except OffsetOutOfRangeError as no_longer_there:
                self._begin(no_longer_there.args[0])

    def _begin(self, reached: Mapping[TopicPartition, int | None]) -> None:
        """With the first events that Kafka still has."""
        for place, begins in self._consumer.beginning_offsets(list(reached), timeout_ms=PATIENCE_MS).items():
            first = reached[place]
            if first is not None and first < begins:
                lost = {"partition": place.partition, "first": first, "last": begins - 1}
                log.error("events.lost", reader=self._reader, **lost, reason="retention took them")
            self._consumer.seek(place, begins)

    def _is_on_the_way(self) -> bool:
        """Whether nothing has come although something must: partitions that are still dealt out, or records."""
        there = self._consumer.assignment()
        if not there:
            return time.monotonic() - self._joined < JOINING
        ends = self._consumer.end_offsets(list(there), timeout_ms=PATIENCE_MS)
        return any(self._consumer.position(place, timeout_ms=PATIENCE_MS) < end for place, end in ends.items())

    def _note(self, polled: dict[TopicPartition, list[Any]]) -> None:
        if polled:
            offsets = {place: OffsetAndMetadata(records[-1].offset + 1, "", -1) for place, records in polled.items()}
            try:
                self._consumer.commit(offsets, timeout_ms=PATIENCE_MS)
            except KafkaError as error:
                # The partitions may be somebody else's by now: they are read again, which changes nothing.
                log.warning("events.not_noted", reader=self._reader, reason=str(error))
