"""Frozen histories: rows of the log as they once were stored, and what they come to today."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from adapters.panel import panel_then
from adapters.postgres.keys import owner_of
from adapters.postgres.log import StoredEvent
from adapters.postgres.mapper import decode_state, recorded
from domain.desk import History, replay
from domain.kernel import ROME, Aggregate
from projections.catalogue import VIEWS
from tests.histories.shapes import Shape
from tests.office import Office

HERE = Path(__file__).parent
MOMENTS = 5
"""So many times we look back at each subscription, about."""

Json = dict[str, Any]
Outcome = dict[str, Json]
"""The rows' digest, aggregates by stream, views by their rows' keys, panels by subscription and moment."""

_encode = msgspec.json.Encoder(order="deterministic").encode


# The files


def names() -> list[str]:
    return sorted(path.stem for path in HERE.glob("*.jsonl"))


def events(*some: str) -> list[StoredEvent]:
    """The rows of these histories, or of all."""
    return [
        StoredEvent(**row | {"state": row["state"].encode(), "key": bytes.fromhex(row.get("key", "")) or None})
        for name in some or names()
        for row in map(json.loads, (HERE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines())
    ]


def freeze(name: str, stored: Iterable[StoredEvent]) -> None:
    rows = [event._asdict() | {"state": event.state.decode(), "key": (event.key or b"").hex()} for event in stored]
    text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    (HERE / f"{name}.jsonl").write_text(text, encoding="utf-8")
    write(name, {"history": {"sha256": digest(name)}})


def digest(name: str) -> str:
    return hashlib.sha256((HERE / f"{name}.jsonl").read_bytes()).hexdigest()


def shapes() -> dict[str, Shape]:
    """What every event may hold, and may have held, by topic."""
    return _read("shapes")


def expected(name: str) -> Outcome:
    return _read(name)


def write(name: str, content: Mapping[str, Mapping[str, object]]) -> None:
    """A line for each thing, so that a review shows what has become another."""
    parts = [
        f"{_text(part)}: {{\n"
        + ",\n".join(f"  {_text(name)}: {_text(value)}" for name, value in things.items())
        + "\n}"
        for part, things in content.items()
    ]
    (HERE / f"{name}.json").write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def _read(name: str) -> dict[str, Any]:
    content: Json = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return content


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


# What they come to


def load(office: Office, stored: Sequence[StoredEvent]) -> None:
    """Put the rows into an empty log, byte for byte."""
    with psycopg.connect(office.url) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO seatline.stored_events"
            " (originator_id, originator_version, topic, state, subject, notification_id)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            [event[:-1] for event in stored],
        )
        keys = {owner_of(event.stream, event.subject): event.key for event in stored if event.key}
        cursor.executemany("INSERT INTO seatline.keys VALUES (%s, %s)", list(keys.items()))


def outcome(office: Office, stored: Sequence[StoredEvent]) -> Outcome:
    """In an office whose log holds nothing but these rows."""
    return {"aggregates": aggregates(stored), "views": views(office), "panels": panels(office, stored)}


def aggregates(stored: Sequence[StoredEvent]) -> Json:
    """What each aggregate remembers when all its events are replayed."""
    by_stream = groupby(sorted(stored, key=attrgetter("stream", "version")), attrgetter("stream"))
    return {stream: _plain(_memory(_replayed(stream, mine))) for stream, mine in by_stream}


def _replayed(stream: str, stored: Iterable[StoredEvent]) -> Aggregate[Any]:
    states = [decode_state(event.topic, event.state, event.id, event.key) for event in stored]
    return replay(stream, History([(state.data, state.business_time) for state in states]))


def _memory(aggregate: Aggregate[Any]) -> Json:
    return {name: value for name, value in vars(aggregate).items() if name not in ("journal", "kept")}


def views(office: Office) -> Json:
    """The rows of every view, as the worker leaves them."""
    return {
        " ".join([name, *(row[column] for column in view.key)]): _plain(_in_rome(row))
        for name, view in VIEWS.items()
        for row in office.view(name)
    }


def panels(office: Office, stored: Sequence[StoredEvent]) -> Json:
    """The panel of every subscription as it was at some moments of its history."""
    return {
        f"{subscription}, {kind} {moment.isoformat()}": _plain(
            panel_then(office.log, subscription, **{"as_of": None, "known_at": None, kind: moment})
        )
        for subscription, mine in _by_subscription(stored).items()
        for kind, moment in _moments(mine)
    }


def _by_subscription(stored: Iterable[StoredEvent]) -> dict[str, list[StoredEvent]]:
    found: dict[str, list[StoredEvent]] = {}
    for event in stored:
        if event.stream == f"subscription/{event.subject}" or event.subject in found:
            found.setdefault(event.subject, []).append(event)
    return found


def _moments(stored: Sequence[StoredEvent]) -> Iterator[tuple[str, datetime]]:
    envelopes = [recorded(*event).envelope for event in stored[:: len(stored) // MOMENTS or 1]]
    yield from (("as_of", envelope.business_time) for envelope in envelopes)
    yield from (("known_at", envelope.recorded_time) for envelope in envelopes[1::2])


def _in_rome(row: Json) -> Json:
    return {name: value.astimezone(ROME) if isinstance(value, datetime) else value for name, value in row.items()}


def _plain(value: object) -> Any:
    return json.loads(_encode(value))
