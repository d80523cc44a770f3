"""`seatline history`: what happened to a subscription, with who, why and when."""

import argparse
from typing import Any

from rich.text import Text

from adapters.cli import DOMAIN_SAID_NO, DONE, Complaint
from adapters.cli.describe import describe
from adapters.cli.show import cell, console, print_json, table
from adapters.settings import load_settings
from adapters.wiring import engine
from domain.events import public_type
from domain.kernel import Recorded


def run(arguments: argparse.Namespace) -> int:
    with engine(load_settings()) as wired:
        events = wired.log.of_subject(arguments.subscription)
    if not events:
        raise Complaint(f"there is no subscription {arguments.subscription}", DOMAIN_SAID_NO)
    if arguments.json:
        print_json([_plain(event) for event in events])
        return DONE
    told = table(f"History of {arguments.subscription}", "#", "when", "what", "who", "why", right=("#",))
    for event in events:
        told.add_row(
            str(event.position), cell(event.envelope.business_time), describe(event.event), _who(event), _why(event)
        )
    console().print(told)
    return DONE


def _who(event: Recorded) -> Text:
    engine_itself = event.envelope.actor.startswith("seatline/")
    return Text(event.envelope.actor, style="dim" if engine_itself else "")


def _why(event: Recorded) -> str:
    envelope = event.envelope
    cause = "command" if envelope.causation_id == envelope.command_id else "because of"
    late = f"; sent for {cell(envelope.command_time)}" if envelope.command_time else ""
    return f"{cause} {envelope.causation_id}{late}"


def _plain(event: Recorded) -> dict[str, Any]:
    envelope = event.envelope
    return {
        "position": event.position,
        "id": event.id,
        "type": public_type(event.event.topic),
        "subject": event.subject,
        "business_time": envelope.business_time,
        "recorded_time": envelope.recorded_time,
        "command_time": envelope.command_time,
        "actor": envelope.actor,
        "command_id": envelope.command_id,
        "causation_id": envelope.causation_id,
        "correlation_id": envelope.correlation_id,
        "price_list": envelope.price_list,
        "data": event.event,
    }
