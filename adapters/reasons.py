"""Why something is on the panel or not: all that led there, from the cart to the bank line, and what is in its way."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from operator import ne
from typing import Any, Literal, LiteralString, NamedTuple, TypeVar

from psycopg import Connection
from psycopg.rows import class_row, tuple_row

from adapters.postgres.freshness import NotShown, is_shown
from adapters.postgres.log import EventLog
from adapters.postgres.readers import read_position
from adapters.stories import Story
from consumers import activation
from domain import subscription_events as s
from domain.cart import AlignmentSwitched, Cart, CartCheckedOut, CartOpened, RenewalChosen, SeatsChosen
from domain.kernel import Aggregate, Recorded
from domain.order import Order, OrderPlaced, OrderReminderDue
from domain.payment import Payment, PaymentCorrected, PaymentRegistered, PaymentSplit
from domain.service import Service
from domain.subscription import Subscription

AggregateT = TypeVar("AggregateT", bound=Aggregate[Any])
RowT = TypeVar("RowT", "Effect", "AtHand")

SHOWING_SEATS = ["seats", "services"]
"""The views in which seats appear."""
ASIDE = (s.ServicesHeld, s.ServicesReleased, s.ExpiryReminderDue, OrderReminderDue)
"""What neither brings seats to the panel nor takes them away."""
ARRIVALS = (s.SubscriptionStarted, s.SeatsAdded)

EFFECTS: LiteralString = """
    SELECT id, order_number, state, in_doubt, attempts, due_at, error, changed_at
    FROM seatline.effects WHERE subject = %s AND order_number IS NOT NULL ORDER BY at, id
"""
AT_HAND: LiteralString = """
    SELECT reference, order_number AS typed, unallocated + refundable AS amount, state, value_date
    FROM panel.payments WHERE unallocated + refundable > 0 ORDER BY value_date, reference
"""


class Effect(NamedTuple):
    """How far something has got that is to be done outside because of an order."""

    id: str
    order_number: str
    state: str
    in_doubt: bool
    attempts: int
    due_at: datetime
    error: str | None
    changed_at: datetime


class AtHand(NamedTuple):
    """A payment of which some money is at hand, that is, in no order."""

    reference: str
    typed: str
    """As the payer wrote it, or the order that it was last for."""
    amount: Decimal
    """What of it is at hand."""
    state: str
    value_date: date


@dataclass(frozen=True)
class Case:
    """A service, an order that has brought none, or the open cart: all that happened to it, in order."""

    chain: Sequence[Recorded]
    service: Service | None = None
    order: Order | None = None
    """The one that brought the service; None if it was there from the start."""
    cart: Cart | None = None
    effects: Sequence[Effect] = ()
    money: Sequence[AtHand] = ()
    """What is left of its payments; for an order that waits for some, also what may be meant for it."""
    hidden: Literal["behind", "parked"] | None = None
    """Why the views don't show yet all that happened to a service."""
    is_there: bool = False
    """Whether the views show the service at all, though maybe as it was."""

    @property
    def activation(self) -> Effect | None:
        return next((effect for effect in self.effects if effect.id == f"activate:{effect.order_number}"), None)


class Reached(NamedTuple):
    """The positions of those who follow the log."""

    views: int
    activation: int


def look(log: EventLog, story: Story, subscription: str) -> tuple[Sequence[Case], Reached]:
    """Every case of a subscription, services first; none if nobody has started it."""
    with log.connection() as connection:
        effects = _all(connection, Effect, EFFECTS, subscription)
        at_hand = _all(connection, AtHand, AT_HAND)
        own = {event.originator_id.removeprefix(f"{Payment.kind}/") for event in story.events}
        cases = []
        for case in _cases(story, subscription):
            number = case.order.name if case.order else None
            came = [event.position for event in case.chain if isinstance(event.event, ARRIVALS)]
            cases.append(
                replace(
                    case,
                    effects=[effect for effect in effects if effect.order_number == number],
                    money=list(_money(case, at_hand, own)),
                    hidden=_hidden(connection, subscription, case.chain[-1].position) if case.service else None,
                    is_there=bool(came) and _hidden(connection, subscription, came[0]) is None,
                )
            )
        return cases, Reached(_position(connection), read_position(connection, activation.NAME))


# What happened to each


def _cases(story: Story, subscription: str) -> Iterator[Case]:
    owner = _replayed(Subscription, subscription, story)
    numbers = [event.event.order_number for event in story.events if isinstance(event.event, OrderPlaced)]
    orders = {number: _replayed(Order, number, story) for number in numbers}
    for service in owner.services.values():
        number = _brought_by(service.service_id, story)
        yield Case(_of_service(service.service_id, number, story), service, orders[number] if number else None)
    for number, order in orders.items():
        if order.fulfilled is None:
            yield Case(_of_order(number, story), order=order)
    cart = _replayed(Cart, subscription, story)
    if cart.is_open:
        yield Case(_last_choices(_carts(story)[None]), cart=cart)


