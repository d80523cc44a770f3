"""What happens to a subscription: the events of its stream, and the values that they carry."""

from datetime import date
from typing import Literal

from domain.kernel import Event, NotNegative, Personal, Positive, Value
from domain.pricing import Kind, Lifecycle, OrderNumber, ServiceId, Sku, Status


class AccountHolder(Value):
    """Who pays, and where the payment instructions go."""

    name: Personal
    email: Personal
    language: Literal["it", "en"]
    tax_code: Personal | None = None
    vat_number: Personal | None = None


class StartedService(Value, kw_only=True):
    service_id: ServiceId
    sku: Sku
    kind: Kind
    quantity: Positive
    active_from: date
    expires_on: date
    leap_day: bool = False
    """The expiry stands for a 29 February (S3)."""
    status: Status
    included_users: NotNegative = 0


class SubscriptionStarted(Event, topic="subscription.subscription-started.v1"):
    account_holder: AccountHolder
    services: tuple[StartedService, ...]
    lifecycle: Lifecycle


class UserConfigured(Event, topic="subscription.user-configured.v1"):
    username: Personal
    email: Personal
    permissions: tuple[str, ...]
    replaces: bool = False
    """The username was configured already: it takes no further seat (S5)."""


class UserDeleted(Event, topic="subscription.user-deleted.v1"):
    username: Personal


class PersonalDataErased(Event, topic="subscription.personal-data-erased.v1"):
    """With this event the key was destroyed under which the subscription's personal data was stored.

    Why, and who did it, stay readable: no customer is to be named there.
    """

    reason: str
    operator: str


class ServicesHeld(Event, topic="subscription.services-held.v1"):
    """An open order extends or renews these services; `keeps` says how many seats of each it leaves (C4, O10)."""

    order_number: OrderNumber
    keeps: dict[ServiceId, NotNegative]


class ServicesReleased(Event, topic="subscription.services-released.v1"):
    """The order that held services ended without being fulfilled."""

    order_number: OrderNumber


class SeatsAdded(Event, topic="subscription.seats-added.v1"):
    order_number: OrderNumber
    service_id: ServiceId
    sku: Sku
    quantity: Positive
    active_from: date
    expires_on: date
    leap_day: bool = False


class ExpiryAligned(Event, topic="subscription.expiry-aligned.v1", kw_only=True):
    order_number: OrderNumber
    service_id: ServiceId
    was: date
    expires_on: date
    leap_day: bool = False
    status: Status


class SeatsCorrected(Event, topic="subscription.seats-corrected.v1"):
    """The payment for these seats had come on another day than was thought."""

    order_number: OrderNumber
    service_id: ServiceId
    was: date
    active_from: date


class ExpiryCorrected(Event, topic="subscription.expiry-corrected.v1", kw_only=True):
    """An order's payment had come later than was thought, so what it bought lasts longer."""

    order_number: OrderNumber
    service_id: ServiceId
    was: date
    expires_on: date
    leap_day: bool = False
    status: Status


class ServiceRenewed(Event, topic="subscription.service-renewed.v1", kw_only=True):
    order_number: OrderNumber
    service_id: ServiceId
    quantity: Positive
    """From `was` on; until then the paid quantity stays (C4)."""
    was: date
    expires_on: date
    leap_day: bool = False
    status: Status


class RenewalDeclined(Event, topic="subscription.renewal-declined.v1"):
    """A renewal with quantity 0: the service runs out, and configuring no longer counts on it (C4)."""

    order_number: OrderNumber
    service_id: ServiceId


class ServiceReduced(Event, topic="subscription.service-reduced.v1"):
    """The term that was paid with more seats is over."""

    service_id: ServiceId
    was: Positive
    quantity: Positive


class ExpiryReminderDue(Event, topic="subscription.expiry-reminder-due.v1"):
    service_id: ServiceId
    expires_on: date
    days_before: Positive


class ServiceExpiring(Event, topic="subscription.service-expiring.v1"):
    service_id: ServiceId
    expires_on: date


class ServiceExpired(Event, topic="subscription.service-expired.v1"):
    service_id: ServiceId
    expires_on: date


class ServiceEnded(Event, topic="subscription.service-ended.v1"):
    service_id: ServiceId
    expires_on: date


SubscriptionEvent = (
    SubscriptionStarted
    | UserConfigured
    | UserDeleted
    | ServicesHeld
    | ServicesReleased
    | SeatsAdded
    | ExpiryAligned
    | SeatsCorrected
    | ExpiryCorrected
    | ServiceRenewed
    | RenewalDeclined
    | ServiceReduced
    | ExpiryReminderDue
    | ServiceExpiring
    | ServiceExpired
    | ServiceEnded
    | PersonalDataErased
)
