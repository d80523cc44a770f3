"""`seatline audit`: each action is the function of its name in its own file."""

import argparse
from importlib import import_module

from adapters.cli import DOMAIN_SAID_NO, Complaint
from adapters.postgres.sealing import LogBroken, NotSealed
from adapters.seals import KeyUnfit, SealBroken

ACTIONS = {
    "seal": "adapters.cli.audit.seals",
    "verify": "adapters.cli.audit.seals",
    "prove": "adapters.cli.audit.seals",
    "verify-proof": "adapters.cli.audit.seals",
    "replay": "adapters.cli.audit.replay",
    "export": "adapters.cli.audit.export",
    "verify-export": "adapters.cli.audit.export",
    "erase": "adapters.cli.audit.erase",
}


def run(arguments: argparse.Namespace) -> int:
    action = getattr(import_module(ACTIONS[arguments.action]), arguments.action.replace("-", "_"))
    try:
        return int(action(arguments))
    except KeyUnfit as error:
        raise Complaint(str(error)) from None
    except (LogBroken, NotSealed, SealBroken) as error:
        raise Complaint(str(error), DOMAIN_SAID_NO) from None
    except OSError as error:
        raise Complaint(f"{error.filename}: {error.strerror}") from None
