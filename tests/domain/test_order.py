"""Orders: what must be accepted, what is confirmed and what is paid, and how an order ends."""

from datetime import date

import pytest

from domain.order import (
    BilledTo,
    OrderCancelled,
    OrderExpired,
    OrderFulfilled,
    OrderPaid,
    OrderPlaced,
    OrderReminderDue,
    OrderVoided,
)
from domain.payment import PaymentRefundDue
from domain.subscription_events import ServicesHeld
from tests.domain.given import BASE, SPACE, Story, chosen, price_list, service


@pytest.fixture
def ready(story: Story) -> Story:
    """Three seats in an open cart."""
    story.do("open-cart")
    story.do("choose-seats", quantity=3)
    return story


# O1


def test_O1_without_the_accepted_terms_there_is_no_order(ready: Story) -> None:
    assert ready.refused("place-order", accepted_terms=None) == "terms_not_accepted"


@pytest.mark.parametrize("version", ["2025-07", "", "2026-01 "])
def test_O1_another_version_of_the_terms_is_outdated(ready: Story, version: str) -> None:
    refusal = ready.refusal("place-order", accepted_terms=version)
    assert (refusal.code, refusal.facts["terms"]) == ("terms_outdated", "2026-01")


def test_O1_the_terms_in_force_are_those_of_the_installed_price_list(ready: Story) -> None:
    ready.reopen(price_list(version="2026-02", terms="2026-02"))
    assert ready.refused("place-order", accepted_terms="2026-01") == "terms_outdated"
    assert ready.send("place-order", accepted_terms="2026-02").code is None


def test_O1_which_version_when_and_by_whom_is_in_the_event(ready: Story) -> None:
    answer = ready.do("place-order", accepted_by="Anna Bianchi", on="2026-03-03")
    placed = answer.the(OrderPlaced)
    assert (placed.accepted_terms, placed.accepted_by) == ("2026-01", "Anna Bianchi")
    envelope = answer.recorded[0].envelope
    assert (envelope.business_time.date(), envelope.actor) == (date(2026, 3, 3), "anna")


# O2


def test_O2_a_confirmed_order_awaits_its_payment_then_is_paid_then_fulfilled(ready: Story) -> None:
    order = ready.do("place-order").order_number
    states = [ready.order(order).state]
    ready.pay(order)
    states.append(ready.order(order).state)
    ready.fulfil(order)
    states.append(ready.order(order).state)
    assert states == ["awaiting_payment", "paid", "fulfilled"]


def test_O2_what_the_order_brought_is_said_when_it_is_fulfilled(ready: Story) -> None:
    order = ready.do("place-order").order_number
    fulfilled = ready.settle(order, on="2026-03-05").the(OrderFulfilled)
    assert (fulfilled.seats, str(fulfilled.expires_on)) == (3, "2027-03-05")


def test_O2_a_paid_order_carries_what_activation_and_invoicing_need(ready: Story) -> None:
    placed = ready.do("place-order")
    ready.pay(placed.order_number, "60.00", reference="FIRST")
    paid = ready.pay(placed.order_number, "4.39", reference="SECOND", on="2026-03-05").the(OrderPaid)
    assert (paid.subscription_id, paid.reference, str(paid.amount), str(paid.paid)) == (
        "SUB-1",
        "SECOND",
        "4.39",
        "64.39",
    )
    assert (paid.quote, str(paid.paid_on)) == (placed.quote, "2026-03-05")


def test_O2_a_paid_order_says_who_is_billed(blank: Story) -> None:
    holder = {
        "name": "Studio Neri",
        "email": "neri@studio.it",
        "tax_code": "NREBRN80A01F205X",
        "vat_number": "01234560157",
    }
    blank.start(account_holder={**holder, "language": "en"})
    paid = blank.pay(blank.order_seats()).the(OrderPaid)
    assert paid.billed_to == BilledTo(**holder)


