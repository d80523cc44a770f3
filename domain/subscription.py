"""Subscription: services, seats and users that end together, or each in its own time."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import assert_never

from domain import errors
from domain.kernel import Aggregate
from domain.pricing import Holding, Kind, Lifecycle, Renewal, Status
from domain.service import Service
from domain.subscription_events import (
    AccountHolder,
    ExpiryAligned,
    ExpiryCorrected,
    ExpiryReminderDue,
    PersonalDataErased,
    RenewalDeclined,
    SeatsAdded,
    SeatsCorrected,
    ServiceEnded,
    ServiceExpired,
    ServiceExpiring,
    ServiceReduced,
    ServiceRenewed,
    ServicesHeld,
    ServicesReleased,
    StartedService,
    SubscriptionEvent,
    SubscriptionStarted,
    UserConfigured,
    UserDeleted,
)
from domain.terms import add_years, remembers_leap_day

USERNAME = re.compile(r"(?=(?:[._@-]*[A-Za-z0-9]){8})[A-Za-z0-9._@-]{8,64}")


class Subscription(Aggregate[SubscriptionEvent]):
    kind = "subscription"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.account_holder: AccountHolder | None
        """None once personal data was erased."""
        self.lifecycle: Lifecycle
        self.services: dict[str, Service] = {}
        self.users: set[str] = set()
        self.held: dict[str, Mapping[str, int]] = {}
        """Open orders that extend or renew services, each with the seats it leaves of them."""
        self.fulfilled: set[str] = set()

    # Decisions

    def start(self, holder: AccountHolder, services: Sequence[StartedService], lifecycle: Lifecycle) -> None:
        self.record(SubscriptionStarted(account_holder=holder, services=tuple(services), lifecycle=lifecycle))

    def configure_user(
        self, username: str, email: str, permissions: Sequence[str], *, on: date, lapsed: Collection[str] = ()
    ) -> None:
        """Give a person a seat, or an already configured one another email and permissions (S4, S5)."""
        if not USERNAME.fullmatch(username):
            raise errors.UsernameInvalid
        if permissions and "read" not in permissions:
            raise errors.ReadPermissionMissing
        replaces = username in self.users
        if not replaces and len(self.users) >= (seats := self.seats_for_users(on, lapsed=lapsed)):
            raise errors.NoFreeSeat(seats=seats)
        self.record(UserConfigured(username=username, email=email, permissions=tuple(permissions), replaces=replaces))

    def delete_user(self, username: str) -> None:
        if username not in self.users:
            raise errors.UserUnknown(username=username)
        self.record(UserDeleted(username=username))

    def hold(self, order: str, keeps: Mapping[str, int]) -> None:
        """Reserve services for an open order, so that no other order changes them meanwhile (O10)."""
        self.refuse_held(keeps)
        if keeps:
            self.record(ServicesHeld(order_number=order, keeps=dict(keeps)))

    def release(self, order: str) -> None:
        if order in self.held:
            self.record(ServicesReleased(order_number=order))

    def add_seats(self, order: str, sku: str, quantity: int, *, on: date, extend: Collection[str]) -> date:
        """Add an order's seats, once; the services active when it was placed follow their expiry (S3, S6, S9)."""
        expires_on, leap_day = add_years(on, 1), remembers_leap_day(on)
        if order in self.fulfilled:
            return expires_on
        self.record(
            SeatsAdded(
                order_number=order,
                service_id=f"S{len(self.services) + 1}",
                sku=sku,
                quantity=quantity,
                active_from=on,
                expires_on=expires_on,
                leap_day=leap_day,
            )
        )
        for service in [self.services[service_id] for service_id in extend]:
            if service.expires_on < expires_on:
                self.record(
                    ExpiryAligned(
                        order_number=order,
                        service_id=service.service_id,
                        was=service.expires_on,
                        expires_on=expires_on,
                        leap_day=leap_day,
                        status=self.lifecycle.status(expires_on, on),
                    )
                )
        return expires_on

    def correct_seats(self, order: str, *, was: date, active_from: date, extend: Collection[str], on: date) -> None:
        """Have an order's seats begin on another day; what now ends too early ends later, nothing ends sooner (S6)."""
        late = self.ending_too_early(order, active_from, extend, on)
        self.record(
            SeatsCorrected(
                order_number=order, service_id=self._seats_of(order).service_id, was=was, active_from=active_from
            )
        )
        expires_on = add_years(active_from, 1)
        for service in late:
            self.record(
                ExpiryCorrected(
                    order_number=order,
                    service_id=service.service_id,
                    was=service.expires_on,
                    expires_on=expires_on,
                    leap_day=remembers_leap_day(active_from),
                    status=self.lifecycle.status(expires_on, on),
                )
            )

    def renew(self, order: str, renewals: Sequence[Renewal], *, on: date) -> date:
        """Move each renewed service to the expiry that was sold, once; the payment date doesn't move it (C6, S9)."""
        latest = max(renewal.expires_on for renewal in renewals if renewal.quantity)
        if order in self.fulfilled:
            return latest
        for renewal in renewals:
            service = self.services[renewal.service_id]
            if not renewal.quantity:
                self.record(RenewalDeclined(order_number=order, service_id=service.service_id))
                continue
            self.record(
                ServiceRenewed(
                    order_number=order,
                    service_id=service.service_id,
                    quantity=renewal.quantity,
                    was=service.expires_on,
                    expires_on=renewal.expires_on,
                    leap_day=renewal.leap_day,
                    status=self.lifecycle.status(renewal.expires_on, on),
                )
            )
        self._reduce(before=on)
        return latest

    def close_day(self, closed: date) -> None:
        """Record what the end of a day brings: reminders, reductions, and the next step of a service's life (S8)."""
        tomorrow = closed + timedelta(days=1)
        for service in self.services.values():
            self._remind(service, tomorrow)
            self._age(service, tomorrow)
        self._reduce(before=tomorrow)

    def _remind(self, service: Service, today: date) -> None:
        days_left = (service.expires_on - today).days
        reached = [days for days in self.lifecycle.reminder_days if days_left <= days < service.reminded]
        if days_left >= 0 and reached and not service.declined:
            # After an outage only the nearest reminder is due (T4).
            self.record(
                ExpiryReminderDue(
                    service_id=service.service_id, expires_on=service.expires_on, days_before=min(reached)
                )
            )

    def _age(self, service: Service, today: date) -> None:
        status = self.lifecycle.status(service.expires_on, today)
        service_id, expires_on = service.service_id, service.expires_on
        if status is Status.EXPIRING and service.status is Status.ACTIVE:
            self.record(ServiceExpiring(service_id=service_id, expires_on=expires_on))
        if status in (Status.EXPIRED, Status.ENDED) and service.status in (Status.ACTIVE, Status.EXPIRING):
            self.record(ServiceExpired(service_id=service_id, expires_on=expires_on))
        if status is Status.ENDED and service.status is Status.EXPIRED:
            self.record(ServiceEnded(service_id=service_id, expires_on=expires_on))

    def _reduce(self, *, before: date) -> None:
        for service in self.services.values():
            while service.reductions and service.reductions[0][0] < before:
                _, quantity = service.reductions[0]
                self.record(ServiceReduced(service_id=service.service_id, was=service.quantity, quantity=quantity))

    def erase(self, reason: str, operator: str) -> None:
        """Forget who pays and who uses it; what was bought and paid stays."""
        self.record(PersonalDataErased(reason=reason, operator=operator))

    # Questions

    @property
    def base(self) -> Service:
        return next(service for service in self.services.values() if service.kind is Kind.BASE)

    def refuse_expired_base(self, on: date) -> None:
        """No seats are sold on a base service that has expired (C3)."""
        if not self.base.usable_on(on):
            raise errors.BaseServiceExpired(expired_on=self.base.expires_on.isoformat())

    def refuse_held(self, services: Iterable[str], *, lapsed: Collection[str] = ()) -> None:
        """Two open orders may not change one service (O10); an order that has lapsed is not open (T2)."""
        for service_id in services:
            for order, keeps in self.held.items():
                if service_id in keeps and order not in lapsed:
                    raise errors.ServiceInOpenOrder(service=service_id, order=order)

    def ending_too_early(self, order: str, active_from: date, extend: Collection[str], on: date) -> Sequence[Service]:
        """The seats of an order and what it extended, as far as they end too early and have not ended for good."""
        expires_on, leap_day = add_years(active_from, 1), remembers_leap_day(active_from)
        services = [*(self.services[service_id] for service_id in extend), self._seats_of(order)]
        return [
            service
            for service in services
            if service.ends_before(expires_on, leap_day=leap_day)
            and self.lifecycle.status(service.expires_on, on) is not Status.ENDED
        ]

    def _seats_of(self, order: str) -> Service:
        return next(service for service in self.services.values() if service.order_number == order)

    def active_holdings(self, on: date) -> tuple[Holding, ...]:
        """The services that an extension moves: those that may be used on this date."""
        return tuple([service.holding() for service in self.services.values() if service.usable_on(on)])

    def chosen_holdings(self, chosen: Mapping[str, int], on: date) -> list[tuple[Holding, int]]:
        """The services a renewal chooses, with their new quantities; they may be expired but not ended (C6)."""
        holdings = []
        for service_id, quantity in chosen.items():
            service = self.services.get(service_id)
            if service is None:
                raise errors.ServiceUnknown(service=service_id)
            if self.lifecycle.status(service.expires_on, on) is Status.ENDED:
                raise errors.ServiceEnded(service=service_id)
            if not 0 <= quantity <= service.final_quantity:
                raise errors.QuantityOutOfRange(quantity=quantity, least=0, most=service.final_quantity)
            holdings.append((service.holding(), quantity))
        return holdings

    def refuse_displacing_users(self, chosen: Mapping[str, int], on: date, *, lapsed: Collection[str] = ()) -> None:
        """Users already configured can't be removed from the cart: delete them in the panel first (C4)."""
        kept = {service_id: self._kept(self.services[service_id], lapsed) for service_id in chosen}
        left = self.seats_for_users(on, chosen, lapsed=lapsed)
        # Where seats are short already, a renewal that takes none away stays possible.
        if left < len(self.users) and left < self.seats_for_users(on, kept, lapsed=lapsed):
            raise errors.ConfiguredUsersInTheWay(
                configured=len(self.users), left=left, usernames=", ".join(sorted(self.users))
            )

    def seats_for_users(
        self, on: date, renewed: Mapping[str, int] | None = None, *, lapsed: Collection[str] = ()
    ) -> int:
        """Included users while the base is active, and the active seats that reductions leave (S4, C4).

        `renewed` says how many of which services a renewal would leave, expired ones too.
        """
        left = {s.service_id: self._kept(s, lapsed) for s in self.services.values() if s.usable_on(on)}
        left |= renewed or {}
        return sum(self.services[service_id].users * quantity for service_id, quantity in left.items())

    def any_ended(self, services: Iterable[str], on: date) -> bool:
        return any(self.lifecycle.status(self.services[s].expires_on, on) is Status.ENDED for s in services)

    def _kept(self, service: Service, lapsed: Collection[str]) -> int:
        """A service's quantity once every agreed or ordered reduction has taken effect."""
        if service.declined:
            return 0
        ordered = (
            keeps[service.service_id]
            for order, keeps in self.held.items()
            if service.service_id in keeps and order not in lapsed
        )
        return min((service.final_quantity, *ordered))

    def due(self) -> date | None:
        return min(filter(None, (service.next_due(self.lifecycle) for service in self.services.values())), default=None)

    # Memory

    def evolve(self, event: SubscriptionEvent) -> None:
        match event:
            case SubscriptionStarted():
                self.account_holder, self.lifecycle = event.account_holder, event.lifecycle
                for started in event.services:
                    self.services[started.service_id] = Service(
                        service_id=started.service_id,
                        sku=started.sku,
                        kind=started.kind,
                        quantity=started.quantity,
                        expires_on=started.expires_on,
                        leap_day=started.leap_day,
                        status=started.status,
                        included_users=started.included_users,
                    )
            case UserConfigured():
                self.users.add(event.username)
            case UserDeleted():
                self.users.discard(event.username)
            case ServicesHeld():
                self.held[event.order_number] = event.keeps
            case ServicesReleased():
                self.held.pop(event.order_number, None)
            case SeatsAdded():
                self._fulfil(event.order_number)
                self.services[event.service_id] = Service(
                    service_id=event.service_id,
                    sku=event.sku,
                    kind=Kind.SEAT,
                    quantity=event.quantity,
                    expires_on=event.expires_on,
                    leap_day=event.leap_day,
                    status=Status.ACTIVE,
                    order_number=event.order_number,
                )
            case SeatsCorrected():
                pass
            case ExpiryCorrected():
                self.services[event.service_id].correct(event.expires_on, leap_day=event.leap_day, status=event.status)
            case ExpiryAligned():
                self.services[event.service_id].move(event.expires_on, leap_day=event.leap_day, status=event.status)
            case ServiceRenewed():
                self._fulfil(event.order_number)
                service = self.services[event.service_id]
                if event.quantity < service.final_quantity:
                    service.reductions.append((event.was, event.quantity))
                service.move(event.expires_on, leap_day=event.leap_day, status=event.status)
            case RenewalDeclined():
                self._fulfil(event.order_number)
                self.services[event.service_id].declined = True
            case ServiceReduced():
                service = self.services[event.service_id]
                service.quantity = event.quantity
                del service.reductions[0]
            case ExpiryReminderDue():
                self.services[event.service_id].reminded = event.days_before
            case ServiceExpiring():
                self.services[event.service_id].status = Status.EXPIRING
            case ServiceExpired():
                self.services[event.service_id].status = Status.EXPIRED
            case ServiceEnded():
                self.services[event.service_id].status = Status.ENDED
            case PersonalDataErased():
                self.account_holder = None
                self.users.clear()
            case _:
                assert_never(event)

    def _fulfil(self, order: str) -> None:
        self.fulfilled.add(order)
        self.held.pop(order, None)
