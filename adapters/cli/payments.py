"""`seatline payments`: bank statements in, and what a person decides about money that found no order."""

import argparse
import getpass
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, LiteralString
from uuid import uuid4

from psycopg.rows import dict_row, tuple_row
from pydantic_core import to_json

from adapters.cli import DOMAIN_SAID_NO, DONE, Complaint
from adapters.cli.show import cell, console, harmless, print_json, table
from adapters.cli.ticking import ticking
from adapters.settings import load_settings
from adapters.statements.camt import Credit, NotTaken, check, read
from adapters.statements.entries import UnreadableStatement
from adapters.statements.importing import Importer, Outcome, became, command
from adapters.wiring import Engine, engine
from domain.desk import replay
from domain.order import Order

LIST: LiteralString = """
    SELECT * FROM (
        SELECT reference, order_number, amount, allocated, unallocated, refundable, NULL::numeric AS missing,
            NULL::date AS lapses_on, value_date, state
        FROM panel.payments WHERE state IN ('orphan', 'surplus', 'late')
        UNION ALL
        SELECT reference, o.order_number, amount, brought, unallocated, refundable, total - paid, lapses_on, value_date,
            'partial'
        FROM unnest(%(numbers)s::text[], %(references)s::text[], %(brought)s::numeric[]) AS share (number, of, brought)
        JOIN panel.orders o ON o.order_number = number JOIN panel.payments ON reference = of
    ) AS work
    WHERE coalesce(state = %(state)s::text, true) ORDER BY value_date, reference, order_number
"""
PARTLY_PAID: LiteralString = """
    SELECT 'order/' || order_number FROM panel.orders WHERE status = 'awaiting_payment' AND paid > 0
"""
REFUND_DUE: LiteralString = """
    SELECT reference, order_number, state, refundable AS refund, value_date
    FROM panel.payments WHERE refundable > 0 ORDER BY value_date, reference
"""
SHOWN: LiteralString = "SELECT panel.position(ARRAY['payments', 'orders']) AS position"
LONGEST_OPERATOR = 200
LONGEST_TYPED = 24
WIDEST = 250
"""Characters of a row of the work-list, whose columns must not be cut to fit a screen."""
ROW = "{:<10}  {:>14}  {:<18}  {:<15}  {}  {}"
Came = Outcome | NotTaken


def run(arguments: argparse.Namespace) -> int:
    operator = getattr(arguments, "operator", None) or getpass.getuser()
    if not operator.isprintable() or len(operator) > LONGEST_OPERATOR:
        raise Complaint(f"--operator: a name is one line of at most {LONGEST_OPERATOR} characters")
    if arguments.action == "import":
        return _import(arguments, operator)
    with engine(load_settings()) as wired:
        match arguments.action:
            case "list":
                return _show(wired, arguments, "Payments", LIST, _shares(wired) | {"state": arguments.state})
            case "refund-due":
                return _show(wired, arguments, "To be paid back", REFUND_DUE, {})
            case _:
                return _decide(wired, arguments, operator)


# Import


def _import(arguments: argparse.Namespace, operator: str) -> int:
    paths, count = [Path(name) for name in arguments.files], 0
    for path in paths:
        try:
            with ticking(f"check {harmless(path.name)}", of="bytes") as progress:
                count += check(path, progress)
        except UnreadableStatement as error:
            raise Complaint(f"{path}: {error}; nothing was registered") from None
    settings, tally = load_settings(), Tally()
    with engine(settings) as wired, ticking("import", of="entries", among_lines=True) as progress:
        importer = Importer(wired.log, wired.clerk(), operator, method=arguments.method)
        take = importer.foresee if arguments.dry_run else importer.register
        if not arguments.json:
            print(ROW.format("booked", "amount", "what became of it", "for", "reference", "").rstrip())
        for path in paths:
            for batch in _taken(path, take, settings.batch_size):
                for one in batch:
                    print(_line(path, one) if arguments.json else _row(one))
                    tally.add(one)
                progress(tally.entries, count)
    if not arguments.json:
        print(tally)
    return DOMAIN_SAID_NO if tally.waits else DONE


def _taken(path: Path, take: Callable[[list[Credit]], list[Outcome]], batch_size: int) -> Iterator[list[Came]]:
    """What became of each entry of a file, in its order, batch by batch."""
    entries = read(path)
    try:
        while batch := list(islice(entries, batch_size)):
            outcomes = iter(take([entry for entry in batch if isinstance(entry, Credit)]))
            yield [entry if isinstance(entry, NotTaken) else next(outcomes) for entry in batch]
    except UnreadableStatement as error:
        raise Complaint(f"{path} has changed since it was checked: {error}; import it again when it is whole") from None


def _line(path: Path, one: Came) -> str:
    if isinstance(one, NotTaken):
        told: dict[str, object] = {"became": "left out", "why": one.why, **one._asdict()}
    else:
        told = {"became": one.became, "code": one.code, "message": one.message}
        told |= {"orders": one.orders, "suggestions": one.suggestions, **one.credit._asdict()}
    return to_json({"file": str(path), **told}).decode()


