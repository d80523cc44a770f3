"""The clerk: takes commands in batches, decides each exactly once, and answers when the batch is stored."""

import gc
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain
from typing import Any, NamedTuple

from pydantic_core import to_json

from adapters.postgres.database import DatabaseAway
from adapters.postgres.log import Batch, Conflict, EventLog, Kept, Session
from adapters.postgres.mapper import encode, encode_envelope, quoted
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
        self.desk = Desk(
            prices,
            lambda streams: self._session.histories(streams),
            OrderNumbers(lambda: self._session.order_number_block()),
            capacity=capacity,
        )

    def handle(self, commands: Sequence[Command]) -> list[Answer]:
        """Decide and store one batch; the answers come in the order of the commands. Raises DatabaseAway.

        After DatabaseAway the outcome is unknown: the same batch again finds what was stored as duplicates.
        """
        try:
            with self._log.session() as self._session:
                with suppress(Conflict):
                    return self._handled(commands)
                # Whoever has lost a race goes alone, so that nobody can win another one against it …
                self.desk.forget()
                with suppress(Conflict), self._session.alone():
                    return self._handled(commands)
                # … and knows nothing of old, if what it read only now was out of date as well.
                self.desk.forget_everything()
                with self._session.alone():
                    return self._handled(commands)
        except BaseException:
            self.desk.forget()
            raise

    def _handled(self, commands: Sequence[Command]) -> list[Answer]:
        draft = self._draft(commands)
        return _answers(draft, self._session.append(draft.batch) if draft.decisions else 0)

    def stream(
        self, batches: Iterable[Sequence[Command]], handle: Callable[[Sequence[Command]], list[Answer]] | None = None
    ) -> Iterator[list[Answer]]:
        """Answer batch after batch, deciding each while the one before it is being stored.

        A batch that fails on this way goes through `handle`, by default this clerk's own. An empty batch gets no
        answers; it says that no more is at hand for now, so that nobody waits for an answer until there is.
        """
        handle = handle or self.handle
        ahead: _Ahead | None = None
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="store") as storing:
            for commands in chain(batches, [()]):
                draft = self._draft_behind(ahead, commands) if commands else None
                if ahead:
                    try:
                        answers = _answers(ahead.draft, ahead.head.result())
                    except (Conflict, DatabaseAway):
                        # What was decided meanwhile rests on what has not been stored.
                        self.desk.forget([*ahead.draft.seen, *(draft.seen if draft else ())])
                        draft = None
                        answers = handle(ahead.draft.commands)
                    else:
                        if draft:
                            draft.kept.update(_kept(ahead.draft, ahead.head.result(), draft.waits_for))
                    yield answers
                ahead = _Ahead(draft, storing.submit(self._store, draft.batch)) if draft else None
                if commands and not draft:
                    yield handle(commands)

    def _draft_behind(self, ahead: "_Ahead | None", commands: Sequence[Command]) -> "_Draft | None":
        """Decide on top of a batch that is still being stored; None if the database is away."""
        try:
            with self._log.session() as self._session:
                return self._draft(commands, ahead.draft.decisions if ahead else {})
        except DatabaseAway:
            self.desk.forget()
            return None

    def _store(self, batch: Batch) -> int:
        if not batch.command_ids:
            return 0
        with self._log.session() as session:
            return session.append(batch)

    def _draft(self, commands: Sequence[Command], in_flight: Container[str] = ()) -> "_Draft":
        """Decide what has no answer yet, and none in flight, up to the point where it could be stored."""
        kept = self._session.kept([command.id for command in commands])
        fresh = [command for command in commands if command.id not in kept and command.id not in in_flight]
        self.desk.begin(fresh)
        decisions: dict[str, Decision] = {}
        batch, clock = Batch(), self._clock()
        for command in fresh:
            if command.id not in decisions:
                decision = decisions[command.id] = self.desk.decide(command, clock)
                _add(batch, decision)
        batch.reads, batch.due = self.desk.reads(), self.desk.due_changes()
        waits_for = [command.id for command in commands if command.id not in kept and command.id not in decisions]
        return _Draft(commands, kept, waits_for, decisions, batch, self.desk.seen())


class _Draft(NamedTuple):
    """A batch that is decided and not yet stored."""

    commands: Sequence[Command]
    kept: dict[str, Kept]
    waits_for: list[str]
    """Commands that are duplicates of what is still being stored; their answers are kept then."""
    decisions: dict[str, Decision]
    """By command id, in the order of the batch's columns."""
    batch: Batch
    seen: list[str]
    """The streams that it rests on."""


class _Ahead(NamedTuple):
    """A draft that is being stored, and the log's head that it will find."""

    draft: _Draft
    head: Future[int]


def _answers(draft: _Draft, head: int) -> list[Answer]:
    """The answers to a batch once it is stored, in the order of its commands."""
    stored = _kept(draft, head, draft.decisions)
    first = set(stored)
    answers = []
    for command in draft.commands:
        if command.id in first:
            first.remove(command.id)
            kept = stored[command.id]
            events = draft.decisions[command.id].events
            answers.append(Answer(command.id, kept.outcome, None, kept.body, kept.position, events))
        else:
            answers.append(_again(command, stored.get(command.id) or draft.kept[command.id]))
    return answers


def _kept(draft: _Draft, head: int, ids: Collection[str]) -> dict[str, Kept]:
    """What is kept of these commands now that their batch is stored."""
    batch = draft.batch
    columns = zip(batch.command_ids, batch.fingerprints, batch.outcomes, batch.bodies, batch.offsets, strict=True)
    return {
        id_: Kept(fingerprint, outcome, body, head + offset)
        for id_, fingerprint, outcome, body, offset in columns
        if id_ in ids
    }


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
        data: Any = decision.data.__pydantic_serializer__.to_json(decision.data)
        parts.append(f',"data":{data.decode()}')
    return "".join(parts)


def _again(command: Command, kept: Kept) -> Answer:
    if command.fingerprint != kept.fingerprint:
        refusal = CommandIdReused(id=command.id)
        message = to_json(refusal.message).decode()
        body = f',"code":"{refusal.code}","message":{message},"events":[]'
        return Answer(command.id, "rejected", None, body, kept.position)
    return Answer(command.id, "duplicate", kept.outcome, kept.body, kept.position)
