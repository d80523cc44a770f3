"""`seatline rebuild`: a read model built anew beside the live one, compared, and swapped."""

import argparse
import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from adapters.cli import DONE, Complaint
from adapters.cli.show import print_json
from adapters.postgres.views import rebuild
from adapters.settings import load_settings
from adapters.wiring import engine
from projections.catalogue import VIEWS


def run(arguments: argparse.Namespace) -> int:
    names = list(VIEWS) if arguments.all else arguments.views
    if not names:
        raise Complaint(f"which view? One of {', '.join(VIEWS)}, or --all")
    for name in names:
        if name not in VIEWS:
            raise Complaint(f"there is no view {name}; there are {', '.join(VIEWS)}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        engine(load_settings()) as wired,
        Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar,
    ):
        for name in names:
            task = bar.add_task(name, total=None)
            started = time.monotonic()
            different = rebuild(wired.log, VIEWS[name], _ticking(bar, task))
            seconds = round(time.monotonic() - started, 3)
            if arguments.json:
                print_json({"view": name, "rows_different": different, "seconds": seconds})
            else:
                print(f"{name}: rebuilt and swapped in {seconds:.1f} s, {different} rows differ from before")
    return DONE


def _ticking(bar: Progress, task: TaskID) -> Callable[[int, int], None]:
    return lambda done, goal: bar.update(task, completed=done, total=goal)
