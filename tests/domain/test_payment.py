"""Money that comes in: in part, too much, too late, for nobody, twice; and that none of it vanishes."""

from decimal import Decimal

import pytest

from domain.order import OrderPaid, OrderPartlyPaid
from domain.payment import PaymentAllocated, PaymentMatched, PaymentRefundDue, PaymentRefunded, PaymentSplit
from tests.domain.given import BASE, Money, Story, price_list, service

TOTAL = "64.39"


@pytest.fixture
def order(story: Story) -> str:
    """An order of three seats for 64.39, placed on 2026-03-02."""
    return story.order_seats(3)


def stands(story: Story, reference: str) -> tuple[str, str, str, str]:
    """Where a payment's money stands: allocated, refundable, unallocated, refunded."""
    payment = story.payment(reference)
    allocated = sum(payment.allocated.values(), Decimal())
    amounts = allocated, payment.refundable, payment.unallocated, payment.refunded
    assert sum(amounts) == payment.registered.amount
    return f"{amounts[0]:.2f}", f"{amounts[1]:.2f}", f"{amounts[2]:.2f}", f"{amounts[3]:.2f}"


# O6, enough, too little, too much


def test_O6_a_payment_in_full_pays_the_order(story: Story, order: str) -> None:
    assert story.pay(order, TOTAL, reference="P").names == ["PaymentRegistered", "PaymentAllocated", "OrderPaid"]
    assert stands(story, "P") == ("64.39", "0.00", "0.00", "0.00")


def test_O6_underpayment_never_activates(story: Story, order: str) -> None:
    partly = story.pay(order, "64.38").the(OrderPartlyPaid)
    assert (str(partly.amount), str(partly.paid)) == ("64.38", "64.38")
    assert story.fulfil(order).events == []
    assert story.order(order).state == "awaiting_payment"


def test_O6_payments_add_up(story: Story, order: str) -> None:
    story.pay(order, "20.00")
    story.pay(order, "44.38")
    assert str(story.pay(order, "0.01").the(OrderPaid).paid) == TOTAL


def test_O6_surplus_is_refundable(story: Story, order: str) -> None:
    paid = story.pay(order, "100.00", reference="P")
    assert paid.names == ["PaymentRegistered", "PaymentAllocated", "OrderPaid", "PaymentRefundDue"]
    assert paid.the(PaymentRefundDue).reason == "surplus"
    assert stands(story, "P") == (TOTAL, "35.61", "0.00", "0.00")


def test_O6_the_surplus_of_a_second_part_is_refundable(story: Story, order: str) -> None:
    story.pay(order, "64.00", reference="FIRST")
    story.pay(order, "1.00", reference="SECOND")
    assert stands(story, "SECOND") == ("0.39", "0.61", "0.00", "0.00")


def test_O6_a_payment_for_a_cancelled_order_is_late(story: Story, order: str) -> None:
    story.do("cancel-order", order_number=order)
    assert story.pay(order, TOTAL, reference="P").the(PaymentRefundDue).reason == "late"
    assert stands(story, "P") == ("0.00", TOTAL, "0.00", "0.00")


def test_O6_a_payment_for_an_expired_order_is_late(story: Story, order: str) -> None:
    story.close("2026-04-01")
    assert story.pay(order, TOTAL, on="2026-04-03", reference="P").the(PaymentRefundDue).reason == "late"
    assert stands(story, "P") == ("0.00", TOTAL, "0.00", "0.00")


# O6, orphans


@pytest.mark.parametrize("written", ["", "1000", "10 000", "ordine 10000", "’; drop", "9" * 140])
def test_O6_an_unknown_or_mistyped_order_number_makes_an_orphan_never_a_rejection(
    story: Story, order: str, written: str
) -> None:
    answer = story.do("register-payment", order_number=written, amount=TOTAL, reference="P")
    assert answer.names == ["PaymentRegistered"]
    assert answer.recorded[0].subject == "P"
    assert stands(story, "P") == ("0.00", "0.00", TOTAL, "0.00")
    assert story.order(order).state == "awaiting_payment"


