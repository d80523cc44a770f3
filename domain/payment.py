"""Payment: money that came in under one reference, and where each cent of it stands."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Literal, assert_never

from msgspec.structs import replace

from domain import errors
from domain.kernel import ERASED, Aggregate, AsTyped, Event, Personal, Value
from domain.money import Price
from domain.pricing import OrderNumber

NOTHING = Decimal("0.00")

RefundReason = Literal["surplus", "late", "order_cancelled", "order_expired", "service_ended"]


class SplitPart(Value):
    order_number: OrderNumber
    amount: Price


class PaymentRegistered(Event, topic="payment.payment-registered.v1"):
    """Money is on the seller's books; all of it is unallocated until the next event says otherwise."""

    reference: str
    order_number: AsTyped
    """As the payer wrote it: it may name no order at all (O6)."""
    subscription_id: str | None
    """None for an orphan."""
    amount: Price
    currency: Literal["EUR"]
    method: str
    value_date: date
    registered_on: date | None = None
    """The business date; None in events from before it could be corrected."""


class PaymentMatched(Event, topic="payment.payment-matched.v1"):
    """An operator says which order this money is for."""

    reference: str
    order_number: OrderNumber
    subscription_id: str
    operator: Personal


class PaymentSplit(Event, topic="payment.payment-split.v1"):
    """An operator says which orders this money is for; each part follows as an allocation."""

    reference: str
    parts: tuple[SplitPart, ...]
    operator: Personal


class PaymentAllocated(Event, topic="payment.payment-allocated.v1"):
    """Money goes to an order: first what is unallocated, then what was refundable."""

    reference: str
    order_number: OrderNumber
    subscription_id: str
    unallocated: Price
    refundable: Price


class PaymentUnmatched(Event, topic="payment.payment-unmatched.v1"):
    reference: str
    order_number: OrderNumber
    amount: Price
    operator: Personal


class PaymentRefundDue(Event, topic="payment.payment-refund-due.v1"):
    """Money that belongs to the payer again: what an order didn't take, or all that it had."""

    reference: str
    order_number: OrderNumber
    amount: Price
    allocated: bool
    """Whether it comes back from the order, or was never allocated."""
    reason: RefundReason


class PaymentRefunded(Event, topic="payment.payment-refunded.v1"):
    reference: str
    refundable: Price
    unallocated: Price
    operator: Personal


class DateCorrected(Value):
    was: date | None
    becomes: date


class PaymentCorrected(Event, topic="payment.payment-corrected.v1"):
    """An operator says that a date was registered wrongly; amounts are never corrected."""

    reference: str
    value_date: DateCorrected | None
    registered_on: DateCorrected | None
    reason: Personal
    operator: Personal


class PaymentTextErased(Event, topic="payment.payment-text-erased.v1"):
    """With this event the key was destroyed under which the payer's text was stored."""

    reference: str


PaymentEvent = (
    PaymentRegistered
    | PaymentMatched
    | PaymentSplit
    | PaymentAllocated
    | PaymentUnmatched
    | PaymentRefundDue
    | PaymentRefunded
    | PaymentCorrected
    | PaymentTextErased
)


