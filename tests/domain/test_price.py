"""What a cart and an order cost: rounded once, frozen, charged for the time between the old expiry and the new."""

from decimal import Decimal
from typing import Any

import pytest

from domain.order import OrderPaid
from domain.pricing import PriceList, QuoteLine
from domain.subscription_events import ExpiryAligned, SeatsAdded
from tests.domain.given import BASE, SEAT, SPACE, Story, price_list, service


def priced(**prices: str) -> list[dict[str, Any]]:
    """The items of the default price list at other prices: `priced(base="10.01")`."""
    return [
        item.model_dump() | {"unit_price": prices.get(item.kind.value, item.unit_price)} for item in price_list().items
    ]


def lines(story: Story, order: str) -> list[QuoteLine]:
    return list(story.order(order).placed.quote.lines)


# P1


def test_P1_the_worked_example_costs_64_39(story: Story) -> None:
    quote = story.order(story.order_seats(3)).placed.quote
    assert [str(line.net) for line in quote.lines] == ["36.00", "16.78"]
    assert (str(quote.net), str(quote.vat), str(quote.total)) == ("52.78", "11.61", "64.39")


def test_P1_a_line_s_net_is_rounded_once_and_vat_once_on_their_sum() -> None:
    story = Story(price_list(items=priced(base="0.11", space="0.11", seat="0.00"), proration="monthly"))
    story.start(service(BASE, "2026-09-02"), service(SPACE, "2026-09-02"))
    quote = story.order(story.order_seats(1)).placed.quote
    # Half a year is 0.055 each, and VAT on the sum of 0.12 is 0.0264; on each line it would be 0.01.
    assert [str(line.net) for line in quote.lines] == ["0.00", "0.06", "0.06"]
    assert (str(quote.net), str(quote.vat), str(quote.total)) == ("0.12", "0.03", "0.15")


def test_P1_a_line_of_several_is_not_the_sum_of_rounded_ones() -> None:
    story = Story(price_list(items=priced(space="0.11"), proration="monthly"))
    story.start(service(BASE, "2027-03-02"), service(SPACE, "2026-09-02", 3))
    assert str(lines(story, story.order_seats(1))[1].net) == "0.17"


def test_P1_half_a_cent_of_vat_is_rounded_up() -> None:
    story = Story(price_list(items=priced(seat="0.25"), vat_rate="22"))
    story.start(service(BASE, "2030-01-01"))
    quote = story.order(story.order_seats(1)).placed.quote
    assert (str(quote.net), str(quote.vat), str(quote.total)) == ("0.25", "0.06", "0.31")


# P2


@pytest.mark.parametrize(
    ("rule", "fraction", "net"),
    [
        ("daily", "245/365", "16.78"),
        ("monthly", "9/12", "18.75"),
        ("monthly_daily", "8/12+2/360", "16.81"),
        ("thirty_360", "242/360", "16.81"),
    ],
)
def test_P2_the_proration_rule_is_a_policy(rule: str, fraction: str, net: str) -> None:
    story = Story(price_list(proration=rule))
    story.start()
    order = story.order_seats(3)
    extension = lines(story, order)[1]
    assert (extension.fraction, str(extension.net)) == (fraction, net)
    assert story.order(order).placed.quote.proration == rule


def test_P2_an_extension_s_anchor_is_the_current_expiry_with_29_february_remembered(blank: Story) -> None:
    blank.start(service(BASE, "2028-02-29"), on="2027-01-10")
    blank.settle(blank.order_renewal(S1=1))
    assert blank.expiries() == ["2029-02-28"]
    order = blank.order_seats(1, on="2028-06-01")
    # From 2029-02-28, standing for the 29th, to 2029-06-01: days of the year that ends on 2030-02-28.
    assert lines(blank, order)[1].fraction == "93/365"


def test_P2_the_denominator_is_the_whole_anniversary_year(blank: Story) -> None:
    blank.start(service(BASE, "2027-06-30"), on="2027-01-10")
    # The anniversary year from 2027-06-30 to 2028-06-30 has the 29 February, whichever days of it are paid.
    assert lines(blank, blank.order_seats(1, on="2027-01-10"))[1].fraction == "194/366"


# P3


def test_P3_an_extension_is_charged_to_the_order_date_and_a_year(story: Story) -> None:
    extension = lines(story, story.order_seats(3, on="2026-03-09"))[1]
    assert (str(extension.start), str(extension.end), extension.fraction) == ("2026-06-30", "2027-03-09", "252/365")


def test_P3_each_service_is_charged_from_its_own_expiry_with_its_quantity(blank: Story) -> None:
    blank.start(service(BASE, "2026-06-30"), service(SPACE, "2026-12-31", 4), service(SEAT, "2027-03-01", 2))
    charged = lines(blank, blank.order_seats(1))
    assert [(line.service_id, line.quantity, line.fraction, str(line.net)) for line in charged] == [
        (None, 1, "1", "12.00"),
        ("S1", 1, "245/365", "16.78"),
        ("S2", 4, "61/365", "6.68"),
        ("S3", 2, "1/366", "0.07"),
    ]


def test_P3_a_service_that_is_to_be_reduced_is_charged_with_what_is_left_of_it(story: Story) -> None:
    story.buy_seats(3)
    story.settle(story.order_renewal(S1=1, S2=1))
    order = story.order_seats(1, on="2027-06-01")
    assert [(line.service_id, line.quantity) for line in lines(story, order)][1:] == [("S1", 1), ("S2", 1)]


# P4


