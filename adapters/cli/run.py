"""`seatline run`: workers until SIGTERM, or until nothing is left to do."""

import argparse
import signal
import threading

from adapters.cli import DONE, Complaint
from adapters.logs import configure_logs
from adapters.settings import load_settings
from adapters.wiring import NEED_KAFKA, WORKERS, engine
from adapters.workers import drain
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
        if arguments.drain:
            drain(workers, stop)
        else:
            run_workers(workers, wired.log, stop)
    return DONE
