"""Every command is decided exactly once and answered in its place, whoever else writes and whatever breaks."""

import json
import os
import random
import signal
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any, LiteralString

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.clerk import Answer, Clerk
from adapters.cloudevents import parse
from adapters.embedded import embedded_postgres, temporary_home
from adapters.postgres.database import DatabaseAway, connected, prepare
from adapters.postgres.views import advance, create_views, live_tables
from domain.commands import Command
from domain.order_number import BLOCK, check_digit
from scripts.torments.wire import Wire
from tests.office import BASE, Office, Reply, an_office, chosen, service, until

STORING = b',"events":['
"""Bytes that go to the database only in the statement that stores a batch."""


def after(order_number: str) -> str:
    """The number that whoever drew this one draws next."""
    drawn = int(order_number[:-1]) + 1
    assert drawn % BLOCK, "the block ends here"
    return f"{drawn}{check_digit(str(drawn))}"


def without_outcome(reply: Reply) -> Reply:
    return {name: value for name, value in reply.items() if name not in ("outcome", "original_outcome")}


# Once


def test_K1_a_repeated_command_gets_the_original_answer_and_changes_nothing(office: Office) -> None:
    office.start()
    lines = [office.line("open-cart"), office.line("choose-seats", quantity=3)]
    _, first = office.handle(*lines)
    stored = office.log.head()

    _, again = office.handle(*lines)

    assert (again["outcome"], again["original_outcome"]) == ("duplicate", "accepted")
    assert without_outcome(again) == without_outcome(first)
    assert first["data"]["quote"]["total"] == "64.39"
    assert office.log.head() == stored


def test_K1_a_repeated_rejection_gets_the_original_code_even_if_it_would_be_accepted_by_now(office: Office) -> None:
    line = office.line("open-cart")
    [first] = office.handle(line)
    office.start()

    [again] = office.handle(line)

    assert (again["outcome"], again["original_outcome"]) == ("duplicate", "rejected")
    assert without_outcome(again) == without_outcome(first)
    assert first["code"] == "subscription_unknown"
    assert set(first["message"]) == {"it", "en"}


def test_K1_another_command_under_a_used_id_is_rejected_and_leaves_the_kept_answer_alone(office: Office) -> None:
    first = office.start(id="mine")
    start = office.line("start-subscription", id="mine", services=[service(BASE, "2026-06-30")])

    for other in (office.line("open-cart", id="mine"), office.line("start-subscription", id="mine", services=[])):
        [reused] = office.handle(other)
        assert (reused["outcome"], reused["code"]) == ("rejected", "command_id_reused")
        assert reused["events"] == []

    [again] = office.handle(start)
    assert without_outcome(again) == without_outcome(first)
    assert office.facts() == ["SubscriptionStarted"]


def test_K1_the_same_id_in_one_batch_is_decided_once(office: Office) -> None:
    office.start()
    line = office.line("open-cart", id="twice")
    first, again, reused = office.handle(line, line, office.line("choose-seats", id="twice", quantity=1))
    assert (first["outcome"], again["outcome"], reused["outcome"]) == ("accepted", "duplicate", "rejected")
    assert without_outcome(again) == without_outcome(first)
    assert reused["code"] == "command_id_reused"
    assert office.facts() == ["SubscriptionStarted", "CartOpened"]


def test_K1_an_id_is_unique_over_all_sources_and_types(office: Office) -> None:
    office.start(id="c-1")
    assert office.send("open-cart", id="c-1")["code"] == "command_id_reused"


def test_ids_and_actors_may_hold_any_text(office: Office) -> None:
    for id_ in ('"', "\\", "è", "𝄞", "[/red]", "a" * 200, "'; DROP TABLE seatline.answers; --"):
        first = office.send("open-cart", id=id_)
        assert first["command_id"] == id_
        assert without_outcome(office.send("open-cart", id=id_)) == without_outcome(first)


def test_T1_what_is_in_the_future_is_rejected_once_and_for_all(office: Office) -> None:
    early = office.line("start-subscription", services=[service(BASE, "2026-06-30")])
    office.now = office.now.replace(hour=8)
    [first] = office.handle(early)
    assert first["code"] == "time_in_future"
    office.now = office.now.replace(hour=12)
    [again] = office.handle(early)
    assert (again["outcome"], again["code"]) == ("duplicate", "time_in_future")


