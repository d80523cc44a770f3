"""The Kafka cluster that the settings name: its clients, bounded in time, and the topics that must be there."""

import logging
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer  # type: ignore[import-untyped]
from kafka.admin import ConfigResource, ConfigResourceType  # type: ignore[import-untyped]
from kafka.errors import (  # type: ignore[import-untyped]
    AuthorizationError,
    KafkaConnectionError,
    KafkaError,
    KafkaProtocolError,
    KafkaTimeoutError,
    NoError,
    RequestTimedOutError,
    SaslAuthenticationFailedError,
    TopicAlreadyExistsError,
    UnsupportedSaslMechanismError,
    for_code,
)
from kafka.net.compat import KafkaNetClient  # type: ignore[import-untyped]

from adapters.kafka import KafkaAway
from adapters.kafka.connections import Connections
from adapters.settings import Settings, SettingsError

PATIENCE_MS = 5_000
"""How long anything may take before the brokers count as away; whoever asks us to end waits ten seconds in all."""
DELIVERY_MS = 10_000
"""After which whoever sends gives up what was not acknowledged, all at once, and the producer with it."""
DEAD_LETTERS_ARE_KEPT_MS = 365 * 24 * 3600 * 1000
DEAD_LETTER_BYTES = 16 * 1024 * 1024
"""Of a whole record: whoever compresses gets more into the commands' topic than its own limit says."""
DEFAULT_PARTITIONS = 6
MOST_REPLICAS = 3
SAFE = {"min.insync.replicas": "2"}
"""Of three copies: what is acknowledged survives a broker, and goes on being acknowledged without it."""
REFUSED = (AuthorizationError, SaslAuthenticationFailedError, UnsupportedSaslMechanismError)
SILENT = (KafkaTimeoutError, KafkaConnectionError, KafkaProtocolError, RequestTimedOutError)

# What the library logs, it logs again with each of its own attempts; what matters comes to us as an error.
logging.getLogger("kafka").setLevel(logging.CRITICAL)


class Topics(NamedTuple):
    commands: str
    replies: str
    events: str
    dead_letters: str


