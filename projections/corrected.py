"""When things happened, as far as is known: what a correction concerns, on the day that it says (T1)."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime

from domain.kernel import ROME, Recorded
from domain.order import OrderFulfilled, OrderPaid, OrderPartlyPaid, OrderPaymentCorrected, OrderPlaced
from domain.subscription_events import (
    ExpiryAligned,
    ExpiryCorrected,
    RenewalDeclined,
    SeatsAdded,
    SeatsCorrected,
    ServiceRenewed,
)

ByPaymentInFull = (
    OrderPaid
    | OrderFulfilled
    | SeatsAdded
    | ExpiryAligned
    | ServiceRenewed
    | RenewalDeclined
    | OrderPaymentCorrected
    | SeatsCorrected
    | ExpiryCorrected
)
"""What an order has brought because nothing was missing any more."""


def happened_by(time: datetime, known: Sequence[Recorded]) -> list[Recorded]:
    """Which of a subscription's known events had happened by a business time, in their order."""
    corrected = dict(_corrected(known))
    past = [recorded for recorded in known if corrected.get(recorded.id, recorded.envelope.business_time) <= time]
    # Where seats were not there yet, nothing had happened to them either.
    absent = _added(known) - _added(past)
    return [recorded for recorded in past if getattr(recorded.event, "service_id", None) not in absent]


def _corrected(known: Sequence[Recorded]) -> Iterator[tuple[str, datetime]]:
    """The ids of events that truly happened at another time, and that time."""
    orders = _corrected_orders(known)
    for recorded in known:
        event, day, was = recorded.event, None, recorded.envelope.business_time
        if not isinstance(event, OrderPartlyPaid | ByPaymentInFull) or event.order_number not in orders:
            continue
        order = orders[event.order_number]
        if isinstance(event, OrderPartlyPaid):
            day = order.received_on.get(event.reference)
        elif order.paid_at:
            day, was = order.paid_on, order.paid_at
        if day:
            yield recorded.id, order.moment(day, was)


class _Order:
    """What is known of an order with a corrected payment."""

    def __init__(self, placed_at: datetime) -> None:
        self.placed_at = placed_at
        self.paid_at: datetime | None = None
        """As it was thought to be."""
        self.paid_on: date | None = None
        self.received_on: dict[str, date] = {}
        """What was corrected, by payment."""
        self.corrected_at = placed_at

    def moment(self, day: date, was: datetime) -> datetime:
        """The same hour of another day, but after the order and before anybody said so."""
        moment = datetime.combine(day, was.astimezone(ROME).time(), ROME)
        return max(self.placed_at, min(moment, self.corrected_at))


def _corrected_orders(known: Sequence[Recorded]) -> dict[str, _Order]:
    orders: dict[str, _Order] = {}
    for recorded in known:
        time = recorded.envelope.business_time
        match recorded.event:
            case OrderPlaced() as event:
                orders[event.order_number] = _Order(time)
            case OrderPaid() as event:
                orders[event.order_number].paid_at = time
            case OrderPaymentCorrected() as event:
                order = orders[event.order_number]
                order.received_on[event.reference] = event.received_on
                order.paid_on, order.corrected_at = event.paid_on, time
    return {number: order for number, order in orders.items() if order.received_on}


def _added(events: Sequence[Recorded]) -> set[str]:
    return {recorded.event.service_id for recorded in events if isinstance(recorded.event, SeatsAdded)}
