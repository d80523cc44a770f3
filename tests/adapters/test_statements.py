"""Bank statements: what is read, which orders it is for, and where every cent of it ends."""

import re
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from stdnum.iso7064 import mod_97_10

from adapters.statements import importing
from adapters.statements.camt import Credit, NotTaken, check, read
from adapters.statements.entries import UnreadableStatement
from adapters.statements.importing import Importer, Outcome
from adapters.statements.matching import named
from domain.order_number import check_digit
from tests.bank import batch, entry, statement, transaction, written
from tests.office import Office

TOTAL = "64.39"
"""What an order of three seats costs."""


class Till:
    """Somebody who imports statements, and counts the money after each."""

    def __init__(self, office: Office, folder: Path) -> None:
        self.office, self.folder = office, folder
        self.importer = Importer(office.log, office.another_clerk(), "bruno", clock=lambda: office.now)
        self.received = Decimal(0)

    def order(self) -> str:
        return self.office.order_seats(3)

    def take(self, *entries: str, kind: str = "053", version: int = 8) -> list[Outcome]:
        self.office.drain(self.office.projections())
        path = written(self.folder, *entries, kind=kind, version=version)
        check(path)
        outcomes = self.importer.register([credit for credit in read(path) if isinstance(credit, Credit)])
        fresh = [one for one in outcomes if one.became not in ("already registered", "refused")]
        self.received += sum((one.credit.amount for one in fresh), Decimal(0))
        self.every_cent_is_where_it_belongs()
        return outcomes

    def read(self, *entries: str) -> list[Credit | NotTaken]:
        return list(read(written(self.folder, *entries)))

    def one(self, *entries: str, kind: str = "053", version: int = 8) -> Outcome:
        [outcome] = self.take(*entries, kind=kind, version=version)
        return outcome

    def every_cent_is_where_it_belongs(self) -> None:
        self.office.drain(self.office.projections())
        [(received, placed, allocated)] = self.office.ask(
            "SELECT coalesce(sum(amount), 0), coalesce(sum(allocated + refundable + unallocated + refunded), 0),"
            " coalesce(sum(allocated), 0) FROM panel.payments"
        )
        [(paid,)] = self.office.ask("SELECT coalesce(sum(paid), 0) FROM panel.orders")
        assert (received, allocated) == (placed, paid)
        assert received == self.received

    def state(self, order: str) -> str:
        return str(self.office.row("orders", order_number=order)["status"])


@pytest.fixture
def till(office: Office, tmp_path: Path) -> Iterator[Till]:
    office.start()
    yield Till(office, tmp_path)
    office.check_log()


def rf(number: str) -> str:
    return f"RF{mod_97_10.calc_check_digits(f'{number}RF')}{number}"


def mistyped(number: str) -> str:
    return number[:-1] + str((int(number[-1]) + 1) % 10)


def entries(folder: Path, *written_: str, version: int = 8) -> list[Credit | NotTaken]:
    return list(read(written(folder, *written_, version=version)))


# What is read


@pytest.mark.parametrize("version", range(2, 13))
@pytest.mark.parametrize("kind", ["053", "054"])
def test_every_version_of_statement_and_notification_says_the_same(tmp_path: Path, kind: str, version: int) -> None:
    one = entry("64.39", "ordine 1000002", version=version, ref="B1", structured="RF18", end_to_end="E2E")
    [credit] = read(written(tmp_path, one, kind=kind, version=version))
    assert isinstance(credit, Credit)
    assert credit == Credit(
        reference=credit.reference,
        booked="2026-03-04",
        value_date="2026-03-04",
        amount=Decimal("64.39"),
        structured="RF18",
        remittance="ordine 1000002",
        notes="E2E",
        payer="Anna Verdi",
        method="bank_transfer",
    )
    assert credit.reference.endswith(":B1")


def test_a_statement_is_read_however_it_is_encoded_and_its_elements_are_prefixed(tmp_path: Path) -> None:
    plain = statement(entry("1.00", "è per l'ordine", ref="B1")).decode()
    prefixed = re.sub(r"<(/?)(?=[A-Z])", r"<\1camt:", plain).replace("xmlns=", "xmlns:camt=")
    path, found = tmp_path / "statement.xml", list[Credit | NotTaken]()
    for content in (
        plain.encode(),
        plain.encode("utf-8-sig"),
        plain.replace("UTF-8", "UTF-16").encode("utf-16"),
        plain.replace("UTF-8", "ISO-8859-1").encode("latin-1"),
        prefixed.encode(),
        re.sub(r' xmlns="[^"]+"', "", plain).encode(),
    ):
        path.write_bytes(content)
        found += read(path)
    assert len(found) == 6
    assert len(set(found)) == 1