class Cluster:
    """Where clients come from; making one doesn't yet connect to anything."""

    def __init__(self, settings: Settings) -> None:
        if not settings.kafka:
            raise SettingsError("SEATLINE_KAFKA names no brokers: set it to host:port, several separated by commas")
        prefix = settings.kafka_prefix
        self.topics = Topics(*(f"{prefix}{name}" for name in ("commands", "replies", "events", "dead-letters")))
        self._prefix = prefix
        self._servers = settings.kafka
        self._partitions = settings.kafka_partitions
        self._replication = settings.kafka_replication
        self._connection = _connection(settings)
        self._topics_fit = False
        self.dead_letter_bytes = DEAD_LETTER_BYTES
        """How much the topic of dead letters takes in one record."""

    def ensure_topics(self) -> None:
        """Create the topics that are missing, once; raises SettingsError if those that are there don't fit."""
        if self._topics_fit:
            return
        with self.naming_outages(), self._admin() as admin:
            # Again after it, because somebody else may have been quicker, with settings of their own.
            while missing := self._missing(admin):
                self._create(admin, missing)
        self._topics_fit = True

    def _missing(self, admin: Any) -> list[str]:
        """The topics that aren't there; raises SettingsError if one that is there doesn't fit."""
        there = {topic["name"]: topic for topic in admin.describe_topics(list(self.topics)) if not topic["error_code"]}
        for name, topic in there.items():
            self._verify_partitions(name, len(topic["partitions"]))
        for name, config in _configs(admin, there).items():
            _verify_cleanup(name, config["cleanup.policy"])
            if name == self.topics.dead_letters:
                self.dead_letter_bytes = int(config["max.message.bytes"])
        return [name for name in self.topics if name not in there]

    def producer(self) -> Any:
        """A KafkaProducer; it wedges once a record was given up, so after any failure close it and take a new one."""
        return self._client(
            KafkaProducer,
            acks="all",
            enable_idempotence=True,
            linger_ms=2,
            batch_size=256 * 1024,
            max_request_size=2 * DEAD_LETTER_BYTES,
            # Never reached: the library would give up one batch and then send the next, out of order.
            delivery_timeout_ms=6 * DELIVERY_MS,
            request_timeout_ms=PATIENCE_MS,
            max_block_ms=PATIENCE_MS,
        )

    def consumer(self, group: str | None, *topics: str, most: int = 1_000, **more: Any) -> Any:
        """A KafkaConsumer, in the installation's group of this name if there is one; it commits nothing by itself."""
        return self._client(
            partial(KafkaConsumer, *topics),
            group_id=f"{self._prefix}{group}" if group else None,
            enable_auto_commit=False,
            allow_auto_create_topics=False,
            max_poll_records=most,
            fetch_max_wait_ms=500,
            fetch_max_bytes=8 * 1024 * 1024,
            max_partition_fetch_bytes=4 * 1024 * 1024,
            request_timeout_ms=PATIENCE_MS,
            **{"auto_offset_reset": "earliest"} | more,
        )

    @contextmanager
    def naming_outages(self) -> Iterator[None]:
        """Turns what the library says when the brokers are away or refuse into KafkaAway, in one line."""
        try:
            yield
        except KafkaError as error:
            raise KafkaAway(f"the brokers that SEATLINE_KAFKA names ({self._servers}) {_fault(error)}") from error

    @contextmanager
    def _admin(self) -> Iterator[Any]:
        admin = self._client(KafkaAdminClient, request_timeout_ms=PATIENCE_MS)
        try:
            yield admin
        finally:
            admin.close()

    def _client(self, make: Callable[..., Any], **settings: Any) -> Any:
        connections: Connections | None = None

        def reachable(**configs: Any) -> Any:
            nonlocal connections
            connections = Connections(PATIENCE_MS, **configs)
            return KafkaNetClient(connections._net, connections)

        with self.naming_outages():
            try:
                return make(
                    bootstrap_servers=self._servers.split(","),
                    bootstrap_timeout_ms=PATIENCE_MS,
                    reconnect_backoff_max_ms=1_000,
                    kafka_client=reachable,
                    **self._connection,
                    **settings,
                )
            except BaseException as error:
                if connections:
                    # A client that could not start leaves its thread behind, and only so can it be ended.
                    with suppress(KafkaError):
                        connections.close()
                        connections._net.close()
                    if isinstance(error, KafkaTimeoutError) and connections.first_failure:
                        raise connections.first_failure from error
                raise

    def _create(self, admin: Any, missing: list[str]) -> None:
        replicas = self._replication or min(MOST_REPLICAS, len(admin.describe_cluster()["brokers"]))
        wanted = {
            name: {
                "num_partitions": self._partitions or DEFAULT_PARTITIONS,
                "replication_factor": replicas,
                "configs": {"cleanup.policy": "delete"} | (SAFE if replicas > 2 else {}) | self._more(name),
            }
            for name in missing
        }
        for topic in admin.create_topics(wanted, timeout_ms=PATIENCE_MS, raise_errors=False)["topics"]:
            if topic["error_code"] not in (NoError.errno, TopicAlreadyExistsError.errno):
                why = topic["error_message"] or for_code(topic["error_code"]).__name__
                raise SettingsError(
                    f"topic {topic['name']} is missing and can't be created ({' '.join(why.split())}): create it with"
                    " cleanup.policy=delete, or change SEATLINE_KAFKA_PARTITIONS, SEATLINE_KAFKA_REPLICATION or what"
                    " our user may do"
                )
        admin.wait_for_topics(missing, timeout_ms=PATIENCE_MS)

    def _more(self, name: str) -> dict[str, str]:
        if name != self.topics.dead_letters:
            return {}
        return {"retention.ms": str(DEAD_LETTERS_ARE_KEPT_MS), "max.message.bytes": str(DEAD_LETTER_BYTES)}

    def _verify_partitions(self, name: str, partitions: int) -> None:
        if self._partitions and partitions != self._partitions:
            raise SettingsError(
                f"topic {name} has {partitions} partitions, SEATLINE_KAFKA_PARTITIONS says {self._partitions}:"
                " unset it to take topics as they are, or set it to what is there"
            )


