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
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import NamedTuple

from pydantic_core import to_json

from adapters.clerk import Answer, Clerk, spare_the_collector
from adapters.cli import BAD_USAGE, DOMAIN_SAID_NO, DONE, INTERRUPTED, OUTSIDE_FAILED, Complaint, stop_printing
from adapters.cloudevents import LARGEST, Unreadable, parse
from adapters.postgres.database import DatabaseAway
from adapters.settings import Settings, load_settings
from adapters.wiring import engine
from domain.commands import Command

TOO_LONG = Unreadable(f"longer than {LARGEST} bytes")
CHUNK = 1 << 20
"""Bytes asked for at once; a pipe gives what is there, so a slow one gets small batches and quick answers."""
PAUSES = (0.5, 1, 2, 4, 8)
"""Seconds to wait, in turn, for a database that is away."""
NOBODY_READS = "nobody reads the answers any more: run the same files again to finish"

Tick = Callable[[int], None]
Stopped = Callable[[], bool]


class Line(NamedTuple):
    """A line's number, its bytes, and what they hold."""

    number: int
    raw: bytes
    holds: Command | Unreadable


class Given(NamedTuple):
    """An answer as it is printed and counted."""

    line: str
    outcome: str
    counts_as_rejected: bool


Answering = Callable[[Sequence[Line]], Sequence[Given | None]]
"""Gives the answers to readable lines, in their order; None for those that had not come when we were asked to stop."""


def run(arguments: argparse.Namespace) -> int:
    sources = [_open(name) for name in arguments.files]
    settings = load_settings()
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        stopped = stack.enter_context(_stopping())
        answering = stack.enter_context(_answering(arguments, settings, stopped))
        tick = stack.enter_context(_progress(sources))
        started = time.monotonic()
        for name, source in zip(arguments.files, sources, strict=True):
            output = _Output(name if len(sources) > 1 else None, counts)
            try:
                for batch in _batches(_lines(source, stopped, tick), settings.batch_size):
                    readable = [line for line in batch if isinstance(line.holds, Command)]
                    output.print(batch, answering(readable) if readable else [])
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


@contextmanager
def _answering(arguments: argparse.Namespace, settings: Settings, stopped: Stopped) -> Iterator[Answering]:
    if arguments.kafka:
        from adapters.cli.send_kafka import over_kafka

        with over_kafka(settings, stopped, wait=arguments.wait) as answering:
            yield answering
        return
    if not arguments.wait:
        raise Complaint("--no-wait goes with --kafka: without it, deciding is waiting")
    with engine(settings) as wired:
        clerk = wired.clerk()
        spare_the_collector()

        def decide(lines: Sequence[Line]) -> list[Given]:
            answers = _patiently(clerk, [line.holds for line in lines if isinstance(line.holds, Command)], stopped)
            return [Given(answer.line(), answer.outcome, answer.counts_as_rejected) for answer in answers]

        yield decide


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


def _lines(source: int, stopped: Stopped, tick: Tick) -> Iterator[list[bytes | Unreadable]]:
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


def _batches(reads: Iterator[list[bytes | Unreadable]], size: int) -> Iterator[list[Line]]:
    number = 0
    for lines in reads:
        batch: list[Line] = []
        for line in lines:
            number += 1
            if isinstance(line, bytes) and not line.strip():
                continue
            batch.append(Line(number, b"", line) if isinstance(line, Unreadable) else Line(number, line, _parsed(line)))
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

    def print(self, batch: Sequence[Line], answers: Sequence[Given | None]) -> None:
        given = iter(answers)
        printed = []
        for line in batch:
            if isinstance(line.holds, Unreadable):
                printed.append(self._unreadable(line.number, line.holds))
            elif answer := next(given):
                self._counts[answer.outcome] += 1
                self._counts["no"] += answer.counts_as_rejected
                printed.append(answer.line)
            else:
                break  # what follows would not stand in its place
        if written := [line for line in printed if line]:
            sys.stdout.write("\n".join(written) + "\n")
            sys.stdout.flush()

    def _unreadable(self, number: int, error: Unreadable) -> str:
        self._counts["unreadable"] += 1
        where = {"line": number} if self._file is None else {"file": self._file, "line": number}
        answer = {"outcome": "unreadable", **where, "code": error.code, "message": str(error)}
        return to_json(answer).decode()


def _patiently(clerk: Clerk, commands: Sequence[Command], stopped: Stopped) -> list[Answer]:
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
def _stopping() -> Iterator[Stopped]:
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
    outcomes = ["accepted", "rejected", "duplicate", "unreadable"] + ["published"] * ("published" in counts)
    total = sum(counts[outcome] for outcome in outcomes)
    print(
        f"seatline: {prefix}{total:,} lines in {seconds:.1f} s ({total / max(seconds, 0.001):,.0f}/s): "
        + ", ".join(f"{counts[outcome]:,} {outcome}" for outcome in outcomes),
        file=sys.stderr,
    )