class Payment(Aggregate[PaymentEvent]):
    kind = "payment"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.registered: PaymentRegistered
        self.value_date: date
        self.registered_on: date | None
        self.subscription_id: str | None = None
        """The subscription that the last event concerns."""
        self.subscriptions: dict[str, str] = {}
        """Whose the orders are that have ever had a share; by order number."""
        self.allocated: dict[str, Decimal] = {}
        """By order number."""
        self.matched: set[str] = set()
        """The orders to which an operator has given a share."""
        self.refundable = NOTHING
        self.unallocated = NOTHING
        self.refunded = NOTHING

    @property
    def subject(self) -> str:
        return self.subscription_id or self.name

    # Decisions

    def register(self, registered: PaymentRegistered) -> None:
        self.record(registered)

    def match(self, order_number: str, subscription_id: str, operator: str) -> None:
        self._refuse_more_than_at_hand(Decimal("0.01"))
        self.record(
            PaymentMatched(
                reference=self.name, order_number=order_number, subscription_id=subscription_id, operator=operator
            )
        )

    def split(self, parts: Sequence[SplitPart], operator: str) -> None:
        self._refuse_more_than_at_hand(sum((part.amount for part in parts), NOTHING))
        self.record(PaymentSplit(reference=self.name, parts=tuple(parts), operator=operator))

    def allocate(self, order_number: str, subscription_id: str, amount: Decimal) -> None:
        unallocated = min(amount, self.unallocated)
        self.record(
            PaymentAllocated(
                reference=self.name,
                order_number=order_number,
                subscription_id=subscription_id,
                unallocated=unallocated,
                refundable=amount - unallocated,
            )
        )

    def unmatch(self, order_number: str, operator: str) -> None:
        """Take this payment's money back from an order that is not yet paid."""
        amount = self.allocated.get(order_number)
        if amount is None:
            raise errors.PaymentNotAllocated(reference=self.name, order=order_number)
        self.record(PaymentUnmatched(reference=self.name, order_number=order_number, amount=amount, operator=operator))

    def owe_back(self, order_number: str, amount: Decimal, reason: RefundReason) -> None:
        """What was meant for this order and not taken belongs to the payer; what was refundable already stays so."""
        owed = min(amount, self.unallocated)
        if owed:
            self._owe(order_number, owed, reason, allocated=False)

    def owe_back_from(self, order_number: str, reason: RefundReason) -> None:
        """What the order had received belongs to the payer again."""
        self._owe(order_number, self.allocated[order_number], reason, allocated=True)

    def _owe(self, order_number: str, amount: Decimal, reason: RefundReason, *, allocated: bool) -> None:
        self.record(
            PaymentRefundDue(
                reference=self.name, order_number=order_number, amount=amount, allocated=allocated, reason=reason
            )
        )

    def refund(self, amount: Decimal, operator: str) -> None:
        """Pay money back: what is refundable first, then what nobody claims."""
        self._refuse_more_than_at_hand(amount)
        refundable = min(amount, self.refundable)
        self.record(
            PaymentRefunded(
                reference=self.name, refundable=refundable, unallocated=amount - refundable, operator=operator
            )
        )

    def correct(self, value_date: date, registered_on: date | None, reason: str, operator: str) -> None:
        self.record(
            PaymentCorrected(
                reference=self.name,
                value_date=_corrected(self.value_date, value_date),
                registered_on=_corrected(self.registered_on, registered_on),
                reason=reason,
                operator=operator,
            )
        )

    def erase_text(self) -> None:
        """Forget what the payer wrote instead of an order number."""
        self.record(PaymentTextErased(reference=self.name))

    def _refuse_more_than_at_hand(self, amount: Decimal) -> None:
        if amount > self.at_hand:
            raise errors.PaymentNotAvailable(
                reference=self.name, available=f"{self.at_hand:.2f}", asked=f"{amount:.2f}"
            )

    # Questions

    @property
    def at_hand(self) -> Decimal:
        """What an operator may still allocate or refund."""
        return self.unallocated + self.refundable

    @property
    def order_it_came_for(self) -> str | None:
        """The order that has had its share since the payment was registered, without an operator's help."""
        number = self.registered.order_number
        return number if number in self.allocated and number not in self.matched else None

    def is_same(self, amount: Decimal, order_number: str, method: str) -> bool:
        registered = self.registered
        return (registered.amount, registered.order_number, registered.method) == (amount, order_number, method)

    # Memory

    def evolve(self, event: PaymentEvent) -> None:
        match event:
            case PaymentRegistered():
                self.registered, self.unallocated = event, event.amount
                self.value_date, self.registered_on = event.value_date, event.registered_on
                self.subscription_id = event.subscription_id
            case PaymentMatched():
                self.subscription_id = event.subscription_id
                self.matched.add(event.order_number)
            case PaymentSplit():
                self.matched.update(part.order_number for part in event.parts)
            case PaymentAllocated():
                self.subscription_id = self.subscriptions[event.order_number] = event.subscription_id
                self.unallocated -= event.unallocated
                self.refundable -= event.refundable
                had = self.allocated.get(event.order_number, NOTHING)
                self.allocated[event.order_number] = had + event.unallocated + event.refundable
            case PaymentUnmatched():
                del self.allocated[event.order_number]
                self.unallocated += event.amount
                self.subscription_id = self.subscriptions[event.order_number]
            case PaymentRefundDue():
                if event.allocated:
                    del self.allocated[event.order_number]
                    self.subscription_id = self.subscriptions[event.order_number]
                else:
                    self.unallocated -= event.amount
                self.refundable += event.amount
            case PaymentRefunded():
                self.refundable -= event.refundable
                self.unallocated -= event.unallocated
                self.refunded += event.refundable + event.unallocated
            case PaymentCorrected():
                if event.value_date:
                    self.value_date = event.value_date.becomes
                if event.registered_on:
                    self.registered_on = event.registered_on.becomes
            case PaymentTextErased():
                self.registered = replace(self.registered, order_number=ERASED)
            case _:
                assert_never(event)


def _corrected(was: date | None, becomes: date | None) -> DateCorrected | None:
    return DateCorrected(was=was, becomes=becomes) if becomes and becomes != was else None
