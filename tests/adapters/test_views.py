"""Views are filled in any portions, by anybody: the rows are always the same, and a fault stops as little as it can."""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from adapters.postgres.database import DatabaseAway
from adapters.postgres.rebuild import rebuild_only
from adapters.postgres.views import MANY, ViewWorker, advance, live_tables, tell
from domain.kernel import Recorded
from projections.catalogue import VIEWS
from projections.seats import Seats, SeatsRow
from projections.services import Services
from projections.view import AnyView, Rows
from tests.office import SUB, Office
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


# In portions


@pytest.mark.slow
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


# What a handler can't take


class Planted(Seats):
    """Its handler has a fault, which strikes when half of the change is made."""

    def __init__(self, *strikes: int) -> None:
        self.strikes = strikes

    def apply(self, recorded: Recorded, rows: Rows[Any]) -> None:
        super().apply(recorded, rows)
        if recorded.position in self.strikes:
            row = rows.get(recorded.subject)
            assert row is not None
            row.seats_configured = 99
            raise ValueError("a fault that knows anna@example.com")


def parked(office: Office) -> list[tuple[Any, ...]]:
    return office.ask("SELECT reader, subject, position FROM seatline.parked ORDER BY position, reader")


def of(subject: str, found: Content, name: str) -> list[tuple[Any, ...]]:
    return [row for row in found[name] if row[0] == subject]


def places(office: Office, view: AnyView, subject: str) -> list[int]:
    """Where events stand that concern a view's rows of one customer."""
    found = office.ask(
        "SELECT notification_id FROM seatline.stored_events WHERE subject = %s AND topic = ANY(%s) ORDER BY 1",
        subject,
        list(view.topics),
    )
    return [position for (position,) in found]


