"""What the options and the environment say to an audit: keys, seals, and the log as it is."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from adapters.cli import Complaint
from adapters.embedded import default_home, embedded_postgres
from adapters.seals import Seals, private_key, public_key
from adapters.settings import load_settings


def given_seals(arguments: argparse.Namespace) -> Seals:
    return Seals(_path(arguments.seals, "--seals", "audit_dir"))


def given_key(arguments: argparse.Namespace) -> Ed25519PrivateKey:
    return private_key(_path(arguments.key, "--key", "audit_key"))


def given_public_key(arguments: argparse.Namespace) -> Ed25519PublicKey:
    return public_key(_path(arguments.public_key, "--public-key", "audit_public_key"))


def _path(given: str | None, option: str, setting: str) -> Path:
    path = Path(given) if given else getattr(load_settings(), setting)
    if path is None:
        raise Complaint(f"say where: {option}, or SEATLINE_{setting.upper()}")
    return Path(path)


@contextmanager
def log_url() -> Iterator[str]:
    """The database as it is: an auditor may only read it, and looks also at one that nobody could work on."""
    settings = load_settings()
    if settings.database_url:
        yield settings.database_url
    else:
        with embedded_postgres(settings.home or default_home()) as url:
            yield url
