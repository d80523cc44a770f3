"""A registered payment is corrected after the fact: by new events, and nothing that was given is taken back."""

from datetime import date

import pytest

from domain.order import OrderPaymentCorrected, OrderState
from domain.payment import DateCorrected, PaymentCorrected
from domain.pricing import Status
from domain.subscription_events import ExpiryCorrected, SeatsCorrected
from tests.domain.given import BASE, SEAT, SPACE, Answer, Story, service


def bought(story: Story, registered_on: str = "2026-03-05", *, extend: bool = True, on: str = "2026-03-02") -> str:
    """Three seats ordered on one day, and registered as paid by PAY on another."""
    number = story.order_seats(3, extend=extend, on=on)
    story.pay(number, on=registered_on, reference="PAY")
    story.fulfil(number)
    return number


def correct(story: Story, *, on: str = "2026-03-20", reference: str = "PAY", **dates: str) -> Answer:
    return story.do("correct-payment", reference=reference, on=on, **dates)


# The payment


def test_the_banks_date_is_corrected_and_moves_nothing(story: Story) -> None:
    bought(story)
    corrected = correct(story, value_date="2026-03-04")
    assert corrected.names == ["PaymentCorrected"]
    event = corrected.the(PaymentCorrected)
    assert event.value_date == DateCorrected(was=date(2026, 1, 1), becomes=date(2026, 3, 4))
    assert event.registered_on is None
    assert (event.reason, event.operator) == ("mistyped at the bank desk", "Olga")


def test_the_same_correction_again_is_accepted_and_changes_nothing(story: Story) -> None:
    bought(story)
    dates = {"value_date": "2026-03-04", "registered_on": "2026-03-04"}
    assert correct(story, **dates).names == ["PaymentCorrected", "OrderPaymentCorrected", "SeatsCorrected"]
    assert correct(story, **dates).events == []
    assert correct(story, registered_on="2026-03-04").events == []
    assert correct(story, value_date="2026-03-04").events == []


def test_what_is_already_as_it_says_needs_no_correction(story: Story) -> None:
    bought(story)
    assert correct(story, registered_on="2026-03-05", value_date="2026-01-01").events == []


def test_an_orphan_has_only_its_dates_corrected(story: Story) -> None:
    story.pay("thanks", "5.00", reference="PAY", on="2026-03-05")
    assert correct(story, registered_on="2026-02-01").names == ["PaymentCorrected"]
    assert story.payment("PAY").registered_on == date(2026, 2, 1)


def test_S3_of_an_orphan_the_match_counts_whatever_its_registration_is_corrected_to(story: Story) -> None:
    number = story.order_seats(3)
    story.pay("thanks", "64.39", reference="PAY", on="2026-03-04")
    story.do("match-payment", reference="PAY", order_number=number, on="2026-03-06")
    story.fulfil(number)
    assert correct(story, registered_on="2026-03-03").names == ["PaymentCorrected"]
    assert story.expiries() == ["2027-03-06", "2027-03-06"]


def test_a_payment_of_an_order_that_was_cancelled_has_only_its_dates_corrected(story: Story) -> None:
    number = story.order_seats(3)
    story.pay(number, "10.00", reference="PAY", on="2026-03-04")
    story.do("cancel-order", order_number=number)
    assert correct(story, registered_on="2026-03-03").names == ["PaymentCorrected"]


def test_O6_amounts_stay_what_they_are(story: Story) -> None:
    story.pay(story.order_seats(3), "70.00", reference="PAY", on="2026-03-05")
    story.fulfil("10000")
    before = story.money()
    correct(story, registered_on="2026-03-03")
    assert story.money() == before


@pytest.mark.parametrize("said", [{}, {"value_date": "3 March"}, {"registered_on": "2026-02-30"}, {"amount": "1.00"}])
def test_a_correction_names_a_date_and_no_amount(story: Story, said: dict[str, str]) -> None:
    bought(story)
    assert story.refused("correct-payment", reference="PAY", **said) == "data_invalid"


