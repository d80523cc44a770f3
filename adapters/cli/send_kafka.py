"""`seatline send --kafka`: the lines on the commands' topic, and their answers from the topic of replies."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kafka.errors import KafkaError  # type: ignore[import-untyped]

from adapters.cli import OUTSIDE_FAILED, Complaint
from adapters.cli.send import Answering, Given, Line, Stopped
from adapters.kafka.asking import Asking, asking
from adapters.kafka.cluster import Cluster
from adapters.settings import Settings
from domain.commands import Command

WONDER, GIVE_UP = 5.0, 60.0
"""Seconds without any answer until we say so, and until we end."""
LAST_WAIT = 3.0
"""Seconds for what has been published to be answered once we were asked to stop."""
PUBLISHED = Given("", "published", counts_as_rejected=False)


@contextmanager
def over_kafka(settings: Settings, stopped: Stopped, *, wait: bool) -> Iterator[Answering]:
    cluster = Cluster(settings)
    with asking(cluster) as broker:

        def answering(lines: Sequence[Line]) -> list[Given | None]:
            try:
                broker.publish([line.raw for line in lines])
            except KafkaError as error:
                raise Complaint(
                    f"the brokers fail ({' '.join(str(error).split())}): some lines may have been published;"
                    " run the same files again to finish, nothing is decided twice",
                    OUTSIDE_FAILED,
                ) from None
            return _answers(broker, lines, stopped) if wait else [PUBLISHED] * len(lines)

        yield answering


def _answers(broker: Asking, lines: Sequence[Line], stopped: Stopped) -> list[Given | None]:
    patience = _Patience(stopped)
    ids = [line.holds.id for line in lines if isinstance(line.holds, Command)]
    answers = broker.answers(ids, patience.go_on)
    if None in answers and not stopped():
        raise Complaint(
            f"no answer for {GIVE_UP:.0f} s: is a commands worker running? What was sent is with the brokers"
            " and will be decided; run the same files again for the answers",
            OUTSIDE_FAILED,
        )
    return [_given(answer) if answer else None for answer in answers]


class _Patience:
    """Whether to wait on for answers, asked whenever some might have come."""

    def __init__(self, stopped: Stopped) -> None:
        self._stopped = stopped
        self._came = 0
        self._since = time.monotonic()
        self._last: float | None = None
        self._has_wondered = False

    def go_on(self, came: int) -> bool:
        now = time.monotonic()
        if came > self._came:
            self._came, self._since = came, now
        if self._stopped():
            self._last = self._last or now + LAST_WAIT
            return now < self._last
        if now - self._since > WONDER and not self._has_wondered:
            self._has_wondered = True
            print("seatline: waiting for answers: is a commands worker running?", file=sys.stderr)
        return now - self._since < GIVE_UP


def _given(answer: bytes) -> Given:
    said = json.loads(answer)
    return Given(answer.decode(), said["outcome"], "rejected" in (said["outcome"], said.get("original_outcome")))