def _replayed(kind: type[AggregateT], name: str, story: Story) -> AggregateT:
    stream = f"{kind.kind}/{name}"
    mine = [(event.event, event.envelope.business_time) for event in story.events if event.originator_id == stream]
    return kind(name).replay(mine)


def _brought_by(service_id: str, story: Story) -> str | None:
    for recorded in story.events:
        match recorded.event:
            case s.SeatsAdded(service_id=added, order_number=number) if added == service_id:
                return number
    return None


def _of_service(service_id: str, number: str | None, story: Story) -> Sequence[Recorded]:
    """How it came, and what became of it by other orders and by the end of days."""
    start = [event for event in story.events if number is None and isinstance(event.event, s.SubscriptionStarted)]
    later = [event for event in story.events if _said(event, "service_id") == service_id]
    return _in_order([*start, *(_of_order(number, story) if number else ()), *later])


def _of_order(number: str, story: Story) -> Sequence[Recorded]:
    """From its cart to what it gave, with the registrations of all money that it ever had a share of."""
    about = [event for event in story.events if _is_about(event, number)]
    references = {_said(event, "reference") for event in about}
    registered = [
        event
        for event in story.events
        if isinstance(event.event, PaymentRegistered | PaymentCorrected) and event.event.reference in references
    ]
    return _in_order([*_last_choices(_carts(story)[number]), *about, *registered])


def _is_about(recorded: Recorded, number: str) -> bool:
    if isinstance(recorded.event, PaymentSplit):
        return number in [part.order_number for part in recorded.event.parts]
    return bool(_said(recorded, "order_number") == number)


def _carts(story: Story) -> Mapping[str | None, Sequence[Recorded]]:
    """What was chosen in each cart, by the number of the order that came of it; None is the one still open."""
    carts: dict[str | None, list[Recorded]] = {None: []}
    for recorded in story.events:
        match recorded.event:
            case CartOpened():
                carts[None] = [recorded]
            case CartCheckedOut(order_number=number):
                carts[number] = [*carts[None], recorded]
            case SeatsChosen() | RenewalChosen() | AlignmentSwitched():
                carts[None].append(recorded)
    return carts


def _last_choices(cart: Sequence[Recorded]) -> Sequence[Recorded]:
    """Customers change their minds: of each choice only the last counts."""
    return list({type(recorded.event): recorded for recorded in cart}.values())


def _in_order(events: Iterable[Recorded]) -> Sequence[Recorded]:
    by_position = {event.position: event for event in events if not isinstance(event.event, ASIDE)}
    return [by_position[position] for position in sorted(by_position)]


def _said(recorded: Recorded, name: str) -> Any:
    return getattr(recorded.event, name, None)


# What is in its way


def _all(connection: Connection[Any], row: type[RowT], query: LiteralString, *parameters: object) -> list[RowT]:
    with connection.cursor(row_factory=class_row(row)) as cursor:
        return cursor.execute(query, parameters).fetchall()


def _money(case: Case, at_hand: Iterable[AtHand], own: Set[str]) -> Iterator[AtHand]:
    """What is a payment's of this very case, the customer's own, of that amount, or nearly for that number."""
    here, order = {_said(event, "reference") for event in case.chain}, case.order
    for payment in at_hand:
        if payment.reference in here:
            yield payment
        elif order and order.awaits_payment:
            is_own, is_all = payment.reference in own, payment.amount == order.missing
            if is_own or is_all or is_nearly(payment.typed, order.name):
                yield payment


def is_nearly(typed: str, number: str) -> bool:
    """Whether somebody who typed this may have meant that order: at most one digit is wrong, or two are swapped."""
    digits = re.sub(r"[^0-9]", "", typed)
    if len(digits) == len(number):
        swapped = (digits[:at] + digits[at : at + 2][::-1] + digits[at + 2 :] for at in range(len(digits)))
        return sum(map(ne, digits, number)) <= 1 or number in swapped
    longer, shorter = sorted((digits, number), key=len, reverse=True)
    return number in digits or shorter in (longer[:at] + longer[at + 1 :] for at in range(len(longer)))


def _position(connection: Connection[Any]) -> int:
    """How far those views are in which seats appear."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        [(position,)] = cursor.execute("SELECT panel.position(%s)", (SHOWING_SEATS,)).fetchall()
    return int(position)


def _hidden(connection: Connection[Any], subscription: str, position: int) -> Literal["behind", "parked"] | None:
    try:
        return None if is_shown(connection, SHOWING_SEATS, subscription, position) else "behind"
    except NotShown:
        return "parked"
