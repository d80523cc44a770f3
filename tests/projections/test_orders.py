"""What was bought, what has come in for it, and where it stands."""

from datetime import date
from decimal import Decimal
from typing import Any

from tests.office import BASE, OPENING, SUB, Office, service


def order(office: Office, number: str) -> dict[str, Any]:
    return office.row("orders", order_number=number)


def standing(office: Office, number: str) -> tuple[str, str]:
    row = order(office, number)
    return row["status"], str(row["paid"])


def test_O2_a_placed_order_awaits_its_payment(office: Office) -> None:
    office.start()
    number = office.order_seats(3)
    assert order(office, number) == {
        "order_number": number,
        "subscription_id": SUB,
        "status": "awaiting_payment",
        "placed_at": OPENING,
        "payment_method": "bank_transfer",
        "net": Decimal("52.78"),
        "vat": Decimal("11.61"),
        "total": Decimal("64.39"),
        "paid": Decimal("0.00"),
        "lapses_on": date(2026, 4, 1),
    }


def test_O6_payments_add_up_until_the_order_is_paid_and_then_fulfilled(office: Office) -> None:
    office.start()
    number = office.order_seats(3)
    office.pay(number, "20.00")
    assert standing(office, number) == ("awaiting_payment", "20.00")
    office.pay(number, "30.00")
    assert standing(office, number) == ("awaiting_payment", "50.00")
    office.pay(number, "20.00")
    assert standing(office, number) == ("paid", "64.39")
    office.drain(office.activation())
    assert standing(office, number) == ("fulfilled", "64.39")


def test_O6_what_an_operator_takes_back_is_no_longer_paid(office: Office) -> None:
    office.start()
    number = office.order_seats(3)
    office.pay(number, "20.00", reference="PAY")
    office.do("unmatch-payment", reference="PAY", order_number=number)
    assert standing(office, number) == ("awaiting_payment", "0.00")


def test_O8_a_cancelled_order_shows_what_it_had_received(office: Office) -> None:
    office.start()
    number = office.order_seats(3)
    office.pay(number, "20.00")
    office.do("cancel-order", order_number=number)
    assert standing(office, number) == ("cancelled", "20.00")
    office.pay(number, "44.39")
    assert standing(office, number) == ("cancelled", "20.00")


def test_O8_an_order_expires_when_its_last_payable_day_is_closed(office: Office) -> None:
    office.start()
    number = office.order_seats(3)
    office.close_day("2026-03-31")
    office.drain()
    assert standing(office, number) == ("awaiting_payment", "0.00")
    office.close_day("2026-04-01")
    office.drain()
    assert standing(office, number) == ("expired", "0.00")


def test_O11_an_order_whose_service_has_ended_is_shown_as_cancelled(office: Office) -> None:
    office.on("2026-03-31").start(service(BASE, "2025-12-31"))
    number = office.order_renewal(1, S1=1)
    office.on("2026-04-10").pay(number)
    office.drain()
    assert standing(office, number)[0] == "cancelled"
    assert office.view("payments")[0]["state"] == "surplus"


def test_O5_order_numbers_are_unique_over_subscriptions(office: Office) -> None:
    numbers = []
    for sub in ("SUB-1", "SUB-2"):
        office.start(subscription_id=sub)
        numbers += [office.order_seats(extend=False, subscription_id=sub) for _ in range(3)]
    assert sorted(row["order_number"] for row in office.view("orders")) == sorted(set(numbers))


def test_T3_placed_at_is_business_time(office: Office) -> None:
    """A command that comes late is placed when the customer ordered, not when it was decided."""
    ordered = OPENING.replace(month=2)
    office.start(at=ordered)
    office.do("open-cart", at=ordered)
    office.do("choose-seats", quantity=1, at=ordered)
    office.do("place-order", at=ordered)
    [row] = office.view("orders")
    assert (row["placed_at"], row["lapses_on"]) == (ordered, date(2026, 3, 4))
