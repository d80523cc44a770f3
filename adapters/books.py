"""Reading one aggregate at a time."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from adapters.postgres.log import EventLog
from domain.desk import replay
from domain.kernel import Aggregate, Recorded, event_id
from domain.order import Order
from domain.subscription import Subscription

AggregateT = TypeVar("AggregateT", bound=Aggregate[Any])


class StoredBooks:
    """Aggregates as the log has them now; one that has no events is empty."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def order(self, number: str) -> Order:
        return self._read(Order, number)

    def subscription(self, name: str) -> Subscription:
        return self._read(Subscription, name)

    def event(self, id_: str) -> Recorded:
        return self._log.event(id_)

    def decided_with(self, recorded: Recorded) -> Sequence[Recorded]:
        """All that the same command brought to the stream of this event, in order."""
        stream = self._log.of_streams([recorded.originator_id])
        return [event for event in stream if event.envelope.command_id == recorded.envelope.command_id]

    def placed_at(self, order: Order) -> datetime:
        return self._log.event(event_id(order.stream, 1)).envelope.business_time

    def _read(self, kind: type[AggregateT], name: str) -> AggregateT:
        stream = f"{kind.kind}/{name}"
        with self._log.session() as session:
            aggregate = replay(stream, session.histories([stream]).get(stream))
        assert isinstance(aggregate, kind)
        return aggregate
