"""`seatline panel`: Stato servizio, as the customer sees it."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel as Frame
from rich.table import Table
from rich.text import Text

from adapters.cli import DOMAIN_SAID_NO, DONE, OUTSIDE_FAILED, Complaint
from adapters.cli.parsing import point_in_time
from adapters.cli.show import cell, console, print_json, status, table
from adapters.panel import Panel, panel_after, panel_now, panel_then, panels_to_come
from adapters.postgres.freshness import NoSuchPosition, NotShown
from adapters.postgres.log import EventLog
from adapters.settings import load_settings
from adapters.wiring import engine
from domain.pricing import PriceList

LONGEST = 3_600
"""Seconds that the database waits, at most."""

WORDS = {
    "en": {
        "title": "Service status",
        "seats": "Seats",
        "purchased": "purchased",
        "active": "active",
        "configured": "configured users",
        "free": "free",
        "pending": "awaiting payment",
        "next": "next expiry",
        "aligned": "all services end together",
        "apart": "services end on different days",
        "services": ("Services", "service", "item", "quantity", "from", "expires", "status", "order"),
        "users": ("Users", "username", "permissions", "configured"),
        "orders": ("Orders", "order", "placed", "total", "paid", "method", "payable until", "status"),
        "cart": "Open cart",
        "chosen": "seats: {quantity}, total {total} €, extension {extend}",
        "renewal": "a renewal, total {total} €, aligned expiry {extend}",
        "empty": "nothing chosen yet, extension {extend}",
        "on": "on",
        "off": "off",
        "as_of": "as of {time}",
        "known_at": "known at {time}",
    },
    "it": {
        "title": "Stato servizio",
        "seats": "Utenti",
        "purchased": "acquistati",
        "active": "attivi",
        "configured": "configurati",
        "free": "liberi",
        "pending": "in attesa di pagamento",
        "next": "prossima scadenza",
        "aligned": "tutti i servizi scadono insieme",
        "apart": "i servizi scadono in giorni diversi",
        "services": ("Servizi", "servizio", "articolo", "quantità", "dal", "scadenza", "stato", "ordine"),
        "users": ("Utenti configurati", "nome utente", "permessi", "dal"),
        "orders": ("Ordini", "ordine", "del", "totale", "pagato", "metodo", "pagabile fino al", "stato"),
        "cart": "Carrello aperto",
        "chosen": "utenti: {quantity}, totale {total} €, estensione {extend}",
        "renewal": "un rinnovo, totale {total} €, scadenza unica {extend}",
        "empty": "ancora vuoto, estensione {extend}",
        "on": "attivata",
        "off": "disattivata",
        "as_of": "al {time}",
        "known_at": "per quanto noto al {time}",
    },
}
STATES = {
    "active": "attivo",
    "expiring": "in scadenza",
    "expired": "scaduto",
    "ended": "cessato",
    "awaiting_payment": "in attesa di pagamento",
    "paid": "pagato",
    "fulfilled": "evaso",
    "cancelled": "annullato",
}


def run(arguments: argparse.Namespace) -> int:
    as_of = point_in_time(arguments.as_of) if arguments.as_of is not None else None
    known_at = point_in_time(arguments.known_at) if arguments.known_at is not None else None
    if (as_of or known_at) and (arguments.after is not None or arguments.follow):
        raise Complaint("what was changes no more: --after and --follow don't go with --as-of and --known-at")
    if not 0 <= arguments.timeout <= LONGEST:
        raise Complaint(f"--timeout {arguments.timeout:g}: not a number of seconds from 0 to {LONGEST}")
    words: dict[str, Any] = WORDS[arguments.language]
    when = ", ".join(words[name].format(time=cell(at)) for name, at in (("as_of", as_of), ("known_at", known_at)) if at)
    with engine(load_settings()) as wired:
        panel = _find(wired.log, arguments, as_of, known_at)
        if panel is None:
            then = " at that time" if as_of or known_at else ""
            raise Complaint(f"there is no subscription {arguments.subscription}{then}", DOMAIN_SAID_NO)
        with _screen(arguments, lambda panel: render(panel, wired.shopfront.prices, arguments.language, when)) as show:
            show(panel)
            if arguments.follow:
                # Whoever starts it behind a script, as with `&`, has it ignore Ctrl-C, and it knows no other end.
                signal.signal(signal.SIGINT, signal.default_int_handler)
                with suppress(KeyboardInterrupt):
                    for next_panel in panels_to_come(wired.log, arguments.subscription, panel):
                        show(next_panel)
    return DONE


def _find(
    log: EventLog, arguments: argparse.Namespace, as_of: datetime | None, known_at: datetime | None
) -> Panel | None:
    if as_of or known_at:
        return panel_then(log, arguments.subscription, as_of, known_at)
    if arguments.after is None:
        return panel_now(log, arguments.subscription)
    try:
        return panel_after(log, arguments.subscription, arguments.after, arguments.timeout)
    except NoSuchPosition as error:
        raise Complaint(str(error)) from None
    except NotShown as error:
        raise Complaint(str(error), OUTSIDE_FAILED) from None


@contextmanager
def _screen(
    arguments: argparse.Namespace, draw: Callable[[Panel], RenderableType]
) -> Iterator[Callable[[Panel], None]]:
    """Where panels are shown: on a terminal each in the place of the one before, elsewhere one after the other."""
    out = console()
    if arguments.json:

        def write(panel: Panel) -> None:
            print_json(asdict(panel))
            sys.stdout.flush()

        yield write
    elif arguments.follow and out.is_terminal:
        with Live(console=out, auto_refresh=False) as live:
            yield lambda panel: live.update(draw(panel), refresh=True)
    else:
        yield lambda panel: out.print(draw(panel))


def render(panel: Panel, prices: PriceList, language: str = "en", when: str = "") -> RenderableType:
    """The panel in a frame: seats first, then what they belong to."""
    words: dict[str, Any] = WORDS[language]
    parts: list[RenderableType] = [_seats(panel.seats, words), Text(), _services(panel, prices, words, language)]
    if panel.users:
        parts += [Text(), _users(panel, words)]
    if panel.orders:
        parts += [Text(), _orders(panel, prices, words, language)]
    if panel.cart and panel.cart["status"] == "open":
        parts += [Text(), _cart(panel.cart, words)]
    title = f"{words['title']} · {panel.seats['subscription_id']}"
    return Frame(Group(*parts), title=title, subtitle=when or None, title_align="left", padding=(1, 2), expand=False)


def _seats(seats: dict[str, Any], words: dict[str, Any]) -> RenderableType:
    grid = Table.grid(padding=(0, 3))
    for _ in range(5):
        grid.add_column(justify="center")
    figures = ("seats_purchased", "seats_active", "seats_configured", "seats_available", "seats_pending")
    labels = ("purchased", "active", "configured", "free", "pending")
    grid.add_row(*(Text(str(seats[figure]), style="bold") for figure in figures))
    grid.add_row(*(Text(words[label], style="dim") for label in labels))
    expiry = Text()
    if seats["next_expiry"]:
        together = words["aligned"] if seats["aligned"] else words["apart"]
        expiry = Text(f"{words['next']}: {cell(seats['next_expiry'])} ({together})")
    return Group(Text(words["seats"], style="bold"), grid, Text(), expiry)


def _services(panel: Panel, prices: PriceList, words: dict[str, Any], language: str) -> Table:
    made = table(*words["services"], right=(words["services"][3],))
    for service in panel.services:
        item = prices.by_sku.get(service["sku"])
        made.add_row(
            service["service_id"],
            item.name.in_language(language) if item else service["sku"],
            cell(service["quantity"]),
            cell(service["active_from"]),
            cell(service["expires_on"]),
            _state(service["status"], language),
            cell(service["order_number"]),
        )
    return made


def _users(panel: Panel, words: dict[str, Any]) -> Table:
    made = table(*words["users"])
    for user in panel.users:
        made.add_row(user["username"], cell(user["permissions"]), cell(user["configured_at"]))
    return made


def _orders(panel: Panel, prices: PriceList, words: dict[str, Any], language: str) -> Table:
    made = table(*words["orders"], right=words["orders"][3:5])
    for order in panel.orders:
        method = prices.by_method.get(order["payment_method"])
        made.add_row(
            order["order_number"],
            cell(order["placed_at"]),
            cell(order["total"]),
            cell(order["paid"]),
            method.name.in_language(language) if method else order["payment_method"],
            cell(order["lapses_on"]),
            _state(order["status"], language),
        )
    return made


def _state(value: str, language: str) -> Text:
    return status(value, STATES.get(value) if language == "it" else None)


def _cart(cart: dict[str, Any], words: dict[str, Any]) -> Text:
    quote = cart["quote"]
    kind = "empty" if not quote else "chosen" if cart["quantity"] else "renewal"
    extend = words["on"] if cart["extend"] else words["off"]
    text = words[kind].format(quantity=cart["quantity"], total=quote and quote["total"], extend=extend)
    return Text.assemble((f"{words['cart']}  ", "bold"), text)
