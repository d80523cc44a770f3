"""Payments: what came in, and where each cent of it stands."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import cast, get_args

from domain.kernel import ERASED, Recorded, is_no_number
from domain.payment import (
    PaymentAllocated,
    PaymentCorrected,
    PaymentEvent,
    PaymentMatched,
    PaymentRefundDue,
    PaymentRefunded,
    PaymentRegistered,
    PaymentSplit,
    PaymentTextErased,
    PaymentUnmatched,
)
from projections.view import Key, Row, Rows, View

NOTHING = Decimal("0.00")


class PaymentRow(Row):
    reference: str
    order_number: str
    """As the payer wrote it, or as an operator matched it."""
    amount: Decimal
    currency: str
    allocated: Decimal
    refundable: Decimal
    unallocated: Decimal
    refunded: Decimal
    state: str
    value_date: date


class Payments(View[PaymentRow]):
    name = "payments"
    version = 2
    key = ("reference",)
    home = "payment"
    personal = ("order_number",)
    events = get_args(PaymentEvent)
    row = PaymentRow

    def keys(self, recorded: Recorded) -> Iterable[Key]:
        return [(recorded.originator_id.removeprefix("payment/"),)]

    def apply(self, recorded: Recorded, rows: Rows[PaymentRow]) -> None:
        event = cast(PaymentEvent, recorded.event)
        if isinstance(event, PaymentRegistered):
            rows.put(_registered(event, recorded.position), event.reference)
            return
        row = rows.get(event.reference)
        assert row is not None, "a payment's first event registers it"
        _move(row, event)
        row.state = _state(row, event)
        row.position = recorded.position
        rows.put(row, event.reference)


def _registered(event: PaymentRegistered, position: int) -> PaymentRow:
    return PaymentRow(
        reference=event.reference,
        order_number=event.order_number,
        amount=event.amount,
        currency=event.currency,
        allocated=NOTHING,
        refundable=NOTHING,
        unallocated=event.amount,
        refunded=NOTHING,
        state="orphan",
        value_date=event.value_date,
        position=position,
    )


def _move(row: PaymentRow, event: PaymentEvent) -> None:
    match event:
        case PaymentMatched():
            row.order_number = event.order_number
        case PaymentAllocated():
            row.unallocated -= event.unallocated
            row.refundable -= event.refundable
            row.allocated += event.unallocated + event.refundable
        case PaymentUnmatched():
            row.allocated -= event.amount
            row.unallocated += event.amount
        case PaymentRefundDue():
            if event.allocated:
                row.allocated -= event.amount
            else:
                row.unallocated -= event.amount
            row.refundable += event.amount
        case PaymentRefunded():
            row.refundable -= event.refundable
            row.unallocated -= event.unallocated
            row.refunded += event.refundable + event.unallocated
        case PaymentCorrected():
            if event.value_date:
                row.value_date = event.value_date.becomes
        case PaymentTextErased():
            if is_no_number(row.order_number):
                row.order_number = ERASED
        case PaymentRegistered() | PaymentSplit():
            pass


def _state(row: PaymentRow, event: PaymentEvent) -> str:
    """What still asks for a person's attention comes before what is settled."""
    if row.unallocated:
        return "orphan"
    if row.refundable:
        if isinstance(event, PaymentRefundDue):
            return "late" if event.reason == "late" else "surplus"
        return row.state if row.state in ("late", "surplus") else "surplus"
    return "allocated" if row.allocated else "refunded"