# In its place


def test_answers_come_in_the_order_of_the_batch_and_each_sees_the_ones_before(office: Office) -> None:
    commands = ["choose-seats", "start-subscription", "choose-seats", "open-cart", "choose-seats", "place-order"]
    said: dict[str, dict[str, Any]] = {
        "choose-seats": {"quantity": 1},
        "start-subscription": {"services": [service(BASE, "2026-06-30")]},
    }
    replies = office.handle(*(office.line(command, **said.get(command, {})) for command in commands))
    assert [reply["command_id"] for reply in replies] == ["c1", "c2", "c3", "c4", "c5", "c6"]
    assert [reply.get("code") for reply in replies] == ["subscription_unknown", None, "no_open_cart", None, None, None]


def test_K2_a_rejected_command_changes_nothing_for_its_neighbours(office: Office) -> None:
    plain, disturbed = office, "SUB-2"
    commands: list[tuple[str, dict[str, Any]]] = [
        ("start-subscription", {"services": [service(BASE, "2026-06-30")]}),
        ("configure-user", {"username": "annaverdi"}),
        ("open-cart", {}),
        ("choose-seats", {"quantity": 2}),
        ("place-order", {}),
    ]
    rejected: list[tuple[str, dict[str, Any]]] = [
        ("configure-user", {"username": "bruno"}),
        ("choose-seats", {"quantity": 1000}),
        ("place-order", {"quote_hash": "0" * 64}),
        ("place-order", {"accepted_terms": None}),
        ("choose-renewal", {"services": chosen(S9=1), "years": 1}),
        ("cancel-order", {"order_number": "99999"}),
        ("no-such-command", {}),
    ]
    alone = plain.handle(*(plain.line(command, **said) for command, said in commands))
    lines: list[bytes] = []
    ours: list[int] = []
    for command, said in commands:
        ours.append(len(lines))
        lines.append(office.line(command, subscription_id=disturbed, **said))
        for other, nonsense in rejected:
            whose = nonsense if other == "cancel-order" else {"subscription_id": disturbed} | nonsense
            lines.append(office.line(other, **whose))

    replies = office.handle(*lines)

    assert [replies[place]["outcome"] for place in ours] == ["accepted"] * 5
    assert all(reply["outcome"] == "rejected" for place, reply in enumerate(replies) if place not in ours)
    types = [[event["type"] for event in reply["events"]] for reply in alone]
    assert [[event["type"] for event in replies[place]["events"]] for place in ours] == types
    assert replies[ours[-1]]["data"]["quote"] == alone[-1]["data"]["quote"]


def test_positions_have_no_gaps_and_each_answer_tells_its_last_event(office: Office) -> None:
    office.send("open-cart")
    batch = [
        office.line("start-subscription", services=[service(BASE, "2026-06-30")]),
        office.line("open-cart"),
        office.line("open-cart"),
        office.line("choose-seats", quantity=1000),
        office.line("choose-seats", quantity=1),
        office.line("place-order"),
    ]
    replies = office.handle(*batch)
    assert [reply["position"] for reply in replies] == [1, 2, 2, 2, 3, 6]
    place = {recorded.id: recorded.position for recorded in office.log.page(0, 100)}
    for reply in replies:
        assert [place[event["id"]] for event in reply["events"]][-1:] in ([], [reply["position"]])
    office.check_log()


def test_who_waits_for_an_answers_position_sees_its_effect(office: Office) -> None:
    choices = [office.line("choose-seats", id=f"choice-{quantity}", quantity=quantity) for quantity in (1, 2, 3)]
    office.start()
    replies = office.handle(office.line("open-cart"), *choices)
    for quantity, reply in enumerate(replies):
        while advance(office.log, live_tables, until=reply["position"]):
            pass
        [[shown]] = office.ask("SELECT quantity FROM panel.carts")
        assert shown == (quantity or None)


def test_an_empty_batch_has_no_answers(office: Office) -> None:
    assert office.handle() == []


