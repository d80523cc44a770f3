"""The cart: two ways in, seats or a renewal, and users who can't be removed from it."""

import hashlib
import json

import msgspec
import pytest

from domain.cart import CartAbandoned, CartCheckedOut, CartOpened, RenewalChosen, SeatsChosen
from domain.errors import ConfiguredUsersInTheWay, QuantityOutOfRange, QuoteChanged
from domain.pricing import quote_hash
from domain.shop import QuoteGiven
from domain.subscription_events import RenewalDeclined, ServiceReduced, ServiceRenewed
from tests.domain.given import BASE, SEAT, SPACE, Story, chosen, price_list, service

# C1


@pytest.mark.parametrize("entry_point", ["panel", "customer_area"])
def test_C1_there_are_two_ways_in_and_the_way_is_recorded(story: Story, entry_point: str) -> None:
    assert story.do("open-cart", entry_point=entry_point).the(CartOpened).entry_point == entry_point


def test_C1_there_is_no_third_way_in(story: Story) -> None:
    assert story.refused("open-cart", entry_point="phone") == "data_invalid"


def test_C1_opening_an_open_cart_returns_it_without_events(story: Story) -> None:
    story.do("open-cart", entry_point="panel")
    story.do("choose-seats", quantity=3)
    assert story.do("open-cart", entry_point="customer_area").events == []
    assert story.cart.quantity == 3


def test_C1_a_new_cart_is_empty_whatever_the_last_one_held(story: Story) -> None:
    story.order_renewal(S1=1, years=2)
    story.do("open-cart")
    assert story.refused("place-order") == "cart_empty"
    assert story.do("choose-seats", quantity=1).quote.extend is True


def test_C1_each_subscription_has_a_cart_of_its_own(story: Story) -> None:
    story.start(subscription_id="SUB-2")
    story.do("open-cart")
    assert story.refused("choose-seats", subscription_id="SUB-2", quantity=1) == "no_open_cart"
    assert story.do("open-cart", subscription_id="SUB-2").names == ["CartOpened"]


def test_C1_there_is_no_cart_without_a_subscription(story: Story) -> None:
    assert story.refused("open-cart", subscription_id="SUB-9") == "subscription_unknown"


@pytest.mark.parametrize(
    ("command", "data"),
    [
        ("choose-seats", {"quantity": 1}),
        ("switch-alignment", {"extend": False}),
        ("choose-renewal", {"services": chosen(S1=1), "years": 1}),
        ("place-order", {}),
    ],
)
def test_C1_without_an_open_cart_nothing_can_be_chosen(story: Story, command: str, data: dict[str, object]) -> None:
    assert story.refused(command, **data) == "no_open_cart"
    story.order_seats()
    assert story.refused(command, **data) == "no_open_cart"


def test_C1_a_cart_left_alone_for_thirty_days_is_abandoned(story: Story) -> None:
    story.do("open-cart", on="2026-03-02")
    assert "CartAbandoned" not in story.close("2026-03-31").names
    abandoned = story.close("2026-04-01").the(CartAbandoned)
    assert str(abandoned.last_touched_on) == "2026-03-02"
    assert story.refused("choose-seats", quantity=1) == "no_open_cart"


def test_C1_every_choice_keeps_the_cart_for_another_thirty_days(story: Story) -> None:
    story.do("open-cart", on="2026-03-02")
    story.do("choose-seats", quantity=1, on="2026-04-01")
    story.do("switch-alignment", extend=False, on="2026-05-01")
    assert story.send("place-order", on="2026-05-31").code is None


def test_C1_what_changes_nothing_does_not_keep_the_cart(story: Story) -> None:
    story.do("open-cart", on="2026-03-02")
    story.do("open-cart", on="2026-04-01")
    story.refused("choose-seats", quantity=0, on="2026-04-01")
    assert story.close("2026-04-01").all(CartAbandoned)


def test_C1_opening_a_cart_that_was_left_alone_abandons_it_and_opens_another(story: Story) -> None:
    story.do("open-cart", on="2026-03-02")
    story.do("choose-seats", quantity=7)
    assert story.do("open-cart", on="2026-04-02").names == ["CartAbandoned", "CartOpened"]
    assert story.cart.quantity == 0


