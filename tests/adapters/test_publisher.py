"""Events on Kafka: the log as it is, in order, under ids that stay; and read from there as if from the log."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition  # type: ignore[import-untyped]
from kafka.errors import KafkaTimeoutError  # type: ignore[import-untyped]

from adapters.kafka import KafkaAway
from adapters.kafka.cluster import Cluster
from adapters.kafka.envelopes import event_in
from adapters.kafka.events import KafkaSource
from adapters.kafka.publisher import Publisher
from adapters.kafka.sending import GIVEN_UP, Outgoing, Sending
from adapters.postgres.effects import EffectWorker
from adapters.postgres.log import WITH_ACTOR
from adapters.postgres.mapper import recorded
from adapters.postgres.readers import CommandingReader, activation_worker
from adapters.settings import Settings
from consumers.activation import NAME as ACTIVATION
from consumers.email import Email
from domain.kernel import Recorded
from scripts.broker.cluster import Cluster as Brokers
from tests.broker import a_cluster
from tests.office import BASE, SHOPFRONT, Office, service, until
from tests.upstream import Upstream

pytestmark = pytest.mark.kafka

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@contextmanager
def publishing(office: Office, cluster: Cluster) -> Iterator[Publisher]:
    publisher = Publisher(office.log, cluster)
    try:
        yield publisher
    finally:
        publisher.close()


@pytest.fixture
def publisher(office: Office, cluster: Cluster) -> Iterator[Publisher]:
    with publishing(office, cluster) as publisher:
        yield publisher


def started(office: Office, *names: str) -> None:
    for name in names:
        office.start(subscription_id=name)


def bought(office: Office) -> None:
    office.start()
    office.pay(office.order_seats(3))


def position(record: Any) -> int:
    return int(dict(record.headers)["ce_position"])


def by_key(records: Sequence[Any]) -> dict[bytes, list[int]]:
    """The positions under each key in the order of the topic, repeats taken out."""
    found: dict[bytes, list[int]] = {}
    for record in records:
        positions = found.setdefault(record.key, [])
        if position(record) not in positions:
            positions.append(position(record))
    return found


def logged(office: Office) -> dict[bytes, list[int]]:
    found: dict[bytes, list[int]] = {}
    for event in office.log.page(0, 100_000):
        found.setdefault(event.subject.encode(), []).append(event.position)
    return found


def test_what_is_published_is_the_log(office: Office, upstream: Upstream, publisher: Publisher) -> None:
    bought(office)
    started(office, "SUB-A", "SUB-B")

    office.drain(publisher)

    records = upstream.events()
    assert by_key(records) == logged(office)
    assert len(records) == office.log.head()
    read = {position(record): event_in(record.value, record.headers) for record in records}
    in_clear = [recorded(*event, with_actor=True) for event in office.log.stored_page(0, 1_000, WITH_ACTOR)]
    assert [read[place] for place in sorted(read)] == in_clear
    [figure] = publisher.figures()
    assert [sample.value for sample in figure.samples] == [office.log.head()]


def test_an_event_is_a_cloud_event_in_binary_mode(office: Office, upstream: Upstream, publisher: Publisher) -> None:
    started(office, "SUB-A")

    office.drain(publisher)

    [record] = upstream.events()
    said = {name: value.decode() for name, value in record.headers}
    assert record.key == b"SUB-A"
    assert said["ce_specversion"] == "1.0"
    assert said["ce_id"] == "subscription/SUB-A@1"
    assert said["ce_type"] == "seatline.subscription.subscription-started.v1"
    assert said["ce_subject"] == "SUB-A"
    assert said["ce_time"] == office.now.isoformat()
    assert said["content-type"] == "application/json"
    assert json.loads(record.value)["services"][0]["sku"] == BASE


def test_events_are_where_other_clients_look_for_their_key(
    office: Office, upstream: Upstream, publisher: Publisher
) -> None:
    names = [f"SUB-{number}" for number in range(20)]
    started(office, *names)
    office.drain(publisher)
    published = {record.key: record.partition for record in upstream.events()}

    producer = KafkaProducer(bootstrap_servers=upstream.bootstrap)
    theirs = {key: producer.send(upstream.topics.replies, b"", key).get(timeout=10).partition for key in published}
    producer.close(timeout=5)

    assert published == theirs
    assert len(set(theirs.values())) > 1


def test_a_trace_goes_from_the_command_to_the_event(office: Office, upstream: Upstream, publisher: Publisher) -> None:
    command = json.loads(office.line("start-subscription", services=[service(BASE, "2026-06-30")]))
    office.handle(json.dumps(command | {"traceparent": TRACE}).encode())

    office.drain(publisher)

    assert [dict(record.headers)["traceparent"] for record in upstream.events()] == [TRACE.encode()]


def test_nothing_is_published_twice_while_nothing_fails(
    office: Office, cluster: Cluster, upstream: Upstream, publisher: Publisher
) -> None:
    started(office, "SUB-A", "SUB-B")
    office.drain(publisher)

    with publishing(office, cluster) as another:
        office.drain(another)
        started(office, "SUB-C")
        office.drain(publisher, another)

    assert sorted(map(position, upstream.events())) == [1, 2, 3]


def test_a_position_that_was_lost_repeats_events_under_the_same_ids(
    office: Office, upstream: Upstream, publisher: Publisher
) -> None:
    started(office, "SUB-A", "SUB-B")
    office.drain(publisher)
    office.tell("UPDATE seatline.positions SET position = 0 WHERE reader = 'publisher'")

    office.drain(publisher)

    said = [(dict(record.headers)["ce_id"], position(record)) for record in upstream.events()]
    assert len(said) == 4
    assert len(set(said)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["killed", "paused past the delivery timeout"])
def test_a_broker_that_fails_loses_no_event_and_keeps_their_order(office: Office, fault: str) -> None:
    with a_cluster() as brokers:
        cluster = Cluster(Settings(kafka=brokers.bootstrap, kafka_partitions=2))
        upstream = Upstream(cluster, brokers.bootstrap)
        with publishing(office, cluster) as publisher:
            started(office, *(f"SUB-{number}" for number in range(20)))
            office.drain(publisher)
            away(brokers, fault)
            started(office, *(f"LATER-{number}" for number in range(20)))
            with pytest.raises(KafkaAway):
                office.drain(publisher)
            back(brokers, fault)

            patiently(office, publisher)

        assert by_key(upstream.events()) == logged(office)


@pytest.mark.slow
def test_what_is_given_up_is_not_overtaken_by_what_was_sent_after_it() -> None:
    with a_cluster() as brokers:
        cluster = Cluster(Settings(kafka=brokers.bootstrap, kafka_partitions=1))
        upstream = Upstream(cluster, brokers.bootstrap)
        sending: Sending[str] = Sending(cluster)
        sending.send([Outgoing(cluster.topics.events, None, b"1", [])], "first")
        until(lambda: sending.acknowledged() == ["first"])
        away(brokers, "killed")
        # Each fills a batch of its own; the second has much time left when the first has none.
        sending.send([Outgoing(cluster.topics.events, None, b"2" * 400_000, [])], "given up")
        time.sleep(GIVEN_UP * 0.8)
        sending.send([Outgoing(cluster.topics.events, None, b"3" * 400_000, [])], "later")
        with pytest.raises(KafkaTimeoutError):
            until(sending.acknowledged, seconds=GIVEN_UP)
        back(brokers, "killed")

        until(lambda: [record.value[:1] for record in upstream.events()] == [b"1", b"2", b"3"], seconds=20)
        sending.close(1)


def patiently(office: Office, publisher: Publisher) -> None:
    """As the runner of workers does: what fails is tried again."""

    def done() -> bool:
        with suppress(KafkaAway):
            return not publisher.step()
        return False

    until(done, seconds=60)


def away(brokers: Brokers, fault: str) -> None:
    [broker] = brokers.brokers
    if fault == "killed":
        broker.kill()
    else:
        broker.pause()


def back(brokers: Brokers, fault: str) -> None:
    [broker] = brokers.brokers
    if fault == "killed":
        broker.start()
    else:
        broker.resume()


@pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed")
def test_a_foreign_client_reads_the_events(
    office: Office, upstream: Upstream, publisher: Publisher, broker: str
) -> None:
    started(office, "SUB-A")
    office.drain(publisher)

    kcat = ["kcat", "-b", broker, "-C", "-q", "-e", "-t", upstream.topics.events, "-f", "%k %s\n"]
    said = subprocess.run(kcat, capture_output=True, text=True, check=True, timeout=30).stdout

    key, _, value = said.partition(" ")
    assert key == "SUB-A"
    assert json.loads(value)["account_holder"]["name"]


# Read from Kafka


@pytest.fixture
def from_kafka(office: Office, cluster: Cluster) -> Iterator[KafkaSource]:
    source = KafkaSource(office.log, cluster, ACTIVATION)
    yield source
    source.close()


def test_activation_from_kafka_fulfils_as_from_the_log(
    office: Office, publisher: Publisher, upstream: Upstream, from_kafka: KafkaSource
) -> None:
    bought(office)
    activation = activation_worker(from_kafka, office.another_clerk())

    office.drain(publisher, activation)

    assert office.facts().count("OrderFulfilled") == 1
    assert office.facts().count("SeatsAdded") == 1
    [[read]] = office.ask("SELECT position FROM seatline.positions WHERE reader = 'activation from kafka'")
    assert read == office.log.head()


def test_email_from_kafka_is_sent_once_though_it_is_read_twice(
    office: Office, publisher: Publisher, upstream: Upstream, cluster: Cluster
) -> None:
    office.start()
    office.order_seats(3)
    for _ in range(2):
        # The second has not heard how far the first had got.
        source = KafkaSource(office.log, Another(cluster), "email")
        email = Email(office.books, office.post, SHOPFRONT.prices, SHOPFRONT.seller)
        worker = EffectWorker(office.log, source, email, clock=lambda: office.now + timedelta(hours=1))
        office.drain(publisher, worker)
        worker.close()

    assert len(office.mail) == 1


def test_what_somebody_else_has_put_among_the_events_is_passed_over(
    office: Office, publisher: Publisher, upstream: Upstream, cluster: Cluster, from_kafka: KafkaSource
) -> None:
    started(office, "SUB-A")
    producer = cluster.producer()
    for headers in ([], [("ce_type", b"\xff")], [("ce_type", b"seatline.from-the-future.v1")]):
        producer.send(cluster.topics.events, b"\xff", b"SUB-A", headers).get(timeout=10)
    producer.close(timeout=5)
    office.drain(publisher)
    seen: list[Recorded] = []

    office.drain(CommandingReader(ACTIVATION, from_kafka, seen.extend))

    assert [event.id for event in seen] == ["subscription/SUB-A@1"]


class Another(Cluster):
    """The same brokers, and a group that nobody has been in."""

    def __init__(self, cluster: Cluster) -> None:
        self.__dict__ |= cluster.__dict__

    def consumer(self, group: str | None, *topics: str, most: int = 1_000, **more: Any) -> Any:
        return super().consumer(f"{group}-{id(self)}", *topics, most=most, **more)


def test_what_fails_on_the_way_is_read_again(
    office: Office, publisher: Publisher, upstream: Upstream, from_kafka: KafkaSource
) -> None:
    started(office, "SUB-A", "SUB-B")
    office.drain(publisher)
    seen: list[Recorded] = []

    def fail(events: Sequence[Recorded]) -> None:
        seen.extend(events)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        CommandingReader(ACTIVATION, from_kafka, fail).step()
    again: list[Recorded] = []
    office.drain(CommandingReader(ACTIVATION, from_kafka, again.extend))

    assert seen
    assert all(event in again for event in seen)
    assert {event.subject for event in again} == {"SUB-A", "SUB-B"}


def test_events_that_retention_took_before_they_were_read_are_missed_loudly(
    office: Office,
    publisher: Publisher,
    upstream: Upstream,
    from_kafka: KafkaSource,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen: list[Recorded] = []
    reader = CommandingReader(ACTIVATION, from_kafka, seen.extend)
    office.start()
    office.drain(publisher, reader)
    order = office.order_seats(3)
    office.drain(publisher)
    last = upstream.events()[-1]
    admin = KafkaAdminClient(bootstrap_servers=upstream.bootstrap)
    admin.delete_records({TopicPartition(last.topic, last.partition): last.offset + 1})
    admin.close()
    office.pay(order)

    office.drain(publisher, reader)

    assert "OrderPlaced" not in {type(recorded.event).__name__ for recorded in seen}
    assert "OrderPaid" in {type(recorded.event).__name__ for recorded in seen}
    assert "events.lost" in "".join(capsys.readouterr())
