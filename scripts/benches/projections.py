"""Catching up: all views from the first event to the last, beside one view by the library's runner."""

import time
from pathlib import Path

from eventsourcing.projection import ProjectionRunner

from adapters.postgres.database import connected
from scripts.benches.figures import Figure, Measured, Report, interleaved
from scripts.benches.plain.shop import environment
from scripts.benches.plain.view import PlainLog, SeatsProjection, SeatsView
from scripts.benches.stage import Stage, engine_at, ingest, ingest_plainly, lines_of, plain_shop_at

SIZE = 60_000
PLAIN_SHARE = 30
"""The peer gets one line for so many of ours, of a workload of its own with stories as long."""
PATIENCE = 600.0
"""Seconds."""


def run(stage: Stage, size: int, rounds: int) -> Report:
    lines, few = stage.workload(size), stage.workload(max(size // PLAIN_SHARE, 100))
    samples = interleaved(
        rounds,
        {"plain": lambda: stage.sample(_plain, few), "six": lambda: stage.sample(_six, lines)},
    )
    measured = [
        Measured("plain ProjectionRunner, one view", samples["plain"], "events/s"),
        Measured("Seatline, all six views", samples["six"], "events/s"),
    ]
    plain, six = (side.median for side in measured)
    return Report({"commands": size}, measured, [Figure("six views ÷ plain, one view", six / plain, least=40)])


def _six(url: str, workload: Path) -> float:
    with engine_at(url) as engine:
        ingest(engine.clerk(), lines_of(workload))
        _settle(url)
        [worker] = engine.workers(["projections"])
        began = time.perf_counter()
        while worker.step():
            pass
        return engine.log.head() / (time.perf_counter() - began)


def _plain(url: str, workload: Path) -> float:
    with plain_shop_at(url) as shop:
        ingest_plainly(shop, lines_of(workload))
        head = shop.recorder.max_notification_id() or 0
    _settle(url)
    began = time.perf_counter()
    with ProjectionRunner(
        application_class=PlainLog,
        projection_class=SeatsProjection,
        view_class=SeatsView,
        env=environment(url, 5),
    ) as runner:
        runner.wait(head, timeout=PATIENCE)
        return head / (time.perf_counter() - began)


def _settle(url: str) -> None:
    """What the writing left to be done is not to be paid by the reading."""
    with connected(url) as connection:
        connection.execute("CHECKPOINT")
