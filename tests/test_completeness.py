"""Who, why and when on every event of a long story that commands and all workers have told together."""

from collections.abc import Mapping

import pytest

from domain.kernel import Recorded
from tests import story
from tests.office import SHOPFRONT, Office


@pytest.fixture
def told(office: Office) -> Mapping[str, Recorded]:
    """Every stored event by its id, as whoever tells a story reads it."""
    for _ in story.told(office):
        office.drain()
    positions = [recorded.id for recorded in office.log.page(0, 100_000)]
    return {recorded.id: recorded for recorded in office.log.named(positions)}


def test_every_event_says_who_why_and_when(office: Office, told: Mapping[str, Recorded]) -> None:
    decided = {id_ for (id_,) in office.ask("SELECT command_id FROM seatline.answers WHERE outcome = 'accepted'")}
    for id_, recorded in told.items():
        envelope = recorded.envelope
        worker, _, name = envelope.actor.partition("/")
        assert envelope.actor == "anna" or (worker == "seatline" and name in ("activation", "calendar")), id_
        assert envelope.command_id in decided, id_
        assert envelope.causation_id == envelope.command_id or envelope.causation_id in told, id_
        assert envelope.price_list == SHOPFRONT.prices.version, id_
        for time in (envelope.business_time, envelope.recorded_time):
            assert time.utcoffset() is not None, id_
        assert envelope.business_time <= envelope.recorded_time, id_


def test_every_chain_of_causes_ends_at_the_command_that_it_is_named_after(told: Mapping[str, Recorded]) -> None:
    lengths = set()
    for recorded in told.values():
        length, root = 1, recorded
        while (cause := root.envelope.causation_id) != root.envelope.command_id:
            assert told[cause].position < root.position, "nothing is caused by what comes later"
            length, root = length + 1, told[cause]
        assert root.envelope.actor == "anna", "only people begin something"
        assert {recorded.envelope.correlation_id, root.envelope.correlation_id} == {root.envelope.command_id}
        lengths.add(length)
    assert lengths == {1, 2}, "what a worker does because of an event is no beginning"


def test_whoever_acts_by_himself_says_because_of_what(told: Mapping[str, Recorded]) -> None:
    causes = {
        (recorded.envelope.actor, type(told[recorded.envelope.causation_id].event).__name__)
        for recorded in told.values()
        if recorded.envelope.causation_id in told
    }
    assert causes == {("seatline/activation", "OrderPaid"), ("seatline/calendar", "DayClosed")}
