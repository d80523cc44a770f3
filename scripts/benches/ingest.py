"""Bytes in, answers out: parse, validate, decide, append and answer, one commit a batch of 1,000."""

import time
from collections.abc import Iterator, Sequence
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg.rows import tuple_row

from adapters.postgres.database import connected, prepare
from domain.order_number import BLOCK
from scripts.benches.figures import Figure, Measured, Report, interleaved
from scripts.benches.stage import SPAWN, Stage, engine_at, ingest, ingest_plainly, lines_of, plain_shop_at
from scripts.workload.market import FIRST_ORDER

SIZE = 20_000
PLAIN_SHARE = 10
"""The peer gets one line for so many of ours, of a workload of its own with stories as long."""
TRANSACTION = 1_000
BLOCKS = 10_000
"""How many blocks of order numbers each of two writers gets in a row."""
PATIENCE = 300
"""Seconds to wait for another process before something must have gone wrong."""

INSERT_EVENTS = """
    INSERT INTO seatline.stored_events
    SELECT * FROM unnest(%b::text[], %b::bigint[], %b::text[], %b::bytea[], %b::text[], %b::bigint[])
"""
INSERT_ANSWERS = """
    INSERT INTO seatline.answers SELECT * FROM unnest(%b::text[], %b::bytea[], %b::text[], %b::text[], %b::bigint[])
"""
Row = tuple[Any, ...]
Columns = tuple[list[Any], ...]


def run(stage: Stage, size: int, rounds: int) -> Report:
    lines, few = stage.workload(size), stage.workload(max(size // PLAIN_SHARE, 100))
    rows = stage.sample(_rows_of, lines)
    samples = interleaved(
        rounds,
        {
            "plain": lambda: stage.sample(_plain, few),
            "one": lambda: stage.sample(_one, lines),
            "two": lambda: _two(stage, size),
            "rows": lambda: stage.sample(_insert, rows),
        },
    )
    events = len(rows[0])
    measured = [
        Measured("plain eventsourcing, one command one commit", samples["plain"], "commands/s"),
        Measured("Seatline, one process", samples["one"], "commands/s"),
        Measured("Seatline, two processes", samples["two"], "commands/s"),
        Measured("Seatline, one process", [rate * events / size for rate in samples["one"]], "events/s"),
        Measured("the same rows by INSERT, 1,000 a transaction", samples["rows"], "events/s"),
    ]
    plain, one, two, stored, limit = (side.median for side in measured)
    return Report(
        {"commands": size, "events": events, "commands for the peer": len(lines_of(few))},
        measured,
        [
            Figure("one process ÷ plain", one / plain, least=40),
            Figure("two processes ÷ plain", two / plain, least=70),
            Figure("events stored ÷ rows inserted", 100 * stored / limit, least=25, unit="%"),
        ],
    )


def _plain(url: str, workload: Path) -> float:
    lines = lines_of(workload)
    with plain_shop_at(url) as shop:
        began = time.perf_counter()
        ingest_plainly(shop, lines)
        return len(lines) / (time.perf_counter() - began)


def _one(url: str, workload: Path) -> float:
    lines = lines_of(workload)
    with engine_at(url) as engine:
        clerk = engine.clerk()
        began = time.perf_counter()
        ingest(clerk, lines)
        return len(lines) / (time.perf_counter() - began)


# Two processes


def _two(stage: Stage, size: int) -> float:
    """Commands a second of two writers, each on its own subscriptions, from the first start to the last end."""
    barrier, spans = SPAWN.Barrier(2), SPAWN.SimpleQueue()
    with stage.database() as url:
        prepare(url)
        with connected(url) as connection:
            # Each gets numbers in a row, so that its payments find its orders, and draws a block before it starts.
            connection.execute(f"ALTER SEQUENCE seatline.order_number_blocks CACHE {BLOCKS}")
        writers = []
        for place in (0, 1):
            workload = stage.workload(size // 2, seed=place + 1, first_order=FIRST_ORDER + (place * BLOCKS + 1) * BLOCK)
            writers.append(SPAWN.Process(target=_write, args=(url, workload, place, barrier, spans), daemon=True))
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
            if writer.exitcode:
                raise RuntimeError("a writer failed; what it said is above")
        times: list[tuple[float, float]] = [spans.get() for _ in writers]
    return size // 2 * 2 / (max(end for _, end in times) - min(begin for begin, _ in times))


def _write(url: str, workload: Path, place: int, barrier: Barrier, spans: "SimpleQueue[tuple[float, float]]") -> None:
    lines = lines_of(workload)
    if place:  # the calendar is nobody's own, so only one of the two closes days
        lines = [line for line in lines if b"close-day" not in line]
    with engine_at(url) as engine:
        clerk = engine.clerk()
        for turn in (0, 1):
            if turn == place:
                with engine.log.session() as session:
                    session.order_number_block()
            barrier.wait(PATIENCE)
        began = time.monotonic()
        ingest(clerk, lines)
        spans.put((began, time.monotonic()))


# The limit


def _rows_of(url: str, workload: Path) -> tuple[list[Row], list[Row]]:
    """What our run stores: the events, and the answers."""
    with engine_at(url) as engine:
        ingest(engine.clerk(), lines_of(workload))
    with connected(url) as connection:
        return (
            _all(connection, "SELECT * FROM seatline.stored_events ORDER BY notification_id"),
            _all(connection, "SELECT * FROM seatline.answers ORDER BY position, command_id"),
        )


def _all(connection: psycopg.Connection, query: LiteralString) -> list[Row]:
    with connection.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(query).fetchall()


def _insert(url: str, rows: tuple[list[Row], list[Row]]) -> float:
    """Events a second of nothing but INSERT: the same tables and indexes, the events and their answers."""
    events, answers = rows
    transactions = -(-len(events) // TRANSACTION)
    columns = list(zip(_columns(events, transactions), _columns(answers, transactions), strict=True))
    prepare(url)
    with connected(url) as connection, connection.cursor() as cursor:
        began = time.perf_counter()
        for some_events, some_answers in columns:
            with connection.transaction():
                cursor.execute(INSERT_EVENTS, some_events)
                cursor.execute(INSERT_ANSWERS, some_answers)
        return len(events) / (time.perf_counter() - began)


def _columns(rows: Sequence[Row], parts: int) -> Iterator[Columns]:
    for part in range(parts):
        chunk = rows[part * len(rows) // parts : (part + 1) * len(rows) // parts]
        yield tuple(list(column) for column in zip(*chunk, strict=True))
