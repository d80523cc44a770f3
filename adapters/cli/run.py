"""`seatline run`: workers until SIGTERM, or until nothing is left to do."""

import argparse
import gc
import signal
import threading
from functools import partial

from adapters.cli import DONE, Complaint
from adapters.logs import configure_logs
from adapters.settings import load_settings
from adapters.wiring import NEED_KAFKA, WORKERS, engine
from adapters.workers import Watch, drain, nobody_watches
from adapters.workers import run as run_workers


def run(arguments: argparse.Namespace) -> int:
    for name in arguments.workers:
        if name not in (*WORKERS, *NEED_KAFKA):
            raise Complaint(f"there is no worker {name}; there are {', '.join((*WORKERS, *NEED_KAFKA))}")
    settings = load_settings()
    if settings.kafka is None and (without := [name for name in arguments.workers if name in NEED_KAFKA]):
        raise Complaint(f"worker {without[0]} needs SEATLINE_KAFKA, the brokers as host:port")
    configure_logs(settings.log_format)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with engine(settings) as wired:
        workers = wired.workers(arguments.workers)
        _look_for_garbage_rarely()
        if arguments.drain:
            drain(workers, stop)
        else:
            run_workers(workers, wired.log, stop, _watch(settings.metrics_port))
    return DONE


def _watch(port: int | None) -> Watch:
    if port is None:
        return nobody_watches
    from adapters.telemetry import telling

    return partial(telling, port)


def _look_for_garbage_rarely() -> None:
    """What makes no cycles, as a writer with its many aggregates, is not gone through again and again.

    Commands are taken in half as fast again; whatever else runs here may make a few, so it isn't turned off.
    """
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
