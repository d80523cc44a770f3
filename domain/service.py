"""A service: one line of a subscription, with an expiry of its own."""

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import assert_never

from domain.pricing import Holding, Kind, Lifecycle, Status
from domain.terms import Anchor

NEVER_REMINDED = 1_000_000


@dataclass(slots=True)
class Service:
    """One line of a subscription, as remembered."""

    service_id: str
    sku: str
    kind: Kind
    quantity: int
    expires_on: date
    leap_day: bool
    """The expiry stands for a 29 February (S3)."""
    status: Status
    included_users: int = 0
    order_number: str | None = None
    """The order that added it, if one did."""
    reductions: list[tuple[date, int]] = field(default_factory=list)
    """(last day of the larger quantity, quantity from then on), in order of time."""
    declined: bool = False
    reminded: int = NEVER_REMINDED
    """The smallest number of days before this expiry at which a reminder fell due."""

    @property
    def anchor(self) -> Anchor:
        return Anchor.of(self.expires_on, self.leap_day)

    @property
    def final_quantity(self) -> int:
        """What is left after every reduction that has been agreed."""
        return self.reductions[-1][1] if self.reductions else self.quantity

    @property
    def users(self) -> int:
        """How many users one of it is good for."""
        match self.kind:
            case Kind.BASE:
                return self.included_users
            case Kind.SEAT:
                return 1
            case Kind.SPACE:
                return 0
            case _:
                assert_never(self.kind)

    def usable_on(self, on: date) -> bool:
        return self.expires_on >= on

    def holding(self) -> Holding:
        return Holding(self.service_id, self.sku, self.final_quantity, self.expires_on, self.anchor)

    def next_due(self, life: Lifecycle) -> date | None:
        """The first date whose closing changes this service (T4)."""
        expiry = self.expires_on
        days = [expiry]
        if self.status is Status.ENDED:
            days = []
        elif self.status is Status.EXPIRED:
            days = [expiry + timedelta(days=life.restricted_days)]
        elif not self.declined:
            reminders = [before for before in life.reminder_days if before < self.reminded]
            days += [expiry - timedelta(days=before + 1) for before in reminders]
        if self.status is Status.ACTIVE:
            days.append(expiry - timedelta(days=life.expiring_days + 1))
        if self.reductions:
            days.append(self.reductions[0][0])
        return min(days, default=None)

    def ends_before(self, expires_on: date, *, leap_day: bool) -> bool:
        """Whether that expiry is later; one that stands for a 29 February is later than a mere 28th (S3)."""
        return (self.expires_on, self.leap_day) < (expires_on, leap_day)

    def move(self, expires_on: date, *, leap_day: bool, status: Status) -> None:
        self.expires_on, self.leap_day, self.status = expires_on, leap_day, status
        self.declined, self.reminded = False, NEVER_REMINDED

    def correct(self, expires_on: date, *, leap_day: bool, status: Status) -> None:
        """As `move`, but what was declined stays declined: nobody has paid for more."""
        declined = self.declined
        self.move(expires_on, leap_day=leap_day, status=status)
        self.declined = declined
