"""Seats: the panel's sums over a subscription (Stato servizio)."""

from collections.abc import Iterable
from datetime import date
from typing import cast, get_args

import msgspec

from domain.kernel import Recorded
from domain.order import OrderCancelled, OrderExpired, OrderPaid, OrderPlaced
from domain.pricing import Kind, Status
from domain.subscription_events import (
    ExpiryAligned,
    ExpiryCorrected,
    PersonalDataErased,
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
    | ExpiryCorrected
    | ServiceRenewed
    | ServiceReduced
    | ServiceExpiring
    | ServiceExpired
    | ServiceEnded
    | UserConfigured
    | UserDeleted
    | PersonalDataErased
    | OrderPlaced
    | OrderPaid
    | OrderCancelled
    | OrderExpired
)
USABLE = (Status.ACTIVE, Status.EXPIRING)


class Service(msgspec.Struct):
    kind: str
    quantity: int
    expires_on: date
    status: str
    included: int
    """Users that have room in it without a seat."""


class Memory(msgspec.Struct):
    """What the sums are made from."""

    services: dict[str, Service]
    pending: dict[str, int]
    """The seats of each unpaid order."""


class SeatsRow(Row):
    subscription_id: str
    seats_purchased: int = 0
    seats_active: int = 0
    seats_configured: int = 0
    seats_available: int = 0
    seats_pending: int = 0
    next_expiry: date | None = None
    aligned: bool | None = None
    memory: Memory = msgspec.field(default_factory=lambda: Memory({}, {}))


class Seats(View[SeatsRow]):
    name = "seats"
    version = 3
    key = ("subscription_id",)
    hidden = ("memory",)
    events = get_args(Changing)
    row = SeatsRow

    def keys(self, recorded: Recorded) -> Iterable[Key]:
        return [(recorded.subject,)]

    def apply(self, recorded: Recorded, rows: Rows[SeatsRow]) -> None:
        event = cast(Changing, recorded.event)
        row = rows.get(recorded.subject) or SeatsRow(subscription_id=recorded.subject, position=0)
        _remember(row, event)
        row.position = recorded.position
        rows.put(row, recorded.subject)

    def settle(self, row: SeatsRow) -> None:
        services = row.memory.services.values()
        usable = [service for service in services if service.status in USABLE]
        seats = [service for service in services if service.kind == Kind.SEAT]
        expiries = {service.expires_on for service in usable}
        row.seats_purchased = sum(s.quantity for s in seats if s.status != Status.ENDED)
        row.seats_active = sum(s.quantity for s in seats if s.status in USABLE)
        included = sum(service.included for service in usable)
        row.seats_available = max(0, included + row.seats_active - row.seats_configured)
        row.seats_pending = sum(row.memory.pending.values())
        row.next_expiry = min(expiries, default=None)
        row.aligned = len(expiries) == 1 if expiries else None


def _remember(row: SeatsRow, event: Changing) -> None:
    services, pending = row.memory.services, row.memory.pending
    match event:
        # The most frequent first: each case is tried in turn.
        case UserConfigured():
            row.seats_configured += not event.replaces
        case UserDeleted():
            row.seats_configured -= 1
        case OrderPlaced():
            if event.seats:
                pending[event.order_number] = event.seats
        case OrderPaid() | OrderCancelled() | OrderExpired():
            pending.pop(event.order_number, None)
        case SubscriptionStarted():
            for new in event.services:
                services[new.service_id] = Service(
                    new.kind, new.quantity, new.expires_on, new.status, new.included_users
                )
        case SeatsAdded():
            services[event.service_id] = Service(Kind.SEAT, event.quantity, event.expires_on, Status.ACTIVE, 0)
        case ExpiryAligned() | ExpiryCorrected() | ServiceRenewed():
            service = services[event.service_id]
            service.expires_on, service.status = event.expires_on, event.status
        case ServiceReduced():
            services[event.service_id].quantity = event.quantity
        case ServiceExpiring():
            services[event.service_id].status = Status.EXPIRING
        case ServiceExpired():
            services[event.service_id].status = Status.EXPIRED
        case ServiceEnded():
            services[event.service_id].status = Status.ENDED
        case PersonalDataErased():
            row.seats_configured = 0