def test_more_subscriptions_than_are_kept_warm_are_decided_alike(office: Office) -> None:
    clerk = Clerk(office.log, office.clerk.desk.shop.prices, capacity=3, clock=lambda: office.now)
    names = [f"SUB-{number}" for number in range(12)]
    for command, said in (
        ("start-subscription", {"services": [service(BASE, "2026-06-30")]}),
        ("open-cart", {}),
        ("choose-seats", {"quantity": 2}),
        ("place-order", {}),
    ):
        for batch in (names[:5], names[5:], names[:2]):
            lines = [office.line(command, id=f"{command} {name}", subscription_id=name, **said) for name in batch]
            replies = office.handle(*lines, clerk=clerk)
            assert {reply["outcome"] for reply in replies} == ({"duplicate"} if len(batch) == 2 else {"accepted"})
    office.check_log()
    assert Counter(office.facts())["OrderPlaced"] == len(names)


# Several clerks


def test_two_clerks_that_write_one_stream_take_turns(office: Office) -> None:
    other = office.another_clerk()
    office.start()
    for number in range(6):
        clerk = other if number % 2 else office.clerk
        office.do("open-cart", clerk=clerk)
        office.do("choose-seats", quantity=number + 1, clerk=clerk)
    assert [row["quantity"] for row in office.view("carts")] == [6]
    office.check_log()


def test_a_clerk_that_lost_a_race_decides_again_on_what_was_written(office: Office) -> None:
    office.start()
    one, other = office.another_clerk(), office.another_clerk()
    first, second = office.race(
        lambda: office.send("configure-user", username="annaverdi", clerk=one),
        lambda: office.send("configure-user", username="brunoneri", clerk=other),
    )
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert (first["outcome"], second.get("code")) == ("accepted", "no_free_seat")
    office.check_log()


def test_K1_two_clerks_that_got_the_same_command_decide_it_once(office: Office) -> None:
    office.start()
    line = office.line("open-cart")
    clerks = [office.another_clerk() for _ in range(3)]
    replies = office.race(*(lambda clerk=clerk: office.handle(line, clerk=clerk)[0] for clerk in clerks))
    outcomes = [reply["outcome"] for reply in replies if isinstance(reply, dict)]
    assert outcomes == ["accepted", "duplicate", "duplicate"]
    assert office.facts() == ["SubscriptionStarted", "CartOpened"]


def test_O6_a_payment_decided_an_orphan_while_its_order_was_being_placed_is_decided_again(office: Office) -> None:
    """What a decision only read counts too: here an order that did not exist yet."""
    office.start()
    office.start(subscription_id="SUB-2")
    number = after(office.order_seats(extend=False))
    for command, said in (("open-cart", {}), ("choose-seats", {"quantity": 1})):
        office.do(command, subscription_id="SUB-2", **said)
    bank = office.another_clerk()
    placed, paid = office.race(
        lambda: office.do("place-order", subscription_id="SUB-2"),
        lambda: office.send("register-payment", order_number=number, amount="14.64", reference="PAY-1", clerk=bank),
    )
    assert isinstance(placed, dict)
    assert isinstance(paid, dict)
    assert placed["data"]["order_number"] == number
    assert [event["type"].split(".")[2] for event in paid["events"]][1] == "payment-allocated"
    assert office.row("payments", reference="PAY-1")["state"] == "allocated"


def test_O6_a_clerk_remembers_no_order_as_missing_that_another_has_placed(office: Office) -> None:
    bank = office.another_clerk()
    office.start()
    number = after(office.order_seats(extend=False))
    office.pay(number, "14.64", reference="EARLY", clerk=bank)
    office.order_seats(extend=False)
    office.pay(number, "14.64", reference="LATER", clerk=bank)
    states = {row["reference"]: row["state"] for row in office.view("payments")}
    assert states == {"EARLY": "orphan", "LATER": "allocated"}


def test_a_clerk_that_knows_several_streams_of_old_decides_on_the_new_ones(office: Office) -> None:
    """Deciding again reads more than the first time: the order was unknown, and now its subscription matters too."""
    old = office.another_clerk()
    office.start()
    office.do("configure-user", username="annaverdi", clerk=old)
    number = after(office.order_seats(extend=False))
    assert office.send("cancel-order", order_number=number, clerk=old)["code"] == "order_unknown"
    office.order_seats(extend=True)
    assert office.send("cancel-order", order_number=number, clerk=old)["outcome"] == "accepted"
    assert office.row("orders", order_number=number)["status"] == "cancelled"
    office.check_log()


