"""`seatline demo`: two customers buy seats, told for somebody who sees this for the first time."""

import argparse
import email
import email.policy
import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event as Flag
from typing import Any

import msgspec
from pydantic_core import to_jsonable_python
from rich.console import Console, Group
from rich.padding import Padding
from rich.panel import Panel as Frame
from rich.rule import Rule
from rich.text import Text

from adapters.clerk import Answer
from adapters.cli import DONE
from adapters.cli import panel as panel_view
from adapters.cli import quote as quote_view
from adapters.cli.describe import describe
from adapters.cli.show import console, print_json
from adapters.cloudevents import parse
from adapters.embedded import temporary_home
from adapters.panel import panel_now
from adapters.settings import Settings
from adapters.wiring import Engine, engine
from adapters.workers import drain
from domain.pricing import Quote


def run(arguments: argparse.Namespace) -> int:
    with temporary_home() as home, engine(Settings(home=home, database_url=None, smtp_url=None)) as wired:
        told = _Told(wired, home / "mail", silent=arguments.json)
        told.beginning()
        _anna(told)
        _bruno(told)
        told.ending()
    if arguments.json:
        print_json(told.steps)
    return DONE


def _anna(told: "_Told") -> None:
    """Extension on, paid later by bank transfer."""
    told.story("1", "Anna adds three users, and everything ends together")
    told.say(
        "Anna's studio receives its electronic invoices with a service that runs until 30 June 2025 and includes one"
        " user. Her three colleagues need access too."
    )
    told.at("2025-03-03T09:00", "anna@studio-verdi.it", "STUDIO-VERDI")
    told.do(
        "She has been a customer for a while: the seller's system tells Seatline about her subscription.",
        "start-subscription",
        account_holder={"name": "Studio Verdi", "email": "anna@studio-verdi.example", "language": "it"},
        services=[{"sku": "fe-solo-ricezione", "quantity": 1, "expires_on": "2025-06-30"}],
    )
    told.do(
        "She configures herself as the included user.",
        "configure-user",
        username="annaverdi",
        email="anna@studio-verdi.example",
        permissions=["read", "send"],
    )
    told.panel("This is her panel before the purchase:")
    told.do(
        "A colleague has no seat yet, and Seatline says so instead of letting it pass:",
        "configure-user",
        username="carlobianchi",
        email="carlo@studio-verdi.example",
        permissions=["read"],
    )
    told.do("She presses [bold]Aggiungi[/] on the panel, which opens the cart …", "open-cart", entry_point="panel")
    told.do("… and chooses three seats.", "choose-seats", quantity=3)
    told.quote(
        "The cart offers, switched on, to move all her services to the expiry of the new seats."
        " She pays only for the days that are missing, and can check every figure:"
    )
    told.do(
        "She accepts the order form and will pay by bank transfer.",
        "place-order",
        payment_method="bank_transfer",
        accepted_terms="2026-01",
        accepted_by="Anna Verdi",
    )
    told.mail("Nothing is paid yet, so an email tells her how, with the order number to quote:")
    told.panel("Confirmed is not paid: the panel shows the seats as awaiting payment, not as hers.")
    told.at("2025-03-06T08:30", "bank-desk@seller")
    told.do(
        "Three days later the money arrives, and the seller registers the payment.",
        "register-payment",
        **told.payment("bank_transfer", "CRO-20250306-0001", "2025-03-05"),
    )
    told.mail("The rest happens by itself: the order is fulfilled, and another email says so.")
    told.panel(
        "Now the seats are on the panel. They last one year from the registration, and the older service has moved with"
        " them; the price stayed what she had accepted:"
    )
    told.at("2025-03-06T10:00", "anna@studio-verdi.it")
    told.do(
        "The colleague who had no seat on Monday gets one.",
        "configure-user",
        username="carlobianchi",
        email="carlo@studio-verdi.example",
        permissions=["read"],
    )


