"""A reader who waits for a position sees what it did, never hangs, and sees all of a panel as of one moment."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import Connection

from adapters.panel import SHOWN, panel_after, panel_now, panels_to_come
from adapters.postgres.freshness import NoSuchPosition, NotShown, one_moment
from adapters.postgres.rebuild import rebuild
from adapters.postgres.views import advance, live_tables
from projections.catalogue import VIEWS
from tests.office import SUB, Office, service, until

SLEEPS: LiteralString = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
SWAP_WAITS: LiteralString = (
    "SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database"
    " WHERE datname = current_database() AND mode = 'AccessExclusiveLock' AND NOT granted"
)
GUIDE = Path(__file__).parents[2] / "docs" / "integrators.md"
OTHERS = [name for name in VIEWS if name != "payments"]


@pytest.fixture
def reader(office: Office) -> Iterator[Connection[Any]]:
    """A connection in autocommit that may do what `panel_reader` may."""
    with psycopg.connect(office.url, autocommit=True) as connection:
        connection.execute("SET ROLE panel_reader")
        yield connection


def one(connection: Connection[Any], query: LiteralString, *parameters: object) -> Any:
    row = connection.execute(query, parameters).fetchone()
    assert row is not None
    return row[0]


def advance_only(office: Office, *names: str) -> None:
    while advance(office.log, partial(live_tables, names=names)):
        pass


def outdated(office: Office, name: str) -> None:
    office.tell("UPDATE seatline.views SET version = 0 WHERE name = %s", name)


# In SQL


def test_a_reader_who_waits_sees_what_was_still_to_come(office: Office, reader: Connection[Any]) -> None:
    position = office.start()["position"]
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(one, reader, "SELECT panel.wait_for(%s)", position)
        until(lambda: office.ask(SLEEPS))
        office.drain(office.projections())
        assert waiting.result() is True
    assert one(reader, "SELECT position FROM panel.seats") == position
    assert one(reader, "SELECT panel.position()") == position


def test_who_waits_in_a_transaction_sees_it_too(office: Office, reader: Connection[Any]) -> None:
    position = office.start()["position"]
    with ThreadPoolExecutor() as threads, reader.transaction():
        assert one(reader, "SELECT count(*) FROM panel.seats") == 0
        waiting = threads.submit(one, reader, "SELECT panel.wait_for(%s)", position)
        office.drain(office.projections())
        assert waiting.result() is True
        assert one(reader, "SELECT count(*) FROM panel.seats") == 1


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_transaction_that_can_see_nothing_new_is_told_so(reader: Connection[Any], level: str) -> None:
    reader.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
    with pytest.raises(psycopg.errors.InvalidTransactionState, match="sees nothing new") as told:
        reader.execute("SELECT panel.wait_for(0)")
    assert told.value.diag.message_hint


def test_a_view_that_is_stuck_hangs_only_who_waits_for_it_and_not_for_ever(
    office: Office, reader: Connection[Any]
) -> None:
    position = office.start()["position"]
    advance_only(office, *OTHERS)
    outdated(office, "payments")
    assert one(reader, "SELECT panel.wait_for(%s, 0.05)", position) is False
    assert one(reader, "SELECT panel.position()") == 0
    assert one(reader, "SELECT panel.wait_for(%s, views => %s)", position, OTHERS) is True
    assert one(reader, "SELECT panel.position(%s)", OTHERS) == position


def test_the_table_that_a_view_shows_counts_and_no_other(office: Office, reader: Connection[Any]) -> None:
    office.start()
    office.drain(office.projections())
    head = office.log.head()
    office.tell("INSERT INTO seatline.positions (reader) VALUES ('view:seats:9')")
    assert one(reader, "SELECT panel.position()") == head
    office.tell("UPDATE seatline.views SET generation = 9 WHERE name = 'seats'")
    assert one(reader, "SELECT panel.position()") == 0


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("panel.wait_for(1)", "position 1 has not been given out"),
        ("panel.wait_for(0, views => '{seats,carpets}')", "there is no view panel.carpets"),
        ("panel.position('{carpets}')", "there is no view panel.carpets"),
        ("panel.wait_for(0, -1)", "waits for 0 to 3600 seconds"),
        ("panel.wait_for(0, 'NaN')", "waits for 0 to 3600 seconds"),
        ("panel.wait_for(0, 'infinity')", "waits for 0 to 3600 seconds"),
    ],
)
def test_who_asks_for_what_can_not_come_is_told_at_once(reader: Connection[Any], call: str, error: str) -> None:
    with pytest.raises(psycopg.DatabaseError, match=error):
        reader.execute(f"SELECT {call}".encode())


def test_only_readers_of_the_panel_may_ask(office: Office) -> None:
    functions = "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'panel'::regnamespace"
    names = [name for (name,) in office.ask(functions)]
    assert len(names) == 2
    with psycopg.connect(office.url, autocommit=True) as connection:
        for name in names:
            for role, may in (("panel_reader", True), ("pg_monitor", False)):
                assert one(connection, "SELECT has_function_privilege(%s, %s, 'EXECUTE')", role, name) is may
        assert not one(connection, "SELECT has_schema_privilege('panel_reader', 'seatline', 'USAGE')")


def test_what_a_reader_puts_on_its_own_search_path_is_not_called(office: Office, reader: Connection[Any]) -> None:
    office.tell("CREATE SCHEMA trap")
    office.tell(
        "CREATE FUNCTION trap.format(text, text, integer) RETURNS text LANGUAGE plpgsql AS"
        " 'BEGIN RAISE EXCEPTION ''caught''; END'"
    )
    office.tell("GRANT USAGE ON SCHEMA trap TO panel_reader")
    reader.execute("SET search_path = trap, pg_catalog")
    assert one(reader, "SELECT panel.position()") == 0
    assert one(reader, "SELECT panel.wait_for(0)") is True


# In the panel


def test_the_panel_after_a_command_shows_it(office: Office) -> None:
    office.start()
    position = office.do("configure-user", username="annaverdi")["position"]
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(panel_after, office.log, SUB, position, 10)
        office.drain(office.projections())
        panel = waiting.result()
    assert panel is not None
    assert [user["username"] for user in panel.users] == ["annaverdi"]


def test_a_position_that_nobody_can_have_is_refused_at_once(office: Office) -> None:
    office.start()
    with pytest.raises(NoSuchPosition, match="position 2 has not been given out: the log ends at 1"):
        panel_after(office.log, SUB, 2, 3_600)


def test_views_that_a_panel_does_not_show_keep_it_from_nothing(office: Office) -> None:
    position = office.start()["position"]
    advance_only(office, *OTHERS)
    outdated(office, "payments")
    assert panel_after(office.log, SUB, position, 0) is not None


def test_whoever_waits_in_vain_is_told_how_far_which_view_is_and_what_to_do(office: Office) -> None:
    office.start()
    office.drain(office.projections())
    position = office.do("configure-user", username="annaverdi")["position"]
    office.tell("UPDATE seatline.positions SET moved_at = now() - interval '1 minute'")
    with pytest.raises(NotShown) as told:
        panel_after(office.log, SUB, position, 0)
    assert str(told.value) == (
        "position 2 is not reached after 0 s: carts is at 1, orders is at 1, seats is at 1, services is at 1,"
        " users is at 1, and nothing moves: does `seatline run projections` run?"
    )
    advance_only(office, *set(SHOWN) - {"seats"})
    outdated(office, "seats")
    with pytest.raises(NotShown, match="seats is at 1; handlers of another version made it: run `seatline rebuild se"):
        panel_after(office.log, SUB, position, 0)


def test_while_views_move_the_advice_is_to_wait_longer(office: Office) -> None:
    office.start()
    advance(office.log, live_tables, limit=1)
    position = office.do("configure-user", username="annaverdi")["position"]
    with pytest.raises(NotShown, match=r"and moves: wait longer \(--timeout\)"):
        panel_after(office.log, SUB, position, 0)


def test_a_subscription_that_a_view_could_not_go_on_with_is_not_shown_as_if_it_were_fresh(office: Office) -> None:
    office.start()
    position = office.do("configure-user", username="annaverdi")["position"]
    office.start(subscription_id="SUB-2")
    office.drain(office.projections())
    office.tell(
        "INSERT INTO seatline.parked (reader, home, subject, event_id, position, error)"
        " VALUES ('view:users:1', 'SUB-1', 'SUB-1', 'subscription/SUB-1@2', 2, 'KeyError')"
    )
    with pytest.raises(NotShown, match="view users leaves SUB-1 as it was before event subscription/SUB-1@2"):
        panel_after(office.log, SUB, position, 0)
    assert panel_after(office.log, SUB, position - 1, 0) is not None
    assert panel_after(office.log, "SUB-2", position + 1, 0) is not None


# Being told


def test_whoever_follows_a_panel_sees_every_row_of_it_change_and_no_other(office: Office) -> None:
    office.start()
    shown = panel_now(office.log, SUB)
    assert shown is not None
    with closing(panels_to_come(office.log, SUB, shown)) as coming:
        number = office.order_seats(2)
        office.start(subscription_id="SUB-2")
        office.drain(office.projections())
        assert [order["order_number"] for order in next(coming).orders] == [number]
        office.order_seats(2, subscription_id="SUB-2")
        office.pay(number)
        office.drain(office.projections())
        assert next(coming).orders[0]["status"] == "paid"
        office.drain(office.activation(), office.projections())
        assert next(coming).seats["seats_purchased"] == 2


def test_the_reader_in_the_documents_is_told_of_changes(office: Office) -> None:
    [example] = re.findall(r"```python\n(import json, time\n.*?)```", GUIDE.read_text(), re.DOTALL)
    told: dict[str, Any] = {}
    exec(example, told)  # noqa: S102  our own
    office.start()
    with closing(told["users"](office.url, SUB)) as coming:
        assert next(coming) == []
        office.do("configure-user", username="annaverdi", permissions=["read"])
        office.drain(office.projections())
        assert next(coming) == [("annaverdi", ["read"])]
    assert told["concerns"]("rubbish", SUB)
    assert told["concerns"]('{"view": "users", "position": 1, "keys": null}', SUB)
    assert not told["concerns"]('{"view": "users", "position": 1, "keys": [["SUB-2", "annaverdi"]]}', SUB)


# As of one moment


def test_a_panel_never_shows_one_view_before_a_command_and_another_after_it(office: Office) -> None:
    office.start(service("fe-solo-ricezione", "2026-06-30"), service("fe-utente", "2026-06-30", 9))
    office.drain(office.projections())

    def write() -> None:
        for turn in range(60):
            office.do("configure-user", username=f"username{turn % 9}")
            if turn % 9 == 8:
                for number in range(9):
                    office.do("delete-user", username=f"username{number}")
            office.drain(office.projections())

    with ThreadPoolExecutor() as threads:
        writing, seen = threads.submit(write), set()
        while not writing.done():
            panel = panel_after(office.log, SUB, 0, 0)
            assert panel is not None
            assert panel.seats["seats_configured"] == len(panel.users)
            seen.add(len(panel.users))
        writing.result()
    assert len(seen) > 2


def test_a_view_is_not_swapped_under_a_reader_who_looks_at_several(office: Office) -> None:
    office.start()
    office.drain(office.projections())
    with ThreadPoolExecutor() as threads:
        with one_moment(office.log, list(SHOWN)) as connection:
            swapping = threads.submit(rebuild, office.log, VIEWS["seats"], lambda *_: None)
            until(lambda: office.ask(SWAP_WAITS) or swapping.done())
            assert not swapping.done()
            assert one_dict(connection, "SELECT subscription_id FROM panel.seats") == {"subscription_id": SUB}
        swapping.result()
    with one_moment(office.log, list(SHOWN)) as connection:
        assert one_dict(connection, "SELECT subscription_id FROM panel.seats") == {"subscription_id": SUB}


def one_dict(connection: Connection[Any], query: LiteralString) -> dict[str, Any]:
    [row] = connection.execute(query).fetchall()
    assert isinstance(row, dict)
    return row
