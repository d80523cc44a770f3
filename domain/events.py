"""All events in one place: the registry of topics that stored history may name."""

from typing import get_args

from domain.calendar import DayClosed
from domain.cart import CartEvent
from domain.kernel import Event
from domain.order import OrderEvent
from domain.payment import PaymentEvent
from domain.subscription_events import SubscriptionEvent

EVENTS: tuple[type[Event], ...] = (
    *get_args(SubscriptionEvent),
    *get_args(CartEvent),
    *get_args(OrderEvent),
    *get_args(PaymentEvent),
    DayClosed,
)

BY_TOPIC: dict[str, type[Event]] = {event.topic: event for event in EVENTS}
"""Only these topics are ever decoded: a name found in a table never chooses what code is imported."""


def public_type(topic: str) -> str:
    """The event's type as others see it, in answers and on Kafka."""
    return f"seatline.{topic}"
