"""Whole processes that read events from the log or from Kafka: killed or asked to end, whatever is gone."""

import signal

import pytest

from adapters.kafka.cluster import Cluster
from adapters.settings import Settings
from scripts.torments.postoffice import KEEP_WAITING, PostOffice
from scripts.torments.wire import Wire
from tests.broker import a_cluster
from tests.office import Office, until
from tests.upstream import running

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ORDERS = 6


def bought(office: Office) -> None:
    for number in range(ORDERS):
        office.start(subscription_id=f"SUB-{number}")
        office.pay(office.order_seats(3, subscription_id=f"SUB-{number}"))


def done(office: Office) -> int:
    [[effects]] = office.ask("SELECT count(*) FROM seatline.effects WHERE state = 'done'")
    return int(effects)


@pytest.mark.parametrize("source", ["log", "kafka"])
def test_workers_that_are_killed_fulfil_every_order_once_and_send_every_letter(
    office: Office, broker: str, kafka_prefix: str, post_office: PostOffice, source: str
) -> None:
    cluster = Cluster(Settings(kafka=broker, kafka_prefix=kafka_prefix, kafka_partitions=2))
    cluster.ensure_topics()
    workers = ("run", "publisher", "activation", "email")
    settings = {"SEATLINE_EVENTS_FROM": source, "SEATLINE_SMTP_URL": post_office.url}
    bought(office)
    letters = 2 * ORDERS
    for killed_at in (1, 4):
        with running(office, cluster, broker, *workers, **settings):
            until(lambda least=killed_at: done(office) >= least, seconds=40)  # type: ignore[misc]
    with running(office, cluster, broker, *workers, **settings) as process:
        until(lambda: done(office) == letters, seconds=60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0

    assert office.facts().count("OrderFulfilled") == ORDERS
    assert office.facts().count("SeatsAdded") == ORDERS
    assert len(set(post_office.message_ids)) == letters
    assert len(post_office.taken) <= letters + 2  # one at most was under way at each kill


@pytest.mark.parametrize("gone", ["nothing", "brokers", "database", "mail"])
def test_all_workers_end_when_asked_to(office: Office, wire: Wire, post_office: PostOffice, gone: str) -> None:
    with a_cluster() as brokers:
        cluster = Cluster(Settings(kafka=brokers.bootstrap, kafka_partitions=2))
        settings = {
            "SEATLINE_DATABASE_URL": wire.url,
            "SEATLINE_EVENTS_FROM": "kafka",
            "SEATLINE_SMTP_URL": post_office.url,
        }
        if gone == "mail":
            post_office.answers = [KEEP_WAITING]
        with running(office, cluster, brokers.bootstrap, "run", **settings) as process:
            bought(office)
            until(lambda: office.ask("SELECT FROM seatline.effects WHERE state <> 'planned'"), seconds=40)
            if gone == "brokers":
                brokers.brokers[0].pause()
            elif gone == "database":
                wire.cut()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0
