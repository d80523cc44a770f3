"""The panel for those who wait for something, and for those who watch it change."""

import json
import os
import pty
import select
import signal
import subprocess
from pathlib import Path
from typing import Any, LiteralString

import pytest

from tests.adapters.test_freshness import SLEEPS
from tests.office import SUB, Office, until
from tests.test_command_line import PROGRAM, Done, Seatline, ended

pytestmark = pytest.mark.slow

CUT: LiteralString = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND query LIKE 'LISTEN%%'"
)
UP = b"\x1b[1A"
"""What moves a terminal's cursor up a line."""


@pytest.fixture
def seatline(migrated_url: str, tmp_path: Path) -> Seatline:
    return Seatline(migrated_url, tmp_path)


def line(process: subprocess.Popen[bytes]) -> Any:
    assert process.stdout is not None
    told = b""
    while not told.endswith(b"\n"):
        told += some(process.stdout.fileno())
    return json.loads(told)


def some(stream: int) -> bytes:
    """A byte that somebody has written."""
    ready, _, _ = select.select([stream], [], [], 20)
    assert ready, "nobody writes anything"
    byte = os.read(stream, 1)
    assert byte, "nobody will write anything more"
    return byte


def interrupted(process: subprocess.Popen[bytes]) -> Done:
    process.send_signal(signal.SIGINT)
    return ended(process)


# Waiting


def test_panel_waits_for_the_position_of_an_answer_until_a_worker_comes(seatline: Seatline, office: Office) -> None:
    office.start()
    position = office.do("configure-user", username="annaverdi")["position"]
    with seatline.running("panel", SUB, "--json", "--after", str(position), "--timeout", "60") as process:
        until(lambda: office.ask(SLEEPS))
        office.drain(office.projections())
        shown = ended(process).json
    assert [user["username"] for user in shown["users"]] == ["annaverdi"]


# Following


def test_panel_is_followed_as_it_changes_and_ends_well_when_interrupted(seatline: Seatline, office: Office) -> None:
    office.start()
    with seatline.running("panel", SUB, "--follow", "--json") as process:
        assert line(process)["users"] == []
        office.start(subscription_id="SUB-2")
        office.do("configure-user", username="annaverdi")
        office.drain(office.projections())
        assert [user["username"] for user in line(process)["users"]] == ["annaverdi"]
        number = office.order_seats(2)
        office.drain(office.projections())
        while not (orders := line(process)["orders"]):
            pass
        assert [order["order_number"] for order in orders] == [number]
        done = interrupted(process)
    assert (done.code, done.err) == (0, "")
    assert all(answer["orders"] for answer in done.answers)


def test_a_notice_that_nobody_can_read_disturbs_nobody_who_follows(seatline: Seatline, office: Office) -> None:
    office.start()
    with seatline.running("panel", SUB, "--follow", "--json") as process:
        line(process)
        for payload in ("", "{}", '{"view": "moon", "position": 1, "keys": [["x"]]}', '{"view": "seats", "keys": 3}'):
            office.tell("SELECT pg_notify('panel_changed', %s)", payload)
        office.do("configure-user", username="annaverdi")
        office.drain(office.projections())
        assert len(line(process)["users"]) == 1
        assert interrupted(process).code == 0


def test_panel_that_is_followed_notices_by_itself_what_nobody_told_it(seatline: Seatline, office: Office) -> None:
    office.start()
    with seatline.running("panel", SUB, "--follow", "--json") as process:
        line(process)
        office.do("configure-user", username="annaverdi")
        assert len(line(process)["users"]) == 1
        assert interrupted(process).code == 0


def test_panel_of_a_subscription_that_does_not_exist_can_not_be_followed(seatline: Seatline, office: Office) -> None:
    office.start()
    done = seatline("panel", "SUB-9", "--follow")
    assert (done.code, done.complaint) == (1, "there is no subscription SUB-9")


def test_panel_that_is_followed_ends_when_the_database_goes(seatline: Seatline, office: Office) -> None:
    office.start()
    with seatline.running("panel", SUB, "--follow", "--json") as process:
        line(process)
        until(lambda: office.ask(CUT))
        done = ended(process)
    assert done.code == 3
    assert "the database is away" in done.err


def test_panel_that_is_followed_on_a_terminal_stays_in_its_place(seatline: Seatline, office: Office) -> None:
    office.start()
    ours, its = pty.openpty()
    arguments: list[str | Path] = [PROGRAM, "panel", SUB, "--follow"]
    environment = seatline.environment({"TERM": "xterm-256color"})
    with subprocess.Popen(arguments, env=environment, stdin=its, stdout=its, stderr=subprocess.PIPE) as process:
        try:
            seen = b""
            while b"Service status" not in seen:
                seen += some(ours)
            office.do("configure-user", username="annaverdi")
            office.drain(office.projections())
            while b"annaverdi" not in seen:
                seen += some(ours)
            assert UP in seen
            assert interrupted(process).code == 0
        finally:
            process.kill()
            os.close(ours)
            os.close(its)