@pytest.mark.parametrize("version", [2, 4, 8])
def test_a_batch_is_taken_apart_by_its_amounts(tmp_path: Path, version: int) -> None:
    parts = [transaction(amount, text, version=version) for amount, text in (("10", "a"), ("20.5", "b"), ("10", "a"))]
    found = entries(tmp_path, batch("40.50", *parts, version=version), version=version)
    assert [(c.amount, c.remittance) for c in found if isinstance(c, Credit)] == [
        (Decimal("10.00"), "a"),
        (Decimal("20.50"), "b"),
        (Decimal("10.00"), "a"),
    ]
    assert len({c.reference for c in found if isinstance(c, Credit)}) == 3


def test_a_batch_whose_amounts_are_missing_or_do_not_add_up_is_reported_and_never_guessed(tmp_path: Path) -> None:
    found = entries(
        tmp_path,
        batch("30.00", count=2),
        batch("30.00", transaction(None, "a"), transaction("30.00", "b")),
        batch("30.00", transaction("10.00", "a"), transaction("10.00", "b")),
    )
    assert [one.why for one in found if isinstance(one, NotTaken)] == ["batch_without_amounts"] * 3


def test_pending_entries_and_debits_are_no_credits_and_reversals_and_other_money_are_reported(tmp_path: Path) -> None:
    found = entries(
        tmp_path,
        entry("1.00", status="PDNG"),
        entry("2.00", status="INFO"),
        entry("3.00", sign="DBIT"),
        entry("4.00", reversal=True),
        entry("5.00", sign="DBIT", reversal=True),
        entry("6.00", currency="CHF"),
        entry("7.00"),
    )
    assert [one.why if isinstance(one, NotTaken) else one.amount for one in found] == [
        "reversal",
        "reversal",
        "currency",
        Decimal("7.00"),
    ]


def test_a_slip_with_a_code_line_came_by_post(tmp_path: Path) -> None:
    [slip] = entries(tmp_path, entry("1.00", code="VCOM"))
    assert isinstance(slip, Credit)
    assert slip.method == "postal_slip"


def test_equal_payments_are_two_and_have_the_same_references_each_time(tmp_path: Path) -> None:
    for ref in ("", "NONREF", "B7", "an & unfit reference"):
        twice = [entry("5.00", "x", ref=ref.replace("&", "&amp;")) for _ in range(2)]
        first, second = entries(tmp_path, *twice)
        assert [first, second] == entries(tmp_path, *twice)
        assert isinstance(first, Credit)
        assert isinstance(second, Credit)
        assert first.reference != second.reference
        assert max(len(first.reference), len(second.reference)) <= 64


def test_the_same_bank_reference_on_two_accounts_is_two_payments(tmp_path: Path) -> None:
    references = set()
    for account in ("IT1", "IT2"):
        (tmp_path / account).write_bytes(statement(entry("5.00", ref="1"), account=account))
        references |= {one.reference for one in read(tmp_path / account) if isinstance(one, Credit)}
    assert len(references) == 2


def test_an_account_is_the_same_however_much_is_said_of_it(tmp_path: Path) -> None:
    told = statement(entry("5.00", ref="1"))
    (tmp_path / "long").write_bytes(told)
    (tmp_path / "short").write_bytes(told.replace(b"<Ccy>EUR</Ccy>", b""))
    assert list(read(tmp_path / "long")) == list(read(tmp_path / "short"))


def test_whoever_waits_for_a_check_is_told_how_far_it_is(tmp_path: Path) -> None:
    path = written(
        tmp_path, *[entry("5.00", "x" * 1000)] * 100, entry("1.00", sign="DBIT"), entry("1.00", currency="USD")
    )
    told: list[tuple[int, int]] = []
    assert check(path, lambda done, size: told.append((done, size))) == 101
    assert told[0] < told[-1] == (path.stat().st_size, path.stat().st_size)


