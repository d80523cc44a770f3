"""How an order gets paid, or not: at once or later, whole or in parts, under the right number or another."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scripts.workload.customer import Customer, Order, Step

OPERATORS = ("olga", "pietro", "quinto")
REASONS = ("ho cambiato idea", "ordine doppio", "ordered by mistake")
PREFIXES = {"card": "CARD", "paypal": "PP", "mybank": "MYB", "bank_transfer": "CRO", "postal_slip": "VCY"}


def pay(customer: "Customer", order: "Order") -> "Iterator[Step]":
    market = customer.market
    immediate = order.method in ("card", "paypal", "mybank")
    yield market.minutes(1, 15) if immediate else market.between(1, 10)
    ways = AT_ONCE if immediate else LATER
    way = market.random.choices(list(ways), list(ways.values()))[0]
    yield from way(customer, order)


def _right(customer: "Customer", order: "Order") -> "Iterator[Step]":
    market = customer.market
    customer.has_paid(order)
    reference = _reference(customer, order)
    yield _registered(customer, order, order.total, reference=reference)
    yield market.between(0, 1)
    if market.chance(0.01):
        yield market.between(1, 5)
        yield _corrected(customer, reference)


def _twice_the_same(customer: "Customer", order: "Order") -> "Iterator[Step]":
    """The bank reports one payment in two statements: the same reference, under another command id."""
    customer.has_paid(order)
    reference = _reference(customer, order)
    for _ in range(2):
        yield _registered(customer, order, order.total, reference=reference)
        yield customer.market.between(0, 2)


def _in_two_parts(customer: "Customer", order: "Order") -> "Iterator[Step]":
    market = customer.market
    customer.has_paid(order)
    reference = _reference(customer, order)
    part = (order.total / market.whole(2, 4)).quantize(Decimal("0.01"))
    yield _registered(customer, order, part, reference=reference)
    yield market.between(1, 7)
    if market.chance(0.15):
        yield _unmatched(customer, order, reference)
        yield market.between(0, 2)
        yield _matched(customer, order, reference)
        yield market.between(0, 2)
    yield _registered(customer, order, order.total - part)
    yield market.between(0, 1)


def _surplus(customer: "Customer", order: "Order") -> "Iterator[Step]":
    market = customer.market
    customer.has_paid(order)
    reference, surplus = _reference(customer, order), Decimal(market.whole(1, 50_00)) / 100
    yield _registered(customer, order, order.total + surplus, reference=reference)
    if market.chance(0.6):
        yield market.between(1, 20)
        yield _refunded(customer, reference, surplus)


def _late(customer: "Customer", order: "Order") -> "Iterator[Step]":
    market = customer.market
    yield market.between(25, 50)  # which may still be in time
    customer.has_paid(order)
    reference = _reference(customer, order)
    yield _registered(customer, order, order.total, reference=reference)
    if market.chance(0.5) and market.today > order.lapses_on:
        yield market.between(1, 20)
        yield _refunded(customer, reference, order.total)


def _mistyped(customer: "Customer", order: "Order") -> "Iterator[Step]":
    """An orphan, which an operator matches, splits or refunds, or which waits for ever."""
    market = customer.market
    reference, extra = _reference(customer, order), Decimal("10.00") if market.chance(0.2) else Decimal()
    yield _registered(customer, order, order.total + extra, reference=reference, number=_mistype(customer, order))
    yield market.between(1, 10)
    if market.chance(0.15):
        yield _refunded(customer, reference, order.total)
    elif market.chance(0.7):
        customer.has_paid(order)
        yield _split(customer, order, reference) if extra else _matched(customer, order, reference)
        yield market.between(0, 1)


def _another_currency(customer: "Customer", order: "Order") -> "Iterator[Step]":
    yield _registered(customer, order, order.total, currency="CHF")
    yield customer.market.between(1, 5)
    yield from _right(customer, order)


def _cancelled(customer: "Customer", order: "Order") -> "Iterator[Step]":
    market = customer.market
    customer.is_released_from(order)
    yield _cancel(customer, order)
    if market.chance(0.1):
        yield market.between(0, 10)
        yield _registered(customer, order, order.total)  # it was under way already, and is the payer's again


def _never(customer: "Customer", order: "Order") -> "Iterator[Step]":
    yield customer.market.between(3, 40)


Way = Callable[["Customer", "Order"], "Iterator[Step]"]

AT_ONCE: dict[Way, int] = {_right: 86, _twice_the_same: 4, _surplus: 2, _cancelled: 3, _never: 5}
LATER: dict[Way, int] = {
    _right: 64,
    _in_two_parts: 6,
    _surplus: 5,
    _late: 5,
    _mistyped: 6,
    _twice_the_same: 4,
    _another_currency: 2,
    _cancelled: 4,
    _never: 4,
}


# Lines


def _registered(
    customer: "Customer",
    order: "Order",
    amount: Decimal,
    *,
    reference: str = "",
    number: str = "",
    currency: str = "EUR",
) -> str:
    market = customer.market
    reference = reference or _reference(customer, order)
    return market.command(
        "register-payment",
        customer.subscription,
        f'{{"order_number":"{number or order.number}","amount":"{amount:.2f}","currency":"{currency}",'
        f'"method":"{order.method}","reference":"{reference}","value_date":"{market.today}"}}',
        source="/bank/statements",
    )


def _cancel(customer: "Customer", order: "Order") -> str:
    data = f'{{"order_number":"{order.number}","reason":"{customer.market.pick(REASONS)}"}}'
    return customer.market.command("cancel-order", customer.subscription, data, actor=customer.actor)


def _matched(customer: "Customer", order: "Order", reference: str) -> str:
    return _by_operator(customer, "match-payment", reference, f'"order_number":"{order.number}"')


def _unmatched(customer: "Customer", order: "Order", reference: str) -> str:
    return _by_operator(customer, "unmatch-payment", reference, f'"order_number":"{order.number}"')


def _split(customer: "Customer", order: "Order", reference: str) -> str:
    part = f'{{"order_number":"{order.number}","amount":"{order.total:.2f}"}}'
    return _by_operator(customer, "split-payment", reference, f'"parts":[{part}]')


def _refunded(customer: "Customer", reference: str, amount: Decimal) -> str:
    return _by_operator(customer, "refund-payment", reference, f'"amount":"{amount:.2f}"')


def _corrected(customer: "Customer", reference: str) -> str:
    dates = f'"value_date":"{customer.market.today - timedelta(days=1)}","reason":"the bank gave another date"'
    return _by_operator(customer, "correct-payment", reference, dates)


def _by_operator(customer: "Customer", type_: str, reference: str, rest: str) -> str:
    operator = customer.market.pick(OPERATORS)
    data = f'{{"reference":"{reference}",{rest},"operator":"{operator}"}}'
    return customer.market.command(type_, customer.subscription, data, source="/backoffice", actor=operator)


def _reference(customer: "Customer", order: "Order") -> str:
    return customer.market.reference(PREFIXES[order.method])


def _mistype(customer: "Customer", order: "Order") -> str:
    """Another digit, or two neighbours swapped: the check digit makes sure that it is nobody's number."""
    digits = list(order.number)
    place = customer.market.whole(0, len(digits) - 2)
    if digits[place] != digits[place + 1] and customer.market.chance(0.5):
        digits[place : place + 2] = digits[place + 1], digits[place]
    else:
        digits[place] = str((int(digits[place]) + 1) % 10)
    return "".join(digits)
