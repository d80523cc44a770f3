"""Workers that run on their own hear of news, whenever it comes."""

import threading
import time
from typing import LiteralString

import pytest

from adapters import workers
from tests.office import Office, until

LISTENS: LiteralString = (
    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND query = 'LISTEN seatline_events'"
)


class Reader:
    """Says that there is nothing to do, and has been told of an event by then."""

    name = "reader"

    def __init__(self, office: Office) -> None:
        self._office = office
        self.looks = 0

    def step(self) -> bool:
        self.looks += 1
        if self.looks == 1:
            until(lambda: self._office.ask(LISTENS))
            self._office.start()
            time.sleep(0.2)  # for the word to come
        return False


def test_a_worker_looks_again_for_what_came_while_it_looked(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "POLL", 60.0)
    reader, stop = Reader(office), threading.Event()
    running = threading.Thread(target=workers.run, args=([reader], office.log, stop))
    running.start()
    try:
        until(lambda: reader.looks > 1)
    finally:
        stop.set()
        office.do("open-cart")  # wakes the one who listens, too
        running.join()
