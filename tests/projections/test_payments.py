"""What came in, and where each cent of it stands: nothing vanishes (O6)."""

from decimal import Decimal

from tests.office import Office

Standing = tuple[str, str, str, str, str]


def standing(office: Office, reference: str = "PAY") -> Standing:
    """State, allocated, refundable, unallocated, refunded; and no cent is missing."""
    row = office.row("payments", reference=reference)
    pockets = [row[name] for name in ("allocated", "refundable", "unallocated", "refunded")]
    assert sum(pockets, Decimal()) == row["amount"]
    allocated, refundable, unallocated, refunded = map(str, pockets)
    return row["state"], allocated, refundable, unallocated, refunded


def ordered(office: Office) -> str:
    """An order of 64.39 euro."""
    office.start()
    return office.order_seats(3)


def test_a_payment_shows_what_the_bank_said(office: Office) -> None:
    number = ordered(office)
    office.pay(number, "64.39", reference="CRO/2026:0001", value_date="2026-02-27")
    row = office.row("payments", reference="CRO/2026:0001")
    assert (row["order_number"], row["amount"], row["currency"]) == (number, Decimal("64.39"), "EUR")
    assert str(row["value_date"]) == "2026-02-27"


def test_O6_a_part_is_allocated(office: Office) -> None:
    office.pay(ordered(office), "20.00", reference="PAY")
    assert standing(office) == ("allocated", "20.00", "0.00", "0.00", "0.00")


def test_O6_a_surplus_is_refundable_and_then_refunded(office: Office) -> None:
    office.pay(ordered(office), "70.00", reference="PAY")
    assert standing(office) == ("surplus", "64.39", "5.61", "0.00", "0.00")
    office.do("refund-payment", reference="PAY", amount="5.00")
    assert standing(office) == ("surplus", "64.39", "0.61", "0.00", "5.00")
    office.do("refund-payment", reference="PAY", amount="0.61")
    assert standing(office) == ("allocated", "64.39", "0.00", "0.00", "5.61")


def test_O6_a_second_payment_of_a_paid_order_is_all_surplus(office: Office) -> None:
    number = ordered(office)
    office.pay(number)
    office.pay(number, "64.39", reference="PAY")
    assert standing(office) == ("surplus", "0.00", "64.39", "0.00", "0.00")
    office.do("refund-payment", reference="PAY", amount="64.39")
    assert standing(office) == ("refunded", "0.00", "0.00", "0.00", "64.39")


def test_O8_a_payment_for_a_cancelled_order_is_late(office: Office) -> None:
    number = ordered(office)
    office.do("cancel-order", order_number=number)
    office.pay(number, "64.39", reference="PAY")
    assert standing(office) == ("late", "0.00", "64.39", "0.00", "0.00")


def test_O8_a_payment_after_the_last_payable_day_is_late_before_the_day_is_closed(office: Office) -> None:
    number = ordered(office)
    office.on("2026-04-02").pay(number, "64.39", reference="PAY")
    assert standing(office) == ("late", "0.00", "64.39", "0.00", "0.00")


def test_O8_what_a_cancelled_order_had_received_is_refundable(office: Office) -> None:
    number = ordered(office)
    office.pay(number, "20.00", reference="PAY")
    office.do("cancel-order", order_number=number)
    assert standing(office) == ("surplus", "0.00", "20.00", "0.00", "0.00")


def test_O6_an_orphan_waits_for_an_operator_who_matches_it(office: Office) -> None:
    number = ordered(office)
    office.pay("12345 thanks, Anna", "64.39", reference="PAY")
    assert standing(office) == ("orphan", "0.00", "0.00", "64.39", "0.00")
    assert office.row("payments", reference="PAY")["order_number"] == "12345 thanks, Anna"
    office.do("match-payment", reference="PAY", order_number=number)
    assert standing(office) == ("allocated", "64.39", "0.00", "0.00", "0.00")
    assert office.row("payments", reference="PAY")["order_number"] == number


def test_O6_an_orphan_may_be_refunded(office: Office) -> None:
    office.pay("nothing", "64.39", reference="PAY")
    office.do("refund-payment", reference="PAY", amount="4.39")
    assert standing(office) == ("orphan", "0.00", "0.00", "60.00", "4.39")
    office.do("refund-payment", reference="PAY", amount="60.00")
    assert standing(office) == ("refunded", "0.00", "0.00", "0.00", "64.39")


def test_O6_an_unmatched_payment_is_an_orphan_again(office: Office) -> None:
    number = ordered(office)
    office.pay(number, "20.00", reference="PAY")
    office.do("unmatch-payment", reference="PAY", order_number=number)
    assert standing(office) == ("orphan", "0.00", "0.00", "20.00", "0.00")


def test_O6_a_payment_may_be_split_over_orders(office: Office) -> None:
    office.start()
    first, second = office.order_seats(1, extend=False), office.order_seats(2, extend=False)
    office.pay("both of them", "50.00", reference="PAY")
    parts = [{"order_number": first, "amount": "14.64"}, {"order_number": second, "amount": "30.00"}]
    office.do("split-payment", reference="PAY", parts=parts)
    assert standing(office) == ("orphan", "43.92", "0.72", "5.36", "0.00")
    office.drain()
    assert [row["status"] for row in office.view("orders")] == ["fulfilled", "fulfilled"]


def test_O9_another_currency_never_enters(office: Office) -> None:
    number = ordered(office)
    reply = office.send(
        "register-payment", order_number=number, amount="64.39", reference="PAY", currency="CHF", method="card"
    )
    assert reply["code"] == "currency_not_accepted"
    assert office.view("payments") == []
