"""Statements on the command line, and what a person decides about money that found no order."""

import os
from pathlib import Path
from typing import Any

import pytest

from scripts.torments.wire import Wire
from tests.bank import batch, entry, written
from tests.office import Office, until
from tests.test_command_line import Here, Seatline, ended, here, seatline

__all__ = ["here", "seatline"]


@pytest.fixture
def order(office: Office) -> str:
    # The program decides by the clock, and an order lapses after thirty days.
    office.now = office.now.now(office.now.tzinfo)
    office.start({"sku": "fe-solo-ricezione", "quantity": 1, "expires_on": "2199-06-30"})
    return office.order_seats(3, extend=False)


def test_an_import_tells_what_became_of_each_payment_and_what_they_add_up_to(
    here: Here, office: Office, order: str, tmp_path: Path
) -> None:
    day = written(
        tmp_path, entry("43.92", order), entry("5.00", "grazie"), batch("9.00", count=3), entry("1", sign="DBIT")
    )
    looked = here("payments", "import", str(day), "--dry-run")
    assert (looked.code, office.facts().count("PaymentRegistered")) == (1, 0)

    done = here("payments", "import", str(day), "--operator", "bruno")
    assert done.code == 1
    assert "left out: batch without amounts: 1, 9.00 EUR" in done.out
    assert "orphan: 1, 5.00 EUR" in done.out
    assert "paid: 1, 43.92 EUR" in done.out
    assert "all booked credits in euro: 3, 57.92 EUR" in done.out

    whole = written(tmp_path, entry("43.92", "", ref="N1"), name="again.xml")
    again = here("payments", "import", str(whole), str(whole), "--json")
    assert [(row["became"], row["amount"]) for row in again.answers] == [
        ("orphan", "43.92"),
        ("already registered", "43.92"),
    ]
    assert here("payments", "import", str(whole)).code == 0
    quiet = here("payments", "import", str(written(tmp_path, name="quiet.xml")))
    assert (quiet.code, quiet.out.splitlines()[-1]) == (0, "all booked credits in euro: 0, 0.00 EUR")


def test_nothing_is_registered_if_one_of_the_files_is_refused(
    here: Here, office: Office, order: str, tmp_path: Path
) -> None:
    good, bad = written(tmp_path, entry("43.92", order)), tmp_path / "bad.xml"
    bad.write_bytes(good.read_bytes()[:-9])
    refused = here("payments", "import", str(good), str(bad))
    assert refused.code == 2
    assert "bad.xml: not well-formed XML" in refused.complaint
    assert "PaymentRegistered" not in office.facts()


def test_a_person_matches_takes_back_splits_and_refunds(here: Here, office: Office, order: str, tmp_path: Path) -> None:
    office.pay("grazie", "20.00", reference="ORPHAN")
    office.drain(office.projections())
    [orphan] = here("payments", "list", "--state", "orphan", "--json").json
    assert (orphan["reference"], orphan["unallocated"]) == ("ORPHAN", "20.00")

    operator = ("--operator", "bruno")
    assert here("payments", "match", "ORPHAN", order, *operator).out == "ORPHAN: match – partial\n"
    office.drain(office.projections())
    [partial] = here("payments", "list", "--json").json
    assert (partial["reference"], partial["state"]) == ("ORPHAN", "partial")
    assert here("payments", "unmatch", "ORPHAN", order, *operator).code == 0
    refused = here("payments", "match", "ORPHAN", "1000003")
    assert (refused.code, "(order_unknown)" in refused.out) == (1, True)

    assert here("payments", "split", "ORPHAN", f"{order}=15.00", *operator).code == 0
    office.pay(order, "43.92", reference="TWICE")
    office.drain(office.projections())
    [due] = here("payments", "refund-due", "--json").json
    assert (due["reference"], due["refund"], due["state"]) == ("TWICE", "15.00", "surplus")
    assert here("payments", "refund", "TWICE", "15.00", *operator).code == 0
    assert here("payments", "refund", "TWICE", "0.01", *operator).code == 1
    office.drain(office.projections())
    assert here("payments", "refund-due").out == "No payment waits for anybody.\n"
    sums = office.ask("SELECT sum(amount), sum(allocated + refundable + unallocated + refunded) FROM panel.payments")
    assert sums[0][0] == sums[0][1]
    assert {e.operator for e in office.events() if hasattr(e, "operator")} == {"bruno"}


