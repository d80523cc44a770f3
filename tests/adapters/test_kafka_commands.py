"""Commands from Kafka: each decided once and answered, whoever is killed, cut off or sent nonsense."""

import json
import shutil
import signal
import subprocess
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from adapters.kafka.cluster import Cluster
from adapters.kafka.header_names import HeaderName
from adapters.kafka.inbox import CommandsWorker
from adapters.kafka.partitions import TopicRecreated
from adapters.postgres.database import DatabaseAway
from adapters.settings import Settings
from scripts.torments.wire import Wire
from tests.broker import a_cluster
from tests.office import BASE, Office, an_office, service, until
from tests.upstream import Headers, Upstream, running

pytestmark = pytest.mark.kafka

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@contextmanager
def working(office: Office, cluster: Cluster) -> Iterator[CommandsWorker]:
    worker = CommandsWorker(office.log, office.another_clerk(), cluster, batch_size=100)
    try:
        yield worker
    finally:
        worker.close()


@pytest.fixture
def worker(office: Office, cluster: Cluster) -> Iterator[CommandsWorker]:
    with working(office, cluster) as worker:
        yield worker


def binary(line: bytes) -> tuple[bytes, Headers]:
    """The same command in binary mode."""
    envelope = json.loads(line)
    data = envelope.pop("data")
    return json.dumps(data).encode(), [(f"ce_{name}", value.encode()) for name, value in envelope.items()]


def start(office: Office, **said: Any) -> bytes:
    return office.line("start-subscription", services=[service(BASE, "2026-06-30")], **said)


def test_commands_in_both_modes_are_decided_and_answered(
    office: Office, upstream: Upstream, worker: CommandsWorker
) -> None:
    upstream.publish(start(office, id="one", subscription_id="SUB-1"))
    value, headers = binary(start(office, id="two", subscription_id="SUB-2"))
    upstream.publish(value, headers=[*headers, ("traceparent", TRACE.encode()), ("other", b"\xff")])

    office.drain(worker)

    assert {reply["command_id"]: reply["outcome"] for reply in upstream.replies()} == {
        "one": "accepted",
        "two": "accepted",
    }
    records = {record.key: record for record in upstream.read(upstream.topics.replies)}
    assert records[b"one"].headers == []
    assert records[b"two"].headers == [("traceparent", TRACE.encode())]
    assert {recorded.envelope.traceparent for recorded in office.log.page(0, 10)} == {None, TRACE}


def test_every_command_gets_its_outcome_over_kafka_too(
    office: Office, upstream: Upstream, worker: CommandsWorker
) -> None:
    first = start(office, id="first")
    structured_again, headers = binary(first)
    upstream.publish(first, first, start(office, id="second"), office.line("open-cart", id="first"), partition=0)
    upstream.publish(structured_again, headers=headers, partition=0)

    office.drain(worker)

    replies = upstream.replies()
    assert [(reply["command_id"], reply["outcome"], reply.get("code")) for reply in replies] == [
        ("first", "accepted", None),
        ("first", "duplicate", None),
        ("second", "rejected", "subscription_exists"),
        ("first", "rejected", "command_id_reused"),
        ("first", "duplicate", None),
    ]
    assert office.facts() == ["SubscriptionStarted"]


