"""Services: each line of a subscription with its own expiry and status."""

from collections.abc import Iterable
from datetime import date
from typing import cast, get_args

from domain.kernel import Recorded
from domain.pricing import Status
from domain.subscription_events import (
    ExpiryAligned,
    ExpiryCorrected,
    SeatsAdded,
    SeatsCorrected,
    ServiceEnded,
    ServiceExpired,
    ServiceExpiring,
    ServiceReduced,
    ServiceRenewed,
    SubscriptionStarted,
)
from projections.view import Key, Row, Rows, View

Changed = (
    ExpiryAligned
    | SeatsCorrected
    | ExpiryCorrected
    | ServiceRenewed
    | ServiceReduced
    | ServiceExpiring
    | ServiceExpired
    | ServiceEnded
)


class ServiceRow(Row):
    subscription_id: str
    service_id: str
    sku: str
    quantity: int
    active_from: date
    expires_on: date
    status: str
    order_number: str | None
    """None for what the subscription started with."""


class Services(View[ServiceRow]):
    name = "services"
    version = 2
    key = ("subscription_id", "service_id")
    events = (SubscriptionStarted, SeatsAdded, *get_args(Changed))
    row = ServiceRow

    def keys(self, recorded: Recorded) -> Iterable[Key]:
        event = recorded.event
        return [(recorded.subject, event.service_id)] if isinstance(event, Changed) else []

    def apply(self, recorded: Recorded, rows: Rows[ServiceRow]) -> None:
        event = recorded.event
        match event:
            case SubscriptionStarted():
                for started in event.services:
                    row = ServiceRow(
                        subscription_id=recorded.subject,
                        service_id=started.service_id,
                        sku=started.sku,
                        quantity=started.quantity,
                        active_from=started.active_from,
                        expires_on=started.expires_on,
                        status=started.status,
                        order_number=None,
                        position=recorded.position,
                    )
                    rows.put(row, recorded.subject, started.service_id)
            case SeatsAdded():
                row = ServiceRow(
                    subscription_id=recorded.subject,
                    service_id=event.service_id,
                    sku=event.sku,
                    quantity=event.quantity,
                    active_from=event.active_from,
                    expires_on=event.expires_on,
                    status=Status.ACTIVE,
                    order_number=event.order_number,
                    position=recorded.position,
                )
                rows.put(row, recorded.subject, event.service_id)
            case _:
                _change(cast(Changed, event), recorded, rows)


def _change(event: Changed, recorded: Recorded, rows: Rows[ServiceRow]) -> None:
    row = rows.get(recorded.subject, event.service_id)
    assert row is not None, "a service exists before it changes"
    match event:
        case SeatsCorrected():
            row.active_from = event.active_from
        case ExpiryAligned() | ExpiryCorrected() | ServiceRenewed():
            row.expires_on, row.status = event.expires_on, event.status
        case ServiceReduced():
            row.quantity = event.quantity
        case ServiceExpiring():
            row.status = Status.EXPIRING
        case ServiceExpired():
            row.status = Status.EXPIRED
        case ServiceEnded():
            row.status = Status.ENDED
    row.position = recorded.position
    rows.put(row, recorded.subject, event.service_id)
