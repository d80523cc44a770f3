"""Every way the domain says no is reached, reads well in two languages, and changes nothing."""

import re
from collections.abc import Callable, Iterator

import pytest

from domain import errors
from domain.errors import Refusal
from tests.domain.given import BASE, Story, chosen, midnight_after, service

ADAPTER_SAYS = {"command_id_reused"}
"""Ids are kept beside the events, so the store notices these (K1)."""


def nothing(story: Story) -> None:
    """A subscription and nothing else."""


def a_cart(story: Story) -> None:
    story.do("open-cart")


def a_cart_on_an_expired_base(story: Story) -> None:
    story.do("open-cart", on="2026-07-01")


def a_cart_on_an_ended_base(story: Story) -> None:
    story.do("open-cart", on="2026-12-01")


def a_cart_with_seats(story: Story) -> None:
    story.do("open-cart")
    story.do("choose-seats", quantity=3)


def a_user(story: Story) -> None:
    story.configure("user0001")


def an_orphan(story: Story) -> None:
    story.do("register-payment", order_number="?", amount="5.00", reference="P")


def an_order_and_an_orphan(story: Story) -> None:
    story.order_seats()
    an_orphan(story)


def a_cancelled_order(story: Story) -> None:
    story.do("cancel-order", order_number=story.order_seats())


def an_extension_and_a_renewal(story: Story) -> None:
    story.order_seats()
    story.do("open-cart")
    story.do("choose-renewal", services=chosen(S1=1), years=1)


def a_paid_order(story: Story) -> None:
    story.pay(story.order_seats(), reference="P", on="2026-03-05")


def a_fulfilled_order(story: Story) -> None:
    a_paid_order(story)
    story.fulfil("10000")


def a_user_on_every_seat(story: Story) -> None:
    story.buy_seats(1)
    story.configure("user0001", "user0002")
    story.do("open-cart")


WAYS: list[tuple[str, Callable[[Story], None], str, dict[str, object]]] = [
    ("type_unknown", nothing, "sell-everything", {}),
    ("data_invalid", nothing, "choose-seats", {"quantity": "three"}),
    ("time_in_future", nothing, "open-cart", {"on": "2026-03-03", "clock": midnight_after("2026-03-01")}),
    ("subscription_exists", nothing, "start-subscription", {"services": [service(BASE, "2026-06-30")]}),
    ("subscription_unknown", nothing, "delete-user", {"subscription_id": "SUB-9", "username": "user0001"}),
    (
        "sku_unknown",
        nothing,
        "start-subscription",
        {"subscription_id": "SUB-2", "services": [service("x", "2026-06-30")]},
    ),
    ("service_unknown", a_cart, "choose-renewal", {"services": chosen(S7=1), "years": 1}),
    (
        "service_ended",
        a_cart_on_an_ended_base,
        "choose-renewal",
        {"services": chosen(S1=1), "years": 1},
    ),
    ("base_service_expired", a_cart_on_an_expired_base, "choose-seats", {"quantity": 1}),
    ("no_open_cart", nothing, "choose-seats", {"quantity": 1}),
    ("cart_empty", a_cart, "place-order", {}),
    ("cart_holds_other", a_cart_with_seats, "choose-renewal", {"services": chosen(S1=1), "years": 1}),
    ("quantity_out_of_range", a_cart, "choose-seats", {"quantity": 0}),
    ("quote_changed", a_cart_with_seats, "place-order", {"quote_hash": "another"}),
    ("terms_not_accepted", a_cart_with_seats, "place-order", {"accepted_terms": None}),
    ("terms_outdated", a_cart_with_seats, "place-order", {"accepted_terms": "2025-01"}),
    ("method_not_available", a_cart_with_seats, "place-order", {"payment_method": "cash"}),
    ("service_in_open_order", an_extension_and_a_renewal, "place-order", {}),
    ("order_unknown", nothing, "cancel-order", {"order_number": "10000"}),
    ("order_not_open", a_cancelled_order, "cancel-order", {"order_number": "10000"}),
    ("payment_unknown", nothing, "refund-payment", {"reference": "P", "amount": "1.00"}),
    (
        "payment_reference_reused",
        an_orphan,
        "register-payment",
        {"order_number": "?", "amount": "6.00", "reference": "P"},
    ),
    ("payment_not_available", an_orphan, "refund-payment", {"reference": "P", "amount": "5.01"}),
    (
        "payment_not_allocated",
        an_order_and_an_orphan,
        "unmatch-payment",
        {"order_number": "10000", "reference": "P"},
    ),
    (
        "registered_in_future",
        an_orphan,
        "correct-payment",
        {"reference": "P", "registered_on": "2026-03-03"},
    ),
    (
        "registered_before_order",
        a_fulfilled_order,
        "correct-payment",
        {"reference": "P", "registered_on": "2026-03-01"},
    ),
    ("order_not_fulfilled", a_paid_order, "correct-payment", {"reference": "P", "registered_on": "2026-03-03"}),
    (
        "currency_not_accepted",
        nothing,
        "register-payment",
        {"order_number": "?", "amount": "6.00", "reference": "P", "currency": "USD"},
    ),
    ("username_invalid", nothing, "configure-user", {"username": "short"}),
    ("user_unknown", nothing, "delete-user", {"username": "user0001"}),
    ("read_permission_missing", nothing, "configure-user", {"username": "user0001", "permissions": ["send"]}),
    ("no_free_seat", a_user, "configure-user", {"username": "user0002"}),
    (
        "configured_users_in_the_way",
        a_user_on_every_seat,
        "choose-renewal",
        {"services": chosen(S1=1, S2=0), "years": 1},
    ),
    ("day_not_over", nothing, "close-day", {"date": "2026-03-02"}),
]


