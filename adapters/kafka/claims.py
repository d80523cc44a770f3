"""Whose the partitions of the commands' topic are and how far each has got: the truth about it is in the database.

Every new owner of a partition raises its epoch, and whoever writes under an older one is refused.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from psycopg.rows import tuple_row

from adapters.postgres.log import EventLog, Share

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


class Claims:
    def __init__(self, events: EventLog, topic: str) -> None:
        self._events = events
        self._topic = topic
        self.held: dict[int, Claim] = {}
        """By partition; whoever drops one has lost it already, and only stops to try."""

    def decided(self, partitions: Sequence[int]) -> dict[int, int]:
        """How far these were decided, whoever did it; one that nobody ever claimed isn't among them."""
        with self._events.connection() as connection, connection.cursor(row_factory=tuple_row) as cursor:
            return dict(cursor.execute(DECIDED, (self._topic, partitions)).fetchall())

    def take(self, begins: Mapping[int, int]) -> None:
        """Claim partitions, of which Kafka has nothing any more before these offsets."""
        with self._events.connection() as connection, connection.cursor(row_factory=tuple_row) as cursor:
            rows = cursor.execute(CLAIM, (self._topic, list(begins), list(begins.values()))).fetchall()
        for partition, epoch, decided_to, answered in rows:
            self.held[partition] = Claim(epoch, decided_to, answered, answered, answered)

    def shares(self, batch: Mapping[int, Sequence[Any]]) -> list[Share]:
        """How far the batch takes the partitions, and what else is to be noted of them."""
        shares = []
        for partition, claim in self.held.items():
            records = batch.get(partition)
            becomes = max(claim.next, records[-1].offset + 1) if records else claim.next
            if becomes > claim.next or claim.answered > claim.noted:
                shares.append(Share(partition, claim.epoch, claim.next, becomes, claim.answered))
        return shares

    def stored(self, shares: Iterable[Share]) -> None:
        for share in shares:
            claim = self.held[share.partition]
            claim.next, claim.noted = share.becomes, share.answered

    def answered(self, reached: Iterable[Reached]) -> None:
        for partition, epoch, offset in reached:
            claim = self.held.get(partition)
            if claim and claim.epoch == epoch:
                claim.answered = max(claim.answered, offset)

    def note_answered(self) -> bool:
        """Let the database know what no batch has told it; says whether there was anything."""
        moved = [(partition, claim) for partition, claim in self.held.items() if claim.answered > claim.noted]
        if not moved:
            return False
        with self._events.connection() as connection:
            connection.execute(
                ANSWERED,
                ([p for p, _ in moved], [c.epoch for _, c in moved], [c.answered for _, c in moved], self._topic),
            )
        for _, claim in moved:
            claim.noted = claim.answered
        return True
