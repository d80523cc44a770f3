"""The peer's aggregates, with the library's @event decorators: a method decides, another triggers and remembers."""

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec
from eventsourcing.domain import Aggregate, event

from domain import errors
from domain.kernel import Value
from domain.pricing import Holding, Lifecycle, Quote, Status
from domain.subscription import USERNAME
from domain.terms import Anchor

NOTHING = Decimal("0.00")


def plain(value: Value) -> Any:
    """A quote or another value in parts that the library's transcoder takes."""
    return msgspec.json.decode(msgspec.json.encode(value))


class Subscription(Aggregate):
    @event("Started")
    def __init__(self, name: str, holder: dict[str, Any], services: list[dict[str, Any]], lifecycle: dict[str, Any]):
        self.name = name
        self.holder = holder
        self.services = {service["service_id"]: service for service in services}
        self.lifecycle = Lifecycle(**lifecycle)
        self.users: dict[str, list[str]] = {}
        self.held: dict[str, dict[str, int]] = {}

    @staticmethod
    def create_id(name: str, **_: Any) -> UUID:
        return uuid5(NAMESPACE_URL, f"/subscriptions/{name}")

    def configure_user(self, username: str, email: str, permissions: list[str], on: date) -> None:
        if not USERNAME.fullmatch(username):
            raise errors.UsernameInvalid
        if permissions and "read" not in permissions:
            raise errors.ReadPermissionMissing
        if username not in self.users and len(self.users) >= (seats := self.seats_for_users(on)):
            raise errors.NoFreeSeat(seats=seats)
        self._configure_user(username, email, permissions)

    @event("UserConfigured")
    def _configure_user(self, username: str, email: str, permissions: list[str]) -> None:
        self.users[username] = permissions

    def delete_user(self, username: str) -> None:
        if username not in self.users:
            raise errors.UserUnknown(username=username)
        self._delete_user(username)

    @event("UserDeleted")
    def _delete_user(self, username: str) -> None:
        del self.users[username]

    @event("ServicesHeld")
    def hold(self, order: str, keeps: dict[str, int]) -> None:
        self.held[order] = keeps

    @event("ServicesReleased")
    def release(self, order: str) -> None:
        del self.held[order]

    def seats_for_users(self, on: date, renewed: Mapping[str, int] | None = None) -> int:
        left = {s["service_id"]: self.kept(s) for s in self.services.values() if s["expires_on"] >= on}
        left |= renewed or {}
        return sum(self.services[service_id]["users"] * quantity for service_id, quantity in left.items())

    def kept(self, service: dict[str, Any]) -> int:
        ordered = [keeps[service["service_id"]] for keeps in self.held.values() if service["service_id"] in keeps]
        return min([int(service["quantity"]), *ordered])

    def refuse_expired_base(self, on: date) -> None:
        base = self.services["S1"]
        if base["expires_on"] < on:
            raise errors.BaseServiceExpired(expired_on=base["expires_on"].isoformat())

    def refuse_held(self, keeps: Mapping[str, int]) -> None:
        for order, held in self.held.items():
            for service_id in keeps:
                if service_id in held:
                    raise errors.ServiceInOpenOrder(service=service_id, order=order)

    def holding(self, service_id: str) -> Holding:
        if service_id not in self.services:
            raise errors.ServiceUnknown(service=service_id)
        service = self.services[service_id]
        expires_on = service["expires_on"]
        return Holding(service_id, service["sku"], service["quantity"], expires_on, Anchor.of(expires_on))

    def active_holdings(self, on: date) -> tuple[Holding, ...]:
        return tuple(self.holding(key) for key, service in self.services.items() if service["expires_on"] >= on)

    def chosen_holdings(self, chosen: Mapping[str, int], on: date) -> tuple[tuple[Holding, int], ...]:
        holdings = []
        for service_id, quantity in chosen.items():
            held = self.holding(service_id)
            if self.lifecycle.status(held.expires_on, on) is Status.ENDED:
                raise errors.ServiceEnded(service=service_id)
            if not 0 <= quantity <= held.quantity:
                raise errors.QuantityOutOfRange(quantity=quantity, least=0, most=held.quantity)
            holdings.append((held, quantity))
        left = self.seats_for_users(on, chosen)
        kept = {service_id: self.kept(self.services[service_id]) for service_id in chosen}
        if left < len(self.users) and left < self.seats_for_users(on, kept):
            raise errors.ConfiguredUsersInTheWay(configured=len(self.users), left=left, usernames=", ".join(self.users))
        return tuple(holdings)


