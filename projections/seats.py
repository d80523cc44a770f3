"""Seats: the panel's sums over a subscription (Stato servizio)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from domain.kernel import Recorded
from domain.order import OrderCancelled, OrderExpired, OrderPaid, OrderPlaced
from domain.pricing import Kind, Status
from domain.subscription_events import (
    ExpiryAligned,
    SeatsAdded,
    ServiceEnded,
    ServiceExpired,
    ServiceExpiring,
    ServiceReduced,
    ServiceRenewed,
    SubscriptionStarted,
    UserConfigured,
    UserDeleted,
)
from projections.view import Key, Row, Rows, View

Changing = (
    SubscriptionStarted
    | SeatsAdded
    | ExpiryAligned
    | ServiceRenewed
    | ServiceReduced
    | ServiceExpiring
    | ServiceExpired
    | ServiceEnded
    | UserConfigured
    | UserDeleted
    | OrderPlaced
    | OrderPaid
    | OrderCancelled
    | OrderExpired
)
USABLE = (Status.ACTIVE, Status.EXPIRING)


@dataclass(slots=True)
class SeatsRow(Row):
    subscription_id: str
    seats_purchased: int = 0
    seats_active: int = 0
    seats_configured: int = 0
    seats_available: int = 0
    seats_pending: int = 0
    next_expiry: date | None = None
    aligned: bool | None = None
    memory: dict[str, dict[str, Any]] = field(default_factory=lambda: {"services": {}, "pending": {}})
    """Each service as kind, quantity, expiry, status and included users; the seats of each unpaid order."""


class Seats(View[SeatsRow]):
    name = "seats"
    version = 1
    key = ("subscription_id",)
    hidden = ("memory",)
    row = SeatsRow

    def keys(self, recorded: Recorded) -> Iterable[Key]:
        return [(recorded.subject,)] if isinstance(recorded.event, Changing) else []

    def apply(self, recorded: Recorded, rows: Rows[SeatsRow]) -> None:
        event = recorded.event
        if not isinstance(event, Changing):
            return
        row = rows.get(recorded.subject) or SeatsRow(subscription_id=recorded.subject, position=0)
        _remember(row, event)
        _add_up(row)
        row.position = recorded.position
        rows.put(row, recorded.subject)


def _remember(row: SeatsRow, event: Changing) -> None:
    services, pending = row.memory["services"], row.memory["pending"]
    match event:
        case SubscriptionStarted():
            for started in event.services:
                services[started.service_id] = {
                    "kind": started.kind,
                    "quantity": started.quantity,
                    "expires_on": started.expires_on.isoformat(),
                    "status": started.status,
                    "included": started.included_users,
                }
        case SeatsAdded():
            services[event.service_id] = {
                "kind": Kind.SEAT,
                "quantity": event.quantity,
                "expires_on": event.expires_on.isoformat(),
                "status": Status.ACTIVE,
                "included": 0,
            }
        case ExpiryAligned() | ServiceRenewed():
            services[event.service_id] |= {"expires_on": event.expires_on.isoformat(), "status": event.status}
        case ServiceReduced():
            services[event.service_id]["quantity"] = event.quantity
        case ServiceExpiring():
            services[event.service_id]["status"] = Status.EXPIRING
        case ServiceExpired():
            services[event.service_id]["status"] = Status.EXPIRED
        case ServiceEnded():
            services[event.service_id]["status"] = Status.ENDED
        case UserConfigured():
            row.seats_configured += not event.replaces
        case UserDeleted():
            row.seats_configured -= 1
        case OrderPlaced():
            if event.seats:
                pending[event.order_number] = event.seats
        case OrderPaid() | OrderCancelled() | OrderExpired():
            pending.pop(event.order_number, None)


def _add_up(row: SeatsRow) -> None:
    services = row.memory["services"].values()
    usable = [service for service in services if service["status"] in USABLE]
    seats = [service for service in services if service["kind"] == Kind.SEAT]
    expiries = {service["expires_on"] for service in usable}
    row.seats_purchased = sum(s["quantity"] for s in seats if s["status"] != Status.ENDED)
    row.seats_active = sum(s["quantity"] for s in seats if s["status"] in USABLE)
    included = sum(service["included"] for service in usable)
    row.seats_available = max(0, included + row.seats_active - row.seats_configured)
    row.seats_pending = sum(row.memory["pending"].values())
    row.next_expiry = date.fromisoformat(min(expiries)) if expiries else None
    row.aligned = len(expiries) == 1 if expiries else None
