"""Services, seats and users: what they may do, how long, and how they end."""

from datetime import date, timedelta

import msgspec
import pytest

from domain.errors import NoFreeSeat
from domain.subscription_events import (
    AccountHolder,
    ExpiryAligned,
    ExpiryReminderDue,
    SeatsAdded,
    ServiceRenewed,
    SubscriptionStarted,
    UserConfigured,
)
from tests.domain.given import BASE, SEAT, SPACE, Story, price_list, service

# S1


def test_S1_each_service_has_its_own_expiry(blank: Story) -> None:
    blank.start(service(BASE, "2026-06-30"), service(SPACE, "2026-09-30", 2), service(SEAT, "2027-01-31", 3))
    assert blank.expiries() == ["2026-06-30", "2026-09-30", "2027-01-31"]
    assert list(blank.subscription.services) == ["S1", "S2", "S3"]


@pytest.mark.parametrize(
    "services",
    [
        [service(SEAT, "2026-06-30")],
        [service(BASE, "2026-06-30"), service(BASE, "2026-06-30")],
        [service(BASE, "2026-06-30", 2)],
    ],
)
def test_S1_exactly_one_service_is_the_base(blank: Story, services: list[dict[str, object]]) -> None:
    refusal = blank.refusal("start-subscription", services=services)
    assert (refusal.code, refusal.facts["field"]) == ("data_invalid", "services")


def test_S1_the_seats_of_each_order_are_one_service_line(story: Story) -> None:
    first, second = story.buy_seats(3), story.buy_seats(2)
    added = {
        recorded.event.order_number: recorded.event for recorded in story.log if isinstance(recorded.event, SeatsAdded)
    }
    assert {order: (seats.service_id, seats.quantity) for order, seats in added.items()} == {
        first: ("S2", 3),
        second: ("S3", 2),
    }


def test_S1_a_subscription_starts_once(story: Story) -> None:
    assert story.refused("start-subscription", services=[service(BASE, "2026-06-30")]) == "subscription_exists"


def test_S1_a_service_that_the_price_list_does_not_know_is_refused(blank: Story) -> None:
    assert blank.refused("start-subscription", services=[service("fe-unknown", "2026-06-30")]) == "sku_unknown"


def test_S1_the_account_holder_is_kept_as_given(blank: Story) -> None:
    holder = {"name": "Studio Bianchi", "email": "studio@bianchi.it", "language": "en", "vat_number": "IT01234567890"}
    started = blank.do("start-subscription", account_holder=holder, services=[service(BASE, "2026-06-30")])
    assert started.the(SubscriptionStarted).account_holder == msgspec.convert(holder, AccountHolder)


# S2


def test_S2_no_seat_is_there_before_the_payment_is_registered(story: Story) -> None:
    order = story.order_seats(3)
    assert list(story.subscription.services) == ["S1"]
    story.pay(order, "1.00")
    assert story.fulfil(order).events == []
    assert list(story.subscription.services) == ["S1"]
    story.configure("user0001")
    assert story.refused("configure-user", username="user0002") == "no_free_seat"


def test_S2_seats_come_with_activation_after_the_payment(story: Story) -> None:
    order = story.order_seats(3)
    assert "SeatsAdded" not in story.pay(order).names
    assert story.fulfil(order).names == ["SeatsAdded", "ExpiryAligned", "OrderFulfilled"]
    story.configure("user0001", "user0002", "user0003", "user0004")
    assert story.refused("configure-user", username="user0005") == "no_free_seat"


# S3


def test_S3_seats_last_a_year_from_the_registration_not_from_the_order(story: Story) -> None:
    order = story.order_seats(3, on="2026-03-02")
    seats = story.settle(order, on="2026-03-20").the(SeatsAdded)
    assert (str(seats.active_from), str(seats.expires_on)) == ("2026-03-20", "2027-03-20")


