"""The panel now, and as it was: what had happened by then, and what was known by then."""

import json
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from pydantic_core import to_json

from adapters.panel import panel_now, panel_then
from tests.office import BASE, OPENING, SUB, Office, service
from tests.story import told

FAR = datetime.max.replace(tzinfo=OPENING.tzinfo) - timedelta(days=2)


def now(office: Office, subscription: str = SUB) -> Any:
    """The panel as JSON says it."""
    panel = panel_now(office.log, subscription)
    return panel and json.loads(to_json(asdict(panel)))


def then(
    office: Office, subscription: str = SUB, *, as_of: datetime | None = None, known_at: datetime | None = None
) -> Any:
    panel = panel_then(office.log, subscription, as_of, known_at)
    return panel and json.loads(to_json(asdict(panel)))


def usernames(office: Office, **when: datetime) -> list[str]:
    return [user["username"] for user in then(office, SUB, **when)["users"]]


@pytest.mark.parametrize("subscription", ["SUB-1", "SUB-2"])
def test_the_panel_of_any_moment_is_shown_to_the_letter_as_it_was(office: Office, subscription: str) -> None:
    pictures = [(chapter, office.now, now(office, subscription)) for chapter in told(office)]
    for chapter, moment, picture in pictures:
        assert then(office, subscription, as_of=moment) == picture, chapter
        assert then(office, subscription, known_at=moment) == picture, chapter
    assert then(office, subscription, as_of=FAR, known_at=FAR) == pictures[-1][2]


def test_before_it_started_there_was_no_panel(office: Office) -> None:
    office.start()
    assert panel_now(office.log, "SUB-2") is None
    assert then(office, as_of=OPENING - timedelta(seconds=1)) is None
    assert then(office, known_at=OPENING - timedelta(seconds=1)) is None


def test_the_panel_shows_what_is_stored_by_now_without_any_worker(office: Office) -> None:
    office.start()
    for _ in range(3):
        office.order_seats(1, extend=False)
        shown = now(office)
    assert shown["seats"]["seats_pending"] == 3


def test_T3_what_came_late_had_happened_before_it_was_known(office: Office) -> None:
    """A command of nine o'clock arrives at noon: at ten it had happened, and nobody knew."""
    office.start(service(BASE, "2026-06-30"), at=OPENING - timedelta(days=1))
    ten, noon = OPENING + timedelta(hours=1), OPENING + timedelta(hours=3)
    office.now = noon
    office.do("configure-user", username="annaverdi", at=OPENING)
    assert usernames(office, as_of=ten) == ["annaverdi"]
    assert usernames(office, as_of=ten, known_at=noon) == ["annaverdi"]
    assert usernames(office, as_of=ten, known_at=ten) == []
    assert usernames(office, known_at=ten) == []
    assert usernames(office, as_of=OPENING - timedelta(minutes=1)) == []


def test_a_moment_includes_what_happened_at_it_and_nothing_after(office: Office) -> None:
    pictures = [(office.now, None)]

    def one_step() -> None:
        pictures.append((office.now, now(office)))
        office.now += timedelta(minutes=7)

    office.start()
    one_step()
    for command, said in (("open-cart", {}), ("choose-seats", {"quantity": 2}), ("choose-seats", {"quantity": 3})):
        office.do(command, **said)
        one_step()
    number = str(office.do("place-order")["data"]["order_number"])
    one_step()
    for amount in ("10.00", None):
        office.pay(number, amount)
        office.drain(office.activation())
        one_step()
    office.do("configure-user", username="annaverdi")
    one_step()
    shown = [picture for _, picture in pictures]
    assert all(before != after for before, after in pairwise(shown))
    for (_, before), (moment, at_it) in pairwise(pictures):
        for when in ({"as_of": moment}, {"known_at": moment}, {"as_of": moment, "known_at": FAR}):
            assert then(office, SUB, **when) == at_it
        assert then(office, as_of=moment - timedelta.resolution) == before
        assert then(office, known_at=moment - timedelta.resolution) == before


def test_T1_seats_had_come_with_the_payment_and_were_known_when_somebody_had_added_them(office: Office) -> None:
    office.start()
    number = office.order_seats(3)
    office.now += timedelta(hours=1)
    office.pay(number)
    paid, office.now = office.now, office.now + timedelta(hours=2)
    office.drain(office.activation())
    assert then(office, as_of=paid)["seats"]["seats_purchased"] == 3
    assert then(office, as_of=paid, known_at=paid)["seats"]["seats_purchased"] == 0
    assert then(office, known_at=paid)["orders"][0]["status"] == "paid"
    assert then(office, known_at=office.now)["orders"][0]["status"] == "fulfilled"


def test_nothing_is_known_before_what_led_to_it_though_writers_clocks_differ(office: Office) -> None:
    """A writer whose clock is a minute ahead opens a cart, and one whose clock is right fills it."""
    office.start()
    ahead = office.another_clerk(clock=lambda: office.now + timedelta(minutes=1))
    office.do("open-cart", clerk=ahead)
    office.do("choose-seats", quantity=2)
    assert then(office, known_at=office.now)["cart"] is None
    assert then(office, known_at=office.now + timedelta(minutes=1)) == now(office)


def test_nobody_ever_had_a_panel_of_a_subscription_that_does_not_exist(office: Office) -> None:
    office.start()
    for when in ({}, {"as_of": OPENING}, {"known_at": OPENING}, {"as_of": FAR, "known_at": FAR}):
        assert then(office, "SUB-9", **when) is None


def test_looking_back_changes_no_view_and_needs_none(office: Office) -> None:
    office.start()
    assert then(office, as_of=FAR)["seats"]["seats_available"] == 1
    assert office.ask("SELECT count(*) FROM panel.seats") == [(0,)]


