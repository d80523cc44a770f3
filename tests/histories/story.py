"""A story in which everything happens that can be stored: every event, with and without all that may be missing."""

import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from adapters.clerk import Clerk
from adapters.forgetting import erasure
from adapters.settings import load_shopfront
from domain.terms import ProrationRule
from scripts.interface.story import Story
from tests.office import BASE, SEAT, SPACE, Office, Reply, chosen, service

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def told(office: Office) -> None:
    _the_example(office)
    for rule in ("monthly", "monthly_daily", "thirty_360"):
        _another_price_list(office, rule)
    _a_correction(office)
    _what_else_may_be(office)
    _who_is_forgotten(office)


def _the_example(office: Office) -> None:
    """What the examples for integrators tell, which name every event."""
    for command in Story().commands:
        _send(office, command)


def _send(office: Office, command: dict[str, Any]) -> None:
    """A fifth of a second after its own time, and with all that follows from it."""
    office.now = datetime.fromisoformat(command["time"]) + timedelta(milliseconds=200)
    office.handle(json.dumps(command).encode())
    office.drain(office.activation(), office.calendar())


def _another_price_list(office: Office, rule: str) -> None:
    """A customer of a year in which a price list with another proration rule is in force."""
    office.on("2030-01-07")
    policies = {"version": f"2030-{rule}", "proration": ProrationRule(rule)}
    prices = load_shopfront(None).prices.model_copy(update=policies)
    customer = {"subscription_id": f"SUB-{rule}", "clerk": Clerk(office.log, prices, clock=lambda: office.now)}
    office.start(service(BASE, "2030-05-20"), service(SPACE, "2030-03-31", 2), **customer)
    office.do("open-cart", **customer)
    office.do("choose-seats", quantity=2, **customer)
    office.do("switch-alignment", extend=False, **customer)
    office.do("switch-alignment", extend=True, **customer)
    _pay(office, office.do("place-order", payment_method="postal_slip", **customer))
    office.do("open-cart", **customer)
    office.do("choose-renewal", services=chosen(S1=1, S2=2), years=2, **customer)
    _pay(office, office.do("place-order", payment_method="mybank", **customer))


def _a_correction(office: Office) -> None:
    """A customer whose money is registered a day before it comes, on a 29 February."""
    customer: dict[str, Any] = {"subscription_id": "SUB-4"}
    office.on("2032-02-27").start(service(BASE, "2032-06-30"), **customer)
    number = office.order_seats(1, **customer)
    office.pay(number, "1.00", reference="PART-4")
    office.do("correct-payment", reference="PART-4", value_date="2032-02-26")
    office.on("2032-02-28").do("correct-payment", reference="PART-4", registered_on="2032-02-28")
    office.pay(number, reference="REST-4")
    office.drain(office.activation())
    office.on("2032-02-29").do("correct-payment", reference="REST-4", registered_on="2032-02-29")


def _what_else_may_be(office: Office) -> None:
    """A customer who has all that the others lack, from a 29 February on."""
    office.on("2032-02-29")
    tax_code = "XXXXXX00X00X000X"
    holder = {"name": "Bruno Neri", "email": "bruno@studio.example", "language": "en", "tax_code": tax_code}
    customer: dict[str, Any] = {"subscription_id": "SUB-2"}
    services = (
        service(BASE, "2032-06-30"), service(SPACE, "2036-02-29"), service(SEAT, "2032-03-31", 2),
        service(SPACE, "2032-02-01"), service(SPACE, "2031-01-31"),
    )  # fmt: skip
    office.start(*services, account_holder=holder, **customer)
    office.do("configure-user", username="brunoneri", permissions=[], **customer)
    office.do("configure-user", username="brunoneri", email="neri@studio.example", **customer)
    yesterday = office.now - timedelta(days=1)
    office.do("configure-user", username="carlaverdi", permissions=[], at=yesterday, **customer)

    office.do("open-cart", entry_point="customer_area", **customer)
    office.do("switch-alignment", extend=False, **customer)
    office.do("switch-alignment", extend=True, **customer)
    office.do("choose-seats", quantity=2, **customer)
    order = json.loads(office.line("place-order", payment_method="card", **customer)) | {"traceparent": TRACE}
    [placed] = office.handle(json.dumps(order).encode())
    _pay(office, placed)

    _renew(office.on("2032-03-01"), years=3, S1=1, S4=1)
    _renew(office.on("2032-03-02"), years=1, extend=False, S2=1, S4=1)

    cancelled = office.on("2032-03-03").order_seats(1, **customer)
    office.pay(cancelled, "10.00", reference="BACK-1")
    office.on("2032-03-04").do("cancel-order", order_number=cancelled, reason="troppo tardi")
    office.pay(cancelled, "5.00", reference="LATE-1")
    mine = office.on("2032-03-05").order_seats(1, **customer)
    office.do("match-payment", reference="BACK-1", order_number=mine)
    office.do("refund-payment", reference="LATE-1", amount="5.00")
    office.pay("grazie", "7.00", reference="NOBODYS-1")
    office.do("refund-payment", reference="NOBODYS-1", amount="3.00")
    office.close_day("2032-04-15")
    office.drain(office.activation(), office.calendar())


def _who_is_forgotten(office: Office) -> None:
    """A customer who buys, and comes back and buys again after all about her was erased."""
    customer: dict[str, Any] = {"subscription_id": "SUB-3"}
    office.on("2032-05-03").start(service(BASE, "2032-12-31"), service(SEAT, "2032-12-31", 3), **customer)
    for username in ("annabianchi", "brunoneri"):
        office.do("configure-user", username=username, **customer)
    office.do("delete-user", username="brunoneri", **customer)
    office.pay("per Anna", "7.00", reference="THANKS-1")
    mine = office.on("2032-05-04").order_seats(1, **customer)
    office.do("match-payment", reference="THANKS-1", order_number=mine)
    office.do("cancel-order", order_number=mine, reason="cambiata idea")
    office.pay(office.order_seats(1, **customer), reference="BEFORE-3")
    office.drain(office.activation())
    _erase(office, "SUB-3", "THANKS-1")
    office.on("2032-05-05").do("configure-user", username="annabianchi", **customer)
    office.pay(office.order_seats(1, **customer), reference="AFTER-3")
    office.drain(office.activation())


def _erase(office: Office, subscription: str, *payments: str) -> None:
    command = erasure(subscription, payments, reason="asked for", operator="olga", time=office.now)
    [answer] = office.clerk.handle([command])
    assert answer.outcome == "accepted"


def _renew(office: Office, *, years: int, extend: bool = True, **services: int) -> None:
    customer: dict[str, Any] = {"subscription_id": "SUB-2"}
    office.do("open-cart", **customer)
    office.do("choose-renewal", services=chosen(**services), years=years, **customer)
    if not extend:
        office.do("switch-alignment", extend=False, **customer)
    _pay(office, office.do("place-order", payment_method="paypal", **customer))


def _pay(office: Office, placed: Reply) -> None:
    """What the order costs, and a cent that it doesn't."""
    number, total = placed["data"]["order_number"], Decimal(placed["data"]["quote"]["total"])
    office.pay(number, f"{total + Decimal('0.01')}", reference=f"PAY-{number}", method="card")
    office.drain(office.activation())