def test_O6_an_operator_can_match_an_orphan(story: Story, order: str) -> None:
    story.do("register-payment", order_number="1OOOO", amount=TOTAL, reference="P")
    matched = story.do("match-payment", reference="P", order_number=order, operator="Olga", on="2026-03-05")
    assert matched.names == ["PaymentMatched", "PaymentAllocated", "OrderPaid"]
    assert matched.the(PaymentMatched).operator == "Olga"
    assert {recorded.subject for recorded in matched.recorded} == {"SUB-1"}
    assert stands(story, "P") == (TOTAL, "0.00", "0.00", "0.00")
    assert story.fulfil(order).names == ["SeatsAdded", "ExpiryAligned", "OrderFulfilled"]


def test_O6_what_a_matched_orphan_has_too_much_is_refundable(story: Story, order: str) -> None:
    story.do("register-payment", order_number="?", amount="70.00", reference="P")
    story.do("match-payment", reference="P", order_number=order)
    assert stands(story, "P") == (TOTAL, "5.61", "0.00", "0.00")


def test_O6_a_matched_orphan_may_be_too_little(story: Story, order: str) -> None:
    story.do("register-payment", order_number="?", amount="60.00", reference="P")
    assert story.do("match-payment", reference="P", order_number=order).all(OrderPartlyPaid)
    assert story.pay(order, "4.39").all(OrderPaid)


def test_O6_late_money_can_be_matched_to_another_order(story: Story, order: str) -> None:
    story.do("cancel-order", order_number=order)
    story.pay(order, TOTAL, reference="P")
    second = story.order_seats(3)
    assert story.do("match-payment", reference="P", order_number=second).names == [
        "PaymentMatched",
        "PaymentAllocated",
        "OrderPaid",
    ]
    assert stands(story, "P") == (TOTAL, "0.00", "0.00", "0.00")


def test_O6_a_surplus_can_be_matched_to_another_order(story: Story, order: str) -> None:
    story.pay(order, "100.00", reference="P")
    story.fulfil(order)
    second = story.order_seats(1, extend=False)
    story.do("match-payment", reference="P", order_number=second)
    allocated = story.payment("P").allocated
    assert {order: str(share) for order, share in allocated.items()} == {order: TOTAL, second: "14.64"}
    assert stands(story, "P") == ("79.03", "20.97", "0.00", "0.00")


@pytest.mark.parametrize(("command", "extra"), [("match-payment", {}), ("unmatch-payment", {})])
def test_O6_what_is_matched_must_exist(story: Story, order: str, command: str, extra: dict[str, object]) -> None:
    assert story.refused(command, reference="P", order_number=order, **extra) == "payment_unknown"
    story.do("register-payment", order_number="?", amount="1.00", reference="P")
    assert story.refused(command, reference="P", order_number="4711", **extra) == "order_unknown"


def test_O6_a_payment_without_money_at_hand_is_not_matched(story: Story, order: str) -> None:
    story.pay(order, "10.00", reference="P")
    refusal = story.refusal("match-payment", reference="P", order_number=order)
    assert refusal.code == "payment_not_available"
    assert "€0.00" in refusal.message["en"]


@pytest.mark.parametrize("end", ["paid", "cancelled", "lapsed"])
def test_O6_an_order_that_needs_no_money_is_not_matched(story: Story, order: str, end: str) -> None:
    story.do("register-payment", order_number="?", amount=TOTAL, reference="P")
    match end:
        case "paid":
            story.pay(order)
        case "cancelled":
            story.do("cancel-order", order_number=order)
    on = "2026-04-02" if end == "lapsed" else "2026-03-05"
    assert story.refused("match-payment", reference="P", order_number=order, on=on) == "order_not_open"
    assert stands(story, "P") == ("0.00", "0.00", TOTAL, "0.00")


