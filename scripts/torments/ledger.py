"""What the ledger of effects says, and what a person does about it at the command line."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg.rows import tuple_row

PATIENCE = 600.0
"""Seconds after which something that must come to an end never will."""


class Outcome(NamedTuple):
    """What a torment counted, and how the promise was broken."""

    figures: Mapping[str, float]
    complaints: list[str]


class Ledger:
    def __init__(self, url: str, worker: str) -> None:
        self.retried = 0
        """How often a person had an effect tried again."""
        self._url = url
        self._worker = worker

    def orders(self, where: LiteralString) -> set[str]:
        """The orders whose effects are like that."""
        query: LiteralString = "SELECT order_number FROM seatline.effects WHERE worker = %s AND "
        return {str(number) for (number,) in self.ask(query + where, self._worker)}

    def all_read(self) -> bool:
        head: LiteralString = "SELECT coalesce(max(notification_id), 0) FROM seatline.stored_events"
        return bool(self.ask(f"SELECT FROM seatline.positions WHERE reader = %s AND position = ({head})", self._worker))

    def wait(self, meanwhile: Callable[[], None]) -> None:
        """Until all events are read and nothing is left that can be done without a person."""
        until = time.monotonic() + PATIENCE
        while not self.all_read() or self.orders("state IN ('planned', 'doing')"):
            if time.monotonic() > until:
                raise TimeoutError(f"effects are still open after {PATIENCE:.0f} seconds")
            meanwhile()
            time.sleep(0.02)

    def retry_all(self, meanwhile: Callable[[], None]) -> None:
        """As a person does who has spoken with the other side, until nothing is parked any more."""
        query: LiteralString = "SELECT id FROM seatline.effects WHERE worker = %s AND state = 'failed'"
        while parked := [str(id_) for (id_,) in self.ask(query, self._worker)]:
            self.decided("retry", *parked)
            self.retried += len(parked)
            self.wait(meanwhile)

    def read_again(self) -> None:
        """As after a change of what is planned."""
        self.tell("UPDATE seatline.positions SET position = 0 WHERE reader = %s", self._worker)

    def decided(self, *arguments: str) -> Any:
        """What `seatline effects` prints, as JSON."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("SEATLINE_")}
        done = subprocess.run(
            [sys.executable, "-P", "-c", "from adapters.cli import main; main()", "effects", *arguments, "--json"],
            env=own | {"SEATLINE_DATABASE_URL": self._url},
            stdout=subprocess.PIPE,
            check=True,
        )
        return json.loads(done.stdout)

    def ask(self, query: LiteralString, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._url, autocommit=True, row_factory=tuple_row) as connection:
            return connection.execute(query, parameters).fetchall()

    def tell(self, statement: LiteralString, *parameters: object) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(statement, parameters)
