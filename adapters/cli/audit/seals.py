"""The history sealed, compared with its seals, and proved event by event."""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from psycopg import Connection

from adapters.cli import DOMAIN_SAID_NO, DONE, Complaint
from adapters.cli.audit.given import given_key, given_public_key, given_seals, log_url
from adapters.cli.show import print_json
from adapters.cli.ticking import ticking
from adapters.postgres import sealing
from adapters.postgres.database import connected, naming_outages
from adapters.seals import Proof


def seal(arguments: argparse.Namespace) -> int:
    key, seals = given_key(arguments), given_seals(arguments)
    stop = threading.Event()
    if arguments.every is not None:
        if arguments.every <= 0:
            raise Complaint(f"--every {arguments.every:g}: more than 0 seconds have to pass")
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
    with _log() as connection:
        while True:
            with ticking("seal") as progress:
                head, new = sealing.seal(connection, seals, key, progress)
            if arguments.json:
                print_json({"size": head.size, "new": new, "root": head.root.hex(), "sealed_at": head.sealed_at})
            elif new:
                print(f"sealed: {head.size:,} events, {new:,} of them new; root {head.root.hex()}")
            elif arguments.every is None:
                print(f"nothing new: {head.size:,} events are sealed")
            sys.stdout.flush()
            if arguments.every is None or stop.wait(arguments.every):
                return DONE


def verify(arguments: argparse.Namespace) -> int:
    key, seals, began = given_public_key(arguments), given_seals(arguments), time.monotonic()
    with _log() as connection, ticking("verify") as progress:
        verified = sealing.verify(connection, seals, key, progress)
    if arguments.json:
        found = verified.found._asdict() if verified.found else None
        print_json(
            {"sealed": verified.head.size, "heads": verified.heads, "unsealed": verified.unsealed, "found": found}
        )
    else:
        _tell(verified, time.monotonic() - began)
    return DOMAIN_SAID_NO if verified.found else DONE


def _tell(verified: sealing.Verified, seconds: float) -> None:
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


def prove(arguments: argparse.Namespace) -> int:
    with _log() as connection:
        proof = sealing.prove(connection, given_seals(arguments), given_public_key(arguments), arguments.event)
    print(msgspec.json.encode(proof).decode())
    return DONE


def verify_proof(arguments: argparse.Namespace) -> int:
    key = given_public_key(arguments)
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


@contextmanager
def _log() -> Iterator[Connection[Any]]:
    with naming_outages(), log_url() as url, connected(url) as connection:
        yield connection
