"""The history replayed, and each thing told that isn't as it makes it."""

import argparse
import gc
import os
import time

from adapters.clerk import spare_the_collector
from adapters.cli import DOMAIN_SAID_NO, DONE, Complaint
from adapters.cli.audit.given import log_url
from adapters.cli.show import print_json
from adapters.cli.ticking import ticking
from adapters.postgres.database import Datastore
from adapters.postgres.log import EventLog
from adapters.postgres.replaying import Difference, Replayed, replay_streams, replay_view
from projections.catalogue import VIEWS

WORTH_IT = 200_000
"""Events from which on a second process has earned its start."""


def replay(arguments: argparse.Namespace) -> int:
    if arguments.processes is not None and arguments.processes < 1:
        raise Complaint(f"--processes {arguments.processes}: at least one has to do it")
    found: list[Difference] = []

    def tell(difference: Difference) -> None:
        found.append(difference)
        if not arguments.json:
            print(difference, flush=True)

    spare_the_collector()
    with log_url() as url:
        log, began = EventLog(Datastore(url)), time.monotonic()
        try:
            processes = arguments.processes or (1 if log.head() < WORTH_IT else os.cpu_count() or 1)
            with ticking("streams") as progress:
                replayed = replay_streams(log, processes, progress, tell)
            seconds = time.monotonic() - began
            for view in VIEWS.values():
                with ticking(f"view {view.name}", afterwards="comparing") as progress:
                    replay_view(log, view, processes, progress, tell)
        finally:
            log.datastore.close()
            gc.enable()
    if arguments.json:
        money = {name: f"{amount:.2f}" for name, amount in replayed.money._asdict().items()}
        differences = [difference._asdict() for difference in found]
        print_json(replayed._asdict() | {"money": money, "seconds": seconds, "differences": differences})
    else:
        _summarise(replayed, len(found), seconds)
    return DOMAIN_SAID_NO if found else DONE


def _summarise(replayed: Replayed, different: int, seconds: float) -> None:
    money = replayed.money
    print(f"replayed: {replayed.events:,} events of {replayed.streams:,} streams in {seconds:.1f} s")
    print(f"  {replayed.quotes:,} quotes counted again, {replayed.memories:,} memories and {len(VIEWS)} views compared")
    print(
        f"  € {money.received:,.2f} received = {money.allocated:,.2f} allocated + {money.refundable:,.2f} refundable"
        f" + {money.unallocated:,.2f} unallocated + {money.refunded:,.2f} refunded"
    )
    print("  1 difference" if different == 1 else f"  {different:,} differences")