def test_control_characters_never_get_into_the_payers_words(tmp_path: Path) -> None:
    [credit] = entries(tmp_path, entry("1.00", "a\n\tb &#x85;c"))
    assert isinstance(credit, Credit)
    assert "\n" not in credit.typed


# What is refused whole

BOMB = '<!DOCTYPE d [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
OUTSIDE = '<!DOCTYPE d SYSTEM "http://192.0.2.1/evil.dtd">'
FILE = '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("prolog", [BOMB, OUTSIDE, FILE, "<!DOCTYPE Document>"])
@pytest.mark.parametrize("text", ["x", "&c;&x;"])
def test_a_file_with_a_document_type_is_refused_whole(tmp_path: Path, prolog: str, text: str) -> None:
    hostile = tmp_path / "hostile.xml"
    hostile.write_bytes(statement(entry("1.00", "HERE"), prolog=prolog).replace(b"HERE", text.encode()))
    with pytest.raises(UnreadableStatement, match=r"document type|not well-formed"):
        check(hostile)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (statement(entry("1.00"))[:-20], "not well-formed"),
        (statement(entry("1.00"))[:-20].replace(b"<Ntry>", b"<Ntry><X>"), "not well-formed"),
        (b"", "not well-formed"),
        (b"\x00\x01", "not well-formed"),
        (b"id;amount\n1;2\n", "not well-formed"),
        (b"<Document><CstmrCdtTrfInitn/></Document>", "no camt"),
        (b"<Acct/>", "no camt"),
        (b"<Ntry/>", "without account"),
        (b"<Stmt>" + entry("1.00").encode() + b"<Acct/></Stmt>", "without account"),
        (b"<D><Stmt><Acct>1</Acct></Stmt><Stmt>" + entry("1.00").encode() + b"</Stmt></D>", "without account"),
        (statement(entry("1,00")), "is no amount"),
        (statement(entry("1e9")), "is no amount"),
        (b"<a>" * 5000, "not well-formed"),
        (statement(entry("1.00", "&nothing;".replace("&", "\x01"))), "not well-formed"),
    ],
)
def test_a_file_that_is_no_statement_is_refused_with_a_line_that_says_why(
    tmp_path: Path, content: bytes, why: str
) -> None:
    path = tmp_path / "file.xml"
    path.write_bytes(content)
    with pytest.raises(UnreadableStatement, match=why) as refused:
        check(path)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_too_large_is_not_even_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.statements.entries.LARGEST", 100)
    with pytest.raises(UnreadableStatement, match="split the file"):
        check(written(tmp_path, entry("1.00")))
    with pytest.raises(UnreadableStatement, match="No such file"):
        check(tmp_path / "missing.xml")


