"""Every paid order is activated outside under its own number, and only then in the engine (promise 8)."""

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import NamedTuple

import pytest

from adapters.postgres.database import DatabaseAway
from adapters.postgres.effects import EffectWorker, EngineActivation
from adapters.postgres.readers import LogSource, activation_worker, decide
from adapters.provisioning import Provisioner
from consumers.activation import NAME, Activation
from domain.order import OrderFulfilled
from scripts.torments.provisioner import HANG_UP, KEEP_WAITING, Provisioning, a_provisioning_system
from scripts.torments.wire import Wire
from tests.office import Office, an_office, until


@pytest.fixture
def provisioning() -> Iterator[Provisioning]:
    with a_provisioning_system() as provisioning:
        yield provisioning


@pytest.fixture
def worker(office: Office, provisioning: Provisioning) -> EffectWorker:
    return activation(office, provisioning.url)


def activation(office: Office, url: str | None, *, token: str | None = None) -> EffectWorker:
    provision = Provisioner(url, token, timeout=0.3).activate if url else None
    consumer = Activation(office.books, office.log.event, provision, partial(decide, office.another_clerk()))
    source = LogSource(office.log, NAME)
    return EffectWorker(office.log, source, consumer, repeatable=True, clock=lambda: office.now)


def in_the_engine_alone(office: Office) -> EngineActivation:
    news = activation_worker(LogSource(office.log, NAME), office.another_clerk())
    return EngineActivation(news, activation(office, None))


class Noted(NamedTuple):
    """What the ledger says of one effect."""

    state: str
    in_doubt: bool
    attempts: int
    error: str | None


def only(office: Office) -> Noted:
    [row] = office.ask("SELECT state, in_doubt, attempts, error FROM seatline.effects")
    return Noted(*row)


def paid(office: Office, *subscriptions: str) -> list[str]:
    numbers = []
    for sub in subscriptions or ("SUB-1",):
        office.start(subscription_id=sub)
        numbers.append(office.order_seats(3, subscription_id=sub))
        office.pay(numbers[-1])
    return numbers


def fulfilments(office: Office) -> Counter[str]:
    return Counter(event.order_number for event in office.events() if isinstance(event, OrderFulfilled))


# What is asked


def test_seats_are_asked_for_under_the_order_number_and_nothing_is_said_of_persons(
    office: Office, worker: EffectWorker, provisioning: Provisioning
) -> None:
    [number] = paid(office)
    office.drain(worker)
    [call] = provisioning.calls
    assert (call.method, call.path, call.key) == ("POST", "/activations", number)
    assert call.headers["Content-Type"] == "application/json"
    assert "Authorization" not in call.headers
    assert call.body == {
        "order_number": number,
        "subscription_id": "SUB-1",
        "paid_on": "2026-03-02",
        "seats": {
            "sku": "fe-utente",
            "quantity": 3,
            "active_from": "2026-03-02",
            "expires_on": "2027-03-02",
        },
        "services": [{"service_id": "S1", "expires_on": "2027-03-02"}],
    }
    assert fulfilments(office) == {number: 1}
    assert only(office) == ("done", False, 1, None)


def test_what_is_asked_for_is_what_the_engine_then_gives(
    office: Office, worker: EffectWorker, provisioning: Provisioning
) -> None:
    office.start()
    number = office.order_seats(2)
    office.on("2026-03-20").pay(number)
    office.drain(worker)
    [call] = provisioning.calls
    given = {row["service_id"]: str(row["expires_on"]) for row in office.view("services")}
    assert given == {"S1": "2027-03-20", "S2": "2027-03-20"}
    assert call.body["seats"]["expires_on"] == given["S2"]
    assert call.body["services"] == [{"service_id": "S1", "expires_on": given["S1"]}]


def test_a_renewal_asks_for_the_services_alone(
    office: Office, worker: EffectWorker, provisioning: Provisioning
) -> None:
    office.start()
    office.pay(office.order_renewal(2, S1=1))
    office.drain(worker)
    [call] = provisioning.calls
    assert "seats" not in call.body
    assert call.body["services"] == [{"service_id": "S1", "expires_on": "2028-06-30", "quantity": 1}]


