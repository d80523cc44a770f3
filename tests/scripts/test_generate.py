"""A generated workload is realistic, repeatable and predictable: what it expects of the shop is what the shop does."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest

from adapters.clerk import Answer
from adapters.cloudevents import Unreadable, parse
from domain.commands import PUBLIC, Command, CommandData, RegisterPayment
from domain.order import OrderPlaced
from domain.order_number import check_digit
from scripts.workload.market import LINES_BETWEEN_CLOSINGS, RECENT, UNTIL, Market
from scripts.workload.mistakes import MISTAKES
from tests.office import Office


def workload(lines: int, *, seed: int = 7, bad: float = 0, duplicates: float = 0, **said: Any) -> list[bytes]:
    return list(Market(lines, seed=seed, bad=bad, duplicates=duplicates, **said).lines())


def readable(lines: Sequence[bytes]) -> list[Command]:
    commands = []
    for line in lines:
        try:
            commands.append(parse(line))
        except Unreadable:
            continue
    return commands


def streams(commands: Sequence[Command]) -> set[str]:
    return {
        stream for command in commands if isinstance(command.data, CommandData) for stream in command.data.streams()
    }


@pytest.fixture
def later(office: Office) -> Office:
    """An office on a day after the last of a workload, which therefore isn't in the future."""
    return office.on("2026-11-02")


def answers(office: Office, lines: Sequence[bytes]) -> list[Answer]:
    commands = readable(lines)
    batches = [commands[first : first + 500] for first in range(0, len(commands), 500)]
    return [answer for batch in batches for answer in office.clerk.handle(batch)]


# The same again


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert workload(2_000, bad=0.1, duplicates=0.1) == workload(2_000, bad=0.1, duplicates=0.1)


def test_another_seed_shares_no_subscription_no_reference_and_no_id() -> None:
    some, others = readable(workload(2_000, seed=1)), readable(workload(2_000, seed=2))
    assert {command.id for command in some}.isdisjoint(command.id for command in others)
    shared = streams(some) & streams(others)
    assert not {stream for stream in shared if not stream.startswith("order/")}


@pytest.mark.parametrize("lines", [0, 1, 10, 1_234])
def test_there_are_as_many_lines_as_were_asked_for(lines: int) -> None:
    made = workload(lines, bad=0.3, duplicates=0.2)
    assert len(made) == lines
    assert not any(b"\n" in line or not line.strip() for line in made)


def test_the_script_writes_the_same_to_its_output() -> None:
    command = [sys.executable, "-m", "scripts.workload", "--commands", "300", "--seed", "7", "--bad", "0.2"]
    written = subprocess.run(command, check=True, capture_output=True).stdout
    assert written.splitlines() == workload(300, bad=0.2, duplicates=0.01)


# As in life


def test_all_kinds_of_commands_come() -> None:
    assert {command.type for command in readable(workload(20_000))} == set(PUBLIC)


def test_times_move_forward_through_two_years_to_the_last_day() -> None:
    times = [command.time for command in readable(workload(2_000))]
    assert times == sorted(times)
    assert times[0].isoformat() == "2024-11-01T08:00:00+01:00"
    assert times[-1].date() == UNTIL == date(2026, 10, 31)


def test_every_day_is_closed_in_a_large_workload_and_several_at_once_in_a_small_one() -> None:
    def closed(lines: int) -> list[str]:
        return [json.loads(line)["data"]["date"] for line in workload(lines) if b"close-day" in line]

    assert len(closed(30_000)) == 729  # the last one is over when the workload is
    assert len(closed(1_000)) == 1_000 / LINES_BETWEEN_CLOSINGS
    assert closed(1_000) == sorted(set(closed(1_000)))


def test_customers_are_interleaved_and_no_more_at_once_than_allowed() -> None:
    market = Market(5_000, seed=7, in_flight=40)
    most = max(market.customers for _ in market.lines())
    assert 20 < most <= 40


def test_shares_are_kept() -> None:
    lines = workload(20_000, bad=0.1, duplicates=0.05)
    repeated = len(lines) - len(set(lines))
    assert 0.04 < repeated / len(lines) < 0.06
    unreadable = len(lines) - len(readable(lines))
    assert 0.02 < unreadable / len(lines) < 0.04  # a quarter of what is bad; the rest is refused


# What the shop says


def test_payments_find_the_orders_they_are_for(later: Office) -> None:
    lines = workload(4_000, bad=0.05, duplicates=0.05)
    placed = {
        event.order_number: event
        for answer in answers(later, lines)
        for event in [recorded.event for recorded in answer.events]
        if isinstance(event, OrderPlaced)
    }
    paid = 0
    for line in lines:
        for command in readable([line]):
            match command.data:
                case RegisterPayment(order_number=number) if check_digit(number) == "0" and number in line.decode():
                    assert placed[number].subscription_id == json.loads(line)["subject"]
                    paid += 1
    assert paid > 300


def test_most_is_accepted_and_the_rest_is_refused_for_many_reasons(later: Office) -> None:
    given = answers(later, workload(4_000, bad=0.15, duplicates=0.05))
    outcomes = Counter(answer.outcome for answer in given)
    assert outcomes["accepted"] > 0.75 * len(given)
    assert outcomes["duplicate"] > 0.03 * len(given)
    codes = {json.loads(answer.line()).get("code") for answer in given}
    assert codes >= {
        "type_unknown", "data_invalid", "subscription_exists", "subscription_unknown", "sku_unknown", "service_unknown",
        "base_service_expired", "no_open_cart", "quantity_out_of_range", "quote_changed",
        "terms_not_accepted", "terms_outdated", "method_not_available", "order_unknown", "payment_unknown",
        "payment_reference_reused", "currency_not_accepted", "username_invalid", "user_unknown",
        "read_permission_missing", "no_free_seat", "time_in_future", "day_not_over", "command_id_reused",
    }  # fmt: skip


def test_a_mistake_changes_nothing(later: Office) -> None:
    market = Market(RECENT, seed=7, bad=0, duplicates=0)
    sent = [line for line in market.lines() if b"close-day" not in line]
    answers(later, sent)
    before = later.log.head()

    wrong = [mistake(market, line.decode()) for mistake in MISTAKES for line in sent[::20]]
    assert sum(line is not None for line in wrong) > 40 * len(MISTAKES)
    assert "accepted" not in {answer.outcome for answer in answers(later, [line for line in wrong if line])}
    assert later.log.head() == before


def test_a_workload_can_begin_at_another_order_number() -> None:
    numbers = {
        command.data.order_number
        for command in readable(workload(2_000, first_order=123_400))
        if isinstance(command.data, RegisterPayment) and check_digit(command.data.order_number) == "0"
    }
    assert all(number.startswith("123") for number in numbers)
