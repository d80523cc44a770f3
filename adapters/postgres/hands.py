"""Who does a long work over the log in parts: two threads of this process, and as many others as one likes."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import get_context, parent_process
from typing import Any

from adapters.clerk import spare_the_collector
from adapters.postgres.database import Datastore
from adapters.postgres.log import EventLog

Hand = Callable[..., "Future[Any]"]
"""Has somebody do a part, a function of a module that is given the log and these arguments; says later what it gave."""


@contextmanager
def hands(log: EventLog, processes: int) -> Iterator[list[Hand]]:
    """Two of our own, so that one computes while the server is at what the other one asked for; one of each other."""
    with ExitStack() as pools:
        threads = pools.enter_context(ThreadPoolExecutor(2))
        team: list[Hand] = [partial(_here, threads, log)] * 2
        if others := processes - 1:
            pool = pools.enter_context(
                ProcessPoolExecutor(others, get_context("spawn"), initializer=_open, initargs=(log.datastore.url,))
            )
            pool.submit(os.getpid)  # has them start
            team += [lambda *part: pool.submit(_there, *part)] * others
        yield team


def _here(threads: ThreadPoolExecutor, log: EventLog, part: Callable[..., Any], *arguments: Any) -> "Future[Any]":
    return threads.submit(part, log, *arguments)


_log: EventLog
"""In a process that does parts."""


def _there(part: Callable[..., Any], *arguments: Any) -> Any:
    return part(_log, *arguments)


def _open(url: str) -> None:
    global _log
    # Ctrl-C reaches every process; the one that was asked ends the others when their parts are done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A pool whose process was killed waits for work for ever.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    spare_the_collector()
    _log = EventLog(Datastore(url))


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "a pool made this process"
    parent.join()
    os._exit(1)
