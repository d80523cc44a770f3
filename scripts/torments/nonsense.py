"""Row 11: unreadable input goes to the dead letters byte for byte and the rest goes on; outages make no dead letters.

Nonsense of every kind comes mixed one to one with good commands, while the database goes away again and again.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from adapters.clerk import Clerk
from adapters.kafka.asking import publish
from adapters.kafka.cluster import Cluster, end_producer
from adapters.kafka.header_names import HeaderName
from adapters.postgres.database import DatabaseAway, connected
from adapters.postgres.log import DeadLetter
from adapters.settings import Settings
from adapters.wiring import engine
from scripts.benches.stage import Stage
from scripts.torments.commands import command
from scripts.torments.ledger import Outcome
from scripts.torments.machine import a_machine
from scripts.torments.mortals import Bug, Mortal
from scripts.torments.wire import Wire, a_wire

FULL = 100_000
QUICK = 2_000
AT_ONCE = 500
"""Records published between two outages."""
OUTAGE = (0.0, 0.6)
"""Seconds."""
PATIENCE = 120.0

PLANTED = {
    "dead letters lose their bytes": {
        "bug": Bug("adapters.kafka.inbox:dead_letter", "scripts.torments.nonsense:without_its_bytes")
    },
    "an outage makes dead letters": {
        "bug": Bug("adapters.clerk:Clerk.handle", "scripts.torments.nonsense:give_up_when_the_database_is_away")
    },
}


class Record(NamedTuple):
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


def torment(stage: Stage, size: int, seed: int, *, bug: Bug | None = None) -> Outcome:
    chance = random.Random(seed)  # noqa: S311  reproducible on purpose
    good = [f"good-{number}" for number in range(size // 2)]
    bad = [_nonsense(chance, number) for number in range(size // 2)]
    records = [Record(id_.encode(), command(id_), []) for id_ in good] + bad
    chance.shuffle(records)
    outages = 0
    with a_machine() as servers, stage.database() as url, a_wire(url) as wire:
        with engine(Settings(database_url=url)):
            pass  # makes the schema
        cluster = Cluster(Settings(kafka=servers, kafka_prefix="nonsense.", kafka_partitions=3))
        cluster.ensure_topics()
        settings = {"SEATLINE_DATABASE_URL": wire.url, "SEATLINE_KAFKA": servers, "SEATLINE_KAFKA_PREFIX": "nonsense."}
        worker = Mortal(settings, "commands", None, bug)
        _wait_until_begun(url)  # without a database none would start
        producer = cluster.producer()
        for first in range(0, len(records), AT_ONCE):
            publish(producer, cluster.topics.commands, records[first : first + AT_ONCE])
            if chance.random() < 0.5:
                _cut(wire, chance.uniform(*OUTAGE))
                outages += 1
        end_producer(producer, 5)
        complaints = list(_unfinished(url, len(records), worker))
        worker.kill()
        complaints += _complaints(url, good, bad)
    return Outcome({"good": len(good), "unreadable": len(bad), "outages": outages}, complaints)


def _wait_until_begun(url: str) -> None:
    with connected(url) as connection:
        while not connection.execute("SELECT FROM seatline.inbox LIMIT 1").fetchall():
            time.sleep(0.1)


def _cut(wire: Wire, seconds: float) -> None:
    wire.cut()
    time.sleep(seconds)
    wire.mend()


def _unfinished(url: str, goal: int, worker: Mortal) -> Iterator[str]:
    until = time.monotonic() + PATIENCE
    with connected(url) as connection:
        while True:
            [(done,)] = connection.execute("SELECT coalesce(sum(next_offset), 0) FROM seatline.inbox").fetchall()
            if done == goal:
                return
            if time.monotonic() > until:
                yield f"stuck at {done:,} of {goal:,} records"
                return
            if worker.wait(0.1):
                yield "the worker has ended"
                return


def _complaints(url: str, good: list[str], bad: list[Record]) -> Iterator[str]:
    with connected(url) as connection:
        decided = {id_ for (id_,) in connection.execute("SELECT command_id FROM seatline.answers").fetchall()}
        rows = connection.execute(
            "SELECT key, value, header_names, header_values FROM seatline.dead_letters"
        ).fetchall()
    yield from (f"{id_} was never decided" for id_ in good if id_ not in decided)
    yield from (f"{id_} was decided though it can't be read" for id_ in decided - set(good))
    sent = Counter((r.key, r.value, tuple((n.encode(), v) for n, v in r.headers)) for r in bad)
    kept = Counter((key, value, tuple(zip(names, values, strict=True))) for key, value, names, values in rows)
    yield from (f"not among the dead letters: {str(letter)[:100]}" for letter in sent - kept)
    yield from (f"a dead letter that nobody sent: {str(letter)[:100]}" for letter in kept - sent)


# Nonsense


def _nonsense(chance: random.Random, number: int) -> Record:
    """A record that can't be read, whatever the reader thinks; its key makes it one of a kind."""
    make = chance.choice(KINDS)
    record = make(chance, command(f"bad-{number}"))
    return record._replace(key=f"bad-{number}".encode())


