"""A quote counted again from the facts that stand in it, never from a price list (P1, P2)."""

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
    wrong = [miscount for number, line in enumerate(quote.lines, start=1) for miscount in _of_line(quote, number, line)]
    expected = (
        ("net", sum([line.net for line in quote.lines], NOTHING), quote.net),
        ("vat", vat(quote.net, quote.vat_rate), quote.vat),
        ("total", quote.net + quote.vat, quote.total),
        ("expires_on", max([line.end for line in quote.lines], default=None), quote.expires_on),
        ("hash", quote_hash(quote), quote.hash),
    )
    return wrong + [Miscount(what, str(right), str(found)) for what, right, found in expected if right != found]


def _of_line(quote: Quote, number: int, line: QuoteLine) -> list[Miscount]:
    wrong = []
    fractions = SEATS if line.kind == "seats" else _fractions(quote.proration, line.start, line.end)
    if line.fraction not in fractions:
        wrong.append(Miscount(f"line {number}, fraction", " or ".join(fractions), line.fraction))
    share = _share(line.fraction)
    if share is not None and (expected := net(line.unit_price, line.quantity, share)) != line.net:
        wrong.append(Miscount(f"line {number}, net", str(expected), str(line.net)))
    return wrong


@lru_cache(maxsize=8192)
def _fractions(rule: ProrationRule, start: date, end: date) -> tuple[str, ...]:
    """What the dates of a line make of a year; two where a 28 February may stand for the 29th, which no line says."""
    anchors = [Anchor.of(start)]
    if Anchor.of(start, leap_day=True) != anchors[0]:
        anchors.append(LEAP_DAY)
    return tuple([text(prorate(rule, start, end, anchor=anchor)) for anchor in anchors])


@lru_cache(maxsize=8192)
def _share(fraction: str) -> Fraction | None:
    """None if it is none."""
    try:
        return sum(map(Fraction, fraction.split("+")), start=Fraction())
    except (ValueError, ZeroDivisionError):
        return None
