"""Orders: what was bought, what has come in, and where it stands."""

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import get_args

from domain.kernel import Recorded
from domain.order import (
    OrderCancelled,
    OrderEvent,
    OrderExpired,
    OrderFulfilled,
    OrderPaid,
    OrderPartlyPaid,
    OrderPaymentWithdrawn,
    OrderPlaced,
    OrderState,
    OrderVoided,
)
from projections.view import Key, Row, Rows, View


class OrderRow(Row):
    order_number: str
    subscription_id: str
    status: str
    placed_at: datetime
    payment_method: str
    net: Decimal
    vat: Decimal
    total: Decimal
    paid: Decimal
    lapses_on: date


class Orders(View[OrderRow]):
    name = "orders"
    version = 1
    key = ("order_number",)
    events = get_args(OrderEvent)
    row = OrderRow

    def keys(self, recorded: Recorded) -> Iterable[Key]:
        return [(_number(recorded),)]

    def apply(self, recorded: Recorded, rows: Rows[OrderRow]) -> None:
        event = recorded.event
        if isinstance(event, OrderPlaced):
            row: OrderRow | None = _placed(event, recorded)
        else:
            row = rows.get(_number(recorded))
        assert row is not None, "an order's first event places it"
        match event:
            case OrderPartlyPaid() | OrderPaymentWithdrawn():
                row.paid = event.paid
            case OrderPaid():
                row.paid, row.status = event.paid, OrderState.PAID
            case OrderFulfilled():
                row.status = OrderState.FULFILLED
            case OrderCancelled() | OrderVoided():
                row.status = OrderState.CANCELLED
            case OrderExpired():
                row.status = OrderState.EXPIRED
        row.position = recorded.position
        rows.put(row, row.order_number)


def _number(recorded: Recorded) -> str:
    return recorded.originator_id.removeprefix("order/")


def _placed(event: OrderPlaced, recorded: Recorded) -> OrderRow:
    return OrderRow(
        order_number=event.order_number,
        subscription_id=event.subscription_id,
        status=OrderState.AWAITING_PAYMENT,
        placed_at=recorded.envelope.business_time,
        payment_method=event.payment_method,
        net=event.quote.net,
        vat=event.quote.vat,
        total=event.quote.total,
        paid=Decimal("0.00"),
        lapses_on=event.lapses_on,
        position=recorded.position,
    )
