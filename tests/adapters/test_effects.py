"""What is done outside is done once; where nobody can know whether it was, it is done once more and shown."""

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from email.message import EmailMessage
from typing import NamedTuple

import pytest

from adapters.mail import SmtpMailer
from adapters.postgres.database import DatabaseAway
from adapters.postgres.effects import EffectWorker
from scripts.torments.postoffice import HANG_UP, KEEP_WAITING, PostOffice
from scripts.torments.wire import Wire
from tests.office import Office, an_office, until


class Noted(NamedTuple):
    """What the ledger says of one effect."""

    state: str
    in_doubt: bool
    attempts: int
    error: str | None


def ledger(office: Office) -> list[Noted]:
    rows = office.ask("SELECT state, in_doubt, attempts, error FROM seatline.effects ORDER BY at, id")
    return [Noted(*row) for row in rows]


def only(office: Office) -> Noted:
    [noted] = ledger(office)
    return noted


def ordered(office: Office, method: str = "bank_transfer") -> str:
    office.start()
    return office.order_seats(3, method=method)


@pytest.fixture
def worker(office: Office, post_office: PostOffice) -> EffectWorker:
    return postman(office, post_office)


def postman(office: Office, post_office: PostOffice) -> EffectWorker:
    return office.email(SmtpMailer(post_office.url, timeout=5).send)


# When


def test_an_effect_is_done_once(office: Office, worker: EffectWorker, post_office: PostOffice) -> None:
    ordered(office)
    office.drain(worker)
    office.drain(worker)
    assert len(post_office.taken) == 1
    assert only(office) == ("done", False, 1, None)


def test_an_effect_waits_until_it_is_due_by_the_clock_whatever_restarts_meanwhile(
    office: Office, post_office: PostOffice
) -> None:
    ordered(office, "card")
    office.drain(postman(office, post_office))
    assert only(office) == ("planned", False, 0, None)
    office.now += timedelta(minutes=14, seconds=59)
    office.drain(postman(office, post_office))
    assert post_office.taken == []
    office.now += timedelta(seconds=1)
    office.drain(postman(office, post_office))
    assert len(post_office.taken) == 1


def test_what_is_due_first_is_done_first(office: Office, worker: EffectWorker, post_office: PostOffice) -> None:
    numbers = {}
    for sub, method in (("SUB-1", "card"), ("SUB-2", "bank_transfer"), ("SUB-3", "paypal")):
        office.start(subscription_id=sub)
        numbers[sub] = office.order_seats(method=method, subscription_id=sub)
        office.now += timedelta(minutes=1)
    office.now += timedelta(hours=1)
    office.drain(worker)
    assert [next(s for s, n in numbers.items() if n in subject) for subject in post_office.subjects] == [
        "SUB-2",
        "SUB-1",
        "SUB-3",
    ]


# Outcomes


def test_a_postponed_effect_is_tried_again_after_longer_and_longer_pauses(
    office: Office, worker: EffectWorker, post_office: PostOffice
) -> None:
    post_office.answers = ["451 later"] * 4
    ordered(office)
    office.drain(worker)
    assert only(office).state == "planned"
    for attempts, pause in enumerate((5, 10, 20, 40), start=1):
        office.now += timedelta(seconds=pause - 1)
        office.drain(worker)
        assert only(office).attempts == attempts
        assert "451" in str(only(office).error)
        office.now += timedelta(seconds=1)
        office.drain(worker)
        assert only(office).attempts == attempts + 1
    assert only(office) == ("done", False, 5, None)
    assert len(set(post_office.message_ids)) == 1


def test_pauses_do_not_grow_for_ever(office: Office, worker: EffectWorker, post_office: PostOffice) -> None:
    post_office.answers = ["451 later"] * 12
    ordered(office)
    for _ in range(13):
        worker.step()
        office.now += timedelta(minutes=10)
    assert only(office).state == "done"


def test_a_mail_server_that_is_not_there_postpones(office: Office) -> None:
    ordered(office)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        nowhere = f"smtp://127.0.0.1:{listener.getsockname()[1]}"
    office.drain(office.email(SmtpMailer(nowhere, timeout=5).send))
    noted = only(office)
    assert (noted.state, noted.in_doubt, noted.attempts) == ("planned", False, 1)
    assert "refused" in str(noted.error)