def test_S3_the_registration_that_completed_the_payment_counts(story: Story) -> None:
    order = story.order_seats(on="2026-03-02")
    story.pay(order, "10.00", on="2026-03-05")
    assert str(story.settle(order, on="2026-03-20").the(SeatsAdded).active_from) == "2026-03-20"


def test_S3_an_orphan_s_match_counts(story: Story) -> None:
    order = story.order_seats(on="2026-03-02")
    total = str(story.order(order).placed.quote.total)
    story.do("register-payment", order_number="1OOOO", amount=total, reference="TYPO", on="2026-03-05")
    story.do("match-payment", reference="TYPO", order_number=order, on="2026-03-12")
    assert str(story.fulfil(order).the(SeatsAdded).active_from) == "2026-03-12"


def test_S3_a_year_from_29_february_ends_on_the_28th(blank: Story) -> None:
    blank.start(service(BASE, "2028-06-30"), on="2028-01-10")
    blank.buy_seats(on="2028-02-29")
    assert blank.expiries() == ["2029-02-28", "2029-02-28"]


def test_S3_later_anniversaries_come_from_the_anchor_so_29_february_returns(blank: Story) -> None:
    blank.start(service(BASE, "2028-06-30"), on="2028-01-10")
    blank.buy_seats(on="2028-02-29")
    blank.settle(blank.order_renewal(S1=1, S2=1, years=2, aligned=True, on="2029-01-10"))
    assert blank.expiries() == ["2031-02-28", "2031-02-28"]
    blank.settle(blank.order_renewal(S1=1, S2=1, years=1, on="2031-01-10"))
    assert blank.expiries() == ["2032-02-29", "2032-02-29"]


def test_S3_a_service_that_began_with_a_29_february_gets_it_back(blank: Story) -> None:
    blank.start(service(BASE, "2028-02-29"))
    for year, expires in ((2028, "2029-02-28"), (2029, "2030-02-28"), (2030, "2031-02-28"), (2031, "2032-02-29")):
        blank.settle(blank.order_renewal(S1=1, on=f"{year}-02-01"))
        assert blank.expiries() == [expires]


def test_S3_a_28_february_of_its_own_stays_one(blank: Story) -> None:
    blank.start(service(BASE, "2027-02-28"))
    blank.settle(blank.order_renewal(S1=1))
    assert blank.expiries() == ["2028-02-28"]


def test_S3_services_renewed_side_by_side_keep_their_own_anchors(blank: Story) -> None:
    # Both end on 28 February 2029, one as such, the other in the place of a 29th.
    blank.start(service(BASE, "2028-02-29"), service(SPACE, "2027-02-28"))
    blank.settle(blank.order_renewal(S1=1, S2=1, years=1))
    assert blank.expiries() == ["2029-02-28", "2028-02-28"]
    blank.settle(blank.order_renewal(S2=1, years=1))
    blank.settle(blank.order_renewal(S1=1, S2=1, years=3))
    assert blank.expiries() == ["2032-02-29", "2032-02-28"]


def test_S3_a_common_expiry_has_the_anchor_of_the_service_that_gave_it(blank: Story) -> None:
    # S1 ends first and gives 2029-02-28 as its own anniversary; that S2's 29th would fall there too is no reason.
    blank.start(service(BASE, "2027-02-28"), service(SPACE, "2028-02-29"))
    blank.settle(blank.order_renewal(S1=1, S2=1, years=2, aligned=True))
    assert blank.expiries() == ["2029-02-28", "2029-02-28"]
    blank.settle(blank.order_renewal(S1=1, S2=1, years=3, aligned=True))
    assert blank.expiries() == ["2032-02-28", "2032-02-28"]


def test_S3_of_two_services_that_end_together_the_29_february_is_remembered_by_both(blank: Story) -> None:
    blank.start(service(BASE, "2029-02-28"), service(SPACE, "2028-02-29"))
    blank.settle(blank.order_renewal(S2=1, years=1))
    blank.settle(blank.order_renewal(S1=1, S2=1, years=1, aligned=True))
    assert blank.expiries() == ["2030-02-28", "2030-02-28"]
    blank.settle(blank.order_renewal(S1=1, S2=1, years=2, aligned=True))
    assert blank.expiries() == ["2032-02-29", "2032-02-29"]


