"""Order: what was bought, under which terms, and what has come in for it."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Literal, assert_never

from domain import errors
from domain.kernel import Aggregate, Event, NotNegative, Personal, Positive, Value
from domain.money import Price
from domain.pricing import OrderNumber, Quote, Renewal, ServiceId

NOTHING = Decimal("0.00")


class OrderState(StrEnum):
    """Confirmed is not paid (O2)."""

    AWAITING_PAYMENT = "awaiting_payment"
    PAID = "paid"
    FULFILLED = "fulfilled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class OrderPlaced(Event, topic="order.order-placed.v1", kw_only=True):
    order_number: OrderNumber
    subscription_id: str
    quote: Quote
    payment_method: str
    immediate: bool
    registration_days: NotNegative
    """Working days until a payment by this method is registered, by the policy of the day (O3)."""
    instructions_delay_minutes: NotNegative
    accepted_terms: str
    accepted_by: Personal
    seats: NotNegative
    """0 for a renewal."""
    extends: tuple[ServiceId, ...] = ()
    """The services active at placement, if they follow the seats' expiry (P4)."""
    renewals: tuple[Renewal, ...] = ()
    lapses_on: date
    """The last payable day (O8)."""
    reminder_days: tuple[Positive, ...] = ()
    """So many days before `lapses_on` a reminder falls due, by the policy of the day; none in older events."""


class OrderReminderDue(Event, topic="order.order-reminder-due.v1"):
    """The order is not paid in full, and can be for so many days, or after an outage for fewer (T4)."""

    order_number: OrderNumber
    lapses_on: date
    days_before: Positive


class OrderPartlyPaid(Event, topic="order.order-partly-paid.v1"):
    order_number: OrderNumber
    reference: str
    amount: Price
    paid: Price
    received_on: date | None = None
    """None in events from before it could be corrected."""


class BilledTo(Value):
    """Whom the invoice is for: the account holder as known when the order was paid."""

    name: Personal
    email: Personal
    """Where a copy of the invoice may go."""
    tax_code: Personal | None = None
    vat_number: Personal | None = None


class OrderPaid(Event, topic="order.order-paid.v1"):
    """Paid in full; it carries what activation and invoicing need."""

    order_number: OrderNumber
    subscription_id: str
    reference: str
    amount: Price
    paid: Price
    paid_on: date
    quote: Quote
    billed_to: BilledTo | None = None
    """None in older events, and where personal data was erased before the payment."""


class OrderPaymentWithdrawn(Event, topic="order.order-payment-withdrawn.v1"):
    order_number: OrderNumber
    reference: str
    amount: Price
    paid: Price


class OrderPaymentCorrected(Event, topic="order.order-payment-corrected.v1"):
    """A payment's money had come on another day than was thought; what the order has been given stays given."""

    order_number: OrderNumber
    reference: str
    was: date | None
    received_on: date
    paid_on: date | None
    """When nothing was missing any more, as far as is known now; None while something is."""


class OrderFulfilled(Event, topic="order.order-fulfilled.v1"):
    order_number: OrderNumber
    subscription_id: str
    seats: NotNegative
    expires_on: date
    """When what was bought ends; for a renewal of several services the latest of their expiries."""


class OrderCancelled(Event, topic="order.order-cancelled.v1"):
    order_number: OrderNumber
    reason: Personal


class OrderVoided(Event, topic="order.order-voided.v1"):
    """Paid, but a service it was for has ended meanwhile: nothing is fulfilled (O11)."""

    order_number: OrderNumber
    reason: Literal["service_ended"]


class OrderExpired(Event, topic="order.order-expired.v1"):
    order_number: OrderNumber
    lapsed_on: date


OrderEvent = (
    OrderPlaced
    | OrderReminderDue
    | OrderPartlyPaid
    | OrderPaid
    | OrderPaymentWithdrawn
    | OrderPaymentCorrected
    | OrderFulfilled
    | OrderCancelled
    | OrderVoided
    | OrderExpired
)


