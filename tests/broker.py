"""A real Kafka to test against, or a skip that says why there is none."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from kafka import KafkaAdminClient  # type: ignore[import-untyped]

from adapters.embedded import temporary_home
from scripts.broker.cluster import Cluster
from scripts.broker.jars import NotToBeHad, jars, java


def skip_without_kafka() -> None:
    if reason := _reason_for_none():
        pytest.skip(reason)


@cache  # Maven takes its time to find out that there is no network
def _reason_for_none() -> str | None:
    try:
        java()
        jars()
    except NotToBeHad as reason:
        return str(reason)
    return None


@contextmanager
def a_cluster(brokers: int = 1, more: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """A cluster of its own for whoever wants to kill brokers; it goes with its context."""
    skip_without_kafka()
    with temporary_home() as home:
        cluster = Cluster.at(home, brokers, more)
        try:
            cluster.start()
            yield cluster
        finally:
            for broker in cluster.brokers:
                broker.kill()  # an orderly stop would wait for a majority that is leaving too


def shared_broker(home: Path) -> str:
    """The bootstrap servers of the one broker of this home, started by whoever asks first."""
    skip_without_kafka()
    cluster = Cluster.at(home)
    cluster.start()
    return cluster.bootstrap


def stop_shared_broker(home: Path) -> None:
    if cluster := Cluster.existing(home):
        cluster.stop()


def delete_topics(bootstrap: str, prefix: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        if topics := [name for name in admin.list_topics() if name.startswith(prefix)]:
            admin.delete_topics(topics)
    finally:
        admin.close()