def test_a_token_is_sent_as_a_bearer_and_told_to_nobody_else(office: Office, provisioning: Provisioning) -> None:
    provisioning.answers = [401, 500, 404]
    paid(office)
    worker = activation(office, provisioning.url, token="s3cret")  # noqa: S106  what the test looks for
    for _ in range(3):
        office.drain(worker)
        assert "s3cret" not in str(only(office))
        office.now += timedelta(minutes=10)
    assert {call.headers["Authorization"] for call in provisioning.calls} == {"Bearer s3cret"}


def test_O11_nothing_is_asked_for_that_the_engine_will_not_give(
    office: Office, worker: EffectWorker, provisioning: Provisioning
) -> None:
    office.start()
    number = office.on("2026-09-20").order_renewal(1, S1=1)
    office.on("2026-10-05").pay(number)
    office.drain(worker)
    assert provisioning.calls == []
    assert office.books.order(number).state == "cancelled"
    assert only(office).state == "done"


# What is answered


@pytest.mark.parametrize("answer", [200, 201, 202, 204, 409])
def test_yes_and_already_done_are_a_success(
    office: Office, worker: EffectWorker, provisioning: Provisioning, answer: int
) -> None:
    provisioning.answers = [answer]
    [number] = paid(office)
    office.drain(worker)
    assert only(office) == ("done", False, 1, None)
    assert fulfilments(office) == {number: 1}


@pytest.mark.parametrize("answer", [500, 502, 503, 504, 429, 408, 425, 401, 407])
def test_what_may_go_better_later_is_asked_again_under_the_same_key(
    office: Office, worker: EffectWorker, provisioning: Provisioning, answer: int
) -> None:
    provisioning.answers = [answer]
    [number] = paid(office)
    office.drain(worker)
    assert only(office)[:3] == ("planned", False, 1)
    assert str(answer) in str(only(office).error)
    assert fulfilments(office) == {}
    office.now += timedelta(seconds=5)
    office.drain(worker)
    assert provisioning.keys == [number, number]
    assert provisioning.calls[0].body == provisioning.calls[1].body
    assert only(office) == ("done", False, 2, None)
    assert fulfilments(office) == {number: 1}


@pytest.mark.parametrize("answer", [400, 403, 404, 410, 422])
def test_a_no_is_parked_and_activates_nothing(
    office: Office, worker: EffectWorker, provisioning: Provisioning, answer: int
) -> None:
    provisioning.answers = [answer]
    [number] = paid(office)
    for _ in range(3):
        office.drain(worker)
        office.now += timedelta(days=1)
    assert provisioning.keys == [number]
    assert only(office) == ("failed", False, 1, f"the provisioning system answered with {answer}")
    assert fulfilments(office) == {}