# O6, unmatch


def test_O6_before_the_order_is_paid_a_payment_can_be_unmatched(story: Story, order: str) -> None:
    story.do("register-payment", order_number="?", amount="60.00", reference="P")
    story.do("match-payment", reference="P", order_number=order)
    unmatched = story.do("unmatch-payment", reference="P", order_number=order)
    assert unmatched.names == ["PaymentUnmatched", "OrderPaymentWithdrawn"]
    assert stands(story, "P") == ("0.00", "0.00", "60.00", "0.00")
    assert story.order(order).paid == 0
    assert story.order(order).payments == {}


def test_O6_a_payment_that_named_the_wrong_order_can_be_moved(story: Story, order: str) -> None:
    story.start(subscription_id="SUB-2")
    other = story.order_seats(3, sub="SUB-2")
    story.pay(order, "60.00", reference="P")
    story.do("unmatch-payment", reference="P", order_number=order)
    moved = story.do("match-payment", reference="P", order_number=other)
    assert {recorded.subject for recorded in moved.recorded} == {"SUB-2"}
    assert str(story.order(other).missing) == "4.39"
    assert str(story.order(order).missing) == TOTAL


@pytest.mark.parametrize("fulfilled", [False, True])
def test_O6_after_the_order_is_paid_nothing_is_unmatched(story: Story, order: str, fulfilled: bool) -> None:
    story.pay(order, reference="P")
    if fulfilled:
        story.fulfil(order)
    assert story.refused("unmatch-payment", reference="P", order_number=order) == "order_not_open"


def test_O6_only_what_the_order_has_can_be_unmatched(story: Story, order: str) -> None:
    story.do("register-payment", order_number="?", amount="60.00", reference="P")
    assert story.refused("unmatch-payment", reference="P", order_number=order) == "payment_not_allocated"
    story.pay(order, "1.00", reference="Q")
    story.do("unmatch-payment", reference="Q", order_number=order)
    assert story.refused("unmatch-payment", reference="Q", order_number=order) == "payment_not_allocated"


def test_O6_a_payment_matched_twice_to_one_order_is_unmatched_whole(story: Story, order: str) -> None:
    story.do("register-payment", order_number="?", amount="60.00", reference="P")
    story.do("split-payment", reference="P", parts=[{"order_number": order, "amount": "20.00"}])
    story.do("match-payment", reference="P", order_number=order)
    assert str(story.order(order).paid) == "60.00"
    story.do("unmatch-payment", reference="P", order_number=order)
    assert stands(story, "P") == ("0.00", "0.00", "60.00", "0.00")


# O6, split


def test_O6_an_operator_may_split_a_payment(story: Story, order: str) -> None:
    story.start(subscription_id="SUB-2")
    other = story.order_seats(3, sub="SUB-2")
    story.do("register-payment", order_number="two orders", amount="130.00", reference="P")
    parts = [{"order_number": order, "amount": TOTAL}, {"order_number": other, "amount": "60.00"}]
    split = story.do("split-payment", reference="P", parts=parts, operator="Olga")
    assert split.the(PaymentSplit).operator == "Olga"
    assert [str(event.unallocated) for event in split.all(PaymentAllocated)] == [TOTAL, "60.00"]
    assert story.order(order).state == "paid"
    assert str(story.order(other).missing) == "4.39"
    assert stands(story, "P") == ("124.39", "0.00", "5.61", "0.00")