def test_O2_money_of_an_operators_choice_says_who_is_billed_too(story: Story) -> None:
    first, second, third = (story.order_seats(extend=False) for _ in range(3))
    story.do("register-payment", order_number="?", amount="29.28", reference="BOTH")
    parts = [{"order_number": order, "amount": "14.64"} for order in (first, second)]
    story.do("register-payment", order_number="?", amount="14.64", reference="ONE")
    paid = story.do("split-payment", reference="BOTH", parts=parts).all(OrderPaid)
    paid.append(story.do("match-payment", reference="ONE", order_number=third).the(OrderPaid))
    assert [whom.billed_to and whom.billed_to.name for whom in paid] == ["Anna Bianchi"] * 3


def test_O2_nobody_is_billed_by_name_who_was_forgotten_before_the_order_was_paid(story: Story) -> None:
    order = story.order_seats()
    story.forget(on="2026-03-04")
    assert story.pay(order, on="2026-03-05").the(OrderPaid).billed_to is None


def test_T3_whom_to_bill_is_asked_without_waiting_for_the_subscriptions_time(story: Story) -> None:
    order = story.order_seats(on="2026-03-02")
    story.configure("user0001", on="2026-03-20")
    paid = story.pay(order, on="2026-03-05").the(OrderPaid)
    assert str(paid.paid_on) == "2026-03-05"
    assert paid.billed_to


def test_O2_a_renewal_says_the_latest_of_its_expiries(blank: Story) -> None:
    blank.start(service(BASE, "2026-06-30"), service(SPACE, "2026-09-30"))
    fulfilled = blank.settle(blank.order_renewal(S1=1, S2=1)).the(OrderFulfilled)
    assert (fulfilled.seats, str(fulfilled.expires_on)) == (0, "2027-09-30")


# O3


@pytest.mark.parametrize(
    ("method", "immediate", "days"),
    [
        ("card", True, 0),
        ("paypal", True, 0),
        ("mybank", True, 1),
        ("bank_transfer", False, 3),
        ("postal_slip", False, 5),
    ],
)
def test_O3_the_policy_says_how_long_a_method_takes(ready: Story, method: str, immediate: bool, days: int) -> None:
    placed = ready.do("place-order", payment_method=method).the(OrderPlaced)
    assert (placed.payment_method, placed.immediate, placed.registration_days) == (method, immediate, days)


def test_O3_a_method_that_the_policy_does_not_know_is_not_available(ready: Story) -> None:
    assert ready.refused("place-order", payment_method="cash") == "method_not_available"
    ready.reopen(price_list(version="2026-02", methods=[price_list().methods[0].model_dump()]))
    assert ready.refused("place-order", payment_method="bank_transfer") == "method_not_available"
    assert ready.send("place-order", payment_method="card").code is None


def test_O4_the_order_says_how_long_an_immediate_payment_is_waited_for(ready: Story) -> None:
    ready.reopen(price_list(instructions_delay_minutes=20))
    assert ready.do("place-order", payment_method="card").the(OrderPlaced).instructions_delay_minutes == 20


# O5


def test_O5_the_number_is_passed_in_and_in_the_answer(ready: Story) -> None:
    answer = ready.do("place-order")
    assert answer.order_number == answer.the(OrderPlaced).order_number == "10000"


def test_O5_a_refused_order_uses_no_number(ready: Story) -> None:
    ready.refused("place-order", accepted_terms=None)
    assert ready.do("place-order").order_number == "10000"


def test_O5_gaps_are_legal(ready: Story) -> None:
    next(ready.numbers)
    assert ready.do("place-order").order_number == "10001"


# O8


def test_O8_an_order_that_is_not_paid_can_be_cancelled(ready: Story) -> None:
    order = ready.do("place-order").order_number
    cancelled = ready.do("cancel-order", order_number=order, reason="too dear")
    assert cancelled.names == ["OrderCancelled", "ServicesReleased"]
    assert cancelled.the(OrderCancelled).reason == "too dear"
    assert ready.order(order).state == "cancelled"


def test_O8_what_was_paid_of_a_cancelled_order_becomes_refundable(ready: Story) -> None:
    order = ready.do("place-order").order_number
    ready.pay(order, "40.00", reference="FIRST")
    ready.pay(order, "10.00", reference="SECOND")
    due = ready.do("cancel-order", order_number=order).all(PaymentRefundDue)
    assert [(event.reference, str(event.amount), event.reason) for event in due] == [
        ("FIRST", "40.00", "order_cancelled"),
        ("SECOND", "10.00", "order_cancelled"),
    ]
    assert str(ready.money().refundable) == "50.00"


