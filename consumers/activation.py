"""Activation: a paid order gives its subscription what was bought (S2, S9)."""

from collections.abc import Sequence

from consumers.engine_commands import engine_command
from domain.commands import Command, FulfilOrder
from domain.kernel import Recorded
from domain.order import OrderPaid

NAME = "activation"


def fulfilments(events: Sequence[Recorded]) -> list[Command]:
    """A command for each order that these events say is paid; its id makes a repeat a duplicate."""
    return [
        engine_command(
            NAME,
            f"fulfil:{recorded.originator_id}",
            FulfilOrder(order_number=recorded.event.order_number, subscription_id=recorded.event.subscription_id),
            cause=recorded,
            time=recorded.envelope.business_time,
        )
        for recorded in events
        if isinstance(recorded.event, OrderPaid)
    ]