def test_O6_each_event_of_a_split_concerns_the_subscription_that_it_is_about(story: Story, order: str) -> None:
    story.start(subscription_id="SUB-2")
    other = story.order_seats(3, sub="SUB-2")
    story.do("register-payment", order_number="two orders", amount="100.00", reference="P")
    parts = [{"order_number": order, "amount": "50.00"}, {"order_number": other, "amount": "50.00"}]
    split = story.do("split-payment", reference="P", parts=parts)
    assert [(type(recorded.event).__name__, recorded.subject) for recorded in split.recorded] == [
        ("PaymentSplit", "P"),
        ("PaymentAllocated", "SUB-1"),
        ("OrderPartlyPaid", "SUB-1"),
        ("PaymentAllocated", "SUB-2"),
        ("OrderPartlyPaid", "SUB-2"),
    ]
    cancelled = story.do("cancel-order", order_number=order)
    assert {recorded.subject for recorded in cancelled.recorded} == {"SUB-1"}
    unmatched = story.do("unmatch-payment", reference="P", order_number=other)
    assert {recorded.subject for recorded in unmatched.recorded} == {"SUB-2"}


def test_O6_what_a_part_has_too_much_is_refundable(story: Story, order: str) -> None:
    story.do("register-payment", order_number="?", amount="100.00", reference="P")
    split = story.do("split-payment", reference="P", parts=[{"order_number": order, "amount": "70.00"}])
    assert split.the(PaymentRefundDue).reason == "surplus"
    assert stands(story, "P") == (TOTAL, "5.61", "30.00", "0.00")


def test_O6_no_more_can_be_split_than_is_at_hand(story: Story, order: str) -> None:
    story.do("register-payment", order_number="?", amount="50.00", reference="P")
    story.do("refund-payment", reference="P", amount="10.00")
    refusal = story.refusal("split-payment", reference="P", parts=[{"order_number": order, "amount": "40.01"}])
    assert (refusal.code, refusal.facts["available"], refusal.facts["asked"]) == (
        "payment_not_available",
        "40.00",
        "40.01",
    )


def test_O6_a_split_is_for_open_orders_all_of_them(story: Story, order: str) -> None:
    story.do("register-payment", order_number="?", amount="50.00", reference="P")
    parts = [{"order_number": order, "amount": "10.00"}, {"order_number": "4711", "amount": "10.00"}]
    assert story.refused("split-payment", reference="P", parts=parts) == "order_unknown"
    assert story.refused("split-payment", reference="Q", parts=parts) == "payment_unknown"
    story.do("cancel-order", order_number=order)
    assert story.refused("split-payment", reference="P", parts=parts[:1]) == "order_not_open"


def test_O6_an_order_has_one_part_of_a_split(story: Story, order: str) -> None:
    story.do("register-payment", order_number="?", amount="50.00", reference="P")
    parts = [{"order_number": order, "amount": "10.00"}] * 2
    assert story.refused("split-payment", reference="P", parts=parts) == "data_invalid"


# O6, refund


def test_O6_an_operator_may_refund_what_is_refundable_in_parts(story: Story, order: str) -> None:
    story.pay(order, "100.00", reference="P")
    refunded = story.do("refund-payment", reference="P", amount="35.00", operator="Olga").the(PaymentRefunded)
    assert (refunded.operator, str(refunded.refundable), str(refunded.unallocated)) == ("Olga", "35.00", "0.00")
    story.do("refund-payment", reference="P", amount="0.61")
    assert story.refused("refund-payment", reference="P", amount="0.01") == "payment_not_available"
    assert stands(story, "P") == (TOTAL, "0.00", "0.00", "35.61")


def test_O6_an_operator_may_refund_an_orphan(story: Story) -> None:
    story.do("register-payment", order_number="?", amount="10.00", reference="P")
    story.do("refund-payment", reference="P", amount="10.00")
    assert stands(story, "P") == ("0.00", "0.00", "0.00", "10.00")


def test_O6_a_refund_takes_what_is_refundable_first(story: Story, order: str) -> None:
    story.do("register-payment", order_number="?", amount="100.00", reference="P")
    story.do("split-payment", reference="P", parts=[{"order_number": order, "amount": "70.00"}])
    refunded = story.do("refund-payment", reference="P", amount="6.00").the(PaymentRefunded)
    assert (str(refunded.refundable), str(refunded.unallocated)) == ("5.61", "0.39")
    assert stands(story, "P") == (TOTAL, "0.00", "29.61", "6.00")


