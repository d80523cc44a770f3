"""A view is rebuilt beside the live one, by as many processes as there are, after any interruption: the same rows."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ClassVar, LiteralString

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import tuple_row

from adapters.postgres import building
from adapters.postgres.rebuild import NothingKept, rebuild, rebuild_only, roll_back
from adapters.postgres.schema import SchemaError
from adapters.postgres.tables import names
from adapters.postgres.views import ViewWorker, advance, live_tables
from domain.kernel import Recorded
from projections.catalogue import VIEWS
from projections.seats import Seats, SeatsRow
from projections.users import UserRow, Users
from projections.view import AnyView, Key, Rows
from tests.adapters.test_views import Planted, content, history, parked, places, readers
from tests.office import SUB, Office

__all__ = ["history"]

WAITING: LiteralString = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
"""Who waits for a lock in this database; other tests share the server."""


def differing(office: Office, view: AnyView) -> int:
    """In how many rows a rebuild differs from what was there."""
    return rebuild(office.log, view, silent).differences.rows


def silent(done: int, goal: int) -> None:
    """Progress that nobody looks at."""


@pytest.mark.parametrize("name", VIEWS)
def test_a_rebuild_gives_the_rows_of_the_live_view(history: Office, name: str) -> None:
    history.drain(history.projections())
    live, shown = content(history, name), history.view(name)
    told: list[tuple[int, int]] = []

    assert rebuild(history.log, VIEWS[name], lambda done, goal: told.append((done, goal))).differences.rows == 0

    assert content(history, name) == live
    assert history.view(name) == shown
    assert sorted(told) == told
    assert 0 < told[-1][0] == told[-1][1] <= history.log.head()
    assert readers(history)[f"view:{name}:2"] == history.log.head()
    assert leftovers(history) == []


def test_a_rebuild_before_anything_happened_changes_nothing(office: Office) -> None:
    assert differing(office, VIEWS["seats"]) == 0
    assert content(office, "seats") == {"seats": []}


def test_a_rebuild_of_a_view_that_lags_differs_in_nothing(history: Office) -> None:
    advance(history.log, live_tables, until=20)
    assert differing(history, VIEWS["orders"]) == 0
    history.drain(history.projections())
    assert differing(history, VIEWS["orders"]) == 0


def test_a_rebuild_mends_what_was_changed_by_hand_and_counts_it(history: Office) -> None:
    history.drain(history.projections())
    right = content(history)
    history.tell("UPDATE read_model.services_1 SET quantity = quantity + 1 WHERE service_id = 'S2'")
    history.tell("DELETE FROM read_model.users_1 WHERE username = 'annaverdi'")
    history.tell("INSERT INTO read_model.users_1 VALUES ('SUB-9', 'nobody', '{}', now(), 1)")
    assert differing(history, VIEWS["services"]) == 2
    assert differing(history, VIEWS["users"]) == 2
    assert differing(history, VIEWS["orders"]) == 0
    assert content(history) == right


class Generous(Seats):
    """A handler with a planted fault: it gives the second customer a seat too many."""

    def settle(self, row: SeatsRow) -> None:
        super().settle(row)
        row.seats_available += row.subscription_id == "SUB-2"


def test_a_rebuild_tells_what_differs_and_where(history: Office) -> None:
    history.drain(history.projections())
    differences = rebuild(history.log, Generous(), silent).differences
    assert (differences.only_before, differences.only_after, differences.changed) == (0, 0, 1)
    assert (differences.columns, differences.examples) == ({"seats_available": 1}, [("SUB-2",)])
    history.tell("DELETE FROM read_model.users_1 WHERE username = 'annaverdi'")
    history.tell("INSERT INTO read_model.users_1 VALUES ('SUB-9', 'nobody', '{}', now(), 1)")
    differences = rebuild(history.log, VIEWS["users"], silent).differences
    assert (differences.only_before, differences.only_after, differences.changed) == (1, 1, 0)
    assert differences.examples == [(SUB, "annaverdi"), ("SUB-9", "nobody")]


def test_a_rebuild_by_changed_handlers_tells_how_many_rows_differ(history: Office) -> None:
    history.drain(history.projections())
    assert differing(history, Generous()) == 1
    assert differing(history, Generous()) == 0
    assert differing(history, VIEWS["seats"]) == 1


class NicknamedRow(UserRow):
    nickname: str = "?"


class Nicknamed(Users):
    """The next version of a view, with one more column."""

    version: ClassVar[int] = 2
    row = NicknamedRow

    def apply(self, recorded: Recorded, rows: Rows[Any]) -> None:
        super().apply(recorded, rows)
        for row in rows.kept():
            rows.put(
                NicknamedRow(
                    row.position,
                    row.subscription_id,
                    row.username,
                    row.permissions,
                    row.configured_at,
                    row.username[:4],
                ),
                row.subscription_id,
                row.username,
            )


def test_a_new_version_of_a_view_may_have_other_columns(history: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    history.drain(history.projections())
    differences = rebuild(history.log, Nicknamed(), silent).differences
    assert (differences.rows, differences.gone, differences.new) == (0, [], ["nickname"])
    with monkeypatch.context() as patch:
        patch.setitem(VIEWS, "users", Nicknamed())
        assert {row["nickname"] for row in history.view("users")} == {"anna", "carl"}
        assert history.ask("SELECT has_table_privilege('panel_reader', 'panel.users', 'SELECT')") == [(True,)]
    differences = rebuild(history.log, Users(), silent).differences
    assert (differences.rows, differences.gone, differences.new) == (0, ["nickname"], [])
    assert [row["username"] for row in history.view("users")] == ["annaverdi", "carlobianchi"]


def test_a_view_with_other_columns_does_not_take_away_what_an_operator_made_of_it(history: Office) -> None:
    history.drain(history.projections())
    history.tell("CREATE VIEW public.mine AS SELECT username FROM panel.users")
    assert differing(history, VIEWS["users"]) == 0
    with pytest.raises(SchemaError, match=r"panel.users gets other columns, but something of yours.*view mine depends"):
        rebuild(history.log, Nicknamed(), silent)
    assert len(history.ask("SELECT * FROM public.mine")) == 2
    history.tell("DROP VIEW public.mine")
    assert differing(history, Nicknamed()) == 0


class Interrupted(Exception): ...


def interrupt(office: Office, view: AnyView, after: float = 0.5) -> None:
    """A rebuild that ends when more than this share of the events is read."""

    def progress(done: int, goal: int) -> None:
        if done > goal * after:
            raise Interrupted

    with pytest.raises(Interrupted):
        rebuild(office.log, view, progress)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "PART", 5)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("name", ["seats", "payments"])
def test_an_interrupted_rebuild_goes_on_where_it_was(history: Office, name: str) -> None:
    history.drain(history.projections())
    before = content(history)
    interrupt(history, VIEWS[name])
    assert content(history) == before
    told: list[tuple[int, int]] = []

    rebuilt = rebuild(history.log, VIEWS[name], lambda done, goal: told.append((done, goal)))

    assert told[0][0] > told[0][1] / 2
    assert (rebuilt.differences.rows, content(history)) == (0, before)
    assert leftovers(history) == []


@pytest.mark.usefixtures("small_parts")
def test_other_handlers_do_not_go_on_with_a_table_that_they_did_not_begin(history: Office) -> None:
    history.drain(history.projections())
    before = content(history)
    interrupt(history, Generous())
    assert differing(history, VIEWS["seats"]) == 0
    assert content(history) == before
    assert leftovers(history) == []


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("name", ["seats", "payments"])
def test_several_processes_give_the_same_rows(history: Office, name: str) -> None:
    history.drain(history.projections())
    before = content(history)
    assert rebuild(history.log, VIEWS[name], silent, processes=2).differences.rows == 0
    assert content(history) == before


@pytest.mark.usefixtures("small_parts")
def test_a_part_that_the_server_still_works_on_for_a_killed_process_is_waited_for(history: Office) -> None:
    history.drain(history.projections())
    interrupt(history, VIEWS["seats"], after=-1)
    with psycopg.connect(history.url) as killed, ThreadPoolExecutor(1) as thread:
        killed.execute("SELECT FROM seatline.rebuild_parts WHERE NOT done ORDER BY place LIMIT 1 FOR UPDATE")
        rebuilt = thread.submit(differing, history, VIEWS["seats"])
        while not rebuilt.done() and not history.ask(WAITING):
            time.sleep(0.01)
        killed.rollback()
        assert rebuilt.result() == 0


def test_a_rebuild_that_ended_when_it_was_ahead_of_a_view_that_lags_differs_in_nothing(history: Office) -> None:
    history.drain(history.projections())
    with psycopg.connect(history.url) as reader, ThreadPoolExecutor(1) as thread:
        reader.execute("SELECT FROM panel.seats")
        rebuilt = thread.submit(differing, history, VIEWS["seats"])
        while not history.ask(WAITING):
            time.sleep(0.01)
        history.start(subscription_id="SUB-3")
        while readers(history)["view:seats:2"] < history.log.head():
            time.sleep(0.01)
        while not rebuilt.done():
            for (pid,) in history.ask(WAITING):
                history.tell("SELECT pg_terminate_backend(%s)", pid)
        assert rebuilt.exception()
    assert differing(history, VIEWS["seats"]) == 0


def test_what_a_killed_rebuild_left_behind_goes_with_the_next(history: Office) -> None:
    history.drain(history.projections())
    history.tell("CREATE TABLE read_model.seats_2 (rubbish text)")
    history.tell("INSERT INTO seatline.positions VALUES ('view:seats:2', 7)")
    assert differing(history, VIEWS["seats"]) == 0
    assert leftovers(history) == []


def test_two_rebuilds_of_one_view_wait_for_each_other(history: Office) -> None:
    history.drain(history.projections())
    right = content(history)
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(lambda _: differing(history, VIEWS["seats"]), range(3))) == [0, 0, 0]
    assert content(history) == right
    assert leftovers(history) == []


@pytest.mark.slow
def test_views_are_rebuilt_while_others_write_and_project(office: Office) -> None:
    stop = threading.Event()

    def write() -> int:
        office.start()
        clerk, count = office.another_clerk(), 0
        while not stop.is_set():
            office.send("open-cart", clerk=clerk)
            office.send("choose-seats", quantity=1 + count % 100, clerk=clerk)
            office.send("place-order" if count % 3 else "configure-user", username=f"username{count}", clerk=clerk)
            count += 1
        return count

    def project() -> None:
        worker = ViewWorker(office.log)
        while not stop.is_set():
            worker.step()

    with ThreadPoolExecutor(3) as threads:
        work: list[Future[object]] = [threads.submit(write), threads.submit(project), threads.submit(project)]
        try:
            different = [differing(office, VIEWS[name]) for _ in range(3) for name in VIEWS]
        finally:
            stop.set()
        assert [future.exception() for future in work] == [None, None, None]
    assert different == [0] * len(different)
    office.drain(office.projections())
    assert [differing(office, VIEWS[name]) for name in VIEWS] == [0] * len(VIEWS)
    assert leftovers(office) == []


def test_a_rebuild_asks_for_nothing_outside(history: Office) -> None:
    history.drain()
    letters, effects = len(history.mail), history.ask("SELECT * FROM seatline.effects ORDER BY id")
    head = history.log.head()
    for view in VIEWS.values():
        differing(history, view)
    history.drain()
    assert len(history.mail) == letters > 0
    assert history.ask("SELECT * FROM seatline.effects ORDER BY id") == effects
    assert history.log.head() == head


# Going back


def test_a_rollback_shows_what_was_there_before_and_all_that_came_since(history: Office) -> None:
    history.drain(history.projections())
    right = content(history)
    rebuild(history.log, Generous(), silent)
    history.start(subscription_id="SUB-3")
    history.drain(history.projections())
    wrong = content(history, "seats")
    back = roll_back(history.log, VIEWS["seats"])
    assert (back.version, back.behind) == (VIEWS["seats"].version, 0)
    assert [row for row in content(history, "seats")["seats"] if row[0] != "SUB-3"] == right["seats"]
    assert [row["subscription_id"] for row in history.view("seats")] == [SUB, "SUB-2", "SUB-3"]
    roll_back(history.log, VIEWS["seats"])
    assert content(history, "seats") == wrong
    assert leftovers(history) == []


def test_a_rollback_to_other_handlers_waits_for_them(history: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    history.drain(history.projections())
    before = content(history, "users")
    rebuild(history.log, Nicknamed(), silent)
    history.do("delete-user", username="annaverdi")
    with monkeypatch.context() as patch:
        patch.setitem(VIEWS, "users", Nicknamed())
        history.drain(history.projections())
        back = roll_back(history.log, VIEWS["users"])
        assert (back.version, back.behind) == (1, 1)
        with pytest.raises(SchemaError, match="users was made by version 1 of its handlers, this program has 2"):
            history.drain(history.projections())
    assert content(history, "users") == before
    assert [row["username"] for row in history.view("users")] == ["carlobianchi"]


def test_a_view_that_was_never_rebuilt_has_nothing_to_go_back_to(history: Office) -> None:
    with pytest.raises(NothingKept, match="view seats has not been rebuilt"):
        roll_back(history.log, VIEWS["seats"])


# One subscription


@pytest.mark.parametrize("name", VIEWS)
def test_one_subscription_is_made_anew_and_no_other_row_is_touched(history: Office, name: str) -> None:
    history.drain(history.projections())
    right = content(history, name)
    mine = {key for key, whose, _ in keys(history, name) if whose == SUB}
    with psycopg.connect(history.url) as connection:
        connection.execute(sql.SQL("UPDATE {} SET position = 0").format(sql.Identifier("read_model", f"{name}_1")))
    spoilt = keys(history, name)

    different, parked = rebuild_only(history.log, VIEWS[name], SUB)

    assert (different, parked) == (len(mine), 0)
    assert {key for key, *_ in keys(history, name) - spoilt} == mine != set()
    for whose in {whose for _, whose, _ in spoilt} - {SUB}:
        rebuild_only(history.log, VIEWS[name], whose)
    assert content(history, name) == right


def keys(office: Office, name: str) -> set[tuple[Key, str, str]]:
    """Each row's key, whom it belongs to, and the transaction that wrote it last."""
    view = VIEWS[name]
    whose = (
        "(SELECT max(subject) FROM seatline.stored_events WHERE originator_id = 'payment/' || reference)"
        if view.home
        else "subscription_id"
    )
    query = sql.SQL("SELECT ARRAY[{}], {}, xmin::text FROM {}").format(
        names(view.key), sql.SQL(whose), sql.Identifier("read_model", f"{name}_1")
    )
    with psycopg.connect(office.url, row_factory=tuple_row) as connection:
        return {(tuple(key), whose, written) for key, whose, written in connection.execute(query)}


