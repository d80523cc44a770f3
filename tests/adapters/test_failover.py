"""Three brokers, of which any one may die: nothing is lost or doubled, all goes on, and nobody lends a hand."""

import signal
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kafka import KafkaAdminClient  # type: ignore[import-untyped]
from kafka.admin import ConfigResource, ConfigResourceType  # type: ignore[import-untyped]
from kafka.errors import KafkaError  # type: ignore[import-untyped]

from adapters.kafka import KafkaAway
from adapters.kafka.asking import publish
from adapters.kafka.cluster import Cluster, end_producer
from adapters.settings import Settings
from domain.cart import SeatsChosen
from tests.broker import a_cluster
from tests.office import Office, until
from tests.upstream import Upstream, running

SUBSCRIPTIONS = [f"SUB-{number}" for number in range(12)]
"""Enough for all partitions."""
EACH = 60
"""Commands that must go through while a broker is dead."""


@pytest.mark.kafka
@pytest.mark.slow
def test_each_broker_may_die_while_commands_come_in_and_events_go_out(office: Office) -> None:
    for name in SUBSCRIPTIONS:
        office.start(subscription_id=name)
        office.do("open-cart", subscription_id=name)
    with a_cluster(3, {"min.insync.replicas": "1"}) as machines:
        settings = Settings(kafka=machines.bootstrap, kafka_prefix="test.", kafka_partitions=3, kafka_replication=3)
        cluster = Cluster(settings)
        upstream = Upstream(cluster, machines.bootstrap)
        assert copies_wanted(machines.bootstrap, upstream.topics) == {"2"}

        with running(office, cluster, machines.bootstrap, "run", "commands", "publisher") as process:
            with a_shop(office, cluster) as shop:
                until(lambda: decided(office) > EACH, seconds=60)
                for machine in machines.brokers:
                    assert machine.node in leaders(machines.bootstrap, upstream.topics.commands)
                    machine.kill()
                    goal = shop.acknowledged + EACH
                    until(lambda goal=goal: decided(office) > goal, seconds=60)  # type: ignore[misc]
                    if machine is not machines.brokers[-1]:
                        machine.start()
            until(lambda: set(outcomes(upstream)) == set(map(command_id, range(shop.acknowledged))), seconds=60)
            until(lambda: published(upstream) == logged(office), seconds=60)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0

        assert decided(office) == shop.acknowledged
        assert all("accepted" in said for said in outcomes(upstream).values())
        assert not upstream.dead_letters()
    assert chosen(office) == {
        name: [seats(number) for number in range(shop.acknowledged) if subscription(number) == name]
        for name in SUBSCRIPTIONS
    }
    office.check_log()


class Shop(threading.Thread):
    """Publishes one command after the other, and again what was not acknowledged."""

    def __init__(self, office: Office, cluster: Cluster) -> None:
        super().__init__()
        self._office = office
        self._cluster = cluster
        self._producer: Any = None
        self._closing = threading.Event()
        self.acknowledged = 0

    def run(self) -> None:
        while not self._closing.wait(0.1):
            numbers = range(self.acknowledged, self.acknowledged + len(SUBSCRIPTIONS))
            while not self._publish(numbers):
                pass
            self.acknowledged += len(numbers)
        end_producer(self._producer, 1)

    def close(self) -> None:
        self._closing.set()
        self.join()

    def _publish(self, numbers: range) -> bool:
        try:
            self._producer = self._producer or self._cluster.producer()
            records: list[tuple[bytes, bytes, list[Any]]] = [
                (subscription(number).encode(), self._command(number), []) for number in numbers
            ]
            publish(self._producer, self._cluster.topics.commands, records)
        except KafkaAway:
            return False
        except KafkaError:
            end_producer(self._producer, 0)
            self._producer = None
            return False
        return True

    def _command(self, number: int) -> bytes:
        return self._office.line(
            "choose-seats", id=command_id(number), subscription_id=subscription(number), quantity=seats(number)
        )


@contextmanager
def a_shop(office: Office, cluster: Cluster) -> Iterator[Shop]:
    shop = Shop(office, cluster)
    shop.start()
    try:
        yield shop
    finally:
        shop.close()


def command_id(number: int) -> str:
    return f"shop-{number}"


def subscription(number: int) -> str:
    return SUBSCRIPTIONS[number % len(SUBSCRIPTIONS)]


def seats(number: int) -> int:
    """Never as many as in the command before of the same subscription."""
    return number // len(SUBSCRIPTIONS) % 100 + 1


def decided(office: Office) -> int:
    return int(office.ask("SELECT count(*) FROM seatline.answers WHERE command_id LIKE 'shop-%%'")[0][0])


def chosen(office: Office) -> dict[str, list[int]]:
    """How many seats were chosen for each subscription, one decision after the other."""
    found = defaultdict[str, list[int]](list)
    for recorded in office.log.page(0, 1_000_000):
        if isinstance(recorded.event, SeatsChosen):
            found[recorded.subject].append(recorded.event.quantity)
    return found


def outcomes(upstream: Upstream) -> dict[str, set[str]]:
    found = defaultdict[str, set[str]](set)
    for reply in upstream.replies():
        found[reply["command_id"]].add(reply["outcome"])
    return found


def logged(office: Office) -> dict[bytes, list[int]]:
    """The positions of each subscription's events."""
    found = defaultdict[bytes, list[int]](list)
    for recorded in office.log.page(0, 1_000_000):
        found[recorded.subject.encode()].append(recorded.position)
    return found


def published(upstream: Upstream) -> dict[bytes, list[int]]:
    """The same from their topic, in its order, without repeats."""
    found = defaultdict[bytes, dict[int, None]](dict)
    for record in upstream.events():
        found[record.key][int(dict(record.headers)["ce_position"])] = None
    return {key: list(positions) for key, positions in found.items()}


def leaders(bootstrap: str, topic: str) -> set[int]:
    with an_admin(bootstrap) as admin:
        [described] = admin.describe_topics([topic])
    return {partition["leader_id"] for partition in described["partitions"]}


def copies_wanted(bootstrap: str, topics: tuple[str, ...]) -> set[str]:
    """Without how many copies nothing is acknowledged."""
    name = "min.insync.replicas"
    with an_admin(bootstrap) as admin:
        resources = [ConfigResource(ConfigResourceType.TOPIC, topic, {name: None}) for topic in topics]
        [described] = admin.describe_configs(resources, config_filter="all").values()
    return {config[name]["value"] for config in described.values()}


@contextmanager
def an_admin(bootstrap: str) -> Iterator[Any]:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        yield admin
    finally:
        admin.close()