def test_C1_a_cart_s_lifetime_is_the_policy_under_which_it_was_opened(story: Story) -> None:
    story.do("open-cart", on="2026-03-02")
    story.reopen(price_list(cart_lifetime_days=2))
    assert story.send("choose-seats", quantity=1, on="2026-04-01").code is None


# C2


@pytest.mark.parametrize(("quantity", "possible"), [(1, True), (100, True), (0, False), (-1, False), (101, False)])
def test_C2_one_to_a_hundred_seats_can_be_chosen(story: Story, quantity: int, possible: bool) -> None:
    story.do("open-cart")
    assert story.send("choose-seats", quantity=quantity).code == (None if possible else "quantity_out_of_range")


def test_C2_the_refusal_says_what_is_possible(story: Story) -> None:
    story.reopen(price_list(max_seats_per_order=5))
    story.do("open-cart")
    refusal = story.refusal("choose-seats", quantity=6)
    assert isinstance(refusal, QuantityOutOfRange)
    assert refusal.facts == {"quantity": 6, "least": 1, "most": 5}


def test_C2_the_quantity_can_be_changed_until_the_order(story: Story) -> None:
    story.do("open-cart")
    story.do("choose-seats", quantity=3)
    assert story.do("choose-seats", quantity=2).the(SeatsChosen).quantity == 2
    assert story.order(story.do("place-order").order_number).placed.seats == 2


def test_C2_archive_space_is_carried_extended_and_renewed(blank: Story) -> None:
    blank.start(service(BASE, "2026-06-30"), service(SPACE, "2026-06-30", 4))
    blank.buy_seats(1)
    assert blank.expiries()[1] == "2027-03-02"
    blank.settle(blank.order_renewal(S2=4))
    assert blank.expiries()[1] == "2028-03-02"
    assert blank.service("S2").quantity == 4


# C3


def test_C3_extension_is_offered_and_on(story: Story) -> None:
    assert story.do("open-cart").the(CartOpened).extend is True
    quote = story.do("choose-seats", quantity=3).quote
    assert quote.extend is True
    assert [(line.kind, line.service_id) for line in quote.lines] == [("seats", None), ("extension", "S1")]


def test_C3_off_leaves_the_other_services_alone(story: Story) -> None:
    story.do("open-cart")
    story.do("choose-seats", quantity=3)
    quote = story.do("switch-alignment", extend=False).quote
    assert (quote.extend, str(quote.total)) == (False, "43.92")
    assert [line.kind for line in quote.lines] == ["seats"]


def test_C3_off_and_on_again_is_the_first_quote(story: Story) -> None:
    story.do("open-cart")
    first = story.do("choose-seats", quantity=3).quote
    story.do("switch-alignment", extend=False)
    assert story.do("switch-alignment", extend=True).quote == first


def test_C3_switching_to_what_is_switched_already_brings_no_event_but_the_quote(story: Story) -> None:
    story.do("open-cart")
    quote = story.do("choose-seats", quantity=3).quote
    again = story.do("switch-alignment", extend=True)
    assert again.events == []
    assert again.quote == quote


def test_C3_it_can_be_switched_before_anything_is_chosen(story: Story) -> None:
    story.do("open-cart")
    switched = story.do("switch-alignment", extend=False)
    assert (switched.names, switched.data) == (["AlignmentSwitched"], None)
    assert story.do("choose-seats", quantity=1).quote.extend is False


def test_C3_on_a_base_service_that_has_expired_no_seats_are_sold(story: Story) -> None:
    story.close("2026-06-30")
    story.do("open-cart", on="2026-07-01")
    for command, data in (("choose-seats", {"quantity": 1}), ("choose-seats", {"quantity": 2})):
        assert story.refused(command, **data) == "base_service_expired"
    story.settle(story.order_renewal(S1=1))
    story.do("open-cart")
    assert story.send("choose-seats", quantity=1).code is None


def test_C3_a_cart_that_was_filled_before_sells_none_either(story: Story) -> None:
    story.do("open-cart", on="2026-06-20")
    story.do("choose-seats", quantity=1)
    assert story.refused("switch-alignment", extend=False, on="2026-07-01") == "base_service_expired"
    assert story.refused("place-order", on="2026-07-01") == "base_service_expired"


