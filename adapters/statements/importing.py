"""Registers what a statement says came in, and tells what became of each payment."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, LiteralString, NamedTuple

from psycopg.rows import tuple_row

from adapters.clerk import Answer, Clerk
from adapters.postgres.log import EventLog
from adapters.statements.camt import Credit, Method
from adapters.statements.matching import likely_meant, named, words
from domain.commands import PREFIX, Command, parse_data
from domain.desk import replay
from domain.kernel import ROME, Aggregate, Recorded
from domain.order import Order, OrderPaid, OrderPartlyPaid
from domain.payment import Payment, PaymentRefundDue
from domain.subscription import Subscription

SETTLED = {"paid", "already registered", "would be registered"}
"""What asks for nobody's attention."""
MOST_HOLDERS = 500
"""Open orders of all amounts of a batch whose account holders are compared with who paid, the newest of each amount."""

THERE: LiteralString = """
    SELECT originator_id FROM seatline.stored_events WHERE originator_id = ANY(%s) AND originator_version = 1
"""
NEWEST_MISSING: LiteralString = """
    SELECT order_number, subscription_id, missing FROM unnest(%s::numeric[]) AS missing CROSS JOIN LATERAL (
        SELECT order_number, subscription_id FROM panel.orders
        WHERE status = 'awaiting_payment' AND total - paid = missing ORDER BY placed_at DESC LIMIT %s
    ) AS newest
"""
MISSING: LiteralString = """
    SELECT order_number, total - paid FROM panel.orders WHERE order_number = ANY(%s) AND status = 'awaiting_payment'
"""


class Outcome(NamedTuple):
    """What became of one credit."""

    credit: Credit
    orders: Sequence[str]
    """Those that it named."""
    became: str
    code: str | None = None
    """Of the refusal."""
    message: str | None = None
    """Why it was refused."""
    suggestions: Sequence[str] = ()
    """Orders that an orphan may be for: an operator decides."""

    @property
    def needs_a_person(self) -> bool:
        return self.became not in SETTLED


