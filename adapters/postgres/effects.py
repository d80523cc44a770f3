"""The ledger of effects: planned with the reader's position, done once, and never forgotten."""

import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from psycopg import Connection
from psycopg.rows import class_row, tuple_row

from adapters.postgres.database import DatabaseAway
from adapters.postgres.log import EventLog
from adapters.postgres.readers import CommandingReader, EventSource, only_one
from consumers.effects import Effect, EffectConsumer, InDoubt, NoLongerNeeded, Postponed, Refused

log = structlog.get_logger()

TURN = 1.0
"""Seconds of effects in one step, so that a stop is heard soon."""
FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=10)
ADDRESS = re.compile(r"[^\s<>\"'(),:;]+@[^\s<>\"'(),:;]+")
"""What mail servers like to quote; whose letter it is, the effect says without."""
MOST_INTERRUPTIONS = 5
"""After which what ends its process each time is left to a person."""


class EffectWorker:
    """Plans one consumer's effects and performs them; of several processes one at a time performs."""

    def __init__(
        self,
        log: EventLog,
        source: EventSource,
        consumer: EffectConsumer,
        *,
        repeatable: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`repeatable`: the other side knows an effect again, so any doubt is over with its next answer."""
        self.name = consumer.name
        self._log = log
        self._source = source
        self._consumer = consumer
        self._repeatable = repeatable
        self._clock = clock

    def step(self) -> bool:
        try:
            planned = self._plan()
        except DatabaseAway:
            raise
        except Exception:
            # What is planned doesn't wait for the source.
            self.perform()
            raise
        return self.perform() or planned

    def close(self) -> None:
        self._source.close()

    def _plan(self) -> bool:
        """Plan for about a second what the unread events ask for: after an outage they are many."""
        busy, until = False, time.monotonic() + TURN
        while time.monotonic() < until and self._plan_page():
            busy = True
        return busy

    def _plan_page(self) -> bool:
        with self._source.page() as (connection, events):
            self._insert(connection, [effect for event in events if (effect := self._consumer.plan(event))])
        return bool(events)

    def perform(self) -> bool:
        """Do for about a second what is planned and due; says whether there was any."""
        with self._log.connection() as connection, only_one(connection, f"seatline effects {self.name}") as us:
            if not us:
                return False
            # Whoever was at it before has gone without a word.
            self._mark_interrupted(connection)
            busy, until = False, time.monotonic() + TURN
            while time.monotonic() < until and self._perform_next(connection):
                busy = True
            return busy

    def _insert(self, connection: Connection[Any], effects: Sequence[Effect]) -> None:
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO seatline.effects (id, worker, subject, order_number, event_id, at, due_at)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [(e.id, self.name, e.subject, e.order_number, e.event_id, e.at, e.due_at) for e in effects],
            )

    def _mark_interrupted(self, connection: Connection[Any]) -> None:
        connection.execute(
            "UPDATE seatline.effects SET state = CASE WHEN interruptions + 1 < %s THEN 'planned' ELSE 'failed' END,"
            " interruptions = interruptions + 1, in_doubt = true, changed_at = now(),"
            " error = 'interrupted: it may have been done'"
            " WHERE worker = %s AND state = 'doing'",
            (MOST_INTERRUPTIONS, self.name),
        )

    def _perform_next(self, connection: Connection[Any]) -> bool:
        with connection.cursor(row_factory=class_row(Effect)) as cursor:
            cursor.execute(
                "SELECT id, subject, order_number, event_id, at, due_at FROM seatline.effects"
                " WHERE worker = %s AND state = 'planned' AND due_at <= %s ORDER BY due_at, id LIMIT 1",
                (self.name, self._clock()),
            )
            effect = cursor.fetchone()
        if effect is None:
            return False
        try:
            do = self._consumer.prepare(effect, self._clock())
            # From here on whoever finds it can't know whether it was done; a person may have been quicker to skip it.
            taken = connection.execute(
                "UPDATE seatline.effects SET state = 'doing', attempts = attempts + 1, changed_at = now()"
                " WHERE id = %s AND state = 'planned'",
                (effect.id,),
            )
            if not taken.rowcount:
                return True
            do()
        except NoLongerNeeded as reason:
            self._note(connection, effect, "dropped", str(reason))
        except Refused as reason:
            self._note(connection, effect, "failed", str(reason))
        except InDoubt as reason:
            if self._repeatable:
                self._postpone(connection, effect, reason, timedelta())
            else:
                # Once more, under the same identity; if that ends in doubt too, a person decides.
                again = _one(connection, "SELECT in_doubt FROM seatline.effects WHERE id = %s", effect.id)
                self._note(connection, effect, "failed" if again else "planned", str(reason), in_doubt=True)
        except Postponed as reason:
            self._postpone(connection, effect, reason, reason.wait)
        except DatabaseAway:
            raise
        except Exception as error:
            # A fault of ours: this one effect waits for a person, the others go on.
            log.exception("effect.failed", worker=self.name, effect=effect.id)
            self._note(connection, effect, "failed", f"{type(error).__name__}: see the log")
        else:
            connection.execute(
                "UPDATE seatline.effects SET state = 'done', error = NULL, in_doubt = in_doubt AND NOT %s,"
                " changed_at = now() WHERE id = %s",
                (self._repeatable, effect.id),
            )
        return True

    def _note(
        self,
        connection: Connection[Any],
        effect: Effect,
        state: str,
        error: str,
        *,
        in_doubt: bool = False,
        due_at: datetime | None = None,
    ) -> None:
        connection.execute(
            "UPDATE seatline.effects SET state = %s, error = %s, in_doubt = in_doubt OR %s, changed_at = now(),"
            " due_at = coalesce(%s, due_at) WHERE id = %s",
            (state, ADDRESS.sub("…@…", error), in_doubt, due_at, effect.id),
        )

    def _postpone(
        self, connection: Connection[Any], effect: Effect, reason: Postponed | InDoubt, wait: timedelta
    ) -> None:
        attempts = _one(connection, "SELECT attempts FROM seatline.effects WHERE id = %s", effect.id)
        wait = max(wait, min(FIRST_WAIT * 2 ** min(int(attempts) - 1, 10), LONGEST_WAIT))
        in_doubt = isinstance(reason, InDoubt)
        self._note(connection, effect, "planned", str(reason), in_doubt=in_doubt, due_at=self._clock() + wait)


class EngineActivation:
    """Activation in the engine alone: of news in batches, and of what was planned while somebody else had a say."""

    def __init__(self, news: CommandingReader, planned: EffectWorker) -> None:
        self.name = news.name
        self._news = news
        self._planned = planned

    def step(self) -> bool:
        fulfilled = self._news.step()
        return self._planned.perform() or fulfilled

    def close(self) -> None:
        self._news.close()


def _one(connection: Connection[Any], query: str, *parameters: object) -> Any:
    with connection.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute(query.encode(), parameters).fetchone()
    return row[0] if row else None