def test_orders_placed_in_the_same_second_stand_in_one_order(office: Office) -> None:
    office.start()
    other = office.another_clerk()
    for clerk in (office.clerk, other, office.another_clerk(), office.clerk):
        office.do("open-cart", clerk=clerk)
        office.do("choose-seats", quantity=1, clerk=clerk)
        office.do("switch-alignment", extend=False, clerk=clerk)
        office.do("place-order", clerk=clerk)
    assert then(office, as_of=FAR) == now(office)


def test_users_are_shown_in_alphabetical_order(office: Office) -> None:
    office.start(service(BASE, "2026-06-30"), service("fe-utente", "2026-06-30", 9))
    for username in ("zenobia01", "Annaverdi", "annaverdi", "anna.verdi", "01234567"):
        office.do("configure-user", username=username)
    assert then(office, as_of=FAR) == now(office)


# Facts that were corrected

DAYS = ("2026-03-02", "2026-03-03", "2026-03-04", "2026-03-05", "2026-03-06", "2026-03-31")


def corrected_payment(office: Office, registered_on: str, truly: str) -> datetime:
    """Three seats, registered as paid on one day and on the 20th corrected to another; gives the moment before that."""
    office.start()
    number = office.order_seats(3)
    office.on(registered_on).pay(number, reference="PAY")
    office.drain(office.activation())
    before = office.on("2026-03-20").now - timedelta(seconds=1)
    office.do("correct-payment", reference="PAY", registered_on=truly, value_date=truly)
    return before


def by_day(office: Office, known_at: datetime | None) -> list[tuple[int, str | None]]:
    """At the end of each of the days: the seats on the panel, and since when."""
    shown = []
    for day in DAYS:
        panel = then(office, as_of=datetime.fromisoformat(f"{day}T23:59:59+01:00"), known_at=known_at)
        seats = [line for line in panel["services"] if line["order_number"]]
        assert panel["seats"]["seats_purchased"] == sum(line["quantity"] for line in seats)
        assert panel["seats"]["seats_pending"] == (0 if seats else 3)
        assert panel["orders"][0]["status"] == ("fulfilled" if seats else "awaiting_payment")
        shown.append((len(seats), seats[0]["active_from"] if seats else None))
    return shown


def since(day: str) -> list[tuple[int, str | None]]:
    """Seats from this one of the days on."""
    return [(1, day) if shown >= day else (0, None) for shown in DAYS]


@pytest.mark.parametrize(
    ("registered_on", "truly", "expiry"),
    [("2026-03-05", "2026-03-03", "2027-03-05"), ("2026-03-03", "2026-03-05", "2027-03-05")],
)
def test_T1_a_corrected_payment_shows_what_was_known_before_and_what_is_known_since(
    office: Office, registered_on: str, truly: str, expiry: str
) -> None:
    before = corrected_payment(office, registered_on, truly)
    assert by_day(office, before) == since(registered_on)
    assert by_day(office, office.now) == since(truly)
    assert by_day(office, None) == since(truly)
    assert then(office, as_of=office.now) == then(office, known_at=office.now) == now(office)
    assert now(office)["seats"]["next_expiry"] == expiry
    assert str(office.row("payments", reference="PAY")["value_date"]) == truly


def test_T1_of_several_corrections_the_last_that_was_known_counts(office: Office) -> None:
    corrected_payment(office, "2026-03-05", "2026-03-03")
    first = office.now
    office.on("2026-03-21").do("correct-payment", reference="PAY", registered_on="2026-03-06")
    assert by_day(office, first) == since("2026-03-03")
    assert by_day(office, office.now) == since("2026-03-06")
    office.on("2026-03-22").do("correct-payment", reference="PAY", registered_on="2026-03-05")
    assert by_day(office, None) == since("2026-03-05")


def test_T1_a_correction_to_the_day_of_the_order_comes_after_the_order(office: Office) -> None:
    """The order was placed in the evening, and its payment was registered on a morning."""
    office.now = OPENING + timedelta(hours=10)
    corrected_payment(office, "2026-03-05", "2026-03-02")
    assert by_day(office, None) == since("2026-03-02")
    assert then(office, as_of=OPENING + timedelta(hours=9)) is None


def test_T1_where_seats_were_not_there_yet_nothing_had_happened_to_them(office: Office) -> None:
    """On the 4th another order extends the seats that truly came on the 5th."""
    office.start()
    number = office.order_seats(3)
    office.on("2026-03-03").pay(number, reference="PAY")
    office.drain(office.activation())
    office.on("2026-03-04").pay(office.order_seats(1))
    office.drain(office.activation())
    office.on("2026-03-20").do("correct-payment", reference="PAY", registered_on="2026-03-05")
    panel = then(office, as_of=datetime.fromisoformat("2026-03-04T20:00:00+01:00"))
    assert [(line["service_id"], line["expires_on"]) for line in panel["services"]] == [
        ("S1", "2027-03-04"),
        ("S3", "2027-03-04"),
    ]
    assert then(office, as_of=office.now) == now(office)


def test_T1_a_part_that_had_come_earlier_was_on_the_order_earlier(office: Office) -> None:
    office.start()
    number = office.order_seats(3)
    office.on("2026-03-05").pay(number, "20.00", reference="PAY")
    office.on("2026-03-20").do("correct-payment", reference="PAY", registered_on="2026-03-03")
    fourth = datetime.fromisoformat("2026-03-04T20:00:00+01:00")
    assert then(office, as_of=fourth)["orders"][0]["paid"] == "20.00"
    assert then(office, as_of=fourth, known_at=office.now - timedelta(days=1))["orders"][0]["paid"] == "0.00"
