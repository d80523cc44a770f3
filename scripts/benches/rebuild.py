"""A whole rebuild of the view that most events concern, beside COPY moving the same events from table to table."""

import time
from pathlib import Path

from adapters.postgres.database import connected
from adapters.postgres.rebuild import rebuild
from projections.catalogue import VIEWS
from scripts.benches.figures import Figure, Measured, Report, interleaved
from scripts.benches.stage import Stage, engine_at, ingest, lines_of

SIZE = 720_000
"""Commands, which make a million events."""
VIEW = "seats"
COLUMNS = "originator_id, originator_version, topic, state, subject, notification_id"


def run(stage: Stage, size: int, rounds: int) -> Report:
    with stage.database() as url:
        events = stage.apart(_fill, url, stage.workload(size))
        samples = interleaved(
            rounds,
            {
                "copy": lambda: (stage.apart(_copy, url), 0.0),
                "one": lambda: stage.apart(_rebuild, url, 1),
                "two": lambda: stage.apart(_rebuild, url, 2),
            },
        )
    rates = {name: [events / seconds for seconds, _ in some] for name, some in samples.items()}
    measured = [
        Measured("COPY out, COPY in", rates["copy"], "events/s"),
        Measured(f"rebuild of {VIEW}, one process", rates["one"], "events/s"),
        Measured(f"rebuild of {VIEW}, two processes", rates["two"], "events/s"),
        Measured("memory of one process, at most", [megabytes for _, megabytes in samples["one"]], "MB"),
    ]
    copy, one, two, _ = (side.median for side in measured)
    return Report(
        {"commands": size, "events": events},
        measured,
        [
            Figure("one process ÷ COPY", 100 * one / copy, least=40, unit="%"),
            Figure("two processes ÷ COPY", 100 * two / copy, least=70, unit="%"),
        ],
    )


def _fill(url: str, workload: Path) -> int:
    """Decide all commands and bring the views up to date; gives how many events there are."""
    with engine_at(url) as engine:
        ingest(engine.clerk(), lines_of(workload))
        [worker] = engine.workers(["projections"])
        while worker.step():
            pass
        with engine.log.connection() as connection:
            connection.execute("VACUUM ANALYZE")
        return engine.log.head()


def _rebuild(url: str, processes: int) -> tuple[float, float]:
    """Seconds of a whole rebuild, compared and swapped; and megabytes of this process at its largest."""
    with engine_at(url) as engine:
        began = time.perf_counter()
        rebuild(engine.log, VIEWS[VIEW], lambda done, goal: None, processes=processes)
        return time.perf_counter() - began, megabytes()


def megabytes() -> float:
    """This process at its largest; `getrusage` would count what its parent was before."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def _copy(url: str) -> float:
    """Seconds for all events to get out of the log and into a table like it, by one process."""
    with connected(url) as source, connected(url) as sink:
        sink.execute("DROP TABLE IF EXISTS copied")
        sink.execute("CREATE TABLE copied (LIKE seatline.stored_events)")
        began = time.perf_counter()
        with (
            source.cursor().copy(f"COPY seatline.stored_events ({COLUMNS}) TO STDOUT (FORMAT BINARY)") as events,
            sink.cursor().copy(f"COPY copied ({COLUMNS}) FROM STDIN (FORMAT BINARY)") as copied,
        ):
            for block in events:
                copied.write(block)
        return time.perf_counter() - began
