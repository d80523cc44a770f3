"""Business time: when a command is decided, what a day's end brings, and that nothing runs back."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.calendar import DayClosed
from domain.cart import CartOpened
from domain.kernel import ROME
from domain.order import OrderPaid, OrderReminderDue
from domain.subscription_events import ExpiryReminderDue, SeatsAdded, ServiceEnded, ServiceExpired, ServiceExpiring
from tests.domain.given import BASE, SPACE, Story, chosen, midnight_after, price_list, service

# T1


def test_T1_the_business_date_is_the_date_in_rome(story: Story) -> None:
    # Half past eleven at night in London is already tomorrow in Rome.
    story.do("open-cart", at=datetime(2026, 3, 9, 23, 30, tzinfo=UTC))
    quote = story.do("choose-seats", quantity=1).quote
    assert quote.lines[0].start.isoformat() == "2026-03-10"


def test_T1_a_summer_midnight_in_rome_is_two_hours_before_utc_s(story: Story) -> None:
    story.do("open-cart", at=datetime(2026, 6, 9, 22, 0, tzinfo=UTC))
    assert story.do("choose-seats", quantity=1).quote.lines[0].start.isoformat() == "2026-06-10"


def test_T1_the_value_date_decides_nothing(story: Story) -> None:
    order = story.order_seats()
    total = str(story.order(order).placed.quote.total)
    # Credited long before, or long after, the order could be paid: it counts when it is registered.
    paid = story.do(
        "register-payment", order_number=order, amount=total, reference="P", value_date="2199-01-01", on="2026-03-10"
    )
    assert paid.the(OrderPaid).paid_on.isoformat() == "2026-03-10"


def test_T1_a_command_may_be_five_minutes_ahead_of_the_clock_and_no_more(story: Story) -> None:
    clock = story.clock
    story.do("open-cart", at=clock + timedelta(minutes=5), clock=clock)
    late = clock + timedelta(minutes=5, microseconds=1)
    assert story.refused("open-cart", at=late, clock=clock) == "time_in_future"


def test_T1_the_clock_s_own_zone_makes_no_difference(story: Story) -> None:
    clock = story.clock.astimezone(UTC)
    assert story.refused("open-cart", at=story.clock + timedelta(hours=1), clock=clock) == "time_in_future"


def test_T1_what_a_consumer_causes_takes_the_business_time_of_its_cause(story: Story) -> None:
    order = story.order_seats()
    story.pay(order, on="2026-03-10")
    story.do("close-day", date="2026-03-20", on="2026-03-21")
    seats = story.fulfil(order).recorded[0]
    assert isinstance(seats.event, SeatsAdded)
    assert seats.envelope.business_time == datetime(2026, 3, 10, 9, 15, tzinfo=ROME)
    assert seats.event.active_from.isoformat() == "2026-03-10"


def test_T1_the_recorded_time_is_kept_beside_the_business_time(story: Story) -> None:
    clock = story.clock + timedelta(days=3)
    envelope = story.do("open-cart", clock=clock).recorded[0].envelope
    assert (envelope.business_time, envelope.recorded_time) == (story.now, clock)
    assert envelope.command_time is None


# T2


def test_T2_the_clock_alone_expires_nothing(story: Story) -> None:
    order = story.order_seats()
    story.do("open-cart")
    events = len(story.log)
    story.refused("delete-user", username="nobody01", on="2030-01-01")
    assert len(story.log) == events
    assert story.service("S1").status == "active"
    assert story.order(order).state == "awaiting_payment"
    assert story.cart.is_open


def test_T2_a_base_that_has_expired_sells_no_seats_before_its_day_is_closed(story: Story) -> None:
    story.do("open-cart", on="2026-06-30")
    story.do("choose-seats", quantity=1)
    assert story.refused("place-order", on="2026-07-01") == "base_service_expired"
    assert story.service("S1").status == "active"


def test_T2_a_service_that_has_ended_is_not_renewed_before_its_day_is_closed(story: Story) -> None:
    story.do("open-cart", on="2026-09-28")
    assert story.send("choose-renewal", services=chosen(S1=1), years=1).code is None
    assert story.refused("choose-renewal", services=chosen(S1=1), years=1, on="2026-09-29") == "service_ended"


def test_T2_a_cart_left_alone_is_no_longer_open_before_its_day_is_closed(story: Story) -> None:
    story.do("open-cart", on="2026-03-02")
    assert story.refused("choose-seats", quantity=1, on="2026-04-02") == "no_open_cart"


def test_T2_an_order_that_has_lapsed_holds_nothing_before_its_day_is_closed(story: Story) -> None:
    first = story.order_seats(on="2026-03-02")
    story.pay(first, "10.00", on="2026-03-03", reference="PART")
    # The last payable day is 2026-04-01; the day after, its services are free for another order.
    story.do("open-cart", on="2026-04-02")
    story.do("choose-seats", quantity=1)
    placed = story.do("place-order")
    assert placed.names == [
        "OrderExpired",
        "ServicesReleased",
        "PaymentRefundDue",
        "CartCheckedOut",
        "OrderPlaced",
        "ServicesHeld",
    ]
    assert story.order(first).state == "expired"
    assert str(story.payment("PART").refundable) == "10.00"
    # A registration that was on its way with an older time can't pay what another order has taken over.
    assert story.pay(first, "10.00", on="2026-03-31", reference="BEHIND").names == [
        "PaymentRegistered",
        "PaymentRefundDue",
    ]


def test_T2_a_reduction_whose_order_has_lapsed_counts_no_longer(story: Story) -> None:
    story.buy_seats(2)
    story.order_renewal(S1=1, S2=1, on="2026-03-10")
    story.configure("user0001", "user0002")
    assert story.refused("configure-user", username="user0003", on="2026-04-09") == "no_free_seat"
    assert story.do("configure-user", username="user0003", on="2026-04-10").names == [
        "UserConfigured",
        "OrderExpired",
        "ServicesReleased",
    ]


def test_T2_a_renewal_is_quoted_as_if_a_lapsed_reduction_had_been_released(story: Story) -> None:
    story.buy_seats(2)
    story.configure("user0001")
    story.order_renewal(S1=1, S2=0, on="2026-03-10")
    story.do("open-cart", on="2026-04-10")
    story.configure("user0002", "user0003")
    # Three users need both seats now, so they can't be given up any more.
    assert story.refused("choose-renewal", services=chosen(S2=1), years=1) == "configured_users_in_the_way"


def test_T2_a_refusal_expires_no_lapsed_order(story: Story) -> None:
    first = story.order_seats()
    story.configure("user0001")
    assert story.refused("configure-user", username="user0002", on="2026-05-01") == "no_free_seat"
    assert story.order(first).state == "awaiting_payment"


# T3


def test_T3_an_older_command_is_decided_at_the_time_of_the_last_event_and_both_times_are_recorded(
    story: Story,
) -> None:
    story.configure("user0001", on="2026-03-20")
    older = datetime(2026, 3, 5, 12, 0, tzinfo=ROME)
    envelope = story.do("delete-user", username="user0001", at=older).recorded[0].envelope
    assert envelope.business_time == datetime(2026, 3, 20, 9, 15, tzinfo=ROME)
    assert envelope.command_time == older


def test_T3_an_older_choice_is_quoted_at_the_date_of_the_last_event(story: Story) -> None:
    story.configure("user0001", on="2026-03-20")
    story.do("open-cart", on="2026-03-05")
    quote = story.do("choose-seats", quantity=1, on="2026-03-06").quote
    assert quote.lines[0].start.isoformat() == "2026-03-20"


def test_T3_what_was_closed_stays_closed(story: Story) -> None:
    order = story.order_seats(on="2026-03-02")
    story.close("2026-04-01")
    # The registration carries the time of the last payable day, but that day is over for this order.
    late = story.pay(order, "61.00", on="2026-04-01")
    assert late.names == ["PaymentRegistered", "PaymentRefundDue"]
    assert story.order(order).state == "expired"


def test_T3_a_payment_registered_before_its_order_was_placed_counts_at_the_order_s_time(story: Story) -> None:
    order = story.order_seats(on="2026-03-10")
    assert story.pay(order, on="2026-03-01").the(OrderPaid).paid_on.isoformat() == "2026-03-10"


def test_T3_a_service_that_was_closed_as_expired_sells_no_seats_to_an_older_command(story: Story) -> None:
    story.close("2026-06-30")
    story.do("open-cart", on="2026-06-15")
    assert story.refused("choose-seats", quantity=1, on="2026-06-15") == "base_service_expired"


@pytest.mark.parametrize("end", ["cancelled", "expired", "replaced", "voided"])
def test_T3_an_order_that_ends_ends_no_earlier_than_the_last_event_of_what_it_had_received(end: str) -> None:
    story = Story(price_list(lifecycle={"expiring_days": 60, "restricted_days": 5, "reminder_days": []}))
    story.start(service(BASE, "2026-12-31"), service(SPACE, "2026-03-10"))
    order = story.order_renewal(S2=1, on="2026-03-08")
    story.do("register-payment", order_number="?", amount="500.00", reference="P", on="2026-03-09")
    part = "12.20" if end == "voided" else "5.00"
    on = "2026-03-16" if end == "voided" else "2026-03-09"
    story.do("split-payment", reference="P", parts=[{"order_number": order, "amount": part}], on=on)
    # The rest is refunded long after: the payment's time is now far ahead of the order's and the subscription's.
    story.do("refund-payment", reference="P", amount="1.00", on="2026-06-01")
    match end:
        case "cancelled":
            # Then the order could no longer be cancelled, for its last payable day is over too.
            assert story.refused("cancel-order", order_number=order, on="2026-03-09") == "order_not_open"
            story.close("2026-04-07")
        case "expired":
            story.close("2026-04-07")
        case "replaced":
            story.configure("user0001", on="2026-04-08")
        case "voided":
            story.fulfil(order)
    ended = [recorded.envelope.business_time for recorded in story.log if recorded.originator_id == "payment/P"]
    assert ended[-1] == ended[-2] == datetime(2026, 6, 1, 9, 15, tzinfo=ROME)
    assert story.payment("P").allocated == {}


# T4


@pytest.mark.parametrize(("hour", "refused"), [(23, True), (24, False)])
def test_T4_a_day_can_be_closed_when_it_is_over_in_rome(story: Story, hour: int, refused: bool) -> None:
    at = datetime(2026, 3, 9, tzinfo=ROME) + timedelta(hours=hour)
    code = story.send("close-day", date="2026-03-09", at=at).code
    assert code == ("day_not_over" if refused else None)


def test_T4_a_time_a_little_ahead_of_the_clock_does_not_end_the_day_early(story: Story) -> None:
    clock = datetime(2026, 3, 9, 23, 58, tzinfo=ROME)
    ahead = clock + timedelta(minutes=4)
    assert story.refused("close-day", date="2026-03-09", at=ahead, clock=clock) == "day_not_over"


def test_T4_today_and_tomorrow_cannot_be_closed(story: Story) -> None:
    assert story.refused("close-day", date="2026-03-10", on="2026-03-10") == "day_not_over"
    assert story.refused("close-day", date="2026-03-11", on="2026-03-10") == "day_not_over"


def test_T4_closing_answers_that_the_day_is_closed_and_nothing_else(story: Story) -> None:
    story.order_seats()
    answer = story.do("close-day", date="2026-12-31", on="2027-01-01")
    assert answer.names == ["DayClosed"]
    assert answer.data is None


def test_T4_closing_again_is_accepted_and_nothing_happens(story: Story) -> None:
    story.do("close-day", date="2026-03-09", on="2026-03-11")
    assert story.do("close-day", date="2026-03-09", on="2026-03-11").events == []
    assert story.do("close-day", date="2026-03-01", on="2026-03-11").events == []


def test_T4_closing_a_day_closes_every_open_day_before_it(story: Story) -> None:
    first = story.do("close-day", date="2026-03-02", on="2026-03-03").the(DayClosed)
    then = story.do("close-day", date="2026-03-09", on="2026-03-10").the(DayClosed)
    assert first.since is None
    assert (str(then.since), str(then.date)) == ("2026-03-03", "2026-03-09")
    assert story.do("close-day", date="2026-03-05", on="2026-03-10").events == []


def test_T4_an_older_time_closes_no_day_that_was_over_only_later(story: Story) -> None:
    story.do("close-day", date="2026-03-09", on="2026-03-10")
    assert story.refused("close-day", date="2026-03-10", on="2026-03-05") == "day_not_over"


def test_T4_the_index_names_the_streams_that_a_day_s_end_concerns(blank: Story) -> None:
    blank.start(service(BASE, "2026-12-31"))
    blank.do("open-cart")
    # 91 days before the last one comes the first reminder; the cart is left alone after thirty days.
    assert {stream: str(due) for stream, due in blank.due.items()} == {
        "subscription/SUB-1": "2026-10-01",
        "cart/SUB-1": "2026-04-01",
    }
    blank.do("choose-seats", quantity=1)
    order = blank.do("place-order").order_number
    assert {stream: str(due) for stream, due in blank.due.items()} == {
        "subscription/SUB-1": "2026-10-01",
        # A week before the last payable day, which is the first of April.
        f"order/{order}": "2026-03-24",
    }
    blank.close("2026-03-24")
    assert str(blank.due[f"order/{order}"]) == "2026-04-01"
    blank.pay(order)
    assert list(blank.due) == ["subscription/SUB-1"]


def test_T4_closing_day_by_day_acts_on_the_days_of_the_index_and_on_no_other(story: Story) -> None:
    acted = []
    for number in range(1, 250):
        day = midnight_after("2026-03-02") + timedelta(days=number)
        due = story.due.get("subscription/SUB-1")
        events = story.close(day.date() - timedelta(days=1)).names[1:]
        assert bool(events) == (due is not None and due < day.date())
        acted += [(str(day.date()), event) for event in events]
    # The base ends on 30 June: the events of a day's end stand at the midnight that follows.
    assert acted == [
        ("2026-04-01", "ExpiryReminderDue"),
        ("2026-05-01", "ExpiryReminderDue"),
        ("2026-05-01", "ServiceExpiring"),
        ("2026-05-31", "ExpiryReminderDue"),
        ("2026-06-23", "ExpiryReminderDue"),
        ("2026-07-01", "ServiceExpired"),
        ("2026-09-29", "ServiceEnded"),
    ]


@pytest.mark.parametrize(
    ("closed", "reminder"),
    [
        ("2026-03-31", 90),
        ("2026-04-15", 90),
        ("2026-04-30", 60),
        ("2026-05-29", 60),
        ("2026-06-10", 30),
        ("2026-06-22", 7),
        ("2026-06-29", 7),
    ],
)
def test_T4_after_an_outage_only_the_nearest_reminder_is_due(story: Story, closed: str, reminder: int) -> None:
    assert story.close(closed).the(ExpiryReminderDue).days_before == reminder


def test_T4_after_an_outage_over_the_expiry_no_reminder_is_due_at_all(story: Story) -> None:
    closed = story.close("2026-12-31")
    assert closed.names == ["DayClosed", "ServiceExpired", "ServiceEnded"]
    assert str(closed.the(ServiceExpired).expires_on) == str(closed.the(ServiceEnded).expires_on) == "2026-06-30"


def test_T4_after_an_outage_a_reminder_that_was_passed_over_is_not_made_up_for(story: Story) -> None:
    story.close("2026-06-10")
    assert story.close("2026-06-11").names == ["DayClosed"]
    assert story.close("2026-06-22").the(ExpiryReminderDue).days_before == 7


@pytest.mark.parametrize(
    ("closed", "reminder"),
    [
        ("2026-03-17", 14),
        ("2026-03-23", 14),
        ("2026-03-24", 7),
        ("2026-03-28", 7),
        ("2026-03-30", 1),
        ("2026-03-31", 1),
    ],
)
def test_T4_after_an_outage_only_the_nearest_reminder_of_an_order_is_due(
    story: Story, closed: str, reminder: int
) -> None:
    story.reopen(price_list(order_reminder_days=[7, 14, 1]))
    order = story.order_seats(on="2026-03-02")
    due = story.close(closed).the(OrderReminderDue)
    assert (due.order_number, str(due.lapses_on), due.days_before) == (order, "2026-04-01", reminder)


def test_T4_after_an_outage_over_the_last_payable_day_an_order_lapses_without_a_reminder(story: Story) -> None:
    order = story.order_seats(on="2026-03-02")
    assert story.due.pop("subscription/SUB-1"), "which is another matter"
    assert story.close("2026-04-01").names == ["DayClosed", "OrderExpired", "ServicesReleased"]
    assert f"order/{order}" not in story.due


def test_T4_closing_day_by_day_reminds_of_an_order_on_the_days_of_the_index_and_on_no_other(story: Story) -> None:
    story.reopen(price_list(order_reminder_days=[29, 7, 1]))
    order = story.order_seats(on="2026-03-02")
    acted = []
    for number in range(40):
        day = midnight_after("2026-03-02") + timedelta(days=number)
        due = story.due.get(f"order/{order}")
        names = story.close(day.date() - timedelta(days=1)).names
        events = [name for name in names if name.startswith("Order")]
        assert bool(events) == (due is not None and due < day.date())
        acted += [(str(day.date()), event) for event in events]
    assert acted == [
        ("2026-03-03", "OrderReminderDue"),
        ("2026-03-25", "OrderReminderDue"),
        ("2026-03-31", "OrderReminderDue"),
        ("2026-04-02", "OrderExpired"),
    ]


def test_T4_the_events_of_a_day_s_end_stand_at_the_midnight_that_follows(story: Story) -> None:
    story.close("2026-04-30")
    reminder = next(recorded for recorded in story.log if isinstance(recorded.event, ServiceExpiring))
    assert reminder.envelope.business_time == datetime(2026, 5, 1, tzinfo=ROME)


def test_T4_a_stream_that_is_closed_twice_changes_nothing_the_second_time(story: Story) -> None:
    order = story.order_seats()
    story.pay(order, "1.00")
    story.do("open-cart")
    story.close("2026-03-24")
    assert story.close_stream(f"order/{order}", "2026-03-24").events == []
    story.close("2026-12-31")
    for stream in ("subscription/SUB-1", "cart/SUB-1", f"order/{order}"):
        assert story.close_stream(stream, "2026-12-31").events == []


def test_T4_an_order_placed_at_a_time_that_is_closed_already_is_due_the_reminder_that_is_nearest_now(
    story: Story,
) -> None:
    story.do("close-day", date="2026-03-27", on="2026-03-28")
    order = story.order_seats(on="2026-03-02")
    assert story.close("2026-03-28").the(OrderReminderDue).order_number == order
    assert "OrderReminderDue" not in story.close("2026-03-29").names


def test_T3_an_order_whose_last_event_came_after_its_last_payable_day_lapses_and_is_not_reminded_of(
    story: Story,
) -> None:
    order = story.order_seats(on="2026-03-02")
    story.pay(order, "1.00", reference="PART", on="2026-03-10")
    story.do("correct-payment", reference="PART", registered_on="2026-03-09", on="2026-04-03")
    assert story.close_stream(f"order/{order}", "2026-03-24").names[0] == "OrderExpired"


def test_T4_what_became_due_on_a_day_already_closed_is_found_by_the_next_one(story: Story) -> None:
    order = story.order_seats()
    story.pay(order, on="2026-03-10")
    # Activation was away for more than a year: the seats it adds have run out already.
    story.close("2027-05-01")
    story.fulfil(order)
    assert {type(event) for event in story.close("2027-05-02").events} == {DayClosed, ServiceExpired}
    assert story.service("S2").status == "expired"


def test_T4_no_day_ends_for_what_has_no_days(story: Story) -> None:
    with pytest.raises(ValueError, match="no day ends for payment/X"):
        story.close_stream("payment/X", "2026-03-02")


def test_T3_a_cart_s_thirty_days_begin_with_the_last_event_not_with_an_older_command(story: Story) -> None:
    story.configure("user0001", on="2026-03-20")
    assert story.do("open-cart", on="2026-03-05").the(CartOpened).lifetime_days == 30
    assert str(story.due["cart/SUB-1"]) == "2026-04-19"