def test_what_cannot_be_read_becomes_a_dead_letter_byte_for_byte_and_the_rest_goes_on(
    office: Office, upstream: Upstream, worker: CommandsWorker
) -> None:
    value, headers = binary(start(office, id="no id"))
    without_id = [(name, said) for name, said in headers if name != "ce_id"]
    strange: list[tuple[bytes | None, Headers]] = [
        (b"", []),
        (None, []),
        (b"\xff\xfe\x00", [(HeaderName(b"n\xffme"), b"\xfe"), ("n", b""), ("n", b"again")]),
        (b'{"specversion":"1.0"}', []),
        (b" " * 70_000, []),
        (b"\x00" * 900_000, []),
        (value, without_id),
        (value, [*headers, ("ce_id", b"twice")]),
        (value, [*without_id, ("ce_id", b"\xff")]),
        (value, [*without_id, ("ce_id", b"a\x1b[2J")]),
        (b"{", headers),
    ]
    upstream.publish(start(office, id="before"), partition=0)
    for value_, headers_ in strange:
        upstream.publish(value_, headers=headers_, partition=0)
    upstream.publish(office.line("open-cart", id="after"), partition=0)

    office.drain(worker)

    assert [reply["command_id"] for reply in upstream.replies()] == ["before", "after"]
    stored = office.ask("SELECT key, value, header_names, header_values, reason FROM seatline.dead_letters ORDER BY id")
    came = [([name.encode() for name, _ in headers_], [said for _, said in headers_]) for _, headers_ in strange]
    assert [row[1] for row in stored] == [value_ for value_, _ in strange]
    assert [row[2:4] for row in stored] == came
    sent = upstream.dead_letters()
    sent.sort(key=lambda record: int(dict(record.headers)["offset"]))
    assert [record.value for record in sent] == [value_ for value_, _ in strange]
    for offset, (record, row, (names, values)) in enumerate(zip(sent, stored, came, strict=True), start=1):
        about = [row[4].encode(), upstream.topics.commands.encode(), b"0", str(offset).encode()]
        assert [name.encode() for name, _ in record.headers] == [*names, b"reason", b"topic", b"partition", b"offset"]
        assert [said for _, said in record.headers] == values + about
        assert record.key == row[0]


def test_a_dead_letter_that_its_topic_does_not_take_is_kept_in_the_database(
    office: Office, upstream: Upstream, broker: str, kafka_prefix: str
) -> None:
    upstream.squeeze_dead_letters(10_000)
    upstream.publish(b"x" * 20_000, start(office, id="after"), partition=0)

    with working(office, Cluster(Settings(kafka=broker, kafka_prefix=kafka_prefix))) as worker:
        office.drain(worker)

    assert office.ask("SELECT length(value) FROM seatline.dead_letters") == [(20_000,)]
    [record] = upstream.dead_letters()
    assert (record.value, dict(record.headers)["offset"]) == (b"", b"0")
    assert [reply["command_id"] for reply in upstream.replies()] == ["after"]


def test_dead_letters_that_their_topic_takes_one_by_one_are_not_too_many_for_it(
    office: Office, upstream: Upstream, worker: CommandsWorker
) -> None:
    upstream.squeeze_dead_letters(10_000)
    upstream.publish(*[b"x" * 4_000] * 20, partition=0)

    office.drain(worker)

    assert sorted(int(dict(record.headers)["offset"]) for record in upstream.dead_letters()) == list(range(20))


def test_a_worker_goes_on_where_the_last_one_left_and_answers_nothing_twice(
    office: Office, upstream: Upstream, cluster: Cluster
) -> None:
    for number in range(3):
        upstream.publish(start(office, id=f"c{number}", subscription_id=f"SUB-{number}"))
        with working(office, cluster) as worker:
            office.drain(worker)
    assert sorted(reply["command_id"] for reply in upstream.replies()) == ["c0", "c1", "c2"]


def test_what_was_decided_and_not_yet_answered_is_answered_as_it_was_decided(
    office: Office, upstream: Upstream, cluster: Cluster
) -> None:
    upstream.publish(start(office, id="yes"), start(office, id="no"), b"nonsense", partition=0)
    with working(office, cluster) as worker:
        office.drain(worker)
    first = sorted(upstream.replies(), key=itemgetter("command_id"), reverse=True)
    office.tell("UPDATE seatline.inbox SET answered_offset = 0")

    with working(office, cluster) as worker:
        office.drain(worker)

    assert sorted(upstream.replies(), key=itemgetter("command_id")) == [first[1]] * 2 + [first[0]] * 2
    assert [reply["outcome"] for reply in first] == ["accepted", "rejected"]
    assert len(upstream.dead_letters()) == 2
    assert office.ask("SELECT count(*) FROM seatline.dead_letters") == [(1,)]
    assert office.ask("SELECT next_offset, answered_offset FROM seatline.inbox WHERE partition = 0") == [(3, 3)]


