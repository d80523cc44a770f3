"""The whole history replayed from its first event, and compared with itself and with all that is kept beside it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
from psycopg.rows import TupleRow, tuple_row

from adapters.postgres.hands import hands
from adapters.postgres.keys import Cipher, Tampered
from adapters.postgres.log import EventLog
from adapters.postgres.mapper import UnreadableEvent, decode_state
from adapters.postgres.memories import SEAL, is_personal
from adapters.postgres.rebuild import Checked, check
from domain.desk import KINDS, replay
from domain.kernel import Aggregate, event_id
from domain.memory import MEMORIES, Memory, memory_of
from domain.payment import Payment
from domain.pricing import Quote, quote_hash
from domain.recount import miscounts
from projections.view import AnyView

PART = 5_000
"""Events in a part, about: what a thread holds in memory."""
MANY = 100_000
BEGINNING = datetime.min.replace(tzinfo=UTC)

Progress = Callable[[int, int], None]
"""Told how many events of how many have been replayed."""

RANGE = """
    SELECT max(originator_id), count(*) FROM (
        SELECT originator_id FROM seatline.stored_events WHERE originator_id > %s ORDER BY originator_id LIMIT %s
    ) AS part
"""
EVENTS = """
    SELECT originator_id, originator_version, topic, state, subject FROM seatline.stored_events
    WHERE originator_id > %s AND originator_id <= %s ORDER BY originator_id, originator_version
"""
MEMORIES_KEPT = """
    SELECT stream, version, convert_to(memory, 'UTF8'), (SELECT key FROM seatline.keys WHERE owner = stream)
    FROM seatline.memories WHERE stream > %s AND stream <= %s
"""
DUE = "SELECT stream, due_on FROM seatline.due WHERE stream > %s AND stream <= %s"
GAPS = """
    SELECT position, before FROM (
        SELECT notification_id AS position, lag(notification_id, 1, 0::bigint) OVER (ORDER BY notification_id) AS before
        FROM seatline.stored_events
    ) AS log WHERE position <> before + 1 ORDER BY position
"""


class Difference(NamedTuple):
    """Something that isn't as the events before it make it."""

    where: str
    """An event, a stream, a view's row or a position."""
    what: str
    expected: str | None = None
    found: str | None = None

    def __str__(self) -> str:
        values = f": expected {self.expected}, found {self.found}" if self.expected is not None else ""
        return f"{self.where}: {self.what}{values}"


class Money(NamedTuple):
    """Where all that came in stands (O6)."""

    received: Decimal = Decimal("0.00")
    allocated: Decimal = Decimal("0.00")
    refundable: Decimal = Decimal("0.00")
    unallocated: Decimal = Decimal("0.00")
    refunded: Decimal = Decimal("0.00")

    @property
    def kept(self) -> Decimal:
        return self.allocated + self.refundable + self.unallocated + self.refunded

    def plus(self, other: "Money") -> "Money":
        return Money(*map(Decimal.__add__, self, other))


class Replayed(NamedTuple):
    """What was replayed."""

    events: int = 0
    streams: int = 0
    quotes: int = 0
    memories: int = 0
    """Those that could be compared; others were made by other code, or their key is gone, and nobody uses them."""
    money: Money = Money()

    def plus(self, other: "Replayed") -> "Replayed":
        events, streams, quotes, memories = map(int.__add__, self[:4], other[:4])
        return Replayed(events, streams, quotes, memories, self.money.plus(other.money))


Tell = Callable[[Difference], None]


def replay_streams(log: EventLog, processes: int, progress: Progress, tell: Tell) -> Replayed:
    """Replay every stream from its first event, several at a time."""
    for difference in _gaps(log):
        tell(difference)
    goal, total = log.head(), Replayed()
    ranges = _ranges(log)
    with hands(log, processes) as team:
        running = {hand(_replay_part, *part): hand for hand, part in zip(team, ranges, strict=False)}
        while running:
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                hand = running.pop(done)
                if part := next(ranges, None):
                    running[hand(_replay_part, *part)] = hand
                replayed, differences = done.result()
                total = total.plus(replayed)
                for difference in differences:
                    tell(difference)
            progress(min(total.events, goal), goal)
    if total.money.received != total.money.kept:
        tell(Difference("all payments", "money", str(total.money.received), str(total.money.kept)))
    return total


