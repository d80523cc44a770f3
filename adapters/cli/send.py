"""`seatline send`: the commands of files, decided in batches, answered in order."""

import argparse
import errno
import os
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from pydantic_core import to_json

from adapters.clerk import Answer, Clerk, spare_the_collector
from adapters.cli import BAD_USAGE, DOMAIN_SAID_NO, DONE, INTERRUPTED, OUTSIDE_FAILED, Complaint, stop_printing
from adapters.cloudevents import LARGEST, Unreadable, parse
from adapters.postgres.database import DatabaseAway
from adapters.settings import load_settings
from adapters.wiring import engine
from domain.commands import Command

TOO_LONG = Unreadable(f"longer than {LARGEST} bytes")
CHUNK = 1 << 20
"""Bytes asked for at once; a pipe gives what is there, so a slow one gets small batches and quick answers."""
PAUSES = (0.5, 1, 2, 4, 8)
"""Seconds to wait, in turn, for a database that is away."""
NOBODY_READS = "nobody reads the answers any more: run the same files again to finish"

Tick = Callable[[int], None]
Item = tuple[int, Command | Unreadable]
"""A line's number, and what it holds."""


def run(arguments: argparse.Namespace) -> int:
    sources = [_open(name) for name in arguments.files]
    settings = load_settings()
    counts: Counter[str] = Counter()
    with engine(settings) as wired, _stopping() as stopped, _progress(sources) as tick:
        started = time.monotonic()
        clerk = wired.clerk()
        spare_the_collector()
        for name, source in zip(arguments.files, sources, strict=True):
            output = _Output(name if len(sources) > 1 else None, counts)
            try:
                for batch in _batches(_lines(source, stopped, tick), settings.batch_size):
                    commands = [item for _, item in batch if isinstance(item, Command)]
                    output.print(batch, _patiently(clerk, commands, stopped=stopped) if commands else [])
            except BrokenPipeError:
                stop_printing()
                raise Complaint(NOBODY_READS, OUTSIDE_FAILED) from None
        interrupted = stopped()
    _summarise(counts, started, "interrupted: run the same files again to finish; " if interrupted else "")
    if interrupted:
        return INTERRUPTED
    if counts["unreadable"]:
        return BAD_USAGE
    return DOMAIN_SAID_NO if counts["no"] else DONE


def _open(name: str) -> int:
    if name == "-":
        if sys.stdin is None:
            raise Complaint("-: standard input is closed")
        return sys.stdin.fileno()
    try:
        if os.path.isdir(name):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return os.open(name, os.O_RDONLY)
    except OSError as error:
        raise Complaint(f"{name}: {error.strerror}") from None


def _lines(source: int, stopped: Callable[[], bool], tick: Tick) -> Iterator[list[bytes | Unreadable]]:
    """The lines of a file, as many at a time as are there; a line too long is not kept in memory."""
    rest, too_long, chunk = b"", False, b"\n"
    while chunk and not stopped():
        while not _ready(source):
            if stopped():
                return
        try:
            chunk = os.read(source, CHUNK)
        except OSError as error:
            raise Complaint(f"can't read: {error.strerror}") from None
        tick(len(chunk))
        *whole, rest = (rest + chunk).split(b"\n")
        lines: list[bytes | Unreadable] = list(whole)
        if too_long and lines:
            lines[0], too_long = TOO_LONG, False
        if len(rest) > LARGEST:
            rest, too_long = b"", True
        if not chunk and (rest or too_long):
            lines.append(TOO_LONG if too_long else rest)
        yield lines


def _ready(source: int) -> bool:
    """Whether there is something to read, after a wait that is short enough to notice a wish to stop."""
    return bool(select.select([source], [], [], 0.2)[0])


def _batches(reads: Iterator[list[bytes | Unreadable]], size: int) -> Iterator[list[Item]]:
    number = 0
    for lines in reads:
        batch: list[Item] = []
        for line in lines:
            number += 1
            if isinstance(line, bytes) and not line.strip():
                continue
            batch.append((number, line if isinstance(line, Unreadable) else _parsed(line)))
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch


def _parsed(line: bytes) -> Command | Unreadable:
    try:
        return parse(line)
    except Unreadable as error:
        return error


class _Output:
    """Prints a line's answer where the line stood, whether it could be read or not."""

    def __init__(self, file: str | None, counts: Counter[str]) -> None:
        self._file = file
        self._counts = counts

    def print(self, batch: Sequence[Item], answers: Sequence[Answer]) -> None:
        given = iter(answers)
        lines = [
            self._unreadable(number, item) if isinstance(item, Unreadable) else self._given(next(given))
            for number, item in batch
        ]
        if lines:
            sys.stdout.write("\n".join(lines) + "\n")
            sys.stdout.flush()

    def _given(self, answer: Answer) -> str:
        self._counts[answer.outcome] += 1
        self._counts["no"] += answer.counts_as_rejected
        return answer.line()

    def _unreadable(self, number: int, error: Unreadable) -> str:
        self._counts["unreadable"] += 1
        where = {"line": number} if self._file is None else {"file": self._file, "line": number}
        answer = {"outcome": "unreadable", **where, "code": error.code, "message": str(error)}
        return to_json(answer).decode()


def _patiently(clerk: Clerk, commands: Sequence[Command], stopped: Callable[[], bool]) -> list[Answer]:
    """Decide a batch, waiting out a database that is away for a while; deciding again is safe."""
    for pause in PAUSES:
        try:
            return clerk.handle(commands)
        except DatabaseAway as error:
            print(f"seatline: the database is away ({error}), trying again in {pause} s", file=sys.stderr)
            until = time.monotonic() + pause
            while time.monotonic() < until:
                if stopped():
                    raise
                time.sleep(0.1)
    return clerk.handle(commands)


@contextmanager
def _stopping() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM end the work at the next batch; a second one at once."""
    asked = False

    def ask(signal_: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress(sources: list[int]) -> Iterator[Tick]:
    """A bar on stderr where somebody looks at it."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    total = sum(os.fstat(source).st_size for source in sources)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total or None)
        yield lambda count: progress.advance(task, count)


def _summarise(counts: Counter[str], started: float, prefix: str) -> None:
    seconds = time.monotonic() - started
    total = sum(counts[outcome] for outcome in ("accepted", "rejected", "duplicate", "unreadable"))
    print(
        f"seatline: {prefix}{total:,} lines in {seconds:.1f} s ({total / max(seconds, 0.001):,.0f}/s):"
        f" {counts['accepted']:,} accepted, {counts['rejected']:,} rejected,"
        f" {counts['duplicate']:,} duplicate, {counts['unreadable']:,} unreadable",
        file=sys.stderr,
    )