def test_a_database_that_is_away_is_waited_for_and_makes_no_dead_letter(
    migrated_url: str, upstream: Upstream, cluster: Cluster, wire: Wire
) -> None:
    with an_office(migrated_url) as office, an_office(wire.url) as far, working(far, cluster) as worker:
        upstream.publish(start(office, id="before"), partition=0)
        office.drain(worker)
        wire.cut()
        upstream.publish(*(office.line("open-cart", id=f"c{n}") for n in range(50)), partition=0)
        for _ in range(2):
            with pytest.raises(DatabaseAway):
                until(lambda: worker.step() and False)
        wire.mend()
        office.drain(worker)
        wire.lose_answer(b"c-lost")
        upstream.publish(office.line("open-cart", id="c-lost"), partition=0)
        with pytest.raises(DatabaseAway):
            until(lambda: worker.step() and False)
        office.drain(worker)

        assert Counter(reply["outcome"] for reply in upstream.replies()) == {"accepted": 52}
        assert len(office.ask("SELECT command_id FROM seatline.answers")) == 52
        assert not upstream.dead_letters()


def test_a_worker_whose_partition_was_taken_over_stores_nothing_of_it(
    office: Office, upstream: Upstream, cluster: Cluster
) -> None:
    with working(office, cluster) as worker:
        upstream.publish(start(office, id="mine"), partition=0)
        office.drain(worker)
        office.tell("UPDATE seatline.inbox SET epoch = epoch + 1")
        upstream.publish(office.line("open-cart", id="not mine"), partition=0)
        until(worker.step)
        assert office.ask("SELECT command_id FROM seatline.answers") == [("mine",)]

        until(lambda: worker.step() and len(office.ask("SELECT FROM seatline.answers")) == 2)
        office.drain(worker)
    assert sorted(reply["command_id"] for reply in upstream.replies()) == ["mine", "not mine"]


