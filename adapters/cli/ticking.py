"""A progress bar over events, on stderr and only where somebody watches."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def ticking(name: str, afterwards: str = "") -> Iterator[Callable[[int, int], None]]:
    """Gives a function to be told how many events are done, of how many; `afterwards` is what then still is to do."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("events, {task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), speed_estimate_period=3600
    ) as bar:
        task, began = bar.add_task(name, total=None, rate=0.0), time.monotonic()
        first: int | None = None

        def progress(done: int, goal: int) -> None:
            # What an earlier process had built tells nothing of this one's speed.
            nonlocal first
            first = done if first is None else first
            bar.update(task, completed=done, total=goal, rate=(done - first) / (time.monotonic() - began))
            if done == goal and afterwards:
                bar.update(task, description=f"{name}: {afterwards}")

        yield progress
