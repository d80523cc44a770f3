"""Row 8: what is paid is activated, outside and here, once; what can't be waits for a person, who sees it."""

import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, suppress
from functools import partial
from typing import Any
from uuid import uuid4

from msgspec.structs import replace

from adapters.books import StoredBooks
from adapters.clerk import Clerk
from adapters.postgres.effects import EffectWorker
from adapters.postgres.log import EventLog
from adapters.postgres.readers import LogSource, decide
from adapters.provisioning import Provisioner
from adapters.settings import Settings, load_shopfront
from adapters.wiring import engine
from consumers.activation import NAME, Activation, Purchase
from consumers.effects import InDoubt, NoLongerNeeded, Refused
from scripts.benches.stage import Stage
from scripts.torments.hands import TIMEOUT, Clock, Making, hands
from scripts.torments.ledger import Ledger, Outcome
from scripts.torments.orders import Orders
from scripts.torments.provisioner import HANG_UP, TAKEN, Answer, Call, Provisioning

QUICK, FULL = 60, 1_000
ORDERS_AT_ONCE = 200
SHARE = 0.6
"""Of calls that go wrong, as long as anything does."""
ALREADY_DONE, NEVER = 409, 422
SILENCE, KILL = "silence", "kill"
BEFORE: tuple[Answer, ...] = (500, 503, (429, {"Retry-After": "60"}), NEVER, SILENCE, HANG_UP, KILL)
"""What may go wrong before anything has been done; and after it:"""
AFTER: tuple[Answer, ...] = (500, 503, ALREADY_DONE, SILENCE, HANG_UP, KILL)


class MoodyProvisioning(Provisioning):
    """Does under each key one thing once, and answers as it likes, as often as it has been told to."""

    def __init__(self, faults: int, seed: int) -> None:
        self.activated: dict[str, Any] = {}
        """What was asked for, by the key under which it was done."""
        self.changed: set[str] = set()
        """Keys under which something else was asked for later."""
        self.refused: set[str] = set()
        """Keys whose last answer was a no."""
        self.faults = Counter[str]()
        self.kill: Callable[[], None] = lambda: None
        self._left = faults
        self._chance = random.Random(seed)  # noqa: S311  reproducible on purpose
        super().__init__()

    def answer(self, call: Call) -> Answer:
        self.refused.discard(call.key)
        if not self._left or self._chance.random() >= SHARE:
            return self._done(call)
        self._left -= 1
        after = self._chance.random() < 0.5
        fault = self._chance.choice(AFTER if after else BEFORE)
        self.faults[f"{fault} {'after' if after else 'before'}"] += 1
        if after:
            self._done(call)
        match fault:
            case 422 if call.key not in self.activated:
                self.refused.add(call.key)
            case 422:
                return ALREADY_DONE
            case "kill":
                self.kill()
                return HANG_UP
            case "silence":
                time.sleep(2 * TIMEOUT)
                return HANG_UP
        return fault

    def _done(self, call: Call) -> Answer:
        if self.activated.setdefault(call.key, call.body) != call.body:
            self.changed.add(call.key)
        return TAKEN


def torment(stage: Stage, faults: int, seed: int, *, make: Making | None = None) -> Outcome:
    """`make` is for planted bugs."""
    with (
        stage.database() as url,
        engine(Settings(database_url=url)) as wired,
        closing(MoodyProvisioning(faults, seed)) as outside,
        hands(url, make or activator, outside.url) as worker,
    ):
        outside.kill = worker.kill
        orders, ledger, paid, parked = Orders(wired.clerk()), Ledger(url, NAME), list[str](), 0
        complaints = set[str]()
        while outside.faults.total() < faults:
            places = range(len(paid), len(paid) + min(faults, ORDERS_AT_ONCE))
            paid += orders.paid([f"SUB-{place}" for place in places])
            ledger.wait(worker.see_to_it)
            parked += len(outside.refused)
            complaints.update(_complaints_of_parked(ledger, outside, _fulfilled(ledger)))
            ledger.retry_all(worker.see_to_it)
        ledger.read_again()
        ledger.wait(worker.see_to_it)
        fulfilled = _fulfilled(ledger)
    figures = {
        "faults": outside.faults.total(),
        "orders paid": len(paid),
        "activated outside": len(outside.activated),
        "activated in the engine": fulfilled.total(),
        "parked": parked,
        "retried by a person": ledger.retried,
    }
    return Outcome(figures, sorted(complaints) + list(_complaints(outside, paid, fulfilled)))