def test_a_poison_event_parks_its_own_subscription_in_its_own_view_and_the_rest_goes_on(
    history: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.drain(history.projections())
    right = content(history)
    begin_anew(history)
    strike = places(history, VIEWS["seats"], SUB)[4]
    advance(history.log, live_tables, until=strike - 1)
    [before] = of(SUB, content(history), "seats")
    with monkeypatch.context() as patch:
        patch.setitem(VIEWS, "seats", Planted(strike))
        history.drain(history.projections())
    assert parked(history) == [("view:seats:1", SUB, strike)]
    assert set(readers(history).values()) == {history.log.head()}
    now = content(history)
    assert of(SUB, now, "seats") == [before]
    assert of("SUB-2", now, "seats") == of("SUB-2", right, "seats")
    assert now | {"seats": []} == right | {"seats": []}


def test_a_parked_subscription_is_told_without_what_belongs_to_the_customer(
    history: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    strike = places(history, VIEWS["seats"], SUB)[4]
    monkeypatch.setitem(VIEWS, "seats", Planted(strike))
    worker = ViewWorker(history.log)
    history.drain(worker)
    [(stream, version)] = history.ask(
        "SELECT originator_id, originator_version FROM seatline.stored_events WHERE notification_id = %s", strike
    )
    [(event, error)] = history.ask("SELECT event_id, error FROM seatline.parked")
    assert event == f"{stream}@{version}"
    assert error.startswith("ValueError in apply, adapters/test_views.py:")
    assert "anna" not in error
    [metric] = worker.figures()
    assert [(sample.labels, sample.value) for sample in metric.samples] == [({"reader": "view:seats:1"}, 1)]


def test_a_parked_subscription_stays_as_it_was_until_its_rows_are_made_anew(
    history: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.drain(history.projections())
    right = content(history)
    begin_anew(history)
    strike = places(history, VIEWS["seats"], SUB)[4]
    with monkeypatch.context() as patch:
        patch.setitem(VIEWS, "seats", Planted(strike))
        while advance(history.log, live_tables, limit=7):
            pass
    assert content(history) != right
    assert rebuild_only(history.log, VIEWS["seats"], SUB) == (1, 0)
    assert parked(history) == []
    assert content(history) == right


def test_bytes_that_cannot_be_read_park_every_view_that_wants_them_and_no_other(history: Office) -> None:
    where = places(history, VIEWS["services"], SUB)[1]
    history.tell("UPDATE seatline.stored_events SET state = 'rubbish' WHERE notification_id = %s", where)
    history.drain(history.projections())
    assert parked(history) == [("view:seats:1", SUB, where), ("view:services:1", SUB, where)]
    assert set(readers(history).values()) == {history.log.head()}


class Miscounting(Seats):
    """It can't add up what one customer has."""

    def settle(self, row: SeatsRow) -> None:
        super().settle(row)
        if row.subscription_id == SUB and row.seats_configured > 1:
            raise ZeroDivisionError


def test_a_sum_that_fails_parks_its_own_subscription_before_the_event_that_it_failed_at(
    history: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(VIEWS, "seats", Miscounting())
    while advance(history.log, live_tables, limit=1):
        pass
    [(_, subject, position)] = parked(history)
    assert (subject, history.row("seats", subscription_id=SUB)["seats_configured"]) == (SUB, 1)
    assert history.log.page(position - 1, 1)[0].event.topic == "subscription.user-configured.v1"
    assert set(readers(history).values()) == {history.log.head()}


class Boundless(Services):
    """Says more than its table can hold, of one customer."""

    def apply(self, recorded: Recorded, rows: Rows[Any]) -> None:
        super().apply(recorded, rows)
        for row in rows.kept():
            if row.subscription_id == SUB:
                row.quantity = 10**30


def test_rows_that_the_table_does_not_take_park_their_subscription_and_no_other(
    history: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(VIEWS, "services", Boundless())
    history.drain(history.projections())
    assert {(reader, subject) for reader, subject, _ in parked(history)} == {("view:services:1", SUB)}
    assert {row["subscription_id"] for row in history.view("services")} == {"SUB-2"}
    assert set(readers(history).values()) == {history.log.head()}


def test_a_fault_that_is_of_no_event_stops_its_own_view_loudly_and_no_other(history: Office) -> None:
    history.tell("DROP TABLE read_model.seats_1 CASCADE")
    with pytest.raises(psycopg.errors.UndefinedTable):
        history.drain(history.projections())
    positions = readers(history)
    assert positions.pop("view:seats:1") == 0
    assert set(positions.values()) == {history.log.head()}


# Being told


def test_listeners_are_told_which_rows_changed(history: Office) -> None:
    with psycopg.connect(history.url, autocommit=True) as listener:
        listener.execute("LISTEN panel_changed")
        history.drain(history.projections())
        told = [json.loads(notice.payload) for notice in listener.notifies(timeout=0.5)]
    for name, view in VIEWS.items():
        keys = {tuple(key) for notice in told if notice["view"] == name for key in notice["keys"]}
        told_of = ("subscription_id",) if name == "users" else view.key
        assert keys >= {tuple(row[part] for part in told_of) for row in history.view(name)}
    assert {notice["position"] for notice in told} == {history.log.head()}


def test_listeners_are_told_of_many_rows_in_portions_and_of_very_many_at_once(
    history: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [("SUB-" + "x" * 60, str(number)) for number in range(MANY)]
    with psycopg.connect(history.url, autocommit=True) as listener:
        listener.execute("LISTEN panel_changed")
        with psycopg.connect(history.url) as connection:
            tell(connection, VIEWS["services"], 7, many)
            tell(connection, VIEWS["services"], 8, [*many, ("one", "more")])
        *portions, all_ = [json.loads(notice.payload) for notice in listener.notifies(timeout=0.5)]
    assert len(portions) > 5
    assert [tuple(key) for portion in portions for key in portion["keys"]] == many
    assert all_ == {"view": "services", "position": 8, "keys": None}


def test_listeners_are_told_whose_users_changed_and_nobody_s_name(history: Office) -> None:
    with psycopg.connect(history.url, autocommit=True) as listener:
        listener.execute("LISTEN panel_changed")
        with psycopg.connect(history.url) as connection:
            tell(connection, VIEWS["users"], 7, [("SUB-1", "annabianchi"), ("SUB-1", "brunoneri"), ("SUB-2", "carla")])
        [notice] = listener.notifies(timeout=0.5)
    assert json.loads(notice.payload)["keys"] == [["SUB-1"], ["SUB-2"]]
