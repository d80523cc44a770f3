"""A quote counted again from the facts that stand in it, never from a price list (P1, P2)."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from domain.money import net, vat
from domain.pricing import LEAP_DAY, Quote, QuoteLine, quote_hash
from domain.terms import Anchor, ProrationRule, prorate, text

NOTHING = Decimal("0.00")
SEATS = ("1",)


class Miscount(NamedTuple):
    """A value of a quote that doesn't follow from the others."""

    what: str
    expected: str
    found: str


def miscounts(quote: Quote) -> list[Miscount]:
    wrong: list[Miscount] = []
    net_total = NOTHING
    for line in quote.lines:
        fractions = SEATS if line.kind == "seats" else _fractions(quote.proration, line.start, line.end)
        expected_net = _net(line.unit_price, line.quantity, line.fraction)
        if line.fraction not in fractions or expected_net != line.net:
            wrong += _of_line(line, fractions, expected_net)
        net_total += line.net
    tax = vat(quote.net, quote.vat_rate)
    expected = (
        net_total,
        tax,
        quote.net + quote.vat,
        max([line.end for line in quote.lines], default=None),
        quote_hash(quote),
    )
    found = (quote.net, quote.vat, quote.total, quote.expires_on, quote.hash)
    if expected != found:
        names = ("net", "vat", "total", "expires_on", "hash")
        wrong += [
            Miscount(name, str(right), str(said))
            for name, right, said in zip(names, expected, found, strict=True)
            if right != said
        ]
    return wrong


def _of_line(line: QuoteLine, fractions: tuple[str, ...], expected_net: Decimal | None) -> Iterator[Miscount]:
    where = f"line from {line.start} to {line.end}"
    if line.fraction not in fractions:
        yield Miscount(f"{where}, fraction", " or ".join(fractions), line.fraction)
    if expected_net not in (line.net, None):
        yield Miscount(f"{where}, net", str(expected_net), str(line.net))


@lru_cache(maxsize=32_768)
def _fractions(rule: ProrationRule, start: date, end: date) -> tuple[str, ...]:
    """What the dates of a line make of a year; two where a 28 February may stand for the 29th, which no line says."""
    anchors = [Anchor.of(start)]
    if start.month == 2 and Anchor.of(start, leap_day=True) != anchors[0]:
        anchors.append(LEAP_DAY)
    return tuple([text(prorate(rule, start, end, anchor=anchor)) for anchor in anchors])


@lru_cache(maxsize=32_768)
def _net(unit_price: Decimal, quantity: int, fraction: str) -> Decimal | None:
    """None if the fraction is none."""
    try:
        return net(unit_price, quantity, sum(map(_term, fraction.split("+")), start=Fraction()))
    except (ValueError, ZeroDivisionError):
        return None


@lru_cache
def _term(term: str) -> Fraction:
    return Fraction(term)
