"""`seatline audit`: the history sealed, compared with its seals, and proved event by event."""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from psycopg import Connection
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from adapters.cli import DOMAIN_SAID_NO, DONE, Complaint
from adapters.cli.show import print_json
from adapters.embedded import default_home, embedded_postgres
from adapters.postgres.database import connected, naming_outages
from adapters.postgres.sealing import LogBroken, NotSealed, Verified, prove, seal, verify
from adapters.seals import KeyUnfit, Proof, SealBroken, Seals, private_key, public_key
from adapters.settings import load_settings


def run(arguments: argparse.Namespace) -> int:
    actions = {"seal": _seal, "verify": _verify, "prove": _prove, "verify-proof": _verify_proof}
    try:
        return actions[arguments.action](arguments)
    except KeyUnfit as error:
        raise Complaint(str(error)) from None
    except (LogBroken, NotSealed, SealBroken) as error:
        raise Complaint(str(error), DOMAIN_SAID_NO) from None
    except OSError as error:
        raise Complaint(f"{error.filename}: {error.strerror}") from None


def _seal(arguments: argparse.Namespace) -> int:
    key, seals = private_key(_path(arguments.key, "--key", "audit_key")), _seals(arguments)
    stop = threading.Event()
    if arguments.every is not None:
        if arguments.every <= 0:
            raise Complaint(f"--every {arguments.every:g}: more than 0 seconds have to pass")
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
    with _log() as connection:
        while True:
            with _ticking("seal") as progress:
                head, new = seal(connection, seals, key, progress)
            if arguments.json:
                print_json({"size": head.size, "new": new, "root": head.root.hex(), "sealed_at": head.sealed_at})
            elif new:
                print(f"sealed: {head.size:,} events, {new:,} of them new; root {head.root.hex()}")
            elif arguments.every is None:
                print(f"nothing new: {head.size:,} events are sealed")
            sys.stdout.flush()
            if arguments.every is None or stop.wait(arguments.every):
                return DONE


def _verify(arguments: argparse.Namespace) -> int:
    key, seals, began = _public_key(arguments), _seals(arguments), time.monotonic()
    with _log() as connection, _ticking("verify") as progress:
        verified = verify(connection, seals, key, progress)
    if arguments.json:
        found = verified.found._asdict() if verified.found else None
        print_json(
            {"sealed": verified.head.size, "heads": verified.heads, "unsealed": verified.unsealed, "found": found}
        )
    else:
        _tell(verified, time.monotonic() - began)
    return DOMAIN_SAID_NO if verified.found else DONE


def _tell(verified: Verified, seconds: float) -> None:
    head, found = verified.head, verified.found
    heads = "1 head" if verified.heads == 1 else f"{verified.heads:,} heads"
    sealed = f"{head.size:,} events, sealed under {heads}, last at {head.sealed_at}"
    if found:
        print(f"CHANGED: position {found.position:,} {found.what}: {found.told}")
        print(f"  compared with {sealed}; what comes after this position was not looked at")
    else:
        print(f"unchanged: {sealed} ({seconds:.1f} s)")
    if verified.unsealed:
        print(f"  {verified.unsealed:,} events came later and are not sealed yet")


def _prove(arguments: argparse.Namespace) -> int:
    with _log() as connection:
        proof = prove(connection, _seals(arguments), _public_key(arguments), arguments.event)
    print(msgspec.json.encode(proof).decode())
    return DONE


def _verify_proof(arguments: argparse.Namespace) -> int:
    key = _public_key(arguments)
    said = sys.stdin.buffer.read() if arguments.file == "-" else Path(arguments.file).read_bytes()
    try:
        proof = msgspec.json.decode(said, type=Proof)
    except msgspec.DecodeError as error:
        raise Complaint(f"{arguments.file}: is no proof ({error})") from None
    if complaint := proof.complaint(key):
        raise Complaint(f"{arguments.file}: {complaint}", DOMAIN_SAID_NO)
    event, head = proof.event, proof.head
    if arguments.json:
        print_json({"position": proof.position, "event": event, "sealed": head.size, "sealed_at": head.sealed_at})
    else:
        print(f"proved: {event.stream}@{event.version}, {event.topic}, about {event.subject}")
        print(f"  stood at position {proof.position:,} when {head.size:,} events were sealed at {head.sealed_at}")
        print(event.state)
    return DONE


# What the environment and the options say


def _seals(arguments: argparse.Namespace) -> Seals:
    return Seals(_path(arguments.seals, "--seals", "audit_dir"))


def _public_key(arguments: argparse.Namespace) -> Any:
    return public_key(_path(arguments.public_key, "--public-key", "audit_public_key"))


def _path(given: str | None, option: str, setting: str) -> Path:
    path = Path(given) if given else getattr(load_settings(), setting)
    if path is None:
        raise Complaint(f"say where: {option}, or SEATLINE_{setting.upper()}")
    return Path(path)


@contextmanager
def _log() -> Iterator[Connection[Any]]:
    """The database as it is: whoever verifies may only read it, and looks also at one that nobody could work on."""
    settings = load_settings()
    with naming_outages():
        if settings.database_url:
            with connected(settings.database_url) as connection:
                yield connection
        else:
            with embedded_postgres(settings.home or default_home()) as url, connected(url) as connection:
                yield connection


@contextmanager
def _ticking(name: str) -> Iterator[Callable[[int, int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("events"))
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, goal: bar.update(task, completed=done, total=goal)