def _subclasses(of: type[Refusal]) -> Iterator[type[Refusal]]:
    for refusal in of.__subclasses__():
        yield refusal
        yield from _subclasses(refusal)


ALL = list(_subclasses(Refusal))


@pytest.mark.parametrize(("code", "given", "command", "data"), WAYS, ids=[way[0] for way in WAYS])
def test_K2_a_refusal_has_a_code_and_changes_nothing(
    story: Story, code: str, given: Callable[[Story], None], command: str, data: dict[str, object]
) -> None:
    given(story)
    events, due = len(story.log), dict(story.due)
    refusal = story.refusal(command, **data)
    assert refusal.code == code
    assert len(story.log) == events
    assert story.due == due
    # Asked again, it answers the same: nothing was kept that would change its mind.
    assert story.refusal(command, **data).message == refusal.message


def test_K2_every_refusal_of_the_domain_is_reached_above() -> None:
    assert {refusal.code for refusal in ALL} - ADAPTER_SAYS == {way[0] for way in WAYS}


def test_K2_every_code_is_one_refusal_s_and_is_written_like_the_others() -> None:
    codes = [refusal.code for refusal in ALL]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize("refusal", ALL, ids=lambda refusal: refusal.code)
def test_K2_both_languages_name_the_same_facts(refusal: type[Refusal]) -> None:
    facts = [set(re.findall(r"{(\w+)}", text)) for text in (refusal.it, refusal.en)]
    if refusal is errors.DataInvalid:
        facts = [{fact.removeprefix("it_").removeprefix("en_") for fact in named} for named in facts]
    assert facts[0] == facts[1]
    assert refusal.it != refusal.en
    assert all(text[-1] == "." and text[0].isupper() for text in (refusal.it, refusal.en))


def test_K2_what_a_refusal_says_of_the_input_is_not_interpreted(story: Story) -> None:
    story.do("open-cart")
    story.do("choose-seats", quantity=1)
    message = story.send("place-order", payment_method="{0.__class__}").refusal
    assert message is not None
    assert "{0.__class__}" in message.message["en"]


@pytest.mark.parametrize("written", ["Mario Rossi, via Roma 1", "mario@rossi.example", "Zoë"])
def test_K2_what_a_refusal_says_of_the_input_is_nobody_s_name_or_address(story: Story, written: str) -> None:
    """Answers are kept in plain, and nobody could say later whom they are about."""
    story.do("open-cart")
    story.do("choose-seats", quantity=1)
    for asked in (
        story.send("place-order", payment_method=written),
        story.send("cancel-order", order_number=written, reason="r"),
    ):
        assert asked.refusal is not None
        assert written not in str(asked.refusal.message)
        assert "…" in asked.refusal.message["it"]


def test_K2_a_refused_command_leaves_the_next_one_undisturbed(story: Story) -> None:
    story.do("open-cart")
    story.do("choose-seats", quantity=3)
    for refused in ({"accepted_terms": None}, {"payment_method": "cash"}, {"quote_hash": "x"}):
        story.refusal("place-order", **refused)
    assert story.do("place-order").names == ["CartCheckedOut", "OrderPlaced", "ServicesHeld"]
