"""A paid order gives its subscription what was bought, once, however often it is asked to (S2, S9)."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from adapters.postgres.database import DatabaseAway
from adapters.postgres.readers import LogSource, activation_worker
from domain.order import OrderFulfilled, OrderPaid
from scripts.torments.wire import Wire
from tests.office import OPENING, Office, an_office


def paid(office: Office, *subscriptions: str) -> list[str]:
    """Orders of one seat each, paid and not yet fulfilled."""
    numbers = []
    for sub in subscriptions or ("SUB-1",):
        office.start(subscription_id=sub)
        numbers.append(office.order_seats(subscription_id=sub))
        office.pay(numbers[-1])
    return numbers


def fulfilments(office: Office) -> Counter[str]:
    events = [recorded.event for recorded in office.log.page(0, 10_000)]
    return Counter(event.order_number for event in events if isinstance(event, OrderFulfilled))


def test_S9_reading_all_events_again_fulfils_nothing_again(office: Office) -> None:
    [number] = paid(office)
    office.drain(office.activation())
    head = office.log.head()
    office.tell("UPDATE seatline.positions SET position = 0")
    office.drain(office.activation())
    assert (office.log.head(), fulfilments(office)) == (head, {number: 1})


def test_S9_two_workers_at_once_fulfil_once(office: Office) -> None:
    numbers = paid(office, *(f"SUB-{n}" for n in range(10)))
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(office.drain, (office.activation(), office.activation())))
    assert fulfilments(office) == dict.fromkeys(numbers, 1)
    office.check_log()


def test_S9_a_worker_that_died_before_it_noted_its_position_goes_on(office: Office, wire: Wire) -> None:
    numbers = paid(office, *(f"SUB-{n}" for n in range(3)))
    with an_office(wire.url) as remote:
        worker = remote.activation()
        wire.lose_question(with_=b"UPDATE seatline.positions")
        with pytest.raises(DatabaseAway):
            worker.step()
        assert fulfilments(office) == dict.fromkeys(numbers, 1)
        remote.drain(worker)
    assert fulfilments(office) == dict.fromkeys(numbers, 1)


def test_the_fulfilment_tells_its_cause_and_takes_its_time(office: Office) -> None:
    office.start()
    number = office.order_seats()
    office.now += timedelta(hours=2)
    office.pay(number, at=OPENING)
    office.now += timedelta(hours=5)
    office.drain(office.activation())
    events = office.log.of_subject("SUB-1")
    [cause] = [recorded for recorded in events if isinstance(recorded.event, OrderPaid)]
    [done] = [recorded for recorded in events if isinstance(recorded.event, OrderFulfilled)]
    assert done.envelope.causation_id == cause.id
    assert done.envelope.correlation_id == cause.envelope.command_id
    assert done.envelope.command_id == f"fulfil:order/{number}"
    assert done.envelope.actor == "seatline/activation"
    assert (done.envelope.business_time, done.envelope.recorded_time) == (OPENING, office.now)


def test_S3_an_orphans_seats_begin_when_it_is_matched(office: Office) -> None:
    office.start()
    number = office.order_seats()
    office.pay("typo", "35.11", reference="PAY")
    office.on("2026-03-09").do("match-payment", reference="PAY", order_number=number)
    office.drain()
    assert str(office.row("services", service_id="S2")["expires_on"]) == "2027-03-09"


def test_T1_an_order_paid_by_a_clock_that_is_ahead_is_fulfilled_by_one_that_is_not(office: Office) -> None:
    """A command may be five minutes ahead of the clock that decides it; what follows may meet another clock."""
    office.start()
    number = office.order_seats()
    office.pay(number, at=office.now + timedelta(minutes=4))
    slow = office.another_clerk(clock=lambda: office.now - timedelta(minutes=2))
    office.drain(activation_worker(LogSource(office.log, "activation"), slow))
    office.now += timedelta(minutes=10)
    office.drain(office.activation())
    assert fulfilments(office) == {number: 1}


def test_what_is_only_partly_paid_is_not_fulfilled(office: Office) -> None:
    office.start()
    number = office.order_seats()
    office.pay(number, "35.10")
    office.drain(office.activation())
    assert fulfilments(office) == {}
    office.pay(number, "0.01")
    office.drain(office.activation())
    assert fulfilments(office) == {number: 1}


def test_promise_8_every_paid_order_is_activated_once_however_the_work_is_cut(office: Office, wire: Wire) -> None:
    numbers = paid(office, *(f"SUB-{n}" for n in range(6)))
    packets = [b"seatline.answers", b',"events":[', b"UPDATE seatline.positions"]
    with an_office(wire.url) as remote:
        worker = remote.activation()
        for lose in (wire.lose_question, wire.lose_answer):
            for packet in packets:
                office.tell("UPDATE seatline.positions SET position = 0")
                lose(packet)
                try:
                    worker.step()
                except DatabaseAway:
                    continue
        remote.drain(worker)
    assert wire.lost >= 4
    assert fulfilments(office) == dict.fromkeys(numbers, 1)
