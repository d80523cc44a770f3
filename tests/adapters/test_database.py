"""Any URL and any server settings will do, and an outage is told in one line."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from adapters.postgres.database import DatabaseAway, connected
from scripts.torments.wire import Wire
from tests.office import Office, Reply, an_office, until

DEFAULTS = [
    ("default_transaction_isolation", "serializable"),
    ("default_transaction_isolation", "repeatable read"),
    ("datestyle", "German, DMY"),
    ("datestyle", "SQL, MDY"),
    ("timezone", "America/New_York"),
    ("search_path", "nowhere"),
    ("bytea_output", "escape"),
    ("standard_conforming_strings", "off"),
]


@pytest.mark.parametrize(("name", "value"), DEFAULTS)
def test_a_database_may_have_any_defaults(migrated_url: str, name: str, value: str) -> None:
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        statement = sql.SQL("ALTER DATABASE {} SET {} FROM CURRENT")
        connection.execute(statement.format(sql.Identifier(urlsplit(migrated_url).path[1:]), sql.Identifier(name)))
    with an_office(migrated_url) as office:
        office.start()
        first, second = office.race(configuring(office, "annaverdi"), configuring(office, "brunoneri"))
        assert isinstance(first, dict)
        assert isinstance(second, dict)
        assert (first["outcome"], second["code"]) == ("accepted", "no_free_seat")
        office.pay(office.order_seats(3))
        with ThreadPoolExecutor(4) as threads:
            workers = (office.activation(), office.activation(), office.projections(), office.projections())
            list(threads.map(office.drain, workers))
        office.drain()
        assert office.row("orders")["status"] == "fulfilled"
        assert str(office.row("services", service_id="S2")["expires_on"]) == "2027-03-02"
        assert len(office.mail) == 2
        office.check_log()


def configuring(office: Office, username: str) -> Callable[[], Reply]:
    clerk = office.another_clerk()
    return lambda: office.send("configure-user", username=username, clerk=clerk)


def test_the_whole_url_counts(migrated_url: str) -> None:
    """The library alone would pass on host, port, user, password and database, and drop the rest (TLS, for one)."""
    with an_office(f"{migrated_url}&application_name=till-7") as office, office.log.connection() as connection:
        assert connection.info.get_parameters()["application_name"] == "till-7"
        assert connection.info.get_parameters()["keepalives_idle"] == "5"


def test_an_outage_is_told_in_one_line_by_every_way_of_reading(office: Office, wire: Wire) -> None:
    office.start()
    with an_office(wire.url) as remote:
        for read in (
            lambda: remote.books.subscription("SUB-1"),
            lambda: remote.log.page(0, 10),
            lambda: remote.log.of_subject("SUB-1"),
            lambda: remote.log.head(),
            lambda: remote.handle(remote.line("open-cart")),
            lambda: remote.projections().step(),
            lambda: remote.email().step(),
            lambda: remote.activation().step(),
        ):
            read()
            until(lambda: at_rest(remote))
            wire.lose_question(with_=b"")
            with pytest.raises(DatabaseAway) as away:
                read()
            assert "\n" not in str(away.value)
            assert len(str(away.value)) <= 300
            read()


def at_rest(office: Office) -> bool:
    """Whether no connection is in use or being made, whose packet would be lost instead of the reader's."""
    pool = office.log.datastore.pool.get_stats()
    return pool.get("pool_size", 0) == pool.get("pool_available", 0)


def test_a_connection_of_ones_own_is_told_of_an_outage_too(wire: Wire) -> None:
    wire.cut()
    with pytest.raises(DatabaseAway), connected(wire.url):
        pass
