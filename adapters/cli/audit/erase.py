"""`seatline audit erase`: forget the people behind a subscription, for good."""

import argparse
import getpass
import sys
from datetime import datetime

from psycopg.errors import InsufficientPrivilege

from adapters.cli import DOMAIN_SAID_NO, DONE, OUTSIDE_FAILED, Complaint
from adapters.cli.show import console, print_json, table
from adapters.forgetting import Forgotten, Unknown, forget
from adapters.settings import load_settings
from adapters.wiring import engine
from domain.kernel import ROME


def erase(arguments: argparse.Namespace) -> int:
    subscription = arguments.subscription
    if not arguments.reason.strip():
        raise Complaint("--reason: say why, and name no customer there: it is kept")
    if not arguments.yes and sys.stdin.isatty():
        print(f"This can't be undone: nobody will ever read again who is behind {subscription}.", file=sys.stderr)
        print("Type the subscription's id again to go on: ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip() != subscription:
            raise Complaint("that is another id: nothing was erased")
    operator = arguments.operator or getpass.getuser()
    try:
        with engine(load_settings()) as wired:
            forgotten = forget(
                wired.log,
                wired.clerk(),
                subscription,
                reason=arguments.reason,
                operator=operator,
                time=datetime.now(ROME),
                progress=_say,
            )
    except Unknown as error:
        raise Complaint(str(error), DOMAIN_SAID_NO) from None
    except InsufficientPrivilege:
        line = "this role may not destroy anything: run it as the owner of the schema, the same command does the rest"
        raise Complaint(line, OUTSIDE_FAILED) from None
    if arguments.json:
        left = [one._asdict() for one in forgotten.left]
        print_json({"subscription": subscription} | forgotten._asdict() | {"left": left})
    else:
        _tell(subscription, forgotten)
    return DONE


def _say(step: str) -> None:
    if sys.stderr.isatty():
        print(f"  {step} …", file=sys.stderr)


def _tell(subscription: str, forgotten: Forgotten) -> None:
    told = table(f"Forgotten: who is behind {subscription}", "where", "what was destroyed")
    told.add_row(
        "events",
        f"{forgotten.events:,} can no longer say who it was"
        if forgotten.events
        else "nothing: the key was gone already",
    )
    if forgotten.payments:
        told.add_row("payments", f"what the payer wrote: {', '.join(forgotten.payments)}")
    told.add_row("views", f"{forgotten.users:,} rows of users, in all tables of the view")
    told.add_row("dead letters", f"{forgotten.dead_letters:,} emptied")
    told.add_row("effects", f"{forgotten.effects:,} errors and decisions emptied")
    told.add_row("files", "the tables written anew, the write-ahead log dropped")
    console().print(told)
    if forgotten.in_plain:
        print(f"left: {forgotten.in_plain:,} events are older than the keys and stay in plain (docs/forgetting.md)")
    for why, statement in forgotten.left:
        print(f"left: {why}: {statement}")
    print("Kafka and backups keep what they have for as long as they are told to: docs/forgetting.md.")
