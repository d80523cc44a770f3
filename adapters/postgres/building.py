"""A table filled from the log in parts, each in one transaction: by several processes, and on after any kill."""

import hashlib
import inspect
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import Connection, sql
from psycopg.rows import tuple_row

from adapters.postgres.hands import Hand
from adapters.postgres.log import COLUMNS, NAMING_NOBODY, EventLog, StoredEvent
from adapters.postgres.tables import Table
from adapters.postgres.views import concerning, generation_of
from projections.catalogue import VIEWS
from projections.folding import by_home, fold
from projections.view import AnyView

PART = 2_000
"""Events in a part, about: what a process holds in memory, what a kill costs, and how finely progress is told."""
WARM = 5
"""Parts after which a process is as fast as it will be."""
LAST = chr(0x10FFFF)
"""Sorts behind every id."""

Progress = Callable[[int, int], None]
"""Told how many events of how many have been read."""

BEGUN = """
    SELECT handlers, built.generation, goal, there.position > live.position
    FROM seatline.rebuilds AS built JOIN seatline.views AS shown ON shown.name = built.view
    JOIN seatline.positions AS there ON there.reader = format('view:%%s:%%s', built.view, built.generation)
    JOIN seatline.positions AS live ON live.reader = format('view:%%s:%%s', built.view, shown.generation)
    WHERE built.view = %s
"""
NEXT_PART = """
    SELECT place, after, up_to, events FROM seatline.rebuild_parts
    WHERE view = %s AND NOT done ORDER BY place LIMIT 1 FOR UPDATE SKIP LOCKED
"""
NOT_DONE = "SELECT FROM seatline.rebuild_parts WHERE view = %s AND NOT done FOR SHARE"
HOMES = """
    SELECT max(home), count(*) FROM (
        SELECT {0} AS home FROM seatline.stored_events WHERE {0} > %s AND {0} < %s ORDER BY {0} LIMIT %s
    ) AS part
"""
EVENTS = """
    SELECT {1} FROM seatline.stored_events
    WHERE {0} > %s AND {0} <= %s AND notification_id <= %s AND topic = ANY(%s) ORDER BY {0}, notification_id
"""


@dataclass(frozen=True, slots=True)
class Build:
    """What is being built: its parts hold the events up to `goal`, from there on it is folded like a live view."""

    view: AnyView
    generation: int
    goal: int

    @property
    def table(self) -> Table:
        return generation_of(self.view, self.generation)

    def __reduce__(self) -> tuple[Callable[..., "Build"], tuple[str, int, int]]:
        """In another process it has that one's view, and with it the table that is kept there."""
        return _of_the_view_named, (self.view.name, self.generation, self.goal)


def _of_the_view_named(name: str, generation: int, goal: int) -> Build:
    return Build(VIEWS[name], generation, goal)


def begin(connection: Connection[Any], view: AnyView) -> Build:
    """A new build, or the one that the same handlers had begun; what is no use is cleared away."""
    with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
        handlers = _fingerprint(view)
        begun = cursor.execute(BEGUN, (view.name,)).fetchone()
        # One that is ahead, killed while it waited to be shown, can't be compared with a view that lags.
        if begun and begun[0] == handlers and not begun[-1]:
            return Build(view, *begun[1:3])
        if begun:
            forget(connection, view)
            Table(view, begun[1]).discard(connection)
        [(generation, goal)] = cursor.execute(
            "SELECT greatest(generation, previous_generation) + 1, position FROM seatline.views"
            " JOIN seatline.positions ON reader = format('view:%%s:%%s', name, generation) WHERE name = %s",
            (view.name,),
        )
        build = Build(view, generation, goal)
        build.table.discard(connection)
        build.table.create(connection)
        cursor.execute("INSERT INTO seatline.rebuilds VALUES (%s, %s, %s, %s)", (view.name, handlers, generation, goal))
        cursor.executemany(
            "INSERT INTO seatline.rebuild_parts (view, place, after, up_to, events) VALUES (%s, %s, %s, %s, %s)",
            [(view.name, place, *part) for place, part in enumerate(_in_any_order(_parts(connection, view)))],
        )
        return build


