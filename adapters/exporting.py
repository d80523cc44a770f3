"""The log exported for others: readable, or with pseudonyms, and with the proof of its seals."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from psycopg.rows import tuple_row

from adapters.exported import PAGE, WRITERS, Format, Line, Manifest, digest_of, root_if_placed
from adapters.postgres.keys import Cipher
from adapters.postgres.log import WITH_ACTOR, EventLog, StoredEvent
from adapters.postgres.mapper import is_somebody, opened_actor, opened_json
from adapters.postgres.personal import PERSONAL, Places
from adapters.seals import Head, Progress, SealBroken, Seals
from domain.events import BY_TOPIC
from domain.kernel import ERASED, PSEUDONYM

AS_STORED = "originator_id, originator_version, topic, state, subject, notification_id"
"""Without any key, which who exports pseudonyms need not be allowed to read."""
EVENTS = """
    SELECT {} FROM seatline.stored_events
    WHERE notification_id > %s AND notification_id <= %s {} ORDER BY notification_id LIMIT %s
"""


class Wanted(NamedTuple):
    """Which events; all, if nothing is said."""

    subscription: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Business times, both included."""

    def has(self, business_time: str) -> bool:
        if self.since is None and self.until is None:
            return True
        time = datetime.fromisoformat(business_time)
        return (self.since is None or self.since <= time) and (self.until is None or time <= self.until)


class Exported(NamedTuple):
    events: int
    unproved: int
    head: Head | None


# Writing


def export(
    log: EventLog,
    file: Path,
    format_: Format,
    wanted: Wanted,
    progress: Progress,
    *,
    pseudonymous: bool = False,
    sealed: tuple[Seals, Ed25519PublicKey] | None = None,
) -> Exported:
    """Write the file, whole or not at all, and its proof if there are seals; it then ends where these do.

    Raises SealBroken if an event isn't what was sealed.
    """
    head = sealed[0].last(sealed[1]) if sealed else None
    if sealed and head is None:
        raise SealBroken(f"{sealed[0].folder}: nothing is sealed yet: run seatline audit seal")
    goal = head.size if head else log.head()
    reader = _Reader(pseudonymous, with_stored=head is not None)
    events = unproved = 0

    def leaves(write: Callable[[Sequence[Line]], object]) -> Iterator[tuple[int, bytes]]:
        nonlocal events, unproved
        for page in _pages(log, goal, wanted, pseudonymous):
            lines = [line for stored in page if wanted.has((line := reader.line(stored)).business_time)]
            write(lines)
            events += len(lines)
            for line in lines:
                if line.stored is not None:
                    yield line.position - 1, line.leaf()
                else:
                    unproved += 1
            progress(page[-1].position, goal)
        progress(goal, goal)

    hashes: list[bytes] = []

    def others(first: int, last: int) -> bytes:
        assert sealed is not None, "only a tree has others"
        hashes.append(sealed[0].root_over(first, last))
        return hashes[-1]

    with _whole(file) as unfinished:
        with WRITERS[format_](unfinished) as write:
            if head is None:
                for _ in leaves(write):
                    pass
            elif root_if_placed(head.size, leaves(write), others) != head.root:
                raise SealBroken("what is to be exported is not what was sealed: see what seatline audit verify says")
        if head:
            manifest = Manifest(
                file=file.name,
                sha256=digest_of(unfinished),
                pseudonymous=pseudonymous,
                head=head,
                hashes=hashes,
                events=events,
                unproved=unproved,
                **wanted._asdict(),
            )
            with _whole(Manifest.beside(file)) as beside:
                beside.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
    return Exported(events, unproved if head else 0, head)


def _pages(log: EventLog, goal: int, wanted: Wanted, pseudonymous: bool) -> Iterator[list[StoredEvent]]:
    of_one = "AND subject = %s" if wanted.subscription else ""
    query = EVENTS.format(AS_STORED if pseudonymous else WITH_ACTOR, of_one).encode()
    position = 0
    while True:
        bounds = [position, goal, *([wanted.subscription] if wanted.subscription else []), PAGE]
        with log.connection() as connection, connection.cursor(row_factory=tuple_row) as cursor:
            page = [StoredEvent(*row) for row in cursor.execute(query, bounds, binary=True)]
        if not page:
            return
        yield page
        position = page[-1].position


class _Reader:
    """Makes stored events readable, or with pseudonyms for whoever is behind them."""

    def __init__(self, pseudonymous: bool, *, with_stored: bool) -> None:
        self._with_stored = with_stored
        # What was stored before personal data was sealed gets pseudonyms under a key that nobody keeps.
        self._cipher = Cipher.new() if pseudonymous else None

    def line(self, event: StoredEvent) -> Line:
        state = opened_json(event.topic, event.state, event.id, event.key)
        actor = opened_actor(state["actor"], state.get("sealed_actor"), state["command_id"], event.key)
        shown_actor = self._shown(actor) if is_somebody(actor) else actor
        hidden = shown_actor != actor
        hidden |= _change(state["data"], _places(event.topic), self._shown)
        return Line(
            position=event.position,
            id=event.id,
            stream=event.stream,
            version=event.version,
            type=event.topic,
            subject=event.subject,
            business_time=state["business_time"],
            recorded_time=state["recorded_time"],
            actor=shown_actor,
            command_id=state["command_id"],
            correlation_id=state.get("correlation_id") or state["command_id"],
            causation_id=state.get("causation_id") or state["command_id"],
            price_list=state["price_list"],
            command_time=state.get("command_time"),
            traceparent=state.get("traceparent"),
            data=msgspec.Raw(msgspec.json.encode(state["data"])),
            stored=event.state.decode() if self._with_stored and not (self._cipher and hidden) else None,
        )

    def _shown(self, text: str) -> str:
        if self._cipher:
            return text if text.startswith(PSEUDONYM) else self._cipher.pseudonym(text)
        return ERASED if text.startswith(PSEUDONYM) else text


def _places(topic: str) -> Places:
    event = BY_TOPIC.get(topic)
    return PERSONAL.get(event, {}) if event else {}


def _change(data: dict[str, Any], places: Places, change: Callable[[str], str]) -> bool:
    """Change what is personal in an event's JSON; says whether anything is another than before."""
    changed = False
    for name, inner in places.items():
        part = data.get(name)
        if isinstance(part, dict) and not callable(inner):
            changed |= _change(part, inner, change)
        elif isinstance(part, str) and callable(inner) and inner(part):
            data[name] = change(part)
            changed |= data[name] != part
    return changed


# The file


@contextmanager
def _whole(file: Path) -> Iterator[Path]:
    """A place to write to; it gets the file's name once all of it is on the disk."""
    unfinished = file.with_name(f"{file.name}.unfinished")
    try:
        yield unfinished
        opened = os.open(unfinished, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
        unfinished.rename(file)
    finally:
        unfinished.unlink(missing_ok=True)
