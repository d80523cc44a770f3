"""The panel's sums: what is purchased, active, configured, available and pending."""

from typing import Any

import pytest

from tests.office import BASE, SEAT, SPACE, SUB, Office, service

COLUMNS = ("purchased", "active", "configured", "available", "pending")


def sums(office: Office) -> tuple[int, ...]:
    """Seats purchased, active, configured, available and pending."""
    row = seats(office)
    return tuple(row[f"seats_{column}"] for column in COLUMNS)


def seats(office: Office) -> dict[str, Any]:
    return office.row("seats", subscription_id=SUB)


def end(office: Office) -> tuple[str, bool | None]:
    row = seats(office)
    return str(row["next_expiry"]), row["aligned"]


def test_S4_a_new_subscription_has_room_for_the_included_users(office: Office) -> None:
    office.start()
    assert sums(office) == (0, 0, 0, 1, 0)
    assert end(office) == ("2026-06-30", True)


def test_S2_seats_are_pending_until_the_payment_is_registered_and_the_order_fulfilled(office: Office) -> None:
    office.start()
    number = office.order_seats(3)
    assert sums(office) == (0, 0, 0, 1, 3)
    office.pay(number, "64.38")
    assert sums(office) == (0, 0, 0, 1, 3)
    office.pay(number, "0.01")
    assert sums(office) == (0, 0, 0, 1, 0)
    office.drain(office.activation())
    assert sums(office) == (3, 3, 0, 4, 0)
    assert end(office) == ("2027-03-02", True)


def test_O10_the_seats_of_several_open_orders_are_all_pending(office: Office) -> None:
    office.start()
    first, second = office.order_seats(2, extend=False), office.order_seats(5, extend=False)
    assert sums(office) == (0, 0, 0, 1, 7)
    office.do("cancel-order", order_number=first)
    assert sums(office) == (0, 0, 0, 1, 5)
    office.pay(second)
    office.drain(office.activation())
    assert sums(office) == (5, 5, 0, 6, 0)


def test_O8_an_order_that_lapsed_is_pending_until_its_day_is_closed(office: Office) -> None:
    office.start(service(BASE, "2027-06-30"))
    office.order_seats(2)
    office.on("2026-04-02")
    assert sums(office) == (0, 0, 0, 1, 2)
    office.close_day("2026-04-01")
    office.drain(office.calendar())
    assert sums(office) == (0, 0, 0, 1, 0)


def test_O11_a_base_service_that_expired_since_the_order_revives_with_the_seats(office: Office) -> None:
    office.start(service(BASE, "2026-03-03"))
    number = office.order_seats(2)
    office.close_day("2026-03-03")
    office.drain(office.calendar())
    assert sums(office) == (0, 0, 0, 0, 2)
    office.on("2026-03-20").pay(number)
    office.drain(office.activation())
    assert sums(office) == (2, 2, 0, 3, 0)
    assert end(office) == ("2027-03-20", True)


def test_S7_services_that_end_on_different_days_are_not_aligned(office: Office) -> None:
    office.start()
    office.pay(office.order_seats(2, extend=False))
    office.drain(office.activation())
    assert sums(office) == (2, 2, 0, 3, 0)
    assert end(office) == ("2026-06-30", False)


def test_S4_each_configured_user_takes_one_seat_however_often_configured(office: Office) -> None:
    office.start(service(BASE, "2026-06-30"), service(SEAT, "2026-06-30", 2))
    for username in ("annaverdi", "brunoneri", "annaverdi"):
        office.do("configure-user", username=username)
    assert sums(office) == (2, 2, 2, 1, 0)
    office.do("delete-user", username="annaverdi")
    assert sums(office) == (2, 2, 1, 2, 0)
    office.do("configure-user", username="annaverdi")
    assert sums(office) == (2, 2, 2, 1, 0)


def test_C2_archive_space_is_no_seat(office: Office) -> None:
    office.start(service(BASE, "2026-06-30"), service(SPACE, "2026-05-31", 20))
    assert sums(office) == (0, 0, 0, 1, 0)
    assert end(office) == ("2026-05-31", False)


def test_S4_seats_that_end_delete_nobody(office: Office) -> None:
    office.start(service(BASE, "2027-06-30"), service(SEAT, "2026-04-30", 2))
    for username in ("annaverdi", "brunoneri", "carlobianchi"):
        office.do("configure-user", username=username)
    assert sums(office) == (2, 2, 3, 0, 0)
    office.close_day("2026-04-30")
    office.drain()
    assert sums(office) == (2, 0, 3, 0, 0)
    assert end(office) == ("2027-06-30", True)
    office.close_day("2026-07-29")
    office.drain()
    assert sums(office) == (0, 0, 3, 0, 0)


def test_S8_the_last_day_still_counts(office: Office) -> None:
    office.start(service(BASE, "2027-06-30"), service(SEAT, "2026-04-30", 2))
    office.close_day("2026-04-29")
    office.drain()
    assert sums(office) == (2, 2, 0, 3, 0)


def test_when_no_service_is_active_nothing_expires_next(office: Office) -> None:
    office.start(service(BASE, "2026-03-03"))
    office.close_day("2026-03-03")
    office.drain()
    assert sums(office) == (0, 0, 0, 0, 0)
    assert end(office) == ("None", None)


def test_C4_seats_given_up_in_a_renewal_stay_until_the_paid_term_is_over(office: Office) -> None:
    office.start(service(BASE, "2026-06-30"), service(SEAT, "2026-06-30", 3))
    office.pay(office.order_renewal(S1=1, S2=1))
    office.drain()
    assert sums(office) == (3, 3, 0, 4, 0)
    assert end(office) == ("2027-06-30", True)
    office.close_day("2026-06-30")
    office.drain()
    assert sums(office) == (1, 1, 0, 2, 0)


def test_C6_a_renewal_has_no_pending_seats(office: Office) -> None:
    office.start(service(BASE, "2026-06-30"), service(SEAT, "2026-06-30", 3))
    office.order_renewal(S1=1, S2=3)
    assert sums(office) == (3, 3, 0, 4, 0)


@pytest.mark.parametrize("command", ["open-cart", "cancel-order"])
def test_a_row_keeps_the_position_of_the_last_event_that_changed_it(office: Office, command: str) -> None:
    started = office.start()
    number = office.order_seats(1)
    placed = office.log.head() - 1  # before ServicesHeld, which this view ignores
    office.view("seats")
    assert office.ask("SELECT position FROM panel.seats") == [(placed,)]
    changed = office.do(
        command, **({"order_number": number} if command == "cancel-order" else {"entry_point": "panel"})
    )
    office.view("seats")
    [[position]] = office.ask("SELECT position FROM panel.seats")
    assert started["position"] < position <= changed["position"]
    assert (position == placed) == (command == "open-cart")


def test_every_subscription_has_its_own_row(office: Office) -> None:
    for sub in ("SUB-2", "SUB-1", "sub-1"):
        office.start(service(BASE, "2026-06-30"), service(SEAT, "2026-06-30"), subscription_id=sub)
    office.do("configure-user", username="annaverdi")
    configured = {row["subscription_id"]: row["seats_configured"] for row in office.view("seats")}
    assert configured == {"SUB-1": 1, "SUB-2": 0, "sub-1": 0}