def test_a_rejection_rests_on_what_is_true_when_it_is_stored(office: Office) -> None:
    office.start()
    old = office.another_clerk()
    assert office.send("configure-user", username="brunone", clerk=old)["code"] == "username_invalid"
    office.do("configure-user", username="annaverdi")
    office.do("delete-user", username="annaverdi")
    rejected = office.send("delete-user", username="annaverdi", clerk=old)
    assert (rejected["code"], rejected["position"]) == ("user_unknown", office.log.head())


SCRIPT: list[tuple[str, dict[str, Any], str | None]] = [
    ("start-subscription", {"services": [service(BASE, "2026-06-30")]}, None),
    ("configure-user", {"username": "annaverdi"}, None),
    ("configure-user", {"username": "brunoneri"}, "no_free_seat"),
    ("choose-seats", {"quantity": 1}, "no_open_cart"),
    ("open-cart", {}, None),
    ("choose-seats", {"quantity": 2}, None),
    ("place-order", {}, None),
    ("cancel-order", {}, None),
    ("cancel-order", {}, "order_not_open"),
    ("open-cart", {}, None),
    ("choose-seats", {"quantity": 1}, None),
    ("switch-alignment", {"extend": False}, None),
    ("switch-alignment", {"extend": True}, None),
    ("place-order", {}, None),
    ("place-order", {}, "no_open_cart"),
    ("register-payment", {"amount": "10.00", "reference": "A"}, None),
    ("register-payment", {"amount": "10.00", "reference": "A"}, None),
    ("register-payment", {"amount": "11.00", "reference": "A"}, "payment_reference_reused"),
    ("register-payment", {"amount": "30.00", "reference": "B"}, None),
    ("cancel-order", {}, "order_not_open"),
    ("fulfil", {}, None),
    ("configure-user", {"username": "brunoneri"}, None),
    ("open-cart", {}, None),
    ("choose-renewal", {"services": chosen(S2=0), "years": 1}, "configured_users_in_the_way"),
    ("delete-user", {"username": "annaverdi"}, None),
    ("choose-renewal", {"services": chosen(S1=1, S2=0), "years": 1}, None),
    ("place-order", {}, None),
    ("register-payment", {"amount": "30.50", "reference": "C"}, None),
    ("fulfil", {}, None),
]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(turns=st.lists(st.integers(0, 2), min_size=len(SCRIPT), max_size=len(SCRIPT)))
def test_it_does_not_matter_which_clerk_decides(office: Office, clerks: list[Clerk], turns: list[int]) -> None:
    """Three clerks, each with what it remembers of old, tell one story together."""
    sub = f"SUB-{office.log.head()}"
    order = ""
    for (command, said, code), turn in zip(SCRIPT, turns, strict=True):
        if command == "fulfil":
            office.drain(office.activation())
            continue
        if "reference" in said:
            said = said | {"order_number": order, "reference": f"{sub}-{said['reference']}"}
        elif command == "cancel-order":
            said = {"order_number": order}
        else:
            said = said | {"subscription_id": sub}
        reply = office.send(command, clerk=clerks[turn], **said)
        assert reply.get("code") == code, (command, said, reply)
        if command == "place-order" and not code:
            order = reply["data"]["order_number"]
    expiries = [str(row["expires_on"]) for row in office.view("services") if row["subscription_id"] == sub]
    assert expiries == ["2028-03-02", "2027-03-02"]
    office.check_log()


@pytest.fixture
def clerks(office: Office) -> list[Clerk]:
    return [office.another_clerk() for _ in range(3)]


