"""On what a decision stands: the aggregates it finds, and the moment at which it is made."""

from datetime import date, datetime
from typing import Any, Protocol

from domain.calendar import Calendar
from domain.cart import Cart
from domain.commands import Command
from domain.kernel import ROME, Aggregate
from domain.order import Order
from domain.payment import Payment
from domain.subscription import Subscription


class Aggregates(Protocol):
    """Where the shop finds aggregates, warm or freshly replayed; one that has no events yet is empty."""

    def subscription(self, name: str) -> Subscription: ...
    def cart(self, name: str) -> Cart: ...
    def order(self, name: str) -> Order: ...
    def payment(self, name: str) -> Payment: ...
    def calendar(self) -> Calendar: ...
    def new_order(self) -> Order: ...


class Moment:
    """When a command is decided: its own time, or the last event's of what it concerns where that is later (T3)."""

    def __init__(self, command: Command, clock: datetime) -> None:
        self.time = command.time
        self.clock = clock

    def after(self, *aggregates: Aggregate[Any]) -> date:
        """The business date, never before what these aggregates have already seen."""
        for aggregate in aggregates:
            if aggregate.time is not None and aggregate.time > self.time:
                self.time = aggregate.time
        return self.on

    @property
    def on(self) -> date:
        time = self.time
        return (time if time.tzinfo is ROME else time.astimezone(ROME)).date()
