"""The event log: read in the order of its positions, written a batch at a time with all that must be true with it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import psycopg
from eventsourcing.postgres import PostgresApplicationRecorder
from psycopg.rows import TupleRow, tuple_row

from adapters.postgres.answers import opened_answer, owner_of_answer
from adapters.postgres.database import Datastore, naming_outages
from adapters.postgres.keys import KEY_IF_SEALED, KEY_OF_ROW, Cipher
from adapters.postgres.mapper import decode_state, recorded
from adapters.postgres.memories import opened, sealed
from domain.desk import History
from domain.kernel import Recorded, event_id
from domain.memory import Memory

WRITER_LOCK = 7328041
"""The advisory lock that `seatline.append` takes, so that positions are commit order."""

SEPARATOR = "\x1f"
"""Between the values of a column: no id holds a control character, and JSON escapes it."""

COLUMNS = f"originator_id, originator_version, topic, state, subject, notification_id, {KEY_IF_SEALED}"
"""Of a row, as StoredEvent has them."""
NAMING_NOBODY = "originator_id, originator_version, topic, state, subject, notification_id, NULL::bytea"
"""The same without the key, for whoever leaves people their pseudonyms."""
WITH_ACTOR = f"originator_id, originator_version, topic, state, subject, notification_id, {KEY_OF_ROW}"
"""The same for whoever asks who did it, for which each row takes its key."""

PAGE = "SELECT {} FROM seatline.stored_events WHERE notification_id > %s ORDER BY notification_id LIMIT %s"
OF_SUBJECT = f"SELECT {WITH_ACTOR} FROM seatline.stored_events WHERE subject = %s ORDER BY notification_id"  # noqa: S608
OF_STREAMS = f"""
    SELECT {WITH_ACTOR}
    FROM seatline.stored_events WHERE originator_id = ANY(string_to_array(%s, E'\x1f')) ORDER BY notification_id
"""  # noqa: S608
NAMED = f"""
    SELECT {WITH_ACTOR}
    FROM seatline.stored_events JOIN unnest(string_to_array(%s, E'\x1f'), string_to_array(%s, E'\x1f')::bigint[])
        AS named (stream, version) ON originator_id = stream AND originator_version = version
    ORDER BY notification_id
"""  # noqa: S608
ALL_EVENTS = f"""
    SELECT originator_id, originator_version, topic, state, {KEY_IF_SEALED} FROM seatline.stored_events
    WHERE originator_id = ANY(string_to_array(%s, E'\x1f')) ORDER BY originator_id, originator_version
"""  # noqa: S608
MEMORIES_AND_EVENTS = f"""
    WITH wanted AS (SELECT string_to_array(%s, E'\x1f') AS streams),
    kept AS (
        SELECT stream, version, memory FROM seatline.memories WHERE stream = ANY ((SELECT streams FROM wanted)::text[])
    )
    SELECT originator_id, originator_version, topic, state, {KEY_IF_SEALED} FROM seatline.stored_events
    WHERE originator_id = ANY (
        -- Many streams at once are found faster in one array than one by one; most times no memory is among them.
        CASE WHEN EXISTS (TABLE kept)
            THEN ARRAY(SELECT unnest(streams) FROM wanted EXCEPT SELECT stream FROM kept)
            ELSE (SELECT streams FROM wanted)
        END
    )
    UNION ALL
    SELECT since.* FROM kept CROSS JOIN LATERAL (
        SELECT originator_id, originator_version, topic, state, {KEY_IF_SEALED} FROM seatline.stored_events
        WHERE originator_id = stream AND originator_version >= version
        OFFSET 0 -- keeps the planner from reading, in a log that it takes for short, all of it
    ) AS since
    UNION ALL
    SELECT stream, 0, NULL, convert_to(memory, 'UTF8'), (SELECT key FROM seatline.keys WHERE owner = stream) FROM kept
    ORDER BY 1, 2
"""  # noqa: S608
"""A memory stands before its stream's events, of which the first is the last that it remembers."""


class Conflict(Exception):
    """Somebody else wrote what this batch was decided on, or decided one of its commands: decide again."""


class Fenced(Exception):
    """Another worker has taken over a partition that this batch comes from: nothing of the batch is stored."""


class Kept(NamedTuple):
    """The answer that was kept for a command id."""

    fingerprint: bytes
    outcome: str
    body: str
    position: int


class StoredEvent(NamedTuple):
    """A row of the log."""

    stream: str
    version: int
    topic: str
    state: bytes
    subject: str
    position: int
    key: bytes | None = None
    """Under which what is personal in it is sealed; None if nothing is, or the key is gone."""

    @property
    def id(self) -> str:
        return event_id(self.stream, self.version)


class Share(NamedTuple):
    """How far a batch takes one partition of the commands' topic."""

    partition: int
    epoch: int
    was: int
    """The next offset before this batch, as its writer knows it."""
    becomes: int
    answered: int
    """The offset before which the broker has acknowledged all answers."""