def test_many_clerks_with_the_same_commands_decide_each_once(office: Office) -> None:
    subs = [f"SUB-{number}" for number in range(4)]
    lines = [
        office.line("start-subscription", subscription_id=sub, services=[service(BASE, "2026-06-30")]) for sub in subs
    ]
    for sub in subs:
        lines += [office.line("open-cart", subscription_id=sub)]
        lines += [office.line("choose-seats", subscription_id=sub, quantity=1 + n) for n in range(10)]
        lines += [office.line("configure-user", subscription_id=sub, username=f"username{n}") for n in range(5)]
        lines += [office.line("place-order", subscription_id=sub)]

    def work(seed: int) -> list[Reply]:
        chance, clerk = random.Random(seed), office.another_clerk()  # noqa: S311  a shuffle, no secret
        replies: list[Reply] = []
        mine = chance.sample(lines, len(lines))
        while mine:
            size = chance.randint(1, 12)
            batch, mine = mine[:size], mine[size:]
            replies += office.handle(*batch, clerk=clerk)
        return replies

    with ThreadPoolExecutor(4) as threads:
        replies = [reply for replies in threads.map(work, range(4)) for reply in replies]

    decided = Counter(reply["command_id"] for reply in replies if reply["outcome"] != "duplicate")
    assert set(decided.values()) == {1}
    assert len(decided) == len(lines)
    kept: dict[str, Reply] = {}
    for reply in replies:
        assert without_outcome(reply) == kept.setdefault(reply["command_id"], without_outcome(reply))
    assert office.ask("SELECT count(*) FROM seatline.answers") == [(len(lines),)]
    office.check_log()


def test_batches_with_the_same_ids_in_opposite_order_do_not_wait_for_each_other_for_ever(office: Office) -> None:
    office.start()
    lines = [office.line("configure-user", id=f"id-{n:03}", username=f"username{n}") for n in range(40)]
    one, other = office.another_clerk(), office.another_clerk()
    raced = office.race(lambda: office.handle(*lines, clerk=one), lambda: office.handle(*reversed(lines), clerk=other))
    first, second = (reply if isinstance(reply, list) else [] for reply in raced)
    assert {reply["outcome"] for reply in first} == {"accepted", "rejected"}
    assert {reply["outcome"] for reply in second} == {"duplicate"}
    assert len(second) == len(lines)


# Batch after batch


def streamed(office: Office, clerk: Clerk, batches: Iterable[Sequence[bytes]]) -> list[Reply]:
    """The answers to a stream of batches, each of which must come in one piece and in its turn."""
    parsed = [[parse(line) for line in batch] for batch in batches]
    answers = [clerk.handle(batch) for batch in parsed]
    assert [[a.command_id for a in given] for given in answers] == [[c.id for c in batch] for batch in parsed]
    return [json.loads(answer.line()) for given in answers for answer in given]


def purchase(office: Office, sub: str) -> list[bytes]:
    """Commands of which each rests on those before it; some come again, and some are none under a used id."""
    said: list[tuple[str, dict[str, Any]]] = [
        ("start-subscription", {"services": [service(BASE, "2026-06-30")]}),
        ("configure-user", {"username": "annaverdi"}),
        ("configure-user", {"username": "brunoneri"}),
        ("open-cart", {}),
        ("choose-seats", {"quantity": 2}),
        ("choose-seats", {"quantity": 1000}),
        ("switch-alignment", {"extend": False}),
        ("place-order", {"quote_hash": "0" * 64}),
        ("place-order", {}),
        ("place-order", {}),
        ("open-cart", {}),
        ("choose-renewal", {"services": chosen(S1=1), "years": 1}),
        ("delete-user", {"username": "annaverdi"}),
        ("configure-user", {"username": "brunoneri"}),
    ]
    lines = [office.line(name, id=f"{sub}-{n}", subscription_id=sub, **data) for n, (name, data) in enumerate(said)]
    reused = office.line("open-cart", id=f"{sub}-4", subscription_id=sub)
    return [*lines[:6], lines[4], lines[5], reused, *lines[6:9], lines[8], *lines[9:], lines[0]]


def gist(replies: Sequence[Reply], sub: str) -> list[tuple[Any, ...]]:
    """What doesn't depend on the subscription's name and on what else the log holds."""
    first = replies[0]["position"]
    return [
        (
            reply["command_id"].removeprefix(sub),
            reply["outcome"],
            reply.get("original_outcome"),
            reply.get("code"),
            [event["type"] for event in reply["events"]],
            reply["position"] - first,
        )
        for reply in replies
    ]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cuts=st.sets(st.integers(0, 20)), pauses=st.sets(st.integers(0, 20)))
def test_a_stream_of_batches_is_answered_as_if_each_command_had_come_alone(
    office: Office, clerks: list[Clerk], cuts: set[int], pauses: set[int]
) -> None:
    alone, together = f"SUB-{office.log.head()}-a", f"SUB-{office.log.head()}-b"
    expected = [reply for line in purchase(office, alone) for reply in office.handle(line, clerk=clerks[0])]
    lines, batches = purchase(office, together), list[list[bytes]]()
    for start, end in pairwise([0, *sorted(cut for cut in cuts if 0 < cut < len(lines)), len(lines)]):
        batches.append(lines[start:end])
        if end in pauses:
            batches.append([])
    replies = streamed(office, clerks[1], batches)
    assert gist(replies, together) == gist(expected, alone)
    office.check_log()