def test_O8_an_order_paid_in_full_cannot_be_cancelled(ready: Story) -> None:
    order = ready.do("place-order").order_number
    ready.pay(order)
    assert ready.refused("cancel-order", order_number=order) == "order_not_open"
    ready.fulfil(order)
    assert ready.refused("cancel-order", order_number=order) == "order_not_open"


def test_O8_an_order_is_cancelled_once(ready: Story) -> None:
    order = ready.do("place-order").order_number
    ready.do("cancel-order", order_number=order)
    assert ready.refused("cancel-order", order_number=order) == "order_not_open"


def test_O8_an_unknown_order_cannot_be_cancelled(story: Story) -> None:
    assert story.refused("cancel-order", order_number="4711") == "order_unknown"


def test_O8_an_order_can_be_paid_for_thirty_days(ready: Story) -> None:
    placed = ready.do("place-order", on="2026-03-02")
    assert str(placed.the(OrderPlaced).lapses_on) == "2026-04-01"
    assert "OrderPaid" in ready.pay(placed.order_number, on="2026-04-01").names


def test_O8_how_long_is_a_policy(ready: Story) -> None:
    ready.reopen(price_list(order_lifetime_days=1, order_reminder_days=[]))
    assert str(ready.do("place-order", on="2026-03-02").the(OrderPlaced).lapses_on) == "2026-03-03"


def test_O8_an_unpaid_order_is_due_a_reminder_a_week_before_its_last_payable_day(ready: Story) -> None:
    placed = ready.do("place-order", on="2026-03-02")
    assert placed.the(OrderPlaced).reminder_days == (7,)
    assert "OrderReminderDue" not in ready.close("2026-03-23").names
    due = ready.close("2026-03-24").the(OrderReminderDue)
    assert (due.order_number, str(due.lapses_on), due.days_before) == (placed.order_number, "2026-04-01", 7)
    assert "OrderReminderDue" not in ready.close("2026-03-31").names


def test_O8_a_partly_paid_order_is_due_a_reminder_and_a_paid_or_cancelled_one_is_not(story: Story) -> None:
    partly, paid, cancelled, withdrawn = (story.order_seats(extend=False) for _ in range(4))
    story.pay(partly, "1.00")
    story.pay(paid)
    story.do("cancel-order", order_number=cancelled)
    story.pay(withdrawn, "1.00", reference="BACK")
    story.do("unmatch-payment", reference="BACK", order_number=withdrawn)
    reminded = {due.order_number for due in story.close("2026-03-24").all(OrderReminderDue)}
    assert reminded == {partly, withdrawn}
    for order in (paid, cancelled):
        assert story.close_stream(f"order/{order}", "2026-03-24").events == []


def test_O8_how_often_an_order_is_reminded_of_is_the_policy_under_which_it_was_placed(ready: Story) -> None:
    order = ready.do("place-order", on="2026-03-02").order_number
    ready.reopen(price_list(order_reminder_days=[]))
    unreminded = ready.order_seats(extend=False)
    ready.reopen(price_list(order_reminder_days=[20]))
    [due] = ready.close("2026-03-24").all(OrderReminderDue)
    assert due.order_number == order
    assert ready.close_stream(f"order/{unreminded}", "2026-03-31").events == []


def test_O8_a_payment_after_the_last_payable_day_is_late_even_before_the_day_is_closed(ready: Story) -> None:
    order = ready.do("place-order", on="2026-03-02").order_number
    late = ready.pay(order, on="2026-04-02")
    assert late.names == ["PaymentRegistered", "PaymentRefundDue"]
    assert late.the(PaymentRefundDue).reason == "late"
    assert ready.order(order).state == "awaiting_payment"


def test_O8_closing_the_last_payable_day_expires_the_order_and_what_was_paid_becomes_refundable(ready: Story) -> None:
    order = ready.do("place-order", on="2026-03-02").order_number
    ready.pay(order, "40.00", reference="PART")
    assert "OrderExpired" not in ready.close("2026-03-31").names
    closed = ready.close("2026-04-01")
    assert str(closed.the(OrderExpired).lapsed_on) == "2026-04-01"
    assert closed.the(PaymentRefundDue).reason == "order_expired"
    assert str(ready.payment("PART").refundable) == "40.00"
    assert ready.order(order).state == "expired"


