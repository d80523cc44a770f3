import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from adapters.embedded import CACHE, EmbeddedPostgresError, default_home, embedded_postgres, temporary_home
from adapters.postgres_wheel import PostgresWheel

pytestmark = pytest.mark.slow

LONG = "long" * 30
VISIT = """
import sys
from pathlib import Path
from adapters.embedded import embedded_postgres

with embedded_postgres(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""
MANY_VISITS = """
import random, sys, time
from pathlib import Path
import psycopg
from adapters.embedded import embedded_postgres

for _ in range(15):
    with embedded_postgres(Path(sys.argv[1])) as url, psycopg.connect(url) as connection:
        time.sleep(random.random() / 50)
        connection.execute("SELECT 1")
    time.sleep(random.random() / 20)
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def new_home() -> Iterator[Path]:
    with temporary_home() as home:
        yield home


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """A home that was used before, shared by all who leave it as it was, because making one takes longest of all."""
    with temporary_home() as home:
        with embedded_postgres(home):
            pass
        yield home


def test_a_new_home_gets_an_empty_database_that_is_alike_on_every_machine(new_home: Path) -> None:
    with embedded_postgres(new_home) as url:
        assert ask(url, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == 0
        assert ask(url, "SHOW server_encoding") == "UTF8"
        assert ask(url, "SHOW timezone") == "UTC"
        assert ask(url, "SELECT upper('è') || string_agg(c, '' ORDER BY c) FROM unnest('{à,b,Z}'::text[]) c") == "ÈZbà"
        assert ask(url, "SHOW data_checksums") == "on"
        assert ask(url, "SHOW fsync") == "on"


def test_what_was_written_is_there_at_the_next_start(home: Path) -> None:
    with embedded_postgres(home) as url:
        tell(url, "CREATE TABLE written AS SELECT 7 AS seats")
    with embedded_postgres(home) as url:
        assert ask(url, "SELECT seats FROM written") == 7


def test_two_processes_share_one_server_and_the_last_one_stops_it(new_home: Path) -> None:
    with a_visitor(new_home) as first, a_visitor(new_home) as second:
        assert first.url == second.url
        server = server_of(new_home)
        first.leave()
        assert ask(second.url, "SELECT 1") == 1
        assert server_of(new_home) == server
        second.leave()
        assert server_of(new_home) is None


def test_nobody_gets_a_server_that_is_about_to_stop(home: Path) -> None:
    visitors = [subprocess.Popen([sys.executable, "-c", MANY_VISITS, home]) for _ in range(4)]
    assert [visitor.wait() for visitor in visitors] == [0, 0, 0, 0]
    assert server_of(home) is None


def test_a_server_whose_users_were_all_killed_is_taken_over_by_the_next(home: Path) -> None:
    with a_visitor(home) as visitor:
        server = server_of(home)
        visitor.process.kill()
        visitor.process.wait()
    with embedded_postgres(home) as url:
        assert server_of(home) == server
        assert ask(url, "SELECT 1") == 1
    assert server_of(home) is None


def test_a_killed_server_is_recovered_at_the_next_start(home: Path) -> None:
    with embedded_postgres(home) as url:
        tell(url, "CREATE TABLE survived AS SELECT 7 AS seats")
        server = server_of(home)
        assert server is not None
        os.kill(server, signal.SIGKILL)
        with a_visitor(home) as visitor:
            assert ask(visitor.url, "SELECT seats FROM survived") == 7
            assert server_of(home) != server


def test_a_process_that_has_the_number_of_a_dead_server_by_now_is_no_obstacle(home: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "60"], user=owner_of(home)) as stranger:
        for left in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            (home / "postgres" / left).write_text(f"{stranger.pid}\n")
        with embedded_postgres(home) as url:
            assert ask(url, "SELECT 1") == 1
        assert stranger.poll() is None
        stranger.kill()


def test_a_server_started_by_hand_is_shared_and_never_doubled(home: Path) -> None:
    with started_by_hand(home) as server, embedded_postgres(home) as url:
        assert server_of(home) == server
        assert ask(url, "SHOW listen_addresses") == ""
    with started_by_hand(home, "-p", "6000"):
        assert "is still in use" in refusal(home)


