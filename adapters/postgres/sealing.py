"""The log sealed, and compared with its seals row by row: which is the first that isn't as it was, and why."""

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from itertools import chain, islice
from struct import pack, unpack_from
from typing import Any, Literal, LiteralString, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from psycopg import Connection
from psycopg.rows import tuple_row

from adapters.merkle import CHUNK, WIDTH
from adapters.seals import PAGE, Head, Progress, Proof, SealBroken, Sealed, Seals, first_misfit

ROWS: LiteralString = """
    COPY (
        SELECT notification_id, originator_id, originator_version, topic, subject, state
        FROM seatline.stored_events WHERE notification_id BETWEEN %s::bigint AND %s::bigint
        -- Positions are unique as long as nobody has taken their index away.
        ORDER BY notification_id, originator_id, originator_version
    ) TO STDOUT (FORMAT BINARY)
"""
HEADER, TRAILER = 19, 2
"""Bytes before the first row of a binary COPY, and after the last."""
HOT = 32
"""Rows that are hashed at a time: more of them leave the processor's cache before, which takes half as long again."""
LOWEST = -(2**63)

What = Literal["edited", "deleted", "inserted", "reordered", "cut off at the end", "changed"]
"""`changed` is all that a root alone can tell, of a stretch of positions."""


class LogBroken(Exception):
    """The log can't be sealed, because its positions are no longer 1..n."""


class NotSealed(Exception):
    """There is no seal for what was asked."""


class Found(NamedTuple):
    """The first row that isn't as it was sealed."""

    position: int
    what: What
    event: str | None
    """Which event stands there now, if one does."""
    told: str


class Verified(NamedTuple):
    """A log that was compared with all of its heads."""

    head: Head
    heads: int
    unsealed: int
    """Events behind the last head, of which nobody can tell anything yet."""
    found: Found | None


class _Row(NamedTuple):
    position: int
    leaf: bytes


def seal(connection: Connection[Any], seals: Seals, key: Ed25519PrivateKey, progress: Progress) -> tuple[Head, int]:
    """Sign all events that there are; returns the head, and how many of them are new."""
    with seals.alone():
        last = seals.last(key.public_key())
        size, end = last.size if last else 0, _end(connection)
        if end < size:
            raise LogBroken(f"the log ends at position {end:,}, but was sealed up to {size:,}: see what verify says")
        pages = _following(connection, size, end, progress)
        head = seals.extend(last, pages, connection.info.dbname, datetime.now(UTC).isoformat(timespec="seconds"), key)
        return (last if last and head.size == size else head), head.size - size


def _following(connection: Connection[Any], size: int, end: int, progress: Progress) -> Iterator[bytes]:
    for first in range(size, end, PAGE):
        for positions, leaves in _batches(connection, first + 1, min(first + PAGE, end)):
            count = len(leaves) // WIDTH
            if positions != _counted(size, count):
                while positions[:8] == _counted(size, 1):
                    size, positions = size + 1, positions[8:]
                break
            yield leaves
            size += count
            progress(size, end)
        if size != min(first + PAGE, end):
            raise LogBroken(f"the log has not one event at position {size + 1}, so nothing was sealed")


def prove(connection: Connection[Any], seals: Seals, key: Ed25519PublicKey, event: str) -> Proof:
    """By STREAM@VERSION; raises NotSealed, and SealBroken if the event isn't what was sealed."""
    head = seals.last(key)
    stream, _, version = event.rpartition("@")
    with connection.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute(
            "SELECT notification_id, originator_id, originator_version, topic, subject, convert_from(state, 'UTF8')"
            " FROM seatline.stored_events WHERE originator_id = %s AND originator_version::text = %s",
            (stream, version),
        ).fetchone()
    if row is None:
        raise NotSealed(f"there is no event {event}; an event is named STREAM@VERSION, as order/1000002@2")
    position, *sealed = row
    if head is None or position > head.size:
        raise NotSealed(f"{event} is not sealed yet: run seatline audit seal")
    proof = Proof(head, position, Sealed(*sealed), seals.path_to(position, head.size) if position > 0 else [])
    if complaint := proof.complaint(key):
        raise SealBroken(f"{event} can't be proved, {complaint}: see what verify says")
    return proof


def verify(connection: Connection[Any], seals: Seals, key: Ed25519PublicKey, progress: Progress) -> Verified:
    """Compare the log with the hashes of its events; where these don't fit the heads, with the heads alone."""
    heads = seals.heads(key)
    if not heads:
        raise NotSealed(f"there is no head in {seals.folder}")
    size = heads[-1].size
    if first_misfit(heads, seals.leaves, lambda done, goal: None) is None:
        found = _first_difference(connection, seals, size, progress)
    else:
        found = _first_stretch(connection, heads, progress)
    return Verified(heads[-1], len(heads), max(0, _end(connection) - size), found)


# Row by row


def _first_difference(connection: Connection[Any], seals: Seals, size: int, progress: Progress) -> Found | None:
    place = 0
    for start in range(0, size, PAGE):
        end, bad = min(start + PAGE, size), None
        # Read to its end in any case: nothing else can be asked in the middle of a COPY.
        for positions, leaves in _batches(connection, start + 1 if start else LOWEST, end):
            if bad is None:
                count = len(leaves) // WIDTH
                sealed = seals.leaves(place, min(place + count, size))
                if leaves == sealed and positions == _counted(place, count):
                    place += count
                else:
                    same = _same(place, positions, leaves, sealed)
                    place += same
                    bad = _Row(_position(positions, same), leaves[same * WIDTH :][:WIDTH])
        if bad or place < end:
            return _named(connection, seals, size, place + 1, bad)
        progress(place, size)
    return None


