"""What sealing costs those who append, and how many events a process compares with their seals, or replays."""

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from multiprocessing.synchronize import Event
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from adapters.clerk import spare_the_collector
from adapters.postgres.database import Datastore, connected
from adapters.postgres.log import EventLog
from adapters.postgres.replaying import Difference, replay_streams
from adapters.postgres.sealing import seal, verify
from adapters.seals import Seals
from scripts.benches.figures import Figure, Measured, Report, interleaved
from scripts.benches.rebuild import megabytes
from scripts.benches.stage import Stage, engine_at, ingest, lines_of

SIZE = 140_000
"""Commands, which make some 200,000 events."""
EVERY = 1.0
"""Seconds between two seals while others append: far more often than anybody needs."""

SPAWN = multiprocessing.get_context("spawn")


def run(stage: Stage, size: int, rounds: int) -> Report:
    workload = stage.workload(size)
    samples = interleaved(
        rounds,
        {
            "alone": lambda: stage.sample(_append, workload, sealed=False),
            "sealed": lambda: stage.sample(_append, workload, sealed=True),
        },
    )
    with stage.database() as url:
        events = stage.apart(_fill, url, workload)
        verified = [stage.apart(_verify, url) for _ in range(rounds)]
        replayed = [stage.apart(_replay, url) for _ in range(rounds)]
    # Two samples of one round stand beside each other, so a slow minute is in both.
    costs = [100 * (sealed / alone - 1) for alone, sealed in zip(samples["alone"], samples["sealed"], strict=True)]
    measured = [
        Measured("append", [size / seconds for seconds in samples["alone"]], "commands/s"),
        Measured(
            "append while it is sealed every second", [size / seconds for seconds in samples["sealed"]], "commands/s"
        ),
        Measured("seal, one process", [events / sealing for sealing, _ in verified], "events/s"),
        Measured("verify, one process", [events / verifying for _, verifying in verified], "events/s"),
        Measured("replay, one process", [events / seconds for seconds, _ in replayed], "events/s"),
        Measured("memory of replay, at most", [megabytes for _, megabytes in replayed], "MB"),
    ]
    return Report(
        {"commands": size, "events": events},
        measured,
        [
            Figure("sealing costs append", max(0.0, statistics.median(costs)), most=5, unit="%"),
            Figure("verify", measured[3].median, least=300_000, unit="events/s"),
            Figure("replay", measured[4].median, least=100_000, unit="events/s"),
        ],
    )


def _append(url: str, workload: Path, *, sealed: bool) -> float:
    """Seconds to decide and store all commands."""
    lines = lines_of(workload)
    with engine_at(url) as engine, _sealer(url) if sealed else nullcontext():
        began = time.perf_counter()
        ingest(engine.clerk(), lines)
        return time.perf_counter() - began


@contextmanager
def _sealer(url: str) -> Iterator[None]:
    """A process that seals what comes, as `seatline audit seal --every` does."""
    started, stop = SPAWN.Event(), SPAWN.Event()
    process = SPAWN.Process(target=_seal_again_and_again, args=(url, started, stop))
    process.start()
    started.wait()
    try:
        yield
    finally:
        stop.set()
        process.join()


def _seal_again_and_again(url: str, started: Event, stop: Event) -> None:
    key = Ed25519PrivateKey.generate()
    with tempfile.TemporaryDirectory() as folder, connected(url) as connection:
        started.set()
        while not stop.wait(EVERY):
            seal(connection, Seals(Path(folder)), key, _quietly)


def _fill(url: str, workload: Path) -> int:
    with engine_at(url) as engine:
        ingest(engine.clerk(), lines_of(workload))
        with engine.log.connection() as connection:
            connection.execute("VACUUM ANALYZE")
        return engine.log.head()


def _verify(url: str) -> tuple[float, float]:
    """Seconds to seal everything at once, and to verify it."""
    key = Ed25519PrivateKey.generate()
    with tempfile.TemporaryDirectory() as folder, connected(url) as connection:
        seals = Seals(Path(folder))
        began = time.perf_counter()
        seal(connection, seals, key, _quietly)
        sealed = time.perf_counter()
        assert verify(connection, seals, key.public_key(), _quietly).found is None
        return sealed - began, time.perf_counter() - sealed


def _replay(url: str) -> tuple[float, float]:
    """Seconds to replay all streams and count all quotes again; and megabytes of this process at its largest."""
    spare_the_collector()
    log = EventLog(Datastore(url))
    began = time.perf_counter()
    replay_streams(log, 1, _quietly, _refuse)
    seconds = time.perf_counter() - began
    log.datastore.close()
    return seconds, megabytes()


def _refuse(difference: Difference) -> None:
    raise AssertionError(str(difference))


def _quietly(done: int, goal: int) -> None:
    """Nobody watches."""
