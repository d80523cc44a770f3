"""All events in one place: the registry of topics that stored history may name, and how its older versions are read."""

from collections.abc import Callable
from typing import Any, NamedTuple, get_args

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


class Older(NamedTuple):
    """A version of an event that is no longer written, and how its JSON becomes the next version's."""

    becomes: str
    """The topic of the next version, which may be an older one itself."""
    upcast: Callable[[dict[str, Any]], dict[str, Any]]
    """From the event's own fields as they were stored; the envelope stays."""


OLDER: dict[str, Older] = {}
"""By topic. When an event gets a new version, and what else belongs to one: docs/events.md."""


def newest(topic: str) -> str:
    """The topic under which such an event is written today."""
    while topic in OLDER:
        topic = OLDER[topic].becomes
    return topic


_WRITTEN: dict[str, type[Event]] = {event.topic: event for event in EVENTS}

BY_TOPIC: dict[str, type[Event]] = _WRITTEN | {topic: _WRITTEN[newest(topic)] for topic in OLDER}
"""Only these topics are ever decoded: a name found in a table never chooses what code is imported."""


def public_type(topic: str) -> str:
    """The event's type as others see it, in answers and on Kafka."""
    return f"seatline.{topic}"
