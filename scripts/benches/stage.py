"""Where benches play: a server, fresh databases on it, workloads in files, and a process of its own for each sample."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg

from adapters.clerk import Clerk, spare_the_collector
from adapters.cloudevents import Unreadable, parse
from adapters.embedded import embedded_postgres, temporary_home
from adapters.settings import Settings, load_shopfront
from adapters.wiring import Engine, engine
from domain.commands import Command
from scripts.benches.plain.shop import PlainShop
from scripts.workload.market import FIRST_ORDER, Market

P = ParamSpec("P")
R = TypeVar("R")

SPAWN = multiprocessing.get_context("spawn")


class Stage:
    """A server that starts when it is first needed: SEATLINE_DATABASE_URL, else an embedded one in a temporary home."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="seatline-bench-")))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    @cached_property
    def server(self) -> str:
        if given := os.environ.get("SEATLINE_DATABASE_URL"):
            return given
        return self._open.enter_context(embedded_postgres(self._open.enter_context(temporary_home())))

    @property
    def is_used(self) -> bool:
        return "server" in vars(self)

    def postgres(self) -> dict[str, str]:
        with psycopg.connect(self.server) as connection:
            return {name: _show(connection, name) for name in ("server_version", "fsync", "synchronous_commit")}

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of an empty database, which goes with its context."""
        name = f"bench_{uuid4().hex}"
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        try:
            yield urlsplit(self.server)._replace(path=f"/{name}").geturl()
        finally:
            with psycopg.connect(self.server, autocommit=True) as connection:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def workload(self, lines: int, *, seed: int = 1, bad: float = 0.02, first_order: int = FIRST_ORDER) -> Path:
        """A file, because whoever makes a workload has all its quotes in memory, which a writer must not."""
        path = self._folder / f"{lines}-{seed}-{bad}-{first_order}.jsonl"
        if not path.exists():
            path.write_bytes(b"\n".join(Market(lines, seed=seed, bad=bad, first_order=first_order).lines()))
        return path

    def sample(self, side: Callable[Concatenate[str, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What a side returns for an empty database, in a new process: nothing is warm from another sample."""
        with self.database() as url:
            return self.apart(side, url, *args, **kwargs)

    def apart(self, side: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What a side returns in a new process."""
        with ProcessPoolExecutor(1, mp_context=SPAWN) as process:
            return process.submit(side, *args, **kwargs).result()


def lines_of(workload: Path) -> list[bytes]:
    return workload.read_bytes().split(b"\n")


# Ours


@contextmanager
def engine_at(url: str) -> Iterator[Engine]:
    """The engine over an empty database, wired and tuned as in `seatline send`."""
    with engine(Settings(database_url=url)) as wired:
        spare_the_collector()
        yield wired


def ingest(clerk: Clerk, lines: Sequence[bytes], batch_size: int = 1_000) -> None:
    """From bytes to lines of answers, one commit a batch, as `seatline send` does it."""
    for first in range(0, len(lines), batch_size):
        answers = clerk.handle(list(_readable(lines[first : first + batch_size])))
        "\n".join([answer.line() for answer in answers]).encode()


def _readable(lines: Sequence[bytes]) -> Iterator[Command]:
    for line in lines:
        try:
            yield parse(line)
        except Unreadable:
            continue


@contextmanager
def running(*workers: str, **settings: str) -> Iterator[None]:
    """A whole `seatline run` with these settings, which has to end well."""
    process = subprocess.Popen(
        [Path(sys.executable).with_name("seatline"), "run", *workers],
        env=os.environ | settings,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield
    finally:
        process.terminate()
        _, said = process.communicate(timeout=30)
        if process.returncode:
            raise RuntimeError(f"seatline run {' '.join(workers)} ended with {process.returncode}: {said[-1000:]}")


# The peer's


@contextmanager
def plain_shop_at(url: str, *, connections: int = 5) -> Iterator[PlainShop]:
    prices = load_shopfront(None).prices
    with PlainShop(prices, url, first_order=FIRST_ORDER, connections=connections) as shop:
        yield shop


def ingest_plainly(shop: PlainShop, lines: Sequence[bytes]) -> None:
    """The same as far as the peer goes: one command one commit, and no answer."""
    for line in lines:
        try:
            shop.handle(line)
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
            continue  # unreadable


def _show(connection: psycopg.Connection, setting: str) -> str:
    row = connection.execute(f"SHOW {setting}").fetchone()
    return str(row[0]) if row else ""
