"""Forgetting: after an erasure nobody is found any more, wherever one looks, and all else is as it was."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from adapters.embedded import embedded_postgres, temporary_home
from adapters.forgetting import Forgotten, Unknown, forget
from adapters.panel import panel_now, panel_then
from adapters.postgres.database import connected, prepare
from adapters.postgres.rebuild import rebuild, roll_back
from adapters.postgres.views import create_views
from domain.kernel import ROME
from projections.catalogue import VIEWS
from tests.office import BASE, SEAT, Office, Reply, an_office, service

SUB, OTHER = "SUB-1", "SUB-2"
MARK = re.compile(rb"QZ\d{3}")


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
    for _ in range(2):
        do(office, "open-cart", **whose)
        do(office, "switch-alignment", extend=False, **whose)
        do(office, "choose-seats", quantity=2, **whose)
        order = do(office, "place-order", accepted_by=planted(), **whose)["data"]["order_number"]
        do(office, "register-payment", order_number=planted("dal {}"), amount="5.00", reference=f"B-{sub}-{order}")
        do(office, "match-payment", reference=f"B-{sub}-{order}", order_number=order, operator=planted())
    do(office, "cancel-order", order_number=order, reason=planted("{} si è stancata"))
    do(office, "refund-payment", reference=f"B-{sub}-{order}", amount="5.00", operator=planted())


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
            'INSERT INTO seatline.dead_letters (topic, partition, "offset", key, value, header_names, header_values, reason)'
            " VALUES ('c', 0, 0, 'x', %s, '{}', '{}', 'no JSON'), ('c', 0, 1, 'SUB-1', %s, '{}', '{}', 'no JSON'),"
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
        assert len(planted.marks) >= 50
        assert len(planted.found_in(home)) >= 15, "as long as nobody erases, people are in views, letters and errors"
        of_others = told(office, OTHER)

        erased = erase(office)
        assert planted.found_in(home) == set()
        assert not erased.left and not erased.in_plain
        assert (erased.dead_letters, len(erased.payments)) == (2, 2)

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
