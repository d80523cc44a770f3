"""The command line. Only argparse is imported here, so that help and mistakes answer at once."""

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NoReturn

DONE, DOMAIN_SAID_NO, BAD_USAGE, OUTSIDE_FAILED, INTERRUPTED = 0, 1, 2, 3, 130


class Complaint(Exception):
    """Ends the command with one line on stderr and this exit code."""

    def __init__(self, line: str, exit_code: int = BAD_USAGE) -> None:
        super().__init__(line)
        self.exit_code = exit_code


def main(argv: Sequence[str] | None = None) -> NoReturn:
    if sys.stdout is None:
        # Whoever closed it wants to read nothing; the next file that is opened mustn't stand in its place.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  until the process ends
    arguments = _parser().parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Python would end without leaving its contexts, and an embedded server would stay behind.
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        code = import_module(f"adapters.cli.{arguments.command.replace('-', '_')}").run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has had enough.
        stop_printing()
        code = DONE
    except Exception as error:
        code = _explain(error)
    sys.exit(code)


def stop_printing() -> None:
    """Let what is still buffered go nowhere, because nobody reads it and Python would write it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain(error: Exception) -> int:
    """One line for what can go wrong outside this program; anything else is a fault of ours and keeps its traceback."""
    from psycopg import DatabaseError

    from adapters.cli.show import harmless
    from adapters.embedded import EmbeddedPostgresError
    from adapters.kafka import KafkaAway
    from adapters.postgres.database import DatabaseAway
    from adapters.postgres.mapper import UnreadableEvent
    from adapters.postgres.schema import SchemaError
    from adapters.settings import SettingsError

    match error:
        case Complaint():
            code, line = error.exit_code, str(error)
        case SettingsError():
            code, line = BAD_USAGE, str(error)
        case DatabaseAway():
            code = OUTSIDE_FAILED
            line = f"the database is away ({error}): nothing is lost, run the same command again when it is back"
        case KafkaAway():
            code, line = OUTSIDE_FAILED, f"{error}; nothing is lost, run the same command again when they are back"
        case EmbeddedPostgresError() | SchemaError():
            code, line = OUTSIDE_FAILED, str(error)
        case UnreadableEvent():
            code, line = OUTSIDE_FAILED, f"{error}; a newer Seatline wrote it, or it was damaged (docs/auditors.md)"
        case OSError(errno=errno.ENOSPC):
            # Python would try again at exit to write what it still holds.
            stop_printing()
            code, line = OUTSIDE_FAILED, "no space is left for what was to be written: make room, then run it again"
        case DatabaseError():
            code, line = OUTSIDE_FAILED, f"the database refuses: {' '.join(str(error).split())[:300]}"
        case _:
            raise error
    print(f"seatline: {harmless(line)}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="seatline",
        description="Sells additional seats on running subscriptions: commands in, events kept, panels out.",
        epilog="Settings come from the environment (SEATLINE_DATABASE_URL, SEATLINE_HOME, …): see README.md."
        " Exit codes: 0 done, 1 the domain said no, 2 bad usage or input, 3 something outside failed.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, help_: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help_, description=help_)
        added.add_argument("--json", action="store_true", help="print JSON instead of tables")
        return added

    command("demo", "tell the two stories of a customer who buys seats, on a database of its own")

    send = command("send", "decide the commands of JSONL files and print an answer a line")
    send.add_argument("files", nargs="+", metavar="FILE", help="a file of CloudEvents, one a line; - is standard input")

    send.add_argument("--kafka", action="store_true", help="put them on the commands topic, and wait for the answers")
    send.add_argument("--no-wait", dest="wait", action="store_false", help="with --kafka: only publish")

    run = command("run", "run workers until SIGTERM")
    run.add_argument(
        "workers",
        nargs="*",
        metavar="WORKER",
        help="projections, activation, email, calendar, commands; default: all that the settings allow",
    )
    run.add_argument("--drain", action="store_true", help="repeat until nothing is left to do, then end")

    quote = command("quote", "explain what more seats would cost, with and without extension")
    quote.add_argument("subscription", metavar="SUB")
    quote.add_argument("--seats", type=int, required=True, metavar="N")
    quote.add_argument("--extend", action=argparse.BooleanOptionalAction, help="show only this choice")
    quote.add_argument("--on", metavar="DATE", help="the order date, YYYY-MM-DD (default: today)")

    order = command("order", "show an order, or write its form")
    order.add_argument("number", metavar="NUMBER")
    order.add_argument(
        "--pdf",
        nargs="?",
        const="",
        metavar="FILE",
        help="write the order form as PDF/A (default: named after the order; - is standard output)",
    )

    panel = command("panel", "show a subscription's panel, now or as it was")
    panel.add_argument("subscription", metavar="SUB")
    panel.add_argument("--as-of", metavar="TIME", help="business time: only what had happened by then")
    panel.add_argument("--known-at", metavar="TIME", help="recorded time: only what was known by then")
    panel.add_argument(
        "--after", type=int, metavar="POSITION", help="wait until the views show what an answer with this position did"
    )
    panel.add_argument(
        "--timeout", type=float, default=10, metavar="SECONDS", help="how long --after waits (default: %(default)s)"
    )
    panel.add_argument("--follow", action="store_true", help="show it again each time that it changes, until Ctrl-C")
    panel.add_argument("--language", choices=("en", "it"), default="en")

    history = command("history", "tell what happened to a subscription: when, what, who and why")
    history.add_argument("subscription", metavar="SUB")
    history.add_argument("--tree", action="store_true", help="by cause: commands, and under them what they led to")
    history.add_argument("--language", choices=("en", "it"), default="en")

    why = command("why", "tell why seats are, or are not, on the panel: from the cart to the bank line")
    why.add_argument("subscription", metavar="SUB")
    why.add_argument("--service", metavar="S", help="only this service, as S2")
    why.add_argument("--language", choices=("en", "it"), default="en")

    rebuild = command("rebuild", "rebuild a read model beside the live one, compare, and swap")
    rebuild.add_argument("views", nargs="*", metavar="VIEW", help="seats, services, users, orders, carts, payments")
    rebuild.add_argument("--all", action="store_true", help="every view")
    rebuild.add_argument("--processes", type=int, metavar="N", help="default: as many as there are processors")
    instead = rebuild.add_mutually_exclusive_group()
    instead.add_argument("--only", metavar="SUB", help="make one subscription's rows anew, and let it go on if parked")
    instead.add_argument("--rollback", action="store_true", help="show again what was shown before the last rebuild")

    command("status", "show how far the workers are, and what waits for a person")

    effects = command("effects", "show emails and activations that went wrong, and decide what becomes of them")
    _add_decisions(effects)

    letters = command("dead-letters", "show records that could not be read as commands, and decide about them")
    _add_dead_letters(letters)

    _add_payments(command("payments", "register what bank statements say, and decide about money that found no order"))

    _add_audits(command("audit", "seal the history, and prove that nobody has changed it since"))
    return parser


def _add_decisions(effects: argparse.ArgumentParser) -> None:
    action = _actions(effects)
    shown = action("list", "show effects; without --state those that failed, are in doubt, or are tried again")
    shown.add_argument("--state", choices=("planned", "doing", "done", "dropped", "failed", "in-doubt"))

    retry = action("retry", "try again at once")
    skip = action("skip", "never do it; a paid order is then activated in the engine without a call")
    _add_verdict(retry, skip, kind=str)


def _add_dead_letters(letters: argparse.ArgumentParser) -> None:
    action = _actions(letters)
    action("list", "show those that wait for a decision").add_argument(
        "--all", action="store_true", help="all others too"
    )
    action("show", "show one in full").add_argument("id", type=int, metavar="ID")
    retry = action("retry", "put the record on the commands topic again, as it came")
    skip = action("skip", "leave it undone")
    _add_verdict(retry, skip, kind=int)


def _add_payments(payments: argparse.ArgumentParser) -> None:
    action = _actions(payments)
    import_ = action("import", "register the credits of camt.053 and camt.054 files; doing so again changes nothing")
    import_.add_argument("files", nargs="+", metavar="FILE")
    import_.add_argument("--dry-run", action="store_true", help="only show what would be registered")
    import_.add_argument("--method", choices=("bank_transfer", "postal_slip"), help="default: as the bank's codes say")
    shown = action("list", "show payments that wait for a person")
    shown.add_argument("--state", choices=("orphan", "surplus", "late", "partial"), help="default: all four")
    action("refund-due", "show what is to be paid back")
    match = action("match", "say which order a payment is for")
    unmatch = action("unmatch", "take a payment back from an order that is not yet paid")
    split = action("split", "divide a payment among orders")
    refund = action("refund", "note that money was paid back")
    for decision in (match, unmatch, split, refund):
        decision.add_argument("reference", metavar="REF")
    for of_order in (match, unmatch):
        of_order.add_argument("order", metavar="ORDER")
    split.add_argument("parts", nargs="+", metavar="ORDER=AMOUNT")
    refund.add_argument("amount", metavar="AMOUNT")
    for by_operator in (import_, match, unmatch, split, refund):
        by_operator.add_argument("--operator", metavar="NAME", help="who decides (default: the system's user)")


def _add_audits(audit: argparse.ArgumentParser) -> None:
    action = _actions(audit)
    seal = action("seal", "sign all events that are there now, and export the hashes of new ones")
    seal.add_argument("--key", metavar="FILE", help="the Ed25519 private key in PEM (default: SEATLINE_AUDIT_KEY)")
    seal.add_argument("--every", type=float, metavar="SECONDS", help="do so again and again, until SIGTERM")
    verify = action("verify", "compare the log with its seals; names the first event that isn't as it was")
    prove = action("prove", "print a proof that an event was there when the log was sealed")
    prove.add_argument("event", metavar="EVENT", help="STREAM@VERSION, as order/1000002@2")
    check = action("verify-proof", "check a proof without any database")
    check.add_argument("file", metavar="FILE", help="what prove has printed; - is standard input")
    replay = action("replay", "make everything anew from the log; tells what isn't as it makes it")
    replay.add_argument("--processes", type=int, metavar="N", help="default: as many as there are processors")
    erase = action("erase", "forget the people behind a subscription, for good")
    erase.add_argument("subscription", metavar="SUB")
    erase.add_argument("--reason", required=True, metavar="TEXT", help="kept: name no customer there")
    erase.add_argument("--operator", metavar="NAME", help="who decides (default: the system's user)")
    erase.add_argument("--yes", action="store_true", help="don't ask for the id again")
    export = action("export", "write events to a file for others, with the proof of their seals beside it")
    _add_export(export)
    exported = action("verify-export", "check an export without any database")
    exported.add_argument("path", metavar="DIR|FILE", help="what export has written")
    for over_seals in (seal, verify, prove, export):
        over_seals.add_argument("--seals", metavar="DIR", help="where seals are kept (default: SEATLINE_AUDIT_DIR)")
    for by_public_key in (verify, prove, check, export, exported):
        by_public_key.add_argument(
            "--public-key", metavar="FILE", help="the public key in PEM (default: SEATLINE_AUDIT_PUBLIC_KEY)"
        )


def _add_export(export: argparse.ArgumentParser) -> None:
    export.add_argument("path", metavar="DIR|FILE", help="a folder, or a file whose name ends in .jsonl or .parquet")
    export.add_argument("--subscription", metavar="SUB", help="only what concerns this one")
    export.add_argument("--from", dest="since", metavar="TIME", help="only from this business time on")
    export.add_argument("--until", metavar="TIME", help="only up to this business time; of a date to its end")
    export.add_argument("--format", choices=("jsonl", "parquet"), help="default: as the file's name says, else jsonl")
    export.add_argument("--pseudonymous", action="store_true", help="with pseudonyms for whoever is behind it")


def _actions(command: argparse.ArgumentParser) -> Callable[[str, str], argparse.ArgumentParser]:
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, help_: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=help_, description=help_)
        # Without a default of its own, which would take back what was said before the action.
        added.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON instead of text")
        return added

    return action


def _add_verdict(retry: argparse.ArgumentParser, skip: argparse.ArgumentParser, kind: type) -> None:
    for decision in (retry, skip):
        decision.add_argument("ids", nargs="+", type=kind, metavar="ID")
        decision.add_argument("--reason", required=decision is skip, metavar="TEXT", help="kept with the decision")
        decision.add_argument("--operator", metavar="NAME", help="who decides (default: the system's user)")