class Order(Aggregate[OrderEvent]):
    kind = "order"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.placed: OrderPlaced
        self.reminders: tuple[int, ...] = ()
        """The days before the last payable one on which a reminder may still fall due."""
        self.state = OrderState.AWAITING_PAYMENT
        self.payments: dict[str, Decimal] = {}
        """What each payment reference has brought."""
        self.received_on: dict[str, date] = {}
        """When each has last brought something."""
        self.paid_on: date | None = None
        self.fulfilled: OrderFulfilled | None = None

    @property
    def subject(self) -> str:
        return self.placed.subscription_id

    # Decisions

    def place(self, placed: OrderPlaced) -> None:
        self.record(placed)

    def remind(self, today: date) -> None:
        """Remind of an order that can still be paid; after an outage only the nearest reminder is due (T4)."""
        if self.is_payable(today):
            lapses_on = self.placed.lapses_on
            if reached := [days for days in self.reminders if (lapses_on - today).days <= days]:
                self.record(OrderReminderDue(order_number=self.name, lapses_on=lapses_on, days_before=min(reached)))

    def receive(self, reference: str, amount: Decimal, *, on: date, billed_to: BilledTo | None) -> None:
        """Add a payment's money; the order is paid when nothing is missing (O6)."""
        paid = self.paid + amount
        if paid < self.placed.quote.total:
            self.record(
                OrderPartlyPaid(order_number=self.name, reference=reference, amount=amount, paid=paid, received_on=on)
            )
        else:
            self.record(
                OrderPaid(
                    order_number=self.name,
                    subscription_id=self.placed.subscription_id,
                    reference=reference,
                    amount=amount,
                    paid=paid,
                    paid_on=on,
                    quote=self.placed.quote,
                    billed_to=billed_to,
                )
            )

    def withdraw(self, reference: str, amount: Decimal) -> None:
        """Give a payment's money back to the operator's hands, before the order is paid."""
        paid = self.paid - amount
        self.record(OrderPaymentWithdrawn(order_number=self.name, reference=reference, amount=amount, paid=paid))

    def correct_payment(self, reference: str, on: date) -> None:
        self.record(
            OrderPaymentCorrected(
                order_number=self.name,
                reference=reference,
                was=self.received_on.get(reference),
                received_on=on,
                paid_on=self.paid_on_if(reference, on) if self.is_paid else None,
            )
        )

    def fulfil(self, expires_on: date) -> None:
        if self.state is OrderState.PAID:
            placed = self.placed
            self.record(
                OrderFulfilled(
                    order_number=self.name,
                    subscription_id=placed.subscription_id,
                    seats=placed.seats,
                    expires_on=expires_on,
                )
            )

    def void(self) -> None:
        self.record(OrderVoided(order_number=self.name, reason="service_ended"))

    def cancel(self, reason: str, *, on: date) -> None:
        """Only an order not yet paid in full can be cancelled (O8)."""
        self.refuse_unless_payable(on)
        self.record(OrderCancelled(order_number=self.name, reason=reason))

    def expire(self) -> None:
        self.record(OrderExpired(order_number=self.name, lapsed_on=self.placed.lapses_on))

    # Questions

    @property
    def is_paid(self) -> bool:
        return self.state in (OrderState.PAID, OrderState.FULFILLED)

    def paid_on_if(self, reference: str, on: date) -> date:
        """The day on which nothing was missing any more, if this payment's money came on that day."""
        return max((self.received_on | {reference: on}).values())

    @property
    def placed_on(self) -> date | None:
        """The day from which seats were quoted; nothing that a renewal brings depends on it."""
        return self.placed.quote.lines[0].start if self.placed.seats else None

    @property
    def awaits_payment(self) -> bool:
        return self.exists and self.state is OrderState.AWAITING_PAYMENT

    def is_payable(self, on: date) -> bool:
        """A payment after `lapses_on` is late even before a closed day says so (O8)."""
        return self.awaits_payment and on <= self.placed.lapses_on

    def has_lapsed(self, on: date) -> bool:
        """Too late to be paid, whether or not a closed day has said so (T2)."""
        return self.awaits_payment and on > self.placed.lapses_on

    def refuse_unless_payable(self, on: date) -> None:
        if not self.exists:
            raise errors.OrderUnknown(order=self.name)
        if not self.is_payable(on):
            raise errors.OrderNotOpen(order=self.name)

    @property
    def paid(self) -> Decimal:
        return sum(self.payments.values(), NOTHING)

    @property
    def missing(self) -> Decimal:
        return self.placed.quote.total - self.paid

    @property
    def moves(self) -> Sequence[str]:
        """The services whose expiry fulfilling this order moves."""
        renewed = (renewal.service_id for renewal in self.placed.renewals if renewal.quantity)
        return [*self.placed.extends, *renewed]

    def due(self) -> date | None:
        if not self.awaits_payment:
            return None
        lapses_on = self.placed.lapses_on
        return min([lapses_on, *(lapses_on - timedelta(days=days + 1) for days in self.reminders)])

    # Memory

    def evolve(self, event: OrderEvent) -> None:
        match event:
            case OrderPlaced():
                self.placed, self.reminders = event, event.reminder_days
            case OrderReminderDue():
                self.reminders = tuple([days for days in self.reminders if days < event.days_before])
            case OrderPartlyPaid():
                self._receive(event.reference, event.amount)
                if event.received_on:
                    self.received_on[event.reference] = event.received_on
            case OrderPaid():
                self._receive(event.reference, event.amount)
                self.received_on[event.reference] = event.paid_on
                self.state, self.paid_on = OrderState.PAID, event.paid_on
            case OrderPaymentWithdrawn():
                self._receive(event.reference, -event.amount)
            case OrderPaymentCorrected():
                self.received_on[event.reference] = event.received_on
                self.paid_on = event.paid_on
            case OrderFulfilled():
                self.state, self.fulfilled = OrderState.FULFILLED, event
            case OrderCancelled() | OrderVoided():
                self.state = OrderState.CANCELLED
            case OrderExpired():
                self.state = OrderState.EXPIRED
            case _:
                assert_never(event)

    def _receive(self, reference: str, amount: Decimal) -> None:
        left = self.payments.get(reference, NOTHING) + amount
        if left:
            self.payments[reference] = left
        else:
            self.payments.pop(reference, None)
            self.received_on.pop(reference, None)
