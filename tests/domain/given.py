"""A story told to the real desk: given what happened, when a command comes, then these events or this refusal.

Nothing is mocked. Commands are data that passed through JSON and `parse_data`, as a reader gives them; events are kept
as JSON, and what the desk keeps warm is compared with what that JSON replays to, after every single command. A new desk
is given what long streams remember, as if they were long after three events already.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import count
from typing import Any, NamedTuple, TypeVar

import msgspec

from domain.cart import Cart
from domain.commands import PUBLIC as PUBLIC_COMMANDS
from domain.commands import CloseStreamDay, Command, CommandData, EraseSubscription, FulfilOrder, parse_data
from domain.desk import Desk, History, replay
from domain.errors import Refusal
from domain.events import BY_TOPIC
from domain.kernel import ROME, Aggregate, Event, Recorded, Value
from domain.memory import MEMORIES, Memory, memory_of
from domain.order import Order, OrderPaid
from domain.payment import Payment
from domain.pricing import PriceList, Quote
from domain.service import Service
from domain.shop import OrderGiven, QuoteGiven
from domain.subscription import Subscription

EventT = TypeVar("EventT", bound=Event)
Day = str | date

BASE, SEAT, SPACE = "fe-solo-ricezione", "fe-utente", "fe-spazio-1gb"
SUB = "SUB-1"


def _name(text: str) -> dict[str, str]:
    return {"it": text, "en": text}


def price_list(**changes: object) -> PriceList:
    """The price list that the contract describes, or one that differs in some policies."""
    default = {
        "version": "2026-01",
        "terms": "2026-01",
        "vat_rate": "22",
        "proration": "daily",
        "max_seats_per_order": 100,
        "cart_lifetime_days": 30,
        "order_lifetime_days": 30,
        "order_reminder_days": [7],
        "instructions_delay_minutes": 15,
        "lifecycle": {"expiring_days": 60, "restricted_days": 90, "reminder_days": [90, 60, 30, 7]},
        "items": [
            {"sku": BASE, "kind": "base", "unit_price": "25.00", "included_users": 1, "name": _name("base")},
            {"sku": SEAT, "kind": "seat", "unit_price": "12.00", "name": _name("seat")},
            {"sku": SPACE, "kind": "space", "unit_price": "10.00", "name": _name("space")},
        ],
        "methods": [
            {"method": "card", "immediate": True, "registration_days": 0, "name": _name("card")},
            {"method": "paypal", "immediate": True, "registration_days": 0, "name": _name("PayPal")},
            {"method": "mybank", "immediate": True, "registration_days": 1, "name": _name("MyBank")},
            {"method": "bank_transfer", "immediate": False, "registration_days": 3, "name": _name("transfer")},
            {"method": "postal_slip", "immediate": False, "registration_days": 5, "name": _name("slip")},
        ],
    }
    return PriceList.model_validate(default | changes)


PRICES = price_list()

USUAL: Mapping[str, dict[str, object]] = {
    "start-subscription": {"account_holder": {"name": "Anna Bianchi", "email": "anna@studio.it", "language": "it"}},
    "configure-user": {"email": "user@studio.it", "permissions": ["read"]},
    "open-cart": {"entry_point": "panel"},
    "place-order": {"payment_method": "bank_transfer", "accepted_terms": "2026-01", "accepted_by": "Anna Bianchi"},
    "register-payment": {"currency": "EUR", "method": "bank_transfer", "value_date": "2026-01-01"},
    "match-payment": {"operator": "Olga"},
    "unmatch-payment": {"operator": "Olga"},
    "split-payment": {"operator": "Olga"},
    "refund-payment": {"operator": "Olga"},
    "correct-payment": {"operator": "Olga", "reason": "mistyped at the bank desk"},
    "cancel-order": {"reason": "changed my mind"},
}
"""What a command says if a test says nothing else."""


def service(sku: str, expires_on: str, quantity: int = 1) -> dict[str, object]:
    return {"sku": sku, "quantity": quantity, "expires_on": expires_on}


def chosen(**quantities: int) -> list[dict[str, object]]:
    """The services of a renewal: `chosen(S1=1, S2=0)`."""
    return [{"service_id": service_id, "quantity": quantity} for service_id, quantity in quantities.items()]


def civil(day: Day) -> date:
    return date.fromisoformat(day) if isinstance(day, str) else day


def midnight_after(day: Day) -> datetime:
    """The midnight in Rome with which a day ends."""
    return datetime.combine(civil(day) + timedelta(days=1), time(), ROME)


@dataclass(frozen=True)
class Answer:
    """What became of a command, or of several in a row."""

    recorded: list[Recorded]
    refusal: Refusal | None = None
    data: Value | None = None

    @property
    def code(self) -> str | None:
        return self.refusal.code if self.refusal else None

    @property
    def events(self) -> list[Event]:
        return [recorded.event for recorded in self.recorded]

    @property
    def names(self) -> list[str]:
        """The facts by name, in order."""
        return [type(event).__name__ for event in self.events]

    def all(self, kind: type[EventT]) -> list[EventT]:
        return [event for event in self.events if isinstance(event, kind)]

    def the(self, kind: type[EventT]) -> EventT:
        """The one event of this kind."""
        (event,) = self.all(kind)
        return event

    @property
    def quote(self) -> Quote:
        assert isinstance(self.data, QuoteGiven | OrderGiven)
        return self.data.quote

    @property
    def order_number(self) -> str:
        assert isinstance(self.data, OrderGiven)
        return self.data.order_number


class Money(NamedTuple):
    """Where the money of all payments stands (O6)."""

    received: Decimal
    allocated: Decimal
    refundable: Decimal
    unallocated: Decimal
    refunded: Decimal


class Story:
    """A desk, everything that was recorded at it, and a clock that commands set."""

    def __init__(self, prices: PriceList = PRICES) -> None:
        self.log: list[Recorded] = []
        self.due: dict[str, date] = {}
        """The index of due dates, kept as the store keeps it: from what each batch says has changed."""
        self.now = datetime(2026, 3, 2, 9, 15, tzinfo=ROME)
        self.clock = self.now
        self.prices = prices
        self._stored: dict[str, list[tuple[Event, datetime]]] = {}
        self._memories: dict[str, Memory] = {}
        self.replayed: dict[str, Aggregate[Any]] = {}
        self.numbers: Iterator[str] = map(str, count(10_000))
        self._ids: Iterator[int] = count(1)
        self._references: Iterator[str] = map("PAY-{}".format, count(1))
        self.reopen()

    def reopen(self, prices: PriceList | None = None) -> None:
        """Go on at a new desk that knows nothing but what is stored, perhaps with another price list."""
        self.prices = prices or self.prices
        self.desk = Desk(self.prices, self.load, self.numbers)

    def load(self, streams: list[str]) -> Mapping[str, History]:
        return {stream: self._history(stream) for stream in streams if stream in self._stored}

    def _history(self, stream: str) -> History:
        memory, events = self._memories.get(stream), self._stored[stream]
        # As read from the store each time, because whoever recalls it goes on changing it.
        return History(events[memory.version :], through_json(memory)) if memory else History(events)

    # Commands

    def send(
        self,
        command: str,
        *,
        on: Day | None = None,
        at: datetime | None = None,
        clock: datetime | None = None,
        **data: object,
    ) -> Answer:
        """Decide a command of the contract, at a quarter past nine in Rome on some day, or at an exact time.

        The clock follows the commands, and never back, if the test doesn't set it.
        """
        type_ = f"seatline.command.{command}.v1"
        said = USUAL.get(command, {}) | data
        model = PUBLIC_COMMANDS.get(type_)
        if model is not None and "subscription_id" in model.model_fields:
            said = {"subscription_id": SUB} | said
        return self._decide(type_, parse_data(type_, json.loads(json.dumps(said))), self._time(on, at), clock)

    def do(self, command: str, **said: Any) -> Answer:
        """Decide a command that must be accepted."""
        answer = self.send(command, **said)
        assert answer.refusal is None, f"{command} was refused: {answer.refusal.message['en']}"
        return answer

    def refusal(self, command: str, **said: Any) -> Refusal:
        """Decide a command that must be refused, for a reason that reads well in both languages (K2)."""
        refusal = self.send(command, **said).refusal
        assert refusal is not None, f"{command} was accepted"
        assert all(text and "{" not in text for text in refusal.message.values())
        return refusal

    def refused(self, command: str, **said: Any) -> str:
        """The code with which a command is refused."""
        return self.refusal(command, **said).code

    def fulfil(self, order_number: str) -> Answer:
        """What the activation worker asks for, at the time of the payment that completed the order (T1)."""
        data = FulfilOrder(order_number=order_number, subscription_id=self.order(order_number).subject)
        return self._decide("seatline.engine.FulfilOrder", data, self._paid_at(order_number))

    def close_stream(self, stream: str, day: Day) -> Answer:
        """What the calendar worker asks for, for one stream (T4)."""
        data = CloseStreamDay(day=civil(day), stream=stream)
        return self._decide("seatline.engine.CloseStreamDay", data, midnight_after(day))

    def forget(self, *, on: Day | None = None) -> Answer:
        """What an operator asks for who has to forget a customer."""
        data = EraseSubscription(subscription_id=SUB, payments=(), reason="asked for", operator="olga")
        return self._decide("seatline.engine.EraseSubscription", data, self._time(on, None))

    def _paid_at(self, order_number: str) -> datetime:
        for recorded in reversed(self.log):
            if isinstance(recorded.event, OrderPaid) and recorded.event.order_number == order_number:
                return recorded.envelope.business_time
        return self.now

    def _time(self, on: Day | None, at: datetime | None) -> datetime:
        self.now = at or (datetime.combine(civil(on), time(9, 15), ROME) if on else self.now)
        return self.now

    # What people do, in one word

    def start(
        self, *services: dict[str, object], subscription_id: str = SUB, on: Day | None = None, **said: Any
    ) -> Answer:
        """A subscription; unless something else is said, with a base service that ends on 2026-06-30."""
        services = services or (service(BASE, "2026-06-30"),)
        return self.do("start-subscription", subscription_id=subscription_id, services=list(services), on=on, **said)

    def configure(self, *usernames: str, on: Day | None = None) -> None:
        for username in usernames:
            self.do("configure-user", username=username, on=on)

    def order_seats(self, quantity: int = 1, *, extend: bool = True, sub: str = SUB, on: Day | None = None) -> str:
        """From the cart to a confirmed order, not paid."""
        self.do("open-cart", subscription_id=sub, on=on)
        self.do("choose-seats", subscription_id=sub, quantity=quantity)
        if not extend:
            self.do("switch-alignment", subscription_id=sub, extend=False)
        return self.do("place-order", subscription_id=sub).order_number

    def order_renewal(self, *, years: int = 1, aligned: bool = False, on: Day | None = None, **services: int) -> str:
        """From the cart to a confirmed order, not paid: `order_renewal(S1=1, S2=0)`."""
        self.do("open-cart", on=on)
        if not aligned:
            self.do("switch-alignment", extend=False)
        self.do("choose-renewal", services=chosen(**services), years=years)
        return self.do("place-order").order_number

    def pay(
        self, order_number: str, amount: str | None = None, *, on: Day | None = None, reference: str | None = None
    ) -> Answer:
        """Register a payment for an order, of what it misses if nothing else is said."""
        amount = amount or f"{self.order(order_number).missing:.2f}"
        reference = reference or next(self._references)
        return self.do("register-payment", order_number=order_number, amount=amount, reference=reference, on=on)

    def settle(self, order_number: str, *, on: Day | None = None) -> Answer:
        """Pay an order and have it fulfilled."""
        self.pay(order_number, on=on)
        return self.fulfil(order_number)

    def buy_seats(self, quantity: int = 1, *, extend: bool = True, on: Day | None = None) -> str:
        order_number = self.order_seats(quantity, extend=extend, on=on)
        self.settle(order_number)
        return order_number

    def close(self, day: Day) -> Answer:
        """Close a day and have the calendar worker bring what it brings; afterwards nothing is due (T4)."""
        closing = self.do("close-day", date=civil(day).isoformat(), at=midnight_after(day))
        if not closing.recorded:
            return closing
        streams = [stream for stream, due in self.due.items() if due <= civil(day)]
        consequences = [recorded for stream in streams for recorded in self.close_stream(stream, day).recorded]
        assert not {stream: due for stream, due in self.due.items() if due <= civil(day)}
        return Answer(closing.recorded + consequences)

    # What is so now

    @property
    def subscription(self) -> Subscription:
        return self.desk.subscription(SUB)

    @property
    def cart(self) -> Cart:
        return self.desk.cart(SUB)

    def service(self, service_id: str) -> Service:
        return self.subscription.services[service_id]

    def expiries(self) -> list[str]:
        """When the services of the subscription end, in the order in which it got them."""
        return [service.expires_on.isoformat() for service in self.subscription.services.values()]

    def order(self, order_number: str) -> Order:
        return self.desk.order(order_number)

    def payment(self, reference: str) -> Payment:
        return self.desk.payment(reference)

    def money(self) -> Money:
        payments = [payment for payment in self.replayed.values() if isinstance(payment, Payment)]
        return Money(
            received=sum((payment.registered.amount for payment in payments), Decimal()),
            allocated=sum((share for payment in payments for share in payment.allocated.values()), Decimal()),
            refundable=sum((payment.refundable for payment in payments), Decimal()),
            unallocated=sum((payment.unallocated for payment in payments), Decimal()),
            refunded=sum((payment.refunded for payment in payments), Decimal()),
        )

    # The desk and the store

    def _decide(self, type_: str, data: CommandData | Refusal, time: datetime, clock: datetime | None = None) -> Answer:
        self.clock = clock or max(self.clock, time)
        command = Command(f"c{next(self._ids)}", type_, "/tests", time, "anna", data, b"")
        self.desk.begin([command])
        decision = self.desk.decide(command, self.clock)
        for recorded in decision.events:
            self._store(recorded)
        for stream, due in self.desk.due_changes().items():
            if due is None:
                self.due.pop(stream, None)
            else:
                self.due[stream] = due
        self._compare([*self.desk.reads(), *(recorded.originator_id for recorded in decision.events)])
        return Answer(decision.events, decision.refusal, decision.data)

    def _store(self, recorded: Recorded) -> None:
        """Keep an event as JSON; versions count from 1 without a gap, and business time never runs back (T3)."""
        stream, when = recorded.originator_id, recorded.envelope.business_time
        written = msgspec.json.encode(recorded.event)
        event = msgspec.json.decode(written, type=BY_TOPIC[recorded.event.topic])
        assert event == recorded.event
        history = self._stored.setdefault(stream, [])
        assert recorded.originator_version == len(history) + 1
        assert not history or history[-1][1] <= when, f"{stream}: business time ran back"
        history.append((event, when))
        self.log.append(recorded)
        if stream not in self.replayed:
            self.replayed[stream] = replay(stream)
        self.replayed[stream].replay([(event, when)])

    def _compare(self, streams: Sequence[str]) -> None:
        """What is warm is what its history says; after a refusal too, which therefore left nothing behind (K2)."""
        for stream in streams:
            warm = self.desk._warm[stream]
            replayed = self.replayed.get(stream, replay(stream))
            assert _state(warm) == _state(replayed), stream
            if warm.exists and warm.kind in MEMORIES:
                memory = through_json(memory_of(warm))
                assert state_of(replay(stream, History((), memory))) == state_of(replayed), stream
                if warm.version % 3 == 0:
                    self._memories[stream] = through_json(memory)

    def check_replay(self) -> None:
        """Every aggregate, replayed from its first event on, is what it was when it was decided, types and all."""
        for stream, history in self._stored.items():
            warm = self.desk._warm.get(stream, self.replayed[stream])
            assert state_of(replay(stream, History(history))) == state_of(warm), stream


def _state(aggregate: Aggregate[Any]) -> dict[str, object]:
    return {name: value for name, value in vars(aggregate).items() if name not in ("journal", "kept")}


def state_of(aggregate: Aggregate[Any]) -> object:
    """All that it remembers, types and all."""
    return dump(_state(aggregate))


def through_json(memory: Memory) -> Memory:
    return msgspec.json.decode(msgspec.json.encode(memory), type=type(memory))


def dump(value: object) -> object:
    """A value down to its plain parts, each with its type, to be compared to the letter."""
    match value:
        case Decimal():
            return f"{value:.2f}"
        case Value():
            return type(value).__name__, dump(msgspec.structs.asdict(value))
        case Service():
            return {name: dump(getattr(value, name)) for name in Service.__slots__}
        case dict():
            return {key: dump(part) for key, part in value.items()}
        case set():
            return sorted(map(str, value))
        case list() | tuple():
            return [dump(part) for part in value]
        case _:
            return type(value).__name__, str(value)
