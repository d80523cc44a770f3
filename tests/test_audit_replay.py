"""The history replayed by an auditor: what is as it was told, and what somebody changed beside or in it."""

import json
from collections.abc import Callable
from typing import Any, LiteralString

import pytest

from domain.memory import LONG
from tests import test_command_line
from tests.office import BASE, Office, service
from tests.story import told
from tests.test_command_line import Here

pytestmark = pytest.mark.slow
here = test_command_line.here


@pytest.fixture
def history(office: Office) -> Office:
    list(told(office))
    office.drain(office.projections())
    return office


def test_a_history_that_nobody_changed_replays_without_a_difference(history: Office, here: Here) -> None:
    replayed = here("audit", "replay", "--json")
    assert (replayed.code, replayed.json["differences"]) == (0, [])
    assert replayed.json["events"] == history.log.head()
    assert replayed.json["quotes"] > 3
    assert replayed.json["money"] == {
        "received": "204.34",
        "allocated": "160.42",
        "refundable": "34.64",
        "unallocated": "0.00",
        "refunded": "9.28",
    }
    assert "\n  0 differences\n" in here("audit", "replay", "--processes", "2").out


def test_nothing_of_a_replay_stays_behind(history: Office, here: Here) -> None:
    tables: LiteralString = "SELECT relname FROM pg_class WHERE relnamespace = 'read_model'::regnamespace ORDER BY 1"
    before = history.ask(tables)
    assert here("audit", "replay").code == 0
    assert history.ask(tables) == before
    assert history.ask("SELECT view FROM seatline.rebuilds") == []


def test_an_empty_log_replays(here: Here) -> None:
    assert here("audit", "replay", "--json").json["events"] == 0
    assert here("audit", "replay", "--processes", "0").code == 2


# Somebody who may do everything


def test_rows_that_somebody_changed_beside_the_log_are_told_by_name(history: Office, here: Here) -> None:
    history.tell("UPDATE read_model.seats_1 SET seats_active = 77 WHERE subscription_id = 'SUB-2'")
    history.tell("DELETE FROM read_model.carts_1 WHERE subscription_id = 'SUB-1'")
    history.tell("INSERT INTO seatline.due VALUES ('cart/SUB-1', '2040-01-01')")
    history.tell("INSERT INTO seatline.memories VALUES ('cart/NOBODY', 1, 'x')")
    replayed = here("audit", "replay")
    assert replayed.code == 1
    assert replayed.out.splitlines()[:-4] == [
        "due date of cart/SUB-1: index: expected none, found 2040-01-01",
        "cart/NOBODY: a memory or a due date of a stream without events",
        "view seats, SUB-2: seats_active: expected 0, found 77",
        "view carts, SUB-1: row: expected one, found none",
    ]


def test_events_that_are_missing_or_concern_another_are_told_by_name(history: Office, here: Here) -> None:
    [(position,)] = history.ask(
        "DELETE FROM seatline.stored_events WHERE originator_id = 'subscription/SUB-1' AND originator_version = 3"
        " RETURNING notification_id"
    )
    history.tell("UPDATE seatline.stored_events SET subject = 'SUB-2' WHERE originator_id = 'cart/SUB-1'")
    replayed = here("audit", "replay")
    assert replayed.code == 1
    assert f"position {position + 1}: comes next: expected {position}, found {position + 1}" in replayed.out
    assert "subscription/SUB-1@3: version of the next event: expected 3, found 4" in replayed.out
    assert "cart/SUB-1@2: subject: expected SUB-1, found SUB-2" in replayed.out


Change = Callable[[dict[str, Any]], object]


def rewrite(office: Office, topic: str, change: Change) -> str:
    """Change what is stored of the first event of a topic; gives its name."""
    [(stream, version, state)] = office.ask(
        "SELECT originator_id, originator_version, state FROM seatline.stored_events WHERE topic = %s"
        " ORDER BY notification_id LIMIT 1",
        topic,
    )
    stored = json.loads(state)
    change(stored)
    office.tell(
        "UPDATE seatline.stored_events SET state = %s WHERE originator_id = %s AND originator_version = %s",
        json.dumps(stored).encode(),
        stream,
        version,
    )
    return f"{stream}@{version}"


def cheaper(stored: dict[str, Any]) -> None:
    stored["data"]["quote"]["lines"][0]["net"] = "1.00"


def longer(stored: dict[str, Any]) -> None:
    stored["data"]["quote"]["lines"][1]["fraction"] = "1"


TOLD: dict[str, tuple[str, Change, str]] = {
    "a line's net": (
        "order.order-placed.v1",
        cheaper,
        "quote, line from 2025-03-03 to 2026-03-03, net: expected 36.00, found 1.00",
    ),
    "a fraction": (
        "cart.seats-chosen.v1",
        longer,
        "quote, line from 2025-06-30 to 2026-03-03, fraction: expected 246/365, found 1",
    ),
    "the time": (
        "order.order-fulfilled.v1",
        lambda stored: stored.update(business_time="2020-01-01T00:00:00+00:00"),
        "business time runs back: expected ≥ ",
    ),
    "the actor": (
        "cart.cart-opened.v1",
        lambda stored: stored.update(actor=""),
        "actor, command or price list is empty",
    ),
    "the amount": (
        "payment.payment-refunded.v1",
        lambda stored: stored["data"].update(refundable="9999.00"),
        "money refundable: expected 0.00 or more, found ",
    ),
    "all": (
        "payment.payment-matched.v1",
        lambda stored: stored.pop("data"),
        "can't be read as payment.payment-matched.v1",
    ),
}


def test_events_that_somebody_rewrote_are_told_by_name(history: Office, here: Here) -> None:
    wanted = [(rewrite(history, topic, change), says) for topic, change, says in TOLD.values()]
    replayed = here("audit", "replay")
    assert replayed.code == 1
    for event, says in wanted:
        where = event.partition("@")[0] if "money" in says else event
        assert f"{where}: {says}" in replayed.out


def test_a_memory_that_is_not_what_its_stream_makes_is_told(office: Office, here: Here) -> None:
    office.start(service(BASE, "2027-06-30"))
    office.do("open-cart")
    for quantity in range(LONG + 1):
        office.do("choose-seats", quantity=1 + quantity % 9)
    assert here("audit", "replay", "--json").json["memories"] == 1
    office.tell("UPDATE seatline.memories SET memory = replace(memory, '\"is_open\":true', '\"is_open\":false')")
    replayed = here("audit", "replay")
    assert replayed.code == 1
    assert "memory of cart/SUB-1 at version 100: not what replay gives: is_open" in replayed.out