def test_an_interrupted_initialisation_is_begun_anew(new_home: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", VISIT, new_home], stdin=subprocess.PIPE) as visitor:
        while not (new_home / "postgres.new/global").exists():
            time.sleep(0.001)
        visitor.kill()
    with embedded_postgres(new_home) as url:
        assert ask(url, "SELECT 1") == 1
    assert not (new_home / "postgres.new").exists()


def test_no_parent_folder_is_widened_and_the_data_is_closed(new_home: Path) -> None:
    home = new_home / "outer/home"
    home.parent.mkdir(mode=0o711)
    parents = [*home.parents, *the_wheel().programs.parents]
    before = [mode_of(folder) for folder in parents]
    with embedded_postgres(home):
        assert [mode_of(folder) for folder in parents] == before
        assert mode_of(home) == (0o711 if os.geteuid() == 0 else 0o700)
        assert mode_of(home / "postgres") == 0o700


@pytest.mark.parametrize("name", [LONG, "a comma, two", 'it\'s $HOME "quoted" %41 `id` ?#&'])
def test_a_home_may_move_and_have_any_name(home: Path, name: str) -> None:
    with moved(home, name) as moved_home, embedded_postgres(moved_home) as url:
        assert ask(url, "SHOW data_directory") == str(moved_home / "postgres")


def test_the_socket_of_a_long_path_is_in_a_private_folder_that_goes_with_the_server(home: Path) -> None:
    with moved(home, LONG) as moved_home:
        with embedded_postgres(moved_home) as url:
            folder = Path(str(ask(url, "SHOW unix_socket_directories")))
            assert mode_of(folder) == 0o700
            assert folder.owner() == (moved_home / "postgres").owner()
        assert not folder.exists()

        folder.symlink_to(home)
        assert f"{folder} is not a private folder of this user" in refusal(moved_home)
        folder.unlink()


def test_variables_meant_for_another_server_do_not_mislead(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGPORT": "6000", "PGDATA": "/nowhere", "PGSSLMODE": "require", "LC_ALL": "it_IT"}.items():
        monkeypatch.setenv(name, value)
    with embedded_postgres(home) as url:
        assert ask(url, "SELECT 1") == 1


def test_data_of_another_postgresql_is_refused_in_one_line(home: Path) -> None:
    with changed(home / "postgres/PG_VERSION", "15\n"):
        assert re.fullmatch(r"\S+ was made by PostgreSQL 15, and this is \d+: set SEATLINE_HOME to .*", refusal(home))


def test_what_the_server_complains_about_is_in_the_refusal(home: Path) -> None:
    with changed(home / "postgres/postgresql.conf", "nonsense = 1\n"):
        assert re.fullmatch(
            r'.*"\S+/postgresql.conf" contains errors \(more in \S+/postgres.log\): set .*', refusal(home)
        )


@needs_root
def test_root_is_told_which_folder_its_server_cannot_pass_through(new_home: Path) -> None:
    closed = new_home / "closed"
    closed.mkdir(mode=0o700)
    assert f"nobody can't pass through {closed}: set SEATLINE_HOME to" in refusal(closed / "home")
    assert mode_of(closed) == 0o700
    assert list(closed.iterdir()) == []


@needs_root
def test_root_keeps_its_data_in_var_if_its_own_folder_is_closed(
    new_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(new_home))
    assert default_home() == new_home / ".local/share/seatline"
    new_home.chmod(0o700)
    assert default_home() == Path("/var/lib/seatline")


def test_programs_out_of_reach_are_copied_once_to_where_everybody_can_run_them(new_home: Path) -> None:
    wheel = the_wheel()
    closed = new_home / "closed"
    closed.mkdir(mode=0o700)
    (closed / "site").symlink_to(wheel.site)
    hidden = PostgresWheel(closed / "site", wheel.install, wheel.version)

    copy = hidden.within_reach(new_home / "cache")

    assert hidden.within_reach(new_home / "cache") == copy
    assert mode_of(closed) == 0o700
    for program in ("initdb", "pg_ctl", "postgres"):
        stranger = "nobody" if os.geteuid() == 0 else None
        subprocess.run([copy.programs / program, "--version"], check=True, stdout=subprocess.DEVNULL, user=stranger)


@dataclass
class Visitor:
    """Another process that uses the server."""

    process: subprocess.Popen[str]
    url: str

    def leave(self) -> None:
        self.process.communicate()


@contextmanager
def a_visitor(home: Path) -> Iterator[Visitor]:
    command = [sys.executable, "-c", VISIT, str(home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Visitor(process, process.stdout.readline().strip())


@contextmanager
def started_by_hand(home: Path, *options: str) -> Iterator[int]:
    user = owner_of(home)
    wheel = the_wheel() if user is None else the_wheel().within_reach(CACHE)
    command = [str(wheel.programs / "postgres"), "-D", str(home / "postgres"), *options]
    with subprocess.Popen(command, cwd="/", user=user, stderr=subprocess.DEVNULL) as server:
        try:
            while not says_ready(home / "postgres/postmaster.pid"):
                time.sleep(0.01)
            yield server.pid
        finally:
            server.send_signal(signal.SIGINT)


def says_ready(state: Path) -> bool:
    return state.exists() and state.read_text().rstrip().endswith("ready")


def server_of(home: Path) -> int | None:
    """The process number of the server that runs in a home."""
    state = home / "postgres/postmaster.pid"
    return int(state.read_text().split()[0]) if state.exists() else None


def owner_of(home: Path) -> int | None:
    """Whom to become in order to act as the server does."""
    return (home / "postgres").stat().st_uid if os.geteuid() == 0 else None


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def moved(home: Path, name: str) -> Iterator[Path]:
    with temporary_home() as elsewhere:
        new = elsewhere / name
        new.mkdir(mode=0o711)
        (home / "postgres").rename(new / "postgres")
        try:
            yield new
        finally:
            (new / "postgres").rename(home / "postgres")


@contextmanager
def changed(file: Path, text: str) -> Iterator[None]:
    before = file.read_text()
    file.write_text(text)
    try:
        yield
    finally:
        file.write_text(before)


def the_wheel() -> PostgresWheel:
    wheel = PostgresWheel.newest()
    assert wheel is not None
    return wheel


def refusal(home: Path) -> str:
    with pytest.raises(EmbeddedPostgresError) as refused, embedded_postgres(home):
        pass
    return str(refused.value)


def ask(url: str, question: LiteralString) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(question).fetchone()
        return row and row[0]


def tell(url: str, statement: LiteralString) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement)
