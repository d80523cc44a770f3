"""One command, one commit: how long one caller waits for its answer."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from adapters.cloudevents import parse
from scripts.benches.figures import Figure, Measured, Report, interleaved
from scripts.benches.stage import Stage, engine_at, lines_of, plain_shop_at

SIZE = 2_000
WARM_UP = 100


def run(stage: Stage, size: int, rounds: int) -> Report:
    lines = stage.workload(size + WARM_UP, bad=0)
    samples = interleaved(
        rounds, {"plain": lambda: stage.sample(_plain, lines), "ours": lambda: stage.sample(_ours, lines)}
    )
    measured = [
        Measured("plain eventsourcing, p50", samples["plain"], "µs"),
        Measured("Seatline, p50", samples["ours"], "µs"),
    ]
    plain, ours = (side.median for side in measured)
    return Report({"commands": size}, measured, [Figure("p50: plain ÷ Seatline", plain / ours, least=1.8)])


def _plain(url: str, workload: Path) -> float:
    with plain_shop_at(url) as shop:
        return _median_wait(shop.handle, lines_of(workload))


def _ours(url: str, workload: Path) -> float:
    with engine_at(url) as engine:
        clerk = engine.clerk()
        return _median_wait(lambda line: clerk.handle([parse(line)])[0].line(), lines_of(workload))


def _median_wait(handle: Callable[[bytes], object], lines: Sequence[bytes]) -> float:
    waits = []
    for line in lines:
        began = time.perf_counter()
        handle(line)
        waits.append(time.perf_counter() - began)
    return median(waits[WARM_UP:]) * 1e6