def test_a_stream_goes_on_where_another_clerk_writes_in_between(office: Office) -> None:
    """Every batch is decided on what the one before it left, and every second one meets somebody else's work."""
    office.start()
    office.do("open-cart")
    other = office.another_clerk()

    def batches() -> Iterator[list[Command]]:
        for number in range(30):
            if number % 2:
                office.do("choose-seats", quantity=50 + number, clerk=other)
            yield [parse(office.line("choose-seats", quantity=1 + number)) for _ in range(2)]

    answers = [json.loads(answer.line()) for batch in batches() for answer in office.clerk.handle(batch)]
    assert Counter(answer["outcome"] for answer in answers) == {"accepted": 60}
    assert sorted(answer["position"] for answer in answers) == [answer["position"] for answer in answers]
    assert Counter(office.facts())["SeatsChosen"] == 60 + 15
    office.check_log()


@pytest.mark.parametrize("lost", ["question", "answer"])
@pytest.mark.parametrize("moment", ["looking up", "storing"])
def test_K1_a_stream_that_loses_its_database_for_a_moment_decides_every_command_once(
    office: Office, wire: Wire, lost: str, moment: str
) -> None:
    office.start()
    office.do("open-cart")
    lines = [office.line("choose-seats", id=f"choice-{n}", quantity=1 + n) for n in range(40)]
    with an_office(wire.url) as remote:

        def patiently(commands: Sequence[Command]) -> list[Answer]:
            for _ in range(5):
                try:
                    return remote.clerk.handle(commands)
                except DatabaseAway:
                    pass
            return remote.clerk.handle(commands)

        def batches() -> Iterator[list[Command]]:
            for number in range(0, 40, 2):
                if number in (4, 12, 14, 30):
                    packet = STORING if moment == "storing" else f"choice-{number}".encode()
                    (wire.lose_question if lost == "question" else wire.lose_answer)(packet)
                yield [parse(line) for line in lines[number : number + 2]]

        answers = [answer for batch in batches() for answer in patiently(batch)]
    assert wire.lost == 4
    assert [answer.command_id for answer in answers] == [f"choice-{n}" for n in range(40)]
    assert {answer.original_outcome or answer.outcome for answer in answers} == {"accepted"}
    assert Counter(office.facts())["SeatsChosen"] == 40
    assert [row["quantity"] for row in office.view("carts")] == [40]
    office.check_log()


def test_two_streams_of_the_same_commands_decide_each_once(office: Office) -> None:
    subs = [f"SUB-{n}" for n in range(6)]
    lines = [line for sub in subs for line in purchase(office, sub)]
    batches = [lines[n : n + 7] for n in range(0, len(lines), 7)]
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(lambda clerk: streamed(office, clerk, batches), [office.clerk, office.another_clerk()])
    decided = Counter(
        r["command_id"] for r in (*one, *other) if r["outcome"] != "duplicate" and r.get("code") != "command_id_reused"
    )
    assert decided == dict.fromkeys({parse(line).id for line in lines}, 1)
    office.check_log()


# What breaks


def test_K1_after_a_lost_commit_answer_the_same_batch_finds_what_was_stored(office: Office, wire: Wire) -> None:
    office.start()
    with an_office(wire.url, letters="r") as remote:
        lines = [office.line("open-cart"), office.line("choose-seats", quantity=3), office.line("place-order")]
        wire.lose_answer(to=STORING)
        with pytest.raises(DatabaseAway):
            remote.handle(*lines)
        assert wire.lost == 1
        stored = office.log.head()

        replies = remote.handle(*lines)

        assert [reply["outcome"] for reply in replies] == ["duplicate"] * 3
        assert replies[-1]["data"]["order_number"] == office.view("orders")[0]["order_number"]
        assert office.log.head() == stored
        assert remote.send("place-order")["code"] == "no_open_cart"
    office.check_log()


