"""The desk: keeps aggregates warm, has the shop decide one command after the other, and notes what was decided."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Any, NamedTuple, TypeVar

from domain.calendar import Calendar
from domain.cart import Cart
from domain.commands import Command
from domain.errors import Refusal
from domain.kernel import Aggregate, Envelope, Event, Recorded, Value
from domain.memory import Memory, is_worth_keeping, memory_of, recall
from domain.order import Order
from domain.payment import Payment
from domain.pricing import PriceList
from domain.shop import Shop
from domain.subscription import Subscription

AggregateT = TypeVar("AggregateT", bound=Aggregate[Any])


class History(NamedTuple):
    """A stream's events in order, each with its business time; all of them, or those after a memory."""

    events: Iterable[tuple[Any, datetime]] = ()
    memory: Memory | None = None


class Decision(NamedTuple):
    """What became of one command."""

    command: Command
    refusal: Refusal | None
    data: Value | None
    events: list[Recorded]


class Desk:
    """One writer's view of the aggregates; what it read is noted, so that the store can check that it still holds."""

    def __init__(
        self,
        prices: PriceList,
        load: Callable[[list[str]], Mapping[str, History]],
        order_numbers: Iterator[str],
        *,
        capacity: int = 20_000,
    ) -> None:
        """`load` fetches many streams at once; `capacity` is how many aggregates are kept warm between batches."""
        self.shop = Shop(prices, self)
        self._load = load
        self._order_numbers = order_numbers
        self._capacity = capacity
        self._warm: dict[str, Aggregate[Any]] = {}
        self._seen: dict[str, int] = {}
        self._journal: list[tuple[Aggregate[Any], int, Event, str]] = []

    # A batch

    def begin(self, commands: Iterable[Command]) -> None:
        """Forget what the last batch read, and load together what this one is known to need."""
        self._seen.clear()
        if len(self._warm) > self._capacity:
            for stream in list(self._warm)[: len(self._warm) - self._capacity // 2]:
                del self._warm[stream]
        wanted = {
            stream
            for command in commands
            if not isinstance(command.data, Refusal)
            for stream in command.data.streams()
            if stream not in self._warm
        }
        self._warm_up(wanted)
        # Who is billed for an order is asked of its subscription, which only the order names.
        orders = [order for stream in wanted if isinstance(order := self._warm[stream], Order)]
        owners = {f"{Subscription.kind}/{order.subject}" for order in orders if order.awaits_payment}
        self._warm_up(owners - self._warm.keys())

    def _warm_up(self, streams: Collection[str]) -> None:
        if streams:
            histories = self._load(list(streams))
            for stream in streams:
                self._replay(stream, histories.get(stream))

    def decide(self, command: Command, clock: datetime) -> Decision:
        try:
            data, time = self.shop.decide(command, clock)
        except Refusal as refusal:
            if self._journal:
                raise AssertionError(f"{command.type} was refused after it had recorded") from refusal
            # Its frames would keep the whole batch in memory, in a cycle that only the garbage collector finds.
            refusal.__traceback__ = refusal.__context__ = None
            return Decision(command, refusal, refusal.data, [])
        return Decision(command, None, data, self._collect(command, time, clock))

    def _collect(self, command: Command, time: datetime, clock: datetime) -> list[Recorded]:
        envelope = Envelope(
            business_time=time,
            recorded_time=clock,
            actor=command.actor,
            command_id=command.id,
            correlation_id=command.correlation_id or command.id,
            causation_id=command.causation_id or command.id,
            price_list=self.shop.prices.version,
            command_time=command.time if time != command.time else None,
            traceparent=command.traceparent,
        )
        recorded = []
        for aggregate, version, event, subject in self._journal:
            aggregate.time = time
            recorded.append(Recorded(aggregate.stream, version, event, subject, envelope))
        self._journal.clear()
        return recorded

    def reads(self) -> dict[str, int]:
        """The streams this batch only looked at, with the versions it saw: true as long as nobody else wrote them."""
        return {stream: version for stream, version in self._seen.items() if self._warm[stream].version == version}

    def due_changes(self) -> dict[str, date | None]:
        """The streams whose next due date this batch has changed."""
        changes = {}
        for stream, version in self._seen.items():
            aggregate = self._warm[stream]
            if aggregate.version != version and (due := aggregate.due()) != aggregate.indexed_due:
                changes[stream] = aggregate.indexed_due = due
        return changes

    def memories(self) -> dict[str, Memory]:
        """What is to be kept of long streams with this batch; it changes with the next decision."""
        memories = {}
        for stream in self._seen:
            aggregate = self._warm[stream]
            if is_worth_keeping(aggregate):
                memories[stream] = memory_of(aggregate)
                aggregate.kept = aggregate.version
        return memories

    def forget(self) -> None:
        """Drop what the batch rests on: it is no longer true, or was never stored."""
        for stream in self._seen:
            self._warm.pop(stream, None)
        self._seen.clear()
        self._journal.clear()

    def forget_everything(self) -> None:
        self._warm.clear()
        self.forget()

    # What the shop asks for

    def subscription(self, name: str) -> Subscription:
        return self._find(Subscription, name)

    def cart(self, name: str) -> Cart:
        return self._find(Cart, name)

    def order(self, name: str) -> Order:
        return self._find(Order, name)

    def payment(self, name: str) -> Payment:
        return self._find(Payment, name)

    def calendar(self) -> Calendar:
        return self._find(Calendar, Calendar.NAME)

    def new_order(self) -> Order:
        """An order under a number that nobody else can have, so there is nothing to load."""
        number = next(self._order_numbers)
        self._replay(f"{Order.kind}/{number}")
        return self.order(number)

    def _find(self, kind: type[AggregateT], name: str) -> AggregateT:
        stream = f"{kind.kind}/{name}"
        aggregate = self._warm.get(stream)
        if aggregate is None:
            aggregate = self._replay(stream, self._load([stream]).get(stream))
        if stream not in self._seen:
            self._seen[stream] = aggregate.version
        assert isinstance(aggregate, kind)
        return aggregate

    def _replay(self, stream: str, history: History | None = None) -> Aggregate[Any]:
        aggregate = self._warm[stream] = replay(stream, history)
        aggregate.journal = self._journal
        return aggregate


KINDS: dict[str, type[Aggregate[Any]]] = {kind.kind: kind for kind in (Subscription, Cart, Order, Payment, Calendar)}


def replay(stream: str, history: History | None = None) -> Aggregate[Any]:
    """The aggregate of a stream as its history left it."""
    kind, _, name = stream.partition("/")
    aggregate = KINDS[kind](name)
    if history and history.memory:
        recall(aggregate, history.memory)
    return aggregate.replay(history.events if history else ())
