"""What a command, an event and a read cost with a hundred times as many customers, and what a writer keeps of them."""

import json
import random
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import count, pairwise
from pathlib import Path
from statistics import median
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar

from adapters.panel import panel_now
from adapters.postgres.database import connected
from adapters.postgres.log import EventLog
from adapters.postgres.views import advance, live_tables
from adapters.settings import Settings
from adapters.wiring import Engine, engine
from domain.commands import PREFIX
from domain.order_number import BLOCK
from scripts.benches.figures import Figure, Measured, Report, interleaved
from scripts.benches.stage import SPAWN, Stage, engine_at, ingest, lines_of
from scripts.workload import copies

SIZE = 1_000_000
"""Subscriptions, about."""
COPIES = 100
"""The database that this is compared with has as many customers less."""
LINES = 10
"""Of a market, for a subscription."""
NEW_LINES = 10_000
"""What new customers send in a round."""
OLD = 2_000
"""Commands in a round on subscriptions that were there before, each on another, none warm."""
READS = 500
FIRST_ORDER = 500_000_000_000_000
"""Of the first round's new customers; no copy has such numbers."""
ORDERS = 1_000_000
"""Between the first orders of two rounds."""
WARM = 5_000
"""SEATLINE_WARM_AGGREGATES of the writer whose memory is looked at."""
TOUCHED = (3, 10)
"""Copies, all of whose subscriptions it has seen when it is looked at."""

P = ParamSpec("P")
R = TypeVar("R")


class Costs(NamedTuple):
    """In µs each."""

    new: float
    old: float
    event: float
    read: float


