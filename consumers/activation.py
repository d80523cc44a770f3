"""Activation: a paid order gives its subscription what was bought, first outside if need be (S2, S9)."""

from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Protocol

from consumers.effects import Effect, NoLongerNeeded
from consumers.engine_commands import engine_command
from domain.commands import Command, FulfilOrder
from domain.kernel import Recorded, Value
from domain.order import Order, OrderPaid, OrderState
from domain.subscription import Subscription
from domain.terms import add_years

NAME = "activation"


def fulfilment(paid: Recorded) -> Command:
    """The command that an order's payment asks for; its id makes a repeat a duplicate."""
    event = paid.event
    assert isinstance(event, OrderPaid)
    return engine_command(
        NAME,
        f"fulfil:{paid.originator_id}",
        FulfilOrder(order_number=event.order_number, subscription_id=event.subscription_id),
        cause=paid,
        time=paid.envelope.business_time,
    )


def fulfilments(events: Sequence[Recorded]) -> list[Command]:
    """A command for each order that these events say is paid."""
    return [fulfilment(recorded) for recorded in events if isinstance(recorded.event, OrderPaid)]


class NewSeats(Value):
    sku: str
    quantity: int
    active_from: date
    expires_on: date


class MovedService(Value, omit_defaults=True):
    """A service that was there before and ends later now: on this day, or later if it already did."""

    service_id: str
    expires_on: date
    quantity: int | None = None
    """Of a renewal; None where it stays what it is."""


class Purchase(Value, kw_only=True, omit_defaults=True):
    """What a provisioning system is asked to activate; only of what never changes, since a repeat must say the same."""

    order_number: str
    subscription_id: str
    paid_on: date
    seats: NewSeats | None = None
    """None for a renewal."""
    services: tuple[MovedService, ...]


class Books(Protocol):
    """Where a consumer looks up what an event refers to."""

    def order(self, number: str) -> Order: ...
    def subscription(self, name: str) -> Subscription: ...


class Activation:
    """Activates outside what was paid, and only then in the engine."""

    name = NAME

    def __init__(
        self,
        books: Books,
        event: Callable[[str], Recorded],
        provision: Callable[[Purchase], None] | None,
        decide: Callable[[Command], None],
    ) -> None:
        """`event` finds an event by its id; `provision` raises Postponed, Refused or InDoubt, and is None where the
        engine activates alone.
        """
        self._books = books
        self._event = event
        self._provision = provision
        self._decide = decide

    def plan(self, recorded: Recorded) -> Effect | None:
        if not isinstance(recorded.event, OrderPaid):
            return None
        return Effect(
            id=f"activate:{recorded.event.order_number}",
            subject=recorded.subject,
            order_number=recorded.event.order_number,
            event_id=recorded.id,
            at=recorded.envelope.business_time,
            due_at=recorded.envelope.recorded_time,
        )

    def prepare(self, effect: Effect, now: datetime) -> Callable[[], None]:
        paid = self._event(effect.event_id)
        assert isinstance(paid.event, OrderPaid), "nothing else is planned for"
        order = self._books.order(paid.event.order_number)
        if order.state is not OrderState.PAID:
            # Whoever was killed between decision and note, or the engine alone before there was a provisioning system.
            raise NoLongerNeeded(f"the order is {order.state}")
        subscription, command = self._books.subscription(order.subject), fulfilment(paid)
        provision = self._provision
        if provision is None or _will_be_voided(order, subscription):
            return lambda: self._decide(command)
        asked = purchase(order)

        def activate() -> None:
            provision(asked)
            # Whoever ends here calls again under the same key.
            self._decide(command)

        return activate


def purchase(order: Order) -> Purchase:
    placed, paid_on = order.placed, order.paid_on
    assert paid_on is not None, "asked of paid orders"
    until, seats = add_years(paid_on, 1), None
    if placed.seats:
        sku = placed.quote.lines[0].sku
        seats = NewSeats(sku=sku, quantity=placed.seats, active_from=paid_on, expires_on=until)
    extended = [MovedService(service_id=service_id, expires_on=until) for service_id in placed.extends]
    renewed = [
        MovedService(service_id=renewal.service_id, expires_on=renewal.expires_on, quantity=renewal.quantity)
        for renewal in placed.renewals
        if renewal.quantity
    ]
    return Purchase(
        order_number=order.name,
        subscription_id=placed.subscription_id,
        paid_on=paid_on,
        seats=seats,
        services=(*extended, *renewed),
    )


def _will_be_voided(order: Order, subscription: Subscription) -> bool:
    """The engine will give the money back, because a service that the order needs has ended (O11)."""
    needed = {*order.moves, subscription.base.service_id} if order.placed.seats else set(order.moves)
    assert order.paid_on is not None, "asked of paid orders"
    return subscription.any_ended(needed, order.paid_on)
