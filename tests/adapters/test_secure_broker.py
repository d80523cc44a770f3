"""A broker that speaks TLS, with those it knows: what fits works, what doesn't is named in one line."""

import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kafka import KafkaAdminClient  # type: ignore[import-untyped]
from kafka.admin import UserScramCredentialUpsertion  # type: ignore[import-untyped]

from adapters.kafka import KafkaAway
from adapters.kafka.cluster import Cluster
from adapters.settings import Settings
from scripts.broker.cluster import Broker
from tests.broker import a_cluster
from tests.office import BASE, SUB, Office, service, until
from tests.upstream import Upstream, running

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

USER, PASSWORD = "anna", "hush"
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two authorities, and the certificates that they made out."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("papers")

    def make_out(name: str, *by: str) -> None:
        kind = ["-x509", "-noenc", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        whose = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
        files = ["-keyout", f"{name}.key", "-out", f"{name}.pem"]
        subprocess.run([openssl, "req", *kind, *whose, *by, *files], cwd=folder, check=True, capture_output=True)

    for authority, others in (("authority", ["broker", "client"]), ("another", ["stranger"])):
        make_out(authority)
        for name in others:
            make_out(name, "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key")
    (folder / "broker.both").write_text((folder / "broker.key").read_text() + (folder / "broker.pem").read_text())
    return folder


@pytest.fixture(scope="module")
def machine(papers: Path) -> Iterator[Broker]:
    """A broker that wants a certificate of its clients, and their password."""
    listener, login = "listener.name.clients", "org.apache.kafka.common.security"
    settings = {
        "listener.security.protocol.map": "CLIENTS:SASL_SSL,CONTROLLER:PLAINTEXT",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(papers / "broker.both"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(papers / "authority.pem"),
        f"{listener}.ssl.client.auth": "required",
        "sasl.enabled.mechanisms": ",".join(("PLAIN", *SCRAM)),
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        f"{listener}.plain.sasl.jaas.config": f"{login}.plain.PlainLoginModule required"
        f' username="{USER}" password="{PASSWORD}" user_{USER}="{PASSWORD}";',
    } | {f"{listener}.{name.lower()}.sasl.jaas.config": f"{login}.scram.ScramLoginModule required;" for name in SCRAM}
    with a_cluster(more=settings) as machines:
        [machine] = machines.brokers
        enrol(machine, papers)
        yield machine


def enrol(machine: Broker, papers: Path) -> None:
    """Makes the user known for the mechanisms whose passwords the broker itself keeps."""
    admin = KafkaAdminClient(
        bootstrap_servers=machine.address,
        security_protocol="SASL_SSL",
        ssl_cafile=papers / "authority.pem",
        ssl_certfile=papers / "client.pem",
        ssl_keyfile=papers / "client.key",
        sasl_mechanism="PLAIN",
        sasl_plain_username=USER,
        sasl_plain_password=PASSWORD,
    )
    for mechanism in SCRAM:
        wanted = UserScramCredentialUpsertion(USER, mechanism, PASSWORD)
        assert admin.alter_user_scram_credentials([wanted]) == {USER: None}
    admin.close()


@pytest.fixture
def fitting(machine: Broker, papers: Path) -> dict[str, str]:
    """Settings that this broker takes."""
    return {
        "kafka": machine.address,
        "kafka_security_protocol": "SASL_SSL",
        "kafka_ssl_cafile": str(papers / "authority.pem"),
        "kafka_ssl_certfile": str(papers / "client.pem"),
        "kafka_ssl_keyfile": str(papers / "client.key"),
        "kafka_sasl_mechanism": "PLAIN",
        "kafka_sasl_username": USER,
        "kafka_sasl_password": PASSWORD,
    }


def test_with_fitting_settings_commands_are_decided_by_whatever_mechanism(
    office: Office, fitting: dict[str, str]
) -> None:
    def by(mechanism: str) -> Upstream:
        settings = fitting | {"kafka_sasl_mechanism": mechanism}
        return Upstream(Cluster(Settings.model_validate(settings)), fitting["kafka"])

    by("PLAIN").publish(office.line("start-subscription", id="one", services=[service(BASE, "2026-06-30")]))
    reader = by(SCRAM[0])
    ours = {f"SEATLINE_{name.upper()}": said for name, said in (fitting | {"kafka_sasl_mechanism": SCRAM[1]}).items()}
    with running(office, reader.cluster, fitting["kafka"], "run", "commands", "publisher", **ours) as process:
        until(lambda: reader.replies() and reader.events(), seconds=60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0

    assert [(reply["command_id"], reply["outcome"]) for reply in reader.replies()] == [("one", "accepted")]
    assert [dict(event.headers)["ce_id"] for event in reader.events()] == [f"subscription/{SUB}@1".encode()]


def complaint(settings: dict[str, str]) -> str:
    with pytest.raises(KafkaAway) as away:
        Cluster(Settings.model_validate(settings)).ensure_topics()
    return str(away.value)


def test_what_does_not_fit_is_named_in_one_line_and_leaves_no_thread_behind(
    fitting: dict[str, str], papers: Path, broker: str
) -> None:
    refused, untrusted = "refuse us .* SEATLINE_KAFKA_SASL_", "we don't trust .* SEATLINE_KAFKA_SSL_CAFILE"
    no_tls, no_answer = "don't talk TLS with us .* SEATLINE_KAFKA_SSL_CERTFILE", "SEATLINE_KAFKA_SECURITY_PROTOCOL fit"
    stranger = {
        f"kafka_ssl_{kind}file": str(papers / f"stranger.{end}") for kind, end in [("cert", "pem"), ("key", "key")]
    }
    without_certificate = {name: said for name, said in fitting.items() if name not in stranger}
    wrong = {
        "another password": (fitting | {"kafka_sasl_password": "wrong"}, refused),
        "an unknown user": (fitting | {"kafka_sasl_mechanism": SCRAM[0], "kafka_sasl_username": "nobody"}, refused),
        "an unknown authority": (fitting | {"kafka_ssl_cafile": str(papers / "another.pem")}, untrusted),
        "another name": (fitting | {"kafka": fitting["kafka"].replace("127.0.0.1", "localhost")}, untrusted),
        "a stranger's certificate": (fitting | stranger, no_tls),
        "no certificate": (without_certificate, no_tls),
        "no password": (fitting | {"kafka_security_protocol": "SSL"}, no_answer),
        "TLS where there is plain text": ({"kafka": broker, "kafka_security_protocol": "SSL"}, no_tls),
        "plain text": ({"kafka": fitting["kafka"]}, no_answer),
        "a password in plain text": (fitting | {"kafka_security_protocol": "SASL_PLAINTEXT"}, no_answer),
    }

    before = threading.active_count()
    with ThreadPoolExecutor(len(wrong)) as threads:
        complaints = list(threads.map(complaint, [settings for settings, _ in wrong.values()]))

    for line, (what, (_, why)) in zip(complaints, wrong.items(), strict=True):
        assert re.search(why, line), (what, line)
        assert len(line.splitlines()) == 1
    assert threading.active_count() == before


def test_a_broker_that_hangs_in_the_middle_of_a_handshake_is_away(machine: Broker, fitting: dict[str, str]) -> None:
    with ThreadPoolExecutor() as threads:
        machine.pause()
        try:
            assert "do they run" in threads.submit(complaint, fitting).result(timeout=60)
        finally:
            machine.resume()
