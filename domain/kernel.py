"""The kernel: what an event is, what surrounds it, and how an aggregate records and remembers."""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Generic, NamedTuple, Self, TypeVar, dataclass_transform
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

ROME = ZoneInfo("Europe/Rome")
"""Business dates are civil dates in Rome (T1)."""


Positive = Annotated[int, Meta(gt=0)]
NotNegative = Annotated[int, Meta(ge=0)]


def is_no_number(text: str) -> bool:
    return not (text.isascii() and text.isdigit())


Personal = Annotated[str, Meta(extra={"personal": lambda text: True})]
"""Says who somebody is, or is free text: stored only sealed, under a key that can be destroyed."""
AsTyped = Annotated[str, Meta(extra={"personal": is_no_number})]
"""Meant to be an order number: what is no number may say anything about anybody."""
PSEUDONYM = "pseudonym:"
"""How a text begins that stands for somebody whose name nobody may read, or can any more."""
ERASED = "erased"
"""Stands where something personal stood that nobody can read any more."""


class Checked(BaseModel):
    """What others write, a command or a price list: immutable, and asked field by field whether it may be."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# Says to mypy what holds at run time: a class below a frozen one is frozen.
@dataclass_transform(frozen_default=True)
class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """An immutable part of an event or a quote: made here, so it is checked only when it is read back."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            lambda given: msgspec.convert(given, cls),
            serialization=core_schema.plain_serializer_function_ser_schema(msgspec.to_builtins),
        )


class _WithTopic(msgspec.StructMeta):
    def __new__(
        mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], topic: str = "", **options: Any
    ) -> "_WithTopic":
        return super().__new__(mcls, name, bases, namespace | {"topic": topic}, **options)


class Event(Value, metaclass=_WithTopic):
    """A fact that happened, named in the past tense; its topic is permanent because stored history uses it."""

    topic: ClassVar[str]


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
        self.kept = 0
        """The version at which the store last kept what this remembers; 0 if never."""

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
