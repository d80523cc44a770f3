"""The panel of one subscription: from the views as they are, or from the log as it was."""

import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any

from msgspec import Struct, to_builtins
from psycopg import Connection, sql
from psycopg.rows import dict_row

from adapters.postgres.database import connected, naming_outages
from adapters.postgres.freshness import Notice, is_shown, listen, notices, one_moment, wait_for
from adapters.postgres.log import EventLog
from adapters.postgres.tables import Table
from adapters.postgres.views import advance, live_tables
from domain.kernel import ROME, Recorded
from projections.catalogue import VIEWS
from projections.corrected import happened_by
from projections.folding import by_home, fold
from projections.view import AnyView

SHOWN = {
    "seats": "subscription_id",
    "services": "length(service_id), service_id",
    "users": 'username COLLATE "C"',
    "orders": "placed_at, order_number",
    "carts": "subscription_id",
}
"""The views that a panel shows, and in which order."""
LOOK = 3.0
"""Seconds after which whoever follows a panel looks by himself, because a notice may be lost."""


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
    return _shown(log, subscription)


def panel_after(log: EventLog, subscription: str, position: int, seconds: float) -> Panel | None:
    """The panel once somebody has brought the views to a position; raises NoSuchPosition, and NotShown in the end."""
    until = time.monotonic() + seconds
    while True:
        wait_for(log, list(SHOWN), position, max(0, until - time.monotonic()))
        with one_moment(log, list(SHOWN)) as connection:
            # Since we waited, a view may have gone back to the table that it showed before.
            if is_shown(connection, list(SHOWN), subscription, position):
                return _read(connection, subscription)


def panels_to_come(log: EventLog, subscription: str, shown: Panel) -> Generator[Panel, None, None]:
    """The panel again each time that it has changed, for ever."""
    with connected(log.datastore.url) as connection, naming_outages():
        listen(connection)
        told = True
        while True:
            panel = _shown(log, subscription) if told else panel_now(log, subscription)
            if panel and panel != shown:
                yield panel
                shown = panel
            told = any(_may_concern(notice, subscription) for notice in notices(connection, LOOK))


def _may_concern(notice: Notice | None, subscription: str) -> bool:
    if notice is None or notice.keys is None:
        return True
    if notice.view not in SHOWN:
        return False
    # Whose orders these are, only their rows can say.
    return VIEWS[notice.view].key[0] != "subscription_id" or any(key[0] == subscription for key in notice.keys)


def _shown(log: EventLog, subscription: str) -> Panel | None:
    with one_moment(log, list(SHOWN)) as connection:
        return _read(connection, subscription)


def _read(connection: Connection[Any], subscription: str) -> Panel | None:
    found = {}
    with connection.cursor(row_factory=dict_row) as cursor:
        for view, order in SHOWN.items():
            query = sql.SQL("SELECT * FROM {} WHERE subscription_id = %s ORDER BY {}")
            rows = cursor.execute(query.format(sql.Identifier("panel", view), sql.SQL(order)), (subscription,))
            found[view] = [_in_rome(row) for row in rows]
    return _panel(found)


def panel_then(log: EventLog, subscription: str, as_of: datetime | None, known_at: datetime | None) -> Panel | None:
    """The panel from what had happened by a business time and was known by a recorded one, by the same handlers."""
    events: Iterable[Recorded] = log.of_subject(subscription)
    if known_at is not None:
        # In the order in which they became known: writers' clocks differ, and nothing is known before its past.
        events = takewhile(lambda event: event.envelope.recorded_time <= known_at, events)
    if as_of is not None:
        events = happened_by(as_of, list(events))
    past = list(events)
    found = {view: _folded(VIEWS[view], past) for view in SHOWN}
    found["users"].sort(key=lambda user: str(user["username"]))
    found["orders"].sort(key=lambda order: (order["placed_at"], order["order_number"]))
    return _panel(found)


def _folded(view: AnyView, events: Iterable[Recorded]) -> list[dict[str, Any]]:
    homes = by_home(view, (event for event in events if event.event.topic in view.topics))
    changes = fold(view, homes, lambda _: {}).changes
    columns = [name for name in Table(view, 0).columns if name not in view.hidden]
    return [
        _in_rome({name: _as_read(getattr(row, name)) for name in columns})
        for rows in changes.values()
        for row in rows.kept()
    ]


def _as_read(value: Any) -> Any:
    """As it comes from the table: a quote's parts by their names."""
    return to_builtins(value) if isinstance(value, Struct) else value


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
        cart=found["carts"][0] if found["carts"] else None,
    )
