"""`seatline quote`: what more seats would cost and why, both choices side by side."""

import argparse
import re
from datetime import datetime

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel as Frame
from rich.text import Text

from adapters.cli import DOMAIN_SAID_NO, DONE, Complaint
from adapters.cli.parsing import civil_date
from adapters.cli.show import cell, console, print_json, table
from adapters.settings import load_settings
from adapters.wiring import engine
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
        console().print(Columns([render(quote, prices) for quote in quotes.values()], padding=(0, 2)))
    return DONE


def render(quote: Quote, prices: PriceList) -> RenderableType:
    """A quote with every factor, so that a person can check it with pencil and paper."""
    lines = table("", "what", "how", "net", right=("net",))
    for line in quote.lines:
        name = prices.item(line.sku).name.en
        what = f"{line.quantity} × {name}" + (f" ({line.service_id})" if line.service_id else "")
        lines.add_row(what, _arithmetic(line), cell(line.net))
    lines.add_section()
    lines.add_row("net", "", cell(quote.net))
    lines.add_row("VAT", f"{quote.vat_rate.normalize():f} % of {quote.net}, rounded half up", cell(quote.vat))
    lines.add_row(Text("total", style="bold"), "", Text(cell(quote.total), style="bold"))
    footer = Text(f"price list {quote.price_list}, {quote.proration} proration\nquote {quote.hash[:16]}…", style="dim")
    title = "extension on" if quote.extend else "extension off"
    return Frame(
        Group(Text(f"until {quote.expires_on}"), lines, Text(), footer), title=title, title_align="left", expand=False
    )


def _arithmetic(line: QuoteLine) -> str:
    share = re.sub(r"(?<!/)\b(\d+)\b(?!/)", lambda m: m[0] + (" year" if m[0] == "1" else " years"), line.fraction)
    return f"{line.start} → {line.end}\n{share} × {line.quantity} × {line.unit_price:.2f} €"