# S4


def test_S4_a_configured_user_occupies_a_seat_until_deleted(story: Story) -> None:
    story.configure("user0001")
    assert story.refused("configure-user", username="user0002") == "no_free_seat"
    story.do("delete-user", username="user0001")
    story.configure("user0002")


def test_S4_without_a_free_seat_the_panel_learns_how_many_there_are(story: Story) -> None:
    story.buy_seats(2)
    story.configure("user0001", "user0002", "user0003")
    refusal = story.refusal("configure-user", username="user0004")
    assert isinstance(refusal, NoFreeSeat)
    assert refusal.facts == {"seats": 3}
    assert "carrello" in refusal.message["it"]


def test_S4_the_base_includes_as_many_users_as_the_policy_says() -> None:
    items = [item.model_dump() for item in price_list().items]
    story = Story(price_list(items=[items[0] | {"included_users": 2}, *items[1:]]))
    story.start()
    story.configure("user0001", "user0002")
    assert story.refused("configure-user", username="user0003") == "no_free_seat"


def test_S4_the_included_users_are_a_policy_of_the_day_on_which_the_subscription_started(story: Story) -> None:
    items = [item.model_dump() for item in price_list().items]
    story.reopen(price_list(version="2026-02", items=[items[0] | {"included_users": 5}, *items[1:]]))
    story.configure("user0001")
    assert story.refused("configure-user", username="user0002") == "no_free_seat"


def test_S4_the_included_users_are_there_while_the_base_is_active(story: Story) -> None:
    story.buy_seats(1, extend=False)
    story.configure("user0001", "user0002", on="2026-06-30")
    story.do("delete-user", username="user0002")
    assert story.refused("configure-user", username="user0002", on="2026-07-01") == "no_free_seat"


def test_S4_archive_space_seats_nobody(blank: Story) -> None:
    blank.start(service(BASE, "2026-06-30"), service(SPACE, "2026-06-30", 5))
    blank.configure("user0001")
    assert blank.refused("configure-user", username="user0002") == "no_free_seat"


def test_S4_seats_that_end_with_users_on_them_delete_nobody(story: Story) -> None:
    story.buy_seats(2, extend=False)
    story.settle(story.order_renewal(S1=1, years=3))
    story.configure("user0001", "user0002", "user0003")
    story.close("2027-12-31")
    assert story.subscription.users == {"user0001", "user0002", "user0003"}
    assert story.subscription.seats_for_users(date(2028, 1, 1)) == 1
    assert story.refused("configure-user", username="user0004") == "no_free_seat"
    story.do("delete-user", username="user0001")
    assert story.refused("configure-user", username="user0004") == "no_free_seat"


def test_S4_a_seat_is_free_on_its_last_day_and_not_after(story: Story) -> None:
    story.buy_seats(1, on="2026-03-02")
    story.configure("user0001")
    assert story.send("configure-user", username="user0002", on="2027-03-02").code is None
    story.do("delete-user", username="user0002")
    assert story.refused("configure-user", username="user0002", on="2027-03-03") == "no_free_seat"


# S5


@pytest.mark.parametrize(
    "username", ["user0001", "Abcdefgh", "12345678", "a.b-c_d@efgh", "mario.rossi@studio.it", "u" * 64]
)
def test_S5_a_username_has_at_least_eight_letters_or_digits(story: Story, username: str) -> None:
    assert story.do("configure-user", username=username).names == ["UserConfigured"]


@pytest.mark.parametrize(
    "username",
    ["", "user001", "a.b.c.d.e.f.g", "user 0001", "user0001\n", "........", "u" * 65, "usér0001", "\u0663" * 8],
)
def test_S5_anything_shorter_or_stranger_is_refused(story: Story, username: str) -> None:
    assert story.refused("configure-user", username=username) == "username_invalid"


