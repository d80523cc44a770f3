"""Money from end to end: ordered, asked for by letter, paid as people pay, told by a bank, registered, on the panel."""

import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psycopg
import pytest
from mockbank.server import Config, make_server  # type: ignore[import-untyped]
from psycopg.rows import dict_row

from adapters.mail import MaildirMailer
from consumers.remittance import creditor_reference
from domain.kernel import ROME
from tests.consumers.test_remittance import body, scanned
from tests.office import BASE, SHOPFRONT, SUB, Office, service
from tests.test_command_line import Here, Seatline, here, seatline, written

__all__ = ["here", "seatline"]

DOCS = Path(__file__).parents[1] / "docs"
IBAN = SHOPFRONT.seller.iban
POSTAL_IBAN = "IT18Q0760103200000000123456"
"""Of the seller's postal account, whose number its last twelve digits are."""


class Bank:
    """The seller's bank, a server of its own; what it says is what any bank says."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url, self._folder = url, folder

    def open_account(self, iban: str) -> None:
        self._ask("/_mock/accounts", {"id": iban, "iban": iban, "name": SHOPFRONT.seller.name})

    def receive(self, amount: str, note: str = "", *, into: str = IBAN, **said: Any) -> None:
        """Somebody pays this much into this account; what else he says is `reference`, `debtor`, `wrap`."""
        sent = {"account": into, "amount": int(Decimal(amount) * 100)} | said
        self._ask("/_mock/credits", sent | {"note": note} if note else sent)

    def notifications(self) -> list[str]:
        """The camt.054 of each payment that has come in since they were last fetched."""
        return self._fetch("camt.054")

    def statement(self) -> str:
        """The camt.053 of the business day that ends now, of the account on which something happened."""
        self._ask("/_mock/advance?days=1", {})
        [statement] = [path for path in self._fetch("camt.053") if "<Ntry>" in Path(path).read_text()]
        return statement

    def _fetch(self, kind: str) -> list[str]:
        paths = []
        for message in self._ask(f"/_mock/mailbox?type={kind}"):
            path = self._folder / f"{kind}-{message['id']}.xml"
            path.write_text(message["body"])
            paths.append(str(path))
        return paths

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(self._url + path, data=data)) as answer:  # noqa: S310 its own address
            return json.load(answer)


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Bank]:
    server = make_server(Config(port=0, quiet=True, clock="2026-03-04T09:00"))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        bank = Bank(f"http://127.0.0.1:{server.server_address[1]}", tmp_path)
        bank.open_account(IBAN)
        bank.open_account(POSTAL_IBAN)
        yield bank
    finally:
        server.shutdown()
        server.server_close()


# Every kind of payer


def test_O6_every_cent_that_payers_send_ends_where_it_belongs(
    seatline: Seatline, here: Here, office: Office, bank: Bank
) -> None:
    office.now = (today := datetime.now(ROME)) - timedelta(days=40)
    fabio = ordered(office, "Fabio Galli", seats=6)
    office.now = today
    names = ("Anna Neri", "Bruno Riva", "Carla Po", "Dario Sala", "Elena Fo", "Hugo Ba", "Ivo Re")
    anna, bruno, carla, dario, elena, hugo, ivo = (
        ordered(office, name, seats=seats) for seats, name in enumerate(names, start=1)
    )
    gina = ordered(office, "Gina Lai", seats=1), ordered(office, "Gina Lai", seats=2)
    assert seatline("run", "--drain").code == 0

    def pays(name: str, amount: str, note: str = "", **said: Any) -> None:
        bank.receive(amount, note, debtor={"name": name}, **said)

    pays("Anna Neri", "14.64", reference=creditor_reference(anna))
    pays("RIVA BRUNO", "29.28", "grazie mille")
    pays("Studio Po", "43.92", f"ordine {carla[:-1]}{(int(carla[-1]) + 1) % 10}")
    pays("Dario Sala", "29.28", f"acconto ordine {dario}")
    for _ in range(2):
        pays("Elena Fo", "73.20", f"ordine {elena}")
    pays("Fabio Galli", "87.84", f"ordine {fabio}")
    pays("Gina Lai", "43.92", "ordini {} e {}".format(*gina))
    # The bank cuts what he wrote after 35 characters, which is after the first digit.
    pays("Hugo Ba", "87.84", f"Pagamento utenti aggiuntivi, ord. {hugo}", wrap=35)
    pays("Ivo Re", "105.00", f"saldo fattura ordine n. {ivo}/2026")

    told = here("payments", "import", *bank.notifications(), "--json", "--operator", "olga")
    office.drain(office.projections())
    assert ends(told.answers, office) == {
        "Anna Neri": ["paid: 14.64 allocated"],
        "RIVA BRUNO": [f"orphan, perhaps {bruno}: 29.28 unallocated"],
        "Studio Po": [f"orphan, perhaps {carla}: 43.92 unallocated"],
        "Dario Sala": ["partial: 29.28 allocated"],
        "Elena Fo": ["paid: 73.20 allocated", "surplus: 73.20 refundable"],
        "Fabio Galli": ["late: 87.84 refundable"],
        "Gina Lai": ["paid: 43.92 allocated"],
        "Hugo Ba": ["paid: 87.84 allocated"],
        "Ivo Re": ["surplus: 102.48 allocated, 2.52 refundable"],
    }
    assert told.code == 1
    everything = counted(here, office)
    assert everything["received"] == Decimal("588.12")

    again = here("payments", "import", bank.statement(), "--json")
    assert (again.code, {row["became"] for row in again.answers}) == (0, {"already registered"})
    assert len(again.answers) == len(told.answers)
    assert counted(here, office) == everything

    clear_the_work_list(here, office, {"RIVA BRUNO": bruno, "Studio Po": carla}, told.answers)
    pays("Dario Sala", "29.28", "saldo", reference=creditor_reference(dario))
    assert here("payments", "import", bank.statement()).code == 0
    assert seatline("run", "--drain").code == 0
    assert here("payments", "list").out == "No payment waits for anybody.\n"
    cleared = counted(here, office)
    assert (cleared["received"], cleared["refunded"]) == (Decimal("617.40"), Decimal("163.56"))
    assert cleared["received"] == cleared["allocated"] + cleared["refunded"]
    assert {row["order_number"] for row in office.view("orders") if row["status"] != "fulfilled"} == {fabio}


def ordered(office: Office, name: str, *, seats: int) -> str:
    """An order by this account holder, whose subscription begins with the first one; its number."""
    whose = {"subscription_id": f"SUB-{name.split()[0]}"}
    if not office.books.subscription(whose["subscription_id"]).exists:
        holder = {"name": name, "email": "ordini@studio.example", "language": "it"}
        office.start(service(BASE, "2199-06-30"), account_holder=holder, **whose)
    return office.order_seats(seats, extend=False, **whose)


def ends(told: list[dict[str, Any]], office: Office) -> dict[str, list[str]]:
    """What an import tells of each payer's payments, and where the panel's rows say that their money is."""
    rows = {row["reference"]: row for row in office.view("payments")}
    ends = defaultdict(list)
    for one in told:
        row, hint = rows[one["reference"]], "".join(f", perhaps {number}" for number in one["suggestions"])
        places = ("allocated", "refundable", "unallocated", "refunded")
        money = ", ".join(f"{row[place]} {place}" for place in places if row[place])
        ends[one["payer"]].append(f"{one['became']}{hint}: {money}")
    return ends


def counted(here: Here, office: Office) -> dict[str, Any]:
    """The sums of the documented query, as who may read the panel asks it; the events add up to the same."""
    office.drain(office.projections())
    [query] = re.findall(r"```sql\n(.+?)```", (DOCS / "payments.md").read_text(), re.DOTALL)
    with psycopg.connect(office.url, row_factory=dict_row) as connection:
        connection.execute("SET ROLE panel_reader")
        [sums] = connection.execute(query).fetchall()
    assert sums["received"] == sum(sums[place] for place in ("allocated", "refundable", "unallocated", "refunded"))
    assert (sums["astray"], sums["in_orders"]) == (0, sums["allocated"])
    replayed = here("audit", "replay", "--json").json
    assert not replayed["differences"]
    assert {place: Decimal(amount) for place, amount in replayed["money"].items()}.items() <= sums.items()
    return dict(sums)


def clear_the_work_list(here: Here, office: Office, meant: dict[str, str], told: list[dict[str, Any]]) -> None:
    """What a person does about all that an import has left: match what was meant, pay back what is too much."""
    for one in told:
        if one["became"] == "orphan":
            assert here("payments", "match", one["reference"], meant[one["payer"]]).code == 0
    office.drain(office.projections())
    for due in here("payments", "refund-due", "--json").json:
        assert here("payments", "refund", due["reference"], due["refund"]).code == 0


# Every method


@dataclass(frozen=True)
class Customer:
    """Somebody who buys three seats and pays them with nothing but what a letter says."""

    here: Here
    office: Office
    folder: Path
    bank: Bank

    def order(self, method: str) -> None:
        self.office.now = datetime.now(ROME) - timedelta(minutes=20)  # who can pay at once is left alone for a while
        start = self.office.line("start-subscription", services=[service(BASE, "2199-06-30")])
        choices = [self.office.line("open-cart"), self.office.line("choose-seats", quantity=3)]
        self.send(start, *choices, self.office.line("place-order", payment_method=method))

    def send(self, *lines: bytes) -> None:
        assert self.here("send", written(self.folder / "commands.jsonl", lines)).code == 0

    def letter(self) -> EmailMessage:
        """The one letter that has come since the last was read."""
        self.office.now = datetime.now(ROME)
        mailer = MaildirMailer(self.folder / "mail")
        team = (self.office.projections(), self.office.activation(), self.office.calendar())
        self.office.drain(*team, self.office.email(mailer.send))
        [file] = (self.folder / "mail" / "new").iterdir()
        return message_from_bytes(file.rename(file.parents[1] / "cur" / file.name).read_bytes(), policy=default)

    def seats(self) -> dict[str, Any]:
        return dict(self.here("panel", SUB, "--json").json["seats"])


@pytest.fixture
def customer(here: Here, office: Office, tmp_path: Path, bank: Bank) -> Customer:
    return Customer(here, office, tmp_path, bank)


def by_the_qr_code(letter: EmailMessage, bank: Bank) -> list[str]:
    *_, iban, amount, _, reference = scanned(letter)
    bank.receive(amount.removeprefix("EUR"), into=iban, reference=reference)
    return bank.notifications()


def by_typing_the_transfer(letter: EmailMessage, bank: Bank) -> list[str]:
    read = table(letter)
    bank.receive(euros(read["Importo"]), read["Causale"], into=read["IBAN"].replace(" ", ""))
    return bank.notifications()


def by_typing_the_structured_reference(letter: EmailMessage, bank: Bank) -> list[str]:
    read = table(letter)
    iban, reference = read["IBAN"].replace(" ", ""), read["Riferimento strutturato"]
    bank.receive(euros(read["Importo"]), f"Rif. {reference}", into=iban)
    return bank.notifications()


def by_the_slip_s_code_line(letter: EmailMessage, bank: Bank) -> list[str]:
    line = re.fullmatch(r"<([0-9]{18})> ([0-9]{8})\+([0-9]{2})> ([0-9]{12})< 896>", table(letter)["Riga di codice"])
    assert line
    code, whole, cents, account = line.groups()
    assert POSTAL_IBAN.endswith(account)
    bank.receive(f"{whole}.{cents}", into=POSTAL_IBAN, reference=code)
    return [*bank.notifications(), "--method", "postal_slip"]


def by_filling_in_a_slip(letter: EmailMessage, bank: Bank) -> list[str]:
    read = table(letter)
    assert POSTAL_IBAN.endswith(read["Conto corrente postale n."])
    bank.receive(euros(read["Importo"]), read["Causale"], into=POSTAL_IBAN)
    return [*bank.notifications(), "--method", "postal_slip"]


@pytest.mark.parametrize(
    ("method", "pay"),
    [
        ("bank_transfer", by_the_qr_code),
        ("bank_transfer", by_typing_the_transfer),
        ("bank_transfer", by_typing_the_structured_reference),
        ("postal_slip", by_the_slip_s_code_line),
        ("postal_slip", by_filling_in_a_slip),
    ],
)
def test_S2_who_pays_at_a_bank_what_the_letter_says_has_seats_when_its_statement_is_imported(
    customer: Customer, method: str, pay: Callable[[EmailMessage, Bank], list[str]]
) -> None:
    customer.order(method)
    statements = pay(customer.letter(), customer.bank)
    assert customer.seats() | AWAITED == customer.seats()
    assert customer.here("payments", "import", *statements).code == 0
    assert "abbiamo registrato" in body(customer.letter())
    assert customer.seats() | THERE == customer.seats()
    assert customer.here("payments", "import", customer.bank.statement(), *statements[1:]).code == 0
    [payment] = customer.office.view("payments")
    assert (payment["allocated"], payment["refundable"]) == (payment["amount"], 0)


@pytest.mark.parametrize("method", ["card", "paypal", "mybank"])
def test_S2_who_pays_at_once_behind_the_letter_s_link_has_seats_when_the_provider_says_so(
    customer: Customer, method: str
) -> None:
    customer.order(method)
    letter = customer.letter()
    [link] = re.findall(r"^https://pay\S+$", body(letter), re.MULTILINE)
    paid = {
        "order_number": link.rpartition("/")[2],
        "amount": euros(table(letter)["Importo"]),
        "method": method,
        "reference": f"{method}:1",
    }
    assert customer.seats() | AWAITED == customer.seats()
    # Providers tell of a payment more than once.
    for _ in range(2):
        customer.send(customer.office.line("register-payment", **paid))
    assert "abbiamo registrato" in body(customer.letter())
    assert customer.seats() | THERE == customer.seats()


AWAITED = {"seats_purchased": 0, "seats_active": 0, "seats_pending": 3}
THERE = {"seats_purchased": 3, "seats_active": 3, "seats_pending": 0}


def table(letter: EmailMessage) -> dict[str, str]:
    """What the text of a letter puts into two columns."""
    return dict(re.findall(r"^  (\S.*?): +(\S.*)$", body(letter), re.MULTILINE))


def euros(amount: str) -> str:
    return amount.removesuffix("\u00a0€").replace(".", "").replace(",", ".")
