"""How long after a command was accepted another process sees its row, and what waiting for its position adds."""

import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from itertools import cycle
from multiprocessing.connection import Connection
from statistics import median, quantiles
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg import sql

from adapters.clerk import Clerk
from adapters.cloudevents import parse
from adapters.postgres.database import connected
from scripts.benches.figures import Figure, Measured, Report
from scripts.benches.stage import SPAWN, Stage, engine_at, running

SIZE = 1_500
RATE = 100
"""Commands a second, on average: a reader has mostly done with one before the next one comes."""
CUSTOMERS = 50
WARM_UP = 10
"""One part of so many isn't counted."""
LOOK = 0.0002
PATIENCE = 30.0
WHEN = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)

ALL_REACHED: LiteralString = "SELECT panel.position() >= %s"


class Waits(NamedTuple):
    """Milliseconds from acceptance until a reader saw the row, or was told that the position is reached."""

    seen_p50: float
    seen_p99: float
    told_p50: float
    told_p99: float


class Looked(NamedTuple):
    """What a reader is to look for: a row of a view, or only a position."""

    view: str
    subscription: str
    position: int
    by_waiting: bool


def run(stage: Stage, size: int, rounds: int) -> Report:
    samples = [stage.sample(_waits, size) for _ in range(rounds)]
    seen_p50, seen_p99, told_p50, told_p99 = map(list, zip(*samples, strict=True))
    return Report(
        {"commands": size, "commands a second": RATE},
        [
            Measured("accepted to row seen by another process, p50", seen_p50, "ms"),
            Measured("accepted to row seen by another process, p99", seen_p99, "ms"),
            Measured("accepted to end of waiting for position, p50", told_p50, "ms"),
            Measured("accepted to end of waiting for position, p99", told_p99, "ms"),
        ],
        [
            Figure("accepted to visible, p50", median(seen_p50), most=5, unit="ms"),
            Figure("accepted to visible, p99", median(seen_p99), most=20, unit="ms"),
            Figure("waiting adds, p50", median(told_p50) - median(seen_p50), most=5, unit="ms"),
            Figure("waiting adds, p99", median(told_p99) - median(seen_p99), most=5, unit="ms"),
        ],
    )


def _waits(url: str, size: int) -> Waits:
    """One command at a time, with pauses by chance; the reader looks for every other row, and waits for the rest."""
    with (
        engine_at(url) as engine,
        running("projections", SEATLINE_DATABASE_URL=url),
        connected(url) as connection,
        ProcessPoolExecutor(1, mp_context=SPAWN) as process,
    ):
        clerk = engine.clerk()
        position = _open(clerk)
        _until(connection, ALL_REACHED, position)
        asking, asked = SPAWN.Pipe()
        reading = process.submit(_read, url, asked)
        accepted, pauses = [], random.Random(1)  # noqa: S311  reproducible on purpose
        for number, (view, subscription, line) in zip(range(size), _changes(), strict=False):
            time.sleep(pauses.uniform(0, 2 / RATE))
            [answer] = clerk.handle([parse(line)])
            accepted.append(time.perf_counter())
            if not answer.events:
                raise RuntimeError(f"nothing came of {line!r}: {answer.line()}")
            asking.send(Looked(view, subscription, answer.position, by_waiting=number % 4 > 1))
        asking.send(None)
        found = reading.result()
    waits = [(seen - since) * 1e3 for since, seen in zip(accepted, found, strict=True)]
    seen, told = (
        [wait for number, wait in enumerate(waits) if (number % 4 > 1) is by_waiting and number >= size // WARM_UP]
        for by_waiting in (False, True)
    )
    return Waits(median(seen), quantiles(seen, n=100)[98], median(told), quantiles(told, n=100)[98])


def _read(url: str, asked: Connection) -> list[float]:
    """When each row was seen or each position reached, by the machine's clock."""
    found = []
    with connected(url) as connection:
        connection.execute("SET ROLE panel_reader")
        while looked := asked.recv():
            if looked.by_waiting:
                _until(connection, "SELECT panel.wait_for(%s)", looked.position)
            else:
                query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE subscription_id = %s AND position >= %s)")
                view = sql.Identifier("panel", looked.view)
                _until(connection, query.format(view), looked.subscription, looked.position)
            found.append(time.perf_counter())
    return found


def _until(connection: psycopg.Connection, query: LiteralString | sql.Composed, *parameters: object) -> None:
    until = time.monotonic() + PATIENCE
    while (row := connection.execute(query, parameters).fetchone()) and not row[0]:
        if time.monotonic() > until:
            raise RuntimeError(f"not within {PATIENCE:g} s: {parameters}")
        time.sleep(LOOK)


# The commands


def _open(clerk: Clerk) -> int:
    """Customers with full subscriptions and open carts; gives the position that they have brought the log to."""
    services = [
        {"sku": "fe-solo-ricezione", "quantity": 1, "expires_on": "2026-06-30"},
        {"sku": "fe-utente", "quantity": 3, "expires_on": "2026-06-30"},
    ]
    lines = []
    for number in range(CUSTOMERS):
        holder = {"name": "Anna Verdi", "email": "anna@example.com", "language": "it"}
        lines.append(_line("start-subscription", number, f"s{number}", account_holder=holder, services=services))
        lines.append(_line("open-cart", number, f"o{number}", entry_point="panel"))
    return clerk.handle([parse(line) for line in lines])[-1].position


def _changes() -> Iterator[tuple[str, str, bytes]]:
    """Commands that each change a row: its view, whose it is, and the command."""
    for turn, number in enumerate(cycle(range(CUSTOMERS))):
        if turn % 2:
            said: dict[str, Any] = {"quantity": turn % 97 + 1}
            yield "carts", f"SUB-{number}", _line("choose-seats", number, f"c{turn}", **said)
        else:
            said = {"username": "annaverdi", "email": f"anna{turn}@example.com", "permissions": ["read"]}
            yield "users", f"SUB-{number}", _line("configure-user", number, f"c{turn}", **said)


def _line(command: str, customer: int, id_: str, **said: Any) -> bytes:
    envelope = {
        "specversion": "1.0",
        "id": id_,
        "source": "/bench",
        "type": f"seatline.command.{command}.v1",
        "time": WHEN.isoformat(),
        "data": {"subscription_id": f"SUB-{customer}", **said},
    }
    return json.dumps(envelope).encode()