def run(stage: Stage, size: int, rounds: int) -> Report:
    market = stage.workload(max(size // COPIES, 10) * LINES, seed=copies.SEED, first_order=copies.FIRST_ORDER)
    with stage.database() as few, stage.database() as many:
        for url in (few, many):
            _in_a_process(_decide_and_fold, url, market)
        copies.multiply(many, COPIES)
        for url in (few, many):
            _settle(url)
        names, events = _subscriptions(few), _head(many)
        memory = _in_a_process(_kept_by_a_writer, many, names)
        chosen = random.Random(1)  # noqa: S311  reproducible on purpose
        copied = [copies.name_in(chosen.randrange(COPIES), name) for name in names]
        samples = interleaved(
            rounds, {"few": _turns(stage, few, names, size), "many": _turns(stage, many, copied, size)}
        )
    return _report(len(names), events, samples, memory)


def _turns(stage: Stage, url: str, names: Sequence[str], size: int) -> Callable[[], Costs]:
    """What gives, each time, the costs of a round: with new customers of its own, and other old ones."""
    rounds = count()

    def costs() -> Costs:
        turn = next(rounds)
        first_order = FIRST_ORDER + turn * ORDERS
        new = stage.workload(min(size, NEW_LINES), seed=turn + 2, first_order=first_order)
        return _in_a_process(_costs, url, new, first_order, names, turn)

    return costs


def _report(subscriptions: int, events: int, samples: Mapping[str, Sequence[Costs]], memory: Sequence[float]) -> Report:
    few, many = subscriptions, subscriptions * COPIES
    measured, figures = [], []
    for field, what in (
        ("new", "a command of new customers"),
        ("old", "a command on an old subscription"),
        ("event", "an event into the views"),
        ("read", "a panel"),
    ):
        against = Measured(f"{what}, {few:,}", [getattr(costs, field) for costs in samples["few"]], "µs")
        grown = Measured(f"{what}, {many:,}", [getattr(costs, field) for costs in samples["many"]], "µs")
        measured += [against, grown]
        figures.append(Figure(f"{what}: {many:,} ÷ {few:,}", grown.median / against.median, most=1.3))
    for known, megabytes in zip(TOUCHED, memory, strict=True):
        what = f"a writer that has seen {known * subscriptions:,} of them"
        measured.append(Measured(what, [megabytes], "MB"))
    figures.append(Figure("a writer's memory: last ÷ first", memory[-1] / memory[0], most=1.3))
    return Report({"subscriptions": many, "against": few, "events": events}, measured, figures)


def _in_a_process(side: Callable[Concatenate[str, P], R], url: str, *args: P.args, **kwargs: P.kwargs) -> R:
    with ProcessPoolExecutor(1, mp_context=SPAWN) as process:
        return process.submit(side, url, *args, **kwargs).result()


# What is in the database


def _decide_and_fold(url: str, market: Path) -> None:
    # The calendar is one for all customers, and can't be copied with them.
    lines = [line for line in lines_of(market) if b"close-day" not in line]
    with engine_at(url) as engine:
        _draw_from(engine, copies.FIRST_ORDER)
        ingest(engine.clerk(), lines)
        _fold(engine.log)


def _draw_from(engine: Engine, first_order: int) -> None:
    """Give out the order numbers that the customers of the next workload foresee."""
    with engine.log.connection() as connection:
        connection.execute(f"ALTER SEQUENCE seatline.order_number_blocks RESTART WITH {first_order // BLOCK}".encode())


def _fold(log: EventLog) -> None:
    while advance(log, live_tables):
        pass


def _settle(url: str) -> None:
    """As a server that has been at work for a while: statistics are made, and it has its indexes in memory."""
    with connected(url) as connection:
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("SET enable_seqscan = off")
        connection.execute("SELECT count(*) FROM seatline.answers WHERE command_id > ''")
        connection.execute("SELECT count(*) FROM seatline.stored_events WHERE originator_id > ''")


def _subscriptions(url: str) -> list[str]:
    with connected(url) as connection:
        return [name for (name,) in connection.execute("SELECT subscription_id FROM panel.seats ORDER BY 1").fetchall()]


def _head(url: str) -> int:
    with connected(url) as connection:
        [(head,)] = connection.execute("SELECT max(notification_id) FROM seatline.stored_events").fetchall()
    return int(head)


# What is measured


def _costs(url: str, new: Path, first_order: int, names: Sequence[str], turn: int) -> Costs:
    """All in one process, beginning with nothing warm."""
    lines = [line for line in lines_of(new) if b"close-day" not in line]
    asked = [names[(turn * OLD + place) % len(names)] for place in range(min(OLD, len(names)))]
    with engine_at(url) as engine:
        _draw_from(engine, first_order)
        head = engine.log.head()
        began = time.perf_counter()
        ingest(engine.clerk(), lines)
        of_new = time.perf_counter() - began
        opened = [_line("open-cart", turn, name, entry_point="panel") for name in asked]
        began = time.perf_counter()
        ingest(engine.clerk(), opened)
        of_old = time.perf_counter() - began
        events = engine.log.head() - head
        began = time.perf_counter()
        _fold(engine.log)
        of_events = time.perf_counter() - began
        reads = []
        for name in asked[:READS]:
            began = time.perf_counter()
            panel_now(engine.log, name)
            reads.append(time.perf_counter() - began)
    return Costs(of_new / len(lines) * 1e6, of_old / len(opened) * 1e6, of_events / events * 1e6, median(reads) * 1e6)


def _kept_by_a_writer(url: str, names: Sequence[str]) -> list[float]:
    """MB of a process that has had commands on all subscriptions of some copies, and then of some more.

    They are refused, so that what they needed stays as it is.
    """
    sizes = []
    with engine(Settings(database_url=url, warm_aggregates=WARM)) as wired:
        clerk = wired.clerk()
        for seen, until in pairwise((0, *TOUCHED)):
            for copy in range(seen, until):
                asked = [copies.name_in(copy, name) for name in names]
                ingest(clerk, [_line("delete-user", copy, name, username="nobody") for name in asked])
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            sizes.append(pages * resource.getpagesize() / 1e6)
    return sizes


def _line(command: str, turn: int, subscription: str, **data: object) -> bytes:
    envelope = {
        "specversion": "1.0",
        "id": f"{command}:{turn}:{subscription}",
        "source": "/bench",
        "type": f"{PREFIX}{command}.v1",
        "time": "2026-11-01T09:15:00+01:00",
        "data": {"subscription_id": subscription, **data},
    }
    return json.dumps(envelope).encode()
