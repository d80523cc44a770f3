"""Calendar: which business days have been closed."""

import datetime

from domain import errors
from domain.kernel import Aggregate, Event


class DayClosed(Event, topic="calendar.day-closed.v1"):
    """A business day is over, and with it every day since `since` that was still open."""

    date: datetime.date
    since: datetime.date | None
    """The first day closed with it; None where nothing had ever been closed."""


class Calendar(Aggregate[DayClosed]):
    kind = "calendar"
    NAME = "rome"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.closed: datetime.date | None = None

    def close(self, day: datetime.date, *, today: datetime.date) -> None:
        """Close every open day up to this one; closing a closed day brings nothing (T4)."""
        if day >= today:
            raise errors.DayNotOver(date=day.isoformat())
        if self.closed is None:
            self.record(DayClosed(date=day, since=None))
        elif day > self.closed:
            self.record(DayClosed(date=day, since=self.closed + datetime.timedelta(days=1)))

    def evolve(self, event: DayClosed) -> None:
        self.closed = event.date
