"""Forgetting: after an erasure nobody is found any more, wherever one looks, and all else is as it was."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import psycopg
import pytest
from msgspec import structs
from psycopg import sql

from adapters.embedded import embedded_postgres, temporary_home
from adapters.forgetting import Forgotten, Unknown, forget
from adapters.kafka.envelopes import headers
from adapters.panel import panel_now, panel_then
from adapters.postgres import building
from adapters.postgres.database import connected, prepare
from adapters.postgres.erasing import Left, scrub, wait_for_writers
from adapters.postgres.log import WITH_ACTOR
from adapters.postgres.mapper import UnreadableEvent
from adapters.postgres.personal import PERSONAL, Places
from adapters.postgres.rebuild import rebuild, roll_back
from adapters.postgres.views import create_views
from domain.events import EVENTS
from domain.kernel import ROME
from domain.order import OrderPaid
from domain.subscription_events import PersonalDataErased, SubscriptionStarted, UserConfigured
from projections.catalogue import VIEWS
from projections.folding import fold
from tests.histories import frozen
from tests.histories.shapes import shape
from tests.office import BASE, SEAT, Office, Reply, an_office, service
from tests.test_audit_command import Auditor
from tests.test_command_line import Seatline

SUB, OTHER = "SUB-1", "SUB-2"
MARK = re.compile(rb"QZ\d{3}")


@pytest.fixture
def auditor(migrated_url: str, tmp_path: Path) -> Auditor:
    return Auditor(Seatline(migrated_url, tmp_path), tmp_path)


class Planted:
    """Names and addresses, each with a mark that stands nowhere else; some hold what JSON escapes."""

    def __init__(self, first: int = 0) -> None:
        self.marks: list[str] = []
        self.said: list[str] = []
        self._number = count(first)

    def __call__(self, form: str = "Niccolò “{}” Bianchi") -> str:
        self.marks.append(f"QZ{next(self._number):03}")
        self.said.append(form.format(f"{self.marks[-1]}VWK"))
        return self.said[-1]

    def found_in(self, folder: Path) -> set[str]:
        contents = (path.read_bytes() for path in folder.rglob("*") if path.is_file())
        found = {mark.decode() for content in contents for mark in MARK.findall(content)}
        return found & set(self.marks)


@contextmanager
def an_own_server() -> Iterator[tuple[Path, Office]]:
    with temporary_home() as home, embedded_postgres(home) as url:
        prepare(url)
        with connected(url) as connection:
            create_views(connection)
        with an_office(url) as office:
            yield home, office


def do(office: Office, command: str, *, actor: str = "anna", **said: Any) -> Reply:
    line = json.loads(office.line(command, **said)) | {"actor": actor}
    [reply] = office.handle(json.dumps(line).encode())
    assert reply["outcome"] == "accepted", reply
    return reply


def erase(office: Office, subscription: str = SUB, *, reason: str = "asked for") -> Forgotten:
    now = datetime.combine(office.now.date(), office.now.time(), ROME)
    clerk = office.another_clerk()
    return forget(office.log, clerk, subscription, reason=reason, operator="olga", time=now, progress=lambda step: None)


def a_customer(office: Office, planted: Planted, sub: str = SUB) -> None:
    """Says all that a customer, and those who deal with him, can say about people."""
    whose = {"subscription_id": sub}
    holder = {
        "name": planted(), "email": planted("{}@studio.example"), "language": "it",
        "tax_code": planted("{}"), "vat_number": planted("{}"),
    }  # fmt: skip
    services = [service(BASE, "2026-06-30"), service(SEAT, "2026-12-31", 12)]
    do(office, "start-subscription", actor=planted(), account_holder=holder, services=services, **whose)
    names = [planted("{}") for _ in range(10)]
    for name in names:
        address = planted("{}@studio.example")
        do(office, "configure-user", actor=planted(), username=name, email=address, permissions=["read"], **whose)
    do(office, "delete-user", username=names[0], **whose)
    do(office, "configure-user", username=names[1], email=planted("{}@casa.example"), permissions=[], **whose)
    for reference, amount in ((f"ALL-{sub}", "29.28"), (f"PART-{sub}", "5.00")):
        do(office, "open-cart", **whose)
        do(office, "switch-alignment", extend=False, **whose)
        do(office, "choose-seats", quantity=2, **whose)
        order = do(office, "place-order", accepted_by=planted(), **whose)["data"]["order_number"]
        do(office, "register-payment", order_number=planted("dal {}"), amount=amount, reference=reference)
        do(office, "match-payment", reference=reference, order_number=order, operator=planted())
    do(office, "cancel-order", order_number=order, reason=planted("{} si è stancata"))
    do(office, "refund-payment", reference=reference, amount=amount, operator=planted())


def test_of_fifty_names_and_addresses_none_is_found_in_any_file_of_the_database() -> None:
    planted, others = Planted(), Planted(500)
    with an_own_server() as (home, office):
        a_customer(office, planted)
        a_customer(office, others, OTHER)
        rejected = office.line("delete-user", username=planted("{}"))
        answer = office.handle(rejected)
        unreadable = " ".join([*planted.said[:9], planted("{}, via Roma 1")])
        office.do("configure-user", username="everybody", email=planted("{}@casa.example"))
        office.handle(*(office.line("configure-user", username="everybody") for _ in range(100)))
        assert office.ask("SELECT stream FROM seatline.memories") == [("subscription/SUB-1",)]
        office.drain(office.projections(), office.email())
        for view in VIEWS.values():
            rebuild(office.log, view, lambda done, goal: None)
        office.do("configure-user", username="everybodyelse", email=planted("{}@casa.example"))
        office.drain(office.projections())
        office.tell(
            'INSERT INTO seatline.dead_letters (topic, partition, "offset", key, value, header_names, header_values,'
            " reason) VALUES ('c', 0, 0, 'x', %s, '{}', '{}', 'no JSON'),"
            " ('c', 0, 1, 'SUB-1', %s, '{}', '{}', 'no JSON'),"
            " ('c', 0, 2, 'x', 'of somebody else', '{}', '{}', 'no JSON')",
            json.dumps(unreadable).encode(),
            unreadable.encode(),
        )
        office.tell("UPDATE seatline.effects SET error = %s WHERE subject = 'SUB-1'", planted("550 {} unknown"))
        office.tell(
            "INSERT INTO seatline.effect_decisions SELECT id, now(), %s, 'skip', %s FROM seatline.effects"
            " WHERE subject = 'SUB-1'",
            planted(),
            planted(),
        )
        office.tell("ANALYZE")
        office.tell("CHECKPOINT")
        [paid] = [event for event in office.events() if isinstance(event, OrderPaid) and event.subscription_id == SUB]
        assert paid.billed_to
        assert set(structs.astuple(paid.billed_to)) < set(planted.said)
        assert len(planted.marks) >= 50
        assert len(planted.found_in(home)) >= 15, "as long as nobody erases, people are in views, letters and errors"
        of_others = told(office, OTHER)

        erased = erase(office)
        assert planted.found_in(home) == set()
        assert not erased.left
        assert not erased.in_plain
        assert (erased.users, erased.dead_letters, len(erased.payments)) == (21, 2, 2)

        assert told(office, OTHER) == of_others
        assert others.found_in(home)
        [again] = office.handle(rejected)
        assert (again["outcome"], again["code"]) == ("duplicate", answer[0]["code"])
        assert "cancellati" in again["message"]["it"]
        office.drain(office.projections(), office.email())
        for view in VIEWS.values():
            rebuilt = rebuild(office.log, view, lambda done, goal: None)
            assert (rebuilt.differences.rows, rebuilt.parked) == (0, 0)
        office.tell("CHECKPOINT")
        assert planted.found_in(home) == set()


def told(office: Office, sub: str) -> list[object]:
    return [panel_now(office.log, sub), office.log.of_subject(sub)]


def users(office: Office) -> list[str]:
    return [row["username"] for row in office.view("users")]


def some_users(office: Office) -> Office:
    office.start(service(BASE, "2026-06-30"), service(SEAT, "2026-12-31", 3))
    for username in ("annabianchi", "brunoneri"):
        office.do("configure-user", username=username)
    return office


# What remains


def test_what_was_bought_and_paid_stays_and_the_seats_are_free(office: Office) -> None:
    number = some_users(office).order_seats(2, extend=False)
    office.pay(number)
    office.drain()
    before = office.row("seats")
    erase(office)
    after = office.row("seats")
    assert (before["seats_configured"], after["seats_configured"]) == (2, 0)
    assert after["seats_available"] == before["seats_available"] + 2
    assert after["seats_purchased"] == before["seats_purchased"] == 5
    assert users(office) == []
    assert office.row("orders", order_number=number)["status"] == "fulfilled"


def test_what_a_payer_wrote_is_erased_unless_it_was_a_number(office: Office) -> None:
    number = some_users(office).order_seats(2, extend=False)
    office.pay("con affetto, Anna", "1.00", reference="THANKS")
    office.pay("per Anna", "1.00", reference="SPLIT")
    office.pay(number, "1.00", reference="RIGHT")
    office.pay("un altro", "1.00", reference="NOBODYS")
    office.do("match-payment", reference="THANKS", order_number=number)
    office.do("split-payment", reference="SPLIT", parts=[{"order_number": number, "amount": "0.50"}])
    erased = erase(office)
    assert sorted(erased.payments) == ["SPLIT", "THANKS"]
    shown = {row["reference"]: row["order_number"] for row in office.view("payments")}
    assert shown == {"THANKS": number, "SPLIT": "erased", "RIGHT": number, "NOBODYS": "un altro"}


def test_whom_an_order_was_billed_to_is_forgotten_and_no_later_one_says_it(office: Office) -> None:
    office.pay(some_users(office).order_seats(1, extend=False))
    waits = office.order_seats(1, extend=False)
    erase(office)
    office.pay(waits)
    before, after = (event.billed_to for event in office.events() if isinstance(event, OrderPaid))
    assert before
    assert before.name.startswith("pseudonym:")
    assert before.email.startswith("pseudonym:")
    assert after is None


def test_letters_that_wait_are_no_longer_sent(office: Office) -> None:
    some_users(office).order_seats(1)
    erase(office)
    office.drain()
    assert office.mail == []
    assert office.ask("SELECT state, error FROM seatline.effects") == [
        ("dropped", "the account holder's personal data was erased")
    ]


def test_the_past_is_told_without_anybody_s_name(office: Office) -> None:
    some_users(office)
    before = panel_then(office.log, SUB, None, None)
    assert before
    assert [user["username"] for user in before.users] == ["annabianchi", "brunoneri"]
    assert office.log.of_subject(SUB)[0].envelope.actor == "anna"
    office.on("2026-03-03")
    erase(office)
    then = panel_then(office.log, SUB, office.now - timedelta(hours=12), None)
    assert then
    assert then.seats["seats_configured"] == 2
    names = [user["username"] for user in then.users]
    assert len(set(names)) == 2
    assert all(name.startswith("pseudonym:") for name in names)
    assert office.log.of_subject(SUB)[0].envelope.actor.startswith("pseudonym:")
    now = panel_then(office.log, SUB, None, None)
    assert now
    assert now.users == []


def test_a_table_that_a_view_goes_back_to_names_nobody(office: Office) -> None:
    some_users(office)
    office.drain(office.projections())
    rebuild(office.log, VIEWS["users"], lambda done, goal: None)
    erase(office)
    roll_back(office.log, VIEWS["users"])
    assert users(office) == []


def test_a_part_of_a_rebuild_that_read_with_the_key_leaves_nobody_in_the_new_table(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_users(office)
    office.drain(office.projections())
    with office.log.connection() as connection:
        build = building.begin(connection, VIEWS["users"])
    has_read, go_on = Event(), Event()

    def hold(*arguments: Any) -> Any:
        has_read.set()
        assert go_on.wait(30)
        return fold(*arguments)

    def wait_until_others_are_waited_for(connection: Any) -> list[Left]:
        go_on.set()
        return wait_for_writers(connection)

    monkeypatch.setattr(building, "fold", hold)
    monkeypatch.setattr("adapters.forgetting.wait_for_writers", wait_until_others_are_waited_for)
    with ThreadPoolExecutor(1) as threads:
        part = threads.submit(building._fold_a_part, office.log, build)
        assert has_read.wait(30)
        assert not erase(office).left
        assert part.result()
    assert office.ask("SELECT FROM read_model.users_2") == []


def test_a_letter_is_emptied_that_tells_of_the_subscription_or_was_called_erased(office: Office) -> None:
    some_users(office)
    office.tell(
        'INSERT INTO seatline.dead_letters (topic, partition, "offset", key, value, header_names, header_values,'
        " reason, state, decided_by, decided_because) VALUES"
        " ('c', 0, 0, 'SUB-1', 'paolaverdi', '{}', '{}', 'no JSON', 'skipped', 'olga', 'erased'),"
        " ('c', 0, 1, NULL, '{\"subscription_id\":\"SUB-1\",\"username\":\"paolaverdi\"', '{}', '{}', '', 'open',"
        " NULL, NULL),"
        " ('c', 0, 2, NULL, '{\"subscription_id\":\"SUB-10\"}', '{}', '{}', '', 'open', NULL, NULL)"
    )
    assert erase(office).dead_letters == 2
    assert office.ask('SELECT "offset" FROM seatline.dead_letters WHERE value IS NOT NULL') == [(2,)]


# Again, and afterwards


def test_erasing_again_does_nothing_more(office: Office) -> None:
    some_users(office)
    assert erase(office).events == 3
    head = office.log.head()
    assert erase(office).events == 0
    assert office.log.head() == head


@pytest.mark.parametrize("step", ["decide", "erase_rows", "scrub"])
def test_an_erasure_that_was_interrupted_is_finished_by_the_next(
    office: Office, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    some_users(office)
    office.drain(office.projections())
    rebuild(office.log, VIEWS["users"], lambda done, goal: None)
    office.order_seats(1)
    office.drain(office.email())
    office.tell("UPDATE seatline.effects SET error = '550 annabianchi'")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"adapters.forgetting.{step}", interrupted)
        with pytest.raises(KeyboardInterrupt):
            erase(office)
    written: list[str] = []
    now = datetime.combine(office.now.date(), office.now.time(), ROME)
    forget(office.log, office.another_clerk(), SUB, reason="again", operator="olga", time=now, progress=written.append)
    assert 'writing "seatline"."effects" anew' in written
    assert office.ask("SELECT error FROM seatline.effects") == [("erased",)]
    assert office.ask("SELECT FROM seatline.keys") == []
    assert office.ask("SELECT FROM read_model.users_1 UNION ALL SELECT FROM read_model.users_2") == []
    assert office.facts().count("PersonalDataErased") == 1


def test_whoever_comes_back_is_known_again_and_what_was_erased_stays_so(office: Office) -> None:
    some_users(office)
    erase(office)
    office.do("configure-user", username="annabianchi")
    assert users(office) == ["annabianchi"]
    first, *_, last = [event.event for event in office.log.page(0, 100)]
    assert isinstance(first, SubscriptionStarted)
    assert first.account_holder.name.startswith("pseudonym:")
    assert isinstance(last, UserConfigured)
    assert last.username == "annabianchi"
    assert erase(office).events > 0
    assert users(office) == []


def test_a_writer_that_still_has_the_key_decides_again_under_a_new_one(office: Office) -> None:
    number = some_users(office).order_seats(1)
    erase(office)
    # It looks at the order and at the payment, and at nothing that the erasure has changed but the key.
    office.pay(number, "1.00")
    assert office.clerk.conflicts == 1
    assert [event.envelope.actor for event in office.log.of_subject(SUB)][-2:] == ["anna", "anna"]


def test_who_was_in_the_way_is_kept_sealed_in_the_answer(office: Office) -> None:
    some_users(office)
    line = office.line("delete-user", username="marcorossi")
    [first], [again] = office.handle(line), office.handle(line)
    assert "marcorossi" in first["message"]["en"]
    assert again["message"] == first["message"]
    [(body,)] = office.ask("SELECT body FROM seatline.answers WHERE outcome = 'rejected'")
    assert "marcorossi" not in body
    erase(office)
    [again] = office.handle(line)
    assert (again["outcome"], again["original_outcome"], again["code"]) == ("duplicate", "rejected", "user_unknown")
    assert again["message"]["en"] == "This answer held personal data, which was erased."


def test_a_kept_answer_that_was_changed_is_named(office: Office) -> None:
    some_users(office)
    rejected = office.line("delete-user", username="nobodyofours", id="gone")
    office.handle(rejected)
    other = office.line("delete-user", username="nobodyeither", id="other")
    office.handle(other)
    office.tell(
        "UPDATE seatline.answers SET body = (SELECT body FROM seatline.answers WHERE command_id = 'other')"
        " WHERE command_id = 'gone'"
    )
    with pytest.raises(UnreadableEvent, match="command gone was changed"):
        office.handle(rejected)


def test_a_subscription_that_never_was_can_not_be_forgotten(office: Office) -> None:
    with pytest.raises(Unknown):
        erase(office)


def test_what_is_published_later_says_no_more_than_the_log(office: Office) -> None:
    some_users(office)

    def published() -> Iterator[tuple[str, bytes]]:
        for stored in office.log.stored_page(1, 2, WITH_ACTOR):
            data, said = headers(stored)
            yield json.loads(data)["username"], dict(said)["ce_actor"]

    assert list(published()) == [("annabianchi", b"anna"), ("brunoneri", b"anna")]
    erase(office)
    assert all(name.startswith("pseudonym:") and actor.startswith(b"pseudonym:") for name, actor in published())


# What is told about it


def test_events_from_before_there_were_keys_are_told(office: Office) -> None:
    stored = frozen.events("2026-11")
    frozen.load(office, stored)
    office.now = office.now.replace(year=2033)
    assert erase(office, "SUB-1001").in_plain > 3


def test_what_the_role_may_not_do_is_told_with_its_statement(office: Office) -> None:
    some_users(office)
    with connected(office.url) as connection:
        connection.execute("SET ROLE seatline_worker")
        left = scrub(connection, [sql.Identifier("seatline", "keys")], lambda step: None)
    assert [one.statement for one in left] == ["CHECKPOINT", "SELECT pg_switch_wal()"]


def test_whoever_still_looks_is_not_waited_for_for_ever_and_told_of(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_users(office)
    office.drain(office.projections())
    monkeypatch.setattr("adapters.postgres.erasing.PATIENCE", 0.2)
    with psycopg.connect(office.url) as looking:
        looking.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        looking.execute("SELECT FROM panel.users")
        whys = {why for why, _ in erase(office).left}
    assert whys == {
        "a transaction that began before still sees the deleted rows",
        "somebody else has been at the table all the time",
    }
    assert erase(office).left == []


# Under the seal


def test_what_is_sealed_counts_only_unchanged_and_in_its_place(office: Office) -> None:
    some_users(office)
    states = office.ask("SELECT convert_from(state, 'UTF8')::json FROM seatline.stored_events ORDER BY notification_id")
    [(_,), (second,), (third,)] = states
    for sealed in (second["sealed"][:-12] + second["sealed"][:12], third["sealed"]):
        state = json.dumps(second | {"sealed": sealed}, separators=(",", ":")).encode()
        office.tell("UPDATE seatline.stored_events SET state = %s WHERE notification_id = 2", state)
        with pytest.raises(UnreadableEvent, match="whose sealed part was changed: subscription/SUB-1@2, at position 2"):
            office.log.page(0, 100)


NOBODY_S = {
    "accepted_terms", "extends[]", "fraction", "hash", "method", "order_number", "payment_method", "permissions[]",
    "price_list", "reference", "service_id", "sku", "subscription_id",
}  # fmt: skip


def test_every_text_in_an_event_is_personal_or_known_not_to_be() -> None:
    for event in EVENTS:
        texts = {place for place, words in shape(event).items() if "str" in words.split(" = ")[0].split(" | ")}
        open_ = {place for place in texts if place.rpartition(".")[2] in NOBODY_S}
        said = {"reason", "operator"} if event is PersonalDataErased else set()
        assert texts - open_ - said == set(places(PERSONAL.get(event, {}))) - {"order_number"}


def places(within: Places, at: str = "") -> Iterator[str]:
    for name, inner in within.items():
        yield from [at + name] if callable(inner) else places(inner, f"{at}{name}.")


def test_workers_may_make_keys_and_destroy_none(office: Office) -> None:
    some_users(office)
    with psycopg.connect(office.url) as connection:
        connection.execute("SET ROLE seatline_worker")
        connection.execute("INSERT INTO seatline.keys VALUES ('subscription/X', decode(repeat('00', 32), 'hex'))")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT seatline.destroy_keys('subscription/SUB-1')")


@pytest.mark.slow
def test_after_an_erasure_the_history_is_still_the_one_that_was_sealed(office: Office, auditor: Auditor) -> None:
    some_users(office)
    assert auditor("seal").code == 0
    erased = auditor("erase", SUB, "--reason", "asked for", "--operator", "olga", "--json")
    assert (erased.code, erased.json["events"], erased.json["left"]) == (0, 3, [])
    assert auditor("verify").code == 0
    assert auditor("replay").code == 0
    assert "nothing: the key was gone already" in auditor("erase", SUB, "--reason", "once more").out
    assert auditor("erase", "SUB-9", "--reason", "asked for").code == 1
