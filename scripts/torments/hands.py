"""A process that performs effects by a clock that runs fast, is killed whenever somebody says so, and comes again."""

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from adapters.postgres.database import DatabaseAway, Datastore
from adapters.postgres.effects import EffectWorker
from adapters.postgres.log import EventLog

TIMES_AS_FAST = 600
"""A pause of ten minutes takes a second."""
TIMEOUT = 0.4
"""Seconds that an outside which says nothing is waited for."""

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["scripts.torments.letters", "scripts.torments.activations"])

Clock = Callable[[], datetime]


class Making(Protocol):
    """What makes the worker in its own process."""

    def __call__(self, log: EventLog, clock: Clock, /, *arguments: Any) -> EffectWorker: ...


class Hands:
    def __init__(self, url: str, make: Making, *arguments: object) -> None:
        self._work = (url, time.time(), make, *arguments)
        self._turn = threading.Lock()
        self._start()

    def kill(self) -> None:
        with self._turn:
            self._process.kill()
            self._process.join()

    def see_to_it(self) -> None:
        """Start it again if it was killed."""
        with self._turn:
            if not self._process.is_alive():
                if self._process.exitcode != -signal.SIGKILL:
                    raise RuntimeError("a worker failed; what it said is above")
                self._start()

    def _start(self) -> None:
        self._process = CONTEXT.Process(target=_work, args=self._work, daemon=True)
        self._process.start()


@contextmanager
def hands(url: str, make: Making, *arguments: object) -> Iterator[Hands]:
    working = Hands(url, make, *arguments)
    try:
        yield working
    finally:
        working.kill()


def _work(url: str, began: float, make: Making, *arguments: object) -> None:
    def clock() -> datetime:
        return datetime.fromtimestamp(began, UTC) + timedelta(seconds=(time.time() - began) * TIMES_AS_FAST)

    log = EventLog(Datastore(url))
    worker = make(log, clock, *arguments)
    while True:
        try:
            if not worker.step():
                time.sleep(0.01)
        except DatabaseAway:
            # Whoever was killed before is still holding what its connection held.
            time.sleep(0.01)
