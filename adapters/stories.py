"""The story of one subscription: all that happened to it and to its money, and what led to what."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from adapters.postgres.log import EventLog
from domain.kernel import Recorded
from domain.payment import Payment, PaymentEvent


@dataclass(frozen=True)
class Story:
    """Events in order of position, and by their ids the events that led to some of them from elsewhere."""

    events: Sequence[Recorded]
    elsewhere: Mapping[str, Recorded]
    """As the closing of a day, which concerns no subscription by itself."""

    @cached_property
    def by_id(self) -> Mapping[str, Recorded]:
        return {**{event.id: event for event in self.events}, **self.elsewhere}

    def cause(self, event: Recorded) -> Recorded | None:
        """The event that led to this one; None where a command from outside did."""
        envelope = event.envelope
        # A command's id is given by others, and could look like an event's.
        return None if envelope.causation_id == envelope.command_id else self.by_id.get(envelope.causation_id)

    @cached_property
    def caused(self) -> Mapping[str, Sequence[Recorded]]:
        """By an event's id, what it has led to in this story."""
        found: dict[str, list[Recorded]] = {}
        for event in self.events:
            if cause := self.cause(event):
                found.setdefault(cause.id, []).append(event)
        return found

    @property
    def roots(self) -> Sequence[Recorded]:
        """What nothing else in this story has led to, with the events from elsewhere before what they brought."""
        roots = [event for event in self.events if self.cause(event) is None]
        return sorted([*roots, *self.elsewhere.values()], key=lambda event: event.position)


def commands(events: Iterable[Recorded]) -> Iterator[Sequence[Recorded]]:
    """These events, those of one command together."""
    by_command: dict[str, list[Recorded]] = {}
    for event in events:
        by_command.setdefault(event.envelope.command_id, []).append(event)
    yield from by_command.values()


def story(log: EventLog, subject: str) -> Story | None:
    """The story of a subscription, or of an orphan payment by its reference; None if there is none."""
    concerned = log.of_subject(subject)
    if not concerned:
        return None
    payments = {event.originator_id for event in concerned if isinstance(event.event, PaymentEvent)}
    orphans = [event for event in log.of_streams(payments) if _was_orphan(event) and event.subject != subject]
    events = sorted([*concerned, *orphans], key=lambda event: event.position)
    envelopes = [event.envelope for event in events]
    causes = {envelope.causation_id for envelope in envelopes if envelope.causation_id != envelope.command_id}
    elsewhere = log.named(causes - {event.id for event in events})
    return Story(events, {event.id: event for event in elsewhere})


def _was_orphan(event: Recorded) -> bool:
    """Whether it concerned nobody but the payment itself."""
    return event.originator_id == f"{Payment.kind}/{event.subject}"