def test_a_refused_effect_is_parked_and_never_tried_again(
    office: Office, worker: EffectWorker, post_office: PostOffice
) -> None:
    post_office.answers = ["550 no such user"]
    ordered(office)
    for _ in range(3):
        office.drain(worker)
        office.now += timedelta(days=1)
    noted = only(office)
    assert (noted.state, noted.in_doubt, noted.attempts) == ("failed", False, 1)
    assert "550" in str(noted.error)


@pytest.mark.parametrize("answer", ["451 later", "550 never", HANG_UP])
def test_one_effect_in_trouble_does_not_stop_the_others(
    office: Office, worker: EffectWorker, post_office: PostOffice, answer: str
) -> None:
    post_office.answers = [answer] * 2 if answer == HANG_UP else [answer]
    ordered(office)
    office.start(subscription_id="SUB-2")
    second = office.order_seats(1, subscription_id="SUB-2")
    office.drain(worker)
    assert any(second in subject for subject in post_office.subjects)
    assert sorted(noted.state for noted in ledger(office))[0] == "done"


def test_what_is_in_doubt_is_done_once_more_under_the_same_identity(
    office: Office, worker: EffectWorker, post_office: PostOffice
) -> None:
    post_office.answers = [HANG_UP]
    ordered(office)
    office.drain(worker)
    assert len(post_office.taken) == 2
    assert len(set(post_office.message_ids)) == 1
    assert only(office)[:3] == ("done", True, 2)


def test_what_is_in_doubt_twice_is_left_to_a_person(
    office: Office, worker: EffectWorker, post_office: PostOffice
) -> None:
    post_office.answers = [HANG_UP] * 5
    ordered(office)
    for _ in range(3):
        office.drain(worker)
        office.now += timedelta(days=1)
    assert len(post_office.taken) == 2
    assert len(set(post_office.message_ids)) == 1
    assert only(office)[:3] == ("failed", True, 2)
    assert only(office).error


def test_a_letter_that_cannot_be_written_is_parked(
    office: Office, worker: EffectWorker, post_office: PostOffice
) -> None:
    """An address may be of the right form and still be one to which no mail can be sent."""
    holder = {"name": "Anna", "email": "anna..bianchi@studio.it", "language": "it"}
    office.start(account_holder=holder)
    number = office.order_seats()
    office.start(subscription_id="SUB-2")
    office.order_seats(subscription_id="SUB-2")
    office.drain(worker)
    states = dict(office.ask("SELECT order_number, state FROM seatline.effects"))
    assert states.pop(number) == "failed"
    assert list(states.values()) == ["done"]
    [[error]] = office.ask("SELECT error FROM seatline.effects WHERE order_number = %s", number)
    assert "address" in error


# Interruptions


def killed_while_sending(message: EmailMessage) -> None:
    """The process ends when the message may or may not be on its way."""
    raise KeyboardInterrupt


def test_a_worker_that_died_while_sending_leaves_a_doubt_that_the_next_one_resolves(
    office: Office, worker: EffectWorker, post_office: PostOffice
) -> None:
    ordered(office)
    with pytest.raises(KeyboardInterrupt):
        office.drain(office.email(killed_while_sending))
    assert only(office).state == "doing"
    office.drain(worker)
    assert len(post_office.taken) == 1
    assert only(office)[:3] == ("done", True, 2)


def test_what_ends_its_worker_every_time_is_left_to_a_person_at_last(
    office: Office, worker: EffectWorker, post_office: PostOffice
) -> None:
    ordered(office)
    for attempt in range(1, 6):
        with pytest.raises(KeyboardInterrupt):
            office.drain(office.email(killed_while_sending))
        assert only(office)[::2] == ("doing", attempt)
    office.drain(worker)
    assert post_office.taken == []
    assert only(office)[:3] == ("failed", True, 5)