def _bytes(chance: random.Random, line: bytes) -> Record:
    return Record(None, chance.randbytes(chance.randrange(1, 400)), [])


def _cut_short(chance: random.Random, line: bytes) -> Record:
    return Record(None, line[: chance.randrange(len(line) - 1)], [])


def _bit_in_the_utf8(chance: random.Random, line: bytes) -> Record:
    place = chance.randrange(len(line))
    return Record(None, line[:place] + b"\xff" + line[place:], [])


def _key_twice(_: random.Random, line: bytes) -> Record:
    return Record(None, b'{"source":"/twice",' + line[1:], [])


def _no_number(chance: random.Random, line: bytes) -> Record:
    return Record(None, line.replace(b'"quantity": 1', b'"quantity": %b' % chance.choice((b"NaN", b"-Infinity"))), [])


def _control(chance: random.Random, line: bytes) -> Record:
    inside = chance.choice((b"\\u0000", b"\\u001b[2J", b"\\ud800", b"\x01", b"\xc2\x85"))
    return Record(None, line.replace(b"Anna", b"An" + inside + b"na"), [])


def _too_long(_: random.Random, line: bytes) -> Record:
    return Record(None, line + b" " * 65_536, [])


def _deep(_: random.Random, line: bytes) -> Record:
    return Record(None, b"[" * 5_000 + b"]" * 5_000, [])


def _no_value(_: random.Random, line: bytes) -> Record:
    return Record(None, None, [])


def _without(chance: random.Random, line: bytes) -> Record:
    envelope = json.loads(line)
    del envelope[chance.choice(("specversion", "id", "source", "type", "time"))]
    return Record(None, json.dumps(envelope).encode(), [])


def _wrong(chance: random.Random, line: bytes) -> Record:
    wrong: tuple[tuple[str, object], ...] = (
        ("specversion", "0.3"),
        ("id", ""),
        ("id", 7),
        ("id", "fulfil:order/1000"),
        ("source", ["/"]),
        ("time", "2026-03-02T09:00:00"),
        ("time", "2026-13-02T09:00:00Z"),
        ("type", "x" * 201),
    )
    name, value = chance.choice(wrong)
    return Record(None, json.dumps(json.loads(line) | {name: value}).encode(), [])


def _binary(chance: random.Random, line: bytes) -> Record:
    envelope = json.loads(line)
    data = json.dumps(envelope.pop("data")).encode()
    headers = [(f"ce_{name}", str(value).encode()) for name, value in envelope.items()]
    spoilt = chance.randrange(len(headers))
    name, _ = headers[spoilt]
    headers[spoilt] = (name, chance.choice((b"", b"\xff", b"\x00")))
    return Record(None, data, [*headers, (HeaderName(b"n\xffme"), b"\xfe")])


KINDS: tuple[Callable[[random.Random, bytes], Record], ...] = (
    _bytes,
    _cut_short,
    _bit_in_the_utf8,
    _key_twice,
    _no_number,
    _control,
    _too_long,
    _deep,
    _no_value,
    _without,
    _wrong,
    _binary,
)


# Planted

HANDLE = Clerk.handle


def without_its_bytes(record: Any, reason: str) -> Any:
    return DeadLetter(record.topic, record.partition, record.offset, record.key, b"", [], [], reason)


def give_up_when_the_database_is_away(clerk: Any, commands: Any, intake: Any = None) -> Any:
    try:
        return HANDLE(clerk, commands, intake)
    except DatabaseAway:
        time.sleep(1)
        letters = [DeadLetter(intake.topic, -1, -n, c.id.encode(), b"", [], [], "away") for n, c in enumerate(commands)]
        return HANDLE(clerk, [], type(intake)(intake.topic, intake.shares, [*intake.dead_letters, *letters]))
