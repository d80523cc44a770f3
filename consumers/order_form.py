"""The order form (modulo d'ordine) as PDF/A: the parties, what was ordered at what price, the accepted terms (O1)."""

import json
import re
import unicodedata
from collections.abc import Set
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from consumers.seller import Seller
from consumers.words import Words
from domain.kernel import ROME
from domain.order import OrderPlaced
from domain.pricing import PriceList, QuoteLine
from domain.subscription_events import AccountHolder

if TYPE_CHECKING:
    from typst import Fonts, PDFStandard

TEMPLATE = Path(__file__).parent / "templates" / "order_form" / "form.typ"
STANDARDS: "list[PDFStandard]" = ["a-2a", "ua-1"]
"""To be kept for long, and tagged for who can't see it. PDF/A-3 only adds attachments; PDF/A-4 excludes UA-1."""
TAX_IDS = ("tax_code", "vat_number")
UNSEEN = ("Cc", "Cf", "Cn", "Co", "Cs", "Mc", "Me", "Mn", "Zl", "Zp")
"""Categories of signs that show nothing, or nothing by themselves, or break a line."""
NAMES = {"it": "ordine", "en": "order"}


class OrderForm(NamedTuple):
    file_name: str
    pdf: bytes


def order_form(
    placed: OrderPlaced, *, at: datetime, holder: AccountHolder, prices: PriceList, seller: Seller
) -> OrderForm:
    """The form of an order that was placed at this time; always the same bytes."""
    pdf = _typeset(_facts(placed, at, holder, prices, seller), at)
    return OrderForm(f"{NAMES[holder.language]}-{placed.order_number}.pdf", pdf)


def _facts(
    placed: OrderPlaced, at: datetime, holder: AccountHolder, prices: PriceList, seller: Seller
) -> dict[str, object]:
    words, quote, then = Words(holder.language), placed.quote, at.astimezone(ROME)
    return {
        "language": holder.language,
        "number": placed.order_number,
        "ordered_on": words.day(then.date()),
        "subscription": placed.subscription_id,
        "seller": seller.model_dump(mode="json", include={"name", "address", "email", *TAX_IDS, "company_register"}),
        "holder": {name: getattr(holder, name) for name in ("name", "email", *TAX_IDS)},
        "lines": [_line(line, placed, prices, words) for line in quote.lines],
        "net": words.money(quote.net),
        "vat_rate": words.percent(quote.vat_rate),
        "vat": words.money(quote.vat),
        "total": words.money(quote.total),
        "seats": placed.seats,
        "extend": quote.extend,
        "extended": list(placed.extends),
        "expires_on": words.day(quote.expires_on),
        "declined": [renewal.service_id for renewal in placed.renewals if not renewal.quantity],
        "method": words.name(prices.by_method.get(placed.payment_method), placed.payment_method),
        "lapses_on": words.day(placed.lapses_on),
        "accepted_terms": placed.accepted_terms,
        "accepted_by": placed.accepted_by,
        "accepted_at": {"day": words.day(then.date()), "time": f"{then:%H:%M:%S}", "zone": then.isoformat()[-6:]},
        "price_list": quote.price_list,
        "hash": quote.hash,
    }


def _line(line: QuoteLine, placed: OrderPlaced, prices: PriceList, words: Words) -> dict[str, object]:
    return {
        "what": words.name(prices.by_sku.get(line.sku), line.sku),
        "kind": line.kind,
        "service": line.service_id or "",
        "quantity": line.quantity,
        "unit_price": words.money(line.unit_price),
        "start": words.day(line.start),
        "end": words.day(line.end),
        "share": words.share(line.fraction, placed.quote.proration),
        "fraction": line.fraction,
        "net": words.money(line.net),
    }


def _typeset(facts: dict[str, object], at: datetime) -> bytes:
    from typst import TypstError
    from typst import compile as typeset

    lacking: set[str] = set()
    while True:
        try:
            return typeset(
                TEMPLATE,
                font_paths=_fonts(),
                ignore_system_fonts=True,
                format="pdf",
                sys_inputs={"order": json.dumps(_coded(facts, lacking))},
                pdf_standards=STANDARDS,
                timestamp=int(at.timestamp()),
            )
        except TypstError as error:
            # The fonts lack signs of somebody's name, which PDF/A doesn't allow.
            if not (more := _foreign(error.diagnostic) - lacking):
                raise
            lacking |= more
        except BaseException as panic:
            # Rust's panics are no Exceptions: one that gets through ends the worker, at every start again.
            if type(panic).__module__ != "pyo3_runtime":
                raise
            raise ValueError("the order form can't be typeset: typst panicked") from None


def _foreign(diagnostic: str) -> set[str]:
    """The signs that a diagnostic names, as they are or as `\\u{e31}`."""
    named = "".join(line for line in diagnostic.splitlines() if line.startswith("error"))
    escaped = {chr(int(code, 16)) for code in re.findall(r"\\u\{([0-9a-f]+)\}", named)}
    return {sign for sign in named if not sign.isascii()} | escaped


def _coded(fact: Any, lacking: Set[str]) -> Any:
    """The same fact, or facts, with signs that can't be shown replaced by their codes, as `[U+202E]`."""
    match fact:
        case str():
            signs = unicodedata.normalize("NFC", fact)
            return "".join(f"[U+{ord(sign):04X}]" if sign in lacking or not _is_plain(sign) else sign for sign in signs)
        case list():
            return [_coded(each, lacking) for each in fact]
        case dict():
            return {name: _coded(each, lacking) for name, each in fact.items()}
        case _:
            return fact


def _is_plain(sign: str) -> bool:
    """Whether it stands by itself, from left to right: Latin, Greek, Cyrillic, Armenian, punctuation, symbols.

    typst 0.15 panics at some that don't, which would end a worker; marks could pile up over other lines, and what
    shows nothing could turn one round.
    """
    return (sign < "\u0590" or "\u1e00" <= sign < "\u2c00") and unicodedata.category(sign) not in UNSEEN


@cache
def _fonts() -> "Fonts":
    from typst import Fonts

    return Fonts(include_system_fonts=False)
