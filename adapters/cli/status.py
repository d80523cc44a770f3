"""`seatline status`: how far everybody is, and what waits for a person."""

import argparse
from typing import Any

from psycopg.rows import dict_row
from rich.text import Text

from adapters.cli import DONE
from adapters.cli.show import cell, console, print_json, table
from adapters.settings import load_settings
from adapters.wiring import Engine, engine

READERS = """
    SELECT reader, position, head - position AS events_behind, moved_at
    FROM seatline.readers, (SELECT coalesce(max(notification_id), 0) AS head FROM seatline.stored_events) AS log
    ORDER BY reader
"""
EFFECTS = """
    SELECT worker, state, count(*) AS effects, count(*) FILTER (WHERE in_doubt) AS in_doubt, min(due_at) AS first_due
    FROM seatline.effects GROUP BY worker, state ORDER BY worker, state
"""
ATTENTION = """
    SELECT worker, id, state, in_doubt, attempts, error, changed_at
    FROM seatline.effects
    WHERE state = 'failed' OR (state = 'planned' AND error IS NOT NULL) ORDER BY changed_at LIMIT 50
"""
INBOX = """
    SELECT topic, partition, next_offset, answered_offset, moved_at FROM seatline.inbox ORDER BY topic, partition
"""
DEAD_LETTERS = """
    SELECT count(*) AS open, min(changed_at) AS since FROM seatline.dead_letters WHERE state = 'open'
"""
PARKED = """
    SELECT split_part(reader, ':', 2) AS view, subject, event_id, error, parked_at
    FROM seatline.parked JOIN seatline.readers USING (reader) ORDER BY parked_at, reader, home LIMIT 50
"""
PAYMENTS = """
    SELECT state, count(*) AS payments, sum(unallocated + refundable) AS at_hand
    FROM panel.payments WHERE state IN ('orphan', 'surplus', 'late') GROUP BY state ORDER BY state
"""


def run(arguments: argparse.Namespace) -> int:
    with engine(load_settings()) as wired:
        found = {
            "events": wired.log.head(),
            "readers": _rows(wired, READERS),
            "inbox": _rows(wired, INBOX),
            "dead_letters": _rows(wired, DEAD_LETTERS)[0],
            "effects": _rows(wired, EFFECTS),
            "attention": _rows(wired, ATTENTION),
            "parked": _rows(wired, PARKED),
            "payments": _rows(wired, PAYMENTS),
        }
    if arguments.json:
        print_json(found)
    else:
        _print(found)
    return DONE


def _rows(wired: Engine, query: str) -> list[dict[str, Any]]:
    with wired.log.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode()).fetchall()


def _print(found: dict[str, Any]) -> None:
    out = console()
    out.print(Text.assemble((f"{found['events']:,}", "bold"), " events in the log\n"))
    readers = table("Readers", "reader", "position", "events behind", "moved", right=("position", "events behind"))
    for row in found["readers"]:
        behind = Text(f"{row['events_behind']:,}", style="yellow" if row["events_behind"] else "green")
        readers.add_row(row["reader"], f"{row['position']:,}", behind, cell(row["moved_at"]))
    out.print(readers)
    if found["inbox"]:
        right = ("partition", "decided to", "answered to")
        inbox = table("\nCommands from Kafka", "topic", *right, "moved", right=right)
        for row in found["inbox"]:
            offsets = (f"{row['next_offset']:,}", f"{row['answered_offset']:,}")
            inbox.add_row(row["topic"], str(row["partition"]), *offsets, cell(row["moved_at"]))
        out.print(inbox)
    effects = table("\nEffects", "worker", "state", "how many", "in doubt", "first due", right=("how many", "in doubt"))
    for row in found["effects"]:
        due = cell(row["first_due"]) if row["state"] == "planned" else ""
        effects.add_row(row["worker"], row["state"], f"{row['effects']:,}", f"{row['in_doubt']:,}", due)
    out.print(effects)
    letters = found["dead_letters"]
    if found["attention"] or found["parked"] or found["payments"] or letters["open"]:
        waiting = table("\nWaiting for a person, or for the other side", "what", "state", "why")
        for row in found["attention"]:
            doubt = ", in doubt" if row["in_doubt"] else ""
            waiting.add_row(f"{row['worker']} {row['id']}", f"{row['state']}{doubt}", cell(row["error"]))
        for row in found["parked"]:
            what = f"view {row['view']}, {row['subject']}"
            waiting.add_row(what, "parked", f"{row['error']}, at {row['event_id']} ({cell(row['parked_at'])})")
        for row in found["payments"]:
            payments = "1 payment" if row["payments"] == 1 else f"{row['payments']:,} payments"
            waiting.add_row(payments, row["state"], f"{cell(row['at_hand'])} to match or refund")
        if letters["open"]:
            many = "1 dead letter" if letters["open"] == 1 else f"{letters['open']:,} dead letters"
            waiting.add_row(many, f"since {cell(letters['since'])}", "could not be read: seatline dead-letters list")
        out.print(waiting)
        if found["parked"]:
            out.print("\nParked rows stay as they were before that event; when the handler is mended:")
            out.print("seatline rebuild VIEW --only SUB, or seatline rebuild VIEW.")
        if found["attention"]:
            out.print("\nseatline effects list shows all of these effects; effects retry or skip decides.")
    else:
        out.print("\nNothing waits for a person.")
