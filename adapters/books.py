"""Reading one aggregate at a time, through the library's event store."""

from typing import Any, TypeVar

from eventsourcing.persistence import EventStore

from adapters.postgres.log import EventLog
from adapters.postgres.mapper import EventMapper
from domain.kernel import Aggregate, Recorded
from domain.order import Order
from domain.subscription import Subscription

AggregateT = TypeVar("AggregateT", bound=Aggregate[Any])


class StoredBooks:
    """Aggregates as the log has them now; one that has no events is empty."""

    def __init__(self, log: EventLog) -> None:
        self._events: EventStore[str] = EventStore(EventMapper(), log)

    def order(self, number: str) -> Order:
        return self._read(Order(number))

    def subscription(self, name: str) -> Subscription:
        return self._read(Subscription(name))

    def _read(self, empty: AggregateT) -> AggregateT:
        stored = (event for event in self._events.get(empty.stream) if isinstance(event, Recorded))
        return empty.replay((recorded.event, recorded.envelope.business_time) for recorded in stored)
