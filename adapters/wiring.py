"""Where ports and adapters are joined: one engine from the settings."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.books import StoredBooks
from adapters.clerk import Clerk
from adapters.embedded import default_home, embedded_postgres
from adapters.kafka import KafkaAway
from adapters.mail import MaildirMailer, SmtpMailer
from adapters.postgres.database import Datastore, connected, naming_outages, prepare
from adapters.postgres.effects import EffectWorker, EngineActivation
from adapters.postgres.log import EventLog
from adapters.postgres.readers import EventSource, LogSource, activation_worker, calendar_worker, decide
from adapters.postgres.views import ViewWorker, create_views
from adapters.settings import Settings, SettingsError, Shopfront, load_shopfront
from adapters.workers import Worker
from consumers import activation
from consumers.activation import Activation, Purchase
from consumers.email import Email

if TYPE_CHECKING:  # takes a fifth of a second, which only those who speak to Kafka have
    from adapters.kafka.cluster import Cluster

WORKERS = ("projections", "activation", "email", "calendar")
NEED_KAFKA = ("commands", "publisher")


@dataclass(frozen=True)
class Engine:
    """Everything that a command of the command line works with."""

    settings: Settings
    home: Path
    shopfront: Shopfront
    log: EventLog

    @cached_property
    def books(self) -> StoredBooks:
        return StoredBooks(self.log)

    @cached_property
    def cluster(self) -> "Cluster":
        from adapters.kafka.cluster import Cluster

        return Cluster(self.settings)

    def clerk(self) -> Clerk:
        return Clerk(self.log, self.shopfront.prices, capacity=self.settings.warm_aggregates)

    def workers(self, names: Sequence[str] = ()) -> list[Worker]:
        """The named workers, or all that the settings allow."""
        names = names or (*WORKERS, *(NEED_KAFKA if self.settings.kafka else ()))
        if not set(NEED_KAFKA).isdisjoint(names):
            # Topics that don't fit are refused at once; brokers that are away are waited for by whoever needs them.
            with suppress(KafkaAway):
                self.cluster.ensure_topics()
        return [self._worker(name) for name in names]

    def _worker(self, name: str) -> Worker:
        match name:
            case "projections":
                return ViewWorker(self.log)
            case "activation":
                return self._activation()
            case "calendar":
                return calendar_worker(self.log, self.clerk())
            case "commands":
                from adapters.kafka.inbox import CommandsWorker

                return CommandsWorker(self.log, self.clerk(), self.cluster, batch_size=self.settings.batch_size)
            case "email":
                mailer = self._mailer()
                email = Email(self.books, mailer.send, self.shopfront.prices, self.shopfront.seller)
                return EffectWorker(self.log, self._source(name), email)
            case "publisher":
                from adapters.kafka.publisher import Publisher

                return Publisher(self.log, self.cluster)
            case _:
                raise SettingsError(f"{name}: this version has no such worker; there are {', '.join(WORKERS)}")

    def _source(self, reader: str) -> EventSource:
        if self.settings.events_from == "log":
            return LogSource(self.log, reader)
        from adapters.kafka.events import KafkaSource

        return KafkaSource(self.log, self.cluster, reader)

    def _activation(self) -> Worker:
        source, clerk, provision = self._source(activation.NAME), self.clerk(), self._provision()
        consumer = Activation(self.books, self.log.event, provision, partial(decide, clerk))
        effects = EffectWorker(self.log, source, consumer, repeatable=True)
        return effects if provision else EngineActivation(activation_worker(source, clerk), effects)

    def _provision(self) -> Callable[[Purchase], None] | None:
        url, token = self.settings.provisioning_url, self.settings.provisioning_token
        if url is None:
            return None
        from adapters.provisioning import Provisioner

        return Provisioner(str(url), token.get_secret_value() if token else None).activate

    def _mailer(self) -> SmtpMailer | MaildirMailer:
        url = self.settings.smtp_url
        return SmtpMailer(url) if url else MaildirMailer(self.home / "mail")


@contextmanager
def engine(settings: Settings) -> Iterator[Engine]:
    """The engine over the database that the settings name, its schema brought up to date."""
    home = settings.home or default_home()
    shopfront = load_shopfront(settings.price_list)
    with _database(settings, home) as url:
        prepare(url)
        with connected(url) as connection, naming_outages():
            create_views(connection)
        datastore = Datastore(url)
        try:
            yield Engine(settings, home, shopfront, EventLog(datastore))
        finally:
            datastore.close()


@contextmanager
def _database(settings: Settings, home: Path) -> Iterator[str]:
    if settings.database_url:
        yield settings.database_url
    else:
        with embedded_postgres(home) as url:
            yield url