def test_O8_an_order_that_has_lapsed_can_neither_be_cancelled_nor_matched(ready: Story) -> None:
    order = ready.do("place-order", on="2026-03-02").order_number
    ready.do("register-payment", order_number="TYPO", amount="64.39", reference="TYPO")
    for command, data in (("cancel-order", {}), ("match-payment", {"reference": "TYPO"})):
        assert ready.refused(command, order_number=order, on="2026-04-02", **data) == "order_not_open"


def test_O8_a_paid_order_expires_no_more(ready: Story) -> None:
    order = ready.do("place-order").order_number
    ready.pay(order)
    assert "OrderExpired" not in ready.close("2026-06-01").names
    assert ready.fulfil(order).all(OrderFulfilled)


# O10


@pytest.mark.parametrize("aligned", [True, False])
def test_O10_a_service_is_in_one_open_order_at_a_time(story: Story, aligned: bool) -> None:
    story.order_seats(1)
    story.do("open-cart")
    if not aligned:
        story.do("switch-alignment", extend=False)
    story.do("choose-renewal", services=chosen(S1=1), years=1)
    refusal = story.refusal("place-order")
    assert (refusal.code, refusal.facts) == ("service_in_open_order", {"service": "S1", "order": "10000"})


def test_O10_a_renewal_keeps_an_extension_out_but_not_seats_alone(story: Story) -> None:
    story.order_renewal(S1=1)
    story.do("open-cart")
    story.do("choose-seats", quantity=1)
    assert story.refused("place-order") == "service_in_open_order"
    story.do("switch-alignment", extend=False)
    assert story.send("place-order").code is None


def test_O10_orders_of_seats_alone_may_coexist(story: Story) -> None:
    orders = [story.order_seats(quantity, extend=False) for quantity in (1, 2, 3)]
    for order in reversed(orders):
        story.settle(order)
    assert [service.quantity for service in story.subscription.services.values()] == [1, 3, 2, 1]


def test_O10_renewals_of_different_services_may_coexist(story: Story) -> None:
    story.buy_seats(3)
    for order in (story.order_renewal(S1=1), story.order_renewal(S2=3)):
        story.settle(order)
    assert story.expiries() == ["2028-03-02", "2028-03-02"]


def test_O10_a_service_that_is_not_to_be_renewed_is_part_of_the_order_too(story: Story) -> None:
    story.buy_seats(3)
    story.order_renewal(S1=1, S2=0)
    story.do("open-cart")
    story.do("choose-renewal", services=chosen(S2=3), years=1)
    assert story.refused("place-order") == "service_in_open_order"


def test_O10_a_paid_order_holds_its_services_until_it_is_fulfilled(story: Story) -> None:
    order = story.order_renewal(S1=1)
    story.pay(order)
    story.do("open-cart")
    story.do("choose-renewal", services=chosen(S1=1), years=1)
    assert story.refused("place-order", on="2026-03-20") == "service_in_open_order"
    story.fulfil(order)
    story.settle(story.do("place-order").order_number)
    assert story.expiries() == ["2028-06-30"]


def test_O10_a_paid_order_that_waits_for_activation_holds_its_services_past_its_last_payable_day(
    story: Story,
) -> None:
    order = story.order_renewal(S1=1)
    story.pay(order)
    story.do("open-cart", on="2026-05-01")
    story.do("choose-renewal", services=chosen(S1=1), years=1)
    assert story.refused("place-order") == "service_in_open_order"
    assert story.fulfil(order).names == ["ServiceRenewed", "OrderFulfilled"]


@pytest.mark.parametrize("end", ["cancelled", "expired", "fulfilled"])
def test_O10_an_order_that_has_ended_holds_nothing(story: Story, end: str) -> None:
    order = story.order_seats(1)
    match end:
        case "cancelled":
            story.do("cancel-order", order_number=order)
        case "expired":
            story.close("2026-04-01")
        case "fulfilled":
            story.settle(order)
    assert story.order(order).state == end
    assert story.subscription.held == {}
    assert story.order_seats(1)