def test_S5_without_the_read_permission_no_other_can_be_granted(story: Story) -> None:
    assert story.refused("configure-user", username="user0001", permissions=["send"]) == "read_permission_missing"
    assert story.send("configure-user", username="user0001", permissions=["send", "read"]).code is None
    assert story.send("configure-user", username="user0001", permissions=[]).code is None


def test_S5_configuring_an_existing_username_replaces_email_and_permissions(story: Story) -> None:
    story.configure("user0001")
    # No seat is free, and none is needed.
    again = story.do("configure-user", username="user0001", email="new@studio.it", permissions=["read", "send"])
    configured = again.the(UserConfigured)
    assert (configured.email, configured.permissions) == ("new@studio.it", ("read", "send"))
    assert story.subscription.users == {"user0001"}


def test_S5_the_same_username_may_stand_in_another_subscription(story: Story) -> None:
    story.start(subscription_id="SUB-2")
    story.configure("user0001")
    assert story.send("configure-user", subscription_id="SUB-2", username="user0001").code is None


def test_S5_a_user_that_is_not_configured_cannot_be_deleted(story: Story) -> None:
    assert story.refused("delete-user", username="user0001") == "user_unknown"


# S6, S7


def test_S6_alignment_never_shortens(blank: Story) -> None:
    blank.start(service(BASE, "2026-06-30"), service(SPACE, "2029-12-31"))
    order = blank.order_seats(on="2026-03-02")
    fulfilled = blank.settle(order)
    aligned = fulfilled.the(ExpiryAligned)
    assert (aligned.service_id, str(aligned.was), str(aligned.expires_on)) == ("S1", "2026-06-30", "2027-03-02")
    assert blank.expiries() == ["2027-03-02", "2029-12-31", "2027-03-02"]


def test_S6_a_service_that_ends_on_the_very_day_is_not_aligned_again(blank: Story) -> None:
    blank.start(service(BASE, "2027-03-02"))
    assert "ExpiryAligned" not in blank.settle(blank.order_seats(on="2026-03-02")).names


def test_S7_with_alignment_off_other_services_keep_their_expiry(story: Story) -> None:
    assert story.settle(story.order_seats(3, extend=False)).names == ["SeatsAdded", "OrderFulfilled"]
    assert story.expiries() == ["2026-06-30", "2027-03-02"]


def test_S7_what_was_left_alone_may_later_be_renewed_together(story: Story) -> None:
    story.buy_seats(3, extend=False)
    story.settle(story.order_renewal(S1=1, S2=3, aligned=True, on="2026-06-10"))
    assert story.expiries() == ["2027-06-30", "2027-06-30"]


# S8


def statuses(story: Story, service_id: str = "S1") -> list[tuple[str, str]]:
    """The day after whose closing each status began."""
    seen, day = [(str(date(2026, 3, 2)), str(story.service(service_id).status))], date(2026, 3, 2)
    while day < date(2026, 12, 31):
        story.close(day)
        day += timedelta(days=1)
        if story.service(service_id).status != seen[-1][1]:
            seen.append((str(day), str(story.service(service_id).status)))
    return seen


def test_S8_a_service_is_active_then_expiring_then_expired_then_ended(story: Story) -> None:
    assert statuses(story) == [
        ("2026-03-02", "active"),
        ("2026-05-01", "expiring"),
        ("2026-07-01", "expired"),
        ("2026-09-29", "ended"),
    ]


def test_S8_the_days_of_each_status_are_a_policy() -> None:
    story = Story(price_list(lifecycle={"expiring_days": 10, "restricted_days": 0, "reminder_days": []}))
    story.start()
    assert statuses(story) == [("2026-03-02", "active"), ("2026-06-20", "expiring"), ("2026-07-01", "ended")]


def test_S8_a_subscription_keeps_the_policy_it_started_with(story: Story) -> None:
    story.reopen(price_list(lifecycle={"expiring_days": 1, "restricted_days": 1, "reminder_days": [1]}))
    assert statuses(story)[1:] == [("2026-05-01", "expiring"), ("2026-07-01", "expired"), ("2026-09-29", "ended")]


