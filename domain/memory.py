"""What an aggregate remembers at some version, as a value, so that a long stream need not be replayed from its start.

Only for what lives as long as its customer: orders and payments end, and the calendar grows by an event a day.
"""

from datetime import datetime
from typing import Any

from domain.cart import Cart
from domain.kernel import Aggregate, Positive, Value
from domain.pricing import Lifecycle, Quote
from domain.service import Service
from domain.subscription import Subscription
from domain.subscription_events import AccountHolder

LONG = 100
"""So many events after the last time, what a stream remembers is worth keeping."""


class Memory(Value):
    version: Positive
    time: datetime


class SubscriptionMemory(Memory):
    account_holder: AccountHolder | None
    lifecycle: Lifecycle
    services: dict[str, Service]
    users: set[str]
    held: dict[str, dict[str, int]]
    fulfilled: set[str]


class CartMemory(Memory):
    is_open: bool
    quantity: int
    renewal: dict[str, int]
    years: int
    extend: bool
    lifetime_days: int
    quote: Quote | None


MEMORIES: dict[str, type[Memory]] = {Subscription.kind: SubscriptionMemory, Cart.kind: CartMemory}


def is_worth_keeping(aggregate: Aggregate[Any]) -> bool:
    return aggregate.version - aggregate.kept >= LONG and aggregate.kind in MEMORIES


def memory_of(aggregate: Aggregate[Any]) -> Memory:
    """To be written down at once: it shares what the aggregate goes on changing."""
    kind = MEMORIES[aggregate.kind]
    return kind(**{name: getattr(aggregate, name) for name in kind.__struct_fields__})


def recall(aggregate: Aggregate[Any], memory: Memory) -> None:
    """Put an empty aggregate where the memory left off; the two share their parts from now on."""
    for name in memory.__struct_fields__:
        setattr(aggregate, name, getattr(memory, name))
    aggregate.kept = memory.version
