"""Readers who poll the panel's views, and say what no reader may ever see."""

import random
import time
from collections import Counter
from contextlib import suppress
from multiprocessing.connection import Connection as Pipe
from typing import Any, NamedTuple

import msgspec
import psycopg
from psycopg import Connection, sql
from psycopg.rows import tuple_row

from adapters.postgres.tables import names
from domain.subscription_events import UserDeleted
from projections.catalogue import VIEWS
from projections.view import AnyView, Key, Row

MARKS: dict[str, tuple[str, Any]] = {
    "seats": ("seats_purchased", -1),
    "services": ("sku", "MARKED"),
    "users": ("permissions", ["MARKED"]),
    "orders": ("payment_method", "MARKED"),
    "carts": ("entry_point", "MARKED"),
    "payments": ("currency", "MARKED"),
}
"""What the handlers with a planted bug write into a column of each row: no handler looks at these."""
MARKED = 1_000
"""Added to the version of handlers that mark their rows."""
WIDER = ("users", "orders")
"""Views that have one more column while their rows are marked."""
LOSING = "users"
"""The only view whose rows ever go."""
FAULTS = ("errors", "gaps", "steps back", "mixes", "torn rows", "rows ahead")
LARGE = 10_000
"""Rows from which on a view is read as a whole only now and then."""
WATCHED = 400
"""Subscriptions, orders or payments that a reader looks at in each view, at most."""
DELETED = "SELECT FROM seatline.stored_events WHERE subject = %s AND topic = %s AND notification_id > %s"


def handlers(name: str, version: int) -> AnyView:
    """The view as it is, or the one whose handlers mark each row."""
    plain = AS_THEY_ARE[name]
    return plain if version == plain.version else WITH_MARKS[name]


def _marked(view: AnyView) -> AnyView:
    column, value = MARKS[view.name]
    plain: Any = type(view)
    fields = [("marked", bool | None, None)] if view.name in WIDER else []

    class Marked(plain):  # type: ignore[misc]
        version = view.version + MARKED
        row = msgspec.defstruct("MarkedRow", fields, bases=(view.row,))

        def settle(self, row: Row) -> None:
            super().settle(row)
            setattr(row, column, value)

    return Marked()


AS_THEY_ARE = dict(VIEWS)
WITH_MARKS = {name: _marked(view) for name, view in AS_THEY_ARE.items()}


class Seen(NamedTuple):
    """What a row said."""

    position: int
    is_marked: bool
    content: str


class Watch:
    """What one reader has seen of one view."""

    def __init__(self, view: AnyView) -> None:
        self.view = view
        self.keys: list[str] = []
        self.rows: dict[Key, Seen] = {}
        self.count = 0
        self.position = 0
        column, self.mark = MARKS[view.name]
        panel = sql.Identifier("panel", view.name)
        first, marked = sql.Identifier(view.key[0]), sql.SQL("{} = %s").format(sql.Identifier(column))
        shown = [name for name in view.row.__struct_fields__[1:] if name not in view.hidden]
        self.whole = sql.SQL(
            "SELECT count(*), count(*) FILTER (WHERE {}), coalesce(max(position), 0), panel.position(ARRAY[{}]) FROM {}"
        ).format(marked, view.name, panel)
        self.part = sql.SQL("SELECT {}, position, {}, md5(ROW({})::text) FROM {} WHERE {} = ANY (%s)").format(
            names(view.key), marked, names(shown), panel, first
        )
        self.newest = sql.SQL("SELECT {} FROM {} ORDER BY position DESC LIMIT 20").format(first, panel)


class Reader:
    def __init__(self, url: str, chance: random.Random) -> None:
        self.figures = Counter(dict.fromkeys(FAULTS, 0))
        self.complaints = Counter[str]()
        self._url = url
        self._chance = chance
        self._connection = self._connected()
        self._forget()

    def poll(self) -> None:
        try:
            self._read(self._watches[self._chance.randrange(len(self._watches))])
            self.figures["reads"] += 1
        except psycopg.Error as error:
            if self._connection.closed:
                # The server crashed, which takes away the latest rows of the views, and their positions with them.
                self.figures["connections lost"] += 1
                self._connection = self._connected()
                self._forget()
            else:
                self.figures["errors"] += 1
                self.complaints[f"a reader got an error: {type(error).__name__}: {error}"] += 1

    def _read(self, watch: Watch) -> None:
        with self._connection.cursor() as cursor:
            if watch.count < LARGE or self._chance.random() < 0.1:
                [(count, marked, latest, position)] = cursor.execute(watch.whole, (watch.mark,))
                self._judge_whole(watch, count, marked, latest, position)
            if self._chance.random() < (0.2 if watch.count < LARGE else 0.05) or not watch.keys:
                new = [key for (key,) in cursor.execute(watch.newest)]
                watch.keys = [*dict.fromkeys([*watch.keys, *new])][-WATCHED:]
            rows = cursor.execute(watch.part, (watch.mark, watch.keys)).fetchall()
        width = len(watch.view.key)
        self._judge_part(watch, {row[:width]: Seen(*row[width:]) for row in rows})

    def _judge_whole(self, watch: Watch, count: int, marked: int, latest: int, position: int) -> None:
        name = watch.view.name
        if marked not in (0, count):
            self._complain("mixes", f"{name} showed rows of two versions in one snapshot")
        if latest > position:
            self._complain("rows ahead", f"{name} showed rows ahead of its position")
        if position < watch.position:
            self._complain("steps back", f"the position of {name} went back")
        if count < watch.count and name != LOSING:
            self._complain("gaps", f"{name} showed fewer rows than before")
        watch.count, watch.position = count, position

    def _judge_part(self, watch: Watch, rows: dict[Key, Seen]) -> None:
        name = watch.view.name
        if len({row.is_marked for row in rows.values()}) > 1:
            self._complain("mixes", f"{name} showed rows of two versions in one snapshot")
        for key, row in rows.items():
            before = watch.rows.get(key, row)
            if row.position < before.position:
                self._complain("steps back", f"a row of {name} went back")
            elif row[:2] == before[:2] and row != before:
                self._complain("torn rows", f"a row of {name} changed without an event")
        looked_at = set(watch.keys)
        for key in watch.rows.keys() - rows.keys():
            if key[0] in looked_at and not (name == LOSING and self._was_deleted(key, watch.rows[key])):
                self._complain("gaps", f"a row of {name} was missing")
        watch.rows = rows

    def _was_deleted(self, key: Key, seen: Seen) -> bool:
        return self._connection.execute(DELETED.encode(), (key[0], UserDeleted.topic, seen.position)).rowcount > 0

    def _complain(self, figure: str, complaint: str) -> None:
        self.figures[figure] += 1
        self.complaints[complaint] += 1

    def _forget(self) -> None:
        self._watches = [Watch(view) for view in AS_THEY_ARE.values()]

    def _connected(self) -> Connection[Any]:
        """As soon as the server is there."""
        while True:
            with suppress(psycopg.OperationalError):
                return psycopg.connect(self._url, autocommit=True, row_factory=tuple_row)
            time.sleep(0.02)


def poll(url: str, seed: int, pause: float, pipe: Pipe) -> None:
    """All the time, until told that it is enough; then says what was seen."""
    chance = random.Random(seed)  # noqa: S311  reproducible on purpose
    reader = Reader(url, chance)
    while not pipe.poll(chance.uniform(0, pause)):
        reader.poll()
    pipe.send((reader.figures, reader.complaints))