def _bruno(told: "_Told") -> None:
    """Extension off, and a joint renewal a year later that can't drop configured users."""
    told.story("2", "Bruno keeps his dates apart, and renews together a year later")
    told.say(
        "Bruno's service ends on 31 December 2025. He wants two more users but leaves the extension off: the seats get"
        " their own year, the service keeps its date."
    )
    told.at("2025-03-03T11:00", "bruno@officina-neri.it", "OFFICINA-NERI")
    told.do(
        "His subscription is known to Seatline too.",
        "start-subscription",
        account_holder={"name": "Officina Neri", "email": "bruno@officina-neri.example", "language": "en"},
        services=[{"sku": "fe-solo-ricezione", "quantity": 1, "expires_on": "2025-12-31"}],
    )
    told.do("He comes in by the customer area this time.", "open-cart", entry_point="customer_area")
    told.do("Two seats …", "choose-seats", quantity=2)
    told.do("… and the extension off.", "switch-alignment", extend=False)
    told.quote("Now only the seats are on the quote:")
    told.do(
        "He orders and pays by card,",
        "place-order",
        payment_method="card",
        accepted_terms="2026-01",
        accepted_by="Bruno Neri",
    )
    told.do(
        "which is registered at once, so no payment instructions are needed.",
        "register-payment",
        **told.payment("card", "CARD-7781-03", "2025-03-03"),
    )
    told.mail("Only one email goes out:")
    for username in ("brunoneri", "dariogallo", "elenamori1"):
        told.do(
            f"He configures {username}.",
            "configure-user",
            username=username,
            email=f"{username}@officina-neri.example",
            permissions=["read"],
        )
    told.panel("Three users on one included and two purchased seats, and two different expiries:")
    told.at("2026-02-10T09:00", "scheduler@seller")
    told.do(
        "Almost a year passes. Every night the seller's scheduler closes the day; here it catches up in one go.",
        "close-day",
        date="2026-02-09",
    )
    told.at("2026-02-10T09:30", "bruno@officina-neri.it")
    told.panel("The service has expired and is restricted; the seats are about to expire:")
    told.do("Bruno opens the cart to renew both together …", "open-cart", entry_point="panel")
    told.do(
        "… with a common expiry, which is on unless he switches it off, and one seat less."
        " But three users are configured, and users are never removed from the cart:",
        "choose-renewal",
        services=[{"service_id": "S1", "quantity": 1}, {"service_id": "S2", "quantity": 1}],
        years=1,
    )
    told.do("He deletes a user in the panel first,", "delete-user", username="dariogallo")
    told.do(
        "and now the same choice is accepted.",
        "choose-renewal",
        services=[{"service_id": "S1", "quantity": 1}, {"service_id": "S2", "quantity": 1}],
        years=1,
    )
    told.quote("Both end together a year after the earlier expiry; the seat pays only for what is missing:")
    told.do(
        "He orders by postal slip,",
        "place-order",
        payment_method="postal_slip",
        accepted_terms="2026-01",
        accepted_by="Bruno Neri",
    )
    told.mail("gets the instructions in English,")
    told.at("2026-02-17T10:00", "bank-desk@seller")
    told.do(
        "pays, and a week later the payment is registered.",
        "register-payment",
        **told.payment("postal_slip", "POST-2026-02-17-4", "2026-02-13"),
    )
    told.mail("The renewal is confirmed:")
    told.panel(
        "All his services end together again."
        " The seat that he gave up stays until the year that he had paid for is over:"
    )


