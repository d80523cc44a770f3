"""Views are filled in any portions, by anybody, and rebuilt beside the live ones: the rows are always the same."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from adapters.postgres.database import DatabaseAway
from adapters.postgres.views import ViewWorker, advance, live_tables, rebuild
from domain.kernel import Recorded
from projections.catalogue import VIEWS
from projections.seats import Seats
from projections.users import UserRow, Users
from projections.view import Rows
from tests.office import Office
from tests.story import told

Content = dict[str, list[tuple[Any, ...]]]


@pytest.fixture
def history(office: Office) -> Office:
    """An office in which much has happened and nothing is projected yet."""
    for _ in told(office):
        pass
    assert office.log.head() > 80
    return office


def content(office: Office, *names: str) -> Content:
    """All rows as they are stored, what only the handlers need included."""
    found: Content = {}
    with psycopg.connect(office.url) as connection:
        generations = connection.execute("SELECT name, generation FROM seatline.views").fetchall()
        for name, generation in generations:
            if not names or name in names:
                table = sql.Identifier("read_model", f"{name}_{generation}")
                found[name] = connection.execute(sql.SQL("SELECT * FROM {} ORDER BY 1, 2").format(table)).fetchall()
    return found


def begin_anew(office: Office) -> None:
    for name in VIEWS:
        with psycopg.connect(office.url) as connection:
            connection.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier("read_model", f"{name}_1")))
    office.tell("UPDATE seatline.positions SET position = 0")


def readers(office: Office) -> dict[str, int]:
    return dict(office.ask("SELECT reader, position FROM seatline.positions WHERE reader LIKE 'view:%%' ORDER BY 1"))


def silent(done: int, goal: int) -> None:
    """Progress that nobody looks at."""


# In portions


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_portions_in_any_repetition_give_the_same_rows(history: Office, data: st.DataObject) -> None:
    begin_anew(history)
    history.drain(history.projections())
    at_once = content(history)
    begin_anew(history)
    head = history.log.head()
    stops = data.draw(st.lists(st.integers(1, head), max_size=25))
    sizes = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=5))
    for turn, stop in enumerate([*sorted(stops), head]):
        while advance(history.log, live_tables, limit=sizes[turn % len(sizes)], until=stop):
            pass
        assert set(readers(history).values()) == {stop}
        advance(history.log, live_tables, until=stop)
    assert content(history) == at_once


def test_an_event_at_a_time_gives_the_same_rows(history: Office) -> None:
    history.drain(history.projections())
    at_once = content(history)
    begin_anew(history)
    while advance(history.log, live_tables, limit=1):
        pass
    assert content(history) == at_once


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_that_is_ahead_of_the_others_applies_nothing_twice(history: Office, name: str) -> None:
    while advance(history.log, partial(live_tables, names=[name]), until=60):
        pass
    history.drain(history.projections())
    together = content(history)
    begin_anew(history)
    history.drain(history.projections())
    assert together == content(history)


def test_several_runners_at_once_apply_each_event_once(history: Office) -> None:
    def run(_: int) -> None:
        while advance(history.log, live_tables, limit=3):
            pass

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(run, range(3)))
    together = content(history)
    begin_anew(history)
    history.drain(history.projections())
    assert together == content(history)


def test_rows_and_position_are_stored_together_or_not_at_all(history: Office) -> None:
    """The backend ends when the rows are written and the position is about to be."""
    advance(history.log, live_tables, until=20)
    before, where = content(history), readers(history)
    history.tell(
        "CREATE FUNCTION seatline.die() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END'"
    )
    history.tell(
        "CREATE TRIGGER die BEFORE UPDATE ON seatline.positions"
        " FOR EACH ROW WHEN (NEW.reader = 'view:users:1') EXECUTE FUNCTION seatline.die()"
    )
    with pytest.raises(DatabaseAway):
        advance(history.log, live_tables)
    assert (content(history), readers(history)) == (before, where)
    history.tell("DROP TRIGGER die ON seatline.positions")
    history.drain(history.projections())
    projected = content(history)
    begin_anew(history)
    history.drain(history.projections())
    assert projected == content(history)


def test_a_handler_that_fails_stops_its_own_view_loudly_and_no_other(
    history: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def apply(recorded: Recorded, rows: Rows[Any]) -> None:
        if recorded.position == 40:
            raise ValueError("a fault in the handler")
        Seats.apply(Seats(), recorded, rows)

    with monkeypatch.context() as patch:
        patch.setattr(VIEWS["seats"], "apply", apply, raising=False)
        with pytest.raises(ValueError, match="a fault in the handler"):
            history.drain(history.projections())
        positions = readers(history)
        assert positions.pop("view:seats:1") < 40
        assert set(positions.values()) == {history.log.head()}
    history.drain(history.projections())
    assert set(readers(history).values()) == {history.log.head()}


# Rebuilding


@pytest.mark.parametrize("name", VIEWS)
def test_a_rebuild_gives_the_rows_of_the_live_view(history: Office, name: str) -> None:
    history.drain(history.projections())
    live, shown = content(history, name), history.view(name)
    told: list[tuple[int, int]] = []

    assert rebuild(history.log, VIEWS[name], lambda done, goal: told.append((done, goal))) == 0

    assert content(history, name) == live
    assert history.view(name) == shown
    assert told[-1] == (history.log.head(), history.log.head())
    assert f"view:{name}:1" not in readers(history)
    assert readers(history)[f"view:{name}:2"] == history.log.head()
    assert leftovers(history) == []


def test_a_rebuild_before_anything_happened_changes_nothing(office: Office) -> None:
    assert rebuild(office.log, VIEWS["seats"], silent) == 0
    assert content(office, "seats") == {"seats": []}


def test_a_rebuild_of_a_view_that_lags_differs_in_nothing(history: Office) -> None:
    advance(history.log, live_tables, until=20)
    assert rebuild(history.log, VIEWS["orders"], silent) == 0
    history.drain(history.projections())
    assert rebuild(history.log, VIEWS["orders"], silent) == 0


def test_a_rebuild_mends_what_was_changed_by_hand_and_counts_it(history: Office) -> None:
    history.drain(history.projections())
    right = content(history)
    history.tell("UPDATE read_model.services_1 SET quantity = quantity + 1 WHERE service_id = 'S2'")
    history.tell("DELETE FROM read_model.users_1 WHERE username = 'annaverdi'")
    history.tell("INSERT INTO read_model.users_1 VALUES ('SUB-9', 'nobody', '{}', now(), 1)")
    assert rebuild(history.log, VIEWS["services"], silent) == 2
    assert rebuild(history.log, VIEWS["users"], silent) == 2
    assert rebuild(history.log, VIEWS["orders"], silent) == 0
    assert content(history) == right


class Generous(Seats):
    """A handler with a planted fault: it gives the second customer a seat too many."""

    def apply(self, recorded: Recorded, rows: Rows[Any]) -> None:
        super().apply(recorded, rows)
        if recorded.subject == "SUB-2" and (row := rows.get("SUB-2")):
            row.seats_available += 1


def test_a_rebuild_by_changed_handlers_tells_how_many_rows_differ(history: Office) -> None:
    history.drain(history.projections())
    assert rebuild(history.log, Generous(), silent) == 1
    assert rebuild(history.log, Generous(), silent) == 0
    assert rebuild(history.log, VIEWS["seats"], silent) == 1


@dataclass(slots=True)
class NicknamedRow(UserRow):
    nickname: str = "?"


class Nicknamed(Users):
    """The next version of a view, with one more column."""

    version: ClassVar[int] = 2
    row = NicknamedRow

    def apply(self, recorded: Recorded, rows: Rows[Any]) -> None:
        super().apply(recorded, rows)
        for row in rows.all():
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
    assert rebuild(history.log, Nicknamed(), silent) == 2
    with monkeypatch.context() as patch:
        patch.setitem(VIEWS, "users", Nicknamed())
        assert {row["nickname"] for row in history.view("users")} == {"anna", "carl"}
        assert history.ask("SELECT has_table_privilege('panel_reader', 'panel.users', 'SELECT')") == [(True,)]
    assert rebuild(history.log, Users(), silent) == 2
    assert [row["username"] for row in history.view("users")] == ["annaverdi", "carlobianchi"]


def test_an_interrupted_rebuild_leaves_nothing_behind(history: Office) -> None:
    history.drain(history.projections())
    before = content(history), readers(history)

    def interrupted(done: int, goal: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(history.log, VIEWS["seats"], interrupted)

    assert (content(history), readers(history)) == before
    assert leftovers(history) == []
    assert rebuild(history.log, VIEWS["seats"], silent) == 0


def test_what_a_killed_rebuild_left_behind_goes_with_the_next(history: Office) -> None:
    history.drain(history.projections())
    history.tell("CREATE TABLE read_model.seats_2 (rubbish text)")
    history.tell("INSERT INTO seatline.positions VALUES ('view:seats:2', 7)")
    assert rebuild(history.log, VIEWS["seats"], silent) == 0
    assert leftovers(history) == []


def test_two_rebuilds_of_one_view_wait_for_each_other(history: Office) -> None:
    history.drain(history.projections())
    right = content(history)
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(lambda _: rebuild(history.log, VIEWS["seats"], silent), range(3))) == [0, 0, 0]
    assert content(history) == right
    assert leftovers(history) == []


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
        different = [rebuild(office.log, VIEWS[name], silent) for _ in range(3) for name in VIEWS]
        stop.set()
        assert [future.exception() for future in work] == [None, None, None]
    assert different == [0] * len(different)
    office.drain(office.projections())
    assert [rebuild(office.log, VIEWS[name], silent) for name in VIEWS] == [0] * len(VIEWS)
    assert leftovers(office) == []


def test_a_rebuild_asks_for_nothing_outside(history: Office) -> None:
    history.drain()
    letters, effects = len(history.mail), history.ask("SELECT * FROM seatline.effects ORDER BY id")
    head = history.log.head()
    for view in VIEWS.values():
        rebuild(history.log, view, silent)
    history.drain()
    assert len(history.mail) == letters > 0
    assert history.ask("SELECT * FROM seatline.effects ORDER BY id") == effects
    assert history.log.head() == head


def leftovers(office: Office) -> list[str]:
    """Tables and positions of generations that no view shows."""
    shown = {f"{name}_{generation}" for name, generation in office.ask("SELECT name, generation FROM seatline.views")}
    tables = {name for (name,) in office.ask("SELECT tablename FROM pg_tables WHERE schemaname = 'read_model'")}
    positions = {reader.removeprefix("view:").replace(":", "_") for reader in readers(office)}
    return sorted((tables | positions) ^ shown)
