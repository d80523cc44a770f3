"""The database's schema: numbered migrations, each applied once, however many processes start together."""

import hashlib
from importlib.resources import files

import psycopg

LOCK = 7328040


class SchemaError(Exception):
    """The database is not one that this version can work on; says in one line why, and the way out."""


def migrate(connection: psycopg.Connection) -> list[str]:
    """Bring the schema up to date under an advisory lock; returns the names of the migrations applied."""
    applied = []
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        connection.execute("CREATE SCHEMA IF NOT EXISTS seatline")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS seatline.migrations"
            " (name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        known: dict[str, str] = dict(connection.execute("SELECT name, checksum FROM seatline.migrations").fetchall())
        for name, sql in _migrations():
            checksum = hashlib.sha256(sql.encode()).hexdigest()
            if known.pop(name, checksum) != checksum:
                raise SchemaError(f"migration {name} was applied with another text: restore it, never edit one")
            if not _is_applied(connection, name):
                connection.execute(sql.encode())
                connection.execute("INSERT INTO seatline.migrations (name, checksum) VALUES (%s, %s)", (name, checksum))
                applied.append(name)
        if known:
            raise SchemaError(f"the database is newer than this program (it has {max(known)}): upgrade Seatline")
    return applied


def _is_applied(connection: psycopg.Connection, name: str) -> bool:
    return connection.execute("SELECT FROM seatline.migrations WHERE name = %s", (name,)).fetchone() is not None


def _migrations() -> list[tuple[str, str]]:
    folder = files(__package__) / "migrations"
    return [
        (entry.name, entry.read_text(encoding="utf-8"))
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".sql")
    ]
