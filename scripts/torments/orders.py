"""Orders by the hundred: what customers send until an order is placed, or paid."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

from adapters.clerk import Clerk
from adapters.cloudevents import parse
from domain.commands import Command

EXPIRES = "2099-12-31"
BATCH = 500


class Orders:
    """A shop front over one clerk."""

    def __init__(self, clerk: Clerk) -> None:
        self._clerk = clerk
        self._ids: Iterator[str] = map("order-torment-{}".format, count(1))

    def placed(self, subscriptions: Sequence[str]) -> dict[str, str]:
        """One order of seats for each of these new subscriptions, to be paid by bank transfer: what each then costs."""
        holder = {"name": "Anna Bianchi", "email": "anna@studio.example", "language": "it"}
        base = [{"sku": "fe-solo-ricezione", "quantity": 1, "expires_on": EXPIRES}]
        for type_, data in (
            ("start-subscription", {"account_holder": holder, "services": base}),
            ("open-cart", {"entry_point": "panel"}),
            ("choose-seats", {"quantity": 1}),
        ):
            self._decide([self._command(type_, subscription_id=sub, **data) for sub in subscriptions])
        terms = {"payment_method": "bank_transfer", "accepted_terms": "2026-01", "accepted_by": "Anna Bianchi"}
        answers = self._decide(
            [self._command("place-order", subscription_id=subscription, **terms) for subscription in subscriptions]
        )
        return {answer["data"]["order_number"]: answer["data"]["quote"]["total"] for answer in answers}

    def paid(self, subscriptions: Sequence[str]) -> list[str]:
        """The numbers of such orders, each paid in full."""
        placed = self.placed(subscriptions)
        payment = {"currency": "EUR", "method": "bank_transfer", "value_date": "2026-01-01"}
        self._decide(
            [
                self._command("register-payment", reference=f"PAY-{number}", order_number=number, amount=due, **payment)
                for number, due in placed.items()
            ]
        )
        return list(placed)

    def _command(self, type_: str, **data: Any) -> Command:
        envelope = {
            "specversion": "1.0",
            "id": next(self._ids),
            "source": "/torture",
            "type": f"seatline.command.{type_}.v1",
            "time": datetime.now(UTC).isoformat(),
            "actor": "anna",
            "data": data,
        }
        return parse(json.dumps(envelope).encode())

    def _decide(self, commands: Sequence[Command]) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []
        for first in range(0, len(commands), BATCH):
            answers += [json.loads(a.line()) for a in self._clerk.handle(commands[first : first + BATCH])]
        if refused := [answer for answer in answers if answer["outcome"] != "accepted"]:
            raise AssertionError(f"{len(refused)} commands were not accepted, such as {refused[0]}")
        return answers