# The seats


def test_S3_money_that_had_come_later_makes_seats_and_what_they_extended_last_longer(story: Story) -> None:
    number = bought(story, "2026-03-03")
    corrected = correct(story, registered_on="2026-03-05")
    assert corrected.names == [
        "PaymentCorrected", "OrderPaymentCorrected", "SeatsCorrected", "ExpiryCorrected", "ExpiryCorrected",
    ]  # fmt: skip
    assert corrected.the(SeatsCorrected) == SeatsCorrected(
        order_number=number, service_id="S2", was=date(2026, 3, 3), active_from=date(2026, 3, 5)
    )
    assert corrected.all(ExpiryCorrected)[0] == ExpiryCorrected(
        order_number=number,
        service_id="S1",
        was=date(2027, 3, 3),
        expires_on=date(2027, 3, 5),
        status=Status.ACTIVE,
    )
    assert story.expiries() == ["2027-03-05", "2027-03-05"]
    assert story.order(number).paid_on == date(2026, 3, 5)


def test_S7_what_an_order_did_not_extend_does_not_follow_its_correction(story: Story) -> None:
    bought(story, "2026-03-03", extend=False)
    correct(story, registered_on="2026-03-05")
    assert story.expiries() == ["2026-06-30", "2027-03-05"]


def test_S6_money_that_had_come_earlier_leaves_every_expiry_as_it_was_given(story: Story) -> None:
    number = bought(story, "2026-03-05")
    corrected = correct(story, registered_on="2026-03-03")
    assert corrected.all(ExpiryCorrected) == []
    assert corrected.the(SeatsCorrected).active_from == date(2026, 3, 3)
    assert corrected.the(OrderPaymentCorrected).paid_on == date(2026, 3, 3)
    assert story.expiries() == ["2027-03-05", "2027-03-05"]
    assert story.order(number).state is OrderState.FULFILLED


def test_S6_corrected_there_and_back_the_expiry_stays_where_it_came_to(story: Story) -> None:
    bought(story, "2026-03-03")
    correct(story, registered_on="2026-03-10")
    correct(story, registered_on="2026-03-03")
    assert story.expiries() == ["2027-03-10", "2027-03-10"]


def test_S6_a_service_that_ends_later_anyway_keeps_its_expiry(blank: Story) -> None:
    blank.start(service(BASE, "2026-06-30"), service(SPACE, "2028-01-31"))
    bought(blank, "2026-03-03")
    correct(blank, registered_on="2026-03-05")
    assert blank.expiries() == ["2027-03-05", "2028-01-31", "2027-03-05"]


def test_S3_seats_that_truly_began_on_a_29_February_remember_it(blank: Story) -> None:
    blank.start(service(BASE, "2028-06-30"), on="2028-02-01")
    bought(blank, "2028-02-28", on="2028-02-20")
    correct(blank, on="2028-03-05", registered_on="2028-02-29")
    assert blank.expiries() == ["2029-02-28", "2029-02-28"]
    assert [held.leap_day for held in blank.subscription.services.values()] == [True, True]
    correct(blank, on="2028-03-06", registered_on="2028-02-28")
    assert blank.service("S2").leap_day


def test_O8_an_order_whose_money_had_come_after_its_last_payable_day_stays_fulfilled(story: Story) -> None:
    number = bought(story, "2026-03-05")
    correct(story, on="2026-04-20", registered_on="2026-04-10")
    order = story.order(number)
    assert order.paid_on is not None
    assert order.paid_on > order.placed.lapses_on
    assert order.state is OrderState.FULFILLED
    assert story.expiries() == ["2027-04-10", "2027-04-10"]


