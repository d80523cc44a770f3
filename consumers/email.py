"""Email: how to pay, as soon as an order needs it, and word that the seats are on the panel (O4, S2)."""

from collections.abc import Callable
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Protocol

from consumers.effects import Effect, NoLongerNeeded, Refused
from consumers.letters import payment_instructions, seats_on_panel
from consumers.seller import Seller
from domain.kernel import Recorded
from domain.order import Order, OrderFulfilled, OrderPlaced
from domain.pricing import PriceList
from domain.subscription import Subscription
from domain.subscription_events import AccountHolder

INSTRUCTIONS = "payment-instructions"
ON_PANEL = "seats-on-panel"


class Books(Protocol):
    """Where a consumer looks up what an event refers to."""

    def order(self, number: str) -> Order: ...
    def subscription(self, name: str) -> Subscription: ...
    def placed_at(self, order: Order) -> datetime: ...


class Email:
    name = "email"

    def __init__(self, books: Books, send: Callable[[EmailMessage], None], prices: PriceList, seller: Seller) -> None:
        """`send` delivers a message to whom its `To` names; it raises Postponed, Refused or InDoubt."""
        self._books = books
        self._send = send
        self._prices = prices
        self._seller = seller

    def plan(self, recorded: Recorded) -> Effect | None:
        match recorded.event:
            case OrderPlaced() as event:
                # Whoever pays at once gets no instructions, so an immediate payment is given a moment to arrive.
                delay = timedelta(minutes=event.instructions_delay_minutes if event.immediate else 0)
                return self._effect(INSTRUCTIONS, event.order_number, recorded, delay)
            case OrderFulfilled() as event:
                return self._effect(ON_PANEL, event.order_number, recorded, timedelta())
            case _:
                return None

    def _effect(self, kind: str, order_number: str, recorded: Recorded, delay: timedelta) -> Effect:
        return Effect(
            id=f"{kind}:{order_number}",
            subject=recorded.subject,
            order_number=order_number,
            event_id=recorded.id,
            at=recorded.envelope.business_time,
            due_at=recorded.envelope.business_time + delay,
        )

    def prepare(self, effect: Effect) -> Callable[[], None]:
        order = self._books.order(effect.order_number)
        if effect.id.startswith(INSTRUCTIONS) and _needs_no_instructions(order):
            raise NoLongerNeeded(f"the order is {order.state}")
        holder = self._books.subscription(order.subject).account_holder
        if holder is None:
            raise NoLongerNeeded("the account holder's personal data was erased")
        try:
            message = self._letter(effect, order, holder)
        except ValueError as error:
            raise Refused(str(error)) from error
        return lambda: self._send(message)

    def _letter(self, effect: Effect, order: Order, holder: AccountHolder) -> EmailMessage:
        if effect.id.startswith(INSTRUCTIONS):
            return payment_instructions(
                order.placed,
                event_id=effect.event_id,
                at=effect.at,
                holder=holder,
                prices=self._prices,
                seller=self._seller,
            )
        assert order.fulfilled is not None, "planned when the order was fulfilled"
        return seats_on_panel(
            order.placed,
            order.fulfilled,
            event_id=effect.event_id,
            at=effect.at,
            placed_at=self._books.placed_at(order),
            holder=holder,
            prices=self._prices,
            seller=self._seller,
        )


def _needs_no_instructions(order: Order) -> bool:
    """Nobody is told how to pay what can't be paid any more, or what was meant to be paid at once and is."""
    return not order.awaits_payment and (order.placed.immediate or not order.is_paid)
