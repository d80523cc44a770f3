"""Sending in the background: batches of records, each done when the brokers have acknowledged all of it."""

import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar

from kafka.errors import KafkaTimeoutError  # type: ignore[import-untyped]

from adapters.kafka.cluster import DELIVERY_MS, Cluster, end_producer

Mark = TypeVar("Mark")
GIVEN_UP = DELIVERY_MS / 1000  # seconds
MOST = 16
"""Batches under way, so that brokers that don't acknowledge fill no memory."""


class Outgoing(NamedTuple):
    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class Sending(Generic[Mark]):
    """After an error of any method nothing that was under way counts as sent, though some of it may have been."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._producer: Any = None
        self._under_way: deque[tuple[Mark, float, list[Any]]] = deque()

    def __bool__(self) -> bool:
        """Whether anything is under way."""
        return bool(self._under_way)

    @property
    def is_full(self) -> bool:
        return len(self._under_way) >= MOST

    def send(self, records: Sequence[Outgoing], mark: Mark) -> None:
        """Hand a batch to the producer; `mark` comes back when all of it is acknowledged."""
        if self._producer is None:
            self._producer = self._cluster.producer()
        send, since = self._producer.send, time.monotonic()
        futures = [send(topic, value, key, headers) for topic, key, value, headers in records]
        self._under_way.append((mark, since, futures))

    def acknowledged(self, *, wait: float = 0) -> list[Mark]:
        """The marks of the batches that are done, in their order; raises KafkaError."""
        marks = []
        if wait and self._under_way:
            with suppress(KafkaTimeoutError):
                self._under_way[0][2][-1].get(timeout=wait)
        while self._under_way:
            mark, since, futures = self._under_way[0]
            for future in futures:
                if future.exception is not None:
                    raise future.exception
            if not all(future.is_done for future in futures):
                if time.monotonic() - since > GIVEN_UP:
                    raise KafkaTimeoutError(f"nothing was acknowledged for {GIVEN_UP:.0f} seconds")
                break
            marks.append(mark)
            self._under_way.popleft()
        return marks

    def start_over(self) -> None:
        """Forget what is under way, and the producer, which can't be trusted after a failure."""
        self._under_way.clear()
        self.close(0)

    def close(self, seconds: float) -> None:
        if self._producer is not None:
            producer, self._producer = self._producer, None
            end_producer(producer, seconds)
