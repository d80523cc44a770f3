"""Carts: the latest cart of each subscription."""

from collections.abc import Iterable
from typing import Any, get_args

from domain.cart import (
    AlignmentSwitched,
    CartAbandoned,
    CartCheckedOut,
    CartEvent,
    CartOpened,
    RenewalChosen,
    SeatsChosen,
)
from domain.kernel import Recorded
from domain.pricing import Quote
from projections.view import Key, Row, Rows, View


class CartRow(Row):
    subscription_id: str
    entry_point: str
    quantity: int | None
    """Seats; None while nothing is chosen, and in a renewal."""
    extend: bool
    quote: dict[str, Any] | Quote | None
    """Read back it is a dict, which nobody asks for anything."""
    status: str


class Carts(View[CartRow]):
    name = "carts"
    version = 1
    key = ("subscription_id",)
    events = get_args(CartEvent)
    row = CartRow

    def keys(self, recorded: Recorded) -> Iterable[Key]:
        return [(recorded.subject,)]

    def apply(self, recorded: Recorded, rows: Rows[CartRow]) -> None:
        event = recorded.event
        if isinstance(event, CartOpened):
            row: CartRow | None = CartRow(
                subscription_id=recorded.subject,
                entry_point=event.entry_point,
                quantity=None,
                extend=event.extend,
                quote=None,
                status="open",
                position=recorded.position,
            )
        else:
            row = rows.get(recorded.subject)
        assert row is not None, "a cart's first event opens it"
        match event:
            case SeatsChosen():
                row.quantity, row.quote = event.quantity, event.quote
            case RenewalChosen():
                row.quote = event.quote
            case AlignmentSwitched():
                row.extend, row.quote = event.extend, event.quote
            case CartCheckedOut():
                row.status, row.quote = "checked_out", event.quote
            case CartAbandoned():
                row.status = "abandoned"
        row.position = recorded.position
        rows.put(row, recorded.subject)
