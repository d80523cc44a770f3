"""The partitions of the commands' topic that the group has given us: claimed, then polled.

What Kafka knows of offsets is a courtesy to those who look at the group's lag.
"""

import random
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import structlog
from kafka import OffsetAndMetadata, TopicPartition  # type: ignore[import-untyped]
from kafka.errors import (  # type: ignore[import-untyped]
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from adapters.kafka.claims import Claims, Reached
from adapters.kafka.cluster import PATIENCE_MS, Cluster
from adapters.kafka.header_names import read_any_name

log = structlog.get_logger()

GROUP = "commands"
POLL_MS = 250
SESSION_MS = 6_000
"""After which the partitions of a worker that has gone without a word are given to others."""
JOINING = 30.0
"""Seconds that a group may take to give us partitions, before it counts as having none left for us."""
LOOK = 1.0
"""Seconds between two questions to silent brokers whether they are there and have nothing: a poll wouldn't say."""
TELL = 1.0
"""Seconds between two notes to Kafka about how far we are."""
REST = (0.5, 1.5)
"""Seconds before a partition that somebody else took is claimed again, so that two don't keep taking it in turns."""


class TopicRecreated(Exception):
    """The commands' topic is shorter than what was decided from it."""


class Partitions:
    """After a KafkaError of any method the group is to be left."""

    def __init__(self, cluster: Cluster, claims: Claims, batch_size: int) -> None:
        self._cluster = cluster
        self._claims = claims
        self._batch_size = batch_size
        self._topic = cluster.topics.commands
        self._consumer: Any = None
        self.batch: dict[int, Sequence[Any]] = {}
        """What has been polled and not yet decided, by partition: kept while the database is away."""
        self.behind: dict[int, int] = {}
        """By partition, how many records are there that we haven't dealt with."""
        self._joined = self._looked = self._told = self._rest_until = 0.0

    def poll(self) -> None:
        """Fill the batch, or if it is still full, only keep our place in the group."""
        if self._consumer is None:
            self._join()
        if self.batch:
            self._consumer.pause(*self._consumer.assignment())
        elif paused := self._consumer.paused():
            self._consumer.resume(*paused)
        try:
            polled = self._consumer.poll(timeout_ms=0 if self.batch else POLL_MS)
        except (NoOffsetForPartitionError, OffsetOutOfRangeError):
            # Only the database knows where to begin, or the log no longer begins or ends where it did.
            self.forget()
        else:
            for there, records in polled.items():
                if there.partition in self._claims.held:
                    self._take(there, records)
        self._match_claims()

    def pass_batch(self) -> list[Reached]:
        """Make room for the next batch; says how far this one went."""
        reached = []
        for partition, records in self.batch.items():
            claim = self._claims.held[partition]
            claim.position = records[-1].offset + 1
            end = self._consumer.highwater(self._place(partition))
            self.behind[partition] = max(0, (end or 0) - claim.position)
            reached.append(Reached(partition, claim.epoch, claim.position))
        self.batch, self._looked = {}, 0.0
        return reached

    def go_back(self) -> None:
        """To the first commands whose answers nobody has acknowledged."""
        self.batch = {}
        for partition, claim in self._claims.held.items():
            claim.position = claim.answered
            self._consumer.seek(self._place(partition), claim.answered)

    def forget(self) -> None:
        """Claim everything anew: what was polled and not decided must come again."""
        self._claims.held.clear()
        self.batch.clear()
        self.behind.clear()

    def give_way(self) -> None:
        """To whoever has taken a partition of ours."""
        self._rest_until = time.monotonic() + random.uniform(*REST)  # noqa: S311  spreads, guards nothing
        self.forget()

    def leave(self) -> None:
        self.forget()
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            with suppress(KafkaError):
                consumer.close(autocommit=False, timeout_ms=1_000)

    def tell_kafka(self, *, at_once: bool = False) -> None:
        """How far the database says that we are."""
        if time.monotonic() - self._told < TELL and not at_once:
            return
        self._told = time.monotonic()
        offsets = {self._place(p): OffsetAndMetadata(claim.noted, "", -1) for p, claim in self._claims.held.items()}
        with suppress(KafkaError):
            self._consumer.commit_async(offsets)

    def expect_more(self) -> bool:
        """Whether partitions may still be given to us, or records are there that have not come."""
        now = time.monotonic()
        if not self._claims.held:
            return now - self._joined < JOINING
        if now - self._looked > LOOK:
            there = list(map(self._place, self._claims.held))
            for place, end in self._consumer.end_offsets(there, timeout_ms=PATIENCE_MS).items():
                # Beside records there are marks of transactions, which only the library has seen go by.
                self.behind[place.partition] = end - (self._consumer.position(place, timeout_ms=PATIENCE_MS) or 0)
            self._looked = now
        return any(self.behind.values())

    def _join(self) -> None:
        self._cluster.ensure_topics()
        read_any_name()
        self._consumer = self._cluster.consumer(
            GROUP,
            self._topic,
            most=self._batch_size,
            auto_offset_reset="none",
            isolation_level="read_committed",
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=SESSION_MS // 3,
        )
        self._joined = time.monotonic()

    def _take(self, there: TopicPartition, records: Sequence[Any]) -> None:
        waiting = self.batch.get(there.partition)
        expected = waiting[-1].offset + 1 if waiting else self._claims.held[there.partition].position
        if waiting or records[0].offset < expected:
            # A rebalance has lifted the pause, or put the consumer back to where Kafka thinks that we are.
            self._consumer.seek(there, expected)
        else:
            self.batch[there.partition] = records

    def _match_claims(self) -> None:
        """Bring our claims in line with what the group gave us; what was polled before a claim comes again after it."""
        ours = {there.partition for there in self._consumer.assignment()}
        for lost in self._claims.held.keys() - ours:
            del self._claims.held[lost]
            self.batch.pop(lost, None)
            self.behind.pop(lost, None)
        if (new := ours - self._claims.held.keys()) and time.monotonic() >= self._rest_until:
            self._claim(sorted(new))

    def _claim(self, partitions: list[int]) -> None:
        there = list(map(self._place, partitions))
        decided = self._claims.decided(partitions)
        # Asked for only now: the log can't be shorter than what had been decided from it before.
        begins = self._consumer.beginning_offsets(there, timeout_ms=PATIENCE_MS)
        ends = self._consumer.end_offsets(there, timeout_ms=PATIENCE_MS)
        for place in there:
            if place.partition in decided:
                self._compare(place.partition, decided[place.partition], begins[place], ends[place])
        self._claims.take({place.partition: begins[place] for place in there})
        for place in there:
            self._consumer.seek(place, self._claims.held[place.partition].position)
        self._looked = 0.0
        log.info("commands.claimed", partitions=partitions)

    def _compare(self, partition: int, decided: int, begin: int, end: int) -> None:
        if end < decided:
            raise TopicRecreated(
                f"partition {partition} of topic {self._topic} ends at {end}, but all up to {decided} was decided:"
                " was the topic made anew? Choose another SEATLINE_KAFKA_PREFIX, or delete its rows from seatline.inbox"
            )
        if decided < begin:
            log.error("commands.lost", partition=partition, first=decided, last=begin - 1, reason="retention took them")

    def _place(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)
