"""Running workers: each in its own thread until told to stop, or all in turns until nothing is left to do."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from adapters.kafka import KafkaAway
from adapters.postgres.database import DatabaseAway, connected, naming_outages
from adapters.postgres.log import EventLog

POLL = 1.0
"""Seconds after which a worker looks for news even if nobody told it of any."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds before a worker tries again after an error."""
GRACE = 6.0
"""Seconds that all workers together get to finish what they are at; what is cut off is found again."""

log = structlog.get_logger()


class Worker(Protocol):
    name: str

    def step(self) -> bool:
        """Do some work, all or nothing; says whether there was any."""
        ...


@dataclass(slots=True)
class Pulse:
    """How a worker is doing, for whoever watches it."""

    worker: Worker
    steps: int = 0
    outages: int = 0
    failures: int = 0
    began: float = field(default_factory=time.monotonic)
    """When its last step began, by the monotonic clock."""
    is_well: bool = False
    """Whether its last step went well."""
    is_alive: bool = True


class News:
    """Word that something was written, kept for those who are at work when it comes."""

    def __init__(self) -> None:
        self._told = threading.Condition()
        self.count = 0

    def tell(self) -> None:
        with self._told:
            self.count += 1
            self._told.notify_all()

    def wait(self, known: int, seconds: float) -> None:
        """Until there is more than was known, or for so long."""
        with self._told:
            self._told.wait_for(lambda: self.count != known, seconds)


Watch = Callable[[Sequence[Pulse], EventLog], AbstractContextManager[None]]


def nobody_watches(pulses: Sequence[Pulse], events: EventLog) -> AbstractContextManager[None]:
    return nullcontext()


def drain(workers: Sequence[Worker], stop: threading.Event) -> None:
    """Let every worker step until none finds anything to do; what is not yet due is left."""
    busy = True
    try:
        while busy and not stop.is_set():
            busy = False
            for worker in workers:
                busy = worker.step() or busy
    finally:
        for worker in workers:
            _close(worker)


def run(workers: Sequence[Worker], events: EventLog, stop: threading.Event, watch: Watch = nobody_watches) -> None:
    """Run each worker in a thread until told to stop; an error is waited out, and no worker stops another."""
    pulses = [Pulse(worker) for worker in workers]
    with watch(pulses, events):
        _run(pulses, events, stop)


def _run(pulses: Sequence[Pulse], events: EventLog, stop: threading.Event) -> None:
    news = News()
    threads = [
        threading.Thread(target=_run_one, args=(pulse, news, stop), name=pulse.worker.name, daemon=True)
        for pulse in pulses
    ]
    threads.append(threading.Thread(target=_listen, args=(events, news, stop), name="listen", daemon=True))
    for thread in threads:
        thread.start()
    log.info("workers.started", workers=[pulse.worker.name for pulse in pulses])
    stop.wait()
    news.tell()
    deadline = time.monotonic() + GRACE
    for thread in threads:
        thread.join(timeout=max(0, deadline - time.monotonic()))
    log.info("workers.stopped", unfinished=[thread.name for thread in threads if thread.is_alive()])


def _run_one(pulse: Pulse, news: News, stop: threading.Event) -> None:
    worker, pause = pulse.worker, FIRST_PAUSE
    while not stop.is_set():
        # What comes while the worker looks may be just what it no longer sees.
        known = news.count
        pulse.steps += 1
        pulse.began = time.monotonic()
        try:
            busy = worker.step()
            pulse.is_well, pause = True, FIRST_PAUSE
        except (DatabaseAway, KafkaAway) as error:
            pulse.is_well = False
            pulse.outages += 1
            log.warning("worker.waits", worker=worker.name, reason=str(error), seconds=round(pause, 1))
        except Exception:
            pulse.is_well = False
            pulse.failures += 1
            log.exception("worker.failed", worker=worker.name, seconds=round(pause, 1))
        else:
            if not busy and not getattr(worker, "waits_itself", False):
                news.wait(known, POLL)
            continue
        stop.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311  spreads retries, guards nothing
        pause = min(pause * 2, LONGEST_PAUSE)
    pulse.is_alive = False
    _close(worker)


def _close(worker: Worker) -> None:
    if close := getattr(worker, "close", None):
        close()


def _listen(events: EventLog, news: News, stop: threading.Event) -> None:
    """Wake the workers when something is written; what a lost notice would miss, their own polls find."""
    while not stop.is_set():
        try:
            with connected(events.datastore.url) as connection, naming_outages():
                connection.execute("LISTEN seatline_events")
                # Of what was written before, nobody has told us.
                news.tell()
                while not stop.is_set():
                    for _ in connection.notifies(timeout=POLL, stop_after=1):
                        news.tell()
        except DatabaseAway:
            stop.wait(FIRST_PAUSE)