def replay_view(log: EventLog, view: AnyView, processes: int, progress: Progress, tell: Tell) -> None:
    """Fold a view anew beside the live one, and compare the two after the same event."""
    checked = check(log, view, progress, processes=processes)
    if checked.was_version != view.version:
        made = f"made by version {checked.was_version} of its handlers, this program has {view.version}"
        tell(Difference(f"view {view.name}", f"{made}: run seatline rebuild {view.name}"))
        return
    for difference in _of_rows(view, checked):
        tell(difference)
    if checked.parked:
        tell(Difference(f"view {view.name}", "homes that it can't go on with", "0", str(checked.parked)))


def _of_rows(view: AnyView, checked: Checked) -> Iterator[Difference]:
    for key, live, anew in checked.examples:
        name = " ".join(part for column, part in zip(view.key, key, strict=True) if column not in view.personal)
        where = f"view {view.name}, {name}"
        if live is None or anew is None:
            yield Difference(where, "row", *("one" if row else "none" for row in (anew, live)))
            continue
        for column in live.__struct_fields__:
            expected, found = getattr(anew, column), getattr(live, column)
            if expected != found:
                yield Difference(where, column, *(() if column in view.personal else (str(expected), str(found))))
    if (more := checked.differences.rows - len(checked.examples)) > 0:
        yield Difference(f"view {view.name}", f"{more:,} more rows differ")


def _gaps(log: EventLog) -> Iterator[Difference]:
    with log.connection() as connection, connection.cursor(row_factory=tuple_row) as cursor:
        for position, before in cursor.execute(GAPS).fetchall():
            yield Difference(f"position {position}", "comes next", str(before + 1), str(position))


def _ranges(log: EventLog) -> Iterator[tuple[str, str]]:
    """Ranges of streams with about as many events each."""
    after = ""
    while True:
        with log.connection() as connection, connection.cursor(row_factory=tuple_row) as cursor:
            [(up_to, _)] = cursor.execute(RANGE, (after, PART))
        if up_to is None:
            return
        yield after, up_to
        after = up_to


class _Kept(NamedTuple):
    """A memory as its row has it."""

    version: int
    written: bytes
    key: bytes | None


def _replay_part(log: EventLog, after: str, up_to: str) -> tuple[Replayed, list[Difference]]:
    with log.connection() as connection, connection.transaction():
        # What is kept beside the events was written with them: all of it has to be of one moment.
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        with connection.cursor(row_factory=tuple_row) as cursor:
            kept = {stream: _Kept(*row) for stream, *row in cursor.execute(MEMORIES_KEPT, (after, up_to), binary=True)}
            due: dict[str, date] = dict(cursor.execute(DUE, (after, up_to)).fetchall())
            rows = cursor.execute(EVENTS, (after, up_to), binary=True).fetchall()
    part = _Part()
    for stream, some in groupby(rows, itemgetter(0)):
        part.replay(stream, list(some), kept.pop(stream, None), due.pop(stream, None))
    for stream in kept.keys() | due.keys():
        part.tell(stream, "a memory or a due date of a stream without events")
    return part.replayed(len(rows)), part.differences


_counted: set[str] = set()
"""The hashes of quotes that this process has found right in one part or another: most stand in two streams."""


