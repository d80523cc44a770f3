"""A Kafka for development: started and stopped by a script, and everything a test may do to its brokers."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer  # type: ignore[import-untyped]
from kafka.admin import NewTopic  # type: ignore[import-untyped]

from scripts.broker.cluster import Cluster
from tests.broker import a_cluster, delete_topics, skip_without_kafka


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home for the script, with nothing left running in it."""
    skip_without_kafka()
    yield tmp_path / "kafka"
    if cluster := Cluster.existing(tmp_path / "kafka"):
        cluster.stop()


def kafka(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.broker", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.kafka
@pytest.mark.slow
def test_the_script_starts_a_broker_that_another_call_finds_and_stops(home: Path) -> None:
    started = kafka("start", "--home", home)
    assert (started.returncode, started.stderr) == (0, "")
    bootstrap = started.stdout.strip()
    assert topics(bootstrap) == []

    assert kafka("start", "--home", home).stdout.strip() == bootstrap
    assert kafka("status", "--home", home).stdout.startswith(f"1 {bootstrap} runs, process ")
    assert kafka("start", "--brokers", "3", "--home", home).returncode == 3

    assert kafka("stop", "--home", home).returncode == 0
    stopped = kafka("status", "--home", home)
    assert (stopped.returncode, stopped.stdout) == (1, f"1 {bootstrap} stopped\n")


@pytest.mark.kafka
@pytest.mark.slow
def test_run_ends_its_broker_when_it_is_asked_to(home: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "scripts.broker", "run", "--home", str(home)], stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout
        assert topics(running.stdout.readline().strip()) == []
        running.terminate()
    assert running.returncode == 0
    assert kafka("status", "--home", home).returncode == 1


@pytest.mark.kafka
def test_a_taken_port_is_named(home: Path) -> None:
    [broker] = Cluster.at(home).brokers
    with socket.create_server(("127.0.0.1", broker.port)):
        refused = kafka("start", "--home", home)
    assert refused.returncode == 3
    assert refused.stderr.startswith(f"scripts/kafka: port {broker.port} of broker 1 is taken by another program")
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("missing", ["java", "mvn"])
def test_without_java_or_maven_it_says_what_to_install(missing: str, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    if missing == "mvn":
        (programs / "java").symlink_to("/bin/true")
    refused = kafka(
        "start", "--home", tmp_path / "kafka", PATH=str(programs), JAVA_HOME="", XDG_CACHE_HOME=str(tmp_path / "cache")
    )
    assert refused.returncode == 3
    assert refused.stderr.endswith("install default-jre-headless\n" if missing == "java" else "install maven\n")
    assert refused.stderr.count("\n") == 1


def test_what_maven_brings_is_only_taken_if_it_is_the_expected(tmp_path: Path) -> None:
    maven = tmp_path / "mvn"
    maven.write_text(
        "#!/bin/sh\n"
        "for a; do case $a in -DoutputDirectory=*) folder=${a#*=};; esac; done\n"
        'mkdir -p "$folder"; echo another >"$folder/kafka.jar"\n'
    )
    maven.chmod(0o755)
    (tmp_path / "java").symlink_to("/bin/true")
    path = f"{tmp_path}:{os.defpath}"
    for _ in range(2):
        refused = kafka("start", "--home", tmp_path / "kafka", PATH=path, JAVA_HOME="", XDG_CACHE_HOME=str(tmp_path))
        assert refused.returncode == 3
        assert "differs from" in refused.stderr


@pytest.mark.kafka
@pytest.mark.slow
def test_three_brokers_survive_a_kill_and_a_pause_and_come_back_on_their_ports() -> None:
    with a_cluster(3) as cluster:
        create_topic(cluster.bootstrap, "orders", copies=3)
        first, second, third = cluster.brokers

        first.kill()
        assert not first.runs
        say(cluster.bootstrap, "orders", b"without the first")
        first.start()

        second.pause()
        assert second.runs
        say(f"{first.address},{third.address}", "orders", b"without the second")
        second.resume()

        third.stop()
        third.start()
        assert heard(cluster.bootstrap, "orders", 2) == [b"without the first", b"without the second"]


@pytest.mark.kafka
def test_a_foreign_client_sees_the_broker(broker: str, kafka_prefix: str) -> None:
    kcat = shutil.which("kcat")
    if not kcat:
        pytest.skip("kcat is not installed")
    create_topic(broker, f"{kafka_prefix}commands", copies=1)
    listed = subprocess.run([kcat, "-L", "-b", broker], check=True, capture_output=True, text=True).stdout
    assert f'topic "{kafka_prefix}commands" with 1 partitions' in listed


@pytest.mark.kafka
def test_the_topics_of_a_test_go_with_it(broker: str, kafka_prefix: str) -> None:
    create_topic(broker, f"{kafka_prefix}events", copies=1)
    delete_topics(broker, kafka_prefix)
    assert not [name for name in topics(broker) if name.startswith(kafka_prefix)]


def topics(bootstrap: str) -> list[str]:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    names: list[str] = admin.list_topics()
    admin.close()
    return names


def create_topic(bootstrap: str, name: str, *, copies: int) -> None:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=copies)])
    admin.wait_for_topics([name])
    admin.close()


def say(bootstrap: str, topic: str, value: bytes) -> None:
    producer = KafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        request_timeout_ms=3_000,  # what a broker that hangs costs
        delivery_timeout_ms=50_000,
    )
    producer.send(topic, value).get(timeout=55)
    producer.close(timeout=5)


def heard(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", group_id=None)
    values = [next(consumer).value for _ in range(count)]
    consumer.close()
    return values
