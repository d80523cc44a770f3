"""The command line as its users meet it: what it prints, how it ends, and what a signal or an outage does to it."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from adapters.cli import main
from adapters.cli.parsing import point_in_time
from adapters.embedded import temporary_home
from adapters.postgres.effects import MOST_INTERRUPTIONS
from domain.order import OrderPlaced
from projections.catalogue import VIEWS
from scripts.torments.postoffice import HANG_UP, KEEP_WAITING, PostOffice
from scripts.torments.wire import Wire
from tests.office import BASE, SUB, Office, service, until

PROGRAM = Path(sys.executable).with_name("seatline")
WHEN = datetime(2025, 3, 3, 9, 15, tzinfo=UTC)


@dataclass(frozen=True)
class Done:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def answers(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        [document] = self.out.splitlines()
        return json.loads(document)

    @property
    def complaint(self) -> str:
        """The one line on stderr of a command that printed nothing else."""
        assert self.out == ""
        [line] = self.err.splitlines()
        assert line.startswith("seatline: ")
        return line.removeprefix("seatline: ")


Here = Callable[..., Done]


@dataclass
class Seatline:
    """The installed program over one database."""

    url: str
    """Empty: the program starts a database itself."""
    home: Path

    def environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("SEATLINE_")}
        ours = {"SEATLINE_DATABASE_URL": self.url, "SEATLINE_HOME": str(self.home)}
        return {**plain, **ours, **settings}

    @contextmanager
    def running(self, *arguments: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
        with subprocess.Popen(
            [PROGRAM, *arguments],
            env=self.environment(settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # what a test reads itself is not read ahead
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def __call__(self, *arguments: str, **settings: str) -> Done:
        return self.fed(b"", *arguments, **settings)

    def fed(self, stdin: bytes, *arguments: str, **settings: str) -> Done:
        """The program with something to read on its standard input."""
        with self.running(*arguments, **settings) as process:
            return ended(process, stdin)


def ended(process: subprocess.Popen[bytes], stdin: bytes | None = None, *, seconds: float = 60) -> Done:
    out, err = process.communicate(stdin, timeout=seconds)
    done = Done(process.returncode, (out or b"").decode(), err.decode())
    assert "Traceback" not in done.err, done.err
    return done


@pytest.fixture
def seatline(migrated_url: str, tmp_path: Path) -> Seatline:
    return Seatline(migrated_url, tmp_path)


@pytest.fixture
def here(
    migrated_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Here:
    """The program in this process, for what only reads: ten times as quick."""

    def run(*arguments: str, **settings: str) -> Done:
        with monkeypatch.context() as patch:
            for name, value in {"DATABASE_URL": migrated_url, "HOME": str(tmp_path)}.items():
                patch.setenv(f"SEATLINE_{name}", value)
            for name, value in settings.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main(arguments)
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, out, err)

    return run


@pytest.fixture
def shop(office: Office) -> Office:
    """The same database from within, with a subscription, an open order and a user."""
    office.on("2025-03-03").start(service(BASE, "2025-06-30"))
    office.do("configure-user", username="annaverdi", permissions=["read", "send"])
    office.order_seats(3)
    return office


def commands(office: Office, count: int, *, sub: str = "SUB-L") -> list[bytes]:
    """A subscription whose cart is filled again and again."""
    office.on("2025-03-03")
    lines = [
        office.line("start-subscription", id=f"{sub}-0", subscription_id=sub, services=[service(BASE, "2027-06-30")]),
        office.line("open-cart", id=f"{sub}-1", subscription_id=sub),
    ]
    for number in range(2, count):
        quantity = 1 + number % 100
        lines.append(office.line("choose-seats", id=f"{sub}-{number}", subscription_id=sub, quantity=quantity))
    return lines


def written(path: Path, lines: Sequence[bytes]) -> str:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return str(path)


def outcomes(done: Done) -> Counter[str]:
    return Counter(answer["outcome"] for answer in done.answers)


def kept(office: Office) -> dict[str, str]:
    return dict(office.ask("SELECT command_id, outcome FROM seatline.answers"))


# send


def test_send_answers_every_line_in_order(seatline: Seatline, office: Office, tmp_path: Path) -> None:
    done = seatline("send", written(tmp_path / "a.jsonl", commands(office, 5)))
    assert done.code == 0
    assert [answer["command_id"] for answer in done.answers] == [f"SUB-L-{number}" for number in range(5)]
    assert outcomes(done) == {"accepted": 5}
    assert "5 lines" in done.err
    assert "5 accepted, 0 rejected, 0 duplicate, 0 unreadable" in done.err


@pytest.mark.slow
def test_send_ends_with_1_if_a_command_was_rejected_the_second_time_too(
    seatline: Seatline, office: Office, tmp_path: Path
) -> None:
    accepted, rejected = commands(office, 2)[:1], [office.line("open-cart", id="no", subscription_id="SUB-X")]
    file = written(tmp_path / "a.jsonl", accepted + rejected)
    for outcome in ("rejected", "duplicate"):
        done = seatline("send", file)
        assert done.code == 1
        assert done.answers[1]["outcome"] == outcome
        assert done.answers[1]["code"] == "subscription_unknown"
    assert seatline("send", written(tmp_path / "b.jsonl", accepted)).code == 0


def test_send_reports_unreadable_lines_in_their_place_and_goes_on(
    seatline: Seatline, office: Office, tmp_path: Path
) -> None:
    first, second, third = commands(office, 3)
    file = tmp_path / "mixed.jsonl"
    lines = [first, b"", b"not json", b"   ", second + b"\r", b"\r", b"\xff\xfe", b"x" * 70_000, b"[]", third]
    file.write_bytes(b"\n".join(lines))
    done = seatline("send", str(file))
    assert done.code == 2, "unreadable counts more than rejected"
    assert [answer.get("line", answer.get("command_id")) for answer in done.answers] == [
        "SUB-L-0",
        3,
        "SUB-L-1",
        7,
        8,
        9,
        "SUB-L-2",
    ]
    unreadable = [answer for answer in done.answers if answer["outcome"] == "unreadable"]
    assert {answer["code"] for answer in unreadable} == {"unreadable"}
    assert [answer["message"] for answer in unreadable] == [
        "not JSON: Expecting value at character 1",
        "not UTF-8",
        "longer than 65536 bytes",
        "not a JSON object",
    ]
    assert all(set(answer) == {"outcome", "line", "code", "message"} for answer in unreadable)


def test_send_takes_several_files_and_stdin_and_names_them(seatline: Seatline, office: Office, tmp_path: Path) -> None:
    first, second, third = commands(office, 3)
    one, two = written(tmp_path / "one.jsonl", [first, b"?"]), written(tmp_path / "two.jsonl", [b"", b"!", third])
    done = seatline.fed(second + b"\n#\n", "send", one, "-", two)
    assert done.code == 2
    assert [(a.get("command_id") or (a["file"], a["line"])) for a in done.answers] == [
        "SUB-L-0",
        (one, 2),
        "SUB-L-1",
        ("-", 2),
        (two, 2),
        "SUB-L-2",
    ]


def test_send_of_nothing_is_done(seatline: Seatline, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    done = seatline("send", str(tmp_path / "empty.jsonl"), "-")
    assert (done.code, done.out) == (0, "")


def test_send_looks_for_all_its_files_first(seatline: Seatline, office: Office, tmp_path: Path) -> None:
    file = written(tmp_path / "a.jsonl", commands(office, 2))
    missing = str(tmp_path / "missing.jsonl")
    done = seatline("send", file, missing)
    assert (done.code, done.complaint) == (2, f"{missing}: No such file or directory")
    assert kept(office) == {}


def test_send_reads_no_folder(seatline: Seatline, tmp_path: Path) -> None:
    done = seatline("send", str(tmp_path))
    assert (done.code, done.complaint) == (2, f"{tmp_path}: Is a directory")


def test_send_needs_an_open_stdin_to_read_from_it(seatline: Seatline) -> None:
    program = ["/bin/sh", "-c", f'exec "{PROGRAM}" send - <&-']
    process = subprocess.run(program, env=seatline.environment({}), capture_output=True, text=True, check=False)
    assert "Traceback" not in process.stderr
    assert (process.returncode, process.stderr.count("\n")) == (2, 1)


def test_send_answers_a_slow_sender_line_by_line(seatline: Seatline, office: Office) -> None:
    with seatline.running("send", "-") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number, line in enumerate(commands(office, 4)):
            process.stdin.write(line + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["command_id"] == f"SUB-L-{number}"
        assert ended(process, b"").code == 0


@pytest.mark.slow
def test_several_sends_of_one_file_at_once_decide_each_command_once(
    seatline: Seatline, office: Office, tmp_path: Path
) -> None:
    file = written(tmp_path / "a.jsonl", commands(office, 300))
    settings = {"SEATLINE_BATCH_SIZE": "20"}
    with seatline.running("send", file, **settings) as one, seatline.running("send", file, **settings) as two:
        both = [ended(process) for process in (one, two)]
    assert [done.code for done in both] == [0, 0]
    assert outcomes(both[0]) + outcomes(both[1]) == {"accepted": 300, "duplicate": 300}
    office.check_log()


@pytest.mark.slow
def test_ctrl_c_ends_send_after_what_is_at_hand_and_the_same_file_finishes_it(
    seatline: Seatline, office: Office, tmp_path: Path
) -> None:
    lines = commands(office, 6_000)
    file = written(tmp_path / "long.jsonl", lines)
    with seatline.running("send", file, SEATLINE_BATCH_SIZE="5") as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        interrupted = ended(process, seconds=10)
    assert interrupted.code == 130
    assert "run the same files again to finish" in interrupted.err
    answered = [json.loads(first), *interrupted.answers]
    assert 0 < len(answered) < 6_000
    assert kept(office).keys() == {answer["command_id"] for answer in answered}

    again = seatline("send", file)
    assert again.code == 0
    assert outcomes(again) == {"duplicate": len(answered), "accepted": 6_000 - len(answered)}
    office.check_log()


def test_ctrl_c_ends_a_send_that_waits_for_input(seatline: Seatline, office: Office) -> None:
    with seatline.running("send", "-") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(commands(office, 1)[0] + b"\n")
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        until(lambda: process.poll() is not None)
        assert ended(process).code == 130


@pytest.mark.slow
def test_a_send_whose_answers_nobody_reads_says_that_it_did_not_finish(
    seatline: Seatline, office: Office, tmp_path: Path
) -> None:
    file = written(tmp_path / "long.jsonl", commands(office, 3_000))
    with seatline.running("send", file, SEATLINE_BATCH_SIZE="10") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        process.stdout = None
        done = ended(process)
    assert done.code == 3
    assert "run the same files again to finish" in done.err
    assert 0 < len(kept(office)) < 3_000
    assert outcomes(seatline("send", file))["duplicate"] >= 10
    assert len(kept(office)) == 3_000


@pytest.mark.slow
def test_send_waits_out_a_short_outage(seatline: Seatline, office: Office, tmp_path: Path, wire: Wire) -> None:
    file = written(tmp_path / "a.jsonl", commands(office, 600))
    with seatline.running("send", file, SEATLINE_DATABASE_URL=wire.url, SEATLINE_BATCH_SIZE="10") as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        wire.cut()
        time.sleep(0.7)
        wire.mend()
        done = ended(process)
    assert done.code == 0
    assert len(done.answers) == 599
    assert json.loads(first)["command_id"] == "SUB-L-0"
    assert [answer["command_id"] for answer in done.answers] == [f"SUB-L-{number}" for number in range(1, 600)]
    assert len(kept(office)) == 600
    office.check_log()


@pytest.mark.slow
def test_ctrl_c_ends_a_send_that_waits_for_the_database_and_it_can_be_run_again(
    seatline: Seatline, office: Office, tmp_path: Path, wire: Wire
) -> None:
    file = written(tmp_path / "a.jsonl", commands(office, 600))
    with seatline.running("send", file, SEATLINE_DATABASE_URL=wire.url, SEATLINE_BATCH_SIZE="10") as process:
        assert process.stdout is not None
        process.stdout.readline()
        wire.cut()
        time.sleep(5)
        process.send_signal(signal.SIGINT)
        done = ended(process, seconds=8)
    assert done.code == 3
    assert "run the same command again" in done.err.splitlines()[-1]
    assert seatline("send", file).code == 0
    assert len(kept(office)) == 600
    office.check_log()


@pytest.mark.slow
def test_a_send_that_is_killed_again_and_again_decides_every_command_once(
    seatline: Seatline, office: Office, tmp_path: Path
) -> None:
    lines = commands(office, 4_000)
    file = written(tmp_path / "long.jsonl", lines)
    chance, answered = random.Random(7), Counter[str]()  # noqa: S311
    for _ in range(10):
        with seatline.running("send", file, SEATLINE_BATCH_SIZE="40") as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chance.random() * 0.15)
            process.kill()
            out, _ = process.communicate()
        # The last line may be cut.
        for line in out.split(b"\n")[:-1]:
            answer = json.loads(line)
            answered[answer["command_id"]] += answer["outcome"] != "duplicate"
    done = seatline("send", file)
    assert done.code == 0
    assert len(done.answers) == len(kept(office)) == 4_000
    assert max(answered.values()) == 1
    assert outcomes(done)["duplicate"] >= len(answered)
    office.check_log()


# run


@pytest.mark.slow
def test_drain_does_everything_that_is_due_and_ends(seatline: Seatline, shop: Office) -> None:
    [order] = shop.view("orders")
    shop.pay(order["order_number"])
    done = seatline("run", "--drain")
    assert (done.code, done.out) == (0, "")
    assert shop.row("orders")["status"] == "fulfilled"
    assert shop.row("seats")["seats_active"] == 3
    letters = list((seatline.home / "mail/new").glob("*.eml"))
    assert len(letters) == 2
    assert seatline("run", "--drain").code == 0
    assert list((seatline.home / "mail/new").glob("*.eml")) == letters


def test_drain_does_not_wait_for_what_is_not_yet_due(seatline: Seatline, office: Office, tmp_path: Path) -> None:
    office.now = datetime.now(UTC)
    later = f"{office.now.year + 1}-12-31"
    office.start(service(BASE, later))
    office.order_seats(1, method="card")
    started = time.monotonic()
    assert seatline("run", "--drain").code == 0
    assert time.monotonic() - started < 10
    assert not (tmp_path / "mail").exists()
    assert office.ask("SELECT state FROM seatline.effects") == [("planned",)]


def test_named_workers_alone_work(seatline: Seatline, shop: Office) -> None:
    shop.pay(shop.view("orders")[0]["order_number"])
    assert seatline("run", "--drain", "activation", "projections").code == 0
    assert shop.row("orders")["status"] == "fulfilled"
    assert not (seatline.home / "mail").exists()


@pytest.mark.parametrize("worker", ["commands", "publisher", "gardener"])
def test_a_worker_that_cannot_run_is_refused(here: Here, worker: str) -> None:
    done = here("run", worker)
    assert done.code == 2
    assert worker in done.complaint


@contextmanager
def working(seatline: Seatline, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """All workers, once they have started."""
    with seatline.running("run", SEATLINE_LOG_FORMAT="json", **settings) as process:
        assert process.stderr is not None
        assert b"workers.started" in process.stderr.readline()
        yield process


def stopped(process: subprocess.Popen[bytes]) -> Done:
    """Ask to end as a supervisor does, and expect it within 10 seconds."""
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    done = ended(process, seconds=20)
    assert time.monotonic() - started < 10
    return done


@pytest.mark.slow
def test_sigterm_ends_run_with_0(seatline: Seatline) -> None:
    with working(seatline) as process:
        assert stopped(process).code == 0


@pytest.mark.slow
def test_sigterm_ends_run_with_0_while_the_database_is_stopped(seatline: Seatline, wire: Wire) -> None:
    with working(seatline, SEATLINE_DATABASE_URL=wire.url) as process:
        wire.cut()
        time.sleep(1.5)
        assert stopped(process).code == 0


@pytest.mark.slow
def test_sigterm_ends_run_with_0_while_the_database_does_not_answer(seatline: Seatline, wire: Wire) -> None:
    with working(seatline, SEATLINE_DATABASE_URL=wire.url) as process:
        wire.hold()
        time.sleep(1.5)
        assert stopped(process).code == 0


@pytest.mark.slow
def test_sigterm_ends_run_with_0_while_the_mail_server_does_not_answer(
    seatline: Seatline, shop: Office, post_office: PostOffice
) -> None:
    post_office.answers = [KEEP_WAITING]
    with working(seatline, SEATLINE_SMTP_URL=post_office.url) as process:
        until(lambda: post_office.taken)
        assert stopped(process).code == 0


@pytest.mark.slow
def test_promise_4_when_an_outage_ends_the_workers_catch_up_unaided(
    seatline: Seatline, shop: Office, wire: Wire
) -> None:
    with working(seatline, SEATLINE_DATABASE_URL=wire.url) as process:
        wire.cut()
        shop.pay(shop.books.order(numbers(shop)[0]).name)
        time.sleep(2)
        wire.mend()
        until(lambda: shop.ask("SELECT status FROM panel.orders") == [("fulfilled",)])
        until(lambda: len(list((seatline.home / "mail/new").glob("*.eml"))) == 2)
        done = stopped(process)
    assert done.code == 0
    assert "worker.waits" in done.err
    assert '"level": "error"' not in done.err


@pytest.mark.slow
def test_promise_4_workers_hear_of_news_at_once(seatline: Seatline, shop: Office) -> None:
    """Looking every second would take five seconds for ten rounds."""
    with working(seatline) as process:
        until(lambda: shop.ask("SELECT 1 FROM panel.orders"))
        shop.do("open-cart")
        started = time.monotonic()
        for quantity in range(1, 11):
            shop.do("choose-seats", quantity=quantity)
            until(partial(_cart_holds, shop, quantity))
        assert time.monotonic() - started < 3
        assert stopped(process).code == 0


def _cart_holds(office: Office, quantity: int) -> bool:
    return office.ask("SELECT quantity FROM panel.carts") == [(quantity,)]


@pytest.mark.slow
def test_logs_hold_no_personal_data(seatline: Seatline, shop: Office, post_office: PostOffice) -> None:
    shop.pay(numbers(shop)[0])
    post_office.answers = ["451 anna@studio.it later", "550 anna@studio.it never"]
    with working(seatline, SEATLINE_SMTP_URL=post_office.url) as process:
        until(lambda: len(post_office.taken) >= 2)
        done = stopped(process)
    status = seatline("status", "--json")
    for text in (done.err, status.out):
        assert "anna@" not in text
        assert "Bianchi" not in text


@pytest.mark.slow
def test_promise_8_workers_that_are_killed_again_and_again_fulfil_every_order_once(
    seatline: Seatline, office: Office, post_office: PostOffice
) -> None:
    office.on("2025-03-03")
    chance, orders = random.Random(5), []  # noqa: S311
    for number in range(30):
        sub = f"SUB-{number}"
        office.start(service(BASE, "2025-06-30"), subscription_id=sub)
        orders.append(office.order_seats(1, subscription_id=sub))
    for number in range(10):
        for order in orders[3 * number : 3 * number + 3]:
            office.pay(order)
        with working(seatline, SEATLINE_SMTP_URL=post_office.url) as process:
            time.sleep(chance.random() * 0.4)
            process.kill()
    assert seatline("run", "--drain", SEATLINE_SMTP_URL=post_office.url).code == 0

    facts = Counter(office.facts())
    assert (facts["SeatsAdded"], facts["OrderFulfilled"]) == (30, 30)
    assert {row["status"] for row in office.view("orders")} == {"fulfilled"}
    copies = Counter(post_office.message_ids)
    effects, interrupted = office.ask("SELECT count(*), sum(interruptions) FROM seatline.effects")[0]
    assert len(copies) == effects == 60
    # A letter that several kills met goes out again after each, as long as they are few.
    assert max(copies.values()) <= MOST_INTERRUPTIONS
    assert copies.total() - len(copies) <= interrupted
    office.check_log()


@pytest.mark.slow
def test_promise_3_two_of_everything_at_once_come_to_the_same_end(
    seatline: Seatline, office: Office, tmp_path: Path, post_office: PostOffice
) -> None:
    """Two senders of overlapping files, two processes with all workers, and rebuilds in between."""
    office.on("2025-03-03")
    subs, settings = [f"SUB-{n}" for n in range(40)], {"SEATLINE_BATCH_SIZE": "7"}
    orders = [line for sub in subs for line in ordering(office, sub)]

    def sent_twice(lines: list[bytes]) -> Counter[str]:
        first, second = written(tmp_path / "1.jsonl", lines), written(tmp_path / "2.jsonl", lines[::-1])
        with seatline.running("send", first, **settings) as one, seatline.running("send", second, **settings) as two:
            both = [ended(process) for process in (one, two)]
        return sum((outcomes(done) for done in both), Counter[str]())

    mail = {"SEATLINE_SMTP_URL": post_office.url}
    with working(seatline, **mail) as one, working(seatline, **mail) as two:
        seatline("send", written(tmp_path / "orders.jsonl", orders), **settings)
        payments = [
            office.line(
                "register-payment", id=f"pay-{n}-{part}", order_number=n, amount=amount, reference=f"{n}-{part}"
            )
            for n in numbers(office)
            for part, amount in (("a", "10.00"), ("b", "25.11"), ("c", "3.00"))
        ]
        assert sent_twice(payments) == {"accepted": 120, "duplicate": 120}
        assert [here["rows_different"] for here in seatline("rebuild", "--all", "--json").answers] == [0] * 6
        until(lambda: len(post_office.taken) == 80)
        assert [stopped(process).code for process in (one, two)] == [0, 0]
    assert seatline("run", "--drain", **mail).code == 0

    facts = Counter(office.facts())
    assert facts["OrderFulfilled"] == facts["SeatsAdded"] == facts["ExpiryAligned"] == 40
    money = office.view("payments")
    assert sum(row["amount"] for row in money) == 40 * Decimal("38.11")
    assert sum(row["allocated"] for row in money) == 40 * Decimal("35.11")
    assert sum(row["refundable"] for row in money) == 40 * Decimal("3.00")
    assert {row["status"] for row in office.view("orders")} == {"fulfilled"}
    assert [done["rows_different"] for done in seatline("rebuild", "--all", "--json").answers] == [0] * 6
    assert len(post_office.message_ids) == len(set(post_office.message_ids)) == 80
    office.check_log()


def ordering(office: Office, sub: str) -> list[bytes]:
    """What leads to an order of 35.11 euro: a seat, and the base service moved with it."""
    return [
        office.line("start-subscription", subscription_id=sub, services=[service(BASE, "2025-07-01")]),
        office.line("open-cart", subscription_id=sub),
        office.line("choose-seats", subscription_id=sub, quantity=1),
        office.line("place-order", subscription_id=sub),
    ]


@pytest.mark.slow
def test_promise_7_a_worker_killed_before_it_noted_a_letter_sends_it_once_more_and_shows_it(
    seatline: Seatline, shop: Office, post_office: PostOffice
) -> None:
    post_office.answers = [KEEP_WAITING]
    with working(seatline, SEATLINE_SMTP_URL=post_office.url) as process:
        until(lambda: post_office.taken)
        process.kill()
    assert seatline("run", "--drain", SEATLINE_SMTP_URL=post_office.url).code == 0
    assert len(post_office.taken) == 2
    assert len(set(post_office.message_ids)) == 1
    [effects] = seatline("status", "--json").json["effects"]
    assert (effects["state"], effects["effects"], effects["in_doubt"]) == ("done", 1, 1)


# On a database of its own


@pytest.fixture
def alone() -> Iterator[Seatline]:
    """The program as somebody meets it who has set nothing but a home."""
    with temporary_home() as home:
        yield Seatline("", home)


@pytest.mark.slow
def test_without_a_database_of_ones_own_everything_works_under_the_home(alone: Seatline) -> None:
    envelope = {
        "specversion": "1.0",
        "id": "first",
        "source": "/tests",
        "type": "seatline.command.start-subscription.v1",
        "time": "2025-03-03T09:15:00+01:00",
        "data": {
            "subscription_id": SUB,
            "account_holder": {"name": "Anna", "email": "anna@studio.it", "language": "it"},
            "services": [service(BASE, "2025-06-30")],
        },
    }
    assert alone.fed(json.dumps(envelope).encode(), "send", "-").code == 0
    with working(alone) as process:
        assert alone("panel", SUB, "--json").json["seats"]["seats_available"] == 1
        process.kill()
        process.wait()
    assert alone.fed(json.dumps(envelope).encode(), "send", "-").answers[0]["outcome"] == "duplicate"
    with working(alone) as process:
        assert stopped(process).code == 0
    assert not (alone.home / "postgres/postmaster.pid").exists()


@pytest.mark.slow
def test_sigterm_ends_run_with_0_when_its_own_database_has_died(alone: Seatline) -> None:
    with working(alone) as process:
        os.kill(int((alone.home / "postgres/postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        time.sleep(2)
        assert stopped(process).code == 0
    assert alone("status").code == 0


# Settings

WRONG = {
    "SEATLINE_BATCH_SIZE": ["0", "10001", "many", "1.5"],
    "SEATLINE_WARM_AGGREGATES": ["99", "-1"],
    "SEATLINE_LOG_FORMAT": ["xml"],
    "SEATLINE_DATABASE_URL": ["nonsense", "http://db.example/shop", "postgresql://me:secret@%zz/db?nonsense=1"],
    "SEATLINE_SMTP_URL": ["ftp://mail.example", "smtp://", "smtp://user:secret@mail.example:port"],
    "SEATLINE_PRICE_LIST": ["/no/such/file.toml", "/", "/dev/null"],
    "SEATLINE_PROVISIONING_URL": ["nonsense", "ftp://provisioning.example", "https://me:secret@provisioning.example"],
    "SEATLINE_PROVISIONING_TOKEN": ["a secret", "secretò"],
    "SEATLINE_DATABSE_URL": ["postgresql://db"],
    "SEATLINE_HOMES": ["/var/lib"],
    "POSTGRES_ENABLE_DB_FUNCTIONS": ["y"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_setting_is_refused_at_start_in_one_line_that_names_it(here: Here, name: str, value: str) -> None:
    done = here("status", **{name: value})
    assert done.code == 2
    assert name in done.complaint
    assert "secret" not in done.complaint


def test_a_price_list_with_a_wrong_value_is_refused_with_its_place(here: Here, tmp_path: Path) -> None:
    installed = (Path(__file__).parent.parent / "adapters/price_list.toml").read_text()
    file = tmp_path / "prices.toml"
    for old, new, named in (
        ('unit_price = "12.00"', 'unit_price = "12.001"', "unit_price"),
        ("max_seats_per_order = 100", "max_seats_per_order = 0", "max_seats_per_order"),
        ('proration = "daily"', 'proration = "hourly"', "proration"),
        ("[lifecycle]", "[lifecycel]", "lifecyc"),
    ):
        assert installed.count(old) == 1
        file.write_text(installed.replace(old, new))
        done = here("status", SEATLINE_PRICE_LIST=str(file))
        assert done.code == 2
        assert named in done.complaint
        assert "SEATLINE_PRICE_LIST" in done.complaint


@pytest.mark.slow
def test_a_database_that_is_away_is_one_line_and_3(seatline: Seatline, wire: Wire) -> None:
    wire.cut()
    for command in (["status"], ["send", "-"], ["panel", SUB], ["run"], ["rebuild", "seats"]):
        done = seatline(*command, SEATLINE_DATABASE_URL=wire.url)
        assert done.code == 3
        assert "database is away" in done.complaint


def test_a_database_user_without_rights_is_told_so_in_one_line(seatline: Seatline, server: str) -> None:
    with psycopg.connect(seatline.url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(7328043)")  # one at a time, because the role is the server's
        connection.execute("CREATE ROLE seatline_stranger LOGIN")
        try:
            url = seatline.url.replace("://seatline@", "://seatline_stranger@", 1)
            done = seatline("status", SEATLINE_DATABASE_URL=url)
        finally:
            connection.execute("DROP ROLE seatline_stranger")
    assert done.code == 3
    assert "permission denied" in done.complaint


# What people look at

PANEL = {
    "seats": "subscription_id seats_purchased seats_active seats_configured seats_available seats_pending next_expiry"
    " aligned position",
    "services": "subscription_id service_id sku quantity active_from expires_on status order_number position",
    "users": "subscription_id username permissions configured_at position",
    "orders": "order_number subscription_id status placed_at payment_method net vat total paid lapses_on position",
    "cart": "subscription_id entry_point quantity extend quote status position",
}


def test_panel_gives_json_with_the_columns_of_the_views(here: Here, shop: Office) -> None:
    for arguments in ([], ["--as-of", "2026-01-01"], ["--known-at", "2026-01-01T00:00:00Z"]):
        shown = here("panel", SUB, "--json", *arguments).json
        assert list(shown) == ["seats", "services", "users", "orders", "cart"]
        for name, columns in PANEL.items():
            row = shown[name][0] if isinstance(shown[name], list) else shown[name]
            assert list(row) == columns.split(), name
    assert shown["users"][0]["permissions"] == ["read", "send"]
    assert shown["orders"][0]["total"] == "64.48"
    assert shown["orders"][0]["placed_at"] == "2025-03-03T09:15:00+01:00"
    assert shown["seats"]["next_expiry"] == "2025-06-30"


def test_panel_of_a_subscription_without_a_cart_has_none(here: Here, office: Office) -> None:
    office.on("2025-03-03").start(service(BASE, "2025-06-30"))
    shown = here("panel", SUB, "--json").json
    assert shown["cart"] is None
    assert (shown["users"], shown["orders"]) == ([], [])


def test_panel_shows_a_person_what_the_customer_sees(here: Here, shop: Office) -> None:
    shop.do("open-cart")
    shop.do("choose-seats", quantity=2)
    english, italian = here("panel", SUB), here("panel", SUB, "--language", "it")
    for word in ("Service status · SUB-1", "annaverdi", "64.48 €", "awaiting payment", "bank transfer", "seats: 2"):
        assert word in english.out
    for word in ("Stato servizio · SUB-1", "in attesa di pagamento", "bonifico bancario", "Carrello aperto"):
        assert word in italian.out
    assert (english.err, italian.err) == ("", "")


def test_panel_goes_back_in_time(here: Here, shop: Office) -> None:
    shop.on("2025-04-07").do("delete-user", username="annaverdi")
    assert here("panel", SUB, "--json").json["users"] == []
    assert len(here("panel", SUB, "--json", "--as-of", "2025-04-06").json["users"]) == 1
    assert "as of 2025-04-06 23:59" in here("panel", SUB, "--as-of", "2025-04-06").out
    done = here("panel", SUB, "--as-of", "2025-03-02")
    assert (done.code, done.complaint) == (1, "there is no subscription SUB-1 at that time")


@pytest.mark.parametrize("time", ["yesterday", "2025-02-30", "2025-03-02T25:00", "", "9999-12-31T23:59:59-14:00"])
def test_a_time_that_is_none_is_bad_usage(here: Here, time: str) -> None:
    done = here("panel", SUB, "--as-of", time)
    assert done.code == 2
    assert "not a time" in done.complaint


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2025-03-02T09:15:00Z", "2025-03-02T10:15:00+01:00"),
        ("2025-03-02T09:15:00-05:00", "2025-03-02T15:15:00+01:00"),
        ("2025-03-02T09:15", "2025-03-02T09:15:00+01:00"),
        ("2025-07-02T09:15:30.5", "2025-07-02T09:15:30.500000+02:00"),
        ("2025-03-02", "2025-03-02T23:59:59.999999+01:00"),
        # The hour that comes twice is meant the first time, and the one that never comes as if summer began later.
        ("2025-10-26T02:30", "2025-10-26T02:30:00+02:00"),
        ("2025-03-30T02:30", "2025-03-30T02:30:00+01:00"),
    ],
)
def test_a_time_without_an_offset_is_meant_in_rome(text: str, meant: str) -> None:
    assert point_in_time(text).isoformat() == meant


def test_panel_of_a_time_to_come_is_the_panel_of_now(here: Here, office: Office) -> None:
    office.start()
    now = here("panel", SUB, "--json").json
    assert here("panel", SUB, "--json", "--as-of", "9999-12-31", "--known-at", "9999-12-31").json == now
    for early in ("0001-01-01", "2026-03-01"):
        done = here("panel", SUB, "--as-of", early)
        assert (done.code, done.complaint) == (1, f"there is no subscription {SUB} at that time")
    done = here("panel", "SUB-9", "--known-at", "2026-12-31")
    assert (done.code, done.complaint) == (1, "there is no subscription SUB-9 at that time")


def test_panel_says_who_is_missing_if_nothing_comes_in_time(here: Here, office: Office) -> None:
    office.start()
    office.tell("UPDATE seatline.positions SET moved_at = now() - interval '1 minute'")
    done = here("panel", SUB, "--after", "1", "--timeout", "0.1")
    assert done.code == 3
    assert "users is at 0, and nothing moves: does `seatline run projections` run?" in done.complaint


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--after", "2", "--timeout", "60"], "position 2 has not been given out: the log ends at 1"),
        (["--after", "1", "--timeout", "nan"], "--timeout nan: not a number of seconds from 0 to 3600"),
        (["--after", "1", "--timeout", "-1"], "--timeout -1: not a number of seconds from 0 to 3600"),
        (["--after", "1", "--as-of", "2026-01-01"], "what was changes no more"),
        (["--follow", "--known-at", "2026-01-01"], "what was changes no more"),
    ],
)
def test_panel_refuses_to_wait_for_what_can_not_come(
    here: Here, office: Office, arguments: list[str], complaint: str
) -> None:
    office.start()
    done = here("panel", SUB, *arguments)
    assert done.code == 2
    assert complaint in done.complaint


def test_quote_explains_both_choices_and_changes_nothing(here: Here, shop: Office) -> None:
    head = shop.log.head()
    both = here("quote", SUB, "--seats", "3", "--on", "2025-03-03", "--json").json
    assert list(both) == ["extend", "no_extend"]
    assert (both["extend"]["total"], both["no_extend"]["total"]) == ("64.48", "43.92")
    person = here("quote", SUB, "--seats", "3", "--on", "2025-03-03").out
    for word in ("extension on", "extension off", "246/365 × 1 × 25.00 €", "64.48 €", "43.92 €", "22 % of the net"):
        assert word in person
    one = here("quote", SUB, "--seats", "3", "--on", "2025-03-03", "--no-extend", "--json").json
    assert one == {"no_extend": both["no_extend"]}
    assert shop.log.head() == head


def test_C5_quote_gives_the_hash_that_the_cart_gives(here: Here, shop: Office) -> None:
    quoted = here("quote", SUB, "--seats", "2", "--extend", "--on", "2025-03-03", "--json").json
    shop.do("open-cart")
    assert shop.do("choose-seats", quantity=2)["data"]["quote"] == quoted["extend"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["SUB-9", "--seats", "1"], 1, "there is no subscription SUB-9"),
        ([SUB, "--seats", "0"], 1, "quantity_out_of_range"),
        ([SUB, "--seats", "101"], 1, "quantity_out_of_range"),
        ([SUB, "--seats", "1", "--on", "2030-01-01"], 1, "base_service_expired"),
        ([SUB, "--seats", "1", "--on", "2025-02-30"], 2, "not a date"),
        ([SUB, "--seats", "1", "--on", "9999-12-31"], 2, "not a date"),
        ([SUB, "--seats", "1", "--on", "today"], 2, "not a date"),
    ],
)
def test_quote_says_no_in_one_line(here: Here, shop: Office, arguments: list[str], code: int, said: str) -> None:
    done = here("quote", *arguments)
    assert done.code == code
    assert said in done.complaint


def test_history_tells_who_why_and_when(here: Here, shop: Office) -> None:
    shop.pay(numbers(shop)[0])
    shop.drain(shop.activation())
    events = here("history", SUB, "--json").json
    assert [event["position"] for event in events] == list(range(1, len(events) + 1))
    added = next(event for event in events if event["type"] == "seatline.subscription.seats-added.v1")
    assert added["actor"] == "seatline/activation"
    assert added["causation_id"] == next(e["id"] for e in events if e["type"] == "seatline.order.order-paid.v1")
    assert added["data"]["quantity"] == 3
    person = here("history", SUB).out
    assert "3 seats added" in person
    assert "2025-03-03 09:15" in person


def test_hostile_texts_are_shown_as_they_are(here: Here, shop: Office) -> None:
    shop.do("cancel-order", order_number=numbers(shop)[0], reason="[/red] [bold]no[/bold] :smile:", id="[/x]")
    shop.pay("[/blue]", "1.00", reference="R-1")
    assert "[/red] [bold]no[/bold] :smile:" in here("history", SUB).out
    assert "[/x]" in here("history", SUB).out
    assert "[/blue]" in here("history", "R-1").out
    assert here("status").code == 0


def test_who_has_no_history_is_unknown(here: Here) -> None:
    done = here("history", "SUB-9")
    assert (done.code, done.complaint) == (1, "there is no subscription SUB-9")


@pytest.mark.slow
def test_status_shows_how_far_everybody_is_and_what_waits(
    seatline: Seatline, shop: Office, post_office: PostOffice
) -> None:
    shop.pay("typo", "64.48", reference="R-1")
    post_office.answers = ["550 no such user"]
    seatline("run", "--drain", SEATLINE_SMTP_URL=post_office.url)
    found = seatline("status", "--json").json
    assert {reader["reader"].split(":")[0] for reader in found["readers"]} == {
        "view",
        "activation",
        "calendar",
        "email",
    }
    assert {reader["events_behind"] for reader in found["readers"]} == {0}
    [waiting] = found["attention"]
    assert (waiting["state"], waiting["attempts"]) == ("failed", 1)
    assert "550" in waiting["error"]
    assert found["payments"] == [{"state": "orphan", "payments": 1, "at_hand": "64.48"}]
    person = seatline("status").out
    for word in ("events in the log", "failed", "550", "64.48 €"):
        assert word in person


@pytest.mark.slow
def test_status_of_a_letter_in_doubt_twice(seatline: Seatline, shop: Office, post_office: PostOffice) -> None:
    post_office.answers = [HANG_UP, HANG_UP]
    seatline("run", "--drain", SEATLINE_SMTP_URL=post_office.url)
    assert len(post_office.taken) == 2
    [waiting] = seatline("status", "--json").json["attention"]
    assert (waiting["state"], waiting["in_doubt"]) == ("failed", True)
    assert "in doubt" in seatline("status").out


def test_rebuild_tells_what_it_did(here: Here, shop: Office) -> None:
    shop.drain(shop.projections())
    done = here("rebuild", "seats", "--json")
    assert (done.code, done.json["view"], done.json["rows_different"]) == (0, "seats", 0)
    shop.tell("UPDATE read_model.orders_1 SET paid = 1")
    done = here("rebuild", "--all")
    assert done.code == 0
    assert [line.split(":")[0] for line in done.out.splitlines() if line[0] != " "] == list(VIEWS)
    assert "1 row is different from before\n  1 changed: paid (1)\n  for example 1000002\n" in done.out
    assert "both by the same version of the handlers" in done.out
    assert shop.row("orders")["paid"] == 0


@pytest.mark.parametrize("command", [["panel", SUB, "--as-of", "2099-01-01"], ["history", SUB]])
def test_an_event_that_cannot_be_read_is_named(here: Here, shop: Office, command: list[str]) -> None:
    shop.tell("UPDATE seatline.stored_events SET state = '{\"anna\": 1}' WHERE notification_id = 2")
    done = here(*command)
    assert done.code == 3
    assert "that can't be read: " in done.complaint
    assert ", at position 2; a newer Seatline wrote it, or it was damaged" in done.complaint
    assert "anna" not in done.complaint


def test_rebuild_goes_back_to_what_was_shown_before(here: Here, shop: Office) -> None:
    shop.drain(shop.projections())
    done = here("rebuild", "orders", "--rollback")
    assert (done.code, done.complaint) == (1, "view orders has not been rebuilt: there is nothing to go back to")
    shop.tell("UPDATE read_model.orders_1 SET paid = 1")
    here("rebuild", "orders")
    assert "shows again what it showed" in here("rebuild", "orders", "--rollback").out
    assert shop.row("orders")["paid"] == 1


def test_what_is_parked_is_told_with_the_way_out(here: Here, shop: Office) -> None:
    shop.drain(shop.projections())
    shop.tell("UPDATE read_model.seats_1 SET position = 0")
    shop.tell(
        "INSERT INTO seatline.parked (reader, home, subject, event_id, position, error)"
        " VALUES ('view:seats:1', %s, %s, 'subscription/SUB-1@2', 2, 'KeyError in apply')",
        SUB,
        SUB,
    )
    [parked] = here("status", "--json").json["parked"]
    assert (parked["view"], parked["subject"], parked["event_id"]) == ("seats", SUB, "subscription/SUB-1@2")
    assert f"view seats, {SUB}" in here("status").out
    assert "seatline rebuild VIEW --only SUB" in here("status").out
    done = here("rebuild", "seats", "--only", SUB)
    assert (done.code, done.out) == (0, f"seats: {SUB} made anew, 1 row is different from before\n")
    assert here("status", "--json").json["parked"] == []
    done = here("rebuild", "seats", "--only", "SUB-X")
    assert (done.code, done.complaint) == (1, "nothing ever happened to SUB-X: is it the subscription's id?")
    done = here("rebuild", "seats", "--processes", "0")
    assert (done.code, done.complaint) == (2, "--processes 0: at least one has to do it")


@pytest.mark.parametrize("arguments", [[], ["gardens"], ["seats", "gardens"]])
def test_rebuild_of_what_is_not_there_is_bad_usage(here: Here, arguments: list[str]) -> None:
    done = here("rebuild", *arguments)
    assert done.code == 2
    assert "seats, services, users, orders, carts, payments" in done.complaint


@pytest.mark.parametrize("arguments", [[], ["gardening"], ["send"], ["quote", SUB], ["quote", SUB, "--seats", "x"]])
def test_bad_usage_is_told_and_2(here: Here, arguments: list[str]) -> None:
    done = here(*arguments)
    assert done.code == 2
    assert done.err.startswith("usage: seatline")


def test_help_tells_every_command(seatline: Seatline) -> None:
    done = seatline("--help")
    assert (done.code, done.err) == (0, "")
    for command in ("demo", "send", "run", "quote", "panel", "history", "why", "rebuild", "status"):
        assert command in done.out


@pytest.mark.slow
def test_who_has_read_enough_is_not_told_of_it(seatline: Seatline, office: Office) -> None:
    office.on("2025-03-03").start(service(BASE, "2025-06-30"))
    office.do("open-cart")
    for number in range(700):
        office.send("choose-seats", quantity=1 + number % 2)
    with seatline.running("history", SUB) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        process.stdout = None
        done = ended(process)
    assert (done.code, done.err) == (0, "")


@pytest.mark.slow
def test_the_demo_tells_its_stories_on_a_database_of_its_own(seatline: Seatline) -> None:
    told = seatline("demo")
    assert (told.code, told.err) == (0, "")
    assert "Story 1" in told.out
    assert "Story 2" in told.out
    assert "[bold]" not in told.out
    steps = seatline("demo", "--json").json
    assert {"command", "panel", "mail"} == {name for step in steps for name in step if name != "answer"}
    with psycopg.connect(seatline.url) as connection:
        assert connection.execute("SELECT count(*) FROM seatline.stored_events").fetchone() == (0,)


def numbers(office: Office) -> list[str]:
    return [event.order_number for event in office.events() if isinstance(event, OrderPlaced)]