@pytest.mark.parametrize(
    ("expires_on", "status"),
    [
        ("2026-05-02", "active"),
        ("2026-05-01", "expiring"),
        ("2026-03-02", "expiring"),
        ("2026-03-01", "expired"),
        ("2025-12-02", "expired"),
        ("2025-12-01", "ended"),
    ],
)
def test_S8_a_subscription_that_comes_from_elsewhere_starts_where_it_stands(
    blank: Story, expires_on: str, status: str
) -> None:
    blank.start(service(BASE, expires_on), on="2026-03-02")
    assert blank.service("S1").status == status


def test_S8_reminders_fall_due_90_60_30_and_7_days_before(story: Story) -> None:
    day, due = date(2026, 3, 2), []
    while day < date(2026, 7, 2):
        due += [(str(day + timedelta(days=1)), event.days_before) for event in story.close(day).all(ExpiryReminderDue)]
        day += timedelta(days=1)
    assert due == [("2026-04-01", 90), ("2026-05-01", 60), ("2026-05-31", 30), ("2026-06-23", 7)]


def test_S8_a_new_expiry_is_reminded_of_again(story: Story) -> None:
    story.close("2026-04-30")
    story.settle(story.order_renewal(S1=1, on="2026-05-02"))
    assert story.close("2027-03-31").the(ExpiryReminderDue).days_before == 90
    assert story.service("S1").status == "active"


def test_S8_a_service_that_is_not_to_be_renewed_is_not_reminded_of(story: Story) -> None:
    story.buy_seats(2, extend=False)
    story.settle(story.order_renewal(S1=1, S2=0))
    assert story.close("2027-02-28").names == ["DayClosed", "ServiceExpiring"]
    assert story.close("2027-03-02").names == ["DayClosed", "ServiceExpired"]


def test_S8_a_renewal_brings_an_expired_service_back(story: Story) -> None:
    story.close("2026-07-15")
    assert story.service("S1").status == "expired"
    renewed = story.settle(story.order_renewal(S1=1, on="2026-07-20")).the(ServiceRenewed)
    assert (renewed.status, str(renewed.expires_on)) == ("active", "2027-06-30")


# S9


def test_S9_fulfilling_an_order_twice_changes_nothing_the_second_time(story: Story) -> None:
    order = story.order_seats(3)
    assert story.settle(order).names == ["SeatsAdded", "ExpiryAligned", "OrderFulfilled"]
    assert story.fulfil(order).events == []
    assert story.expiries() == ["2027-03-02", "2027-03-02"]


def test_S9_fulfilling_a_renewal_twice_changes_nothing_the_second_time(story: Story) -> None:
    order = story.order_renewal(S1=1)
    assert story.settle(order).names == ["ServiceRenewed", "OrderFulfilled"]
    assert story.fulfil(order).events == []
    assert story.expiries() == ["2027-06-30"]


def test_S9_a_desk_that_has_forgotten_everything_fulfils_no_second_time_either(story: Story) -> None:
    order = story.buy_seats(3)
    story.reopen()
    assert story.fulfil(order).events == []


def test_S9_the_subscription_itself_knows_what_it_was_given(story: Story) -> None:
    order = story.buy_seats(3)
    renewal = story.order_renewal(S1=1, S2=3)
    story.settle(renewal)
    version, on = story.subscription.version, date(2026, 5, 1)
    story.subscription.add_seats(order, SEAT, 3, on=on, extend=["S1"])
    story.subscription.renew(renewal, story.order(renewal).placed.renewals, on=on)
    assert story.subscription.version == version


def test_S9_an_order_that_is_not_paid_is_not_fulfilled(story: Story) -> None:
    order = story.order_seats(3)
    assert story.fulfil(order).events == []
    story.do("cancel-order", order_number=order)
    assert story.fulfil(order).events == []
