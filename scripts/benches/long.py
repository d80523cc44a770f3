"""A command on a subscription with thousands of events against one with ten, warm, cold, and after a lost race."""

import json
import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from statistics import median
from typing import NamedTuple
from uuid import uuid4

from adapters.clerk import Clerk
from adapters.cloudevents import parse
from adapters.settings import load_shopfront
from adapters.wiring import Engine
from consumers.activation import fulfilments
from domain.commands import PREFIX
from scripts.benches.figures import Figure, Measured, Report, interleaved
from scripts.benches.stage import Stage, engine_at, ingest
from scripts.workload.customer import BASE

SIZE = 10_000
"""Events of the long subscription."""
SHORT = 10
ASKS = 200
"""Of each kind, in a row of turns; every short one on a subscription of its own, so that it stays short."""
EVENTS_BETWEEN_ORDERS = 198
BEST_CUSTOMER = "SUB-LONG"
TERMS = load_shopfront(None).prices.terms


class Waits(NamedTuple):
    """The p50 of one command, from bytes to answer line, in µs."""

    warm: float
    cold: float
    raced: float


def run(stage: Stage, size: int, rounds: int) -> Report:
    samples = interleaved(rounds, {"both": lambda: stage.sample(_both, size)})["both"]
    short, long = [sample[0] for sample in samples], [sample[1] for sample in samples]
    measured, figures = [], []
    for name, how in (("warm", "kept warm"), ("cold", "loaded for it"), ("raced", "decided again, loaded for it")):
        few = Measured(f"{SHORT} events, {how}, p50", [getattr(waits, name) for waits in short], "µs")
        many = Measured(f"{size:,} events, {how}, p50", [getattr(waits, name) for waits in long], "µs")
        measured += [few, many]
        figures.append(Figure(f"long ÷ short, {how}", many.median / few.median, most=2))
    return Report({"events": size, "commands of each kind": ASKS}, measured, figures)


def _both(url: str, size: int) -> tuple[Waits, Waits]:
    """What a command waits on short subscriptions, and on the long one."""
    with engine_at(url) as engine:
        short = [f"SUB-{number}" for number in range(3 * ASKS)]
        ingest(engine.clerk(), [line for name in short for line in islice(_life(name), SHORT)])
        _make_long(engine, size)
        waits = []
        for how in (_warm, _cold, _raced):
            names, short = short[:ASKS], short[ASKS:]
            waits.append(_in_turns(how(engine, names), how(engine, [BEST_CUSTOMER] * ASKS)))
        (warm, cold, raced) = waits
        return Waits(warm[0], cold[0], raced[0]), Waits(warm[1], cold[1], raced[1])


def _in_turns(*sides: Iterator[Callable[[], object]]) -> list[float]:
    """The median time of each side's calls in µs, one of each in turn."""
    waits: list[list[float]] = [[] for _ in sides]
    for turn in zip(*sides, strict=True):
        for ask, side in zip(turn, waits, strict=True):
            began = time.perf_counter()
            ask()
            side.append(time.perf_counter() - began)
    return [median(side) * 1e6 for side in waits]


# How well the writer knows the subscription


def _warm(engine: Engine, names: list[str]) -> Iterator[Callable[[], object]]:
    clerk = engine.clerk()
    for name in names:
        _answer(clerk, _configure(name))
        yield lambda name=name: _answer(clerk, _delete(name))  # type: ignore[misc]


def _cold(engine: Engine, names: list[str]) -> Iterator[Callable[[], object]]:
    """A new process, or one that has dropped what it had not needed for a while."""
    for turn, name in enumerate(names):
        line = _delete(name) if turn % 2 and names[turn - 1] == name else _configure(name)
        yield lambda line=line: _answer(engine.clerk(), line)  # type: ignore[misc]


def _raced(engine: Engine, names: list[str]) -> Iterator[Callable[[], object]]:
    """Somebody else has written meanwhile: what was decided on is out of date, and loaded again."""
    clerk, other = engine.clerk(), engine.clerk()
    for name in names:
        _answer(clerk, _configure(name))
        _answer(other, _configure(name))
        yield lambda name=name: _answer(clerk, _delete(name))  # type: ignore[misc]


def _answer(clerk: Clerk, line: bytes) -> str:
    [answer] = clerk.handle([parse(line)])
    if answer.outcome != "accepted":
        raise RuntimeError(answer.line())
    return answer.line()


# What happens to a subscription


def _make_long(engine: Engine, size: int) -> None:
    """Users come and go, and now and then more seats are bought, until the subscription has so many events."""
    clerk, life = engine.clerk(), _life(BEST_CUSTOMER)
    ingest(clerk, [next(life)])
    while clerk.desk.subscription(BEST_CUSTOMER).version < size:
        ingest(clerk, list(islice(life, EVENTS_BETWEEN_ORDERS)))
        _buy_seats(clerk)


def _life(subscription: str) -> Iterator[bytes]:
    """A start, and then users who come, change and go, an event a line."""
    yield _line(
        "start-subscription",
        subscription_id=subscription,
        account_holder={"name": "Anna Bianchi", "email": "anna@studio.example", "language": "it"},
        services=[{"sku": BASE, "quantity": 1, "expires_on": "2099-12-31"}],
    )
    for number in count(1):
        yield _configure(subscription, f"user{number:06}")
        yield _configure(subscription, f"user{number:06}")
        yield _delete(subscription, f"user{number:06}")


def _configure(subscription: str, username: str = "somebody") -> bytes:
    email = f"{username}@studio.example"
    return _line("configure-user", subscription_id=subscription, username=username, email=email, permissions=["read"])


def _delete(subscription: str, username: str = "somebody") -> bytes:
    return _line("delete-user", subscription_id=subscription, username=username)


def _buy_seats(clerk: Clerk) -> None:
    """From the cart to the seats; the other services keep their expiry."""
    whose = {"subscription_id": BEST_CUSTOMER}
    _answer(clerk, _line("open-cart", **whose, entry_point="panel"))
    _answer(clerk, _line("choose-seats", **whose, quantity=1))
    _answer(clerk, _line("switch-alignment", **whose, extend=False))
    place = _line("place-order", **whose, payment_method="card", accepted_terms=TERMS, accepted_by="Anna Bianchi")
    order = json.loads(_answer(clerk, place))["data"]
    pay = _line(
        "register-payment",
        reference=f"CARD-{order['order_number']}",
        order_number=order["order_number"],
        amount=order["quote"]["total"],
        currency="EUR",
        method="card",
        value_date="2026-10-31",
    )
    [paid] = clerk.handle([parse(pay)])
    clerk.handle(fulfilments(paid.events))


def _line(command: str, **data: object) -> bytes:
    envelope = {
        "specversion": "1.0",
        "id": str(uuid4()),
        "source": "/bench",
        "type": f"{PREFIX}{command}.v1",
        "time": "2026-10-31T09:15:00+01:00",
        "data": data,
    }
    return json.dumps(envelope).encode()