class Cart(Aggregate):
    @event("Opened")
    def __init__(self, name: str, entry_point: str, lifetime_days: int, on: date):
        self.name = name
        self.lifetime = timedelta(days=lifetime_days)
        self._open(on)

    @staticmethod
    def create_id(name: str, **_: Any) -> UUID:
        return uuid5(NAMESPACE_URL, f"/carts/{name}")

    def _open(self, on: date) -> None:
        self.is_open, self.extend, self.touched_on = True, True, on
        self.quantity, self.years = 0, 0
        self.renewal: dict[str, int] = {}

    @event("OpenedAgain")
    def open_again(self, entry_point: str, on: date) -> None:
        self._open(on)

    @event("Abandoned")
    def abandon(self) -> None:
        self.is_open = False

    def choose_seats(self, quantity: int, quote: Quote, on: date) -> None:
        if self.renewal:
            raise errors.CartHoldsOther
        self._choose_seats(quantity, plain(quote), on)

    @event("SeatsChosen")
    def _choose_seats(self, quantity: int, quote: dict[str, Any], on: date) -> None:
        self.quantity, self.touched_on = quantity, on

    def choose_renewal(self, services: dict[str, int], years: int, quote: Quote | None, on: date) -> None:
        if self.quantity:
            raise errors.CartHoldsOther
        if quote is None:
            raise errors.CartEmpty
        self._choose_renewal(services, years, plain(quote), on)

    @event("RenewalChosen")
    def _choose_renewal(self, services: dict[str, int], years: int, quote: dict[str, Any], on: date) -> None:
        self.renewal, self.years, self.touched_on = services, years, on

    def switch_alignment(self, extend: bool, quote: Quote | None, on: date) -> None:
        if extend != self.extend:
            self._switch_alignment(extend, plain(quote) if quote else None, on)

    @event("AlignmentSwitched")
    def _switch_alignment(self, extend: bool, quote: dict[str, Any] | None, on: date) -> None:
        self.extend, self.touched_on = extend, on

    @event("CheckedOut")
    def check_out(self, order: str, quote: dict[str, Any]) -> None:
        self.is_open = False

    @property
    def is_empty(self) -> bool:
        return not self.quantity and not self.renewal

    def is_stale(self, on: date) -> bool:
        return self.is_open and on > self.touched_on + self.lifetime


class Order(Aggregate):
    @event("Placed")
    def __init__(
        self,
        number: str,
        subscription: str,
        quote: dict[str, Any],
        payment_method: str,
        accepted_terms: str,
        accepted_by: str,
        seats: int,
        keeps: dict[str, int],
        lapses_on: date,
    ):
        self.number = number
        self.subscription = subscription
        self.total = Decimal(quote["total"])
        self.lapses_on = lapses_on
        self.state = "awaiting_payment"
        self.payments: dict[str, Decimal] = {}

    @staticmethod
    def create_id(number: str, **_: Any) -> UUID:
        return uuid5(NAMESPACE_URL, f"/orders/{number}")

    @property
    def missing(self) -> Decimal:
        return self.total - sum(self.payments.values(), NOTHING)

    def is_payable(self, on: date) -> bool:
        return self.state == "awaiting_payment" and on <= self.lapses_on

    def has_lapsed(self, on: date) -> bool:
        return self.state == "awaiting_payment" and on > self.lapses_on

    def receive(self, reference: str, amount: Decimal, on: date) -> None:
        if amount < self.missing:
            self._receive_part(reference, amount)
        else:
            self._receive_all(reference, amount, on)

    @event("PartlyPaid")
    def _receive_part(self, reference: str, amount: Decimal) -> None:
        self.payments[reference] = amount

    @event("Paid")
    def _receive_all(self, reference: str, amount: Decimal, paid_on: date) -> None:
        self.payments[reference] = amount
        self.state = "paid"

    @event("Cancelled")
    def cancel(self, reason: str) -> None:
        self.state = "cancelled"

    @event("Expired")
    def expire(self) -> None:
        self.state = "expired"


class Payment(Aggregate):
    @event("Registered")
    def __init__(self, reference: str, order_number: str, amount: Decimal, method: str, value_date: date):
        self.registered = amount, order_number, method
        self.unallocated = amount
        self.allocated: dict[str, Decimal] = {}
        self.refundable = NOTHING

    @staticmethod
    def create_id(reference: str, **_: Any) -> UUID:
        return uuid5(NAMESPACE_URL, f"/payments/{reference}")

    @event("Allocated")
    def allocate(self, order: str, amount: Decimal) -> None:
        self.unallocated -= amount
        self.allocated[order] = amount

    @event("RefundDue")
    def owe_back(self, order: str, amount: Decimal, reason: str) -> None:
        self.unallocated -= amount
        self.refundable += amount

    @event("RefundDueFromOrder")
    def owe_back_from(self, order: str, reason: str) -> None:
        self.refundable += self.allocated.pop(order)


class Calendar(Aggregate):
    ID = uuid5(NAMESPACE_URL, "/calendar")

    @event("Begun")
    def __init__(self, first: date):
        self.closed = first

    @staticmethod
    def create_id(**_: Any) -> UUID:
        return Calendar.ID

    @event("DayClosed")
    def close(self, day: date, since: date) -> None:
        self.closed = day
