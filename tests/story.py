"""A long story with most of what can happen, to be projected, rebuilt, interrupted and looked back at."""

from collections.abc import Iterator
from datetime import timedelta

from tests.office import BASE, SEAT, SPACE, Office, service


def told(office: Office) -> Iterator[str]:
    """Two customers over two and a half years; pauses after every chapter, and goes on an hour later."""
    for chapter in _chapters(office):
        yield chapter
        office.now += timedelta(hours=1)


def _chapters(office: Office) -> Iterator[str]:
    office.on("2025-03-03").start(service(BASE, "2025-06-30"), service(SPACE, "2025-04-15", 2))
    office.start(service(BASE, "2025-12-31"), service(SEAT, "2025-12-31", 2), subscription_id="SUB-2")
    office.do("configure-user", username="annaverdi", permissions=["read", "send"])
    yield "started"
    first = office.order_seats(3)
    yield "ordered"
    office.on("2025-03-05").pay(first, "20.00", reference="HALF")
    yield "half paid"
    office.on("2025-03-06").pay(first, reference="REST")
    office.drain(office.activation())
    yield "fulfilled"
    for username in ("brunoneri", "carlobianchi"):
        office.do("configure-user", username=username)
    office.do("configure-user", username="annaverdi", permissions=["read"])
    office.do("delete-user", username="brunoneri")
    yield "configured"
    cancelled = office.on("2025-04-01").order_seats(1, extend=False)
    office.do("cancel-order", order_number=cancelled)
    office.pay(cancelled, "14.64", reference="LATE")
    yield "cancelled"
    second = office.on("2025-05-02").order_seats(2, extend=False, method="card")
    office.pay("no such order", "29.28", reference="ORPHAN")
    office.do("match-payment", reference="ORPHAN", order_number=second)
    office.pay(second, "29.28", reference="TWICE")
    office.do("refund-payment", reference="TWICE", amount="9.28")
    office.drain(office.activation())
    yield "paid twice"
    office.on("2025-06-01").order_seats(1, extend=False)
    office.close_day("2025-07-01")
    office.drain(office.calendar())
    yield "lapsed"
    office.do("open-cart", subscription_id="SUB-2")
    office.do("choose-seats", quantity=1, subscription_id="SUB-2")
    office.close_day("2026-01-20")
    office.drain(office.calendar())
    yield "a year later"
    office.pay(office.on("2026-02-10").order_renewal(1, aligned=True, S1=1, S3=1, S4=0))
    office.drain(office.activation())
    yield "renewed"
    office.close_day("2026-03-07")
    office.drain(office.calendar())
    yield "reduced"
    office.close_day("2027-09-01")
    office.drain(office.calendar())
    yield "ended"
