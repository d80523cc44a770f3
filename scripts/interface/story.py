"""The examples: a story that the engine itself decides, so that every value, hash and id in them is a true one."""

import json
from datetime import date, datetime, time, timedelta
from itertools import count
from typing import Any

from adapters.cloudevents import parse
from adapters.forgetting import erasure
from adapters.kafka.envelopes import headers
from adapters.postgres.log import StoredEvent
from adapters.postgres.mapper import encode, encode_envelope, encode_value
from adapters.settings import load_shopfront
from consumers.activation import fulfilments
from consumers.calendar import consequences
from domain.commands import PREFIX, Command
from domain.desk import Decision, Desk
from domain.events import public_type
from domain.kernel import ROME, Recorded
from domain.order_number import OrderNumbers

Json = dict[str, Any]

SUB = "SUB-1001"
OPERATOR = {"operator": "olga"}


class Story:
    """A subscription from its start to its end: what was sent, answered and recorded, in order."""

    def __init__(self) -> None:
        self.commands: list[Json] = []
        self.answers: list[Json] = []
        self.events: list[Json] = []
        """As records: headers and payload."""
        self._recorded: list[Recorded] = []
        self._minutes = count()
        self._day = date(2026, 3, 2)
        self._desk = Desk(load_shopfront(None).prices, lambda streams: {}, OrderNumbers(count(1_000).__next__))
        self._tell()

    def _tell(self) -> None:
        base = {"sku": "fe-solo-ricezione", "quantity": 1, "expires_on": "2026-06-30"}
        holder = {"name": "Anna Bianchi", "email": "anna@studio.example", "language": "it", "vat_number": "07643520567"}
        self._send("start-subscription", account_holder=holder, services=[base])
        self._configure("annabianchi")
        self._configure("marcorossi")  # refused: there is no seat yet
        self._send("open-cart", entry_point="panel")
        self._send("choose-seats", quantity=3)
        self._send("switch-alignment", extend=False)
        seen = self._send("switch-alignment", extend=True)["data"]["quote"]
        order = self._order(quote_hash=seen["hash"])
        self._on("2026-03-03")
        self._pay(order, "20.00", "CRO-1")
        self._pay(order, "50.00", "CRO-2")  # 5.61 more than is missing
        self._on("2026-03-04")
        dates = {"value_date": "2026-03-04", "registered_on": "2026-03-04"}
        self._send("correct-payment", "CRO-2", reference="CRO-2", **dates, reason="registered a day early", **OPERATOR)
        self._send("refund-payment", "CRO-2", reference="CRO-2", amount="5.61", **OPERATOR)
        self._configure("marcorossi")
        self._send("delete-user", username="marcorossi")

        self._on("2026-04-01")
        self._pay("thank you", "10.00", "CRO-3")  # nobody's
        order = self._order_seats(2)
        self._send("match-payment", "CRO-3", reference="CRO-3", order_number=order, **OPERATOR)
        self._send("unmatch-payment", "CRO-3", reference="CRO-3", order_number=order, **OPERATOR)
        parts = [{"order_number": order, "amount": "7.50"}]
        self._send("split-payment", "CRO-3", reference="CRO-3", parts=parts, **OPERATOR)
        self._send("cancel-order", order, order_number=order, reason="ordered by mistake")
        self._order_seats(1)
        self._close("2026-04-23")  # a week is left to pay it
        self._close("2026-05-01")  # it was never paid
        self._send("open-cart", entry_point="customer_area")
        self._close("2026-06-01")  # nor was anything ordered

        self._close("2027-01-04")  # a reminder is due, and the services are about to expire

        base = {"service_id": "S1", "quantity": 1}
        self._on("2027-02-10")
        self._pay(self._order_renewal(base, {"service_id": "S2", "quantity": 2}), "59.78", "CRO-4")
        self._close("2027-03-04")  # the third seat is over
        self._on("2028-02-10")
        self._pay(self._order_renewal(base, {"service_id": "S2", "quantity": 0}), "30.50", "CRO-5")
        self._close("2029-03-04")
        self._on("2029-05-25")
        late = self._order_renewal(base)
        self._close("2029-06-05")  # what it was for has ended before it is paid
        self._pay(late, "30.50", "CRO-6")

        self._on("2029-06-20")
        asked = {"reason": "asked for on 18 June", **OPERATOR}
        erased = erasure(SUB, ["CRO-3"], **asked, time=datetime.combine(self._day, time(9), ROME))
        # Each time it is another command; an example says the same each time that it is written.
        self._decide(erased._replace(id=f"erase:{SUB}:example"))

    # What people do

    def _configure(self, username: str) -> None:
        email, permissions = f"{username}@studio.example", ["read", "send"]
        self._send("configure-user", username=username, email=email, permissions=permissions)

    def _order_seats(self, quantity: int) -> str:
        self._send("open-cart", entry_point="customer_area")
        self._send("choose-seats", quantity=quantity)
        return self._order()

    def _order_renewal(self, *services: Json) -> str:
        self._send("open-cart", entry_point="panel")
        self._send("choose-renewal", services=services, years=1)
        return self._order()

    def _order(self, **said: str) -> str:
        said |= {"payment_method": "bank_transfer", "accepted_terms": "2026-01", "accepted_by": "Anna Bianchi"}
        return str(self._send("place-order", **said)["data"]["order_number"])

    def _pay(self, order_number: str, amount: str, reference: str) -> None:
        said = {"amount": amount, "currency": "EUR", "method": "bank_transfer", "value_date": self._day.isoformat()}
        first = len(self._recorded)
        self._send("register-payment", reference, order_number=order_number, reference=reference, **said)
        for command in fulfilments(self._recorded[first:]):
            self._decide(command)

    def _close(self, day: str) -> None:
        """Close a day as the scheduler does, with all that it brings."""
        self._on((date.fromisoformat(day) + timedelta(days=1)).isoformat())
        self._send("close-day", "calendar", date=day)
        closing = self._recorded[-1]
        streams = {recorded.originator_id for recorded in self._recorded}
        due = sorted(stream for stream in streams if stream.startswith(("subscription/", "cart/", "order/")))
        for command in consequences(closing, due):
            self._decide(command)

    def _on(self, day: str) -> None:
        self._day = date.fromisoformat(day)

    # What the engine says to it

    def _send(self, name: str, subject: str = SUB, /, **data: object) -> Json:
        minute = next(self._minutes)
        envelope: Json = {
            "specversion": "1.0",
            "id": f"checkout-{minute + 1}",
            "source": "/shop/checkout",
            "type": f"{PREFIX}{name}.v1",
            "time": datetime.combine(self._day, time(9, minute), ROME).isoformat(),
            "subject": subject,
            "actor": "anna@studio.example",
            "data": ({"subscription_id": SUB} if subject == SUB else {}) | data,
        }
        self.commands.append(envelope)
        decision = self._decide(parse(json.dumps(envelope).encode()))
        answer = self._answer(decision)
        self.answers.append(answer)
        return answer

    def _decide(self, command: Command) -> Decision:
        self._desk.begin([command])
        decision = self._desk.decide(command, command.time)
        for recorded in decision.events:
            self._recorded.append(recorded)
            self.events.append(_record(recorded, len(self._recorded)))
        return decision

    def _answer(self, decision: Decision) -> Json:
        answer: Json = {"command_id": decision.command.id, "outcome": "rejected" if decision.refusal else "accepted"}
        if decision.refusal:
            answer |= {"code": decision.refusal.code, "message": decision.refusal.message}
        answer["events"] = [{"type": public_type(event.event.topic), "id": event.id} for event in decision.events]
        if decision.data is not None:
            answer["data"] = json.loads(encode_value(decision.data))
        return answer | {"position": len(self._recorded)}


def _record(recorded: Recorded, position: int) -> Json:
    """The event as others read it on Kafka."""
    state = encode(encode_envelope(recorded.envelope), recorded.event)
    place = recorded.originator_id, recorded.originator_version, recorded.event.topic
    data, said = headers(StoredEvent(*place, state, recorded.subject, position))
    return {"headers": {name: value.decode() for name, value in said}, "payload": json.loads(data)}