def _row(one: Came) -> str:
    # Written line by line, because of a statement of many thousand entries no table can be laid out.
    if isinstance(one, NotTaken):
        amount = f"{'' if one.is_credit else '-'}{one.amount:,} {one.currency}"
        row = ROW.format(harmless(one.booked), amount, "left out", _quoted(one.note), "", one.why.replace("_", " "))
    else:
        credit, orders = one.credit, " ".join(one.orders) or _quoted(one.credit.typed)
        amount = f"{credit.amount:,} EUR"
        row = ROW.format(harmless(credit.booked), amount, one.became, orders, credit.reference, _hint(one))
    return row.rstrip()


def _quoted(words: str) -> str:
    return f"“{harmless(words)}”" if words else ""


def _hint(one: Outcome) -> str:
    if one.code:
        return f"{one.message} ({one.code})"
    return f"perhaps {' or '.join(one.suggestions)}" if one.suggestions else ""


class Tally:
    """How much came in, by what became of it."""

    def __init__(self) -> None:
        self.entries = 0
        self.waits = False
        """Whether anything waits for a person."""
        self._counts = Counter[str]()
        self._sums = defaultdict[str, Decimal](Decimal)

    def add(self, one: Came) -> None:
        self.entries += 1
        self.waits |= isinstance(one, NotTaken) or one.needs_a_person
        if isinstance(one, Outcome):
            self._count(one.became, one.credit.amount)
        elif one.why == "batch_without_amounts":
            self._count("left out: batch without amounts", one.amount)

    def _count(self, said: str, amount: Decimal) -> None:
        self._counts[said] += 1
        self._sums[said] += amount

    def __str__(self) -> str:
        sums = [f"{said}: {count:,}, {self._sums[said]:,} EUR" for said, count in sorted(self._counts.items())]
        total = f"{self._counts.total():,}, {sum(self._sums.values(), Decimal('0.00')):,} EUR"
        return "\n".join(["", *sums, f"all booked credits in euro: {total}"])


# The work-list


def _shares(wired: Engine) -> dict[str, Any]:
    """What each payment has brought to an order that is partly paid: of one that was divided, only the order knows."""
    with wired.log.connection() as connection, connection.cursor(row_factory=tuple_row) as cursor:
        streams = [stream for (stream,) in cursor.execute(PARTLY_PAID)]
    with wired.log.session() as session:
        orders = [replay(stream, history) for stream, history in session.histories(streams).items()]
    shares = [(order.name, *share) for order in orders if isinstance(order, Order) for share in order.payments.items()]
    return {
        "numbers": [number for number, _, _ in shares],
        "references": [reference for _, reference, _ in shares],
        "brought": [amount for _, _, amount in shares],
    }


def _show(
    wired: Engine, arguments: argparse.Namespace, title: str, query: LiteralString, wanted: dict[str, Any]
) -> int:
    with wired.log.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query, wanted).fetchall()
        [shown] = cursor.execute(SHOWN).fetchall()
    if shown["position"] < (head := wired.log.head()):
        behind = f"{head - shown['position']:,} of {head:,} events are not in this list yet"
        print(f"seatline: {behind}; `seatline run projections` takes them in", file=sys.stderr)
    if arguments.json:
        print_json(rows)
    elif not rows:
        print("No payment waits for anybody.")
    else:
        figures = ("amount", "allocated", "unallocated", "refundable", "missing", "refund")
        # Nothing empty, and the reference last: it stays whole, to be copied, also where a screen breaks the line.
        columns = [*(name for name in rows[0] if name != "reference" and any(row[name] for row in rows)), "reference"]
        listed = table(title, *(name.replace("_", " ") for name in columns), right=figures)
        for column, name in zip(listed.columns, columns, strict=True):
            column.max_width = LONGEST_TYPED if name == "order_number" else None
        for row in rows:
            listed.add_row(*(harmless(cell(row[name])) for name in columns))
        console(width=WIDEST).print(listed, crop=False)
    return DONE


def _decide(wired: Engine, arguments: argparse.Namespace, operator: str) -> int:
    name, data = _asked(arguments)
    asked = command(
        f"payments:{uuid4()}", name, {**data, "operator": operator}, operator=operator, time=datetime.now(UTC)
    )
    [answer] = wired.clerk().handle([asked])
    if arguments.json:
        print(answer.line())
    elif answer.counts_as_rejected:
        said = json.loads(answer.line())
        print(f"{arguments.reference}: {said['message']['en']} ({said['code']})")
    else:
        result = {"match": became(answer.events), "split": became(answer.events)}.get(arguments.action, "done")
        print(f"{arguments.reference}: {arguments.action} – {result}")
    return DOMAIN_SAID_NO if answer.counts_as_rejected else DONE


def _asked(arguments: argparse.Namespace) -> tuple[str, dict[str, object]]:
    """The command's name and its data without the operator."""
    data: dict[str, object] = {"reference": arguments.reference}
    match arguments.action:
        case "match" | "unmatch":
            data["order_number"] = arguments.order
        case "split":
            data["parts"] = list(_parts(arguments.parts))
        case "refund":
            data["amount"] = arguments.amount
    return f"{arguments.action}-payment", data


def _parts(texts: Sequence[str]) -> Iterator[dict[str, str]]:
    for text in texts:
        number, equals, amount = text.partition("=")
        if not equals:
            raise Complaint(f"{text}: a part is written ORDER=AMOUNT, such as 1000002=64.39")
        yield {"order_number": number, "amount": amount}