def _same(place: int, positions: bytes, leaves: bytes, sealed: bytes) -> int:
    """How many rows of a batch are as they were sealed, before the first that isn't."""
    same = 0
    while _position(positions, same) == place + same + 1 and (
        leaves[same * WIDTH :][:WIDTH] == sealed[same * WIDTH :][:WIDTH]
    ):
        same += 1
    return same


def _named(connection: Connection[Any], seals: Seals, size: int, position: int, row: _Row | None) -> Found:
    """What happened at this position, the first at which the log isn't as it was sealed; the row is the next there."""
    event = _event_of(connection, row) if row else None
    was_at = seals.position_of(row.leaf, size) if row else None
    if row and row.position < position:
        if was_at is None:
            return Found(row.position, "inserted", event, f"{event} was not there when the log was sealed")
        return Found(row.position, "reordered", event, f"{event} was sealed at position {was_at:,}")
    is_at = _position_of(connection, seals.leaves(position - 1, position))
    if row is None or row.position > position:
        if is_at is not None:
            return Found(position, "reordered", None, f"what was sealed here is at position {is_at:,}")
        if _end(connection) < position:
            lost = f"the log ends before this position, but was sealed up to {size:,}"
            return Found(position, "cut off at the end", None, lost)
        return Found(position, "deleted", None, "what was sealed here is gone")
    if is_at is None and was_at is None:
        return Found(position, "edited", event, f"{event} has not the content that was sealed here")
    if is_at is None:
        gone = f"what was sealed here is gone, and {event} in its place was sealed at position {was_at:,}"
        return Found(position, "deleted", event, gone)
    if was_at is None:
        moved = f"{event} was not there when the log was sealed; what was sealed here is at position {is_at:,}"
        return Found(position, "inserted", event, moved)
    swapped = f"{event} was sealed at position {was_at:,}; what was sealed here is at position {is_at:,}"
    return Found(position, "reordered", event, swapped)


def _position_of(connection: Connection[Any], leaf: bytes) -> int | None:
    """Where in the log the event with this hash stands now; looks everywhere."""
    found = None
    for positions, leaves in _batches(connection, LOWEST, _end(connection)):
        at = leaves.find(leaf)
        while at % WIDTH and at != -1:
            at = leaves.find(leaf, at + 1)
        if at != -1 and found is None:
            found = _position(positions, at // WIDTH)
    return found


def _event_of(connection: Connection[Any], row: _Row) -> str:
    """The name of a row; several may have its position."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(
            "SELECT originator_id, originator_version FROM seatline.stored_events WHERE notification_id = %s"
            " ORDER BY originator_id, originator_version",
            (row.position,),
        )
        names = [f"{stream}@{version}" for stream, version in cursor]
    [(_, leaves)] = _batches(connection, row.position, row.position)
    return names[leaves.index(row.leaf) // WIDTH]


# By the roots alone


def _first_stretch(connection: Connection[Any], heads: list[Head], progress: Progress) -> Found | None:
    def leaves(first: int, last: int) -> bytes:
        batches = list(_batches(connection, first + 1 if first else LOWEST, last))
        positions = b"".join([positions for positions, _ in batches])
        in_order = positions == _counted(first, last - first)
        return b"".join([leaves for _, leaves in batches]) if in_order else b""

    misfit = first_misfit(heads, leaves, progress)
    if misfit is None:
        return None
    first, last = heads[misfit - 1].size + 1 if misfit else 1, heads[misfit].size
    told = f"something up to position {last:,} was changed; the hashes that would tell what are missing or don't fit"
    return Found(first, "changed", None, told)


# Rows


def _batches(connection: Connection[Any], first: int, last: int) -> Iterator[tuple[bytes, bytes]]:
    """The positions of up to 1,024 rows at a time, 8 bytes each, and the hashes of what is sealed of them."""
    with connection.cursor() as cursor, cursor.copy(ROWS, (str(first), str(last))) as copy:
        blocks = iter(copy)
        rows = chain([next(blocks)[HEADER:]], blocks)
        positions, leaves = bytearray(), bytearray()
        while group := list(islice(rows, HOT)):
            if len(group[-1]) == TRAILER:
                group.pop()
            # A row begins with the number of its columns (2 bytes), and the position behind its length (4).
            positions += b"".join([row[6:14] for row in group])
            leaves += b"".join([sha256(b"\0" + row[14:]).digest() for row in group])
            if len(leaves) == CHUNK * WIDTH:
                yield bytes(positions), bytes(leaves)
                positions, leaves = bytearray(), bytearray()
        if leaves:
            yield bytes(positions), bytes(leaves)


def _position(positions: bytes, place: int) -> int:
    return int(unpack_from(">q", positions, place * 8)[0])


def _counted(after: int, count: int) -> bytes:
    return pack(f">{count}q", *range(after + 1, after + count + 1))


def _end(connection: Connection[Any]) -> int:
    with connection.cursor(row_factory=tuple_row) as cursor:
        [(end,)] = cursor.execute("SELECT coalesce(max(notification_id), 0) FROM seatline.stored_events")
    return int(end)
