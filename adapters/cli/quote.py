"""`seatline quote`: what more seats would cost and why, both choices side by side."""

import argparse
import re
from datetime import datetime

from rich.console import Group, RenderableType
from rich.panel import Panel as Frame
from rich.text import Text

from adapters.cli import DOMAIN_SAID_NO, DONE, Complaint
from adapters.cli.parsing import civil_date
from adapters.cli.show import cell, console, print_json, table
from adapters.settings import load_settings
from adapters.wiring import engine
from consumers.words import Words
from domain.errors import Refusal
from domain.kernel import ROME
from domain.pricing import PriceList, Quote, QuoteLine
from domain.shop import quote_seats

CHOICES = {True: "extend", False: "no_extend"}


def run(arguments: argparse.Namespace) -> int:
    on = civil_date(arguments.on) if arguments.on is not None else datetime.now(ROME).date()
    with engine(load_settings()) as wired:
        subscription = wired.books.subscription(arguments.subscription)
        prices = wired.shopfront.prices
        if not subscription.exists:
            raise Complaint(f"there is no subscription {arguments.subscription}", DOMAIN_SAID_NO)
        wanted = (True, False) if arguments.extend is None else (arguments.extend,)
        try:
            quotes = {
                choice: quote_seats(prices, subscription, arguments.seats, extend=choice, on=on) for choice in wanted
            }
        except Refusal as refusal:
            raise Complaint(f"{refusal.code}: {refusal.message['en']}", DOMAIN_SAID_NO) from None
    if arguments.json:
        print_json({CHOICES[choice]: quote for choice, quote in quotes.items()})
    else:
        console().print(render(prices, *quotes.values()))
    return DONE


def render(prices: PriceList, *quotes: Quote) -> RenderableType:
    """Quotes side by side with every factor, so that a person can check them with pencil and paper."""
    choices = [_choice(quote) for quote in quotes]
    lines = table("", "what", "how", *choices, right=tuple(choices))
    # Whatever one quote has, the longer one has too, in the same order.
    for line in max((quote.lines for quote in quotes), key=len):
        name = Words("en").name(prices.by_sku.get(line.sku), line.sku)
        what = f"{line.quantity} × {name}" + (f" ({line.service_id})" if line.service_id else "")
        lines.add_row(what, _arithmetic(line), *(cell(line.net) if line in quote.lines else "–" for quote in quotes))
    lines.add_section()
    first = quotes[0]
    rate = f"{first.vat_rate.normalize():f}"
    lines.add_row("net", "", *(cell(quote.net) for quote in quotes))
    lines.add_row("VAT", f"{rate} % of the net, rounded half up", *(cell(quote.vat) for quote in quotes))
    lines.add_row(*(Text(part, style="bold") for part in ("total", "", *(cell(quote.total) for quote in quotes))))
    lines.add_row("until", "", *(cell(quote.expires_on) for quote in quotes))
    lines.add_row(*(Text(part, style="dim") for part in ("quote", "", *(f"{quote.hash[:12]}…" for quote in quotes))))
    footer = Text(f"price list {first.price_list}, {first.proration} proration", style="dim")
    return Frame(Group(lines, Text(), footer), title="Quote", title_align="left", expand=False)


def _choice(quote: Quote) -> str:
    if quote.lines[0].kind == "renewal":
        return "aligned" if quote.extend else "not aligned"
    return "extension on" if quote.extend else "extension off"


def _arithmetic(line: QuoteLine) -> str:
    share = re.sub(r"(?<!/)\b(\d+)\b(?!/)", lambda m: m[0] + (" year" if m[0] == "1" else " years"), line.fraction)
    return f"{line.start} → {line.end}\n{share} × {line.quantity} × {line.unit_price:.2f} €"
