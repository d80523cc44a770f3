"""The counter: many callers at once, each waiting for its own answer; what has queued up meanwhile shares a commit."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from adapters.clerk import Answer, Clerk
from adapters.postgres.database import DatabaseAway
from domain.commands import Command

Reply = SimpleQueue[Answer | Exception]
"""What one caller waits on; it gets one item."""


class Closed(Exception):
    """The counter takes no more commands; this one has not been looked at."""


class Counter:
    """One clerk behind a queue; the clerk is the counter's own thread's alone."""

    def __init__(self, clerk: Clerk, *, batch_size: int = 1_000) -> None:
        self._clerk = clerk
        self._batch_size = batch_size
        self._queue: SimpleQueue[tuple[Command, Reply] | None] = SimpleQueue()
        self._door = threading.Lock()
        self._is_open = True
        self._thread = threading.Thread(target=self._serve, name="counter", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def ask(self, command: Command) -> Answer:
        """Wait until the command is decided and stored; raises DatabaseAway, which leaves the outcome unknown."""
        reply: Reply = SimpleQueue()
        with self._door:
            if not self._is_open:
                raise Closed
            self._queue.put((command, reply))
        answer = reply.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def waiting(self) -> int:
        """How many callers are not being served yet."""
        return self._queue.qsize()

    def close(self) -> None:
        """Take nothing more, answer all who wait, and end."""
        with self._door:
            if self._is_open:
                self._is_open = False
                self._queue.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while waiting := self._next_batch():
            answers = self._answers([command for command, _ in waiting])
            for (_, reply), answer in zip(waiting, answers, strict=True):
                reply.put(answer)

    def _next_batch(self) -> list[tuple[Command, Reply]]:
        """Wait for one, and take whoever else is there already; none when the counter is closed."""
        batch = []
        item = self._queue.get()
        with suppress(Empty):
            while item is not None:
                batch.append(item)
                if len(batch) == self._batch_size:
                    return batch
                item = self._queue.get_nowait()
            self._queue.put(None)  # closed: whoever came before is served first
        return batch

    def _answers(self, commands: Sequence[Command]) -> Sequence[Answer | Exception]:
        try:
            return self._clerk.handle(commands)
        except DatabaseAway as error:
            return [error] * len(commands)
        except Exception as error:
            if len(commands) == 1:
                return [error]
            # Whatever can't be decided must not fail its neighbours.
            return [answer for command in commands for answer in self._answers([command])]
