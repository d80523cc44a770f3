"""The clerk: takes commands in batches, decides each exactly once, and answers when the batch is stored."""

import gc
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic_core import to_json

from adapters.postgres.log import Batch, Conflict, EventLog, Intake, Kept, Session
from adapters.postgres.mapper import encode, encode_envelope, encode_value, quoted
from domain.commands import Command
from domain.desk import Decision, Desk
from domain.errors import CommandIdReused
from domain.events import public_type
from domain.kernel import Recorded
from domain.order_number import OrderNumbers
from domain.pricing import PriceList


class Answer(NamedTuple):
    """What a command gets back; `body` holds the rest as JSON members, beginning with a comma."""

    command_id: str
    outcome: str
    original_outcome: str | None
    body: str
    position: int
    events: Sequence[Recorded] = ()
    """What this very call recorded; empty for a duplicate."""

    @property
    def counts_as_rejected(self) -> bool:
        return "rejected" in (self.outcome, self.original_outcome)

    def line(self) -> str:
        """The answer as one line of JSON."""
        original = f',"original_outcome":"{self.original_outcome}"' if self.original_outcome else ""
        return (
            f'{{"command_id":{quoted(self.command_id)},"outcome":"{self.outcome}"{original}'
            f'{self.body},"position":{self.position}}}'
        )


def spare_the_collector() -> None:
    """Stop Python from looking for garbage cycles, in a process that does nothing but write.

    A writer makes no cycles, and going through all that it keeps took a quarter of its time and more.
    """
    gc.collect()
    gc.freeze()
    gc.disable()


class Clerk:
    """One writer: a desk with its warm aggregates, over the log."""

    def __init__(
        self,
        log: EventLog,
        prices: PriceList,
        *,
        capacity: int = 20_000,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._log = log
        self._clock = clock
        self._session: Session
        self._intake: Intake | None = None
        self.conflicts = 0
        """How many batches had to be decided again because somebody else wrote meanwhile."""
        self.desk = Desk(
            prices,
            lambda streams: self._session.histories(streams),
            OrderNumbers(lambda: self._session.order_number_block()),
            capacity=capacity,
        )

    def handle(self, commands: Sequence[Command], intake: Intake | None = None) -> list[Answer]:
        """Decide and store one batch; the answers come in the order of the commands. Raises DatabaseAway, Fenced.

        After DatabaseAway the outcome is unknown: the same batch again finds what was stored as duplicates.
        """
        self._intake = intake
        try:
            with self._log.session() as self._session:
                with suppress(Conflict):
                    return self._attempt(commands)
                self.conflicts += 1
                # Whoever has lost a race goes alone, so that nobody can win another one against it …
                self.desk.forget()
                with suppress(Conflict), self._session.alone():
                    return self._attempt(commands)
                # … and knows nothing of old, if what it read only now was out of date as well.
                self.desk.forget_everything()
                with self._session.alone():
                    return self._attempt(commands)
        except BaseException:
            self.desk.forget()
            raise

    def again(self, commands: Sequence[Command]) -> list[Answer]:
        """The answers that these commands got when they were decided, for whom they may not have reached."""
        with self._log.session() as session:
            kept = session.kept([command.id for command in commands])
        answers, given = [], set[str]()
        for command in commands:
            if first := kept.get(command.id):
                if command.id in given or command.fingerprint != first.fingerprint:
                    answers.append(_again(command, first))
                else:
                    answers.append(Answer(command.id, first.outcome, None, first.body, first.position))
                given.add(command.id)
        return answers

    def _attempt(self, commands: Sequence[Command]) -> list[Answer]:
        kept = self._session.kept([command.id for command in commands])
        fresh = [command for command in commands if command.id not in kept]
        self.desk.begin(fresh)
        decisions: dict[str, Decision] = {}
        batch, clock = Batch(intake=self._intake), self._clock()
        for command in fresh:
            if command.id not in decisions:
                decision = decisions[command.id] = self.desk.decide(command, clock)
                _add(batch, decision)
        batch.reads, batch.due = self.desk.reads(), self.desk.due_changes()
        batch.memories = self.desk.memories()
        head = self._session.append(batch) if decisions or self._intake else 0
        answers = []
        kept |= _kept(batch, head)
        for command in commands:
            first = decisions.pop(command.id, None)
            if first is None:
                answers.append(_again(command, kept[command.id]))
            else:
                _, outcome, body, position = kept[command.id]
                answers.append(Answer(command.id, outcome, None, body, position, first.events))
        return answers


def _kept(batch: Batch, head: int) -> dict[str, Kept]:
    """What is kept of each command now that the batch is stored behind this position."""
    columns = zip(batch.command_ids, batch.fingerprints, batch.outcomes, batch.bodies, batch.offsets, strict=True)
    return {id_: Kept(fingerprint, outcome, body, head + offset) for id_, fingerprint, outcome, body, offset in columns}


def _add(batch: Batch, decision: Decision) -> None:
    command = decision.command
    if decision.events:
        opening = encode_envelope(decision.events[0].envelope)
        for recorded in decision.events:
            batch.streams.append(recorded.originator_id)
            batch.versions.append(recorded.originator_version)
            batch.topics.append(recorded.event.topic)
            batch.states.append(encode(opening, recorded.event))
            batch.subjects.append(recorded.subject)
    batch.command_ids.append(command.id)
    batch.fingerprints.append(command.fingerprint)
    batch.outcomes.append("rejected" if decision.refusal else "accepted")
    batch.bodies.append(_body(decision))
    batch.offsets.append(len(batch.streams))


def _body(decision: Decision) -> str:
    parts = []
    if decision.refusal:
        parts.append(f',"code":"{decision.refusal.code}","message":{to_json(decision.refusal.message).decode()}')
    events = ",".join([f'{{"type":"{public_type(e.event.topic)}","id":{quoted(e.id)}}}' for e in decision.events])
    parts.append(f',"events":[{events}]')
    if decision.data is not None:
        parts.append(f',"data":{encode_value(decision.data).decode()}')
    return "".join(parts)


def _again(command: Command, kept: Kept) -> Answer:
    if command.fingerprint != kept.fingerprint:
        refusal = CommandIdReused(id=command.id)
        message = to_json(refusal.message).decode()
        body = f',"code":"{refusal.code}","message":{message},"events":[]'
        return Answer(command.id, "rejected", None, body, kept.position)
    return Answer(command.id, "duplicate", kept.outcome, kept.body, kept.position)
