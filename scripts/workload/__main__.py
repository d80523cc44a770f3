"""`scripts/generate`: a realistic workload for `seatline send`, a command a line."""

import argparse
import signal
import sys
from datetime import date
from itertools import islice

from scripts.workload.market import FIRST_ORDER, UNTIL, Market

CHUNK = 1_000


def main() -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # whoever reads may have had enough
    arguments = _arguments()
    lines = Market(
        arguments.commands,
        seed=arguments.seed,
        bad=arguments.bad,
        duplicates=arguments.duplicates,
        first_order=arguments.first_order,
        until=arguments.until,
    ).lines()
    while chunk := list(islice(lines, CHUNK)):
        sys.stdout.buffer.write(b"\n".join(chunk) + b"\n")
    sys.stdout.buffer.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/generate",
        description="Writes the commands that many customers send within two years, in the order of time.",
        epilog="Payments name the order numbers that a fresh database gives out to one writer: send the file in one go,"
        " with nobody else writing. Otherwise payments become orphans or reach other orders.",
    )
    parser.add_argument("--commands", type=_count, default=1_000, metavar="N", help="lines in all (default: 1000)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same bytes (default: 1)")
    parser.add_argument("--bad", type=_share, default=0.02, metavar="SHARE", help="of wrong lines (default: 0.02)")
    parser.add_argument(
        "--duplicates", type=_share, default=0.01, metavar="SHARE", help="of lines sent again (default: 0.01)"
    )
    parser.add_argument(
        "--first-order",
        type=_count,
        default=FIRST_ORDER,
        metavar="NUMBER",
        help="the first order number that the database will give out, without its check digit (default: %(default)s)",
    )
    parser.add_argument(
        "--until", type=date.fromisoformat, default=UNTIL, metavar="DATE", help="the last day (default: %(default)s)"
    )
    return parser.parse_args()


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a number of lines")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share between 0 and 1")
    return share


if __name__ == "__main__":
    main()
