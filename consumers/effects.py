"""Effects: what a consumer does outside the engine, planned with the event that asks for it and done once."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from domain.kernel import Recorded


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing to do outside; its id makes it unique for ever, so a replay plans nothing twice."""

    id: str
    subject: str
    order_number: str | None
    """None if it is not about an order."""
    event_id: str
    at: datetime
    """Business time of the event."""
    due_at: datetime
    """Not before this time by the clock."""


class NoLongerNeeded(Exception):
    """The effect has become pointless before it was due; says why."""


class Postponed(Exception):
    """Nothing happened, and a later attempt may succeed; not before `wait` is over, if the other side asked for it."""

    def __init__(self, reason: str, *, wait: timedelta = timedelta()) -> None:
        super().__init__(reason)
        self.wait = wait


class Refused(Exception):
    """Nothing happened, and no other attempt will succeed: a person has to look at it."""


class InDoubt(Exception):
    """Everything was handed over and no answer came: it may or may not have happened."""


class EffectConsumer(Protocol):
    """Turns events into effects, and does them."""

    name: str

    def plan(self, recorded: Recorded) -> Effect | None:
        """What this event asks for, if anything; called again on a replay, so it depends on the event alone."""
        ...

    def prepare(self, effect: Effect, now: datetime) -> Callable[[], None]:
        """Make everything ready and give what does it; raises NoLongerNeeded or Refused.

        Nothing has happened outside when this returns. What it gives raises Postponed, Refused or InDoubt.
        """
        ...
