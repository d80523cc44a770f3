"""Copied customers are like those that were decided: what is stored of them is what the engine would store."""

from datetime import date
from typing import Any

from adapters.cloudevents import parse
from domain.desk import replay
from domain.order_number import BLOCK
from projections.catalogue import VIEWS
from scripts.workload.copies import FIRST_ORDER, SEED, multiply, name_in
from scripts.workload.market import Market
from tests.office import Office

COPIES = 3


def copied(office: Office) -> None:
    office.on("2026-11-02")
    office.tell(f"ALTER SEQUENCE seatline.order_number_blocks RESTART WITH {FIRST_ORDER // BLOCK}")
    lines = [
        line for line in Market(400, seed=SEED, bad=0, first_order=FIRST_ORDER).lines() if b"close-day" not in line
    ]
    office.clerk.handle([parse(line) for line in lines])
    office.drain(office.projections())
    multiply(office.url, COPIES)


def views(office: Office) -> dict[str, list[tuple[Any, ...]]]:
    return {name: office.ask(f"TABLE panel.{name} ORDER BY 1, 2") for name in VIEWS}


def test_positions_and_versions_have_no_gaps_and_each_answer_has_a_command_of_its_own(office: Office) -> None:
    copied(office)
    office.check_log()
    [(answers, events)] = office.ask(
        "SELECT (SELECT count(*) FROM seatline.answers), max(notification_id) FROM seatline.stored_events"
    )
    assert answers > 300 * COPIES
    assert office.log.head() == events
    events_of = office.log.page(0, events)
    assert {recorded.envelope.command_id for recorded in events_of} <= {
        id_ for (id_,) in office.ask("SELECT command_id FROM seatline.answers")
    }


def test_the_views_are_what_a_reader_of_the_copied_log_makes(office: Office) -> None:
    copied(office)
    before = views(office)
    assert all(len(rows) >= COPIES for rows in before.values())
    tables = ", ".join(
        table
        for (table,) in office.ask("SELECT 'read_model.' || tablename FROM pg_tables WHERE schemaname = 'read_model'")
    )
    office.tell(f"TRUNCATE {tables}")
    office.tell("UPDATE seatline.positions SET position = 0 WHERE starts_with(reader, 'view:')")
    office.drain(office.projections())
    assert views(office) == before


def test_due_dates_are_those_of_the_copied_streams(office: Office) -> None:
    copied(office)
    streams = [stream for (stream,) in office.ask("SELECT DISTINCT originator_id FROM seatline.stored_events")]
    with office.log.session() as session:
        due = {stream: replay(stream, history).due() for stream, history in session.histories(streams).items()}
    indexed: dict[str, date] = dict(office.ask("SELECT stream, due_on FROM seatline.due"))
    assert indexed == {stream: on for stream, on in due.items() if on}


def test_commands_find_copied_customers_and_their_orders(office: Office) -> None:
    copied(office)
    orders = office.ask("SELECT order_number FROM panel.orders WHERE status = 'awaiting_payment'")
    assert len(orders) >= COPIES
    for (order,) in orders:
        assert office.send("cancel-order", order_number=order).get("code") in (None, "order_not_open")
    for copy in range(COPIES):
        assert office.do("open-cart", subscription_id=name_in(copy, f"SUB-{SEED}-1001"))