class DeadLetter(NamedTuple):
    """A record that can't be read, as it came."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    header_names: list[bytes]
    header_values: list[bytes | None]
    reason: str


@dataclass(frozen=True, slots=True)
class Intake:
    """What a batch took from the commands' topic, and what of it could not be read."""

    topic: str
    shares: Sequence[Share]
    dead_letters: Sequence[DeadLetter] = ()


@dataclass(slots=True)
class Batch:
    """What is written in one transaction, in columns, as the one statement takes it."""

    reads: Mapping[str, int] = field(default_factory=dict)
    command_ids: list[str] = field(default_factory=list)
    fingerprints: list[bytes] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    """Each answer's position counted from the log's head: how many events the batch has up to it."""
    streams: list[str] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    topics: list[str] = field(default_factory=list)
    states: list[bytes] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)
    due: Mapping[str, date | None] = field(default_factory=dict)
    memories: Mapping[str, Memory] = field(default_factory=dict)
    bodies_kept: dict[str, str] = field(default_factory=dict)
    """What is kept of personal answers instead of their bodies, by command id."""
    known_keys: dict[str, Cipher] = field(default_factory=dict)
    """By owner: those that the batch is sealed under and that must still exist."""
    new_keys: dict[str, Cipher] = field(default_factory=dict)
    destroyed_keys: list[str] = field(default_factory=list)
    intake: Intake | None = None

    def cipher(self, owner: str) -> Cipher | None:
        return self.known_keys.get(owner) or self.new_keys.get(owner)


class Session:
    """One connection's view of the log; inside `alone` nobody else writes."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A transaction that keeps all other writers out, for a batch that has already lost a race."""
        with self._connection.transaction():
            self._rows("SELECT pg_advisory_xact_lock(%s)", WRITER_LOCK)
            yield

    def kept(self, command_ids: list[str]) -> dict[str, Kept]:
        rows = self._rows(
            "SELECT command_id, fingerprint, outcome, body, position FROM seatline.answers"
            " WHERE command_id = ANY(string_to_array(%s, E'\x1f'))",
            _joined(command_ids),
        )
        kept = {row[0]: Kept(*row[1:]) for row in rows}
        if personal := {id_: owner for id_, answer in kept.items() if (owner := owner_of_answer(answer.body))}:
            ciphers = self.ciphers(personal.values())
            for id_, owner in personal.items():
                kept[id_] = kept[id_]._replace(body=opened_answer(id_, kept[id_].body, ciphers.get(owner)))
        return kept

    def ciphers(self, owners: Iterable[str]) -> dict[str, Cipher]:
        """Those of these owners that have a key."""
        rows = self._rows(
            "SELECT owner, key FROM seatline.keys WHERE owner = ANY(string_to_array(%s, E'\x1f'))", _joined(owners)
        )
        return {owner: Cipher(key) for owner, key in rows}

    def histories(self, streams: list[str]) -> dict[str, History]:
        """Many streams from one query, the long ones from where they are remembered."""
        histories, unsound = dict[str, History](), list[str]()
        for stream, rows in groupby(self._rows(MEMORIES_AND_EVENTS, _joined(streams)), itemgetter(0)):
            if history := _history(stream, list(rows)):
                histories[stream] = history
            else:
                unsound.append(stream)
        if unsound:
            for stream, rows in groupby(self._rows(ALL_EVENTS, _joined(unsound)), itemgetter(0)):
                histories[stream] = History(_events(rows))
        return histories

    def order_number_block(self) -> int:
        return int(self._rows("SELECT nextval('seatline.order_number_blocks')")[0][0])

    def append(self, batch: Batch) -> int:
        """Write the batch in one transaction; returns the position before its first event.

        Raises Conflict, and Fenced if it comes from a partition that is no longer its writer's.
        """
        if batch.intake is None or not batch.intake.dead_letters:
            # One statement, so that a client that stands still never holds the lock.
            return self._write(batch)
        with self._connection.transaction():
            head = self._write(batch)
            with self._connection.cursor() as cursor:
                cursor.executemany(
                    'INSERT INTO seatline.dead_letters (topic, partition, "offset", key, value, header_names,'
                    " header_values, reason) VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                    batch.intake.dead_letters,
                )
        return head

    def _write(self, batch: Batch) -> int:
        intake, parameters = batch.intake, list[object]()
        query = "SELECT 0"
        if batch.command_ids:
            # %t leaves it to the server to see that {1,2} is an array of numbers, dates or digests.
            query = "SELECT seatline.append(%b, %t, %b, %t, %b, %b, %t, %b, %t, %b, %b, %b, %b, %t)"
            parameters += [
                _joined(batch.reads),
                _array(batch.reads.values()),
                _joined(batch.command_ids),
                _bytes(batch.fingerprints),
                _joined(batch.outcomes),
                _joined(map(batch.bodies_kept.get, batch.command_ids, batch.bodies)),
                _array(batch.offsets),
                _joined(batch.streams),
                _array(batch.versions),
                _joined(batch.topics),
                SEPARATOR.encode().join(batch.states).decode(),
                _joined(batch.subjects),
                _joined(batch.due),
                _array(day or "NULL" for day in batch.due.values()),
            ]
        # What stands in FROM is called first.
        before = []
        if intake:
            before.append("seatline.move_inbox(%b, %b, %b, %b, %b, %b)")
            parameters += [intake.topic, *(list(column) for column in zip(*intake.shares, strict=True))]
        if batch.memories:
            before.append("seatline.keep_memories(%b, %t, %b)")
            parameters += [
                _joined(batch.memories),
                _array(memory.version for memory in batch.memories.values()),
                _joined(sealed(stream, memory, batch.cipher(stream)) for stream, memory in batch.memories.items()),
            ]
        if batch.known_keys or batch.new_keys:
            before.append("seatline.use_keys(%b, %t, %b, %t)")
            for keys in (batch.known_keys, batch.new_keys):
                parameters += [_joined(keys), _bytes(cipher.key for cipher in keys.values())]
        if batch.destroyed_keys:
            before.append("seatline.destroy_keys(%b)")
            parameters.append(_joined(batch.destroyed_keys))
        if before:
            query += f" FROM {', '.join(before)}"
        try:
            return int(self._rows(query, *parameters)[0][0])
        except (psycopg.errors.UniqueViolation, psycopg.errors.SerializationFailure) as error:
            raise Conflict(" ".join(str(error).split())) from error
        except psycopg.DatabaseError as error:
            if error.sqlstate == "SL001":
                raise Fenced(str(error.diag.message_primary)) from error
            raise

    def _rows(self, query: str, *parameters: object) -> list[TupleRow]:
        with self._connection.cursor(row_factory=tuple_row) as cursor:
            cursor.execute(query.encode(), parameters, prepare=True, binary=True)
            return cursor.fetchall()