class _Part:
    """Some streams, one after the other."""

    def __init__(self) -> None:
        self.differences: list[Difference] = []
        self._streams = self._memories = 0
        self._money = Money()
        self._quotes: dict[str, Quote] = {}
        """Those that were found right, by their hashes: most stand in several events."""

    def replayed(self, events: int) -> Replayed:
        return Replayed(events, self._streams, len(self._quotes), self._memories, self._money)

    def tell(self, where: str, what: str, expected: object = None, found: object = None) -> None:
        values = (None, None) if expected is None else (str(expected), str(found))
        self.differences.append(Difference(where, what, *values))

    def replay(self, stream: str, rows: Sequence[TupleRow], kept: _Kept | None, due: date | None) -> None:
        """One stream: its events by themselves, then what they make, then what is kept of that."""
        self._streams += 1
        if stream.partition("/")[0] not in KINDS:
            return self.tell(stream, "no kind of stream begins so")
        history = self._history(stream, rows, kept.key if kept else None)
        aggregate = replay(stream)
        try:
            if kept:
                aggregate.replay(history[: kept.version])
                self._compare_memory(aggregate, kept)
            aggregate.replay(history[aggregate.version :])
        except Exception as error:
            return self.tell(event_id(stream, aggregate.version + 1), f"can't be replayed ({type(error).__name__})")
        if len(history) == len(rows):
            self._compare_rest(aggregate, rows, due)
        return None

    def _history(self, stream: str, rows: Iterable[TupleRow], key: bytes | None) -> list[tuple[Any, datetime]]:
        """The events of a stream, as far as they are whole and stand one behind the other."""
        history: list[tuple[Any, datetime]] = []
        before, quotes = BEGINNING, self._quotes
        for expected, (_, version, topic, state, _) in enumerate(rows, start=1):
            if version != expected:
                self.tell(event_id(stream, expected), "version of the next event", expected, version)
                break
            try:
                stored = decode_state(topic, state, event_id(stream, version) if key else "", key)
            except UnreadableEvent:
                self.tell(event_id(stream, version), f"can't be read as {topic}")
                break
            time, data = stored.business_time, stored.data
            history.append((data, time))
            if not (stored.actor and stored.command_id and stored.price_list):
                self.tell(event_id(stream, version), "actor, command or price list is empty")
            if time < before:
                self.tell(event_id(stream, version), "business time runs back", f"≥ {before}", time)
            before = time
            quote = getattr(data, "quote", None)
            if quote is not None and quotes.get(quote.hash) != quote:
                self._count_again(event_id(stream, version), quote)
        return history

    def _count_again(self, where: str, quote: Quote) -> None:
        # What has this hash is what was counted, and taking the hash is several times as fast.
        if quote.hash not in _counted or quote_hash(quote) != quote.hash:
            wrong = miscounts(quote)
            for what, expected, found in wrong:
                self.tell(where, f"quote, {what}", expected, found)
            if wrong:
                return
            if len(_counted) == MANY:
                _counted.clear()
            _counted.add(quote.hash)
        self._quotes[quote.hash] = quote

    def _compare_memory(self, aggregate: Aggregate[Any], kept: _Kept) -> None:
        where = f"memory of {aggregate.stream} at version {kept.version}"
        if aggregate.version != kept.version:
            return self.tell(where, "there are fewer events", kept.version, aggregate.version)
        try:
            memory = _read(aggregate.stream, kept)
        except Tampered:
            return self.tell(where, "was changed since it was sealed")
        if memory is not None:
            self._memories += 1
            expected = memory_of(aggregate)
            names = [name for name in memory.__struct_fields__ if getattr(memory, name) != getattr(expected, name)]
            if names:
                self.tell(where, f"not what replay gives: {', '.join(names)}")
        return None

    def _compare_rest(self, aggregate: Aggregate[Any], rows: Sequence[TupleRow], due: date | None) -> None:
        if aggregate.indexed_due != due:
            self.tell(f"due date of {aggregate.stream}", "index", aggregate.indexed_due or "none", due or "none")
        # An orphan payment concerns its reference, until it is matched.
        for _, version, _, _, subject in rows[-1:] if isinstance(aggregate, Payment) else rows:
            if subject != aggregate.subject:
                self.tell(event_id(aggregate.stream, version), "subject", aggregate.subject, subject)
        if isinstance(aggregate, Payment):
            self._count_money(aggregate)

    def _count_money(self, payment: Payment) -> None:
        money = Money(
            payment.registered.amount,
            sum(payment.allocated.values(), Decimal("0.00")),
            payment.refundable,
            payment.unallocated,
            payment.refunded,
        )
        if money.received != money.kept:
            self.tell(payment.stream, "money", money.received, money.kept)
        for name, amount in zip(Money._fields, money, strict=True):
            if amount < 0:
                self.tell(payment.stream, f"money {name}", "0.00 or more", amount)
        self._money = self._money.plus(money)


def _read(stream: str, kept: _Kept) -> Memory | None:
    """Also one that other code made; None if it has another form, or its key is gone. Raises Tampered."""
    text: bytes | None = kept.written[SEAL:]
    if is_personal(stream):
        text = Cipher(kept.key).open(kept.written[SEAL:].decode(), stream) if kept.key else None
    kind, _, _ = stream.partition("/")
    try:
        return msgspec.json.decode(text, type=MEMORIES[kind]) if text else None
    except msgspec.DecodeError:
        return None