def test_C3_only_services_that_are_active_are_extended(blank: Story) -> None:
    blank.start(service(BASE, "2026-06-30"), service(SPACE, "2026-03-01"), service(SPACE, "2026-03-02"))
    blank.do("open-cart", on="2026-03-02")
    quote = blank.do("choose-seats", quantity=1).quote
    assert [line.service_id for line in quote.lines] == [None, "S1", "S3"]


# C4


@pytest.fixture
def team(story: Story) -> Story:
    """A base with one user, three seats in S2, and all four users configured; all end on 2027-03-02."""
    story.buy_seats(3)
    story.configure("user0001", "user0002", "user0003", "user0004")
    story.do("open-cart")
    return story


def test_C4_configured_users_cannot_be_removed_from_the_cart(team: Story) -> None:
    assert team.refused("choose-renewal", services=chosen(S1=1, S2=2), years=1) == "configured_users_in_the_way"
    team.do("delete-user", username="user0002")
    assert team.send("choose-renewal", services=chosen(S1=1, S2=2), years=1).code is None


def test_C4_the_refusal_names_how_many_and_which(team: Story) -> None:
    refusal = team.refusal("choose-renewal", services=chosen(S1=1, S2=1), years=1)
    assert isinstance(refusal, ConfiguredUsersInTheWay)
    usernames = "user0001, user0002, user0003, user0004"
    assert refusal.facts == {"configured": 4, "left": 2, "usernames": usernames}
    assert usernames in refusal.message["it"]


def test_C4_users_configured_after_the_choice_are_in_the_way_of_the_order(story: Story) -> None:
    story.buy_seats(3)
    story.do("open-cart")
    story.do("choose-renewal", services=chosen(S1=1, S2=1), years=1)
    story.configure("user0001", "user0002", "user0003")
    assert story.refused("switch-alignment", extend=False) == "configured_users_in_the_way"
    assert story.refused("place-order") == "configured_users_in_the_way"


def test_C4_quantity_zero_means_not_renewed(team: Story) -> None:
    for username in ("user0002", "user0003", "user0004"):
        team.do("delete-user", username=username)
    team.do("choose-renewal", services=chosen(S1=1, S2=0), years=1)
    fulfilled = team.settle(team.do("place-order").order_number)
    assert fulfilled.the(RenewalDeclined).service_id == "S2"
    assert team.expiries() == ["2028-03-02", "2027-03-02"]


def test_C4_not_renewing_the_seats_is_refused_while_users_are_on_them(team: Story) -> None:
    assert team.refused("choose-renewal", services=chosen(S1=1, S2=0), years=1) == "configured_users_in_the_way"


def test_C4_not_renewing_the_base_takes_its_included_users_away(team: Story) -> None:
    assert team.refused("choose-renewal", services=chosen(S1=0, S2=3), years=1) == "configured_users_in_the_way"
    team.do("delete-user", username="user0001")
    team.do("choose-renewal", services=chosen(S1=0, S2=3), years=1)
    order = team.do("place-order").order_number
    assert team.refused("configure-user", username="user0001") == "no_free_seat"
    team.settle(order)
    assert team.refused("configure-user", username="user0001") == "no_free_seat"


def test_C4_a_service_that_is_not_listed_is_not_removed(team: Story) -> None:
    assert team.send("choose-renewal", services=chosen(S1=1), years=1).code is None
    team.settle(team.do("place-order").order_number)
    assert (team.service("S2").quantity, team.service("S2").declined) == (3, False)


def test_C4_a_reduction_takes_effect_after_the_paid_term(story: Story) -> None:
    story.buy_seats(3, on="2026-03-02")
    renewed = story.settle(story.order_renewal(S1=1, S2=1, on="2026-12-01"))
    assert [(event.service_id, event.quantity) for event in renewed.all(ServiceRenewed)] == [("S1", 1), ("S2", 1)]
    assert story.service("S2").quantity == 3
    assert story.close_stream("subscription/SUB-1", "2027-03-01").all(ServiceReduced) == []
    reduced = story.close("2027-03-02").the(ServiceReduced)
    assert (reduced.service_id, reduced.was, reduced.quantity) == ("S2", 3, 1)


