"""`seatline effects`: what was to be done outside, and what a person decides where that went wrong."""

import argparse
import getpass
from typing import Any, LiteralString

from psycopg import Connection
from psycopg.rows import dict_row

from adapters.cli import DOMAIN_SAID_NO, DONE, Complaint
from adapters.cli.show import cell, console, print_json, table
from adapters.postgres.readers import decide
from adapters.settings import load_settings
from adapters.wiring import Engine, engine
from consumers import activation
from consumers.effects import Refused

LIST: LiteralString = """
    SELECT id, worker, subject, order_number, state, in_doubt, attempts, due_at, error, changed_at, coalesce(
        (SELECT json_agg(json_build_object('decision', decision, 'operator', operator, 'reason', reason,
                                           'at', decided_at) ORDER BY decided_at)
         FROM seatline.effect_decisions WHERE effect_id = id), '[]') AS decisions
    FROM seatline.effects
    WHERE CASE %(state)s::text
        WHEN 'waiting' THEN state = 'failed' OR in_doubt OR (state = 'planned' AND error IS NOT NULL)
        WHEN 'in-doubt' THEN in_doubt
        ELSE state = %(state)s
    END
    ORDER BY changed_at, id
"""
OPEN: LiteralString = """
    SELECT id, worker, event_id, state FROM seatline.effects WHERE id = ANY(%s) ORDER BY id FOR UPDATE
"""
AGAIN: LiteralString = """
    UPDATE seatline.effects
    SET state = 'planned', due_at = CASE WHEN error IS NULL THEN due_at ELSE least(due_at, now()) END,
        interruptions = 0, changed_at = now()
    WHERE id = ANY(%s)
"""
NEVER: LiteralString = """
    UPDATE seatline.effects SET state = 'dropped', error = %s, changed_at = now() WHERE id = ANY(%s)
"""
NOTE: LiteralString = """
    INSERT INTO seatline.effect_decisions (effect_id, operator, decision, reason)
    SELECT unnest(%s::text[]), %s, %s, %s
"""


def run(arguments: argparse.Namespace) -> int:
    with engine(load_settings()) as wired:
        if arguments.action == "list":
            return _list(wired, arguments)
        return _decide(wired, arguments)


def _list(wired: Engine, arguments: argparse.Namespace) -> int:
    with wired.log.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        effects = cursor.execute(LIST, {"state": arguments.state or "waiting"}).fetchall()
    if arguments.json:
        print_json(effects)
    elif not effects:
        print("No effects in that state." if arguments.state else "No effect waits for anybody.")
    else:
        _print(effects)
    return DONE


def _print(effects: list[dict[str, Any]]) -> None:
    listed = table("Effects", "id", "worker", "state", "attempts", "since", "why", "decided", right=("attempts",))
    for row in effects:
        state = f"{row['state']}{', in doubt' if row['in_doubt'] else ''}"
        decisions = [
            f"{d['decision']} by {d['operator']}: {d['reason'] or 'no reason given'}" for d in row["decisions"]
        ]
        why, since = cell(row["error"]), cell(row["changed_at"])
        listed.add_row(row["id"], row["worker"], state, str(row["attempts"]), since, why, "\n".join(decisions))
    console().print(listed)


def _decide(wired: Engine, arguments: argparse.Namespace) -> int:
    """All of the named effects, or none."""
    ids, operator = sorted(set(arguments.ids)), arguments.operator or getpass.getuser()
    with wired.log.connection() as connection, connection.transaction():
        effects = _open(connection, ids)
        if arguments.action == "retry":
            connection.execute(AGAIN, (ids,))
        else:
            _activate_in_the_engine(wired, [row["event_id"] for row in effects if row["worker"] == activation.NAME])
            connection.execute(NEVER, (f"skipped by {operator}: {arguments.reason}", ids))
        connection.execute(NOTE, (ids, operator, arguments.action, arguments.reason))
    if arguments.json:
        print_json([{"id": id_, "decision": arguments.action, "operator": operator} for id_ in ids])
    else:
        for id_ in ids:
            print(f"{id_}: {'will be tried again' if arguments.action == 'retry' else 'skipped'}")
    return DONE


def _open(connection: Connection[Any], ids: list[str]) -> list[dict[str, Any]]:
    """The effects with these ids, kept from changing; a Complaint if about one of them nothing is left to decide."""
    with connection.cursor(row_factory=dict_row) as cursor:
        effects = cursor.execute(OPEN, (ids,)).fetchall()
    if unknown := set(ids) - {row["id"] for row in effects}:
        raise Complaint(f"there is no effect {min(unknown)}; see seatline effects list", DOMAIN_SAID_NO)
    for row in effects:
        if row["state"] not in ("planned", "failed"):
            said = "is being done now" if row["state"] == "doing" else f"is {row['state']}"
            raise Complaint(f"effect {row['id']} {said}: there is nothing to decide; none was changed", DOMAIN_SAID_NO)
    return effects


def _activate_in_the_engine(wired: Engine, event_ids: list[str]) -> None:
    """What nobody calls for any more is activated all the same, because it has been paid."""
    if event_ids:
        clerk = wired.clerk()
        try:
            for id_ in event_ids:
                decide(clerk, activation.fulfilment(wired.log.event(id_)))
        except Refused as reason:
            raise Complaint(f"{reason}; nothing was skipped", DOMAIN_SAID_NO) from None
