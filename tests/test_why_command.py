"""Why seats are, or are not, on the panel: in one sentence, with what would change it, and all that led there."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from adapters.reasons import is_nearly
from domain.kernel import ROME
from domain.subscription_events import SeatsAdded
from scripts.torments.provisioner import HANG_UP, Provisioning, a_provisioning_system
from tests.office import BASE, SUB, Office, service
from tests.test_command_line import Here, here

__all__ = ["here"]


@pytest.fixture
def shop(office: Office) -> Office:
    """A subscription of yesterday, for whether an order may still be paid depends on the day of the question.

    What an office does happens in the morning, before which nothing of today would be due.
    """
    return started(office, today() - timedelta(days=1))


def started(office: Office, on: date) -> Office:
    office.on(on.isoformat()).start(service(BASE, (on + timedelta(days=100)).isoformat()))
    return office


def today() -> date:
    return datetime.now(ROME).date()


def cases(here: Here, shop: Office, *arguments: str) -> list[dict[str, Any]]:
    """What `why` says once the views are as far as the log."""
    shop.drain(shop.projections())
    found: list[dict[str, Any]] = here("why", SUB, "--json", *arguments).json
    return found


def last(here: Here, shop: Office, *arguments: str) -> dict[str, Any]:
    return cases(here, shop, *arguments)[-1]


def steps(case: dict[str, Any]) -> list[str]:
    return [event["type"].removeprefix("seatline.").removesuffix(".v1").split(".")[1] for event in case["chain"]]


# On the panel


def test_seats_on_the_panel_are_told_from_the_cart_to_the_bank_line(here: Here, shop: Office) -> None:
    number = shop.order_seats(3)
    shop.pay("thank you", "20.00", reference="CRO-1")
    shop.do("match-payment", reference="CRO-1", order_number=number)
    shop.pay(number, reference="CRO-2")
    shop.drain(shop.activation())
    [case] = cases(here, shop, "--service", "S2")
    assert (case["service_id"], case["order_number"], case["on_panel"], case["code"]) == (
        "S2",
        number,
        True,
        "on_panel",
    )
    assert steps(case) == [
        "cart-opened", "seats-chosen", "cart-checked-out", "order-placed",
        "payment-registered", "payment-matched", "payment-allocated", "order-partly-paid",
        "payment-registered", "payment-allocated", "order-paid",
        "seats-added", "expiry-aligned", "order-fulfilled",
    ]  # fmt: skip
    told = here("why", SUB).out
    assert "S2 3 × fe-utente: on the panel? yes, until" in told
    assert "payment CRO-1 of 20.00 € registered for “thank you”" in told
    assert "S2 3 × fe-utente: sul pannello? sì, fino al" in here("why", SUB, "--language", "it").out


def test_only_the_last_of_each_choice_is_told(here: Here, shop: Office) -> None:
    shop.do("open-cart")
    for quantity in (5, 4, 3):
        shop.do("choose-seats", quantity=quantity)
    case = last(here, shop)
    assert (case["code"], steps(case)) == ("not_ordered", ["cart-opened", "seats-chosen"])
    assert "3 seats chosen" in case["chain"][1]["sentence"]


def test_a_cart_that_was_left_alone_is_told_before_a_day_is_closed(here: Here, office: Office) -> None:
    shop = started(office, today() - timedelta(days=31))
    shop.do("open-cart")
    assert last(here, shop)["code"] == "cart_left"


def test_a_view_that_lags_is_told_with_its_position(here: Here, shop: Office) -> None:
    number = shop.order_seats(1)
    shop.drain(shop.projections())
    views = shop.log.head()
    shop.pay(number)
    shop.drain(shop.activation())
    base, seats = here("why", SUB, "--json").json
    assert (base["code"], base["on_panel"]) == ("view_behind", True)
    assert (seats["code"], seats["on_panel"]) == ("view_behind", False)
    assert f"the views are at position {views}, the last fact at {shop.log.head()}" in seats["sentence"]
    assert last(here, shop)["code"] == "on_panel"


def test_a_view_that_could_not_go_on_is_told_with_the_way_out(here: Here, shop: Office) -> None:
    shop.pay(shop.order_seats(1))
    shop.drain(shop.activation(), shop.projections())
    [added] = [event for event in shop.log.of_subject(SUB) if isinstance(event.event, SeatsAdded)]
    shop.tell(
        "INSERT INTO seatline.parked (reader, home, subject, event_id, position, error)"
        " VALUES ('view:seats:1', %s, %s, %s, %s, 'KeyError in apply')",
        SUB,
        SUB,
        added.id,
        added.position,
    )
    base, seats = cases(here, shop)
    assert (base["code"], base["on_panel"]) == ("view_parked", True)
    assert (seats["code"], seats["on_panel"]) == ("view_parked", False)
    assert "`seatline rebuild VIEW --only SUB`" in seats["sentence"]


def test_a_payment_that_was_corrected_is_part_of_the_chain(here: Here, shop: Office) -> None:
    number = shop.order_seats(1, extend=False)
    shop.pay(number, reference="CRO-1")
    shop.drain(shop.activation())
    wrong = {"value_date": "2026-01-02", "reason": "typed wrongly", "operator": "Olga"}
    shop.do("correct-payment", reference="CRO-1", **wrong)
    told = [event["sentence"] for event in last(here, shop)["chain"]]
    assert "payment CRO-1 corrected by Olga: value date 2026-01-01 → 2026-01-02; typed wrongly" in told


def test_a_service_that_is_over_is_told_as_the_panel_shows_it(here: Here, office: Office) -> None:
    shop = started(office, date(2025, 3, 3))
    assert last(here, shop)["code"] == "day_not_closed"
    for day, code, on_panel in (("2025-06-20", "expired", True), ("2025-12-31", "ended", False)):
        shop.close_day(day)
        shop.drain(shop.calendar())
        case = last(here, shop)
        assert (case["code"], case["on_panel"]) == (code, on_panel)


# Not paid


def test_what_is_missing_is_told_with_until_when_and_how(here: Here, shop: Office) -> None:
    number = shop.order_seats(1, extend=False)
    until = today() + timedelta(days=29)
    case = last(here, shop)
    assert (case["order_number"], case["code"], case["on_panel"]) == (number, "not_paid", False)
    assert case["sentence"] == (
        f"no: 14.64 € of 14.64 € is missing, payable until {until} by bank transfer; registration takes 3 working days"
    )
    shop.pay(number, "4.00")
    case = last(here, shop, "--language", "it")
    assert case["code"] == "partly_paid"
    assert case["sentence"].startswith(f"no: mancano 10,64 € di 14,64 €, pagabili fino al {until} con bonifico")


def test_money_that_may_be_meant_for_an_order_is_offered_with_the_command(here: Here, shop: Office) -> None:
    number = shop.order_seats(1, extend=False)
    shop.pay("fattura 12", "14.64", reference="SAME-AMOUNT")
    shop.pay(f"{number[:-2]}{number[-1]}{number[-2]}", "3.00", reference="SWAPPED")
    shop.pay("nothing alike", "1.00", reference="ANOTHER")
    case = last(here, shop)
    assert [payment["reference"] for payment in case["money_at_hand"]] == ["SAME-AMOUNT", "SWAPPED"]
    assert f'match-payment {{"reference":"SAME-AMOUNT","order_number":"{number}"' in case["notes"][0]


@pytest.mark.parametrize(
    ("typed", "nearly"),
    [
        ("1000002", True),
        ("ord. n. 1000002 grazie", True),
        ("1000003", True),
        ("1000020", True),
        ("100002", True),
        ("10000002", True),
        ("2000001", False),
        ("1000", False),
        ("", False),
    ],
)
def test_one_slip_in_an_order_number_is_forgiven(typed: str, nearly: bool) -> None:
    assert is_nearly(typed, "1000002") is nearly


# Too late


def test_an_order_that_can_no_longer_be_paid_is_told_before_a_day_is_closed(here: Here, office: Office) -> None:
    shop = started(office, today() - timedelta(days=40))
    number = shop.order_seats(1, extend=False)
    assert last(here, shop)["code"] == "lapsed"
    shop.on(today().isoformat()).pay(number, "14.64", reference="LATE")
    case = last(here, shop)
    assert case["code"] == "lapsed"
    assert "nothing had come in" in case["sentence"]
    assert steps(case)[-2:] == ["payment-registered", "payment-refund-due"]
    shop.close_day((today() - timedelta(days=1)).isoformat())
    shop.drain(shop.calendar())
    assert last(here, shop)["code"] == "lapsed"


def test_a_cancelled_order_and_what_is_left_of_its_money(here: Here, shop: Office) -> None:
    number = shop.order_seats(1, extend=False)
    shop.pay(number, "10.00", reference="CRO-1")
    shop.do("cancel-order", order_number=number, reason="ordered twice")
    case = last(here, shop)
    assert (case["code"], case["sentence"]) == (
        "cancelled",
        "no: the order was cancelled (ordered twice); it takes a new order",
    )
    assert case["notes"] == [
        "10.00 € of CRO-1 is in no order: `refund-payment` gives it back, `match-payment` gives it to an open order"
    ]
    shop.do("refund-payment", reference="CRO-1", amount="10.00")
    assert last(here, shop)["notes"] == []


# Paid, and not active


@pytest.fixture
def provisioning() -> Iterator[Provisioning]:
    with a_provisioning_system() as provisioning:
        yield provisioning


def test_an_activation_is_told_from_waiting_to_done(here: Here, shop: Office, provisioning: Provisioning) -> None:
    number = shop.order_seats(1)
    shop.pay(number)
    paid_at = shop.log.head()
    case = last(here, shop)
    assert case["code"] == "activation_pending"
    assert f"its reader is at position 0, the order at {paid_at}" in case["sentence"]

    activate = {"SEATLINE_PROVISIONING_URL": provisioning.url}
    provisioning.answers = [404]
    assert here("run", "activation", "--drain", **activate).code == 0
    case = last(here, shop)
    assert case["code"] == "activation_failed"
    assert f"`seatline effects retry activate:{number}` tries again" in case["sentence"]
    assert [effect["id"] for effect in case["effects"]] == [f"activate:{number}"]

    here("effects", "retry", f"activate:{number}")
    provisioning.answers = [HANG_UP]
    assert here("run", "activation", "--drain", **activate).code == 0
    case = last(here, shop)
    assert case["code"] == "activation_in_doubt"
    assert "in doubt whether it happened" in case["sentence"]

    here("effects", "retry", f"activate:{number}")
    assert here("run", "activation", "--drain", **activate).code == 0
    case = last(here, shop)
    assert (case["service_id"], case["code"]) == ("S2", "on_panel")
    assert f"activate:{number}: done" in here("why", SUB).out


def test_a_paid_order_whose_service_had_ended_is_void(here: Here, office: Office) -> None:
    shop = started(office, date(2025, 3, 3))
    number = shop.on("2025-08-20").order_renewal(1, S1=1)
    shop.close_day("2025-09-15")
    shop.drain(shop.calendar())
    shop.pay(number)
    shop.drain(shop.activation())
    case = last(here, shop)
    assert (case["order_number"], case["code"]) == (number, "void")
    assert "`refund-payment` gives it back" in case["notes"][0]


# Unknown


def test_what_is_not_there_is_told_with_what_is(here: Here, shop: Office) -> None:
    done = here("why", "SUB-9")
    assert (done.code, done.complaint) == (1, "there is no subscription SUB-9")
    shop.pay("nobody's", "1.00", reference="CRO-1")
    assert here("why", "CRO-1").complaint == "there is no subscription CRO-1"
    done = here("why", SUB, "--service", "S9")
    assert (done.code, done.complaint) == (1, f"{SUB} has no service S9; it has S1")


def test_hostile_texts_and_erased_ones_are_shown_safely(here: Here, shop: Office) -> None:
    number = shop.order_seats(1, extend=False)
    shop.pay("[/red] :smile:", "14.64", reference="CRO-1")
    shop.drain(shop.projections())
    assert "[/red] :smile:" in here("why", SUB).out
    shop.do("cancel-order", order_number=number)
    shop.tell("DELETE FROM seatline.keys")
    shop.drain(shop.projections())
    told = here("why", SUB).out
    assert "the order was cancelled ([erased])" in told
    assert "pseudonym:" not in told
