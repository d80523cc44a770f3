"""A progress bar over events, or whatever is many, on stderr and only where somebody watches."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SURE = 1.0
"""Seconds of work before which nobody is told how much time is left."""


@contextmanager
def ticking(
    name: str, afterwards: str = "", *, of: str = "events", among_lines: bool = False
) -> Iterator[Callable[[int, int], None]]:
    """Gives a function to be told how many events are done, of how many; `afterwards` is what then still is to do.

    `among_lines`: what is done is printed too, so that nobody needs a bar who sees that.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{of}, {{task.fields[rate]:,.0f}}/s"),
        TimeRemainingColumn(),
    )
    nobody_watches = not sys.stderr.isatty() or (among_lines and sys.stdout.isatty())
    with Progress(
        *columns,
        console=Console(stderr=True),
        disable=nobody_watches,
        redirect_stdout=False,
        speed_estimate_period=3600,
    ) as bar:
        task = bar.add_task(name, total=None, rate=0.0)
        began: tuple[int, float] | None = None

        def progress(done: int, goal: int) -> None:
            # What was there before tells nothing of this process's speed, and getting ready nothing of the time left.
            nonlocal began
            now = time.monotonic()
            first, since = began = began or (done, now)
            rate = (done - first) / (now - since) if now > since else 0.0
            bar.update(task, completed=done, total=goal if now - since > SURE or done == goal else None, rate=rate)
            if done == goal and afterwards:
                bar.update(task, description=f"{name}: {afterwards}")

        yield progress
