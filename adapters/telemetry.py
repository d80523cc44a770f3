"""What a running process says about itself over HTTP: whether it lives, whether it is well, figures for Prometheus."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from psycopg.rows import tuple_row

from adapters.postgres.database import DatabaseAway
from adapters.postgres.log import EventLog
from adapters.settings import SettingsError
from adapters.workers import Pulse

STUCK = 120.0
"""Seconds that no step takes, whoever is away."""

LAGS = """
    SELECT reader, head - position,
        CASE WHEN head > position THEN extract(epoch FROM now() - (
            SELECT (convert_from(state, 'UTF8')::jsonb ->> 'recorded_time')::timestamptz
            FROM seatline.stored_events WHERE notification_id = position + 1
        )) ELSE 0 END
    FROM seatline.readers, (SELECT coalesce(max(notification_id), 0) AS head FROM seatline.stored_events) AS log
"""
EFFECTS = "SELECT worker, state, count(*) FROM seatline.effects GROUP BY worker, state"
DEAD_LETTERS = "SELECT state, count(*) FROM seatline.dead_letters GROUP BY state"


class Figures(Collector):
    """Read when somebody asks: from the workers themselves, and from the database what belongs to all processes."""

    def __init__(self, pulses: Sequence[Pulse], events: EventLog) -> None:
        self._pulses = pulses
        self._events = events

    def describe(self) -> Iterator[Metric]:
        """Nothing: to be registered shouldn't need a database."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        yield from self._steps()
        for pulse in self._pulses:
            if figures := getattr(pulse.worker, "figures", None):
                yield from figures()
        try:
            yield from self._stored()
            reachable = 1
        except DatabaseAway:
            reachable = 0
        yield GaugeMetricFamily("seatline_database_up", "Whether the database can be reached.", value=reachable)

    def _steps(self) -> Iterator[Metric]:
        steps = CounterMetricFamily("seatline_worker_steps", "Steps begun.", labels=["worker"])
        retries = CounterMetricFamily(
            "seatline_worker_retries", "Steps that failed and are tried again.", labels=["worker", "reason"]
        )
        well = GaugeMetricFamily("seatline_worker_up", "Whether the last step went well.", labels=["worker"])
        for pulse in self._pulses:
            steps.add_metric([pulse.worker.name], pulse.steps)
            retries.add_metric([pulse.worker.name, "outage"], pulse.outages)
            retries.add_metric([pulse.worker.name, "failure"], pulse.failures)
            well.add_metric([pulse.worker.name], pulse.is_well)
        yield from (steps, retries, well)

    def _stored(self) -> Iterator[Metric]:
        behind = GaugeMetricFamily("seatline_lag_events", "Events not yet read.", labels=["reader"])
        late = GaugeMetricFamily("seatline_lag_seconds", "Age of the first event not yet read.", labels=["reader"])
        for reader, events, seconds in self._rows(LAGS):
            behind.add_metric([reader], events)
            late.add_metric([reader], max(0.0, float(seconds or 0)))
        effects = GaugeMetricFamily("seatline_effects", "Effects in the ledger.", labels=["worker", "state"])
        for worker, state, count in self._rows(EFFECTS):
            effects.add_metric([worker, state], count)
        letters = GaugeMetricFamily("seatline_dead_letters", "Records that can't be read.", labels=["state"])
        for state, count in self._rows(DEAD_LETTERS):
            letters.add_metric([state], count)
        yield from (behind, late, effects, letters)

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        with self._events.connection() as connection, connection.cursor(row_factory=tuple_row) as cursor:
            return cursor.execute(query.encode()).fetchall()


def histogram(name: str, documentation: str, sizes: dict[int, int]) -> Metric:
    """A Prometheus histogram of how often each size came; its buckets are powers of two."""
    edges = [2**power for power in range(14)]
    buckets = [(str(edge), float(sum(times for size, times in sizes.items() if size <= edge))) for edge in edges]
    buckets.append(("+Inf", float(sum(sizes.values()))))
    return HistogramMetricFamily(
        name, documentation, buckets=buckets, sum_value=sum(size * times for size, times in sizes.items())
    )


def ailments(pulses: Sequence[Pulse]) -> list[str]:
    """Workers that have ended, or are at one step for longer than any takes."""
    now = time.monotonic()
    return [pulse.worker.name for pulse in pulses if not pulse.is_alive or now - pulse.began > STUCK]


def not_ready(pulses: Sequence[Pulse], events: EventLog) -> list[str]:
    """What is away or went wrong last."""
    waiting = [pulse.worker.name for pulse in pulses if not pulse.is_well]
    try:
        events.head()
    except DatabaseAway:
        waiting.append("database")
    return waiting


@contextmanager
def telling(port: int, pulses: Sequence[Pulse], events: EventLog) -> Iterator[None]:
    """Answer on this port until the context ends; raises SettingsError if it is taken."""
    registry = CollectorRegistry()
    registry.register(Figures(pulses, events))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/healthz":
                    self._say(ailments(pulses))
                case "/readyz":
                    self._say(not_ready(pulses, events))
                case "/metrics":
                    self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
                case _:
                    self._answer(404, "text/plain", b"there are /healthz, /readyz and /metrics\n")

        def _say(self, wrong: list[str]) -> None:
            text = "ok" if not wrong else f"not well: {', '.join(wrong)}"
            self._answer(503 if wrong else 200, "text/plain", f"{text}\n".encode())

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Whoever asks every few seconds is no news."""

    try:
        server = ThreadingHTTPServer(("", port), Handler)
    except OSError as error:
        raise SettingsError(f"SEATLINE_METRICS_PORT {port}: {error.strerror}") from None
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