def test_S3_of_several_payments_the_last_to_have_come_counts(story: Story) -> None:
    number = story.order_seats(3)
    story.pay(number, "20.00", reference="FIRST", on="2026-03-03")
    story.pay(number, reference="PAY", on="2026-03-06")
    story.fulfil(number)
    correct(story, reference="FIRST", registered_on="2026-03-05")
    assert story.order(number).paid_on == date(2026, 3, 6)
    correct(story, registered_on="2026-03-03")
    assert story.order(number).paid_on == date(2026, 3, 5)
    correct(story, reference="FIRST", registered_on="2026-03-08")
    assert story.expiries() == ["2027-03-08", "2027-03-08"]


def test_a_part_of_an_order_that_is_not_paid_is_corrected_too(story: Story) -> None:
    number = story.order_seats(3)
    story.pay(number, "20.00", reference="PAY", on="2026-03-05")
    corrected = correct(story, registered_on="2026-03-03")
    assert corrected.names == ["PaymentCorrected", "OrderPaymentCorrected"]
    assert corrected.the(OrderPaymentCorrected).paid_on is None
    assert story.order(number).awaits_payment


def test_C6_a_renewal_is_not_moved_by_the_date_of_its_payment(story: Story) -> None:
    number = story.order_renewal(S1=1)
    story.pay(number, reference="PAY", on="2026-03-05")
    story.fulfil(number)
    assert correct(story, registered_on="2026-03-09").names == ["PaymentCorrected", "OrderPaymentCorrected"]
    assert story.expiries() == ["2027-06-30"]


def test_O10_seats_that_an_open_order_renews_are_not_moved_under_it(story: Story) -> None:
    bought(story, "2026-03-03")
    renewal = story.order_renewal(S1=1, S2=3, on="2026-03-10")
    later = {"reference": "PAY", "registered_on": "2026-03-05", "on": "2026-03-20"}
    assert story.refused("correct-payment", **later) == "service_in_open_order"
    # An order that has lapsed is open no more, though no closed day has said so yet (T2).
    corrected = correct(story, on="2026-05-01", registered_on="2026-03-05")
    assert corrected.names[:2] == ["OrderExpired", "ServicesReleased"]
    assert story.order(renewal).state is OrderState.EXPIRED


def test_what_has_ended_for_good_stays_ended(blank: Story) -> None:
    blank.start(service(BASE, "2026-06-30"), service(SEAT, "2026-06-30", 1))
    bought(blank, "2026-03-03", extend=False)
    blank.close("2027-07-01")
    corrected = correct(blank, on="2027-07-05", registered_on="2026-03-05")
    assert corrected.names == ["PaymentCorrected", "OrderPaymentCorrected", "SeatsCorrected"]
    assert blank.service("S3").status is Status.ENDED


def test_C4_what_will_not_be_renewed_is_not_brought_back_by_a_correction(story: Story) -> None:
    bought(story, "2026-03-03")
    renewal = story.order_renewal(S1=1, S2=0, on="2026-04-01")
    story.settle(renewal, on="2026-04-02")
    correct(story, on="2026-04-10", registered_on="2026-03-05")
    assert str(story.service("S2").expires_on) == "2027-03-05"
    assert story.service("S2").declined


def test_S8_a_longer_life_is_reminded_of_and_ends_in_its_own_time(story: Story) -> None:
    bought(story, "2026-03-03")
    story.close("2027-03-04")
    assert story.service("S2").status is Status.EXPIRED
    correct(story, on="2027-03-05", registered_on="2026-03-20")
    assert story.service("S2").status is Status.EXPIRING
    assert "ServiceExpired" in story.close("2027-03-20").names


def test_a_renewal_sold_until_a_later_day_stays_as_it_was_sold(story: Story) -> None:
    bought(story, "2026-03-03")
    story.settle(story.order_renewal(S1=1, S2=3, on="2026-03-04"), on="2026-03-05")
    correct(story, registered_on="2026-03-10")
    assert story.expiries() == ["2028-03-03", "2028-03-03"]
