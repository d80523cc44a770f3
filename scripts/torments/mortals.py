"""Worker processes that end, or stand still, at a point of their work that was chosen for them."""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.synchronize import Semaphore
from pathlib import Path
from typing import Any

import structlog

Lingering = tuple[Semaphore, Semaphore]
"""Raised when a process has met its fate, and to let it go on."""

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["adapters.wiring", "adapters.kafka.inbox", "adapters.kafka.publisher"])


@dataclass(frozen=True)
class Point:
    """Before or after a function's n-th call."""

    name: str
    where: str
    """`module:Class.function` or `module:function`."""
    after: bool = False


@dataclass(frozen=True)
class Fate:
    point: Point
    call: int
    signal: signal.Signals | None
    """None to linger there until told to go on, with its other threads alive."""


QUICK_MS, USUAL_MS = 1_000, 6_000
"""How long a worker of commands may say nothing before the group goes on without it."""


@dataclass(frozen=True)
class Bug:
    """A function put in another's place: `module:Class.function` each, importable in a new process."""

    instead_of: str
    put: str


class Mortal:
    def __init__(
        self, settings: dict[str, str], worker: str, fate: Fate | None, bug: Bug | None, session_ms: int = QUICK_MS
    ) -> None:
        self._fate = fate
        self._lingers, self._goes_on = CONTEXT.Semaphore(0), CONTEXT.Semaphore(0)
        lingering = (self._lingers, self._goes_on)
        self._process = CONTEXT.Process(
            target=_live, args=(settings, worker, fate, bug, session_ms, lingering), daemon=True
        )
        self._process.start()

    def wait(self, seconds: float) -> bool:
        """Whether it met its fate in this time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if not self._process.is_alive():
                if self._process.exitcode != -signal.SIGKILL:
                    raise RuntimeError(f"a worker ended with {self._process.exitcode}; what it said is above")
                return True
            if self._fate and self._fate.signal == signal.SIGSTOP and self._stands_still():
                return True
            if self._lingers.acquire(block=False):
                return True
            time.sleep(0.02)
        return False

    def go_on(self) -> None:
        self._tell(signal.SIGCONT)
        self._goes_on.release()

    def leave(self) -> None:
        """In good order, as at the end of its shift."""
        self._tell(signal.SIGTERM)
        self._process.join()

    def kill(self) -> None:
        self._tell(signal.SIGKILL)
        self._process.join()

    def _stands_still(self) -> bool:
        with suppress(OSError):
            stat = Path(f"/proc/{self._process.pid}/stat").read_text()
            return stat.rpartition(")")[2].split()[0] == "T"
        return False

    def _tell(self, number: signal.Signals) -> None:
        # It may end by itself between the look and the signal.
        with suppress(ProcessLookupError):
            if self._process.pid and self._process.is_alive():
                os.kill(self._process.pid, number)


@contextmanager
def mortal(
    settings: dict[str, str],
    worker: str,
    fate: Fate | None = None,
    bug: Bug | None = None,
    session_ms: int = QUICK_MS,
) -> Iterator[Mortal]:
    process = Mortal(settings, worker, fate, bug, session_ms)
    try:
        yield process
    finally:
        process.kill()


def _live(
    settings: dict[str, str], worker: str, fate: Fate | None, bug: Bug | None, session_ms: int, lingering: Lingering
) -> None:
    enough = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: enough.set())
    for name in [name for name in os.environ if name.startswith("SEATLINE_")]:
        del os.environ[name]
    os.environ |= settings
    from adapters.kafka import cluster, partitions, sending
    from adapters.settings import load_settings
    from adapters.wiring import engine
    from adapters.workers import run

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL)
    )  # faults are no news here
    partitions.SESSION_MS = session_ms
    partitions.REST = (0.05, 0.2)
    if worker == "publisher":
        # A broker is away past what a producer takes much sooner.
        cluster.PATIENCE_MS, sending.GIVEN_UP = 1_000, 2.5
    if bug:
        _replace(bug.instead_of, lambda _: _found(bug.put)[2])
    if fate:
        _doom(fate, *lingering)
    with engine(load_settings()) as wired:
        run(wired.workers([worker]), wired.log, enough)


def _doom(fate: Fate, lingers: Semaphore, goes_on: Semaphore) -> None:
    calls = 0

    def meet() -> None:
        if fate.signal:
            os.kill(os.getpid(), fate.signal)
        else:
            lingers.release()
            goes_on.acquire()

    def doomed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            met = calls == fate.call
            if met and not fate.point.after:
                meet()
            result = function(*arguments, **named)
            if met and fate.point.after:
                meet()
            return result

        return call

    _replace(fate.point.where, doomed)


def _replace(where: str, make: Callable[[Any], Any]) -> None:
    holder, name, function = _found(where)
    setattr(holder, name, make(function))


def _found(where: str) -> tuple[Any, str, Any]:
    module, _, path = where.partition(":")
    holder: Any = import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        holder = getattr(holder, part)
    return holder, name, getattr(holder, name)
