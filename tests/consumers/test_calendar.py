"""What the end of a day brings to each stream that is due, after an outage too (T4)."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime

import pytest

from adapters.postgres import readers
from adapters.postgres.database import DatabaseAway
from domain.desk import replay
from domain.kernel import ROME
from domain.subscription_events import ExpiryReminderDue, ServiceExpired
from scripts.torments.wire import Wire
from tests.office import BASE, Office, an_office, service
from tests.story import told


def reminders(office: Office, sub: str = "SUB-1") -> list[int]:
    events = [recorded.event for recorded in office.log.of_subject(sub)]
    return [event.days_before for event in events if isinstance(event, ExpiryReminderDue)]


def expired(office: Office) -> Counter[str]:
    return Counter(
        recorded.subject for recorded in office.log.page(0, 10_000) if isinstance(recorded.event, ServiceExpired)
    )


def many(office: Office, count: int, expires_on: str = "2026-03-10") -> list[str]:
    subs = [f"SUB-{number:02}" for number in range(count)]
    for sub in subs:
        office.start(service(BASE, expires_on), subscription_id=sub)
    return subs


def close(office: Office, day: str) -> None:
    office.close_day(day)
    office.drain(office.calendar())


def test_S8_reminders_fall_due_90_60_30_and_7_days_before(office: Office) -> None:
    office.start(service(BASE, "2026-06-30"))
    for day in ("2026-03-31", "2026-04-01", "2026-04-30", "2026-05-30", "2026-05-31", "2026-06-22"):
        close(office, day)
    assert reminders(office) == [90, 60, 30, 7]


def test_T4_after_an_outage_only_the_nearest_reminder_is_sent(office: Office) -> None:
    office.start(service(BASE, "2026-06-30"))
    close(office, "2026-06-25")
    assert reminders(office) == [7]
    close(office, "2026-06-26")
    assert reminders(office) == [7]


def test_T4_after_an_outage_every_step_of_a_life_is_told_and_no_reminder_comes_too_late(office: Office) -> None:
    office.start(service(BASE, "2026-06-30"))
    close(office, "2026-12-31")
    assert office.facts()[2:] == ["ServiceExpired", "ServiceEnded"]


def test_O8_an_order_is_reminded_of_while_it_waits_and_lapses_on_its_last_day(office: Office) -> None:
    office.start(service(BASE, "2026-12-31"))
    waits, paid = (office.order_seats(1, extend=False) for _ in range(2))
    office.pay(waits, "1.00")
    office.pay(paid)
    for day in ("2026-03-23", "2026-03-24", "2026-03-25", "2026-04-01"):
        close(office, day)
    brought = [
        (recorded.originator_id, type(recorded.event).__name__, f"{recorded.envelope.business_time:%m-%d %H:%M}")
        for recorded in office.log.of_subject("SUB-1")
        if recorded.envelope.actor == "seatline/calendar" and recorded.originator_id.startswith("order/")
    ]
    assert brought == [
        (f"order/{waits}", "OrderReminderDue", "03-25 00:00"),
        (f"order/{waits}", "OrderExpired", "04-02 00:00"),
    ]


def test_T4_after_an_outage_an_order_that_has_lapsed_is_not_reminded_of(office: Office) -> None:
    office.start(service(BASE, "2026-12-31"))
    office.order_seats(1)
    close(office, "2026-04-20")
    assert "OrderReminderDue" not in office.facts()
    assert "OrderExpired" in office.facts()


def test_T4_a_day_closed_again_brings_nothing_again(office: Office) -> None:
    many(office, 3)
    close(office, "2026-03-10")
    head = office.log.head()
    for day in ("2026-03-10", "2026-03-05"):
        assert office.do("close-day", date=day)["events"] == []
        office.drain(office.calendar())
    assert office.log.head() == head


def test_T4_closing_answers_with_day_closed_alone(office: Office) -> None:
    many(office, 2)
    reply = office.close_day("2026-03-10")
    assert [event["type"] for event in reply["events"]] == ["seatline.calendar.day-closed.v1"]


@pytest.mark.parametrize("page", [1, 2, 3, 1000])
def test_T4_streams_are_brought_up_to_date_page_by_page(
    office: Office, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(readers, "PAGE", page)
    subs = many(office, 5)
    close(office, "2026-03-10")
    assert expired(office) == dict.fromkeys(subs, 1)


def test_a_calendar_worker_that_died_halfway_goes_on(
    office: Office, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "PAGE", 2)
    subs = many(office, 7)
    office.close_day("2026-03-10")
    with an_office(wire.url) as remote:
        remote.now = office.now
        worker = remote.calendar()
        while expired(office).total() < 6:
            done = expired(office).total()
            # The next page is stored, and the answer that says so is lost on the way.
            wire.lose_answer(to=b'"command_id":"close-day:2026-03-10:subscription/SUB-%02d"' % done)
            with pytest.raises(DatabaseAway):
                remote.drain(worker)
            assert expired(office).total() > done
        remote.drain(worker)
    assert expired(office) == dict.fromkeys(subs, 1)
    office.check_log()


def test_two_calendar_workers_at_once_bring_each_stream_its_events_once(office: Office) -> None:
    subs = many(office, 20)
    office.close_day("2026-03-10")
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(office.drain, (office.calendar(), office.calendar())))
    assert expired(office) == dict.fromkeys(subs, 1)
    office.check_log()


@pytest.mark.parametrize(
    ("day", "midnight"),
    [
        ("2026-03-28", datetime(2026, 3, 29, tzinfo=ROME)),
        ("2026-03-29", datetime(2026, 3, 30, tzinfo=ROME)),
        ("2026-10-24", datetime(2026, 10, 25, tzinfo=ROME)),
        ("2026-12-31", datetime(2027, 1, 1, tzinfo=ROME)),
    ],
)
def test_T1_consequences_happen_at_the_midnight_in_rome_with_which_the_day_ended(
    office: Office, day: str, midnight: datetime
) -> None:
    office.start(service(BASE, day))
    closing = office.close_day(day)
    office.drain(office.calendar())
    [told] = [recorded for recorded in office.log.of_subject("SUB-1") if isinstance(recorded.event, ServiceExpired)]
    assert told.envelope.business_time == midnight
    assert told.envelope.command_id == f"close-day:{day}:subscription/SUB-1"
    assert told.envelope.causation_id == closing["events"][0]["id"]
    assert told.envelope.correlation_id == closing["command_id"]


def test_a_stream_that_was_due_before_it_existed_is_taken_by_the_next_closing(office: Office) -> None:
    close(office, "2026-03-10")
    office.start(service(BASE, "2026-03-05"))
    assert expired(office) == {}
    close(office, "2026-03-11")
    assert office.row("services", service_id="S1")["status"] == "expired"


def test_the_index_of_due_dates_says_what_the_streams_say(office: Office) -> None:
    for chapter in told(office):
        indexed: dict[str, date] = dict(office.ask("SELECT stream, due_on FROM seatline.due"))
        streams = [stream for (stream,) in office.ask("SELECT DISTINCT originator_id FROM seatline.stored_events")]
        with office.log.session() as session:
            histories = session.histories(streams)
        due = {stream: replay(stream, history).due() for stream, history in histories.items()}
        assert indexed == {stream: on for stream, on in due.items() if on}, chapter
