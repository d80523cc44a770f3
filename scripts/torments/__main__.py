"""`scripts/torture`: faults by the hundred, and whether a promise was broken; bugs planted on purpose must be caught.

A row is a module of this folder: its first line says the promise; QUICK and FULL are its sizes;
`torment(stage, size, seed)` returns an Outcome; PLANTED names bugs, each as what `torment` is told to have it.
"""

import argparse
import json
import random
import sys
import time
from datetime import date
from importlib import import_module
from typing import Any

from scripts.benches.figures import machine
from scripts.benches.stage import Stage
from scripts.torments.ledger import Outcome

ROWS = {
    1: "commands",
    2: "restarts",
    3: "skips",
    4: "recovery",
    5: "rebuilds",
    6: "publishing",
    7: "letters",
    8: "activations",
    11: "nonsense",
    12: "signals",
    13: "changes",
}


def main() -> int:
    arguments = _arguments()
    broken = False
    with Stage() as stage:
        for row in arguments.rows or ROWS:
            module: Any = import_module(f"scripts.torments.{ROWS[row]}")
            promise = (module.__doc__ or "").partition("\n")[0]
            size = arguments.size or (module.FULL if arguments.full else module.QUICK)
            for bug in [None, *module.PLANTED] if arguments.planted else [None]:
                size = size if bug is None else module.QUICK
                planted = f" with a bug: {bug}" if bug else ""
                print(f"… {promise}{planted} (--seed {arguments.seed})", file=sys.stderr)
                began = time.monotonic()
                outcome: Outcome = module.torment(stage, size, arguments.seed, **(module.PLANTED[bug] if bug else {}))
                held = not outcome.complaints
                broken |= held if bug else not held
                _print(arguments, row, promise, bug, outcome, time.monotonic() - began)
    return 1 if broken else 0


def _print(
    arguments: argparse.Namespace, row: int, promise: str, bug: str | None, outcome: Outcome, seconds: float
) -> None:
    if arguments.json:
        said = {"row": row, "seed": arguments.seed, "date": date.today().isoformat(), **machine()}  # noqa: DTZ011
        said |= {"planted": bug, "seconds": seconds}
        print(json.dumps({**said, "figures": outcome.figures, "complaints": outcome.complaints}), flush=True)
        return
    figures = ", ".join(f"{count:,} {what}" for what, count in outcome.figures.items())
    if bug:
        print(f"   planted: {bug}: {'caught' if outcome.complaints else 'NOT CAUGHT'} ({figures})", flush=True)
        return
    verdict = "held" if not outcome.complaints else f"BROKEN, {len(outcome.complaints):,} times"
    print(f"{promise}\n   {verdict}, in {seconds:,.0f} s with --seed {arguments.seed}: {figures}", flush=True)
    for complaint in outcome.complaints[:10]:
        print(f"   - {complaint}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/torture",
        description="Tries to break what the README promises; exit 1 if a promise broke, or a planted bug got through.",
    )
    parser.add_argument("rows", nargs="*", type=int, choices=ROWS, metavar="ROW", help=f"{', '.join(map(str, ROWS))}")
    parser.add_argument("--full", action="store_true", help="as often as docs/torture.md says, which takes its time")
    parser.add_argument("--size", type=int, metavar="N", help="how many faults, or whatever the row counts")
    parser.add_argument(
        "--seed",
        type=int,
        metavar="N",
        default=random.randrange(10_000),  # noqa: S311  guards nothing
        help="the same faults again; without it, others each time, whose seed is printed",
    )
    parser.add_argument("--planted", action="store_true", help="plant each row's bugs too, which must be caught")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