def test_a_split_payment_is_partial_work_for_each_order_that_it_has_not_paid(
    here: Here, office: Office, order: str
) -> None:
    other = office.order_seats(1, extend=False)
    office.pay("due ordini", "40.00", reference="BOTH")
    assert here("payments", "split", "BOTH", f"{order}=25.00", f"{other}=14.64").code == 0
    office.drain(office.projections())
    worked = [{name: row[name] for name in ("order_number", "allocated", "missing", "state")} for row in listed(here)]
    assert worked == [
        {"order_number": order, "allocated": "25.00", "missing": "18.92", "state": "partial"},
        {"order_number": "due ordini", "allocated": "39.64", "missing": None, "state": "orphan"},
    ]
    assert [row["reference"] for row in listed(here, "--state", "partial")] == ["BOTH"]

    # What is paid back from the same payment, or another that completes the order, is no part of that work.
    office.do("refund-payment", reference="BOTH", amount="0.36")
    office.drain(office.projections())
    [row] = listed(here)
    assert (row["order_number"], row["lapses_on"]) == (
        order,
        str(office.row("orders", order_number=order)["lapses_on"]),
    )
    office.pay(order)
    office.drain(office.projections())
    assert not listed(here)


def test_a_list_says_how_far_behind_it_is(here: Here, office: Office, order: str) -> None:
    office.drain(office.projections())
    assert here("payments", "list").err == ""
    office.pay("grazie", "20.00", reference="ORPHAN")
    behind = here("payments", "list", "--json")
    assert behind.json == []
    assert behind.err.startswith("seatline: 1 of 7 events are not in this list yet; `seatline run projections`")


@pytest.mark.parametrize("operator", ["bruno\nanna", "\x1b[31mbruno", "b" * 201])
def test_an_operator_is_named_in_one_line(here: Here, operator: str) -> None:
    refused = here("payments", "match", "R1", "1000002", "--operator", operator)
    assert (refused.code, refused.complaint) == (2, "--operator: a name is one line of at most 200 characters")


def test_a_file_that_is_refused_is_named_in_one_line(here: Here, tmp_path: Path) -> None:
    refused = here("payments", "import", f"{tmp_path}/no\nsuch\x1b[31m.xml")
    assert refused.complaint.endswith("/no\\nsuch\\u001b[31m.xml: No such file or directory; nothing was registered")


def listed(here: Here, *arguments: str) -> list[dict[str, Any]]:
    return list(here("payments", "list", "--json", *arguments).json)


def test_an_import_that_lost_its_database_is_run_again_and_registers_each_payment_once(
    seatline: Seatline, here: Here, office: Office, wire: Wire, tmp_path: Path
) -> None:
    day = str(written(tmp_path, *(entry("1.00", "grazie", ref=f"R{number}") for number in range(1_000))))
    with seatline.running(
        "payments", "import", day, SEATLINE_DATABASE_URL=wire.url, SEATLINE_BATCH_SIZE="20"
    ) as process:
        until(lambda: "PaymentRegistered" in office.facts())
        wire.cut()
        done = ended(process)
    assert done.code == 3
    assert "run the same command again" in done.err
    before = office.facts().count("PaymentRegistered")
    assert 0 < before < 1_000
    assert f"already registered: {before}, {before}.00 EUR" in here("payments", "import", day).out
    assert office.facts().count("PaymentRegistered") == 1_000


def test_a_file_that_changes_while_it_is_imported_is_named_and_one_that_can_be_read_only_once_is_refused(
    seatline: Seatline, here: Here, office: Office, tmp_path: Path
) -> None:
    day = written(tmp_path, *(entry("1.00", "grazie", ref=f"R{number}") for number in range(300)))
    whole = day.read_bytes()
    with seatline.running("payments", "import", str(day), SEATLINE_BATCH_SIZE="20") as process:
        with office.writers_held() as waiting:
            until(waiting)
            day.write_bytes(whole[: len(whole) // 2])
        done = ended(process)
    assert done.code == 2
    assert "statement.xml has changed since it was checked: not well-formed XML" in done.err
    day.write_bytes(whole)
    assert "all booked credits in euro: 300, 300.00 EUR" in here("payments", "import", str(day)).out
    assert office.facts().count("PaymentRegistered") == 300

    os.mkfifo(tmp_path / "pipe")
    assert "not a plain file, which can be read twice" in here("payments", "import", str(tmp_path / "pipe")).complaint
