"""Commands from Kafka: decided in one transaction with the offsets they end at, then answered."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import NoReturn

import structlog
from kafka.errors import KafkaError  # type: ignore[import-untyped]
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from adapters.clerk import Answer, Clerk
from adapters.cloudevents import Unreadable, parse_record
from adapters.kafka import KafkaAway
from adapters.kafka.claims import Claims, Reached
from adapters.kafka.cluster import Cluster
from adapters.kafka.dead_letters import as_record, dead_letter
from adapters.kafka.partitions import Partitions
from adapters.kafka.sending import Outgoing, Sending
from adapters.postgres.database import DatabaseAway
from adapters.postgres.log import DeadLetter, EventLog, Fenced, Intake
from adapters.telemetry import histogram
from domain.commands import Command

log = structlog.get_logger()


@dataclass(slots=True)
class Read:
    """What the records of a batch say; what was decided before is there to be answered again."""

    fresh: list[Command] = field(default_factory=list)
    decided: list[Command] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    decided_letters: list[DeadLetter] = field(default_factory=list)
    traces: dict[str, str] = field(default_factory=dict)
    """By command id."""


class CommandsWorker:
    """One member of the group that shares the partitions of the commands' topic."""

    name = "commands"
    waits_itself = True
    """A step waits for records, so nobody needs to wait before the next one."""

    def __init__(self, events: EventLog, clerk: Clerk, cluster: Cluster, *, batch_size: int = 1_000) -> None:
        self._clerk = clerk
        self._cluster = cluster
        self._topic = cluster.topics.commands
        self._claims = Claims(events, self._topic)
        self._partitions = Partitions(cluster, self._claims, batch_size)
        self._answers: Sending[Sequence[Reached]] = Sending(cluster)
        self.outcomes: Counter[str] = Counter()
        self.batch_sizes: Counter[int] = Counter()

    def step(self) -> bool:
        """Decide what has arrived, after a short wait for it; says whether there was any, or answers are under way."""
        with self._cluster.naming_outages():
            try:
                self._follow_answers()
                self._partitions.poll()
            except KafkaError:
                self._partitions.leave()
                raise
            return self._take_batch() or self._rest()

    def close(self) -> None:
        """Leave the group, so that the others needn't wait for a time-out; bounded, whoever is away."""
        self._answers.close(2)
        with suppress(KafkaAway, KafkaError, DatabaseAway):
            self._follow_answers()
            self._note_answered(at_once=True)
        self._partitions.leave()

    def figures(self) -> Iterator[Metric]:
        commands = CounterMetricFamily("seatline_commands", "Commands answered, and unreadable.", labels=["outcome"])
        for outcome, count in dict(self.outcomes).items():
            commands.add_metric([outcome], count)
        behind = GaugeMetricFamily("seatline_commands_lag", "Records not yet decided.", labels=["partition"])
        for partition, count in dict(self._partitions.behind).items():
            behind.add_metric([str(partition)], count)
        yield from (commands, behind)
        yield histogram("seatline_batch_size", "Records in a transaction.", dict(self.batch_sizes))
        yield CounterMetricFamily("seatline_conflicts", "Batches decided again.", value=self._clerk.conflicts)

    def _take_batch(self) -> bool:
        if not self._partitions.batch:
            return False
        if self._answers.is_full:
            return True
        try:
            read = self._read()
            answers = self._decide(read)
        except DatabaseAway:
            raise
        except Fenced as error:
            log.warning("commands.fenced", reason=str(error))
            self._partitions.give_way()
        except BaseException:
            self._partitions.forget()
            raise
        else:
            self._send(self._outgoing(read, answers), self._partitions.pass_batch())
        return True

    # Deciding

    def _read(self) -> Read:
        read = Read()
        for partition, records in self._partitions.batch.items():
            decided_to = self._claims.held[partition].next
            for record in records:
                is_fresh = record.offset >= decided_to
                try:
                    command = parse_record(record.value, record.headers)
                except Unreadable as error:
                    (read.letters if is_fresh else read.decided_letters).append(dead_letter(record, str(error)))
                else:
                    (read.fresh if is_fresh else read.decided).append(command)
                    if command.traceparent:
                        read.traces[command.id] = command.traceparent
        return read

    def _decide(self, read: Read) -> list[Answer]:
        answers = self._clerk.again(read.decided) if read.decided else []
        if read.fresh or read.letters:
            shares = self._claims.shares(self._partitions.batch)
            now = self._clerk.handle(read.fresh, Intake(self._topic, shares, read.letters))
            self._claims.stored(shares)
            self._partitions.tell_kafka()
            self.batch_sizes[len(read.fresh) + len(read.letters)] += 1
            self.outcomes.update([answer.outcome for answer in now])
            self.outcomes["unreadable"] += len(read.letters)
            answers += now
        return answers

    # Answering

    def _outgoing(self, read: Read, answers: Sequence[Answer]) -> list[Outgoing]:
        letters = [as_record(letter, self._cluster) for letter in chain(read.decided_letters, read.letters)]
        topic, traces = self._cluster.topics.replies, read.traces
        for answer in answers:
            trace = traces.get(answer.command_id) if traces else None
            headers = [("traceparent", trace.encode())] if trace else []
            letters.append(Outgoing(topic, answer.command_id.encode(), answer.line().encode(), headers))
        return letters

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
        self._claims.answered(chain.from_iterable(batches))

    def _answer_again(self, error: Exception) -> NoReturn:
        self._answers.start_over()
        self._partitions.go_back()
        raise KafkaAway(f"answers were not acknowledged and are given again: {' '.join(str(error).split())}") from error

    def _rest(self) -> bool:
        """Nothing has arrived: note what is acknowledged; says whether something is still to come."""
        self._note_answered()
        return bool(self._answers) or self._partitions.expect_more()

    def _note_answered(self, *, at_once: bool = False) -> None:
        if self._claims.note_answered():
            self._partitions.tell_kafka(at_once=at_once)