def _configs(admin: Any, topics: Iterable[str]) -> dict[str, dict[str, str]]:
    wanted = {"cleanup.policy": None, "max.message.bytes": None}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, wanted) for name in topics]
    if not resources:
        return {}
    [described] = admin.describe_configs(resources, config_filter="all").values()
    return {name: {key: said["value"] for key, said in config.items()} for name, config in described.items()}


def _verify_cleanup(name: str, policy: str) -> None:
    if policy != "delete":
        raise SettingsError(
            f"topic {name} has cleanup.policy={policy}, which would throw records away that nobody has read:"
            " set it to delete, or choose other topics with SEATLINE_KAFKA_PREFIX"
        )


def _connection(settings: Settings) -> Mapping[str, Any]:
    protocol = settings.kafka_security_protocol
    found: dict[str, Any] = {"security_protocol": protocol}
    if protocol.endswith("SSL"):
        found["ssl_context"] = _tls(settings)
    if protocol.startswith("SASL"):
        if not (settings.kafka_sasl_mechanism and settings.kafka_sasl_username and settings.kafka_sasl_password):
            raise SettingsError(
                f"SEATLINE_KAFKA_SECURITY_PROTOCOL is {protocol}:"
                " set SEATLINE_KAFKA_SASL_MECHANISM, SEATLINE_KAFKA_SASL_USERNAME and SEATLINE_KAFKA_SASL_PASSWORD too"
            )
        found |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_sasl_username,
            "sasl_plain_password": settings.kafka_sasl_password.get_secret_value(),
        }
    return found


def _tls(settings: Settings) -> ssl.SSLContext:
    ca, certificate, key = settings.kafka_ssl_cafile, settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"SEATLINE_KAFKA_SSL_CAFILE {ca}: {_line(error)}") from None
    if key and not certificate:
        raise SettingsError("SEATLINE_KAFKA_SSL_KEYFILE needs SEATLINE_KAFKA_SSL_CERTFILE beside it")
    if certificate:
        try:
            # Without a password of its own the library would ask the terminal for one.
            context.load_cert_chain(certificate, key, password="")
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"SEATLINE_KAFKA_SSL_CERTFILE {certificate}, SEATLINE_KAFKA_SSL_KEYFILE {key}: {_line(error)}"
            ) from None
    return context


def _fault(error: KafkaError) -> str:
    """What the brokers do to us, and which settings to look at."""
    if isinstance(error, REFUSED):
        return (
            f"refuse us ({_line(error)}):"
            " check SEATLINE_KAFKA_SASL_MECHANISM, _SASL_USERNAME and _SASL_PASSWORD, and what that user may do"
        )
    match error.args:
        case [ssl.SSLCertVerificationError() as reason]:
            return (
                f"show a certificate that we don't trust ({_line(reason)}):"
                " check SEATLINE_KAFKA_SSL_CAFILE, and whether it was made out to these names"
            )
        case [ssl.SSLError() as reason]:
            return (
                f"don't talk TLS with us ({_line(reason)}):"
                " check SEATLINE_KAFKA_SECURITY_PROTOCOL, SEATLINE_KAFKA_SSL_CERTFILE and _SSL_KEYFILE"
            )
    if isinstance(error, SILENT):
        return f"don't answer as they should ({_line(error)}): do they run, does SEATLINE_KAFKA_SECURITY_PROTOCOL fit?"
    return f"fail: {_line(error)}"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def end_producer(producer: Any, seconds: float) -> None:
    """Close a producer, whatever it is at, within about this time and a second."""
    try:
        producer.close(timeout=seconds)
    except KafkaError:
        # With something still under way it gives up its own closing, and its thread would go on for ever.
        producer._sender.force_close()
        with suppress(KafkaError):
            producer.close(timeout=1)
