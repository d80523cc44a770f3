"""The peer's view: users and services of each subscription, by the library's runner, one transaction an event."""

from typing import Any
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.persistence import JSONTranscoder, Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection
from psycopg.sql import SQL

from scripts.benches.plain.shop import DateAsISO, PlainShop

UPSERT = SQL("""
    INSERT INTO seats AS was VALUES (%s, %s, %s) ON CONFLICT (subscription_id)
    DO UPDATE SET services = was.services + excluded.services, users = was.users + excluded.users
""")


class PlainLog(Application[UUID]):
    """What the shop has written, for a process that only reads it."""

    name = PlainShop.__name__

    def register_transcodings(self, transcoder: JSONTranscoder) -> None:
        super().register_transcodings(transcoder)
        transcoder.register(DateAsISO())


class SeatsView(PostgresTrackingRecorder):
    def __init__(self, datastore: PostgresDatastore, **kwargs: Any) -> None:
        super().__init__(datastore, **kwargs)
        self.sql_create_statements.append(
            SQL("CREATE TABLE IF NOT EXISTS seats (subscription_id uuid PRIMARY KEY, services int, users int)").format()
        )

    def add(self, subscription: UUID, services: int, users: int, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            cursor.execute(UPSERT, (subscription, services, users))
            self._insert_tracking(cursor, tracking)


class SeatsProjection(Projection[SeatsView]):
    name = "seats"

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        # The library makes the classes at run time.
        match type(domain_event).__qualname__:
            case "Subscription.Started":
                self.view.add(domain_event.originator_id, len(domain_event.services), 0, tracking)
            case "Subscription.UserConfigured":
                self.view.add(domain_event.originator_id, 0, 1, tracking)
            case "Subscription.UserDeleted":
                self.view.add(domain_event.originator_id, 0, -1, tracking)
            case _:
                self.view.insert_tracking(tracking)
