"""The desk: what it read and wrote is noted, what it keeps warm is bounded, and what is stored reads back."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import count

import pytest

from domain.commands import Command, OpenCart, StartSubscription, parse_data
from domain.desk import Decision, Desk, History, replay
from domain.events import BY_TOPIC, EVENTS, public_type
from domain.kernel import ROME, Event
from domain.memory import LONG, MEMORIES, memory_of
from tests.domain.given import BASE, PRICES, USUAL, Story, chosen, service, state_of, through_json

NOW = datetime(2026, 3, 2, 9, 15, tzinfo=ROME)


class Store:
    """Counts what is asked for, one question at a time."""

    def __init__(self) -> None:
        self.streams: dict[str, list[tuple[Event, datetime]]] = {}
        self.asked: list[list[str]] = []

    def load(self, streams: list[str]) -> Mapping[str, History]:
        self.asked.append(sorted(streams))
        return {stream: History(self.streams[stream]) for stream in streams if stream in self.streams}

    def keep(self, decision: Decision) -> None:
        for recorded in decision.events:
            stored = recorded.event, recorded.envelope.business_time
            self.streams.setdefault(recorded.originator_id, []).append(stored)


def start(name: str) -> Command:
    data = parse_data(
        "seatline.command.start-subscription.v1",
        {
            "subscription_id": name,
            "account_holder": {"name": "Anna", "email": "anna@studio.it", "language": "it"},
            "services": [service(BASE, "2026-06-30")],
        },
    )
    assert isinstance(data, StartSubscription)
    return Command(f"start-{name}", "start", "/tests", NOW, "anna", data, b"", "cause", "chain")


def open_cart(name: str) -> Command:
    return Command("open", "open", "/tests", NOW, "anna", OpenCart(subscription_id=name, entry_point="panel"), b"")


def payment(order: str, amount: str) -> Command:
    type_ = "seatline.command.register-payment.v1"
    data = {**USUAL["register-payment"], "order_number": order, "amount": amount, "reference": f"FOR-{order}"}
    return Command(f"pay-{order}", type_, "/tests", NOW, "anna", parse_data(type_, data), b"")


@pytest.fixture
def store() -> Store:
    return Store()


def desk_at(store: Store, capacity: int = 50_000) -> Desk:
    return Desk(PRICES, store.load, map(str, count(10_000)), capacity=capacity)


def test_K1_a_batch_loads_what_it_is_known_to_need_at_once_and_only_once(store: Store) -> None:
    desk = desk_at(store)
    commands = [start("A"), start("B"), open_cart("A")]
    desk.begin(commands)
    for command in commands:
        store.keep(desk.decide(command, NOW))
    desk.begin([open_cart("B")])
    assert store.asked == [["cart/A", "subscription/A", "subscription/B"], ["cart/B"]]


def test_O2_who_is_billed_for_the_orders_of_a_batch_is_loaded_at_once() -> None:
    story, asked = Story(), list[list[str]]()
    for name in ("A", "B"):
        story.start(subscription_id=name)
    orders = [story.order_seats(sub=name) for name in ("A", "B")]

    def load(streams: list[str]) -> Mapping[str, History]:
        asked.append(sorted(streams))
        return story.load(streams)

    desk = Desk(PRICES, load, story.numbers)
    numbers = [*orders, "4711"]
    payments = [payment(number, "64.39") for number in numbers]
    desk.begin(payments)
    for command in payments:
        assert desk.decide(command, NOW).refusal is None
    known = [*(f"order/{number}" for number in numbers), *(f"payment/FOR-{number}" for number in numbers)]
    assert asked == [sorted(known), ["subscription/A", "subscription/B"]]


def test_K1_what_a_batch_only_read_is_noted_with_the_version_it_saw(store: Store) -> None:
    desk = desk_at(store)
    desk.begin([start("A")])
    store.keep(desk.decide(start("A"), NOW))
    assert desk.reads() == {}
    desk.begin([open_cart("A")])
    desk.decide(open_cart("A"), NOW)
    assert desk.reads() == {"subscription/A": 1}


def test_K1_a_refusal_depends_on_what_was_read_too(store: Store) -> None:
    desk = desk_at(store)
    desk.begin([open_cart("A")])
    refused = desk.decide(open_cart("A"), NOW)
    assert refused.refusal is not None
    assert refused.refusal.code == "subscription_unknown"
    assert desk.reads()["subscription/A"] == 0


def test_K1_a_batch_that_was_not_stored_is_forgotten_and_decided_again(store: Store) -> None:
    desk = desk_at(store)
    desk.begin([start("A")])
    first = desk.decide(start("A"), NOW)
    desk.forget()
    desk.begin([start("A")])
    again = desk.decide(start("A"), NOW)
    assert [recorded.id for recorded in again.events] == [recorded.id for recorded in first.events]
    assert again.events == first.events
    assert desk.due_changes().keys() == {"subscription/A"}


def test_T4_a_due_date_is_told_once(store: Store) -> None:
    desk = desk_at(store)
    desk.begin([start("A")])
    desk.decide(start("A"), NOW)
    assert {stream: str(due) for stream, due in desk.due_changes().items()} == {"subscription/A": "2026-03-31"}
    assert desk.due_changes() == {}
    desk.begin([open_cart("A")])
    desk.decide(open_cart("A"), NOW)
    assert desk.due_changes().keys() == {"cart/A"}


def test_K1_what_is_kept_warm_is_bounded(store: Store) -> None:
    desk = desk_at(store, capacity=10)
    for number in range(100):
        command = start(f"S{number}")
        desk.begin([command])
        store.keep(desk.decide(command, NOW))
    assert len(desk._warm) <= 11
    # What was dropped is loaded again when it is needed.
    desk.begin([start("S0")])
    refused = desk.decide(start("S0"), NOW)
    assert refused.refusal is not None
    assert refused.refusal.code == "subscription_exists"


def test_K1_who_why_and_when_stand_beside_every_event(store: Store) -> None:
    desk = desk_at(store)
    clock = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
    desk.begin([start("A")])
    (recorded,) = desk.decide(start("A"), clock).events
    envelope = recorded.envelope
    assert (envelope.command_id, envelope.actor) == ("start-A", "anna")
    assert (envelope.causation_id, envelope.correlation_id) == ("cause", "chain")
    assert (envelope.business_time, envelope.recorded_time) == (NOW, clock)
    assert (recorded.id, recorded.subject, recorded.position) == ("subscription/A@1", "A", 0)


def test_K1_a_command_without_a_cause_is_its_own_cause(store: Store) -> None:
    desk = desk_at(store)
    desk.begin([start("A")])
    desk.decide(start("A"), NOW)
    (recorded,) = desk.decide(open_cart("A"), NOW).events
    assert recorded.envelope.causation_id == recorded.envelope.correlation_id == "open"


def test_K1_a_rule_that_refuses_after_it_has_recorded_is_a_bug_that_is_noticed(store: Store) -> None:
    desk = desk_at(store)
    desk.begin([start("A")])
    desk.decide(start("A"), NOW)
    cart = desk.cart("A")
    desk.decide(open_cart("A"), NOW)
    cart.is_open = False
    cart.abandon()
    with pytest.raises(AssertionError, match="refused after it had recorded"):
        desk.decide(start("A"), NOW)


def test_K1_no_two_events_share_a_topic_and_every_topic_has_a_public_type() -> None:
    assert len(BY_TOPIC) == len(EVENTS)
    assert all(event.topic.endswith(".v1") and "." in event.topic for event in EVENTS)
    assert public_type("subscription.seats-added.v1") == "seatline.subscription.seats-added.v1"


def test_K1_the_names_that_the_contract_promises_exist() -> None:
    promised = (
        "SubscriptionStarted UserConfigured UserDeleted SeatsAdded ExpiryAligned ServiceRenewed ServiceExpired "
        "CartOpened SeatsChosen AlignmentSwitched RenewalChosen CartCheckedOut CartAbandoned OrderPlaced "
        "PaymentRegistered OrderPaid OrderFulfilled OrderCancelled OrderExpired DayClosed"
    )
    assert set(promised.split()) <= {event.__name__ for event in EVENTS}


@pytest.mark.parametrize("topic", ["", "os.system", "subscription.seats-added.v2"])
def test_K1_no_other_topic_is_ever_decoded(topic: str) -> None:
    assert topic not in BY_TOPIC


def test_K1_a_stream_of_an_unknown_kind_is_not_replayed() -> None:
    with pytest.raises(KeyError):
        replay("secret/1")


def life(story: Story, forget: Callable[[], None]) -> list[Event]:
    """All that happens to a subscription whose desk may forget everything before each command."""
    story.start()
    forget()
    story.configure("user0001")
    forget()
    order = story.order_seats(3)
    forget()
    story.pay(order, "60.00", reference="A")
    forget()
    story.pay(order, "10.00", reference="B", on="2026-03-05")
    forget()
    story.fulfil(order)
    forget()
    story.do("open-cart")
    forget()
    story.do("choose-renewal", services=chosen(S1=1, S2=1), years=2)
    forget()
    renewal = story.do("place-order").order_number
    forget()
    story.settle(renewal)
    for day in ("2026-12-31", "2027-03-05", "2028-12-31", "2029-12-31"):
        forget()
        story.close(day)
    return [recorded.event for recorded in story.log]


def test_K1_a_fresh_desk_at_any_point_goes_on_as_the_old_one_would(blank: Story) -> None:
    events = life(blank, blank.reopen)
    assert events == life(Story(), lambda: None)
    assert type(events[-1]).__name__ == "ServiceEnded"


def test_what_a_long_stream_remembers_is_told_once(store: Store) -> None:
    desk = desk_at(store)
    desk.begin([start("A")])
    desk.decide(start("A"), NOW)
    assert desk.memories() == {}
    for _ in range(LONG):
        desk.subscription("A").configure_user("user0001", "user@studio.it", (), on=NOW.date())
    desk.decide(open_cart("A"), NOW)
    assert {stream: memory.version for stream, memory in desk.memories().items()} == {"subscription/A": LONG + 1}
    assert desk.memories() == {}


def test_a_stream_cut_anywhere_goes_on_from_what_it_remembers(blank: Story) -> None:
    life(blank, lambda: None)
    streams: dict[str, list[tuple[Event, datetime]]] = {}
    for recorded in blank.log:
        streams.setdefault(recorded.originator_id, []).append((recorded.event, recorded.envelope.business_time))
    for stream, events in streams.items():
        whole = replay(stream, History(events))
        if whole.kind in MEMORIES:
            for cut in range(1, len(events) + 1):
                memory = through_json(memory_of(replay(stream, History(events[:cut]))))
                assert state_of(replay(stream, History(events[cut:], memory))) == state_of(whole), (stream, cut)
