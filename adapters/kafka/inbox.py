"""Commands from Kafka: decided in one transaction with the offsets they end at, then answered.

The truth about offsets is in the database, fenced by an epoch that every new owner of a partition raises. What Kafka
knows of them is a courtesy to those who look at the group's lag.
"""

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple, NoReturn

import structlog
from kafka import OffsetAndMetadata, TopicPartition  # type: ignore[import-untyped]
from kafka.errors import (  # type: ignore[import-untyped]
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from psycopg.rows import tuple_row

from adapters.clerk import Clerk
from adapters.cloudevents import Unreadable, parse_record
from adapters.kafka import KafkaAway
from adapters.kafka.cluster import PATIENCE_MS, Cluster
from adapters.kafka.header_names import as_sent, read_any_name
from adapters.kafka.sending import Outgoing, Sending
from adapters.postgres.database import DatabaseAway
from adapters.postgres.log import DeadLetter, EventLog, Fenced, Intake, Share
from adapters.telemetry import histogram
from domain.commands import Command

log = structlog.get_logger()

POLL_MS = 250
SESSION_MS = 6_000
"""After which the partitions of a worker that has gone without a word are given to others."""
JOINING = 10.0
"""Seconds that a group may take to give us partitions, before it counts as having none left for us."""
LOOK = 1.0
"""Seconds between two questions to silent brokers whether they are there and have nothing: a poll wouldn't say."""
TELL = 1.0
"""Seconds between two notes to Kafka about how far we are."""
ROOM = 1_024
"""Bytes that Kafka adds to a record, at most; one that its topic wouldn't take is kept in the database alone."""
REST = (0.5, 1.5)
"""Seconds before a partition that somebody else took is claimed again, so that two don't keep taking it in turns."""

CLAIM = """
    INSERT INTO seatline.inbox AS inbox (topic, partition, next_offset, answered_offset)
    SELECT %s, partition, begins, begins FROM unnest(%s::int[], %s::bigint[]) AS log (partition, begins)
    ON CONFLICT (topic, partition) DO UPDATE SET
        epoch = inbox.epoch + 1,
        next_offset = greatest(inbox.next_offset, excluded.next_offset),
        answered_offset = greatest(inbox.answered_offset, excluded.answered_offset)
    RETURNING partition, epoch, next_offset, answered_offset
"""
DECIDED = "SELECT partition, next_offset FROM seatline.inbox WHERE topic = %s AND partition = ANY(%s)"
ANSWERED = """
    UPDATE seatline.inbox AS inbox SET answered_offset = share.answered
    FROM unnest(%s::int[], %s::bigint[], %s::bigint[]) AS share (partition, epoch, answered)
    WHERE topic = %s AND inbox.partition = share.partition AND inbox.epoch = share.epoch
        AND inbox.answered_offset < share.answered AND inbox.next_offset >= share.answered
"""


class TopicRecreated(Exception):
    """The commands' topic is shorter than what was decided from it."""


@dataclass(slots=True)
class Claim:
    """What we know of a partition as long as it is ours."""

    epoch: int
    next: int
    """All before it is decided, as the database has it."""
    position: int
    """All before it has been dealt with since we claimed it: what lies between is decided, and answered again."""
    answered: int
    noted: int
    """What the database has of `answered`."""


class Reached(NamedTuple):
    """How far a batch of answers takes a partition, as long as nobody else has claimed it."""

    partition: int
    epoch: int
    offset: int


class CommandsWorker:
    """One member of the group that shares the partitions of the commands' topic."""

    name = "commands"
    waits_itself = True
    """A step waits for records, so nobody needs to wait before the next one."""

    def __init__(self, events: EventLog, clerk: Clerk, cluster: Cluster, *, batch_size: int = 1_000) -> None:
        self._events = events
        self._clerk = clerk
        self._cluster = cluster
        self._batch_size = batch_size
        self._topic = cluster.topics.commands
        self._consumer: Any = None
        self._answers: Sending[Sequence[Reached]] = Sending(cluster)
        self._claims: dict[int, Claim] = {}
        self._batch: dict[int, Sequence[Any]] = {}
        """What has been polled and not yet decided, by partition: kept while the database is away."""
        self._joined = self._looked = self._told = self._rest_until = 0.0
        self.behind: dict[int, int] = {}
        """By partition, how many records are there that we haven't dealt with."""
        self.outcomes: Counter[str] = Counter()
        self.batch_sizes: Counter[int] = Counter()

    def step(self) -> bool:
        """Decide what has arrived, after a short wait for it; says whether there was any, or answers are under way."""
        with self._cluster.naming_outages():
            try:
                self._follow_answers()
                self._poll()
                self._match_claims()
            except KafkaError:
                self._leave()
                raise
            return self._take_batch() or self._rest()

    def close(self) -> None:
        """Leave the group, so that the others needn't wait for a time-out; bounded, whoever is away."""
        self._answers.close(2)
        with suppress(KafkaAway, KafkaError, DatabaseAway):
            self._follow_answers()
            self._told = 0.0
            self._note_answered()
        self._leave()

    def figures(self) -> Iterator[Metric]:
        commands = CounterMetricFamily("seatline_commands", "Commands answered, and unreadable.", labels=["outcome"])
        for outcome, count in dict(self.outcomes).items():
            commands.add_metric([outcome], count)
        behind = GaugeMetricFamily("seatline_commands_lag", "Records not yet decided.", labels=["partition"])
        for partition, count in dict(self.behind).items():
            behind.add_metric([str(partition)], count)
        yield from (commands, behind)
        yield histogram("seatline_batch_size", "Records in a transaction.", dict(self.batch_sizes))
        yield CounterMetricFamily("seatline_conflicts", "Batches decided again.", value=self._clerk.conflicts)

    # Partitions

    def _poll(self) -> None:
        """Fill the batch, or if it is still full, only keep our place in the group."""
        if self._consumer is None:
            self._join()
        if self._batch:
            self._consumer.pause(*self._consumer.assignment())
        elif paused := self._consumer.paused():
            self._consumer.resume(*paused)
        try:
            polled = self._consumer.poll(timeout_ms=0 if self._batch else POLL_MS)
        except (NoOffsetForPartitionError, OffsetOutOfRangeError):
            # Only the database knows where to begin, or the log no longer begins or ends where it did.
            self._forget()
            return
        for there, records in polled.items():
            if claim := self._claims.get(there.partition):
                waiting = self._batch.get(there.partition)
                expected = waiting[-1].offset + 1 if waiting else claim.position
                if waiting or records[0].offset < expected:
                    # A rebalance has lifted the pause, or put the consumer back to where Kafka thinks that we are.
                    self._consumer.seek(there, expected)
                else:
                    self._batch[there.partition] = records

    def _join(self) -> None:
        self._cluster.ensure_topics()
        read_any_name()
        self._consumer = self._cluster.consumer(
            self.name,
            self._topic,
            most=self._batch_size,
            auto_offset_reset="none",
            isolation_level="read_committed",
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=SESSION_MS // 3,
        )
        self._joined = time.monotonic()

    def _match_claims(self) -> None:
        """Bring our claims in line with what the group gave us; what was polled before a claim comes again after it."""
        ours = {there.partition for there in self._consumer.assignment()}
        for lost in self._claims.keys() - ours:
            del self._claims[lost]
            self._batch.pop(lost, None)
            self.behind.pop(lost, None)
        if (new := ours - self._claims.keys()) and time.monotonic() >= self._rest_until:
            self._claim(sorted(new))

    def _claim(self, partitions: list[int]) -> None:
        there = [TopicPartition(self._topic, partition) for partition in partitions]
        with self._events.connection() as connection, connection.cursor(row_factory=tuple_row) as cursor:
            decided: dict[int, int] = dict(cursor.execute(DECIDED, (self._topic, partitions)).fetchall())
            # Asked for only now: the log can't be shorter than what had been decided from it before.
            begins = self._consumer.beginning_offsets(there, timeout_ms=PATIENCE_MS)
            ends = self._consumer.end_offsets(there, timeout_ms=PATIENCE_MS)
            for place in there:
                self._compare(place.partition, decided.get(place.partition), begins[place], ends[place])
            rows = cursor.execute(CLAIM, (self._topic, partitions, [begins[place] for place in there])).fetchall()
        for partition, epoch, decided_to, answered in rows:
            self._claims[partition] = Claim(epoch, decided_to, answered, answered, answered)
            self._consumer.seek(TopicPartition(self._topic, partition), answered)
        self._looked = 0.0
        log.info("commands.claimed", partitions=partitions)

    def _compare(self, partition: int, decided: int | None, begin: int, end: int) -> None:
        if decided is None:
            return
        if end < decided:
            raise TopicRecreated(
                f"partition {partition} of topic {self._topic} ends at {end}, but all up to {decided} was decided:"
                " was the topic made anew? Choose another SEATLINE_KAFKA_PREFIX, or delete its rows from seatline.inbox"
            )
        if decided < begin:
            log.error("commands.lost", partition=partition, first=decided, last=begin - 1, reason="retention took them")

    def _forget(self) -> None:
        self._claims.clear()
        self._batch.clear()
        self.behind.clear()

    def _leave(self) -> None:
        self._forget()
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            with suppress(KafkaError):
                consumer.close(autocommit=False, timeout_ms=1_000)

    # Deciding

    def _take_batch(self) -> bool:
        if not self._batch:
            return False
        if self._answers.is_full:
            return True
        try:
            answers = self._decide()
        except DatabaseAway:
            raise
        except Fenced as error:
            log.warning("commands.fenced", reason=str(error))
            self._rest_until = time.monotonic() + random.uniform(*REST)  # noqa: S311  spreads, guards nothing
            self._forget()
        except BaseException:
            # What was polled and not decided must come again.
            self._forget()
            raise
        else:
            reached = [Reached(p, self._claims[p].epoch, self._claims[p].position) for p in self._batch]
            self._batch, self._looked = {}, 0.0
            self._send(answers, reached)
        return True

    def _decide(self) -> list[Outgoing]:
        """Decide the batch, what is new in it, and give what is to be sent."""
        fresh: list[Command] = []
        decided: list[Command] = []
        letters: list[DeadLetter] = []
        replies: list[Outgoing] = []
        traces: dict[str, str] = {}
        for partition, records in self._batch.items():
            decided_to = self._claims[partition].next
            for record in records:
                try:
                    command = parse_record(record.value, record.headers)
                except Unreadable as error:
                    letter = _dead_letter(record, str(error))
                    replies.append(self._outgoing(letter))
                    if record.offset >= decided_to:
                        letters.append(letter)
                else:
                    (fresh if record.offset >= decided_to else decided).append(command)
                    if command.traceparent:
                        traces[command.id] = command.traceparent
        answers = self._clerk.again(decided) if decided else []
        shares = self._shares()
        if fresh or letters:
            now = self._clerk.handle(fresh, Intake(self._topic, shares, letters))
            self.batch_sizes[len(fresh) + len(letters)] += 1
            self.outcomes.update([answer.outcome for answer in now])
            self.outcomes["unreadable"] += len(letters)
            answers += now
            self._noted(shares)
            self._tell_kafka()
        for partition, records in self._batch.items():
            self._claims[partition].position = position = records[-1].offset + 1
            end = self._consumer.highwater(TopicPartition(self._topic, partition))
            self.behind[partition] = max(0, (end or 0) - position)
        topic = self._cluster.topics.replies
        for answer in answers:
            trace = traces.get(answer.command_id) if traces else None
            headers = [("traceparent", trace.encode())] if trace else []
            replies.append(Outgoing(topic, answer.command_id.encode(), answer.line().encode(), headers))
        return replies

    def _shares(self) -> list[Share]:
        """How far the batch takes the partitions, and what else is to be noted of them."""
        shares = []
        for partition, claim in self._claims.items():
            records = self._batch.get(partition)
            becomes = max(claim.next, records[-1].offset + 1) if records else claim.next
            if becomes > claim.next or claim.answered > claim.noted:
                shares.append(Share(partition, claim.epoch, claim.next, becomes, claim.answered))
        return shares

    def _noted(self, shares: Sequence[Share]) -> None:
        for share in shares:
            claim = self._claims[share.partition]
            claim.next, claim.noted = share.becomes, share.answered

    def _outgoing(self, letter: DeadLetter) -> Outgoing:
        key, value, headers = as_sent(letter.key, letter.value, letter.header_names, letter.header_values)
        about = {"reason": letter.reason, "topic": letter.topic, "partition": letter.partition, "offset": letter.offset}
        headers += [(name, str(said).encode(errors="replace")) for name, said in about.items()]
        size = len(key or b"") + len(value or b"") + sum(len(name.encode()) + len(said) + 8 for name, said in headers)
        if size > self._cluster.dead_letter_bytes - ROOM:
            log.error("dead_letter.too_large", partition=letter.partition, offset=letter.offset, bytes=size)
            key, value, headers = None, b"", [(name, str(said).encode()) for name, said in about.items()]
        return Outgoing(self._cluster.topics.dead_letters, key, value, headers)

    # Answering

    def _send(self, answers: Sequence[Outgoing], reached: Sequence[Reached]) -> None:
        try:
            self._answers.send(answers, reached)
        except (KafkaError, KafkaAway) as error:
            self._answer_again(error)

    def _follow_answers(self) -> None:
        try:
            batches = self._answers.acknowledged(wait=0.1 if self._answers.is_full else 0)
        except KafkaError as error:
            self._answer_again(error)
        for partition, epoch, offset in chain.from_iterable(batches):
            claim = self._claims.get(partition)
            if claim and claim.epoch == epoch:
                claim.answered = max(claim.answered, offset)

    def _answer_again(self, error: Exception) -> NoReturn:
        """Go back to the first command whose answer nobody has acknowledged."""
        self._answers.start_over()
        self._batch = {}
        for partition, claim in self._claims.items():
            claim.position = claim.answered
            self._consumer.seek(TopicPartition(self._topic, partition), claim.answered)
        raise KafkaAway(f"answers were not acknowledged and are given again: {' '.join(str(error).split())}") from error

    def _rest(self) -> bool:
        """Nothing has arrived: note what is acknowledged; says whether something is still to come."""
        self._note_answered()
        now = time.monotonic()
        if self._claims and now - self._looked > LOOK:
            there = [TopicPartition(self._topic, partition) for partition in self._claims]
            for place, end in self._consumer.end_offsets(there, timeout_ms=PATIENCE_MS).items():
                # Beside records there are marks of transactions, which only the library has seen go by.
                self.behind[place.partition] = end - (self._consumer.position(place, timeout_ms=PATIENCE_MS) or 0)
            self._looked = now
        joining = not self._claims and now - self._joined < JOINING
        return bool(self._answers) or joining or any(self.behind.values())

    def _note_answered(self) -> None:
        moved = [(p, claim) for p, claim in self._claims.items() if claim.answered > claim.noted]
        if not moved:
            return
        with self._events.connection() as connection:
            connection.execute(
                ANSWERED,
                ([p for p, _ in moved], [c.epoch for _, c in moved], [c.answered for _, c in moved], self._topic),
            )
        for _, claim in moved:
            claim.noted = claim.answered
        self._tell_kafka()

    def _tell_kafka(self) -> None:
        if time.monotonic() - self._told < TELL:
            return
        self._told = time.monotonic()
        offsets = {
            TopicPartition(self._topic, partition): OffsetAndMetadata(claim.noted, "", -1)
            for partition, claim in self._claims.items()
        }
        with suppress(KafkaError):
            self._consumer.commit_async(offsets)


def _dead_letter(record: Any, reason: str) -> DeadLetter:
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
