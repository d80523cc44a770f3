"""What a person decides about emails and activations that went wrong, and what a kill does to an activation."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.order import OrderFulfilled
from scripts.torments.postoffice import HANG_UP, PostOffice
from scripts.torments.provisioner import Provisioning, a_provisioning_system
from tests.office import Office, until
from tests.test_command_line import Seatline

pytestmark = pytest.mark.slow


@pytest.fixture
def seatline(migrated_url: str, tmp_path: Path) -> Seatline:
    return Seatline(migrated_url, tmp_path)


@pytest.fixture
def provisioning() -> Iterator[Provisioning]:
    with a_provisioning_system() as provisioning:
        yield provisioning


def paid(office: Office, *subscriptions: str) -> list[str]:
    numbers = []
    for sub in subscriptions or ("SUB-1",):
        office.on("2025-03-03").start(subscription_id=sub)
        numbers.append(office.order_seats(subscription_id=sub))
        office.pay(numbers[-1])
    return numbers


def fulfilled(office: Office) -> list[str]:
    return [event.order_number for event in office.events() if isinstance(event, OrderFulfilled)]


# Decisions


def test_what_was_parked_is_shown_and_tried_again_when_somebody_says_so(
    seatline: Seatline, office: Office, provisioning: Provisioning
) -> None:
    provisioning.answers = [404]
    [number] = paid(office)
    activate = ("run", "activation", "--drain")
    assert seatline(*activate, SEATLINE_PROVISIONING_URL=provisioning.url).code == 0
    [parked] = seatline("effects", "list", "--state", "failed", "--json").json
    assert (parked["id"], parked["state"], parked["decisions"]) == (f"activate:{number}", "failed", [])
    assert "404" in parked["error"]
    assert f"activate:{number}" in seatline("status").out

    done = seatline("effects", "retry", parked["id"], "--operator", "anna", "--reason", "it is known there now")
    assert (done.code, done.out) == (0, f"activate:{number}: will be tried again\n")
    assert seatline(*activate, SEATLINE_PROVISIONING_URL=provisioning.url).code == 0
    assert provisioning.keys == [number, number]
    assert fulfilled(office) == [number]
    assert seatline("effects", "list", "--json").json == []
    [settled] = seatline("effects", "list", "--state", "done", "--json").json
    [decision] = settled["decisions"]
    assert (decision["decision"], decision["operator"], decision["reason"]) == (
        "retry",
        "anna",
        "it is known there now",
    )


def test_a_skipped_activation_is_made_in_the_engine_because_it_was_paid(
    seatline: Seatline, office: Office, provisioning: Provisioning
) -> None:
    provisioning.answers = [404]
    [number] = paid(office)
    settings = {"SEATLINE_PROVISIONING_URL": provisioning.url}
    assert seatline("run", "activation", "--drain", **settings).code == 0
    assert fulfilled(office) == []
    skipped = seatline("effects", "skip", f"activate:{number}", "--reason", "done by hand", "--json")
    assert [(row["id"], row["decision"]) for row in skipped.json] == [(f"activate:{number}", "skip")]
    assert seatline("run", "activation", "--drain", **settings).code == 0
    assert provisioning.keys == [number]
    assert fulfilled(office) == [number]
    [effect] = seatline("effects", "list", "--state", "dropped", "--json").json
    assert effect["error"].endswith(": done by hand")
    assert effect["error"].startswith("skipped by ")


def test_a_letter_in_doubt_twice_is_sent_or_skipped_by_a_person(
    seatline: Seatline, office: Office, post_office: PostOffice
) -> None:
    post_office.answers = [HANG_UP] * 4
    numbers = []
    for sub in ("SUB-1", "SUB-2"):
        office.on("2025-03-03").start(subscription_id=sub)
        numbers.append(office.order_seats(subscription_id=sub))
    settings = {"SEATLINE_SMTP_URL": post_office.url}
    assert seatline("run", "email", "--drain", **settings).code == 0
    sent, skipped = [f"payment-instructions:{number}" for number in numbers]
    assert {row["id"] for row in seatline("effects", "list", "--state", "in-doubt", "--json").json} == {sent, skipped}
    assert seatline("effects", "skip", skipped, "--reason", "the customer has it").code == 0
    assert seatline("effects", "retry", sent).code == 0
    assert seatline("run", "email", "--drain", **settings).code == 0
    assert len(post_office.taken) == 5
    assert len(set(post_office.message_ids)) == 2
    states = office.ask("SELECT id, state FROM seatline.effects WHERE worker = 'email' ORDER BY id")
    assert dict(states) == {sent: "done", skipped: "dropped"}


def test_where_there_is_nothing_to_decide_nothing_is_changed(
    seatline: Seatline, office: Office, provisioning: Provisioning
) -> None:
    provisioning.answers = [204, 404]
    done, parked = [f"activate:{number}" for number in paid(office, "SUB-1", "SUB-2")]
    assert seatline("run", "activation", "--drain", SEATLINE_PROVISIONING_URL=provisioning.url).code == 0
    for wrong in (done, "activate:0000"):
        refused = seatline("effects", "skip", parked, wrong, "--reason", "no")
        assert refused.code == 1
        assert wrong in refused.complaint
    assert seatline("effects", "skip", parked).code == 2
    [row] = seatline("effects", "list", "--json").json
    assert (row["id"], row["state"], row["decisions"]) == (parked, "failed", [])
    assert len(fulfilled(office)) == 1


def test_status_counts_one_payment_as_one(seatline: Seatline, office: Office) -> None:
    office.on("2025-03-03").start()
    office.pay("no such order", "10.00")
    office.drain(office.projections())
    assert "1 payment " in seatline("status").out


# Kills


def test_promise_8_a_worker_killed_between_call_and_decision_calls_again_and_then_decides(
    seatline: Seatline, office: Office, provisioning: Provisioning
) -> None:
    numbers = paid(office, "SUB-1", "SUB-2", "SUB-3")
    settings = {"SEATLINE_PROVISIONING_URL": provisioning.url}
    with office.writers_held() as waiting:
        with seatline.running("run", "activation", **settings) as process:
            until(waiting)
            process.kill()
            process.wait()
        assert provisioning.keys == numbers[:1]
        [decision] = waiting()
        # Whoever waits for its turn would otherwise still decide, though nobody is there any more to hear of it.
        office.ask("SELECT pg_terminate_backend(%s)", decision)
        until(lambda: not waiting())
    assert fulfilled(office) == []
    assert seatline("run", "activation", "--drain", **settings).code == 0
    assert provisioning.keys == [numbers[0], *numbers]
    assert fulfilled(office) == numbers
    states = office.ask("SELECT DISTINCT state, in_doubt FROM seatline.effects WHERE worker = 'activation'")
    assert states == [("done", False)]
    office.check_log()


def test_promise_8_every_paid_order_is_activated_once_whenever_the_worker_is_killed(
    seatline: Seatline, office: Office, provisioning: Provisioning
) -> None:
    """Killed right after each further call, so at whatever the worker is at just then."""
    provisioning.answers = [500, 204, 409, 503, 204, 204, 429, 204]
    numbers = paid(office, *(f"SUB-{n}" for n in range(5)))
    settings = {"SEATLINE_PROVISIONING_URL": provisioning.url}
    for calls in (1, 2, 4, 5, 7):
        with seatline.running("run", "activation", **settings) as process:
            until(lambda calls=calls: len(provisioning.calls) >= calls, seconds=30)  # type: ignore[misc]
            process.kill()
            process.wait()
    with seatline.running("run", "activation", **settings):
        until(lambda: len(fulfilled(office)) == len(numbers), seconds=30)
    assert sorted(fulfilled(office)) == sorted(numbers)
    assert set(provisioning.keys) == set(numbers)
    by_key = {call.key: json.dumps(call.body) for call in provisioning.calls}
    assert all(json.dumps(call.body) == by_key[call.key] for call in provisioning.calls)
    office.check_log()