def forget(connection: Connection[Any], view: AnyView) -> None:
    """The build is finished, or given up."""
    connection.execute("DELETE FROM seatline.rebuilds WHERE view = %s", (view.name,))


def fill(log: EventLog, build: Build, progress: Progress, team: Sequence[Hand]) -> None:
    """Fold all parts that aren't yet; the table then is where the log was when the build began."""
    while _has_parts_left(log, build):
        folded, of = _progress(log, build)
        running = {hand(_fold_a_part, build): place for place, hand in enumerate(team)}
        parts_of = [0] * len(team)
        while running:
            for part in wait(running, return_when=FIRST_COMPLETED).done:
                place = running.pop(part)
                if events := part.result():
                    running[team[place](_fold_a_part, build)] = place
                    parts_of[place] += 1
                    folded += events
            # While somebody still gets ready, the speed tells little of the time left.
            if min(parts_of) >= WARM:
                progress(folded, of)
    progress(*_progress(log, build))
    with log.connection() as connection:
        connection.execute(
            "UPDATE seatline.positions SET position = %s WHERE reader = %s AND position < %s",
            (build.goal, build.table.reader, build.goal),
        )
        connection.execute(sql.SQL("ANALYZE {}").format(build.table.name))


def _fingerprint(view: AnyView) -> str:
    """Changes with the version, and with the file of the handlers: two kinds of rows must not get into one table."""
    return f"{view.version}:{hashlib.sha256(Path(inspect.getfile(type(view))).read_bytes()).hexdigest()}"


def _parts(connection: Connection[Any], view: AnyView) -> Iterator[tuple[str, str, int]]:
    """Ranges of homes with about as many events each."""
    after, end = (f"{view.home}/", f"{view.home}0") if view.home else ("", LAST)
    query = HOMES.format(_column(view)).encode()
    with connection.cursor(row_factory=tuple_row) as cursor:
        while True:
            [(up_to, events)] = cursor.execute(query, (after, end, PART))
            if up_to is None:
                return
            yield after, up_to, events
            after = up_to


def _in_any_order(parts: Iterator[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """Neighbours are alike, such as customers who came at about the same time: the first would not tell of the rest."""
    shuffled = list(parts)
    random.Random(0).shuffle(shuffled)  # noqa: S311  guards nothing
    return shuffled


def _column(view: AnyView) -> str:
    return "originator_id" if view.home else "subject"


def _progress(log: EventLog, build: Build) -> tuple[int, int]:
    with log.connection() as connection, connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(
            "SELECT coalesce(sum(events) FILTER (WHERE done), 0), coalesce(sum(events), 0)"
            " FROM seatline.rebuild_parts WHERE view = %s",
            (build.view.name,),
        )
        [(done, of)] = cursor
        return int(done), int(of)


def _has_parts_left(log: EventLog, build: Build) -> bool:
    """Waits for whoever is still at a part: the server goes on for a while with what a killed process asked for."""
    with log.connection() as connection:
        return connection.execute(NOT_DONE, (build.view.name,)).rowcount > 0


def _fold_a_part(log: EventLog, build: Build) -> int:
    """Fold the next part that nobody is at; says how many events it had, and 0 if there was none."""
    view, table = build.view, build.table
    with log.connection() as connection, connection.transaction():
        # What a crash of the server takes away, it takes together with the note that the part is done.
        connection.execute("SET LOCAL synchronous_commit = off")
        with connection.cursor(row_factory=tuple_row) as cursor:
            part = cursor.execute(NEXT_PART, (view.name,)).fetchone()
            if part is None:
                return 0
            place, after, up_to, events = part
            bounds = (after, up_to, build.goal, list(view.topics))
            columns = COLUMNS if view.personal else NAMING_NOBODY
            cursor.execute(EVENTS.format(_column(view), columns).encode(), bounds, binary=True)
            stored = list(map(StoredEvent._make, cursor.fetchall()))
        homes = by_home(view, concerning([view], stored)[view.name])
        changes, poison = fold(view, homes, lambda _: {})
        table.park(connection, [*poison, *table.write(connection, changes, homes)])
        connection.execute(
            "UPDATE seatline.rebuild_parts SET done = true WHERE view = %s AND place = %s", (view.name, place)
        )
    return int(events)