def test_attempts_that_were_postponed_are_no_interruptions(
    office: Office, worker: EffectWorker, post_office: PostOffice
) -> None:
    post_office.answers = ["451 later"] * 6
    ordered(office)
    for _ in range(6):
        office.drain(worker)
        office.now += timedelta(minutes=10)
    with pytest.raises(KeyboardInterrupt):
        office.drain(office.email(killed_while_sending))
    office.drain(worker)
    assert only(office)[:3] == ("done", True, 8)


def test_who_loses_the_database_while_sending_overwrites_nothing_that_the_next_one_noted(
    office: Office, post_office: PostOffice
) -> None:
    """The server has given the lock to the next one, who sends again, while the first still waits for an answer."""
    post_office.answers = [KEEP_WAITING]
    ordered(office)
    with ThreadPoolExecutor(1) as threads:
        cut_off = threads.submit(office.drain, postman(office, post_office))
        until(lambda: post_office.taken)
        office.tell(
            "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON pg_database.oid = database"
            " WHERE locktype = 'advisory' AND granted AND datname = current_database()"
        )
        until(postman(office, post_office).step)  # which stands by until the server has noticed
        noted = only(office)
        post_office.patience.set()
        assert isinstance(cut_off.exception(), DatabaseAway)
    assert only(office) == noted
    assert noted[:3] == ("done", True, 2)
    assert len(post_office.taken) == 2
    assert len(set(post_office.message_ids)) == 1


def test_an_outage_before_anything_is_sent_raises_no_doubt(office: Office, post_office: PostOffice, wire: Wire) -> None:
    """The database goes away while the letter is being written."""
    ordered(office, "card")
    with an_office(wire.url) as remote:
        worker = postman(remote, post_office)
        remote.now = office.now
        remote.drain(worker)
        remote.now += timedelta(minutes=15)
        for _ in range(2):
            wire.lose_question(with_=b"order/")
            with pytest.raises(DatabaseAway):
                worker.step()
        assert wire.lost == 2
        remote.drain(worker)
    assert len(post_office.taken) == 1
    assert only(office)[:2] == ("done", False)


def test_planning_and_position_are_stored_together(office: Office, worker: EffectWorker) -> None:
    ordered(office)
    office.tell("ALTER TABLE seatline.positions ADD CONSTRAINT stuck CHECK (reader <> 'email' OR position = 0)")
    with pytest.raises(Exception, match="stuck"):
        worker.step()
    assert ledger(office) == []
    office.tell("ALTER TABLE seatline.positions DROP CONSTRAINT stuck")
    office.drain(worker)
    assert only(office).state == "done"


def test_reading_all_events_again_does_nothing_again(
    office: Office, worker: EffectWorker, post_office: PostOffice
) -> None:
    number = ordered(office)
    office.pay(number)
    office.drain(office.activation(), worker)
    assert len(post_office.taken) == 2
    before = ledger(office)
    office.tell("UPDATE seatline.positions SET position = 0")
    office.drain(worker)
    assert len(post_office.taken) == 2
    assert ledger(office) == before


# Several processes


def test_while_one_is_sending_the_others_stand_by(office: Office, post_office: PostOffice) -> None:
    post_office.answers = [KEEP_WAITING]
    ordered(office)
    first, second = postman(office, post_office), postman(office, post_office)
    with ThreadPoolExecutor(1) as threads:
        sending = threads.submit(office.drain, first)
        until(lambda: post_office.taken)
        assert second.step() is False
        post_office.patience.set()
        sending.result()
    office.drain(second)
    assert len(post_office.taken) == 1
    assert only(office) == ("done", False, 1, None)


def test_several_workers_at_once_do_each_effect_once(office: Office, post_office: PostOffice) -> None:
    for number in range(8):
        office.start(subscription_id=f"SUB-{number}")
        office.order_seats(subscription_id=f"SUB-{number}")
    workers = [postman(office, post_office) for _ in range(3)]

    def work(worker: EffectWorker) -> None:
        until(lambda: not worker.step() and all(noted.state == "done" for noted in ledger(office)))

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(work, workers))
    assert len(post_office.taken) == len(set(post_office.message_ids)) == 8