def _fulfilled(ledger: Ledger) -> Counter[str]:
    """How often each order was fulfilled."""
    return Counter(
        str(stream).removeprefix("order/")
        for (stream,) in ledger.ask(
            "SELECT originator_id FROM seatline.stored_events WHERE topic = 'order.order-fulfilled.v1'"
        )
    )


def _complaints_of_parked(ledger: Ledger, outside: MoodyProvisioning, fulfilled: Collection[str]) -> Iterator[str]:
    shown = {effect["order_number"] for effect in ledger.decided("list", "--state", "failed") if effect["error"]}
    if shown != outside.refused:
        yield "what was refused and what is shown as waiting for a person are not the same"
    if early := set(fulfilled) - outside.activated.keys():
        yield f"{len(early)} orders are fulfilled that were not activated outside"


def _complaints(outside: MoodyProvisioning, paid: Collection[str], fulfilled: Counter[str]) -> Iterator[str]:
    if without := set(paid) - fulfilled.keys():
        yield f"{len(without)} paid orders are not fulfilled"
    if twice := [number for number, times in fulfilled.items() if times > 1]:
        yield f"{len(twice)} orders are fulfilled more than once"
    done = Counter(purchase["subscription_id"] for purchase in outside.activated.values())
    if doubled := [name for name, times in done.items() if times > 1]:
        yield f"{len(doubled)} orders are activated outside more than once"
    if missing := set(paid) - outside.activated.keys():
        yield f"{len(missing)} paid orders are not activated outside under their own number"
    if outside.changed:
        yield f"{len(outside.changed)} keys were used for more than one thing"


# Workers, each in a process of its own


def activator(log: EventLog, clock: Clock, url: str) -> EffectWorker:
    return _activating(log, clock, Provisioner(url, timeout=TIMEOUT).activate)


def activator_with_a_key_for_each_attempt(log: EventLog, clock: Clock, url: str) -> EffectWorker:
    provisioner = Provisioner(url, timeout=TIMEOUT)

    def provision(purchase: Purchase) -> None:
        provisioner.activate(replace(purchase, order_number=f"{purchase.order_number}-{uuid4()}"))

    return _activating(log, clock, provision)


def activator_who_takes_silence_for_a_yes(log: EventLog, clock: Clock, url: str) -> EffectWorker:
    provisioner = Provisioner(url, timeout=TIMEOUT)

    def provision(purchase: Purchase) -> None:
        with suppress(InDoubt):
            provisioner.activate(purchase)

    return _activating(log, clock, provision)


def activator_who_forgets_what_was_refused(log: EventLog, clock: Clock, url: str) -> EffectWorker:
    provisioner = Provisioner(url, timeout=TIMEOUT)

    def provision(purchase: Purchase) -> None:
        try:
            provisioner.activate(purchase)
        except Refused as reason:
            raise NoLongerNeeded(str(reason)) from reason

    return _activating(log, clock, provision)


def _activating(log: EventLog, clock: Clock, provision: Callable[[Purchase], None]) -> EffectWorker:
    clerk = Clerk(log, load_shopfront(None).prices)
    consumer = Activation(StoredBooks(log), log.event, provision, partial(decide, clerk))
    return EffectWorker(log, LogSource(log, NAME), consumer, repeatable=True, clock=clock)


PLANTED: dict[str, dict[str, Any]] = {
    "a key for each attempt": {"make": activator_with_a_key_for_each_attempt},
    "silence taken for a yes": {"make": activator_who_takes_silence_for_a_yes},
    "the parked forgotten": {"make": activator_who_forgets_what_was_refused},
}