def test_C4_a_reduction_paid_after_the_term_takes_effect_at_once(story: Story) -> None:
    story.buy_seats(3, extend=False, on="2026-03-02")
    story.settle(story.order_renewal(S1=1, years=2))
    story.close("2027-03-02")
    order = story.order_renewal(S2=1, on="2027-03-20")
    assert story.settle(order).names == ["ServiceRenewed", "ServiceReduced", "OrderFulfilled"]
    assert (story.service("S2").quantity, story.expiries()[1]) == (1, "2028-03-02")


def test_C4_reductions_of_one_term_after_another_take_effect_one_after_another(story: Story) -> None:
    story.buy_seats(5, on="2026-03-02")
    story.settle(story.order_renewal(S1=1, S2=3, on="2026-10-01"))
    story.settle(story.order_renewal(S1=1, S2=1, on="2026-11-01"))
    quantities = [story.service("S2").quantity]
    for day in ("2027-03-01", "2027-03-02", "2028-03-01", "2028-03-02"):
        story.close(day)
        quantities.append(story.service("S2").quantity)
    assert quantities == [5, 5, 3, 3, 1]


def test_C4_after_an_outage_every_reduction_that_is_due_takes_effect(story: Story) -> None:
    story.buy_seats(5, on="2026-03-02")
    story.settle(story.order_renewal(S1=1, S2=3, on="2026-10-01"))
    story.settle(story.order_renewal(S1=1, S2=1, on="2026-11-01"))
    assert [event.quantity for event in story.close("2028-03-02").all(ServiceReduced)] == [3, 1]


def test_C4_from_its_placement_on_configuring_counts_only_the_seats_that_remain(story: Story) -> None:
    story.buy_seats(3)
    story.configure("user0001")
    order = story.order_renewal(S1=1, S2=1)
    story.configure("user0002")
    assert story.refused("configure-user", username="user0003") == "no_free_seat"
    story.settle(order)
    assert story.refused("configure-user", username="user0003") == "no_free_seat"


def test_C4_a_reduction_that_is_cancelled_frees_its_seats_again(story: Story) -> None:
    story.buy_seats(3)
    order = story.order_renewal(S1=1, S2=0)
    story.configure("user0001")
    assert story.refused("configure-user", username="user0002") == "no_free_seat"
    story.do("cancel-order", order_number=order)
    story.configure("user0002")


def test_C4_what_two_orders_take_away_is_counted_together(story: Story) -> None:
    story.buy_seats(2, extend=False)
    story.buy_seats(2, extend=False)
    story.configure("user0001", "user0002", "user0003", "user0004")
    story.order_renewal(S2=1)
    story.do("open-cart")
    assert story.refused("choose-renewal", services=chosen(S3=1), years=1) == "configured_users_in_the_way"


def test_C4_a_reduction_refunds_nothing(story: Story) -> None:
    story.buy_seats(3)
    story.settle(story.order_renewal(S1=1, S2=1))
    story.close("2027-03-02")
    assert story.money().refundable == 0


def test_C4_expired_seats_that_the_renewal_leaves_out_keep_nobody(story: Story) -> None:
    story.buy_seats(3, extend=False, on="2026-03-02")
    story.settle(story.order_renewal(S1=1, years=2))
    story.buy_seats(2, extend=False, on="2026-09-01")
    story.configure("user0001", "user0002", "user0003", "user0004")
    story.close("2027-03-02")
    # S2 has expired: of the active ones only one included user and one seat would be left for four.
    story.do("open-cart", on="2027-03-10")
    assert story.refused("choose-renewal", services=chosen(S3=1), years=1) == "configured_users_in_the_way"
    assert story.refused("choose-renewal", services=chosen(S2=0, S3=2), years=1) == "configured_users_in_the_way"
    assert story.send("choose-renewal", services=chosen(S2=3, S3=1), years=1).code is None


