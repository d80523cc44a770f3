"""`scripts/bench`: one bench by its name, against the plain library or the limit, in one run.

A bench is a module of this folder with a SIZE and `run(stage, size, rounds)`; its name goes into BENCHES.
"""

import argparse
import json
from datetime import date
from importlib import import_module

from scripts.benches.figures import Report, machine
from scripts.benches.stage import Stage

BENCHES = (
    "ingest",
    "single",
    "callers",
    "start",
    "kafka",
    "long",
    "fresh",
    "projections",
    "rebuild",
    "scale",
    "audit",
    "statements",
)


def main() -> None:
    arguments = _arguments()
    bench = import_module(f"scripts.benches.{arguments.bench}")
    size = arguments.size or bench.SIZE
    about = {"bench": arguments.bench, "date": date.today().isoformat(), **machine()}  # noqa: DTZ011  the reader's day
    with Stage() as stage:
        report: Report = bench.run(stage, size, arguments.rounds)
        if stage.is_used:
            about |= stage.postgres()
    if arguments.json:
        print(json.dumps({**about, "rounds": arguments.rounds, **report.json()}, indent=2, ensure_ascii=False))
        return
    print(" · ".join(f"{name} {value}" for name, value in about.items()))
    print(
        " · ".join(f"{size:,} {name}" for name, size in report.sizes.items()), f"· medians of {arguments.rounds} rounds"
    )
    print(*report.measured, *report.figures, sep="\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measures Seatline against the plain library, in one run; see docs/bench.md.",
        epilog="On an embedded PostgreSQL in a temporary home, or on databases of their own at SEATLINE_DATABASE_URL.",
    )
    parser.add_argument("bench", choices=BENCHES)
    parser.add_argument("--size", type=_positive, metavar="N", help="how many commands, or whatever the bench counts")
    parser.add_argument("--rounds", type=_positive, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    return parser.parse_args()


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return int(text)


if __name__ == "__main__":
    main()
