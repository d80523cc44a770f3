"""Reading dates and times that a person types."""

from datetime import date, datetime, time

from adapters.cli import Complaint
from domain.kernel import ROME


def civil_date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Complaint(f"{text}: not a date, such as 2026-03-02") from None


def point_in_time(text: str) -> datetime:
    """A time with its offset, or in Rome without one; a date alone means the end of that day."""
    try:
        if len(text) == len("2026-03-02"):
            return datetime.combine(date.fromisoformat(text), time.max, ROME)
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise Complaint(f"{text}: not a time, such as 2026-03-02 or 2026-03-02T09:15:00+01:00") from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=ROME)