def test_C4_where_seats_are_short_already_a_renewal_that_takes_none_away_is_possible(story: Story) -> None:
    story.buy_seats(3, extend=False, on="2026-03-02")
    story.settle(story.order_renewal(S1=1, years=2))
    story.configure("user0001", "user0002", "user0003", "user0004")
    story.close("2027-12-31")
    # The seats have ended under three of the users; the base can be renewed all the same.
    story.settle(story.order_renewal(S1=1, on="2028-01-10"))
    assert story.expiries()[0] == "2029-06-30"


@pytest.mark.parametrize("quantity", [4, -1])
def test_C4_a_renewal_adds_no_seats_and_takes_no_fewer_than_none(story: Story, quantity: int) -> None:
    story.buy_seats(3)
    story.do("open-cart")
    refusal = story.refusal("choose-renewal", services=chosen(S2=quantity), years=1)
    assert isinstance(refusal, QuantityOutOfRange)
    assert refusal.facts == {"quantity": quantity, "least": 0, "most": 3}


def test_C4_seats_given_up_can_only_be_bought_again(story: Story) -> None:
    story.buy_seats(3)
    story.settle(story.order_renewal(S1=1, S2=1))
    story.do("open-cart")
    assert story.refused("choose-renewal", services=chosen(S2=2), years=1) == "quantity_out_of_range"


def test_C4_seats_that_were_not_to_be_renewed_can_be_renewed_after_all(story: Story) -> None:
    story.buy_seats(3)
    story.settle(story.order_renewal(S1=1, S2=0))
    story.configure("user0001")
    assert story.refused("configure-user", username="user0002") == "no_free_seat"
    story.settle(story.order_renewal(S2=2))
    story.configure("user0002", "user0003")
    assert story.refused("configure-user", username="user0004") == "no_free_seat"
    assert story.expiries() == ["2028-03-02", "2028-03-02"]


def test_C4_seats_that_were_not_to_be_renewed_and_are_extended_stay(story: Story) -> None:
    story.buy_seats(3)
    story.settle(story.order_renewal(S1=1, S2=0, on="2026-04-01"))
    story.buy_seats(1, on="2026-05-01")
    assert story.expiries() == ["2028-03-02", "2027-05-01", "2027-05-01"]
    story.configure("user0001", "user0002", "user0003", "user0004", "user0005")


# C5


def test_C5_the_quote_is_frozen_into_the_checkout_with_every_factor(story: Story) -> None:
    story.do("open-cart")
    story.do("choose-seats", quantity=3)
    quote = story.do("place-order").the(CartCheckedOut).quote
    assert json.loads(msgspec.json.encode(quote)) == {
        "hash": quote.hash,
        "net": "52.78",
        "vat": "11.61",
        "total": "64.39",
        "currency": "EUR",
        "expires_on": "2027-03-02",
        "extend": True,
        "price_list": "2026-01",
        "proration": "daily",
        "vat_rate": "22.00",
        "rounding": "half_up",
        "lines": [
            {
                "kind": "seats",
                "sku": SEAT,
                "quantity": 3,
                "unit_price": "12.00",
                "from": "2026-03-02",
                "to": "2027-03-02",
                "fraction": "1",
                "net": "36.00",
            },
            {
                "kind": "extension",
                "service_id": "S1",
                "sku": BASE,
                "quantity": 1,
                "unit_price": "25.00",
                "from": "2026-06-30",
                "to": "2027-03-02",
                "fraction": "245/365",
                "net": "16.78",
            },
        ],
    }


def test_C5_the_preview_equals_the_charge(story: Story) -> None:
    story.do("open-cart")
    preview = story.do("choose-seats", quantity=3).quote
    placed = story.do("place-order", quote_hash=preview.hash)
    assert placed.quote == preview == story.order(placed.order_number).placed.quote


def test_C5_another_hash_is_quote_changed_with_the_new_quote_in_the_answer(story: Story) -> None:
    story.do("open-cart", on="2026-03-02")
    seen = story.do("choose-seats", quantity=3).quote
    # A day later the seats end a day later, and so does the extension.
    refusal = story.refusal("place-order", quote_hash=seen.hash, on="2026-03-03")
    assert isinstance(refusal, QuoteChanged)
    assert isinstance(refusal.data, QuoteGiven)
    assert refusal.data.quote.lines[1].fraction == "246/365"
    assert f"{refusal.data.quote.total}" in refusal.message["it"]
    assert story.send("place-order", quote_hash=refusal.data.quote.hash).code is None


