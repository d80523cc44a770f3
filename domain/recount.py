"""A quote counted again from the facts that stand in it, never from a price list (P1, P2)."""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from domain.money import net, vat
from domain.pricing import Quote, QuoteLine, quote_hash
from domain.terms import Anchor, ProrationRule, prorate, text


class Miscount(NamedTuple):
    """A value of a quote that doesn't follow from the others."""

    what: str
    expected: str
    found: str


def miscounts(quote: Quote) -> Iterator[Miscount]:
    for number, line in enumerate(quote.lines, start=1):
        yield from _of_line(quote.proration, number, line)
    values = (
        ("net", sum((line.net for line in quote.lines), Decimal("0.00")), quote.net),
        ("vat", vat(quote.net, quote.vat_rate), quote.vat),
        ("total", quote.net + quote.vat, quote.total),
        ("expires_on", max((line.end for line in quote.lines), default=None), quote.expires_on),
        ("hash", quote_hash(quote), quote.hash),
    )
    for what, expected, found in values:
        if expected != found:
            yield Miscount(what, str(expected), str(found))


def _of_line(rule: ProrationRule, number: int, line: QuoteLine) -> Iterator[Miscount]:
    fractions = _fractions(rule, line)
    if line.fraction not in fractions:
        yield Miscount(f"line {number}, fraction", " or ".join(fractions), line.fraction)
    try:
        share = sum((Fraction(term) for term in line.fraction.split("+")), start=Fraction())
    except (ValueError, ZeroDivisionError):
        return
    if (expected := net(line.unit_price, line.quantity, share)) != line.net:
        yield Miscount(f"line {number}, net", str(expected), str(line.net))


def _fractions(rule: ProrationRule, line: QuoteLine) -> list[str]:
    """What the dates of a line make of a year; two where a 28 February may stand for the 29th, which no line says."""
    if line.kind == "seats":
        return ["1"]
    anchors = {Anchor.of(line.start, leap_day) for leap_day in (False, True)}
    return sorted({text(prorate(rule, line.start, line.end, anchor=anchor)) for anchor in anchors})
