"""A cluster that can't be used says so in one line that names the setting, soon, and leaves nothing behind."""

import threading
from typing import Any

import pytest
from kafka import KafkaAdminClient  # type: ignore[import-untyped]

from adapters.kafka import KafkaAway
from adapters.kafka.cluster import Cluster, end_producer
from adapters.settings import Settings, SettingsError, load_settings

NOBODY = "127.0.0.1:1"


def topics(broker: str, prefix: str) -> dict[str, Any]:
    admin = KafkaAdminClient(bootstrap_servers=broker)
    try:
        return {topic["name"]: topic for topic in admin.describe_topics() if topic["name"].startswith(prefix)}
    finally:
        admin.close()


@pytest.mark.kafka
def test_missing_topics_are_made_and_what_is_there_is_taken_as_it_is(broker: str, kafka_prefix: str) -> None:
    Cluster(Settings(kafka=broker, kafka_prefix=kafka_prefix, kafka_partitions=3)).ensure_topics()
    Cluster(Settings(kafka=broker, kafka_prefix=kafka_prefix)).ensure_topics()
    made = topics(broker, kafka_prefix)
    names = ("commands", "replies", "events", "dead-letters")
    assert {name: len(topic["partitions"]) for name, topic in made.items()} == {f"{kafka_prefix}{n}": 3 for n in names}


@pytest.mark.kafka
def test_topics_with_another_number_of_partitions_are_refused(broker: str, kafka_prefix: str) -> None:
    Cluster(Settings(kafka=broker, kafka_prefix=kafka_prefix, kafka_partitions=3)).ensure_topics()
    with pytest.raises(SettingsError, match="has 3 partitions, SEATLINE_KAFKA_PARTITIONS says 4"):
        Cluster(Settings(kafka=broker, kafka_prefix=kafka_prefix, kafka_partitions=4)).ensure_topics()


@pytest.mark.kafka
def test_a_compacted_topic_is_refused(broker: str, kafka_prefix: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=broker)
    admin.create_topics({f"{kafka_prefix}events": {"num_partitions": 1, "configs": {"cleanup.policy": "compact"}}})
    admin.close()
    with pytest.raises(SettingsError, match=r"cleanup\.policy=compact"):
        Cluster(Settings(kafka=broker, kafka_prefix=kafka_prefix)).ensure_topics()
    assert len(topics(broker, kafka_prefix)) == 1


@pytest.mark.kafka
def test_more_copies_than_brokers_are_refused(broker: str, kafka_prefix: str) -> None:
    with pytest.raises(SettingsError, match="SEATLINE_KAFKA_REPLICATION"):
        Cluster(Settings(kafka=broker, kafka_prefix=kafka_prefix, kafka_replication=9)).ensure_topics()
    assert topics(broker, kafka_prefix) == {}


@pytest.mark.kafka
def test_a_producer_ends_whatever_it_is_at(broker: str, kafka_prefix: str) -> None:
    cluster = Cluster(Settings(kafka=broker, kafka_prefix=kafka_prefix))
    cluster.ensure_topics()
    before = threading.active_count()
    producer = cluster.producer()
    for _ in range(1_000):
        producer.send(cluster.topics.events, b"x" * 1_000)
    end_producer(producer, 0)
    assert threading.active_count() == before


@pytest.mark.slow
def test_brokers_that_are_away_are_named_and_leave_no_thread_behind() -> None:
    before = threading.active_count()
    with pytest.raises(KafkaAway, match=f"SEATLINE_KAFKA names \\({NOBODY}\\)"):
        Cluster(Settings(kafka=NOBODY)).consumer("commands", "seatline.commands")
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"KAFKA": "localhost"}, "SEATLINE_KAFKA: write host:port"),
        ({"KAFKA": "a:1, b:2"}, "SEATLINE_KAFKA: write host:port"),
        ({"KAFKA_PREFIX": "a/b"}, "SEATLINE_KAFKA_PREFIX"),
        ({"KAFKA_SECURITY_PROTOCOL": "TLS"}, "SEATLINE_KAFKA_SECURITY_PROTOCOL"),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CAFILE": "/nowhere"}, "SEATLINE_KAFKA_SSL_CAFILE /nowhere"),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CAFILE": __file__}, "SEATLINE_KAFKA_SSL_CAFILE"),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_KEYFILE": __file__}, "SEATLINE_KAFKA_SSL_CERTFILE"),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CERTFILE": __file__}, "SEATLINE_KAFKA_SSL_CERTFILE"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}, "set SEATLINE_KAFKA_SASL_MECHANISM"),
        ({"KAFKA_SASL_MECHANISM": "GSSAPI"}, "SEATLINE_KAFKA_SASL_MECHANISM"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(
    settings: dict[str, str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ({"KAFKA": NOBODY} | settings).items():
        monkeypatch.setenv(f"SEATLINE_{name}", value)
    with pytest.raises(SettingsError) as refused:
        Cluster(load_settings())
    assert why in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_password_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEATLINE_KAFKA_SASL_PASSWORD", "hush")
    assert "hush" not in repr(load_settings())