def test_O6_what_an_order_has_is_not_refunded(story: Story, order: str) -> None:
    story.pay(order, reference="P")
    assert story.refused("refund-payment", reference="P", amount="0.01") == "payment_not_available"


def test_O6_a_refunded_payment_pays_no_order(story: Story, order: str) -> None:
    story.do("register-payment", order_number="?", amount=TOTAL, reference="P")
    story.do("refund-payment", reference="P", amount=TOTAL)
    assert story.refused("match-payment", reference="P", order_number=order) == "payment_not_available"


def test_O6_an_unknown_payment_is_not_refunded(story: Story) -> None:
    assert story.refused("refund-payment", reference="P", amount="1.00") == "payment_unknown"


# O6, nothing vanishes


def test_O6_received_is_allocated_refundable_unallocated_and_refunded(story: Story, order: str) -> None:
    story.pay(order, "100.00", reference="SURPLUS")
    story.fulfil(order)
    story.pay(order, "5.00", reference="SECOND")
    story.do("register-payment", order_number="?", amount="7.00", reference="ORPHAN")
    story.do("refund-payment", reference="SURPLUS", amount="10.00")
    story.do("register-payment", order_number=order, amount="9.00", reference="THIRD", method="postal_slip")
    money = story.money()
    assert money == Money(
        received=Decimal("121.00"),
        allocated=Decimal(TOTAL),
        refundable=Decimal("39.61"),
        unallocated=Decimal("7.00"),
        refunded=Decimal("10.00"),
    )
    assert money.received == sum(money[1:])


def test_O6_a_payment_split_over_orders_that_end_differently_is_all_there(story: Story, order: str) -> None:
    other = story.order_seats(1, extend=False)
    story.do("register-payment", order_number="?", amount="100.00", reference="P")
    parts = [{"order_number": order, "amount": "60.00"}, {"order_number": other, "amount": "10.00"}]
    story.do("split-payment", reference="P", parts=parts)
    story.do("cancel-order", order_number=order)
    assert stands(story, "P") == ("10.00", "60.00", "30.00", "0.00")
    # Matching takes what is unallocated first, then what had become refundable.
    again = story.order_seats(3)
    allocated = story.do("match-payment", reference="P", order_number=again).the(PaymentAllocated)
    assert (str(allocated.unallocated), str(allocated.refundable)) == ("30.00", "34.39")
    assert stands(story, "P") == ("74.39", "25.61", "0.00", "0.00")
    story.close("2026-04-01")
    assert stands(story, "P") == (TOTAL, "35.61", "0.00", "0.00")


# O7


def test_O7_the_same_payment_again_is_accepted_without_events(story: Story, order: str) -> None:
    story.pay(order, TOTAL, reference="P")
    assert story.pay(order, TOTAL, reference="P").events == []
    story.reopen()
    again = story.do(
        "register-payment", order_number=order, amount="64.39", reference="P", value_date="2026-09-09", on="2026-09-09"
    )
    assert again.events == []


def test_O7_the_amount_may_be_written_differently(story: Story) -> None:
    story.do("register-payment", order_number="?", amount="10", reference="P")
    assert story.do("register-payment", order_number="?", amount="10.00", reference="P").events == []


@pytest.mark.parametrize("other", [{"amount": "64.38"}, {"order_number": "1OOOO"}, {"method": "postal_slip"}])
def test_O7_anything_else_under_the_same_reference_is_refused(
    story: Story, order: str, other: dict[str, object]
) -> None:
    payment: dict[str, object] = {"order_number": order, "amount": TOTAL, "reference": "P"}
    story.do("register-payment", **payment)
    assert story.refused("register-payment", **payment | other) == "payment_reference_reused"


