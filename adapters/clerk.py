"""The clerk: takes commands in batches, decides each exactly once, and answers when the batch is stored."""

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic_core import to_json

from adapters.postgres.answers import sealed_answer
from adapters.postgres.keys import Cipher, owner_of
from adapters.postgres.log import Batch, Conflict, EventLog, Intake, Kept, Session
from adapters.postgres.mapper import encode, encode_envelope, encode_value, is_personal, quoted
from adapters.postgres.memories import is_personal as is_personal_memory
from domain.commands import Command, OfSubscription
from domain.desk import Decision, Desk
from domain.errors import CommandIdReused
from domain.events import public_type
from domain.kernel import Recorded
from domain.order_number import OrderNumbers
from domain.payment import PaymentTextErased
from domain.pricing import PriceList
from domain.subscription_events import PersonalDataErased


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
        self._capacity = capacity
        self._ciphers: dict[str, Cipher] = {}
        """By owner; a batch is stored only if none of its keys has been destroyed meanwhile."""
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
                self._ciphers.clear()
                # Whoever has lost a race goes alone, so that nobody can win another one against it …
                self.desk.forget()
                with suppress(Conflict), self._session.alone():
                    return self._attempt(commands)
                self._ciphers.clear()
                # … and knows nothing of old, if what it read only now was out of date as well.
                self.desk.forget_everything()
                with self._session.alone():
                    return self._attempt(commands)
        except BaseException:
            self.desk.forget()
            self._ciphers.clear()
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
                decisions[command.id] = self.desk.decide(command, clock)
        batch.reads, batch.due = self.desk.reads(), self.desk.due_changes()
        batch.memories = self.desk.memories()
        self._take_keys(batch, decisions.values())
        for decision in decisions.values():
            _add(batch, decision)
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

    def _take_keys(self, batch: Batch, decisions: Iterable[Decision]) -> None:
        """Have at hand what the batch is sealed under: known keys, or looked up in one go, or new ones."""
        needed = {owner for decision in decisions for owner in _owners(decision)}
        needed.update(filter(is_personal_memory, batch.memories))
        if unknown := needed - self._ciphers.keys():
            found = self._session.ciphers(unknown)
            batch.new_keys = {owner: Cipher.new() for owner in unknown - found.keys()}
            self._ciphers |= found
        batch.known_keys = {owner: self._ciphers[owner] for owner in needed - batch.new_keys.keys()}
        self._ciphers |= batch.new_keys
        if len(self._ciphers) > self._capacity:
            for owner in list(self._ciphers)[: len(self._ciphers) - self._capacity // 2]:
                del self._ciphers[owner]


def _owners(decision: Decision) -> Iterator[str]:
    """Whose keys a decision takes to be stored."""
    if decision.refusal and decision.refusal.personal:
        yield _owner_of_refusal(decision)
    for event in decision.events:
        if is_personal(event):
            yield owner_of(event.originator_id, event.subject)


def _owner_of_refusal(decision: Decision) -> str:
    """Only commands about a subscription are refused in words about people."""
    assert isinstance(decision.command.data, OfSubscription)
    return f"subscription/{decision.command.data.subscription_id}"


def _kept(batch: Batch, head: int) -> dict[str, Kept]:
    """What is kept of each command now that the batch is stored behind this position."""
    columns = zip(batch.command_ids, batch.fingerprints, batch.outcomes, batch.bodies, batch.offsets, strict=True)
    return {id_: Kept(fingerprint, outcome, body, head + offset) for id_, fingerprint, outcome, body, offset in columns}


def _add(batch: Batch, decision: Decision) -> None:
    command = decision.command
    openings: dict[str, bytes] = {}
    for recorded in decision.events:
        owner = owner_of(recorded.originator_id, recorded.subject)
        cipher = batch.cipher(owner)
        if owner not in openings:
            openings[owner] = encode_envelope(recorded.envelope, cipher)
        if isinstance(recorded.event, PersonalDataErased | PaymentTextErased):
            # Both stand in the stream of whose key it is.
            batch.destroyed_keys.append(recorded.originator_id)
        batch.streams.append(recorded.originator_id)
        batch.versions.append(recorded.originator_version)
        batch.topics.append(recorded.event.topic)
        batch.states.append(encode(openings[owner], recorded.event, recorded.id, cipher))
        batch.subjects.append(recorded.subject)
    batch.command_ids.append(command.id)
    batch.fingerprints.append(command.fingerprint)
    batch.outcomes.append("rejected" if decision.refusal else "accepted")
    body = _body(decision)
    batch.bodies.append(body)
    if decision.refusal and decision.refusal.personal:
        owner = _owner_of_refusal(decision)
        cipher = batch.cipher(owner)
        assert cipher is not None, "taken before"
        batch.bodies_kept[command.id] = sealed_answer(command.id, decision.refusal.code, body, owner, cipher)
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