@pytest.mark.parametrize("other", ["", "0" * 64, "something else"])
def test_C5_any_other_string_is_quote_changed(story: Story, other: str) -> None:
    story.do("open-cart")
    quote = story.do("choose-seats", quantity=3).quote
    assert story.refused("place-order", quote_hash=other) == "quote_changed"
    assert story.refused("place-order", quote_hash=quote.hash.upper()) == "quote_changed"


def test_C5_without_a_hash_the_current_quote_holds(story: Story) -> None:
    story.do("open-cart", on="2026-03-02")
    story.do("choose-seats", quantity=3)
    assert story.do("place-order", on="2026-03-03").quote.lines[1].fraction == "246/365"


def test_C5_the_hash_is_over_the_quote_without_it_and_without_a_clock_time(story: Story) -> None:
    story.do("open-cart")
    quote = story.do("choose-seats", quantity=3).quote
    assert quote.hash == quote_hash(quote) == quote_hash(msgspec.structs.replace(quote, hash="f" * 64))
    assert quote_hash(msgspec.structs.replace(quote, extend=False)) != quote.hash
    assert story.do("switch-alignment", extend=True, on="2026-03-02").quote.hash == quote.hash


def test_C5_anybody_can_recompute_the_hash_from_the_answer(story: Story) -> None:
    story.do("open-cart")
    data = story.do("choose-seats", quantity=3).data
    assert isinstance(data, QuoteGiven)
    quote = json.loads(msgspec.json.encode(data))["quote"]
    told = quote.pop("hash")
    written = json.dumps(quote, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert told == hashlib.sha256(written.encode()).hexdigest()


def test_C5_a_changed_price_list_is_a_changed_quote(story: Story) -> None:
    story.do("open-cart")
    seen = story.do("choose-seats", quantity=3).quote
    story.reopen(price_list(version="2026-02"))
    assert story.refused("place-order", quote_hash=seen.hash) == "quote_changed"


# C6


@pytest.fixture
def mixed(blank: Story) -> Story:
    """Services that end one after another: S1 base 2026-06-30, S2 space 2026-09-30, S3 seats 2027-01-31."""
    blank.start(service(BASE, "2026-06-30"), service(SPACE, "2026-09-30", 2), service(SEAT, "2027-01-31", 3))
    return blank


def test_C6_any_choice_of_services_can_be_renewed_in_one_order(mixed: Story) -> None:
    mixed.settle(mixed.order_renewal(S1=1, S3=3))
    assert mixed.expiries() == ["2027-06-30", "2026-09-30", "2028-01-31"]


@pytest.mark.parametrize("years", [1, 2, 10])
def test_C6_a_renewal_is_for_one_to_ten_years_each_to_its_own_expiry(mixed: Story, years: int) -> None:
    order = mixed.order_renewal(S1=1, S2=2, S3=3, years=years)
    quote = mixed.order(order).placed.quote
    assert [line.fraction for line in quote.lines] == [str(years)] * 3
    assert quote.net == years * (25 + 2 * 10 + 3 * 12)
    mixed.settle(order)
    assert mixed.expiries() == [f"{2026 + years}-06-30", f"{2026 + years}-09-30", f"{2027 + years}-01-31"]
    assert str(quote.expires_on) == f"{2027 + years}-01-31"


@pytest.mark.parametrize("years", [0, 11, -1])
def test_C6_no_renewal_is_for_less_or_more(mixed: Story, years: int) -> None:
    mixed.do("open-cart")
    refusal = mixed.refusal("choose-renewal", services=chosen(S1=1), years=years)
    assert (refusal.code, refusal.facts["field"]) == ("data_invalid", "years")


def test_C6_aligned_all_go_to_the_earliest_expiry_and_the_years_the_others_pro_rata(mixed: Story) -> None:
    order = mixed.order_renewal(S1=1, S2=2, S3=3, aligned=True)
    quote = mixed.order(order).placed.quote
    assert [(line.kind, line.service_id, line.fraction, str(line.net)) for line in quote.lines] == [
        ("renewal", "S1", "1", "25.00"),
        ("renewal", "S2", "273/365", "14.96"),
        ("renewal", "S3", "150/365", "14.79"),
    ]
    mixed.settle(order)
    assert mixed.expiries() == ["2027-06-30"] * 3


def test_C6_aligned_a_service_that_ends_later_is_not_shortened_and_costs_nothing(blank: Story) -> None:
    blank.start(service(BASE, "2026-06-30"), service(SPACE, "2029-12-31"))
    order = blank.order_renewal(S1=1, S2=1, aligned=True)
    assert [line.service_id for line in blank.order(order).placed.quote.lines] == ["S1"]
    assert blank.settle(order).names == ["ServiceRenewed", "OrderFulfilled"]
    assert blank.expiries() == ["2027-06-30", "2029-12-31"]


def test_C6_aligned_what_is_not_renewed_sets_no_expiry(mixed: Story) -> None:
    mixed.settle(mixed.order_renewal(S2=2, S3=0, aligned=True))
    assert mixed.expiries() == ["2026-06-30", "2027-09-30", "2027-01-31"]


def test_C6_an_expired_service_is_renewed_from_its_old_expiry(mixed: Story) -> None:
    mixed.close("2026-07-31")
    order = mixed.order_renewal(S1=1, on="2026-08-10")
    line = mixed.order(order).placed.quote.lines[0]
    assert (str(line.start), str(line.end), line.fraction) == ("2026-06-30", "2027-06-30", "1")


def test_C6_the_payment_date_does_not_move_a_renewal(mixed: Story) -> None:
    mixed.settle(mixed.order_renewal(S1=1, on="2026-06-20"), on="2026-07-15")
    assert mixed.expiries()[0] == "2027-06-30"


def test_C6_after_the_end_there_is_nothing_to_renew(mixed: Story) -> None:
    mixed.do("open-cart", on="2026-09-28")
    assert mixed.send("choose-renewal", services=chosen(S1=1, S2=2), years=1).code is None
    assert mixed.refused("place-order", on="2026-09-29") == "service_ended"
    assert mixed.refused("choose-renewal", services=chosen(S2=2, S1=0), years=1) == "service_ended"


def test_C6_a_service_must_be_part_of_the_subscription(mixed: Story) -> None:
    mixed.do("open-cart")
    assert mixed.refused("choose-renewal", services=chosen(S9=1), years=1) == "service_unknown"


def test_C6_a_renewal_of_nothing_is_an_empty_cart(mixed: Story) -> None:
    mixed.do("open-cart")
    assert mixed.refused("choose-renewal", services=chosen(S1=0, S3=0), years=1) == "cart_empty"


def test_C6_each_service_may_be_chosen_once(mixed: Story) -> None:
    mixed.do("open-cart")
    assert mixed.refused("choose-renewal", services=chosen(S1=1) * 2, years=1) == "data_invalid"


def test_C6_a_choice_replaces_the_one_before(mixed: Story) -> None:
    mixed.do("open-cart")
    mixed.do("choose-renewal", services=chosen(S1=1), years=1)
    again = mixed.do("choose-renewal", services=chosen(S2=1), years=2).the(RenewalChosen)
    assert [(choice.service_id, choice.quantity) for choice in again.services] == [("S2", 1)]
    mixed.settle(mixed.do("place-order").order_number)
    assert mixed.expiries()[:2] == ["2026-06-30", "2028-09-30"]


# C7


def test_C7_a_cart_with_seats_takes_no_renewal(story: Story) -> None:
    story.do("open-cart")
    story.do("choose-seats", quantity=1)
    assert story.refused("choose-renewal", services=chosen(S1=1), years=1) == "cart_holds_other"


def test_C7_a_cart_with_a_renewal_takes_no_seats(story: Story) -> None:
    story.do("open-cart")
    story.do("choose-renewal", services=chosen(S1=1), years=1)
    assert story.refused("choose-seats", quantity=1) == "cart_holds_other"


def test_C7_an_empty_cart_cannot_be_ordered(story: Story) -> None:
    story.do("open-cart")
    assert story.refused("place-order") == "cart_empty"
