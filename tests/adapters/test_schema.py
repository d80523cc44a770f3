"""The schema is brought up to date once, however many start together; what this version can't work on is refused."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import LiteralString
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from adapters.postgres.database import DatabaseAway, connected, prepare
from adapters.postgres.schema import SchemaError, migrate
from adapters.postgres.views import create_views, live_tables
from projections.catalogue import VIEWS
from tests.office import Office

START = """
import sys
from adapters.postgres.database import connected, prepare
from adapters.postgres.views import create_views

prepare(sys.argv[1])
with connected(sys.argv[1]) as connection:
    create_views(connection)
"""


def start(url: str) -> None:
    """What every process does first."""
    prepare(url)
    with connected(url) as connection:
        create_views(connection)


def refusal(url: str) -> str:
    with pytest.raises(SchemaError) as refused:
        start(url)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def tell(url: str, statement: LiteralString) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def rows(url: str, query: LiteralString) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


# Bringing it up to date


def test_several_processes_that_find_an_empty_database_migrate_it_once(database_url: str) -> None:
    command = [sys.executable, "-c", START, database_url]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [(process.communicate()[1], process.returncode) for process in processes] == [("", 0)] * 4
    assert rows(database_url, "SELECT name, generation FROM seatline.views ORDER BY name") == [
        (name, 1) for name in sorted(VIEWS)
    ]


def test_several_threads_that_find_an_empty_database_migrate_it_once(database_url: str) -> None:
    def migrated(_: int) -> list[str]:
        with connected(database_url) as connection:
            return migrate(connection)

    with ThreadPoolExecutor(6) as threads:
        applied = list(threads.map(migrated, range(6)))
    assert sorted(map(len, applied))[:-1] == [0] * 5
    assert max(applied) == [name for (name,) in rows(database_url, "SELECT name FROM seatline.migrations ORDER BY 1")]


def test_starting_again_changes_nothing(migrated_url: str) -> None:
    before = rows(migrated_url, "SELECT * FROM seatline.migrations ORDER BY name")
    start(migrated_url)
    assert rows(migrated_url, "SELECT * FROM seatline.migrations ORDER BY name") == before


def test_a_migration_that_fails_leaves_nothing_behind(database_url: str) -> None:
    tell(database_url, "CREATE SCHEMA panel")  # in the way of the second migration
    with pytest.raises(psycopg.errors.DuplicateSchema):
        start(database_url)
    assert rows(database_url, "SELECT nspname FROM pg_namespace WHERE nspname = 'seatline'") == []
    tell(database_url, "DROP SCHEMA panel")
    start(database_url)


# What is refused


def test_an_edited_migration_is_refused_by_name(migrated_url: str) -> None:
    tell(migrated_url, "UPDATE seatline.migrations SET checksum = 'other' WHERE name = '0002_read_models.sql'")
    assert refusal(migrated_url).startswith("migration 0002_read_models.sql was applied with another text")


def test_a_newer_database_is_refused_and_left_alone(migrated_url: str) -> None:
    tell(migrated_url, "INSERT INTO seatline.migrations (name, checksum) VALUES ('9999_future.sql', 'x')")
    assert "newer than this program (it has 9999_future.sql)" in refusal(migrated_url)


@pytest.mark.parametrize("reader", ["email", "view:seats:1"])
def test_a_restored_older_backup_is_refused(office: Office, reader: str) -> None:
    """The log is shorter than what a reader has already seen: part of history is missing (promise 2)."""
    office.start()
    office.drain()
    start(office.url)
    office.tell("UPDATE seatline.positions SET position = position + 1 WHERE reader = %s", reader)
    assert refusal(office.url).startswith(f"reader {reader} has read up to 2, but the log is shorter")


def test_an_empty_log_with_readers_is_no_restored_backup(migrated_url: str) -> None:
    start(migrated_url)


def test_a_view_that_other_handlers_made_is_refused_until_it_is_rebuilt(migrated_url: str) -> None:
    tell(migrated_url, "UPDATE seatline.views SET version = 0 WHERE name = 'orders'")
    with connected(migrated_url) as connection, pytest.raises(SchemaError, match="run `seatline rebuild orders`"):
        live_tables(connection)


def test_a_database_that_is_not_there_is_away(server: str) -> None:
    with pytest.raises(DatabaseAway, match='database "nowhere" does not exist'):
        start(urlsplit(server)._replace(path="/nowhere").geturl())


def test_a_role_that_may_not_make_roles_is_told_what_is_missing(database_url: str) -> None:
    with a_role(database_url, "LOGIN") as (name, url):
        with psycopg.connect(database_url, autocommit=True) as connection:
            query = sql.SQL("GRANT CREATE ON DATABASE {} TO {}")
            connection.execute(query.format(sql.Identifier(urlsplit(url).path[1:]), sql.Identifier(name)))
            exists = connection.execute("SELECT FROM pg_roles WHERE rolname = 'panel_reader'").rowcount
        if not exists:
            assert "permission denied to create role" in refusal(url)


# Who may read what


def test_panel_reader_reads_the_six_views_and_nothing_else(office: Office) -> None:
    office.start()
    office.drain()
    with psycopg.connect(office.url, autocommit=True) as connection:
        relations = connection.execute(
            "SELECT nspname, relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
            " WHERE nspname IN ('seatline', 'read_model', 'panel') AND relkind IN ('r', 'v', 'm', 'S', 'p', 'f')"
        ).fetchall()
        connection.execute("SET ROLE panel_reader")
        readable = {f"{schema}.{name}" for schema, name in relations if _reads(connection, schema, name)}
    assert readable == {f"panel.{name}" for name in ("seats", "services", "users", "orders", "carts", "payments")}
    assert len(relations) > 15


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE panel.seats SET seats_purchased = 100",
        "DELETE FROM panel.orders",
        "INSERT INTO panel.users SELECT * FROM panel.users",
        "CREATE TABLE panel.mine (x int)",
        "SELECT seatline.append('{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}')",
        "SELECT nextval('seatline.order_number_blocks')",
    ],
)
def test_panel_reader_changes_nothing(office: Office, statement: LiteralString) -> None:
    with psycopg.connect(office.url, autocommit=True) as connection:
        connection.execute("SET ROLE panel_reader")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)


COLUMNS = {
    "seats": "subscription_id seats_purchased seats_active seats_configured seats_available seats_pending next_expiry"
    " aligned position",
    "services": "subscription_id service_id sku quantity active_from expires_on status order_number position",
    "users": "subscription_id username permissions configured_at position",
    "orders": "order_number subscription_id status placed_at payment_method net vat total paid lapses_on position",
    "carts": "subscription_id entry_point quantity extend quote status position",
    "payments": "reference order_number amount currency allocated refundable unallocated refunded state value_date"
    " position",
}


@pytest.mark.parametrize("view", COLUMNS)
def test_a_view_has_the_columns_that_others_rely_on(migrated_url: str, view: str) -> None:
    with psycopg.connect(migrated_url) as connection:
        cursor = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier("panel", view)))
        assert cursor.description is not None
        assert [column.name for column in cursor.description] == COLUMNS[view].split()


def _reads(connection: psycopg.Connection, schema: str, name: str) -> bool:
    try:
        connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(schema, name)))
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


@contextmanager
def a_role(url: str, options: LiteralString) -> Iterator[tuple[str, str]]:
    """A role without privileges, and the URL with which it connects."""
    name = f"role_of_{urlsplit(url).path[1:]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} " + options).format(sql.Identifier(name)))
    try:
        yield name, url.replace("://seatline@", f"://{name}@", 1)
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_columns_of_a_batch_that_are_not_equally_long_store_nothing(office: Office) -> None:
    """As they would be if a separator had got into a value."""
    separated = "order/1\x1forder/2"

    with pytest.raises(psycopg.errors.DataException, match="not equally long"):
        office.tell(
            "SELECT seatline.append('', '{}', '', '{}', '', '', '{}', %s, '{1}', 't', '{}', 's', '', '{}')", separated
        )

    assert office.log.head() == 0
