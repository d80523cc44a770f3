"""What a running process says about itself: that it lives, that it is well, and its figures."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.torments.wire import Wire
from tests.office import Office, until

PROGRAM = Path(sys.executable).with_name("seatline")


class Running:
    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self.process = process
        self._port = port

    def says(self, path: str) -> tuple[int, str]:
        """Status and text; 0 as long as nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def figures(self) -> dict[str, float]:
        lines = [line for line in self.says("/metrics")[1].splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@contextmanager
def running(url: str, *workers: str, port: int | None = None) -> Iterator[Running]:
    port = port or a_free_port()
    settings = {"SEATLINE_DATABASE_URL": url, "SEATLINE_METRICS_PORT": str(port)}
    with subprocess.Popen(
        [PROGRAM, "run", *workers], env=os.environ | settings, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Running(process, port)
        finally:
            process.kill()


def a_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def test_a_process_that_is_well_says_so(office: Office) -> None:
    with running(office.url, "projections", "activation") as process:
        until(lambda: process.says("/readyz") == (200, "ok\n"), seconds=30)

        assert process.says("/healthz") == (200, "ok\n")
        assert process.says("/elsewhere")[0] == 404


def test_the_figures_say_how_far_everybody_is(office: Office) -> None:
    office.start()
    office.order_seats(3)
    head = office.log.head()
    with running(office.url, "projections") as process:
        until(lambda: process.figures().get('seatline_lag_events{reader="view:seats:1"}') == 0, seconds=30)

        figures = process.figures()
        assert figures['seatline_worker_up{worker="projections"}'] == 1
        assert figures["seatline_database_up"] == 1
        assert figures['seatline_lag_seconds{reader="view:orders:1"}'] == 0
    assert office.log.head() == head


def test_lag_is_told_for_workers_of_other_processes_too(office: Office) -> None:
    office.drain(office.activation())
    office.start()
    office.drain(office.activation())
    office.order_seats(3)
    with running(office.url, "projections") as process:
        until(lambda: process.figures().get('seatline_lag_events{reader="activation"}') == 5, seconds=30)

        # The office's clock stands in March, so the events are months old.
        assert process.figures()['seatline_lag_seconds{reader="activation"}'] > 24 * 3600


@pytest.mark.slow
def test_a_process_without_its_database_lives_but_is_not_ready_until_it_is_back(wire: Wire) -> None:
    with running(wire.url, "projections") as process:
        until(lambda: process.says("/readyz")[0] == 200, seconds=30)

        wire.cut()
        until(lambda: process.says("/readyz") == (503, "not well: projections, database\n"), seconds=30)
        assert process.says("/healthz") == (200, "ok\n")
        assert process.figures()["seatline_database_up"] == 0

        wire.mend()
        until(lambda: process.says("/readyz")[0] == 200, seconds=30)
        assert process.figures()['seatline_worker_retries_total{reason="outage",worker="projections"}'] >= 1


def test_a_port_that_is_taken_is_refused_in_one_line(migrated_url: str) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with running(migrated_url, "projections", port=port) as process:
            _, said = process.process.communicate(timeout=30)

    assert process.process.returncode == 2
    assert said == f"seatline: SEATLINE_METRICS_PORT {port}: Address already in use\n"


@pytest.mark.slow
def test_it_ends_when_asked_to(office: Office) -> None:
    with running(office.url, "projections") as process:
        until(lambda: process.says("/readyz")[0] == 200, seconds=30)
        process.process.send_signal(signal.SIGTERM)
        process.process.communicate(timeout=10)

        assert process.process.returncode == 0


@pytest.mark.parametrize("port", ["0", "70000", "http"])
def test_a_wrong_port_is_refused_in_one_line(migrated_url: str, port: str) -> None:
    settings = {"SEATLINE_DATABASE_URL": migrated_url, "SEATLINE_METRICS_PORT": port}
    run = subprocess.run(
        [PROGRAM, "run"], env=os.environ | settings, capture_output=True, text=True, timeout=30, check=False
    )

    assert run.returncode == 2
    assert run.stderr.startswith("seatline: SEATLINE_METRICS_PORT: ")
    assert run.stderr.count("\n") == 1
