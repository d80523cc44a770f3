"""Many callers at once, each waiting for its own answer before it asks again."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import quantiles

from adapters.cloudevents import parse
from adapters.counter import Counter
from scripts.benches.figures import Figure, Measured, Report, interleaved
from scripts.benches.stage import Stage, engine_at, lines_of, plain_shop_at

SIZE = 10_000
CALLERS = 32
PLAIN_SHARE = 5
"""The peer gets one line for so many of ours."""


def run(stage: Stage, size: int, rounds: int) -> Report:
    many, few = stage.workload(size, bad=0), stage.workload(size // PLAIN_SHARE, bad=0)
    samples = interleaved(
        rounds, {"plain": lambda: stage.sample(_plain, few), "ours": lambda: stage.sample(_ours, many)}
    )
    measured = [
        Measured(f"plain eventsourcing, {CALLERS} threads", [rate for rate, _ in samples["plain"]], "commands/s"),
        Measured(f"Seatline, {CALLERS} threads", [rate for rate, _ in samples["ours"]], "commands/s"),
        Measured("plain eventsourcing, p99", [p99 for _, p99 in samples["plain"]], "ms"),
        Measured("Seatline, p99", [p99 for _, p99 in samples["ours"]], "ms"),
    ]
    plain, ours, plain_p99, ours_p99 = (side.median for side in measured)
    sizes = {"commands": sum(map(len, _by_caller(many))), "commands for the peer": sum(map(len, _by_caller(few)))}
    figures = [
        Figure("Seatline ÷ plain", ours / plain, least=10),
        Figure("p99: Seatline ÷ plain", ours_p99 / plain_p99, most=1),
    ]
    return Report(sizes, measured, figures)


def _plain(url: str, workload: Path) -> tuple[float, float]:
    with plain_shop_at(url, connections=CALLERS) as shop:
        return _all_ask(shop.handle, _by_caller(workload))


def _ours(url: str, workload: Path) -> tuple[float, float]:
    with engine_at(url) as engine, Counter(engine.clerk()) as counter:
        return _all_ask(lambda line: counter.ask(parse(line)).line(), _by_caller(workload))


def _by_caller(workload: Path) -> list[list[bytes]]:
    """Its lines dealt out by subscription; without payments, whose order numbers would depend on who comes first."""
    hands: list[list[bytes]] = [[] for _ in range(CALLERS)]
    for line in lines_of(workload):
        if b'"data":{"subscription_id":"' in line:
            subject = line.split(b'"subject":"', 1)[1].split(b'"', 1)[0]
            hands[int(subject.rsplit(b"-", 1)[1]) % CALLERS].append(line)
    return hands


def _all_ask(ask: Callable[[bytes], object], hands: Sequence[Sequence[bytes]]) -> tuple[float, float]:
    """Commands a second of all callers together, and the p99 of their waits in ms."""
    waits: list[float] = []
    start = threading.Barrier(len(hands) + 1)

    def caller(lines: Sequence[bytes]) -> None:
        start.wait()
        for line in lines:
            began = time.perf_counter()
            ask(line)
            waits.append(time.perf_counter() - began)

    threads = [threading.Thread(target=caller, args=(lines,)) for lines in hands]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if len(waits) < sum(map(len, hands)):
        raise RuntimeError("a caller failed; what it said is above")
    return len(waits) / seconds, quantiles(waits, n=100)[98] * 1e3
