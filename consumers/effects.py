"""Effects: what a consumer does outside the engine, planned with the event that asks for it and done once."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from domain.kernel import Recorded


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing to do outside; its id makes it unique for ever, so a replay plans nothing twice."""

    id: str
    subject: str
    order_number: str
    event_id: str
    at: datetime
    """Business time of the event."""
    due_at: datetime
    """Not before this time by the clock."""


class NoLongerNeeded(Exception):
    """The effect has become pointless before it was due; says why."""


class Postponed(Exception):
    """Nothing happened and nothing is wrong with the effect itself: try again later."""


class Refused(Exception):
    """The other side will never take this one: a person has to look at it."""


class InDoubt(Exception):
    """The other side may have done it and couldn't say so."""


class EffectConsumer(Protocol):
    """Turns events into effects, and does them."""

    name: str

    def plan(self, recorded: Recorded) -> Effect | None:
        """What this event asks for, if anything; called again on a replay, so it depends on the event alone."""
        ...

    def perform(self, effect: Effect) -> None:
        """Do it; raises NoLongerNeeded, Postponed, Refused or InDoubt."""
        ...