def test_K1_after_a_lost_question_the_same_batch_is_decided(office: Office, wire: Wire) -> None:
    office.start()
    with an_office(wire.url, letters="r") as remote:
        lines = [office.line("open-cart"), office.line("choose-seats", quantity=3), office.line("place-order")]
        wire.lose_question(with_=STORING)
        with pytest.raises(DatabaseAway):
            remote.handle(*lines)
        assert office.facts() == ["SubscriptionStarted"]
        assert [reply["outcome"] for reply in remote.handle(*lines)] == ["accepted"] * 3
        assert remote.send("place-order")["code"] == "no_open_cart"
    office.check_log()


def test_K1_a_statement_that_outlives_its_client_is_not_decided_twice(office: Office, wire: Wire) -> None:
    """The server goes on with what it was asked although nobody waits for it any more."""
    office.start()
    line = office.line("open-cart")
    with an_office(wire.url) as remote, ThreadPoolExecutor(2) as threads:
        with office.writers_held() as waiting:
            lost = threads.submit(remote.handle, line)
            until(lambda: len(waiting()) == 1)
            wire.cut()
            assert isinstance(lost.exception(), DatabaseAway)
            wire.mend()
            again = threads.submit(remote.handle, line)
            until(lambda: len(waiting()) == 2)
        assert [reply["outcome"] for reply in again.result()] == ["duplicate"]
    assert office.facts() == ["SubscriptionStarted", "CartOpened"]


def test_K1_a_writer_whose_backend_is_killed_decides_again(office: Office) -> None:
    office.start()
    line = office.line("open-cart")
    with ThreadPoolExecutor(1) as threads, office.writers_held() as waiting:
        killed = threads.submit(office.handle, line)
        until(waiting)
        office.tell("SELECT pg_terminate_backend(%s)", *waiting())
        assert isinstance(killed.exception(), DatabaseAway)
    assert [reply["outcome"] for reply in office.handle(line)] == ["accepted"]
    assert office.facts() == ["SubscriptionStarted", "CartOpened"]


def test_a_clerk_draws_order_numbers_again_after_the_database_went_away_while_drawing(office: Office) -> None:
    office.start()
    office.do("open-cart")
    office.do("choose-seats", quantity=1)
    line = office.line("place-order")
    with ThreadPoolExecutor(1) as threads, psycopg.connect(office.url) as connection:
        connection.execute("ALTER SEQUENCE seatline.order_number_blocks INCREMENT BY 1")  # keeps others from drawing
        failed = threads.submit(office.handle, line)
        query: LiteralString = (
            "SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = database"
            " WHERE datname = current_database() AND NOT granted"
            " AND relation = 'seatline.order_number_blocks'::regclass"
        )
        until(lambda: office.ask(query))
        office.tell("SELECT pg_terminate_backend(%s)", *office.ask(query)[0])
        assert isinstance(failed.exception(), DatabaseAway)
    assert [reply["outcome"] for reply in office.handle(line)] == ["accepted"]


def test_a_clerk_goes_on_after_all_its_connections_were_ended(office: Office) -> None:
    office.start()
    office.tell(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )
    line = office.line("open-cart")
    with pytest.raises(DatabaseAway) as away:
        office.handle(line)
    assert "\n" not in str(away.value)
    assert [reply["outcome"] for reply in office.handle(line)] == ["accepted"]


@pytest.mark.slow
def test_a_server_that_crashes_between_batches_costs_nothing_but_a_second_attempt() -> None:
    with temporary_home() as home, embedded_postgres(home) as url, _migrated(url) as office:
        office.start()
        _crash(int((home / "postgres/postmaster.pid").read_text().split()[0]))
        line = office.line("open-cart")
        with pytest.raises(DatabaseAway):
            office.handle(line)
        with embedded_postgres(home):
            assert [reply["outcome"] for reply in office.handle(line)] == ["accepted"]
            office.do("choose-seats", quantity=1)
            office.do("place-order")
            office.check_log()


@contextmanager
def _migrated(url: str) -> Iterator[Office]:
    prepare(url)
    with connected(url) as connection:
        create_views(connection)
    with an_office(url) as office:
        yield office


def _crash(postmaster: int) -> None:
    """End a server as a fault would: without a checkpoint."""
    os.kill(postmaster, signal.SIGQUIT)
    with suppress(ProcessLookupError):
        until(lambda: os.kill(postmaster, 0))
