"""`seatline order`: what was ordered, by whom and under which terms; with `--pdf` as the form that the customer got."""

import argparse
import os
import shutil
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel as Frame
from rich.table import Table

from adapters.books import StoredBooks
from adapters.cli import DOMAIN_SAID_NO, DONE, Complaint
from adapters.cli import quote as quote_view
from adapters.cli.describe import Speech, dimmed
from adapters.cli.show import cell, console, harmless, print_json, status
from adapters.settings import load_settings
from adapters.wiring import engine
from consumers.order_form import OrderForm, order_form
from consumers.words import Words
from domain.kernel import ERASED, is_no_number
from domain.order import Order
from domain.pricing import PriceList
from domain.subscription_events import AccountHolder

HERE, STDOUT = "", "-"
"""Where `--pdf` writes to: a file in this folder that is named after the order, or the standard output."""


def run(arguments: argparse.Namespace) -> int:
    with engine(load_settings()) as wired:
        order = _found(wired.books, arguments.number)
        holder, placed_at = wired.books.subscription(order.subject).account_holder, wired.books.placed_at(order)
        prices, seller = wired.shopfront.prices, wired.shopfront.seller
    if arguments.pdf is not None:
        if holder is None:
            raise Complaint(f"order {order.name} has no form any more: whoever placed it was forgotten", DOMAIN_SAID_NO)
        form = order_form(order.placed, at=placed_at, holder=holder, prices=prices, seller=seller)
        _hand_over(form, arguments)
    elif arguments.json:
        print_json(_plain(order, placed_at, holder))
    else:
        console().print(render(order, placed_at, holder, prices))
    return DONE


def _found(books: StoredBooks, number: str) -> Order:
    if is_no_number(number) or not (order := books.order(number)).exists:
        raise Complaint(f"there is no order {number}", DOMAIN_SAID_NO)
    return order


def render(order: Order, placed_at: datetime, holder: AccountHolder | None, prices: PriceList) -> RenderableType:
    """The order in a frame: who and when first, then what and how much."""
    placed, say = order.placed, Speech("en")
    facts = Table.grid(padding=(0, 3, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("status", status(order.state))
    facts.add_row("placed", cell(placed_at))
    facts.add_row("subscription", placed.subscription_id)
    facts.add_row("account holder", dimmed(f"{holder.name} <{holder.email}>" if holder else say.personal(ERASED)))
    if holder:
        facts.add_row("tax code", cell(holder.tax_code))
        facts.add_row("VAT number", cell(holder.vat_number))
    facts.add_row("terms", dimmed(f"{placed.accepted_terms}, accepted by {say.personal(placed.accepted_by)}"))
    method = Words(say.language).name(prices.by_method.get(placed.payment_method), placed.payment_method)
    facts.add_row("payment", f"{method}, payable until {placed.lapses_on}")
    facts.add_row("paid", f"{cell(order.paid)} of {cell(placed.quote.total)}")
    for reference, amount in order.payments.items():
        facts.add_row("", f"{cell(amount)} from {reference}")
    if order.paid_on:
        facts.add_row("paid on", cell(order.paid_on))
    if order.fulfilled:
        facts.add_row("fulfilled until", cell(order.fulfilled.expires_on))
    parts = Group(facts, "", quote_view.render(prices, placed.quote))
    return Frame(parts, title=f"Order {order.name}", title_align="left", padding=(1, 2), expand=False)


def _plain(order: Order, placed_at: datetime, holder: AccountHolder | None) -> dict[str, Any]:
    placed = order.placed
    return {
        "order_number": order.name,
        "subscription_id": placed.subscription_id,
        "status": order.state,
        "placed_at": placed_at,
        "account_holder": holder,
        "accepted_terms": placed.accepted_terms,
        "accepted_by": placed.accepted_by,
        "payment_method": placed.payment_method,
        "lapses_on": placed.lapses_on,
        "paid": order.paid,
        "payments": [{"reference": reference, "amount": amount} for reference, amount in order.payments.items()],
        "paid_on": order.paid_on,
        "expires_on": order.fulfilled and order.fulfilled.expires_on,
        "quote": placed.quote,
    }


def _hand_over(form: OrderForm, arguments: argparse.Namespace) -> None:
    if arguments.pdf == STDOUT:
        sys.stdout.buffer.write(form.pdf)
        return
    file = Path(form.file_name if arguments.pdf == HERE else arguments.pdf)
    try:
        _write(form.pdf, file)
    except OSError as error:
        raise Complaint(f"{file}: can't be written ({error.strerror})") from None
    if arguments.json:
        print_json({"order_number": arguments.number, "file": harmless(str(file))})
    else:
        print(f"order form: {harmless(str(file))}")


def _write(pdf: bytes, file: Path) -> None:
    """Replace a file at once, so that nobody finds half of it or may read more; a device or a pipe is written to."""
    file = Path(os.path.realpath(file))  # resolve() takes links that lead round for a fault of ours
    if file.exists() and not file.is_file():
        file.write_bytes(pdf)
        return
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        # Never through a link that somebody else has put there.
        with unfinished.open("xb") as new:
            new.write(pdf)
        if file.exists():
            shutil.copymode(file, unfinished)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
