"""`seatline dead-letters`: what could not be read as a command, and what a person decides about it."""

import argparse
import getpass
from base64 import b64encode
from collections.abc import Sequence
from typing import Any, LiteralString

from psycopg import Connection
from psycopg.rows import dict_row

from adapters.cli import DOMAIN_SAID_NO, DONE, Complaint
from adapters.cli.show import cell, console, harmless, print_json, table
from adapters.settings import SettingsError, load_settings
from adapters.wiring import Engine, engine

LIST: LiteralString = """
    SELECT id, topic, partition, "offset", reason, length(value) AS bytes, state, decided_by, decided_because,
        changed_at
    FROM seatline.dead_letters WHERE %s OR state = 'open' ORDER BY id
"""
SHOW: LiteralString = "SELECT * FROM seatline.dead_letters WHERE id = ANY(%s) ORDER BY id"
DECIDE: LiteralString = """
    UPDATE seatline.dead_letters
    SET state = %s, decided_by = %s, decided_because = %s, changed_at = now() WHERE id = ANY(%s)
"""


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    if arguments.action == "retry" and settings.kafka is None:
        raise SettingsError("SEATLINE_KAFKA: retry needs it, the brokers as host:port")
    with engine(settings) as wired:
        match arguments.action:
            case "list":
                return _list(wired, arguments)
            case "show":
                return _show(wired, arguments)
            case _:
                return _decide(wired, arguments)


def _list(wired: Engine, arguments: argparse.Namespace) -> int:
    with wired.log.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        letters = cursor.execute(LIST, (arguments.all,)).fetchall()
    if arguments.json:
        print_json(letters)
    elif not letters:
        print("There are no dead letters." if arguments.all else "No dead letter waits for anybody.")
    else:
        listed = table("Dead letters", "id", "from", "bytes", "why", "state", "since", right=("id", "bytes"))
        for row in letters:
            state = row["state"] + (f" by {row['decided_by']}" if row["decided_by"] else "")
            if row["decided_because"]:
                state += f": {row['decided_because']}"
            place = f"{row['topic']} {row['partition']}:{row['offset']}"
            listed.add_row(str(row["id"]), place, cell(row["bytes"]), row["reason"], state, cell(row["changed_at"]))
        console().print(listed)
    return DONE


def _show(wired: Engine, arguments: argparse.Namespace) -> int:
    with wired.log.connection() as connection:
        [letter] = _letters(connection, [arguments.id])
    headers = list(zip(letter.pop("header_names"), letter.pop("header_values"), strict=True))
    key, value = letter.pop("key"), letter.pop("value")
    if arguments.json:
        shown = [{"name": _base64(name), "value": _base64(header)} for name, header in headers]
        print_json(letter | {"base64": {"key": _base64(key), "value": _base64(value), "headers": shown}})
        return DONE
    for name, said in letter.items():
        if said is not None:
            print(f"{name}: {cell(said)}")
    print(f"key: {_text(key)}")
    for name, header in headers:
        print(f"header {_text(name)}: {_text(header)}")
    print(f"value: {_text(value)}")
    return DONE


def _decide(wired: Engine, arguments: argparse.Namespace) -> int:
    """All of the named letters, or none."""
    ids, operator = sorted(set(arguments.ids)), arguments.operator or getpass.getuser()
    state = {"retry": "retried", "skip": "skipped"}[arguments.action]
    with wired.log.connection() as connection, connection.transaction():
        letters = _letters(connection, ids, kept=True)
        for letter in letters:
            if letter["state"] != "open":
                raise Complaint(
                    f"dead letter {letter['id']} is {letter['state']}: there is nothing to decide; none was changed",
                    DOMAIN_SAID_NO,
                )
        connection.execute(DECIDE, (state, operator, arguments.reason, ids))
        if arguments.action == "retry":
            # Before the end of the transaction: rather twice on the topic than never.
            _publish(wired, letters)
    if arguments.json:
        print_json([{"id": id_, "state": state, "operator": operator} for id_ in ids])
    else:
        for id_ in ids:
            print(f"{id_}: {'is on the commands topic again' if state == 'retried' else 'skipped'}")
    return DONE


def _letters(connection: Connection[Any], ids: Sequence[int], *, kept: bool = False) -> list[dict[str, Any]]:
    """The letters with these ids, kept from changing if asked to."""
    with connection.cursor(row_factory=dict_row) as cursor:
        letters = cursor.execute(f"{SHOW} FOR UPDATE" if kept else SHOW, (ids,)).fetchall()
    if unknown := set(ids) - {letter["id"] for letter in letters}:
        raise Complaint(f"there is no dead letter {min(unknown)}; see seatline dead-letters list --all", DOMAIN_SAID_NO)
    return letters


def _publish(wired: Engine, letters: Sequence[dict[str, Any]]) -> None:
    from adapters.kafka.asking import publish
    from adapters.kafka.cluster import end_producer
    from adapters.kafka.header_names import as_sent

    with wired.cluster.naming_outages():
        wired.cluster.ensure_topics()
        producer = wired.cluster.producer()
        try:
            records = [
                as_sent(letter["key"], letter["value"], letter["header_names"], letter["header_values"])
                for letter in letters
            ]
            publish(producer, wired.cluster.topics.commands, records)
        finally:
            end_producer(producer, 1)


def _base64(raw: bytes | None) -> str | None:
    return None if raw is None else b64encode(raw).decode()


def _text(raw: bytes | None) -> str:
    """For people: whatever would move a terminal's cursor, or is no text, is written as an escape."""
    if raw is None:
        return "–"
    return harmless(raw.decode(errors="backslashreplace"))