def test_commands_that_retention_took_before_they_were_decided_are_missed_loudly(
    office: Office, upstream: Upstream, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream.publish(start(office, id="decided"), partition=0)
    with working(office, cluster) as worker:
        office.drain(worker)
    upstream.publish(office.line("open-cart", id="lost"), office.line("open-cart", id="kept"), partition=0)
    upstream.take_away_before(2)

    with working(office, cluster) as worker:
        office.drain(worker)

    assert [reply["command_id"] for reply in upstream.replies()] == ["decided", "kept"]
    assert "commands.lost" in "".join(capsys.readouterr())


def test_a_topic_that_was_made_anew_is_refused(office: Office, upstream: Upstream, cluster: Cluster) -> None:
    upstream.publish(start(office, id="decided"), partition=0)
    with working(office, cluster) as worker:
        office.drain(worker)
    office.tell("UPDATE seatline.inbox SET next_offset = 7, answered_offset = 7")
    with working(office, cluster) as worker, pytest.raises(TopicRecreated, match="SEATLINE_KAFKA_PREFIX"):
        office.drain(worker)


def test_records_of_transactions_are_read_once_they_are_committed(
    office: Office, upstream: Upstream, worker: CommandsWorker
) -> None:
    aborted, committed = start(office, id="aborted"), start(office, id="committed")
    upstream.publish_in_transaction(aborted, commit=False)
    upstream.publish_in_transaction(committed, commit=True)

    office.drain(worker)

    assert [reply["command_id"] for reply in upstream.replies()] == ["committed"]


# Processes


def claims(office: Office) -> int:
    """How many times a partition has been claimed."""
    return int(office.ask("SELECT coalesce(sum(epoch), 0) FROM seatline.inbox")[0][0])


def decided(office: Office) -> int:
    return int(office.ask("SELECT count(*) FROM seatline.answers")[0][0])


def carts(office: Office, numbers: range) -> list[bytes]:
    return [office.line("open-cart", id=f"c{number}", subscription_id=f"SUB-{number}") for number in numbers]


@pytest.mark.slow
def test_workers_share_the_partitions_and_one_that_is_killed_loses_and_doubles_nothing(
    office: Office, upstream: Upstream, cluster: Cluster, broker: str
) -> None:
    with ExitStack() as stack:
        killed = stack.enter_context(running(office, cluster, broker, "run", "commands"))
        until(lambda: claims(office) == 2, seconds=30)
        survivor = stack.enter_context(running(office, cluster, broker, "run", "commands"))
        until(lambda: claims(office) == 3, seconds=30)
        for round_ in range(10):
            upstream.publish(*carts(office, range(round_ * 100, round_ * 100 + 100)))
            if round_ == 4:
                until(lambda: decided(office) > 300)
                killed.kill()
        until(lambda: decided(office) == 1000, seconds=30)
        until(lambda: len({reply["command_id"] for reply in upstream.replies()}) == 1000)
        survivor.send_signal(signal.SIGTERM)
        assert survivor.wait(timeout=10) == 0
    assert {reply["code"] for reply in upstream.replies()} == {"subscription_unknown"}
    assert {reply["outcome"] for reply in upstream.replies()} == {"rejected"}


@pytest.mark.slow
def test_a_worker_that_was_stopped_past_its_time_stores_nothing_when_it_wakes(
    office: Office, upstream: Upstream, cluster: Cluster, broker: str
) -> None:
    with running(office, cluster, broker, "run", "commands") as stopped:
        upstream.publish(*carts(office, range(500)))
        until(lambda: decided(office) > 20, seconds=30)
        stopped.send_signal(signal.SIGSTOP)
        with running(office, cluster, broker, "run", "commands"):
            # Whatever it held, the database lets go of it when its connection counts as dead: its own session ends it.
            until(lambda: decided(office) == 500, seconds=40)
            upstream.publish(*carts(office, range(500, 600)))
            stopped.send_signal(signal.SIGCONT)
            until(lambda: decided(office) == 600, seconds=30)
            until(lambda: len({reply["command_id"] for reply in upstream.replies()}) == 600)
    assert {reply["outcome"] for reply in upstream.replies()} == {"rejected"}
    office.check_log()


@pytest.mark.slow
def test_a_broker_that_goes_and_comes_back_loses_and_doubles_nothing(office: Office) -> None:
    with a_cluster() as machines:
        [machine] = machines.brokers
        cluster = Cluster(Settings(kafka=machines.bootstrap, kafka_prefix="test.", kafka_partitions=2))
        upstream = Upstream(cluster, machines.bootstrap)
        with running(office, cluster, machines.bootstrap, "run", "commands") as process:
            for round_, end in enumerate([machine.stop, machine.kill]):
                upstream.publish(*carts(office, range(round_ * 200, round_ * 200 + 200)))
                until(lambda round_=round_: decided(office) > round_ * 200 + 20, seconds=30)  # type: ignore[misc]
                end()
                machine.start()
            until(lambda: decided(office) == 400, seconds=30)
            until(lambda: len({reply["command_id"] for reply in upstream.replies()}) == 400, seconds=30)
            machine.kill()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0


def test_send_over_kafka_answers_every_line_in_order(
    office: Office, upstream: Upstream, cluster: Cluster, broker: str, tmp_path: Path
) -> None:
    lines = [start(office, id="yes"), b"nonsense", start(office, id="no"), office.line("open-cart", id="cart")]
    file = tmp_path / "commands.jsonl"
    file.write_bytes(b"\n".join(lines))
    with running(office, cluster, broker, "run", "commands"):
        with running(office, cluster, broker, "send", "--kafka", str(file)) as sending:
            answers = [json.loads(line) for line in sending.communicate(timeout=30)[0].splitlines()]
            assert sending.returncode == 2
        with running(office, cluster, broker, "send", "--kafka", "-") as sending:
            [again] = sending.communicate(lines[0], timeout=30)[0].splitlines()
            assert (sending.returncode, json.loads(again)["outcome"]) == (0, "duplicate")
    assert [answer["outcome"] for answer in answers] == ["accepted", "unreadable", "rejected", "accepted"]
    assert [answer.get("command_id") for answer in answers] == ["yes", None, "no", "cart"]


def test_send_that_does_not_wait_only_publishes(
    office: Office, upstream: Upstream, cluster: Cluster, broker: str
) -> None:
    with running(office, cluster, broker, "send", "--kafka", "--no-wait", "-") as sending:
        out, _ = sending.communicate(b"\n".join(carts(office, range(10))), timeout=30)
        assert (sending.returncode, out) == (0, b"")
    assert len(upstream.read(upstream.topics.commands)) == 10


def test_people_decide_what_becomes_of_dead_letters(
    office: Office, upstream: Upstream, cluster: Cluster, broker: str, worker: CommandsWorker
) -> None:
    def letters(*arguments: str, code: int = 0) -> Any:
        with running(office, cluster, broker, "dead-letters", *arguments, "--json") as process:
            out, _ = process.communicate(timeout=30)
            assert process.returncode == code
            return json.loads(out) if out else None

    came: tuple[bytes, Headers] = (b"\xffnonsense", [(HeaderName(b"n\xff"), b"1")])
    upstream.publish(came[0], headers=came[1], partition=0)
    upstream.publish(b"rubbish", partition=0)
    office.drain(worker)
    assert [(row["id"], row["reason"], row["bytes"]) for row in letters("list")] == [
        (1, "not UTF-8", 9),
        (2, "not JSON: Expecting value at character 1", 7),
    ]
    shown = letters("show", "1")["base64"]
    assert b64decode(shown["value"]) == came[0]
    assert [b64decode(header["name"]) for header in shown["headers"]] == [b"n\xff"]

    letters("skip", "2", "--reason", "a test of theirs", "--operator", "anna")
    letters("retry", "1")
    assert letters("list") == []
    letters("retry", "1", code=1)
    letters("skip", "7", "--reason", "?", code=1)
    assert [(row["state"], row["decided_because"]) for row in letters("list", "--all")] == [
        ("retried", None),
        ("skipped", "a test of theirs"),
    ]

    office.drain(worker)
    [(value, names)] = office.ask("SELECT value, header_names FROM seatline.dead_letters WHERE state = 'open'")
    assert (value, names) == (came[0], [b"n\xff"])


def test_a_foreign_client_needs_nothing_but_the_contract(
    office: Office, upstream: Upstream, broker: str, worker: CommandsWorker
) -> None:
    kcat = shutil.which("kcat")
    if kcat is None:
        pytest.skip("kcat is not installed")

    def run(*arguments: str, stdin: bytes = b"") -> bytes:
        return subprocess.run(
            [kcat, "-q", "-b", broker, *arguments], input=stdin, capture_output=True, check=True
        ).stdout

    value, headers = binary(start(office, id="from afar"))
    options = [option for name, said in headers for option in ("-H", f"{name}={said.decode()}")]
    run("-P", "-t", upstream.topics.commands, "-k", "SUB-1001", *options, stdin=value)
    run("-P", "-t", upstream.topics.commands, "-k", "SUB-1001", stdin=office.line("open-cart", id="too"))

    until(lambda: (worker.step() and False) or len(office.ask("SELECT FROM seatline.answers")) == 2)
    office.drain(worker)

    out = run("-C", "-t", upstream.topics.replies, "-e", "-f", "%k\t%s\n")
    answers = dict(line.split(b"\t") for line in out.splitlines())
    assert {key: json.loads(answer)["outcome"] for key, answer in answers.items()} == {
        b"from afar": "accepted",
        b"too": "accepted",
    }