class Importer:
    """Takes credits in batches; taking one again changes nothing."""

    def __init__(
        self,
        log: EventLog,
        clerk: Clerk,
        operator: str,
        *,
        method: Method | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`method` overrules what the bank's codes say."""
        self._log, self._clerk, self._operator, self._method, self._clock = log, clerk, operator, method, clock
        self._foreseen = set[str]()
        """References of payments that by now would be there."""

    def register(self, credits: Sequence[Credit]) -> list[Outcome]:
        """Register a batch. Raises DatabaseAway: the same batch again finds what was stored."""
        orders = self._named(credits)
        answers = self._clerk.handle(
            [self._registration(credit, numbers) for credit, numbers in zip(credits, orders, strict=True)]
        )
        outcomes = [
            self._outcome(credit, numbers, answer)
            for credit, numbers, answer in zip(credits, orders, answers, strict=True)
        ]
        return self._with_suggestions(outcomes)

    def foresee(self, credits: Sequence[Credit]) -> list[Outcome]:
        """What would be registered, and for which orders, without doing it."""
        self._foreseen |= self._known(Payment, {credit.reference for credit in credits})
        outcomes = []
        for credit, numbers in zip(credits, self._named(credits), strict=True):
            finds_its_order = len(numbers) == 1 or bool(self._parts(credit, numbers))
            became = "would be registered" if finds_its_order else "orphan"
            if credit.reference in self._foreseen:
                became = "already registered"
            self._foreseen.add(credit.reference)
            outcomes.append(Outcome(credit, numbers, became))
        return self._with_suggestions(outcomes)

    def _named(self, credits: Sequence[Credit]) -> list[list[str]]:
        """The orders that there are among the numbers that each names; of its places the first that holds one."""
        places = [named(credit) for credit in credits]
        there = self._known(Order, {number for place in places for numbers in place for number in numbers})
        return [
            next((found for numbers in place if (found := [number for number in numbers if number in there])), [])
            for place in places
        ]

    def _registration(self, credit: Credit, orders: Sequence[str]) -> Command:
        return self._command(
            # With its amount, so that another one under the same reference is refused by the domain (O7).
            f"{credit.reference}:{credit.amount}",
            "register-payment",
            order_number=orders[0] if len(orders) == 1 else credit.typed,
            amount=str(credit.amount),
            currency="EUR",
            method=self._method or credit.method,
            reference=credit.reference,
            value_date=credit.value_date,
        )

    def _outcome(self, credit: Credit, orders: Sequence[str], answer: Answer) -> Outcome:
        if answer.counts_as_rejected:
            said = json.loads(answer.line())
            return Outcome(credit, orders, "refused", said["code"], said["message"]["en"])
        events = list(answer.events)
        if len(orders) > 1 and (parts := self._parts(credit, orders)):
            # A transfer registered by a run that was killed is divided by the next one.
            [split] = self._clerk.handle(
                [
                    self._command(
                        f"{credit.reference}:split",
                        "split-payment",
                        reference=credit.reference,
                        parts=parts,
                        operator=self._operator,
                    )
                ]
            )
            events += split.events
        return Outcome(credit, orders, became(events) if events else "already registered")

    def _parts(self, credit: Credit, orders: Sequence[str]) -> list[dict[str, str]]:
        """A part for each order that is still open, if together they miss exactly this amount; nothing is guessed."""
        there, today = self._there(Order, orders), self._clock().astimezone(ROME).date()
        payable = [order for number in orders if (order := there[number]).is_payable(today)]
        if sum(order.missing for order in payable) == credit.amount:
            return [{"order_number": order.name, "amount": f"{order.missing:.2f}"} for order in payable]
        return []

    def _command(self, id_: str, name: str, **data: object) -> Command:
        return command(id_, name, data, operator=self._operator, time=self._clock())

    def _known(self, kind: type[Any], names: Set[str]) -> set[str]:
        """Which of these aggregates there are."""
        with self._log.connection() as connection, connection.cursor(row_factory=tuple_row) as cursor:
            streams = cursor.execute(THERE, ([f"{kind.kind}/{name}" for name in names],))
            return {stream.removeprefix(f"{kind.kind}/") for (stream,) in streams}

    def _there(self, kind: type[Any], names: Iterable[str]) -> Mapping[str, Any]:
        """Those of these aggregates that have a history."""
        streams = [f"{kind.kind}/{name}" for name in sorted(set(names))]
        if not streams:
            return {}
        with self._log.session() as session:
            histories = session.histories(streams)
        found: list[Aggregate[Any]] = [replay(stream, history) for stream, history in histories.items()]
        return {aggregate.name: aggregate for aggregate in found if aggregate.exists}

    # Suggestions

    def _with_suggestions(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        orphans = [outcome.credit for outcome in outcomes if outcome.became == "orphan"]
        suggestions = iter(self._suggestions(orphans) if orphans else ())
        return [
            outcome._replace(suggestions=next(suggestions)) if outcome.became == "orphan" else outcome
            for outcome in outcomes
        ]

    def _suggestions(self, orphans: Sequence[Credit]) -> list[list[str]]:
        """Orders that miss exactly the amount, if the payer is the account holder or may have mistyped the number.

        What is looked up is bounded by the batch, however many orders are open.
        """
        amounts = {credit.amount for credit in orphans}
        with self._log.connection() as connection, connection.cursor(row_factory=tuple_row) as cursor:
            newest = cursor.execute(NEWEST_MISSING, (list(amounts), -(-MOST_HOLDERS // len(amounts)))).fetchall()
            missed = {amount for _, _, amount in newest}
            meant = [likely_meant(credit.typed) if credit.amount in missed else set() for credit in orphans]
            missing: dict[str, Decimal] = dict(cursor.execute(MISSING, (list(set[str]().union(*meant)),)).fetchall())
        held = self._by_holder(newest)
        return [
            [
                *(by_name := held.get((credit.amount, words(credit.payer)), [])),
                *sorted(number for number in numbers if missing.get(number) == credit.amount and number not in by_name),
            ]
            for credit, numbers in zip(orphans, meant, strict=True)
        ]

    def _by_holder(self, orders: Iterable[tuple[str, str, Decimal]]) -> Mapping[tuple[Decimal, Set[str]], list[str]]:
        """Order numbers by what is missing and the words of the account holder's name."""
        owners = self._there(Subscription, {subscription for _, subscription, _ in orders})
        held = defaultdict[tuple[Decimal, Set[str]], list[str]](list)
        for number, subscription, missing in orders:
            if (holder := owners[subscription].account_holder) and (name := words(holder.name)):
                held[missing, name].append(number)
        return held


def became(events: Sequence[Recorded]) -> str:
    """Where a payment's money went, by what asks most for attention (O6)."""
    said = [recorded.event for recorded in events]
    for event in said:
        if isinstance(event, PaymentRefundDue):
            return "late" if event.reason == "late" else "surplus"
    if any(isinstance(event, OrderPartlyPaid) for event in said):
        return "partial"
    return "paid" if any(isinstance(event, OrderPaid) for event in said) else "orphan"


def command(id_: str, name: str, data: Mapping[str, object], *, operator: str, time: datetime) -> Command:
    """A command of the contract, given by an operator at this place."""
    type_ = f"{PREFIX}{name}.v1"
    return Command(
        id=id_,
        type=type_,
        source="/seatline/payments",
        time=time.astimezone(ROME),
        actor=operator,
        data=parse_data(type_, dict(data)),
        # The id says all there is to say, so the same id never comes with other data.
        fingerprint=b"",
    )
