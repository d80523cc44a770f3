"""One order on the command line: for a person, for a program, and as the form that its customer got."""

import os
import subprocess
from datetime import timedelta
from email import message_from_bytes
from email.policy import default
from importlib.resources import files
from pathlib import Path

import pytest

from tests.office import SUB, Office
from tests.test_command_line import PROGRAM, Here, Seatline, here, seatline

__all__ = ["here", "seatline"]


@pytest.fixture
def order(office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    office.start(account_holder={"name": "Studio Verdi", "email": "verdi@studio.it", "language": "it"})
    return office.order_seats(3)


def sent_with(office: Office, letter: int = 0) -> tuple[str | None, bytes]:
    """The form that came with a letter: its name, and what is in it."""
    office.drain()
    read = message_from_bytes(office.mail[letter].as_bytes(), policy=default)
    [form] = read.iter_attachments()
    return form.get_filename(), form.get_content()


def test_an_order_is_shown_to_a_person_with_its_parties_its_arithmetic_and_its_terms(here: Here, order: str) -> None:
    out = " ".join(here("order", order).out.split())
    assert f"Order {order}" in out
    assert "status awaiting payment" in out
    assert "placed 2026-03-02 09:15" in out
    assert "account holder Studio Verdi <verdi@studio.it>" in out
    assert "terms 2026-01, accepted by Anna Bianchi" in out
    assert "payment bank transfer, payable until 2026-04-01" in out
    assert "paid 0.00 € of 64.39 €" in out
    assert "245/365 × 1 × 25.00 €" in out


def test_an_order_that_was_fulfilled_says_since_when_it_is_paid_and_what_it_brought(
    here: Here, office: Office, order: str
) -> None:
    office.on("2026-03-04").pay(order, "10.00", reference="CRO-1")
    office.on("2026-03-05").pay(order, reference="CRO-2")
    office.drain()
    out = " ".join(here("order", order).out.split())
    for said in ("status fulfilled", "paid 64.39 € of 64.39 €", "paid on 2026-03-05", "fulfilled until 2027-03-05"):
        assert said in out
    assert "10.00 € from CRO-1" in out
    assert "54.39 € from CRO-2" in out


def test_a_program_reads_the_same_and_the_whole_quote(here: Here, office: Office, order: str) -> None:
    office.pay(order, "10.00", reference="CRO-1")
    told = here("order", order, "--json").json
    quote = told.pop("quote")
    assert (quote["total"], quote["hash"]) == ("64.39", office.books.order(order).placed.quote.hash)
    assert told == {
        "order_number": order,
        "subscription_id": SUB,
        "status": "awaiting_payment",
        "placed_at": "2026-03-02T09:15:00+01:00",
        "account_holder": {
            "name": "Studio Verdi",
            "email": "verdi@studio.it",
            "language": "it",
            "tax_code": None,
            "vat_number": None,
        },
        "accepted_terms": "2026-01",
        "accepted_by": "Anna Bianchi",
        "payment_method": "bank_transfer",
        "lapses_on": "2026-04-01",
        "paid": "10.00",
        "payments": [{"reference": "CRO-1", "amount": "10.00"}],
        "paid_on": None,
        "expires_on": None,
    }


def test_O1_the_form_is_the_one_that_the_instructions_brought(
    here: Here, office: Office, order: str, tmp_path: Path
) -> None:
    name, form = sent_with(office)
    assert here("order", order, "--pdf").out == f"order form: ordine-{order}.pdf\n"
    assert name == f"ordine-{order}.pdf"
    assert (tmp_path / name).read_bytes() == form
    office.on("2026-03-05").pay(order)
    office.drain()
    assert here("order", order, "--pdf", "later.pdf", "--json").json == {"order_number": order, "file": "later.pdf"}
    assert (tmp_path / "later.pdf").read_bytes() == form, "what was agreed stays as it was"


def test_who_paid_at_once_got_the_form_of_the_time_of_the_order(here: Here, office: Office, order: str) -> None:
    number = office.order_seats(1, extend=False, method="card")
    office.now += timedelta(minutes=5)
    office.pay(number, method="card")
    _, form = sent_with(office, -1)
    assert here("order", number, "--pdf", "form.pdf").code == 0
    assert Path("form.pdf").read_bytes() == form


def test_a_form_goes_to_standard_output_for_other_programs(seatline: Seatline, office: Office, order: str) -> None:
    _, form = sent_with(office)
    with seatline.running("order", order, "--pdf", "-") as process:
        out, _ = process.communicate(timeout=60)
    assert out == form


def test_output_that_finds_no_space_is_said_in_one_line(seatline: Seatline, order: str) -> None:
    for form in ((), ("--pdf", "-")):
        with open("/dev/full", "wb") as full:
            command = [PROGRAM, "order", order, *form]
            done = subprocess.run(
                command, env=seatline.environment({}), stdout=full, stderr=subprocess.PIPE, check=False
            )
        assert (done.returncode, done.stderr.count(b"\n"), b"no space" in done.stderr) == (3, 1, True)


def test_a_command_whose_output_was_closed_does_what_it_is_for(seatline: Seatline, order: str) -> None:
    command = ["sh", "-c", f"exec {PROGRAM} order {order} >&-"]
    done = subprocess.run(command, env=seatline.environment({}), stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_form_replaces_a_file_at_once_and_leaves_nothing_else_behind(here: Here, order: str, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "kept.pdf").write_text("older")
    (tmp_path / "old" / "kept.pdf").chmod(0o600)
    (tmp_path / "form.pdf").symlink_to(tmp_path / "old" / "kept.pdf")
    assert here("order", order, "--pdf", "form.pdf").code == 0
    assert (tmp_path / "old" / "kept.pdf").read_bytes().startswith(b"%PDF-1.7")
    assert os.listdir(tmp_path / "old") == ["kept.pdf"]
    assert (tmp_path / "old" / "kept.pdf").stat().st_mode & 0o777 == 0o600, "who could read the old one reads the new"
    assert (tmp_path / "form.pdf").is_symlink()


@pytest.mark.parametrize("name", ["\udcff.pdf", "new\nline.pdf", "\x1b[31m.pdf", "round.pdf"])
def test_a_form_is_written_to_a_file_of_any_name_and_said_in_one_line(
    here: Here, order: str, tmp_path: Path, name: str
) -> None:
    (tmp_path / "round.pdf").symlink_to("round.pdf")
    said = here("order", order, "--pdf", name).out
    assert said.removesuffix("\n").isprintable()
    assert here("order", order, "--pdf", name, "--json").json["order_number"] == order
    assert (tmp_path / name).read_bytes().startswith(b"%PDF-1.7")


def test_a_form_never_goes_through_a_link_that_waits_for_it(here: Here, order: str, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    (tmp_path / f".form.pdf.{os.getpid()}").symlink_to("kept")
    assert "File exists" in here("order", order, "--pdf", "form.pdf").complaint
    assert (tmp_path / "kept").read_text() == "kept"
    assert here("order", order, "--pdf", "form.pdf").code == 0


def test_a_form_that_has_no_place_is_refused_in_one_line(here: Here, order: str, tmp_path: Path) -> None:
    for place, reason in ((tmp_path, "Is a directory"), (tmp_path / "no" / "form.pdf", "No such file or directory")):
        refused = here("order", order, "--pdf", str(place))
        assert (refused.code, refused.complaint) == (2, f"{place}: can't be written ({reason})")
    assert os.listdir(tmp_path) == []


def test_an_order_that_is_not_there_is_said_in_one_line(here: Here, office: Office) -> None:
    for number in ("1000003", "order", "1\n2", "\u0661", ""):
        refused = here("order", number, "--pdf")
        assert (refused.code, refused.complaint.startswith("there is no order ")) == (1, True)


def test_an_order_of_somebody_forgotten_is_shown_without_him_and_has_no_form(
    here: Here, order: str, tmp_path: Path
) -> None:
    assert here("audit", "erase", SUB, "--reason", "asked for", "--yes").code == 0
    out = " ".join(here("order", order).out.split())
    assert "account holder [erased]" in out
    assert "accepted by [erased]" in out
    assert "64.39 €" in out
    assert here("order", order, "--json").json["account_holder"] is None
    refused = here("order", order, "--pdf")
    assert (refused.code, "forgotten" in refused.complaint) == (1, True)
    assert not list(tmp_path.glob("*.pdf"))


def test_what_left_the_price_list_is_called_by_its_code(here: Here, order: str, tmp_path: Path) -> None:
    listed = (files("adapters") / "price_list.toml").read_text(encoding="utf-8")
    (tmp_path / "prices.toml").write_text(listed.replace('"fe-', '"new-'), encoding="utf-8")
    out = here("order", order, SEATLINE_PRICE_LIST=str(tmp_path / "prices.toml")).out
    assert "3 × fe-utente" in out


def test_a_renewal_says_whether_its_services_end_together(here: Here, office: Office) -> None:
    office.start()
    assert "not aligned" in here("order", office.order_renewal(S1=1)).out