def _history(stream: str, rows: Sequence[TupleRow]) -> History | None:
    """What is stored of a stream; None if what stands there as its memory is none, or doesn't fit its events."""
    first, *others = rows
    _, _, topic, written, key = first
    if topic is not None:
        return History(_events(rows))
    memory = opened(stream, written, key)
    if memory is None or not others:
        return None
    (_, last_remembered), *events = _events(others)
    if (others[0][1], last_remembered) != (memory.version, memory.time):
        return None
    return History(events, memory)


def _events(rows: Iterable[TupleRow]) -> list[tuple[Any, datetime]]:
    stored = [decode_state(topic, state, event_id(stream, version), key) for stream, version, topic, state, key in rows]
    return [(state.data, state.business_time) for state in stored]


def _joined(texts: Iterable[str]) -> str:
    return SEPARATOR.join(texts)


def _bytes(values: Iterable[bytes]) -> str:
    return _array(f'"\\\\x{value.hex()}"' for value in values)


def _array(values: Iterable[int | date | str]) -> str:
    return "{" + ",".join(map(str, values)) + "}"


class EventLog(PostgresApplicationRecorder):
    """The library's recorder over a table that numbers events in commit order and knows whom they concern."""

    datastore: Datastore

    def __init__(self, datastore: Datastore) -> None:
        super().__init__(datastore)
        datastore.pool.open()

    @contextmanager
    def session(self) -> Iterator[Session]:
        with self.connection() as connection:
            yield Session(connection)

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A pooled connection in autocommit; raises DatabaseAway."""
        with naming_outages(), self.datastore.pool.connection() as connection:
            yield connection

    def head(self) -> int:
        """The position of the last event, 0 in an empty log."""
        return self.max_notification_id() or 0

    def page(self, after: int, limit: int) -> list[Recorded]:
        """The next events by position; none is ever skipped, because positions are commit order."""
        return [recorded(*row) for row in self.stored_page(after, limit)]

    def stored_page(self, after: int, limit: int, columns: str = COLUMNS) -> list[StoredEvent]:
        """The same events as their bytes, for whoever passes them on."""
        return self._stored(PAGE.format(columns), after, limit)

    def of_subject(self, subject: str) -> list[Recorded]:
        """Everything that concerns one subscription, or one orphan payment, in order."""
        return self._told(OF_SUBJECT, subject)

    def of_streams(self, streams: Iterable[str]) -> list[Recorded]:
        """All events of these streams, in order of position."""
        return self._told(OF_STREAMS, _joined(streams))

    def named(self, ids: Iterable[str]) -> list[Recorded]:
        """The events with these ids, in order of position."""
        places = [id_.rpartition("@") for id_ in ids]
        streams, versions = (_joined(place[part] for place in places) for part in (0, 2))
        return self._told(NAMED, streams, versions)

    def event(self, id_: str) -> Recorded:
        """The event with this id, which says where it stands."""
        [event] = self.named([id_])
        return event

    def _told(self, query: str, *parameters: object) -> list[Recorded]:
        """With who did it."""
        return [recorded(*row, with_actor=True) for row in self._stored(query, *parameters)]

    def _stored(self, query: str, *parameters: object) -> list[StoredEvent]:
        with self.connection() as connection, connection.cursor(row_factory=tuple_row) as cursor:
            cursor.execute(query.encode(), parameters, prepare=True, binary=True)
            return list(map(StoredEvent._make, cursor.fetchall()))