def test_P4_the_price_accepted_is_the_price_the_payment_moves_only_dates(story: Story) -> None:
    order = story.order_seats(3, on="2026-03-02")
    fulfilled = story.settle(order, on="2026-04-01")
    assert story.order(order).paid == Decimal("64.39")
    assert str(fulfilled.the(SeatsAdded).expires_on) == "2027-04-01"
    assert str(fulfilled.the(ExpiryAligned).expires_on) == "2027-04-01"


def test_P4_services_with_nothing_to_pay_move_free(blank: Story) -> None:
    # S2 ends after the expiry that was quoted, 2027-03-02, but before the one that the payment brings.
    blank.start(service(BASE, "2026-06-30"), service(SPACE, "2027-03-10"))
    order = blank.order_seats(1, on="2026-03-02")
    assert [line.service_id for line in lines(blank, order)] == [None, "S1"]
    fulfilled = blank.settle(order, on="2026-03-20")
    assert [(event.service_id, str(event.expires_on)) for event in fulfilled.all(ExpiryAligned)] == [
        ("S1", "2027-03-20"),
        ("S2", "2027-03-20"),
    ]


def test_P4_services_that_end_even_later_are_never_shortened(blank: Story) -> None:
    blank.start(service(BASE, "2026-06-30"), service(SPACE, "2027-12-31"))
    blank.settle(blank.order_seats(1, on="2026-03-02"), on="2026-03-20")
    assert blank.expiries() == ["2027-03-20", "2027-12-31", "2027-03-20"]


def test_P4_services_that_came_after_the_placement_do_not_move(story: Story) -> None:
    first = story.order_seats(1, on="2026-03-02")
    story.buy_seats(2, extend=False, on="2026-03-05")
    story.settle(first, on="2026-03-20")
    assert story.expiries() == ["2027-03-20", "2027-03-05", "2027-03-20"]


def test_P4_a_new_price_list_between_order_and_payment_changes_nothing(story: Story) -> None:
    order = story.order_seats(3)
    story.reopen(price_list(version="2026-02", items=priced(base="99.00", seat="99.00"), proration="monthly"))
    assert story.pay(order, "64.39").the(OrderPaid).quote.price_list == "2026-01"
    story.fulfil(order)
    assert story.order(order).state == "fulfilled"
    assert [line.unit_price for line in lines(story, order)] == [Decimal("12.00"), Decimal("25.00")]


def test_P4_replay_prices_nothing_even_without_a_price_list_that_knows_the_items(story: Story) -> None:
    order = story.order_seats(3)
    quote = story.order(order).placed.quote
    seats = priced()[1] | {"sku": "fe-posto"}
    story.reopen(price_list(version="2027-01", items=[priced()[0] | {"sku": "fe-base"}, seats]))
    assert story.order(order).placed.quote == quote
    assert story.settle(order).the(SeatsAdded).sku == SEAT


def test_P4_a_service_that_the_new_price_list_no_longer_has_cannot_be_extended(story: Story) -> None:
    story.reopen(price_list(version="2027-01", items=[priced()[0] | {"sku": "fe-base"}, priced()[1]]))
    story.do("open-cart")
    assert story.refused("choose-seats", quantity=1) == "sku_unknown"
    story.do("switch-alignment", extend=False)
    assert story.send("choose-seats", quantity=1).code is None


def test_P4_each_event_records_the_price_list_under_which_it_was_decided(story: Story) -> None:
    order = story.order_seats()
    story.reopen(price_list(version="2026-02"))
    story.settle(order)
    assert [recorded.envelope.price_list for recorded in story.log if recorded.originator_id == f"order/{order}"] == [
        "2026-01",
        "2026-02",
        "2026-02",
    ]


# P5


def test_P5_no_time_is_paid_twice_and_none_is_credited(blank: Story) -> None:
    blank.start(service(BASE, "2026-06-30"), service(SPACE, "2026-09-30"))
    paid: dict[str, list[tuple[str, str]]] = {"S1": [], "S2": [], "S3": [], "S4": []}
    orders = [
        blank.buy_seats(2, on="2026-03-02"),
        blank.buy_seats(1, on="2026-05-10"),
        renewal := blank.order_renewal(S1=1, S2=1, S3=1, S4=0, aligned=True, on="2026-06-01"),
    ]
    blank.settle(renewal)
    for order in orders:
        for line in lines(blank, order):
            assert line.net >= 0
            if line.service_id:
                paid[line.service_id].append((str(line.start), str(line.end)))
    assert paid == {
        "S1": [("2026-06-30", "2027-03-02"), ("2027-03-02", "2027-05-10"), ("2027-05-10", "2028-05-10")],
        "S2": [("2026-09-30", "2027-03-02"), ("2027-03-02", "2027-05-10"), ("2027-05-10", "2028-05-10")],
        "S3": [("2027-03-02", "2027-05-10"), ("2027-05-10", "2028-05-10")],
        "S4": [],
    }


# The price list itself


@pytest.mark.parametrize(
    "changes",
    [
        {"items": priced()[:1]},
        {"items": priced()[1:]},
        {"items": [*priced(), priced()[1]]},
        {"items": [*priced(), priced()[2]]},
        {"methods": [price_list().methods[0].model_dump()] * 2},
        {"order_reminder_days": [30]},
        {"order_reminder_days": [7, 0]},
        {"lifecycle": {"expiring_days": 0, "restricted_days": 90, "reminder_days": []}},
        {"surprise": 1},
    ],
)
def test_P2_a_price_list_that_cannot_be_worked_with_is_not_loaded(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        price_list(**changes)


def test_P2_a_price_list_is_read_back_as_it_was_written() -> None:
    assert PriceList.model_validate_json(price_list().model_dump_json()) == price_list()
