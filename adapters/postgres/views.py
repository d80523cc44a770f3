"""The views that readers see: which table each shows, kept up to date a page of the log at a time."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from itertools import takewhile
from typing import Any, LiteralString

import msgspec
import psycopg
from prometheus_client.core import GaugeMetricFamily, Metric
from psycopg import Connection, sql
from psycopg.rows import tuple_row

from adapters.postgres.database import DatabaseAway
from adapters.postgres.log import EventLog, StoredEvent
from adapters.postgres.mapper import recorded
from adapters.postgres.schema import LOCK, SchemaError
from adapters.postgres.tables import NOT_TAKEN, Table, names
from domain.events import BY_TOPIC
from domain.kernel import Recorded
from projections.catalogue import VIEWS
from projections.folding import Unreadable
from projections.view import AnyView, Key

PAGES = (1_000, 20_000)
"""Events in a transaction, at least and at most: more, the further behind, as long as it doesn't take too long."""
QUICK, SLOW = 0.25, 1.0
"""Seconds of a transaction after which the next page may be larger, and has to be smaller."""

CHANNEL = "panel_changed"
MANY = 1_000
"""Changed rows in one batch from which on listeners are told to read everything anew."""
ROOM = 7_900
"""Bytes in a notification, at most."""

generation_of = cache(Table)
"""The table of a view's generation, its statements made only once."""


def create_views(connection: psycopg.Connection[Any]) -> None:
    """Give every view that has none its first table; a view whose handlers changed has to be rebuilt first."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        known = {name: version for name, version, _ in registered(connection)}
        for view in VIEWS.values():
            if view.name not in known:
                table = Table(view, 1)
                table.create(connection)
                show(connection, table, view.version)


def show(connection: Connection[Any], table: Table, version: int, columns: Sequence[str] = ()) -> None:
    """Make this table the one that readers of its view see; what they saw before is kept to go back to."""
    view = table.view
    panel = sql.Identifier("panel", view.name)
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 ORDER BY attnum",
            (panel.as_string(),),
        )
        before = [name for (name,) in cursor]
    shown = columns or [name for name in table.columns if name not in view.hidden]
    create = sql.SQL("CREATE OR REPLACE VIEW {} AS SELECT {} FROM {}").format(panel, names(shown), table.name)
    try:
        # Replacing keeps what an operator has granted; it fails where the columns are others.
        with connection.transaction():
            connection.execute(create)
    except psycopg.errors.InvalidTableDefinition:
        try:
            connection.execute(sql.SQL("DROP VIEW {}").format(panel))
        except psycopg.errors.DependentObjectsStillExist as error:
            raise SchemaError(
                f"panel.{view.name} gets other columns, but something of yours is made from it"
                f" ({error.diag.message_detail}): drop that, rebuild, and make it again"
            ) from error
        connection.execute(create)
    connection.execute(sql.SQL("GRANT SELECT ON {} TO panel_reader").format(panel))
    connection.execute(
        "INSERT INTO seatline.views AS was (name, version, generation) VALUES (%s, %s, %s)"
        " ON CONFLICT (name) DO UPDATE SET version = excluded.version, generation = excluded.generation,"
        " previous_version = was.version, previous_generation = was.generation, previous_columns = %s",
        (view.name, version, table.generation, before),
    )


def live_tables(connection: Connection[Any], names: Collection[str] = VIEWS.keys()) -> list[Table]:
    """The tables that readers see until this transaction ends; SchemaError if the handlers are of another version."""
    tables = []
    for name, version, generation in registered(connection, "FOR SHARE"):
        if name in names:
            if version != VIEWS[name].version:
                raise SchemaError(
                    f"view {name} was made by version {version} of its handlers, this program has"
                    f" {VIEWS[name].version}: run `seatline rebuild {name}`"
                )
            tables.append(generation_of(VIEWS[name], generation))
    return tables


def registered(connection: Connection[Any], lock: LiteralString = "") -> list[tuple[str, int, int]]:
    with connection.cursor(row_factory=tuple_row) as cursor:
        query = sql.SQL("SELECT name, version, generation FROM seatline.views ORDER BY name {}").format(sql.SQL(lock))
        return cursor.execute(query).fetchall()


def advance(
    log: EventLog,
    tables: Callable[[Connection[Any]], Sequence[Table]],
    limit: int = 5_000,
    until: int | None = None,
) -> int:
    """Fold the next page into the tables, in one transaction with their positions; returns how many events it had."""
    try:
        return _advance(log, tables, limit, until, _fold_together)
    except NOT_TAKEN:
        # Once more, to find out whose rows they are.
        return _advance(log, tables, limit, until, _fold_one_by_one)


Fold = Callable[[Connection[Any], Mapping[Table, Sequence[Recorded | Unreadable]]], Iterator[tuple[Table, list[Key]]]]


def _advance(
    log: EventLog,
    tables: Callable[[Connection[Any]], Sequence[Table]],
    limit: int,
    until: int | None,
    fold: Fold,
) -> int:
    with log.connection() as connection, connection.transaction():
        # What a crash of the server takes away, it takes together with the position: it is folded again.
        connection.execute("SET LOCAL synchronous_commit = off")
        wanted = {table.reader: table for table in tables(connection)}
        positions = lock_positions(connection, list(wanted))
        if not positions:
            return 0
        page = log.stored_page(min(positions.values()), limit)
        if until is not None:
            page = [stored for stored in page if stored.position <= until]
        if not page:
            return 0
        head = page[-1].position
        news = concerning([table.view for table in wanted.values()], page)
        fresh = {
            wanted[reader]: [event for event in news[wanted[reader].view.name] if event.position > position]
            for reader, position in positions.items()
        }
        for table, keys in fold(connection, {table: events for table, events in fresh.items() if events}):
            tell(connection, table.view, head, keys)
        connection.execute(
            "UPDATE seatline.positions SET position = %s, moved_at = now() WHERE reader = ANY(%s) AND position < %s",
            (head, list(positions), head),
        )
    return len(page)


def _fold_together(
    connection: Connection[Any], news: Mapping[Table, Sequence[Recorded | Unreadable]]
) -> Iterator[tuple[Table, list[Key]]]:
    """In a pipeline: the server reads for all tables at once, and writes one while the next is folded."""
    with connection.pipeline():
        asked = {table: table.ask(connection, events) for table, events in news.items()}
        for table, question in asked.items():
            yield table, table.answer(connection, question, table.write_all)


def _fold_one_by_one(
    connection: Connection[Any], news: Mapping[Table, Sequence[Recorded | Unreadable]]
) -> Iterator[tuple[Table, list[Key]]]:
    for table, events in news.items():
        yield table, table.fold(connection, events)


def concerning(views: Collection[AnyView], page: Sequence[StoredEvent]) -> dict[str, list[Recorded | Unreadable]]:
    """What of a page concerns each view, by its name; each event is read once, if it concerns any."""
    news: dict[str, list[Recorded | Unreadable]] = {view.name: [] for view in views}
    interested = {topic: [news[view.name] for view in views if topic in view.topics] for topic in BY_TOPIC}
    naming = {topic for view in views if view.personal for topic in view.topics}
    for stored in page:
        # A topic that this version doesn't know concerns none of its views.
        if lists := interested.get(stored.topic):
            event = read(stored, naming=stored.topic in naming)
            for some in lists:
                some.append(event)
    return news


def read(stored: StoredEvent, *, naming: bool = True) -> Recorded | Unreadable:
    """The event, or that it can't be read; people have pseudonyms in it unless somebody wants to name them."""
    stream, version, topic, state, subject, position, key = stored
    try:
        return recorded(stream, version, topic, state, subject, position, key if naming else None)
    except Exception as error:
        return Unreadable(stream, version, BY_TOPIC[topic], subject, position, error)


