"""Who gets which letter, and when (O4, S2)."""

from datetime import timedelta

import pytest

from tests.office import BASE, Office, service


def subjects(office: Office) -> list[str]:
    office.drain()
    return [str(message["Subject"]) for message in office.mail]


def states(office: Office) -> list[str]:
    return [state for (state,) in office.ask("SELECT state FROM seatline.effects ORDER BY at, id")]


@pytest.mark.parametrize("method", ["bank_transfer", "postal_slip"])
def test_O4_who_pays_later_gets_the_instructions_at_once(office: Office, method: str) -> None:
    office.start(account_holder={"name": "Studio Verdi", "email": "verdi@studio.it", "language": "it"})
    number = office.order_seats(3, method=method)
    office.drain()
    [letter] = office.mail
    assert letter["To"] == "Studio Verdi <verdi@studio.it>"
    assert number in letter["Subject"]
    body = letter.get_body(("plain",))
    assert body is not None
    assert number in body.get_content()


@pytest.mark.parametrize("method", ["card", "paypal", "mybank"])
def test_O4_who_pays_at_once_gets_them_only_if_no_payment_came(office: Office, method: str) -> None:
    office.start()
    office.order_seats(3, method=method)
    office.now += timedelta(minutes=14)
    assert subjects(office) == []
    office.now += timedelta(minutes=1)
    assert len(subjects(office)) == 1


def test_O4_an_immediate_payment_in_time_makes_them_pointless(office: Office) -> None:
    office.start()
    number = office.order_seats(3, method="card")
    assert subjects(office) == []
    office.now += timedelta(minutes=5)
    office.pay(number, method="card")
    office.now += timedelta(minutes=20)
    [subject] = subjects(office)
    assert "pannello" in subject
    assert states(office) == ["dropped", "done"]


def test_O4_a_part_of_an_immediate_payment_is_no_payment(office: Office) -> None:
    office.start()
    number = office.order_seats(3, method="card")
    office.pay(number, "1.00", method="card")
    office.now += timedelta(minutes=15)
    assert len(subjects(office)) == 1


@pytest.mark.parametrize("method", ["card", "bank_transfer"])
def test_O4_nobody_is_told_how_to_pay_a_cancelled_order(office: Office, method: str) -> None:
    office.start()
    office.do("cancel-order", order_number=office.order_seats(3, method=method))
    office.now += timedelta(minutes=15)
    assert subjects(office) == []
    assert states(office) == ["dropped"]


def test_O4_instructions_for_who_pays_later_go_out_even_if_the_payment_overtook_them(office: Office) -> None:
    office.start()
    office.pay(office.order_seats(3))
    assert len(subjects(office)) == 2


def test_O4_how_long_an_immediate_payment_may_take_is_the_policy_of_the_order(office: Office) -> None:
    """It is recorded in the order: a new price list changes nothing for orders that were placed before."""
    office.start()
    office.order_seats(3, method="card")
    office.drain()
    delay = office.ask("SELECT due_at - at FROM seatline.effects")
    assert delay == [(timedelta(minutes=15),)]


def test_S2_word_goes_out_when_the_seats_are_on_the_panel_and_not_before(office: Office) -> None:
    office.start()
    number = office.order_seats(3)
    office.drain()
    office.pay(number)
    office.drain(office.email())
    assert len(office.mail) == 1
    office.drain()
    assert len(office.mail) == 2


def test_letters_are_in_the_holders_language(office: Office) -> None:
    for sub, language in (("SUB-1", "it"), ("SUB-2", "en")):
        holder = {"name": "Anna", "email": "anna@studio.it", "language": language}
        office.start(subscription_id=sub, account_holder=holder)
        office.order_seats(subscription_id=sub)
    office.drain()
    assert [letter["Content-Language"] for letter in office.mail] == ["it", "en"]


def test_a_renewal_has_both_letters_too(office: Office) -> None:
    office.start(service(BASE, "2026-06-30"))
    office.pay(office.order_renewal(1, S1=1))
    assert len(subjects(office)) == 2


def test_what_is_not_bought_brings_no_letter(office: Office) -> None:
    office.start()
    office.do("configure-user", username="annaverdi")
    office.do("open-cart")
    office.do("choose-seats", quantity=1)
    office.pay("nobody's", "10.00")
    office.close_day("2026-06-30")
    assert subjects(office) == []
