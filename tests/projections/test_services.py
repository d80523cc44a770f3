"""Every line of a subscription with its own expiry and status, from its first day to its last."""

import pytest

from tests.office import BASE, SEAT, SPACE, Office, service


def lines(office: Office) -> dict[str, tuple[int, str, str]]:
    """Each service's quantity, expiry and status."""
    return {
        row["service_id"]: (row["quantity"], str(row["expires_on"]), row["status"]) for row in office.view("services")
    }


def test_S1_a_subscription_starts_with_its_services(office: Office) -> None:
    office.start(service(BASE, "2026-06-30"), service(SEAT, "2026-04-15", 2), service(SPACE, "2026-01-31", 5))
    assert lines(office) == {
        "S1": (1, "2026-06-30", "active"),
        "S2": (2, "2026-04-15", "expiring"),
        "S3": (5, "2026-01-31", "expired"),
    }
    first = office.row("services", service_id="S1")
    assert (first["sku"], str(first["active_from"]), first["order_number"]) == (BASE, "2026-03-02", None)


def test_S3_the_seats_of_an_order_are_one_line_that_names_it(office: Office) -> None:
    office.start()
    number = office.order_seats(3)
    office.on("2026-03-05").pay(number)
    office.drain()
    added = office.row("services", service_id="S2")
    assert (added["sku"], added["order_number"]) == (SEAT, number)
    assert str(added["active_from"]) == "2026-03-05"
    assert lines(office) == {"S1": (1, "2027-03-05", "active"), "S2": (3, "2027-03-05", "active")}


def test_S6_a_service_that_ends_later_keeps_its_expiry(office: Office) -> None:
    office.start(service(BASE, "2026-06-30"), service(SPACE, "2028-01-31"))
    office.pay(office.order_seats(1))
    office.drain()
    assert [line[1] for line in lines(office).values()] == ["2027-03-02", "2028-01-31", "2027-03-02"]


LIFE = [
    ("2026-04-29", "active"),
    ("2026-04-30", "expiring"),
    ("2026-06-29", "expiring"),
    ("2026-06-30", "expired"),
    ("2026-09-27", "expired"),
    ("2026-09-28", "ended"),
]


def test_S8_a_service_ages_as_days_are_closed(office: Office) -> None:
    office.start()
    for closed, status in LIFE:
        office.close_day(closed)
        office.drain()
        assert lines(office) == {"S1": (1, "2026-06-30", status)}, closed


@pytest.mark.parametrize(("closed", "status"), LIFE)
def test_S8_days_that_were_not_closed_in_between_make_no_difference(office: Office, closed: str, status: str) -> None:
    office.start()
    office.close_day(closed)
    office.drain()
    assert lines(office) == {"S1": (1, "2026-06-30", status)}


def test_T2_the_clock_alone_expires_nothing(office: Office) -> None:
    office.start()
    office.on("2030-01-01").drain()
    assert lines(office) == {"S1": (1, "2026-06-30", "active")}


def test_C6_a_renewal_revives_an_expired_service_from_its_old_expiry(office: Office) -> None:
    office.start()
    office.close_day("2026-07-20")
    office.drain()
    assert lines(office) == {"S1": (1, "2026-06-30", "expired")}
    office.pay(office.order_renewal(2, S1=1))
    office.drain()
    assert lines(office) == {"S1": (1, "2028-06-30", "active")}


def test_C4_a_reduction_shows_after_the_paid_term(office: Office) -> None:
    office.start(service(BASE, "2026-06-30"), service(SEAT, "2026-06-30", 3))
    office.pay(office.order_renewal(S1=1, S2=1))
    office.drain()
    assert lines(office)["S2"] == (3, "2027-06-30", "active")
    office.close_day("2026-06-30")
    office.drain()
    assert lines(office)["S2"] == (1, "2027-06-30", "active")


def test_C4_a_service_that_was_not_renewed_runs_out(office: Office) -> None:
    office.start(service(BASE, "2026-06-30"), service(SEAT, "2026-06-30", 3))
    office.pay(office.order_renewal(S1=1, S2=0))
    office.drain()
    assert lines(office)["S2"] == (3, "2026-06-30", "active")
    office.close_day("2026-06-30")
    office.drain()
    assert lines(office) == {"S1": (1, "2027-06-30", "active"), "S2": (3, "2026-06-30", "expired")}


def test_S3_a_leap_day_returns(office: Office) -> None:
    office.on("2024-02-29").start(service(BASE, "2024-12-31"))
    office.pay(office.order_seats(1))
    office.drain()
    assert lines(office)["S2"] == (1, "2025-02-28", "active")
    office.pay(office.order_renewal(3, S2=1))
    office.drain()
    assert lines(office)["S2"] == (1, "2028-02-29", "active")
