"""The connection to PostgreSQL: the whole libpq URL, short time-outs, and words for what can go wrong."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from eventsourcing import persistence
from eventsourcing.postgres import ConnectionPool, PostgresDatastore
from psycopg import Connection
from psycopg.rows import DictRow, dict_row

from adapters.postgres.schema import SchemaError, migrate

OLDEST_SERVER = 150000
PATIENCE = 5.0
"""Seconds to wait for a connection before saying that the database is away."""
KEEPALIVE: dict[str, Any] = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
RELIED_ON: LiteralString = (
    "SET default_transaction_isolation TO 'read committed'; SET datestyle TO 'ISO';"
    " SET idle_in_transaction_session_timeout TO '20s'"
)
"""What our statements rely on, whatever an operator has made the default of a database or a role.

A process that stands still in the middle of a transaction would keep all others from writing.
"""
AWAY = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.IdleInTransactionSessionTimeout,
    persistence.OperationalError,
    persistence.InterfaceError,
)


class DatabaseAway(Exception):
    """The database can't be reached, or has gone; nothing is lost, and the same work can be done again."""


class Datastore(PostgresDatastore):
    """The library's datastore over a whole URL: its own passes on five parts of it and drops the rest, TLS included."""

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        super().__init__(
            "", "", "", "", "", originator_id_type="text", schema="seatline", lock_timeout=30, enable_db_functions=False
        )
        self.url = url
        self.pool = ConnectionPool(
            url,
            connection_class=Connection[DictRow],
            kwargs={"row_factory": dict_row, "connect_timeout": int(PATIENCE), **KEEPALIVE},
            min_size=0,
            max_size=pool_size,
            open=False,
            configure=self.after_connect_func(),
            timeout=PATIENCE,
            # Tries beyond that have ever longer pauses, and while one is under way no other begins.
            reconnect_timeout=PATIENCE,
        )

    def after_connect_func(self) -> Callable[[Connection[Any]], None]:
        prepare_for_library = super().after_connect_func()

        def after_connect(connection: Connection[Any]) -> None:
            prepare_for_library(connection)
            connection.execute(RELIED_ON)

        return after_connect

    @contextmanager
    def get_connection(self) -> Iterator[Connection[DictRow]]:
        # The library's own methods would try ten times, up to five seconds each, before they said so.
        with naming_outages(), super().get_connection() as connection:
            yield connection

    def close(self) -> None:
        # Whoever asked us to end waits ten seconds in all, and a connection that hangs may be left behind.
        self.pool.close(timeout=1)


def prepare(url: str) -> None:
    """Check that the URL leads to a database that can be written, and bring its schema up to date."""
    with connected(url) as connection:
        if connection.info.server_version < OLDEST_SERVER:
            raise SchemaError(f"PostgreSQL 15 or newer is needed, this is {connection.info.server_version // 10000}")
        standby = connection.execute("SELECT pg_is_in_recovery()").fetchone()
        if standby and standby[0]:
            raise SchemaError("SEATLINE_DATABASE_URL leads to a standby: add target_session_attrs=read-write")
        try:
            migrate(connection)
        except psycopg.errors.InsufficientPrivilege as error:
            raise SchemaError(
                f"the database's user may not set up the schema ({error.diag.message_primary}):"
                " let it own the database, and have CREATEROLE, or create the role panel_reader for it"
            ) from None
        ahead = connection.execute(
            "SELECT reader, position FROM seatline.positions"
            " WHERE position > (SELECT coalesce(max(notification_id), 0) FROM seatline.stored_events) LIMIT 1"
        ).fetchone()
        if ahead:
            raise SchemaError(
                f"reader {ahead[0]} has read up to {ahead[1]}, but the log is shorter: was an older backup restored?"
                " See “A restored backup” in docs/operators.md"
            )


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """A connection of its own, in autocommit, that ends with the context."""
    with naming_outages():
        connection = psycopg.connect(url, autocommit=True, connect_timeout=int(PATIENCE), **KEEPALIVE)
        connection.execute(RELIED_ON)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def naming_outages() -> Iterator[None]:
    """Turns what psycopg or the library says when the server is away into DatabaseAway, in one line."""
    try:
        yield
    except AWAY as error:
        if isinstance(error, psycopg.errors.SerializationFailure | psycopg.errors.DeadlockDetected):
            raise
        line = " ".join(str(error).split()) or type(error).__name__
        raise DatabaseAway(line[:300]) from error
