"""The latest cart of each subscription."""

from typing import Any

from tests.office import BASE, Office, chosen, service


def cart(office: Office) -> dict[str, Any]:
    [row] = office.view("carts")
    return row


def test_C1_an_open_cart_shows_the_way_in_and_is_empty(office: Office) -> None:
    office.start()
    office.do("open-cart", entry_point="customer_area")
    assert cart(office) == {
        "subscription_id": "SUB-1",
        "entry_point": "customer_area",
        "quantity": None,
        "extend": True,
        "quote": None,
        "status": "open",
    }
    office.do("open-cart", entry_point="panel")
    assert cart(office)["entry_point"] == "customer_area"


def test_C5_the_cart_shows_the_quote_that_the_answer_gave(office: Office) -> None:
    office.start()
    office.do("open-cart")
    for command, said in (
        ("choose-seats", {"quantity": 3}),
        ("switch-alignment", {"extend": False}),
        ("choose-seats", {"quantity": 1}),
        ("switch-alignment", {"extend": True}),
    ):
        reply = office.do(command, **said)
        shown = cart(office)
        assert shown["quote"] == reply["data"]["quote"]
        assert shown["extend"] == shown["quote"]["extend"] == said.get("extend", shown["extend"])
    assert shown["quantity"] == 1


def test_an_empty_carts_alignment_has_no_quote(office: Office) -> None:
    office.start()
    office.do("open-cart")
    office.do("switch-alignment", extend=False)
    assert (cart(office)["extend"], cart(office)["quote"]) == (False, None)


def test_C7_a_renewal_has_a_quote_and_no_quantity(office: Office) -> None:
    office.start()
    office.do("open-cart")
    reply = office.do("choose-renewal", services=chosen(S1=1), years=2)
    assert (cart(office)["quantity"], cart(office)["quote"]) == (None, reply["data"]["quote"])


def test_C5_a_checked_out_cart_keeps_its_quote_and_the_next_one_starts_empty(office: Office) -> None:
    office.start()
    office.do("open-cart")
    office.do("choose-seats", quantity=3)
    reply = office.do("place-order")
    assert (cart(office)["status"], cart(office)["quote"]) == ("checked_out", reply["data"]["quote"])
    office.do("open-cart", entry_point="customer_area")
    shown = cart(office)
    assert (shown["status"], shown["quantity"], shown["quote"]) == ("open", None, None)


def test_C1_a_cart_left_alone_is_abandoned_when_the_day_is_closed(office: Office) -> None:
    office.start(service(BASE, "2027-06-30"))
    office.do("open-cart")
    office.do("choose-seats", quantity=2)
    office.close_day("2026-03-31")
    office.drain()
    assert cart(office)["status"] == "open"
    office.close_day("2026-04-01")
    office.drain()
    assert (cart(office)["status"], cart(office)["quantity"]) == ("abandoned", 2)
