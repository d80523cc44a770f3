"""The panel of one subscription: from the views as they are, or from the log as it was."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from adapters.postgres.log import EventLog
from adapters.postgres.views import Table, advance, live_tables
from domain.kernel import ROME, Recorded
from projections.catalogue import VIEWS
from projections.view import AnyView, Rows

SHOWN = {
    "seats": "subscription_id",
    "services": "length(service_id), service_id",
    "users": 'username COLLATE "C"',
    "orders": "placed_at, order_number",
    "cart": "subscription_id",
}
"""What a panel shows, and in which order."""


@dataclass(frozen=True)
class Panel:
    """The rows of the views that concern one subscription."""

    seats: dict[str, Any]
    services: Sequence[dict[str, Any]]
    users: Sequence[dict[str, Any]]
    orders: Sequence[dict[str, Any]]
    cart: dict[str, Any] | None


def panel_now(log: EventLog, subscription: str) -> Panel | None:
    """The panel with everything that is stored by now; None if there is no such subscription."""
    while advance(log, live_tables):
        pass
    found = {}
    with log.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        for name, order in SHOWN.items():
            view = sql.Identifier("panel", "carts" if name == "cart" else name)
            query = sql.SQL("SELECT * FROM {} WHERE subscription_id = %s ORDER BY {}").format(view, sql.SQL(order))
            found[name] = [_in_rome(row) for row in cursor.execute(query, (subscription,))]
    return _panel(found)


def panel_then(log: EventLog, subscription: str, as_of: datetime | None, known_at: datetime | None) -> Panel | None:
    """The panel from what had happened by a business time and was known by a recorded one, by the same handlers."""
    events = [
        event
        for event in log.of_subject(subscription)
        if (as_of is None or event.envelope.business_time <= as_of)
        and (known_at is None or event.envelope.recorded_time <= known_at)
    ]
    found = {name: _folded(VIEWS["carts" if name == "cart" else name], events) for name in SHOWN}
    found["users"].sort(key=lambda user: str(user["username"]))
    found["orders"].sort(key=lambda order: (order["placed_at"], order["order_number"]))
    return _panel(found)


def _folded(view: AnyView, events: Iterable[Recorded]) -> list[dict[str, Any]]:
    rows: Rows[Any] = Rows()
    for event in events:
        view.apply(event, rows)
    columns = [name for name in Table(view, 0).columns if name not in view.hidden]
    return [_in_rome({name: getattr(row, name) for name in columns}) for row in rows.all()]


def _in_rome(row: dict[str, Any]) -> dict[str, Any]:
    """Times as Rome's clocks show them, whatever the session's time zone."""
    return {name: value.astimezone(ROME) if isinstance(value, datetime) else value for name, value in row.items()}


def _panel(found: dict[str, list[dict[str, Any]]]) -> Panel | None:
    if not found["seats"]:
        return None
    return Panel(
        seats=found["seats"][0],
        services=found["services"],
        users=found["users"],
        orders=found["orders"],
        cart=found["cart"][0] if found["cart"] else None,
    )