def lock_positions(connection: Connection[Any], readers: list[str]) -> dict[str, int]:
    """The readers' positions, kept from moving; in one order, so that two runners wait instead of deadlocking."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(
            "SELECT reader, position FROM seatline.positions WHERE reader = ANY(%s) ORDER BY reader FOR UPDATE",
            (readers,),
        )
        return dict(cursor.fetchall())


def tell(connection: Connection[Any], view: AnyView, position: int, keys: Sequence[Key] | None) -> None:
    """Notify whoever listens, when the transaction commits, of the rows that changed; None means any may have."""
    if keys:
        # What is told stands in the server's files for a while.
        open_ = len(list(takewhile(lambda column: column not in view.personal, view.key)))
        keys = list(dict.fromkeys(key[:open_] for key in keys))
    portions = [None] if keys is None or len(keys) > MANY else _portions(keys)
    said = [msgspec.json.encode({"view": view.name, "position": position, "keys": some}).decode() for some in portions]
    if said:
        connection.execute("SELECT pg_notify(%s, payload) FROM unnest(%s::text[]) AS payload", (CHANNEL, said))


def _portions(keys: Sequence[Key]) -> Iterator[list[Key]]:
    portion: list[Key] = []
    size = 0
    for key in keys:
        # An id has at most some hundred bytes, so that a key always fits.
        length = len(msgspec.json.encode(key)) + 1
        if portion and size + length > ROOM - 100:
            yield portion
            portion, size = [], 0
        portion.append(key)
        size += length
    if portion:
        yield portion


class ViewWorker:
    """Keeps all views up to date."""

    name = "projections"

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._limit = PAGES[0]

    def step(self) -> bool:
        began = time.monotonic()
        try:
            count = advance(self._log, live_tables, self._limit)
        except DatabaseAway:
            raise
        except Exception:
            # A fault that isn't of one event stops its view, loudly, and no other.
            for name in VIEWS:
                with suppress(Exception):
                    while advance(self._log, partial(live_tables, names=[name])):
                        pass
            raise
        self._adapt(count, time.monotonic() - began)
        return count > 0

    def _adapt(self, count: int, seconds: float) -> None:
        least, most = PAGES
        if count == self._limit and seconds < QUICK:
            self._limit = min(most, self._limit * 4)
        elif seconds > SLOW:
            self._limit = max(least, self._limit // 4)

    def figures(self) -> Iterator[Metric]:
        parked = GaugeMetricFamily("seatline_parked", "Homes that a view can't go on with.", labels=["reader"])
        with (
            suppress(DatabaseAway),
            self._log.connection() as connection,
            connection.cursor(row_factory=tuple_row) as cursor,
        ):
            for reader, count in cursor.execute("SELECT reader, count(*) FROM seatline.parked GROUP BY reader"):
                parked.add_metric([reader], count)
        yield parked
