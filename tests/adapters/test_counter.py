"""Callers that come together share a commit, and each gets its own answer or its own trouble."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from adapters.clerk import Answer
from adapters.cloudevents import parse
from adapters.counter import Closed, Counter
from adapters.postgres.database import DatabaseAway
from domain.commands import Command
from scripts.torments.wire import Wire
from tests.office import BASE, Office, an_office, service, until

CALLERS = 8


def starts(office: Office, number: int) -> list[Command]:
    base = service(BASE, "2026-06-30")
    return [
        parse(office.line("start-subscription", id=f"start-{n}", subscription_id=f"SUB-{n}", services=[base]))
        for n in range(number)
    ]


@contextmanager
def all_in_one_batch(office: Office, counter: Counter, commands: list[Command]) -> Iterator[list[Future[Answer]]]:
    """Have the first command wait for the database, and all the others queue up behind it."""
    with ThreadPoolExecutor(len(commands)) as callers:
        with office.writers_held() as waiting:
            asked = [callers.submit(counter.ask, commands[0])]
            until(waiting)
            asked += [callers.submit(counter.ask, command) for command in commands[1:]]
            until(lambda: counter.waiting == len(commands) - 1)
        yield asked


def batches_of(office: Office) -> tuple[Counter, list[object]]:
    """A counter, and a list that grows with every batch: a clerk looks at the clock once for each."""
    looks: list[object] = []

    def clock() -> Any:
        looks.append(None)
        return office.now

    return Counter(office.another_clerk(clock=clock)), looks


def test_callers_that_queue_up_share_a_commit_and_each_gets_its_own_answer(office: Office) -> None:
    counter, batches = batches_of(office)
    commands = starts(office, CALLERS)
    with counter, all_in_one_batch(office, counter, commands) as asked:
        answers = [future.result() for future in asked]
    assert [answer.command_id for answer in answers] == [command.id for command in commands]
    assert {answer.outcome for answer in answers} == {"accepted"}
    assert len(batches) == 2
    office.check_log()


def test_a_full_batch_leaves_the_rest_for_the_next(office: Office) -> None:
    commands = starts(office, CALLERS)
    counter = Counter(office.clerk, batch_size=3)
    with counter, all_in_one_batch(office, counter, commands) as asked:
        assert {future.result().outcome for future in asked} == {"accepted"}


def test_a_caller_sees_what_it_did_before(office: Office) -> None:
    office.start()
    with Counter(office.clerk) as counter:
        outcomes = [counter.ask(parse(office.line(name))).outcome for name in ("open-cart", "place-order")]
    assert outcomes == ["accepted", "rejected"]


def test_what_cannot_be_decided_fails_alone(office: Office) -> None:
    first, good, poison, other = starts(office, 4)
    broken: Any = object()
    with (
        Counter(office.clerk) as counter,
        all_in_one_batch(office, counter, [first, good, poison._replace(data=broken), other]) as asked,
    ):
        assert isinstance(asked[2].exception(), AttributeError)
        assert {asked[place].result().outcome for place in (0, 1, 3)} == {"accepted"}


def test_everybody_whose_batch_was_lost_hears_that_the_database_is_away_and_may_ask_again(
    office: Office, wire: Wire
) -> None:
    commands = starts(office, CALLERS)
    with an_office(wire.url) as remote, Counter(remote.clerk) as counter:
        wire.lose_question(with_=commands[1].id.encode())
        with all_in_one_batch(office, counter, commands) as asked:
            assert asked[0].result().outcome == "accepted"
            assert {type(future.exception()) for future in asked[1:]} == {DatabaseAway}
        assert [counter.ask(command).outcome for command in commands[:2]] == ["duplicate", "accepted"]


def test_closing_answers_all_who_wait_and_takes_nothing_more(office: Office) -> None:
    counter = Counter(office.clerk)
    commands = starts(office, CALLERS)
    with all_in_one_batch(office, counter, commands) as asked:
        counter.close()
        assert {future.result().outcome for future in asked} == {"accepted"}
    with pytest.raises(Closed):
        counter.ask(commands[0])
    counter.close()