def test_rows_that_no_event_accounts_for_go_with_their_subscription(history: Office) -> None:
    history.drain(history.projections())
    right = content(history)
    history.tell("INSERT INTO read_model.users_1 VALUES (%s, 'nobody', '{}', now(), 1)", SUB)
    assert rebuild_only(history.log, VIEWS["users"], SUB) == (1, 0)
    assert content(history) == right


def test_what_the_mended_handler_still_cannot_take_stays_parked(
    history: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_, last = places(history, VIEWS["seats"], SUB)
    monkeypatch.setitem(VIEWS, "seats", Planted(last))
    history.drain(history.projections())
    assert rebuild_only(history.log, Planted(first), SUB) == (1, 1)
    assert parked(history) == [("view:seats:1", SUB, first)]
    rebuilt = rebuild(history.log, Planted(last), silent)
    assert (rebuilt.parked, parked(history)[-1]) == (1, ("view:seats:2", SUB, last))


def leftovers(office: Office) -> list[str]:
    """Tables and positions of generations that no view shows, or keeps to go back to."""
    shown = {
        f"{name}_{generation}"
        for name, generation in office.ask(
            "SELECT name, unnest(array_remove(ARRAY[generation, previous_generation], NULL)) FROM seatline.views"
        )
    }
    tables = {name for (name,) in office.ask("SELECT tablename FROM pg_tables WHERE schemaname = 'read_model'")}
    positions = {reader.removeprefix("view:").replace(":", "_") for reader in readers(office)}
    return sorted((tables | positions) ^ shown)
