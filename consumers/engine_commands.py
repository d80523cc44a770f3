"""Commands that the engine gives itself because of an event."""

from datetime import datetime

from domain.commands import Command, CommandData
from domain.kernel import Recorded


def engine_command(worker: str, id_: str, data: CommandData, *, cause: Recorded, time: datetime) -> Command:
    """A command with an id derived from its cause, so that deciding it again is a duplicate (K1)."""
    return Command(
        id=id_,
        type=f"seatline.engine.{type(data).__name__}",
        source=f"/seatline/{worker}",
        time=time,
        actor=f"seatline/{worker}",
        data=data,
        # The id says all there is to say, so the same id never comes with other data.
        fingerprint=b"",
        causation_id=cause.id,
        correlation_id=cause.envelope.correlation_id,
        traceparent=cause.envelope.traceparent,
    )
