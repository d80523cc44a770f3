"""The kernel: what an event is, what surrounds it, and how an aggregate records and remembers."""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict

ROME = ZoneInfo("Europe/Rome")
"""Business dates are civil dates in Rome (T1)."""


class Value(BaseModel):
    """An immutable, exactly described part of an event, a command or a quote."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Event(Value):
    """A fact that happened, named in the past tense; its topic is permanent because stored history uses it."""

    topic: ClassVar[str] = ""

    def __init_subclass__(cls, topic: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.topic = topic


EventT = TypeVar("EventT", bound=Event)


class Envelope(NamedTuple):
    """Who, why and when: shared by all events of one command."""

    business_time: datetime
    recorded_time: datetime
    actor: str
    command_id: str
    correlation_id: str
    """The first command or event of the chain that led here."""
    causation_id: str
    """The command, or for a consumer's command the event, that led directly here."""
    price_list: str
    command_time: datetime | None = None
    """Only where the command came with an older time than the aggregate's last event (T3)."""
    traceparent: str | None = None
    """The trace that the command came with (W3C Trace Context)."""


class Recorded(NamedTuple):
    """An event in its place: the stream, the version in the stream, whom it concerns, and the envelope."""

    originator_id: str
    originator_version: int
    event: Event
    subject: str
    envelope: Envelope
    position: int = 0
    """Its place in the log of all events; 0 before it is stored."""

    @property
    def id(self) -> str:
        """The event's own stable id, derived from where it stands."""
        return event_id(self.originator_id, self.originator_version)


def event_id(stream: str, version: int) -> str:
    return f"{stream}@{version}"


class Aggregate(Generic[EventT]):
    """A consistency boundary: methods decide and record, `evolve` only remembers."""

    kind: ClassVar[str]

    def __init__(self, name: str) -> None:
        self.name = name
        self.stream = f"{self.kind}/{name}"
        self.version = 0
        self.time: datetime | None = None
        """Business time of the last event; it never runs back (T3)."""
        self.journal: list[tuple[Aggregate[Any], int, Event, str]] = []
        """What has been recorded and not yet collected, and whom it concerns; the aggregates of one desk share it."""
        self.indexed_due: date | None = None
        """The due date that the index of due dates holds for this stream (T4)."""

    @property
    def exists(self) -> bool:
        return self.version > 0

    @property
    def subject(self) -> str:
        """Whom the last event concerns: the subscription, or an orphan payment's reference."""
        return self.name

    def due(self) -> date | None:
        """The first date whose closing has a consequence here, None if no day's end brings anything."""
        return None

    def record(self, event: EventT) -> None:
        self.evolve(event)
        self.version += 1
        self.journal.append((self, self.version, event, self.subject))

    def evolve(self, event: EventT) -> None:
        """Remember one event; assigns only, so that history replays the same under tomorrow's rules."""
        raise NotImplementedError

    def replay(self, history: Iterable[tuple[EventT, datetime]]) -> Self:
        """Remember stored events, each with its business time."""
        for event, time in history:
            self.evolve(event)
            self.version += 1
            self.time = time
        self.indexed_due = self.due() if self.exists else None
        return self