def test_O7_references_are_global(story: Story, order: str) -> None:
    story.start(subscription_id="SUB-2")
    other = story.order_seats(3, sub="SUB-2")
    story.pay(order, TOTAL, reference="P")
    assert (
        story.refused("register-payment", order_number=other, amount=TOTAL, reference="P") == "payment_reference_reused"
    )


def test_O7_an_orphan_that_was_matched_is_still_what_it_was_registered_as(story: Story, order: str) -> None:
    story.do("register-payment", order_number="1OOOO", amount=TOTAL, reference="P")
    story.do("match-payment", reference="P", order_number=order)
    assert story.do("register-payment", order_number="1OOOO", amount=TOTAL, reference="P").events == []
    assert (
        story.refused("register-payment", order_number=order, amount=TOTAL, reference="P") == "payment_reference_reused"
    )


def test_O7_a_second_payment_never_activates_a_second_time(story: Story, order: str) -> None:
    story.settle(order)
    second = story.pay(order, TOTAL, reference="SECOND")
    assert second.the(PaymentRefundDue).reason == "surplus"
    assert not second.all(OrderPaid)
    assert story.fulfil(order).events == []
    assert story.service("S2").quantity == 3


def test_O7_a_second_payment_before_activation_is_surplus_too(story: Story, order: str) -> None:
    story.pay(order)
    story.pay(order, TOTAL, reference="SECOND", on="2026-05-01")
    assert stands(story, "SECOND") == ("0.00", TOTAL, "0.00", "0.00")
    assert story.fulfil(order).names == ["SeatsAdded", "ExpiryAligned", "OrderFulfilled"]


# O9


@pytest.mark.parametrize("amount", ["0", "0.00", "-1.00", "1.001", "10000000.00", "1e3", "", "NaN", 1, 64.39, None])
def test_O9_an_amount_is_above_zero_with_two_decimals_at_most(story: Story, order: str, amount: object) -> None:
    refusal = story.refusal("register-payment", order_number=order, amount=amount, reference="P")
    assert (refusal.code, refusal.facts["field"]) == ("data_invalid", "amount")


@pytest.mark.parametrize("amount", ["0.01", "9999999.99", "5", "5.5"])
def test_O9_an_amount_reaches_from_a_cent_to_ten_millions(story: Story, amount: str) -> None:
    story.do("register-payment", order_number="?", amount=amount, reference="P")
    assert story.money().received == Decimal(amount)


def test_O9_another_currency_is_rejected_and_never_received(story: Story, order: str) -> None:
    refusal = story.refusal("register-payment", order_number=order, amount=TOTAL, reference="P", currency="USD")
    assert (refusal.code, refusal.facts) == ("currency_not_accepted", {"currency": "USD"})
    assert not story.payment("P").exists
    assert story.money().received == 0
    # Nor does it use up the reference.
    assert story.pay(order, TOTAL, reference="P").all(OrderPaid)


def test_O9_another_currency_is_rejected_under_a_known_reference_too(story: Story, order: str) -> None:
    story.pay(order, TOTAL, reference="P")
    again = {"order_number": order, "amount": TOTAL, "reference": "P", "currency": "CHF"}
    assert story.refused("register-payment", **again) == "currency_not_accepted"


def test_O9_large_amounts_add_up_without_losing_a_cent() -> None:
    items = [item.model_dump() for item in price_list().items]
    story = Story(price_list(items=[items[0], items[1] | {"unit_price": "9999999.99"}, items[2]], vat_rate="0"))
    story.start(service(BASE, "2030-01-01"))
    order = story.order_seats(100)
    for number in range(99):
        assert story.pay(order, "9999999.99", reference=f"P{number}").all(OrderPartlyPaid)
    assert str(story.order(order).missing) == "9999999.99"
    assert story.pay(order, "9999999.99").all(OrderPaid)
