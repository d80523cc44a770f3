"""Publisher: the event log is the outbox. In order per key, at least once, a repeat under the same id and position."""

import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from kafka.errors import KafkaError  # type: ignore[import-untyped]
from kafka.partitioner import murmur2  # type: ignore[import-untyped]
from prometheus_client.core import CounterMetricFamily, Metric

from adapters.kafka import KafkaAway
from adapters.kafka.cluster import Cluster
from adapters.kafka.envelopes import headers
from adapters.kafka.sending import Outgoing, Sending
from adapters.postgres.log import WITH_ACTOR, EventLog, StoredEvent
from adapters.postgres.readers import only_one, reach_position, read_position

PAGE = 500
TURN = 2.0
"""Seconds after which a step ends although there is more, so that whoever wants us to stop is heard."""


class Publisher:
    """Of several processes one publishes and the others stand by."""

    name = "publisher"

    def __init__(self, events: EventLog, cluster: Cluster) -> None:
        self._events = events
        self._cluster = cluster
        self._sending: Sending[int] = Sending(cluster, _hash)
        self.published = 0

    def step(self) -> bool:
        """Publish what has been stored since the last position that the brokers have; says whether there was any."""
        with (
            self._cluster.naming_outages(),
            self._events.connection() as connection,
            only_one(connection, f"seatline {self.name}") as us,
        ):
            if not us:
                return False
            self._cluster.ensure_topics()
            try:
                return self._publish(connection)
            except (KafkaError, KafkaAway):
                # Part of what was under way may have arrived: it goes out again, by a producer that can be trusted.
                self._sending.start_over()
                raise

    def close(self) -> None:
        self._sending.close(1)

    def figures(self) -> Iterator[Metric]:
        yield CounterMetricFamily("seatline_events_published", "Events that the brokers have.", value=self.published)

    def _publish(self, connection: Any) -> bool:
        sent = reached = begin = read_position(connection, self.name)
        until = time.monotonic() + TURN
        more = True
        while more or self._sending:
            if more := more and time.monotonic() < until:
                events = self._events.stored_page(sent, PAGE, WITH_ACTOR)
                more = len(events) == PAGE
                if events:
                    sent = events[-1].position
                    self._sending.send([self._outgoing(event) for event in events], sent)
            is_last = not more or self._sending.is_full
            for position in self._sending.acknowledged(wait=0.2 if is_last else 0):
                reach_position(connection, self.name, position)
                self.published += position - reached
                reached = position
        return sent > begin

    def _outgoing(self, event: StoredEvent) -> Outgoing:
        data, named = headers(event)
        return Outgoing(self._cluster.topics.events, event.subject.encode(), data, named)


@lru_cache(maxsize=65_536)
def _hash(key: bytes) -> int:
    """That of Java's clients, so that others can join the events with what they have under the same keys."""
    return int(murmur2(key)) & 0x7FFF_FFFF
