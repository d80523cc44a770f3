"""`seatline rebuild`: a read model built anew beside the live one, compared, and swapped; or gone back from."""

import argparse
import os
import time
from collections.abc import Iterator

from adapters.cli import DOMAIN_SAID_NO, DONE, Complaint
from adapters.cli.show import print_json
from adapters.cli.ticking import ticking
from adapters.postgres.comparing import Differences
from adapters.postgres.log import EventLog
from adapters.postgres.rebuild import NothingKept, NothingKnown, Rebuilt, rebuild, rebuild_only, roll_back
from adapters.settings import load_settings
from adapters.wiring import engine
from projections.catalogue import VIEWS
from projections.view import AnyView

WORTH_IT = 200_000
"""Events from which on a second process has earned its start."""


def run(arguments: argparse.Namespace) -> int:
    names = list(VIEWS) if arguments.all else arguments.views
    if not names:
        raise Complaint(f"which view? One of {', '.join(VIEWS)}, or --all")
    for name in names:
        if name not in VIEWS:
            raise Complaint(f"there is no view {name}; there are {', '.join(VIEWS)}")
    if arguments.processes is not None and arguments.processes < 1:
        raise Complaint(f"--processes {arguments.processes}: at least one has to do it")
    with engine(load_settings()) as wired:
        done = [_one(arguments, wired.log, VIEWS[name]) for name in names]
    return DONE if all(done) else DOMAIN_SAID_NO


def _one(arguments: argparse.Namespace, log: EventLog, view: AnyView) -> bool:
    """Says whether every home of the view can go on."""
    if arguments.rollback:
        return _roll_back(arguments, log, view)
    if arguments.only:
        try:
            different, parked = rebuild_only(log, view, arguments.only)
        except NothingKnown as error:
            raise Complaint(str(error), DOMAIN_SAID_NO) from error
        if arguments.json:
            print_json({"view": view.name, "only": arguments.only, "rows_different": different, "parked": parked})
        else:
            print(f"{view.name}: {arguments.only} made anew, {_rows(different)} different from before{_parked(parked)}")
        return not parked
    processes = arguments.processes or (1 if log.head() < WORTH_IT else os.cpu_count() or 1)
    started = time.monotonic()
    with ticking(view.name, afterwards="comparing and swapping") as progress:
        rebuilt = rebuild(log, view, progress, processes=processes)
    _print(arguments, view, rebuilt, time.monotonic() - started)
    return not rebuilt.parked


def _roll_back(arguments: argparse.Namespace, log: EventLog, view: AnyView) -> bool:
    try:
        back = roll_back(log, view)
    except NothingKept as error:
        raise Complaint(str(error), DOMAIN_SAID_NO) from error
    if arguments.json:
        print_json({"view": view.name, **back._asdict()})
    elif back.version == view.version:
        print(f"{view.name}: shows again what it showed before its last rebuild, up to date")
    else:
        print(
            f"{view.name}: shows again what version {back.version} of its handlers made, {back.behind:,} events behind;"
            f" this program has version {view.version}, so only one with version {back.version} can go on with it"
        )
    return True


def _print(arguments: argparse.Namespace, view: AnyView, rebuilt: Rebuilt, seconds: float) -> None:
    found = rebuilt.differences
    if arguments.json:
        said = {"view": view.name, "rows_different": found.rows, "seconds": round(seconds, 3)}
        said |= {"was_version": rebuilt.was_version, "version": view.version, "parked": rebuilt.parked}
        print_json(said | {"locked_ms": round(rebuilt.locked * 1000, 1), "differences": found._asdict()})
        return
    print(f"{view.name}: rebuilt and swapped in {seconds:.1f} s, {_rows(found.rows)} different from before")
    if found.rows or found.gone or found.new:
        print(*_told(view, rebuilt.was_version, found), sep="\n")
    if rebuilt.parked:
        print(f"  {_parked(rebuilt.parked)[2:]}")


def _told(view: AnyView, was: int, found: Differences) -> Iterator[str]:
    counts = {"only before": found.only_before, "only now": found.only_after, "changed": found.changed}
    if said := ", ".join(f"{count:,} {what}" for what, count in counts.items() if count):
        columns = ", ".join(f"{name} ({count:,})" for name, count in found.columns.items() if name != "position")
        yield f"  {said}{f': {columns}' if columns else ''}"
        yield f"  for example {'; '.join(' '.join(key) for key in found.examples)}"
    if found.gone or found.new:
        yield f"  columns gone: {', '.join(found.gone) or 'none'}; new: {', '.join(found.new) or 'none'}"
    if was != view.version:
        yield f"  before, version {was} of the handlers had made them, now version {view.version}"
    else:
        yield "  both by the same version of the handlers: their code has changed without it, or somebody changed rows"


def _rows(count: int) -> str:
    return "1 row is" if count == 1 else f"{count:,} rows are"


def _parked(count: int) -> str:
    return f", {count:,} can't go on: see seatline status" if count else ""