class _Told:
    """Sends commands, and shows what each person sees; keeps every step for --json."""

    def __init__(self, wired: Engine, mail: Path, *, silent: bool) -> None:
        self._wired = wired
        self._clerk = wired.clerk()
        self._workers = wired.workers()
        self._mail = mail
        self._seen_mail: set[Path] = set()
        self._console: Console = console(markup=True)
        self._console.quiet = silent
        self._time = self._actor = self._subscription = ""
        self._answer: dict[str, Any] = {}
        self._number = 0
        self.steps: list[dict[str, Any]] = []

    def beginning(self) -> None:
        self._console.print(Rule("[bold]Seatline[/]: two customers buy seats"))
        self.say(
            "Seatline takes commands, decides each by the seller's rules, and writes down what happened. Everything you"
            " see below, the panels and the emails, is made from those notes, the [bold]events[/] (marked ✎)."
            " A real PostgreSQL runs for this demo and goes away with it."
        )

    def ending(self) -> None:
        history = self._wired.log.head()
        self._console.print(Rule())
        self.say(
            f"{history} events were written; nothing else is kept of the two stories, and from them every panel can be"
            " shown as it is now or as it was on any day. Go on with your own commands: see “Use it” in README.md."
        )

    def story(self, number: str, title: str) -> None:
        self._console.print()
        self._console.print(Rule(f"[bold]Story {number}[/] · {title}", align="left"))

    def at(self, time: str, actor: str, subscription: str | None = None) -> None:
        self._time, self._actor = f"{time}:00+01:00", actor
        self._subscription = subscription or self._subscription

    def say(self, text: str) -> None:
        self._console.print()
        self._console.print(text, width=100)

    def do(self, text: str, command: str, **data: Any) -> None:
        """One command, what came of it, and whatever follows by itself."""
        self._number += 1
        if command not in ("register-payment", "close-day"):
            data = {"subscription_id": self._subscription, **data}
        raw = {
            "specversion": "1.0",
            "id": f"demo-{self._number:03}",
            "source": "/demo",
            "type": f"seatline.command.{command}.v1",
            "time": self._time,
            "actor": self._actor,
            "data": data,
        }
        [answer] = self._clerk.handle([parse(json.dumps(raw).encode())])
        self._answer = json.loads(answer.line())
        self.steps.append({"command": raw, "answer": self._answer})
        self._console.print()
        self._console.print(f"[dim]{self._time[:10]} {self._time[11:16]}[/]  {text}")
        self._console.print(Padding(self._outcome(command, answer), (0, 0, 0, 4), expand=False))
        # A card is charged while the order is placed, so its payment comes before anything else happens.
        if data.get("payment_method") != "card":
            drain(self._workers, Flag())

    def _outcome(self, command: str, answer: Answer) -> Group:
        lines = [Text.assemble((f"{command} ", "cyan"), _verdict(self._answer))]
        lines += [Text(f"✎ {describe(recorded.event)}", style="dim") for recorded in answer.events]
        return Group(*lines)

    def payment(self, method: str, reference: str, value_date: str) -> dict[str, Any]:
        """A payment of the last order, in full."""
        order = self._answer["data"] if "order_number" in self._answer.get("data", {}) else self._last_order()
        return {
            "order_number": order["order_number"],
            "amount": order["quote"]["total"],
            "currency": "EUR",
            "method": method,
            "reference": reference,
            "value_date": value_date,
        }

    def _last_order(self) -> dict[str, Any]:
        placed = [step["answer"]["data"] for step in self.steps if "order_number" in step["answer"].get("data", {})]
        return dict(placed[-1])

    def quote(self, text: str) -> None:
        quote = msgspec.convert(self._answer["data"]["quote"], Quote)
        self.say(text)
        self._console.print(Padding(quote_view.render(self._wired.shopfront.prices, quote), (0, 0, 0, 4), expand=False))

    def panel(self, text: str) -> None:
        shown = panel_now(self._wired.log, self._subscription)
        assert shown is not None, "the subscription has been started"
        self.say(text)
        rendered = panel_view.render(shown, self._wired.shopfront.prices)
        self._console.print(Padding(rendered, (0, 0, 0, 4), expand=False))
        self.steps.append({"panel": to_jsonable_python(shown)})

    def mail(self, text: str) -> None:
        self.say(text)
        for message in self._new_mail():
            body = message.get_body(("plain",))
            assert isinstance(body, email.message.EmailMessage), "every letter has a plain text"
            head = f"[dim]To[/]       {message['To']}\n[dim]Subject[/]  {message['Subject']}\n"
            frame = Frame(Group(head, Text(body.get_content().strip())), title="✉", title_align="left", width=88)
            self._console.print(Padding(frame, (0, 0, 0, 4), expand=False))
            self.steps.append({"mail": {"to": message["To"], "subject": message["Subject"]}})

    def _new_mail(self) -> Iterator[email.message.EmailMessage]:
        files = {path for path in (self._mail / "new").glob("*") if path.is_file()} - self._seen_mail
        self._seen_mail |= files
        messages = [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in files]
        yield from sorted(messages, key=lambda message: str(message["Message-ID"]))


def _verdict(answer: dict[str, Any]) -> Text:
    if answer["outcome"] == "accepted":
        return Text("accepted", style="green")
    return Text(f"refused: {answer['code']}: {answer['message']['en']}", style="red")
