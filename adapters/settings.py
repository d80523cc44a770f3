"""Settings from the environment; a wrong one is refused at start, in one line that names it."""

import difflib
import os
import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AnyHttpUrl, Field, Secret, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from consumers.seller import Seller
from domain.kernel import Checked
from domain.pricing import PriceList

PREFIX = "SEATLINE_"
OTHERS = {"SEATLINE_REQUIRE", "SEATLINE_TEST_DATABASE_URL"}
"""Settings of the tests, which the program leaves alone."""


class SettingsError(Exception):
    """Names the wrong setting, what is wrong with it and the way out."""


class Settings(BaseSettings):
    """What an operator may set; every name is SEATLINE_ and the field's in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    database_url: str | None = None
    """A libpq URL, passed on whole; unset: an embedded PostgreSQL under the home."""
    home: Path | None = None
    """Where the embedded database and the Maildir live."""
    price_list: Path | None = None
    """A TOML file like the installed one, which it replaces."""
    smtp_url: str | None = None
    """Unset: messages are written to a Maildir under the home."""
    batch_size: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    """The most commands that share a transaction."""
    warm_aggregates: Annotated[int, Field(ge=100, le=5_000_000)] = 20_000
    """How many aggregates a writer keeps in memory, about 4 KiB each."""
    log_format: Literal["console", "json"] = "console"
    kafka: str | None = None
    """Bootstrap servers; unset: no commands from Kafka, no events to it."""
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_ssl_cafile: Path | None = None
    """Unset: the system's certificate authorities."""
    kafka_ssl_certfile: Path | None = None
    kafka_ssl_keyfile: Path | None = None
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    kafka_sasl_username: str | None = None
    kafka_sasl_password: Secret[str] | None = None
    kafka_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")] = "seatline."
    """What the names of topics and groups begin with, so that several installations share a cluster."""
    kafka_partitions: Annotated[int, Field(ge=1, le=1_000)] | None = None
    """Of each topic; unset: those that are there are taken as they are, and new ones get six."""
    kafka_replication: Annotated[int, Field(ge=1, le=10)] | None = None
    """Copies of each topic that we create; unset: three, or as many as there are brokers."""
    events_from: Literal["log", "kafka"] = "log"
    """Where email and activation read."""
    metrics_port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """Where `run` answers /healthz, /readyz and /metrics; unset: nowhere."""
    provisioning_url: AnyHttpUrl | None = None
    """Where activations are asked for; unset: they happen in the engine alone."""
    provisioning_token: Secret[Annotated[str, Field(pattern=r"^[!-~]+$")]] | None = None
    """Sent there as a bearer token."""
    audit_dir: Path | None = None
    """Where `audit` keeps seals, unless --seals says so."""
    audit_key: Path | None = None
    """The private key that signs them, unless --key says so."""
    audit_public_key: Path | None = None
    """The public key that they are checked with, unless --public-key says so."""

    @field_validator("kafka")
    @classmethod
    def _bootstrap_servers(cls, servers: str | None) -> str | None:
        if servers and not re.fullmatch(r"[^\s,]+:\d+(,[^\s,]+:\d+)*", servers):
            raise ValueError("write host:port, several separated by commas without blanks")
        return servers

    @field_validator("provisioning_url")
    @classmethod
    def _without_credentials(cls, url: AnyHttpUrl | None) -> AnyHttpUrl | None:
        if url and (url.username or url.password):
            raise ValueError("it takes no user or password; SEATLINE_PROVISIONING_TOKEN takes a bearer token")
        return url


class Shopfront(Checked):
    """What the seller's file says: the price list with its policies, and the seller's own data."""

    prices: PriceList
    seller: Seller


def load_settings() -> Settings:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | OTHERS
    for name in os.environ:
        if (
            name.startswith(PREFIX)
            and name not in known
            and (near := difflib.get_close_matches(name, known, cutoff=0.8))
        ):
            raise SettingsError(f"{name}: there is no such setting; did you mean {near[0]}?")
    if os.environ.get("POSTGRES_ENABLE_DB_FUNCTIONS", "").lower() in ("y", "yes", "t", "true", "on", "1"):
        raise SettingsError("POSTGRES_ENABLE_DB_FUNCTIONS: readers would miss events for good; unset it")
    try:
        settings = Settings()
    except ValidationError as error:
        raise SettingsError(_one_line(error, PREFIX)) from None
    if settings.events_from == "kafka" and not settings.kafka:
        raise SettingsError("SEATLINE_EVENTS_FROM is kafka, but SEATLINE_KAFKA names no brokers")
    _check_database_url(settings.database_url)
    _check_smtp_url(settings.smtp_url)
    return settings


def load_shopfront(path: Path | None) -> Shopfront:
    source = path or files(__package__) / "price_list.toml"
    where = f"SEATLINE_PRICE_LIST {path}" if path else "the installed price list"
    try:
        table = tomllib.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{where}: can't be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{where}: not TOML ({error})") from None
    seller = table.pop("seller", {})
    try:
        return Shopfront.model_validate({"prices": table, "seller": seller})
    except ValidationError as error:
        raise SettingsError(f"{where}: {_one_line(error)}") from None


def _check_database_url(url: str | None) -> None:
    if url is None:
        return
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # libpq's own words would repeat the URL, password and all.
        raise SettingsError("SEATLINE_DATABASE_URL: not a libpq URL, such as postgresql://user@host/database") from None


def _check_smtp_url(url: str | None) -> None:
    if url is None:
        return
    from adapters.mail import Relay

    try:
        Relay.at(url)
    except ValueError as error:
        raise SettingsError(f"SEATLINE_SMTP_URL: {error}") from None


def _one_line(error: ValidationError, prefix: str = "") -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    name = f"{prefix}{field.upper()}" if prefix and field else field
    message = first["msg"].removeprefix("Value error, ")
    return f"{name}: {message}" if name else message