@pytest.mark.parametrize("filling", ["<Bal/>" * 100_000, "<Ntry><NtryDtls>" + "<TxDtls/>" * 70_000])
def test_a_file_in_which_no_entry_ends_is_refused_before_it_fills_the_memory(
    tmp_path: Path, filling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.statements.entries.LARGEST_ENTRY", 500_000)
    path = written(tmp_path, entry("1.00"), filling)
    with pytest.raises(UnreadableStatement, match="no entry ends within 500,000 bytes"):
        check(path)


# Which orders a text names


@pytest.mark.parametrize(
    "text",
    [
        "1000002",
        "ordine n. 1000002 del 02.03.2026",
        "1000 002",
        "1.000.002",
        "10-00-00-2",
        "ORD1000002/2026",
        rf("1000002"),
        f"{rf('1000002')[:4]} 1000 002",
        f"pagamento {rf('1000002').lower()} grazie",
        f"{rf('1000002')} 04 2026",
        "000000000100000266",
        "cliente 000000000100 000266",
        "1000002 12/03/2026",
    ],
)
def test_an_order_number_is_found_however_it_is_written(text: str) -> None:
    assert "1000002" in [number for place in named(credit(text)) for number in place]


@pytest.mark.parametrize("text", ["1000003", "1000020", "", "grazie", "10000021", rf("1000002").replace("RF", "RF9")])
def test_what_a_check_digit_does_not_vouch_for_names_nothing(text: str) -> None:
    assert "1000002" not in [number for place in named(credit(text)) for number in place]


def test_a_date_is_no_order_number_even_if_there_is_an_order_of_that_number() -> None:
    days = [date(2026, 1, 1) + timedelta(days=number) for number in range(365)]
    for form in ("%d/%m/%Y", "saldo del %d.%m.%Y", "%d-%m-%Y", "%Y-%m-%d"):
        assert not any(named(credit(day.strftime(form))) for day in days)
    assert sum(check_digit(day.strftime("%d%m%Y")) == "0" for day in days) > 30


def credit(text: str) -> Credit:
    return Credit("bank:1", "2026-03-04", "2026-03-04", Decimal(1), "", text, "", "", "bank_transfer")


# Where it ends


def test_O6_a_structured_reference_pays_the_order(till: Till) -> None:
    order = till.order()
    outcome = till.one(entry(TOTAL, structured=rf(order)))
    assert (outcome.became, outcome.orders) == ("paid", [order])
    assert till.state(order) == "paid"
    [row] = till.office.view("payments")
    assert (row["order_number"], row["value_date"].isoformat()) == (order, "2026-03-04")


def test_O6_a_sound_reference_to_no_order_leaves_it_to_the_text(till: Till) -> None:
    order = till.order()
    elsewhere = next(number for number in map(str, range(9_000_000, 9_000_010)) if check_digit(number) == "0")
    outcome = till.one(entry(TOTAL, f"ordine {order}", structured=rf(elsewhere)))
    assert (outcome.became, outcome.orders) == ("paid", [order])


def test_O6_half_the_amount_is_partial_and_the_rest_pays(till: Till) -> None:
    order = till.order()
    assert till.one(entry("32.00", order)).became == "partial"
    assert till.state(order) == "awaiting_payment"
    assert till.one(entry("32.39", f"saldo {order}")).became == "paid"


def test_O6_too_much_and_paid_again_is_surplus_and_too_late_is_late(till: Till) -> None:
    order, other = till.order(), till.office.order_seats(1, extend=False)
    assert till.one(entry("70.00", order)).became == "surplus"
    assert till.one(entry(TOTAL, order)).became == "surplus"
    till.office.do("cancel-order", order_number=other)
    assert till.one(entry("14.64", other)).became == "late"


def test_O6_a_mistyped_number_is_an_orphan_with_a_suggestion_and_nothing_more(till: Till) -> None:
    order = till.order()
    outcome = till.one(entry(TOTAL, mistyped(order), payer="Somebody Else"))
    assert (outcome.became, list(outcome.suggestions)) == ("orphan", [order])
    assert till.state(order) == "awaiting_payment"


@pytest.mark.parametrize(
    "text", ["ordine n. {} del 02.03.2026", "RF18{}", "rf 18 {} grazie", "ordine {}/2026 4 utenti"]
)
def test_O6_a_mistyped_number_is_suggested_whatever_stands_around_it(till: Till, text: str) -> None:
    order = till.order()
    outcome = till.one(entry(TOTAL, text.format(mistyped(order)), payer="Somebody Else"))
    assert (outcome.became, list(outcome.suggestions)) == ("orphan", [order])


def test_O6_a_mistyped_number_is_suggested_however_many_later_orders_miss_the_same_amount(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "MOST_HOLDERS", 1)
    order = till.order()
    till.office.start(subscription_id="SUB-2")
    later = till.office.order_seats(3, subscription_id="SUB-2")
    outcome = till.one(entry(TOTAL, mistyped(order), payer="Somebody Else"))
    assert list(outcome.suggestions) == [order] != [later]


def test_O6_without_a_reference_amount_and_account_holder_are_a_suggestion_only(till: Till) -> None:
    order = till.order()
    known, stranger, less = till.take(
        entry(TOTAL, "grazie", payer="BIANCHI ANNÀ"), entry(TOTAL, payer="Carlo"), entry("1.00")
    )
    assert [one.became for one in (known, stranger, less)] == ["orphan"] * 3
    assert [list(one.suggestions) for one in (known, stranger, less)] == [[order], [], []]
    assert till.state(order) == "awaiting_payment"


def test_O6_one_transfer_for_two_orders_is_split_if_it_is_exactly_what_they_miss(till: Till) -> None:
    first, second = till.order(), till.office.order_seats(1, extend=False)
    text = f"ordini {first} e {second}"
    assert till.one(entry("79.00", text)).became == "orphan"
    outcome = till.one(entry("79.03", text, ref="BOTH"))
    assert (outcome.became, outcome.orders) == ("paid", [first, second])
    assert [till.state(first), till.state(second)] == ["paid", "paid"]
    assert till.one(entry("79.03", text, ref="BOTH")).became == "already registered"


def test_O6_who_also_names_an_order_that_is_paid_pays_the_one_that_is_open(till: Till) -> None:
    first, second = till.order(), till.office.order_seats(1, extend=False)
    till.one(entry(TOTAL, first))
    text = f"{second}, come gia' {first}"
    assert till.one(entry("20.00", text)).became == "orphan"
    [looked] = till.importer.foresee([one for one in till.read(entry("20.00", text)) if isinstance(one, Credit)])
    assert looked.became == "orphan"
    assert till.one(entry("14.64", text)).became == "paid"
    assert till.state(second) == "paid"


def test_O7_the_same_file_twice_and_the_notification_before_the_statement_register_once(till: Till) -> None:
    order = till.order()
    day = [entry(TOTAL, order, ref="B1"), entry("3.00", "grazie", ref=""), entry("3.00", "grazie", ref="")]
    assert [one.became for one in till.take(*day, kind="054")] == ["paid", "orphan", "orphan"]
    assert [one.became for one in till.take(*day, kind="053")] == ["already registered"] * 3
    old = [entry(TOTAL, "", ref="B1", version=2)]
    assert [one.became for one in till.take(*old, version=2)] == ["already registered"]


def test_O7_a_statement_without_the_details_of_its_notification_registers_nothing_twice(till: Till) -> None:
    order = till.order()
    told = entry(TOTAL, order, ref="B1").replace("<Refs>", "<Refs><AcctSvcrRef>T1</AcctSvcrRef>")
    assert till.one(told, kind="054").became == "paid"
    bare = re.sub(r"<NtryDtls>.*</NtryDtls>", "", told)
    assert till.one(bare, kind="053").became == "already registered"
    unknown = [re.sub(r"B[12]", "NONREF", told.replace("T1", it)) for it in ("T2", "T3")]
    assert [one.became for one in till.take(*unknown)] == ["surplus", "surplus"]


def test_O7_another_amount_under_the_same_bank_reference_is_refused(till: Till) -> None:
    till.one(entry("5.00", ref="B1"))
    outcome = till.one(entry("6.00", ref="B1"))
    assert (outcome.became, outcome.code) == ("refused", "payment_reference_reused")
    assert till.one(entry("6.00", ref="B1")).code == "payment_reference_reused"


def test_O9_amounts_that_no_payment_can_have_are_refused_one_by_one(till: Till) -> None:
    outcomes = till.take(entry("0.00"), entry("10000000.00"), entry("1.005"), entry("1.00"))
    assert [one.code for one in outcomes] == ["data_invalid"] * 3 + [None]


def test_a_transfer_whose_split_a_kill_has_prevented_is_split_by_the_next_import(till: Till) -> None:
    first, second = till.order(), till.office.order_seats(1, extend=False)
    both = entry("79.03", f"{first} {second}", ref="BOTH")
    [found] = read(written(till.folder, both))
    assert isinstance(found, Credit)
    till.office.pay(found.typed, "79.03", reference=found.reference)
    assert till.one(both).became == "paid"


def test_looking_first_registers_nothing(till: Till) -> None:
    order = till.order()
    till.office.drain(till.office.projections())
    credits = [one for one in read(written(till.folder, entry(TOTAL, order), entry("1.00"))) if isinstance(one, Credit)]
    assert [one.became for one in till.importer.foresee(credits)] == ["would be registered", "orphan"]
    till.every_cent_is_where_it_belongs()
    till.importer.register(credits)
    assert [one.became for one in till.importer.foresee(credits)] == ["already registered"] * 2


def test_looking_at_the_notification_and_the_statement_sees_each_payment_once(till: Till) -> None:
    order = till.order()
    credits = [one for one in till.read(entry(TOTAL, order, ref="B1")) if isinstance(one, Credit)]
    assert [one.became for one in till.importer.foresee(credits)] == ["would be registered"]
    assert [one.became for one in till.importer.foresee(credits)] == ["already registered"]