def test_O10_what_an_order_holds_is_recorded_with_the_seats_it_leaves(story: Story) -> None:
    story.buy_seats(3)
    story.do("open-cart")
    story.do("choose-renewal", services=chosen(S1=1, S2=2), years=1)
    assert story.do("place-order").the(ServicesHeld).keeps == {"S1": 1, "S2": 2}


# O11


def test_O11_a_service_that_was_active_at_placement_and_expired_since_revives_on_payment(story: Story) -> None:
    order = story.order_seats(3, on="2026-06-20")
    story.close("2026-07-05")
    assert story.service("S1").status == "expired"
    assert story.settle(order, on="2026-07-10").names == ["SeatsAdded", "ExpiryAligned", "OrderFulfilled"]
    assert (story.service("S1").status, story.expiries()) == ("active", ["2027-07-10", "2027-07-10"])


@pytest.fixture
def brief() -> Story:
    """A price list under which a service ends five days after its expiry: well before an order lapses."""
    story = Story(price_list(lifecycle={"expiring_days": 60, "restricted_days": 5, "reminder_days": []}))
    story.start(service(BASE, "2026-06-30"), service(SPACE, "2027-06-30"))
    return story


@pytest.mark.parametrize("extend", [True, False])
def test_O11_if_the_base_has_ended_nothing_is_fulfilled_and_the_payment_is_refundable(
    brief: Story, extend: bool
) -> None:
    order = brief.order_seats(3, extend=extend, on="2026-06-20")
    total = brief.order(order).paid + brief.order(order).missing
    voided = brief.settle(order, on="2026-07-06")
    assert "SeatsAdded" not in voided.names
    assert voided.the(OrderVoided).reason == voided.the(PaymentRefundDue).reason == "service_ended"
    assert brief.order(order).state == "cancelled"
    assert brief.money().refundable == total
    assert brief.subscription.held == {}
    brief.check_replay()


def test_O11_on_the_last_day_before_the_end_it_is_fulfilled(brief: Story) -> None:
    order = brief.order_seats(3, on="2026-06-20")
    assert brief.settle(order, on="2026-07-05").all(OrderFulfilled)


def test_O11_if_one_of_several_renewed_services_has_ended_nothing_is_fulfilled(brief: Story) -> None:
    order = brief.order_renewal(S1=1, S2=1, on="2026-07-01")
    assert brief.settle(order, on="2026-07-06").all(OrderVoided)
    assert brief.expiries() == ["2026-06-30", "2027-06-30"]


def test_O11_every_payment_of_the_order_becomes_refundable(brief: Story) -> None:
    order = brief.order_renewal(S1=1, on="2026-07-01")
    brief.pay(order, "10.00", on="2026-07-02")
    voided = brief.settle(order, on="2026-07-06")
    assert [str(event.amount) for event in voided.all(PaymentRefundDue)] == ["10.00", "20.50"]


def test_O11_a_service_that_was_not_to_be_renewed_may_end_meanwhile(brief: Story) -> None:
    order = brief.order_renewal(S1=0, S2=1, on="2026-07-01")
    assert brief.settle(order, on="2026-07-20").all(OrderFulfilled)
    assert brief.expiries() == ["2026-06-30", "2028-06-30"]


def test_O11_a_payment_in_time_is_fulfilled_however_late_activation_comes(brief: Story) -> None:
    order = brief.order_renewal(S1=1, on="2026-07-01")
    brief.pay(order, on="2026-07-04")
    brief.close("2026-07-20")
    assert brief.service("S1").status == "ended"
    assert brief.fulfil(order).all(OrderFulfilled)
    assert (brief.service("S1").status, brief.expiries()[0]) == ("active", "2027-06-30")


def test_O11_a_voided_order_is_fulfilled_no_more_and_paid_no_more(brief: Story) -> None:
    order = brief.order_renewal(S1=1, on="2026-07-01")
    brief.settle(order, on="2026-07-06")
    assert brief.fulfil(order).events == []
    assert brief.pay(order, "30.50").the(PaymentRefundDue).reason == "late"
