"""Running workers: each in its own thread until told to stop, or all in turns until nothing is left to do."""

import random
import threading
import time
from collections.abc import Sequence
from typing import Protocol

import structlog

from adapters.kafka import KafkaAway
from adapters.postgres.database import DatabaseAway, connected, naming_outages
from adapters.postgres.log import EventLog

POLL = 1.0
"""Seconds after which a worker looks for news even if nobody told it of any."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
"""Seconds before a worker tries again after an error."""
GRACE = 6.0
"""Seconds that all workers together get to finish what they are at; what is cut off is found again."""

log = structlog.get_logger()


class Worker(Protocol):
    name: str

    def step(self) -> bool:
        """Do some work, all or nothing; says whether there was any."""
        ...


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


def run(workers: Sequence[Worker], events: EventLog, stop: threading.Event) -> None:
    """Run each worker in a thread until told to stop; an error is waited out, and no worker stops another."""
    news = threading.Condition()
    threads = [
        threading.Thread(target=_run_one, args=(worker, news, stop), name=worker.name, daemon=True)
        for worker in workers
    ]
    threads.append(threading.Thread(target=_listen, args=(events, news, stop), name="listen", daemon=True))
    for thread in threads:
        thread.start()
    log.info("workers.started", workers=[worker.name for worker in workers])
    stop.wait()
    with news:
        news.notify_all()
    deadline = time.monotonic() + GRACE
    for thread in threads:
        thread.join(timeout=max(0, deadline - time.monotonic()))
    log.info("workers.stopped", unfinished=[thread.name for thread in threads if thread.is_alive()])


def _run_one(worker: Worker, news: threading.Condition, stop: threading.Event) -> None:
    pause = FIRST_PAUSE
    while not stop.is_set():
        try:
            busy = worker.step()
            pause = FIRST_PAUSE
        except (DatabaseAway, KafkaAway) as error:
            log.warning("worker.waits", worker=worker.name, reason=str(error), seconds=round(pause, 1))
        except Exception:
            log.exception("worker.failed", worker=worker.name, seconds=round(pause, 1))
        else:
            if not busy and not getattr(worker, "waits_itself", False):
                with news:
                    news.wait(POLL)
            continue
        stop.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311  spreads retries, guards nothing
        pause = min(pause * 2, LONGEST_PAUSE)
    _close(worker)


def _close(worker: Worker) -> None:
    if close := getattr(worker, "close", None):
        close()


def _listen(events: EventLog, news: threading.Condition, stop: threading.Event) -> None:
    """Wake the workers when something is written; what a lost notice would miss, their own polls find."""
    while not stop.is_set():
        try:
            with connected(events.datastore.url) as connection, naming_outages():
                connection.execute("LISTEN seatline_events")
                while not stop.is_set():
                    for _ in connection.notifies(timeout=POLL, stop_after=1):
                        with news:
                            news.notify_all()
        except DatabaseAway:
            stop.wait(FIRST_PAUSE)
