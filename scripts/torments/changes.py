"""Row 13: whoever changes the history in the database is found out against an exported root, at the first bad row."""

import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, LiteralString, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from psycopg import ClientCursor, Connection

from adapters.postgres.database import connected
from adapters.postgres.sealing import Found, seal, verify
from adapters.seals import Seals
from scripts.benches.stage import Stage, engine_at, ingest, lines_of
from scripts.torments.ledger import Outcome

QUICK, FULL = 40, 1_000
COMMANDS = 1_000
"""Which make some 1,400 events."""

Verifier = Callable[[Connection[Any], Seals, Ed25519PublicKey], Found | None]


class Change(NamedTuple):
    """What somebody with all rights does to the history, where that begins, and what it has to be called."""

    statement: LiteralString
    parameters: dict[str, object]
    position: int
    what: str


def torment(stage: Stage, changes: int, seed: int, *, verifier: Verifier | None = None) -> Outcome:
    """`verifier` is for planted bugs: another way to compare."""
    chance = random.Random(seed)  # noqa: S311  reproducible on purpose
    key, complaints, kinds = Ed25519PrivateKey.generate(), list[str](), Counter[str]()
    with stage.database() as url, tempfile.TemporaryDirectory() as folder:
        stage.apart(_fill, url, stage.workload(COMMANDS))
        seals = Seals(Path(folder) / "seals")
        with connected(url) as connection:
            size = seal(connection, seals, key, _quietly)[0].size
            for _ in range(changes):
                change = _a_change(chance, size)
                kinds[change.what] += 1
                with connection.transaction(force_rollback=True):
                    ClientCursor(connection).execute(change.statement, change.parameters)  # takes several statements
                    found = (verifier or _verifier)(connection, seals, key.public_key())
                if found is None or (found.position, found.what) != (change.position, change.what):
                    wanted = f"position {change.position} {change.what}"
                    complaints.append(
                        f"{wanted}, but {f'{found.position} {found.what}' if found else 'nothing'} was found"
                    )
            if (verifier or _verifier)(connection, seals, key.public_key()):
                complaints.append("something was found although nothing had been changed")
    return Outcome({"events": size, "changes": changes, **kinds}, complaints)


def _a_change(chance: random.Random, size: int) -> Change:
    at = chance.randrange(2, size - 1)
    other = chance.randrange(at + 1, size + 1)
    statement, position, what = chance.choice(CHANGES)
    known: dict[str, object] = {"at": at, "other": other, "size": size}
    return Change(statement, known, {"at": at, "size": size}.get(position, 0), what)


FORGED: LiteralString = """
    INSERT INTO seatline.stored_events
    SELECT originator_id, originator_version + 1000000, topic, state, subject, {}
    FROM seatline.stored_events WHERE originator_version > 0 ORDER BY notification_id LIMIT 1
"""
MOVED: LiteralString = """
    ;
    UPDATE seatline.stored_events SET notification_id = -notification_id WHERE notification_id >= %(at)s;
    UPDATE seatline.stored_events SET notification_id = {} - notification_id WHERE notification_id < 0;
"""
SWAPPED: LiteralString = """
    UPDATE seatline.stored_events SET notification_id = -1 WHERE notification_id = %(at)s;
    UPDATE seatline.stored_events SET notification_id = %(at)s WHERE notification_id = %(other)s;
    UPDATE seatline.stored_events SET notification_id = %(other)s WHERE notification_id = -1
"""
EDITED: LiteralString = "UPDATE seatline.stored_events SET {} WHERE notification_id = %(at)s"
DELETED: LiteralString = "DELETE FROM seatline.stored_events WHERE notification_id = %(at)s"
CHANGES: list[tuple[LiteralString, str, str]] = [
    (
        EDITED.format("state = set_byte(state, length(state) / 2, get_byte(state, length(state) / 2) # 1)"),
        "at",
        "edited",
    ),
    (EDITED.format("state = state || ' '"), "at", "edited"),
    (EDITED.format("topic = topic || '2'"), "at", "edited"),
    (EDITED.format("subject = subject || 'x'"), "at", "edited"),
    (EDITED.format("originator_id = originator_id || 'x'"), "at", "edited"),
    (EDITED.format("originator_version = originator_version + 1000000"), "at", "edited"),
    (DELETED, "at", "deleted"),
    (DELETED + MOVED.format("-1"), "at", "deleted"),
    ("DELETE FROM seatline.stored_events WHERE notification_id BETWEEN %(at)s AND %(size)s - 1", "at", "deleted"),
    ("SELECT" + MOVED.format("1") + FORGED.format("%(at)s"), "at", "inserted"),
    ("DROP INDEX seatline.stored_events_position;" + FORGED.format("%(at)s"), "at", "inserted"),
    (FORGED.format("0"), "none", "inserted"),
    (SWAPPED, "at", "reordered"),
    (
        "UPDATE seatline.stored_events SET notification_id = %(size)s + 1 WHERE notification_id = %(at)s",
        "at",
        "reordered",
    ),
    ("DELETE FROM seatline.stored_events WHERE notification_id >= %(at)s", "at", "cut off at the end"),
    ("DELETE FROM seatline.stored_events WHERE notification_id = %(size)s", "size", "cut off at the end"),
]


def _fill(url: str, workload: Path) -> None:
    with engine_at(url) as engine:
        ingest(engine.clerk(), lines_of(workload))


def _quietly(done: int, goal: int) -> None:
    """Nobody watches."""


# Verifiers


def _verifier(connection: Connection[Any], seals: Seals, key: Ed25519PublicKey) -> Found | None:
    return verify(connection, seals, key, _quietly).found


def who_only_counts(connection: Connection[Any], seals: Seals, key: Ed25519PublicKey) -> Found | None:
    size = seals.heads(key)[-1].size
    counted = connection.execute("SELECT FROM seatline.stored_events").rowcount
    return Found(min(counted + 1, size), "cut off at the end", None, "") if counted < size else None


PLANTED: dict[str, dict[str, Any]] = {
    "rows are only counted": {"verifier": who_only_counts},
}
