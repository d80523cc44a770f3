"""Reading dates and times that a person types."""

from datetime import date, datetime, time

from pydantic import TypeAdapter, ValidationError

from adapters.cli import Complaint
from domain.commands import CivilDate
from domain.kernel import ROME

CIVIL_DATES: TypeAdapter[date] = TypeAdapter(CivilDate)


def civil_date(text: str) -> date:
    """A date such as a command may carry."""
    try:
        return CIVIL_DATES.validate_python(text)
    except ValidationError:
        raise Complaint(f"{text}: not a date from 2000 to 2199, such as 2026-03-02") from None


def point_in_time(text: str) -> datetime:
    """A time with its offset, or in Rome without one; a date alone means the end of that day."""
    try:
        if len(text) == len("2026-03-02"):
            return datetime.combine(date.fromisoformat(text), time.max, ROME)
        parsed = datetime.fromisoformat(text)
        return parsed.astimezone(ROME) if parsed.tzinfo else parsed.replace(tzinfo=ROME)
    except (ValueError, OverflowError):
        raise Complaint(f"{text}: not a time, such as 2026-03-02 or 2026-03-02T09:15:00+01:00") from None
