"""Calendar: what the end of a day brings to each stream that is due (T4)."""

from collections.abc import Sequence
from datetime import datetime, time, timedelta

from consumers.engine_commands import engine_command
from domain.calendar import DayClosed
from domain.commands import CloseStreamDay, Command
from domain.kernel import ROME, Recorded

NAME = "calendar"


def consequences(closing: Recorded, streams: Sequence[str]) -> list[Command]:
    """A command for each due stream, at the midnight in Rome with which the day ended."""
    closed = closing.event
    assert isinstance(closed, DayClosed)
    midnight = datetime.combine(closed.date + timedelta(days=1), time(), ROME)
    return [
        engine_command(
            NAME,
            f"close-day:{closed.date.isoformat()}:{stream}",
            CloseStreamDay(day=closed.date, stream=stream),
            cause=closing,
            time=midnight,
        )
        for stream in streams
    ]