@pytest.mark.parametrize("answer", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(
    office: Office, worker: EffectWorker, provisioning: Provisioning, answer: int
) -> None:
    provisioning.answers = [(answer, {"Location": "/elsewhere"})]
    paid(office)
    office.drain(worker)
    assert [call.path for call in provisioning.calls] == ["/activations"]
    assert only(office).state == "planned"
    assert "SEATLINE_PROVISIONING_URL" in str(only(office).error)


@pytest.mark.parametrize(("asked", "given"), [("60", 60), ("86400", 3600), ("9" * 5000, 3600), ("0", 5), ("soon", 5)])
def test_a_wait_that_is_asked_for_is_kept_within_reason(
    office: Office, worker: EffectWorker, provisioning: Provisioning, asked: str, given: int
) -> None:
    provisioning.answers = [(503, {"Retry-After": asked})]
    paid(office)
    office.drain(worker)
    office.now += timedelta(seconds=given - 1)
    office.drain(worker)
    assert len(provisioning.calls) == 1
    office.now += timedelta(seconds=1)
    office.drain(worker)
    assert len(provisioning.calls) == 2


def test_a_wait_may_be_asked_for_as_a_date(office: Office, worker: EffectWorker, provisioning: Provisioning) -> None:
    then = datetime.now(UTC) + timedelta(minutes=30)
    provisioning.answers = [(429, {"Retry-After": format_datetime(then, usegmt=True)})]
    paid(office)
    office.drain(worker)
    office.now += timedelta(minutes=20)
    office.drain(worker)
    assert len(provisioning.calls) == 1
    office.now += timedelta(minutes=10)
    office.drain(worker)
    assert len(provisioning.calls) == 2


# No answer


@pytest.mark.parametrize("silence", [KEEP_WAITING, HANG_UP])
def test_a_call_without_an_answer_is_in_doubt_until_the_next_answer(
    office: Office, worker: EffectWorker, provisioning: Provisioning, silence: str
) -> None:
    provisioning.answers = [silence, silence, silence, 409]
    [number] = paid(office)
    for _ in range(3):
        office.drain(worker)
        assert only(office)[:2] == ("planned", True)
        assert fulfilments(office) == {}
        office.now += timedelta(minutes=10)
    office.drain(worker)
    assert provisioning.keys == [number] * 4
    assert only(office) == ("done", False, 4, None)
    assert fulfilments(office) == {number: 1}


def test_a_no_after_a_doubt_leaves_the_doubt_to_a_person(
    office: Office, worker: EffectWorker, provisioning: Provisioning
) -> None:
    provisioning.answers = [HANG_UP, 404]
    paid(office)
    office.drain(worker)
    office.now += timedelta(seconds=5)
    office.drain(worker)
    assert only(office)[:3] == ("failed", True, 2)


def test_nobody_there_raises_no_doubt(office: Office) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        nowhere = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    paid(office)
    office.drain(activation(office, nowhere))
    assert only(office)[:3] == ("planned", False, 1)
    assert "refused" in str(only(office).error)


@pytest.mark.parametrize("trouble", [KEEP_WAITING, HANG_UP, 500, 404])
def test_one_order_in_trouble_does_not_hold_up_the_others(
    office: Office, worker: EffectWorker, provisioning: Provisioning, trouble: int | str
) -> None:
    provisioning.answers = [trouble]
    first, *others = paid(office, *(f"SUB-{n}" for n in range(5)))
    office.drain(worker)
    assert provisioning.keys == [first, *others]
    assert fulfilments(office) == dict.fromkeys(others, 1)


# Interruptions


def test_who_loses_the_database_after_the_call_calls_again_under_the_same_key(
    office: Office, provisioning: Provisioning, wire: Wire
) -> None:
    [number] = paid(office)
    with an_office(wire.url) as remote:
        worker = activation(remote, provisioning.url)
        wire.lose_question(with_=b"seatline.answers")
        with pytest.raises(DatabaseAway):
            remote.drain(worker)
        assert wire.lost == 1
        assert provisioning.keys == [number]
        assert fulfilments(office) == {}
        remote.drain(worker)
    assert provisioning.keys == [number, number]
    assert fulfilments(office) == {number: 1}
    assert only(office) == ("done", False, 2, None)


def test_what_was_decided_and_not_noted_is_not_called_for_again(
    office: Office, provisioning: Provisioning, wire: Wire
) -> None:
    [number] = paid(office)
    with an_office(wire.url) as remote:
        worker = activation(remote, provisioning.url)
        wire.lose_question(with_=b"SET state = 'done'")
        with pytest.raises(DatabaseAway):
            remote.drain(worker)
        assert wire.lost == 1

        def dropped() -> bool:
            # Until the server notices that the connection is gone, it keeps others from performing.
            remote.drain(worker)
            return only(office)[0] == "dropped"

        until(dropped)
    assert provisioning.keys == [number]
    assert fulfilments(office) == {number: 1}


# With and without


def test_what_the_engine_has_activated_alone_is_never_called_for(
    office: Office, worker: EffectWorker, provisioning: Provisioning
) -> None:
    paid(office)
    office.drain(in_the_engine_alone(office))
    [later] = paid(office, "SUB-2")
    office.drain(worker)
    assert provisioning.keys == [later]
    office.tell("UPDATE seatline.positions SET position = 0")
    office.drain(worker)
    assert provisioning.keys == [later]


def test_what_is_still_to_be_called_for_when_the_setting_goes_is_activated_in_the_engine(
    office: Office, worker: EffectWorker, provisioning: Provisioning
) -> None:
    provisioning.answers = [404, 503]
    parked, waiting = paid(office, "SUB-1", "SUB-2")
    office.drain(worker)
    [later] = paid(office, "SUB-3")
    office.now += timedelta(seconds=5)
    office.drain(in_the_engine_alone(office))
    assert provisioning.keys == [parked, waiting]
    assert fulfilments(office) == dict.fromkeys([waiting, later], 1)
    office.check_log()
