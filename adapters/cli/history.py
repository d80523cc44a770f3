"""`seatline history`: what happened to a subscription, with who, why and when."""

import argparse
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from adapters.cli import DOMAIN_SAID_NO, DONE, Complaint
from adapters.cli.describe import Speech, describe, dimmed
from adapters.cli.show import cell, console, print_json
from adapters.postgres.mapper import is_somebody
from adapters.settings import load_settings
from adapters.stories import Story, commands, story
from adapters.wiring import engine
from consumers.words import Language
from domain.calendar import DayClosed
from domain.events import public_type
from domain.kernel import Recorded
from domain.order import OrderPaid

AT_ONCE = timedelta(minutes=1)
"""What was recorded within it needs no second time beside that of the business."""


def run(arguments: argparse.Namespace) -> int:
    with engine(load_settings()) as wired:
        told = story(wired.log, arguments.subscription)
    if told is None:
        raise Complaint(f"there is no subscription {arguments.subscription}", DOMAIN_SAID_NO)
    if arguments.json:
        print_json(_nested(told, told.roots) if arguments.tree else [plain(event) for event in told.events])
    else:
        console().print(render(told, arguments.subscription, arguments.language, tree=arguments.tree))
    return DONE


def render(told: Story, subject: str, language: Language = "en", *, tree: bool = False) -> RenderableType:
    """The story line by line, or by cause."""
    say = Speech(language)
    title = Text.assemble((say("Storia di ", "History of "), "bold"), (subject, "bold"))
    return Group(title, Text(), _tree(told, say) if tree else _lines(told, say))


def _lines(told: Story, say: Speech) -> Table:
    lines = Table.grid(padding=(0, 2, 0, 0))
    lines.add_column(justify="right", style="dim")
    lines.add_column(no_wrap=True)
    lines.add_column(overflow="fold")
    for event in told.events:
        lines.add_row(str(event.position), cell(event.envelope.business_time), _told(event, say))
        lines.add_row("", "", Text.assemble(_who(event, say), (f" · {_why(told, event, say)}", "dim")))
    return lines


def _tree(told: Story, say: Speech) -> Tree:
    tree = Tree("", hide_root=True, guide_style="dim")
    for led in commands(told.roots):
        branch = tree.add(_command(led[0], say))
        for event in led:
            _grow(branch, told, event, say)
    return tree


def _grow(branch: Tree, told: Story, event: Recorded, say: Speech) -> None:
    """Add an event, and under it the commands that it led to with their events."""
    grown = branch.add(_told(event, say))
    for led in commands(told.caused.get(event.id, ())):
        command = grown.add(_command(led[0], say))
        for consequence in led:
            _grow(command, told, consequence, say)


def _told(event: Recorded, say: Speech) -> Text:
    return dimmed(describe(event.event, say.language))


def _command(event: Recorded, say: Speech) -> Text:
    """The command by which an event was recorded: when, its id, and who gave it."""
    envelope = event.envelope
    return Text.assemble(
        (cell(envelope.business_time), "cyan"),
        (say("  comando ", "  command ") + envelope.command_id + say(" di ", " by "), "dim"),
        _who(event, say),
        (_otherwise(event, say), "dim"),
    )


def _who(event: Recorded, say: Speech) -> Text:
    actor = event.envelope.actor
    return dimmed(say.personal(actor), "bold" if is_somebody(actor) else "dim")


def _why(told: Story, event: Recorded, say: Speech) -> str:
    cause = told.cause(event)
    because = say("comando ", "command ") + event.envelope.command_id if cause is None else say_because(cause, say)
    return because + _otherwise(event, say)


def say_because(cause: Recorded, say: Speech) -> str:
    match cause.event:
        case OrderPaid(order_number=number):
            return say(f"perché l’ordine {number} è stato pagato", f"because order {number} was paid")
        case DayClosed(date=day):
            return say(f"perché il giorno {day} è finito", f"because day {day} was over")
        case other:
            return say("perché: ", "because: ") + describe(other, say.language)


def _otherwise(event: Recorded, say: Speech) -> str:
    """Times that differ from that of the business: when it was recorded, and for when it had been sent."""
    envelope, said = event.envelope, ""
    if abs(envelope.recorded_time - envelope.business_time) > AT_ONCE:
        said += say(" · registrato il ", " · recorded ") + cell(envelope.recorded_time)
    if envelope.command_time:
        said += say(" · inviato per il ", " · sent for ") + cell(envelope.command_time)
    return said


def _nested(told: Story, events: Sequence[Recorded]) -> list[dict[str, Any]]:
    return [plain(event) | {"caused": _nested(told, told.caused.get(event.id, ()))} for event in events]


def plain(event: Recorded) -> dict[str, Any]:
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
