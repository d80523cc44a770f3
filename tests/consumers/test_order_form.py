"""The order form says what was agreed, is made to be kept, and nothing that anybody is called can break it (O1)."""

import os
import re
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from io import BytesIO
from typing import Any, Literal
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader

from consumers.order_form import OrderForm, order_form
from consumers.seller import Seller
from domain.order import OrderPlaced
from domain.pricing import Holding, PriceList, renewal_quote, renewals, seats_quote
from domain.subscription_events import AccountHolder
from domain.terms import Anchor
from tests.consumers.test_letters import (
    AT,
    BASE,
    ORDERED_ON,
    PRICES,
    SELLER,
    SELLER_DATA,
    body,
    holder,
    instructions,
    on_panel,
    order,
    words,
)

TAX_IDS = {"tax_code": "BNCNNA80A41F205U", "vat_number": "01234560157"}


def form(
    placed: OrderPlaced | None = None,
    *,
    to: AccountHolder | None = None,
    at: datetime = AT,
    prices: PriceList = PRICES,
    seller: Seller = SELLER,
) -> OrderForm:
    return order_form(placed or order(), at=at, holder=to or holder(), prices=prices, seller=seller)


def pages(form: OrderForm) -> list[str]:
    return [words(page.extract_text()) for page in PdfReader(BytesIO(form.pdf)).pages]


def text(form: OrderForm) -> str:
    return " ".join(pages(form))


def renewal(services: int, *, aligned: bool) -> OrderPlaced:
    """For two years; each ends three days after the one before, and the last is not renewed."""
    ends = [date(2026, 3, 8) + timedelta(days=3 * number) for number in range(services)]
    held = [
        Holding(f"S{number}", "base" if number == 1 else "seat", 2, end, Anchor.of(end))
        for number, end in enumerate(ends, start=1)
    ]
    chosen = [*((service, 2) for service in held[:-1]), (held[-1], 0)]
    placed = order(renewal_quote(PRICES, chosen, 2, extend=aligned), seats=0)
    return msgspec.structs.replace(placed, renewals=tuple(renewals(chosen, 2, extend=aligned)))


# What it says


def test_O1_the_form_says_who_accepted_which_terms_and_when() -> None:
    assert "Condizioni contrattuali 2026-01 Accettate da anna@studio" in text(form())
    assert "Data e ora 2 marzo 2026, ore 09:15:59 (ora di Roma, UTC+01:00)" in text(form())
    summer = form(at=AT.replace(month=7), to=holder(language="en"))
    assert "Contract terms 2026-01 Accepted by anna@studio" in text(summer)
    assert "Date and time 2 July 2026, 10:15:59 (time in Rome, UTC+02:00)" in text(summer)


def test_T1_the_order_s_date_is_rome_s() -> None:
    assert "Data dell’ordine 3 marzo 2026" in text(form(at=datetime(2026, 3, 2, 23, 30, tzinfo=UTC)))


def test_the_form_names_both_parties_with_their_tax_ids() -> None:
    of = SELLER_DATA | {"address": ["Via Roma 1", "20121 Milano MI"], "company_register": "REA MI-1234567", **TAX_IDS}
    to = msgspec.structs.replace(holder(), **TAX_IDS)
    said = text(form(to=to, seller=Seller.model_validate(of)))
    ids = "Codice fiscale BNCNNA80A41F205U Partita IVA 01234560157"
    seller = f"Venditore Venditore S.p.A. Via Roma 1 20121 Milano MI ordini@venditore.example {ids} REA MI-1234567"
    assert f"{seller} Intestatario Studio Bianchi anna.bianchi@studio.example {ids}" in said
    assert "Modulo d’ordine n. 10000016" in said
    assert "Abbonamento SUB-1001" in said


def test_what_a_seller_or_a_holder_does_not_say_is_left_out() -> None:
    said = text(form())
    assert "ordini@venditore.example Intestatario Studio Bianchi anna.bianchi@studio.example Servizi" in said
    assert "None" not in said


def test_C5_every_line_shows_its_factors_in_words_and_as_they_were_counted() -> None:
    italian, english = (text(form(to=holder(language=language))) for language in ("it", "en"))
    assert "Utente acquisto dal 2 marzo 2026 al 2 marzo 2027 3 12,00 € 1 anno 36,00 €" in italian
    base = "Servizio base S1 proroga dal 30 giugno 2026 al 2 marzo 2027 1 25,00 € 245 giorni su 365 245/365 16,78 €"
    assert base in italian
    assert "Imponibile 52,78 € IVA 22% 11,61 € Totale 64,39 €" in italian
    assert (
        "Base service S1 extension from 30 June 2026 to 2 March 2027 1 €25.00 245 of 365 days 245/365 €16.78" in english
    )
    assert "Net €52.78 VAT 22% €11.61 Total €64.39" in english


def test_C3_the_form_says_whether_services_are_extended() -> None:
    placed = order(seats_quote(PRICES, 3, (BASE,), extend=False, on=ORDERED_ON))
    assert "Estensione attivata: i servizi attivi al momento dell’ordine (S1)" in text(form())
    assert "Estensione disattivata: i servizi già attivi mantengono" in text(form(placed))
    assert "Extension off: the services that are already active keep" in text(form(placed, to=holder(language="en")))


def test_C6_the_form_says_whether_renewed_services_end_together_and_which_are_not_renewed() -> None:
    aligned, apart = (renewal(4, aligned=aligned) for aligned in (True, False))
    assert "Scadenza unica: i servizi rinnovati durano tutti fino all’8 marzo 2028" in text(form(aligned))
    assert "rinnovo dall’11 marzo 2026 all’8 marzo 2028 2 12,00 € 1 anno e 363 giorni su 366 1+363/366" in text(
        form(aligned)
    )
    english = text(form(apart, to=holder(language="en")))
    assert "Separate expiry dates: each service is renewed from its own expiry date." in english
    assert "renewal from 11 March 2026 to 11 March 2028 2 €12.00 2 years €48.00" in english
    assert "Not renewed: S4." in english


def test_O8_the_form_says_how_and_until_when_to_pay() -> None:
    assert "Metodo bonifico bancario Ultimo giorno per pagare 1 aprile 2026" in text(form())


def test_the_form_says_that_it_is_no_invoice_and_where_its_prices_come_from() -> None:
    assert "non è una fattura" in text(form())
    assert "is not an invoice" in text(form(to=holder(language="en")))
    placed = order()
    assert f"Listino 2026-01 Impronta del preventivo {placed.quote.hash}" in text(form(placed))


def test_what_left_the_price_list_is_called_by_its_code() -> None:
    kept = PRICES.model_dump()
    items = [{**item, "sku": f"new-{item['sku']}"} for item in kept["items"]]
    said = text(form(prices=PriceList.model_validate({**kept, "items": items, "methods": []})))
    assert "seat acquisto" in said
    assert "Metodo bank_transfer" in said


def test_a_long_order_has_numbered_pages_each_with_the_table_s_header() -> None:
    said = pages(form(renewal(101, aligned=True)))
    assert len(said) > 3
    for number, page in enumerate(said, start=1):
        assert page.endswith(f"Modulo d’ordine n. 10000016 pagina {number} di {len(said)}")
        assert ("Descrizione Quantità Prezzo annuo" in page) == ("rinnovo dal" in page)
    assert len(re.findall("rinnovo dal", " ".join(said))) == 100


# What it is


@pytest.mark.parametrize("language", ["it", "en"])
def test_the_form_is_a_tagged_pdf_a_with_its_own_fonts(language: Literal["it", "en"]) -> None:
    made = PdfReader(BytesIO(form(to=holder(language=language)).pdf))
    catalog: Any = made.root_object
    assert declared(made) == {"part": "2", "conformance": "A", "ua part": "1"}
    [intent] = catalog["/OutputIntents"]
    assert intent.get_object()["/S"] == "/GTS_PDFA1"
    assert catalog["/MarkInfo"]["/Marked"]
    assert catalog["/Lang"] == language
    assert made.metadata
    assert made.metadata.title == {"it": "Modulo d’ordine n. 10000016", "en": "Order form no. 10000016"}[language]
    assert made.metadata.author == "Venditore S.p.A."
    assert made.metadata.creation_date == AT.replace(microsecond=0)
    page: Any = made.pages[0]
    for font in page["/Resources"]["/Font"].values():
        [drawn] = font.get_object()["/DescendantFonts"]
        assert {"/FontFile2", "/FontFile3"} & drawn.get_object()["/FontDescriptor"].keys()


def declared(made: PdfReader) -> dict[str, str | None]:
    """Which standards the document says that it keeps."""
    catalog: Any = made.root_object
    metadata = ElementTree.fromstring(catalog["/Metadata"].get_data())  # noqa: S314 we made it
    names = {"http://www.aiim.org/pdfa/ns/id/": "", "http://www.aiim.org/pdfua/ns/id/": "ua "}
    found = {}
    for element in metadata.iter():
        space, _, name = element.tag.removeprefix("{").partition("}")
        if space in names and name in ("part", "conformance"):
            found[names[space] + name] = element.text
    return found


@pytest.mark.slow
def test_7_the_same_order_gives_the_same_bytes_in_any_process() -> None:
    python = f"import runpy, sys; sys.stdout.buffer.write(runpy.run_path({__file__!r})['form']().pdf)"
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONHASHSEED": "1"}
    elsewhere = subprocess.run(
        [sys.executable, "-c", python],
        env={**os.environ, **environment, "TZ": "Asia/Tokyo", "LC_ALL": "C", "SOURCE_DATE_EPOCH": "1"},
        cwd="/",
        check=True,
        capture_output=True,
    ).stdout
    assert elsewhere == form().pdf


# Where it goes


def attachments(letter: EmailMessage) -> list[tuple[str, str | None, bytes]]:
    """As the reader's program takes the letter apart."""
    read = message_from_bytes(letter.as_bytes(), policy=default)
    return [(part.get_content_type(), part.get_filename(), part.get_content()) for part in read.iter_attachments()]


@pytest.mark.parametrize(("language", "name"), [("it", "ordine-10000016.pdf"), ("en", "order-10000016.pdf")])
@pytest.mark.parametrize("method", ["bank_transfer", "card"])
def test_O4_the_instructions_bring_the_form(method: str, language: Literal["it", "en"], name: str) -> None:
    placed, to = order(method=method), holder(language=language)
    letter = instructions(placed, to=to)
    assert attachments(letter) == [("application/pdf", name, form(placed, to=to).pdf)]
    assert {"it": "In allegato trova il modulo d’ordine", "en": "Attached is your order form"}[language] in body(letter)


def test_who_paid_at_once_gets_the_form_with_the_word_that_seats_are_on_the_panel() -> None:
    at_once, later = (on_panel(order(method=method), date(2027, 3, 5)) for method in ("card", "bank_transfer"))
    assert attachments(at_once) == [("application/pdf", "ordine-10000016.pdf", form(order(method="card")).pdf)]
    assert attachments(later) == []
    assert ("In allegato" in body(at_once), "In allegato" in body(later)) == (True, False)


# What somebody may be called


@pytest.mark.parametrize(
    "name",
    [
        "Società Agricola Nèro & Figli S.r.l.",
        "Łódź Çelik Ørsted Ağaoğlu Đorđević Nguyễn",
        "Παπαδόπουλος Иванов Ђорђевић",
        '#panic("x") #read("form.typ") *Bianchi* _e_ $x^2$ `Figli` <label> @ref // \\ = - + /',
        "</script>&amp;${jndi:ldap://x} \"'; DROP",
        "“Bianchi” – l’Unico… € ½ ™ №",
    ],
)
def test_a_name_stands_as_it_is(name: str) -> None:
    said = text(form(msgspec.structs.replace(order(), accepted_by=name), to=holder(name)))
    assert said.count(words(name)) == 2
    assert "[U+" not in said


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("名前 Rossi", "[U+540D][U+524D] Rossi"),
        ("Rossi 🙂", "Rossi [U+1F642]"),
        ("שלום", "[U+05E9][U+05DC][U+05D5][U+05DD]"),
        ("Rossi \u202eissoR", "Rossi [U+202E]issoR"),
        ("Ros\x00si\n\u2028", "Ros[U+0000]si[U+000A][U+2028]"),
        ("\u200bRossi\ufeff", "[U+200B]Rossi[U+FEFF]"),
        ("Rossi\ud800", "Rossi[U+D800]"),
        ("e\u0301\u0301\u0301", "é[U+0301][U+0301]"),
        ("\ue000", "[U+E000]"),
        ("Ⰰ Ռոսսի \u0378", "[U+2C00] Ռոսսի [U+0378]"),
    ],
)
def test_a_sign_that_the_form_cannot_show_stands_as_its_code(name: str, shown: str) -> None:
    said = text(form(to=holder(name)))
    assert f"Intestatario {shown} anna.bianchi@studio.example" in said
    assert "indicati con il loro codice Unicode" in said


def test_a_name_without_a_blank_stays_on_the_page() -> None:
    page = PdfReader(BytesIO(form(to=holder("W" * 200)).pdf)).pages[0]
    assert max(map(len, re.findall("W+", page.extract_text()))) < 20


# Found by generating: a panic of typst, at Hebrew and Arabic mixed with marks.
@settings(max_examples=20, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
    | st.text(st.characters(min_codepoint=0x590, max_codepoint=0x6FF), max_size=200)
    | st.text(st.characters(max_codepoint=0x590), max_size=200)
)
def test_whatever_somebody_is_called_there_is_a_form(name: str) -> None:
    made = form(msgspec.structs.replace(order(), accepted_by=name[::-1]), to=holder(name))
    assert declared(PdfReader(BytesIO(made.pdf)))["part"] == "2"


MAKES_TYPST_PANIC = (
    "\u065c\u062f\u0638\u0683\u06b1\u0612\u062a\u06bb\u05a0\u05ac\u061d\u0592\u0657\u060f\u06fd\u066f\u05de\u0598\u0596\u0695\u05b4\u063e"
    "\u06d2\u06a9\u06ac\u0617\u06bc\u063c\u05e3\u0645\u06c3\u0698\u069d\u05d1\u05e8\u0671\u067c\u05f7\u0592\u05c8\u06f7\u060f\u062e"
)


def test_a_panic_of_typst_fails_one_form_and_ends_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumers.order_form._is_plain", lambda sign: True)
    with pytest.raises(ValueError, match="typst panicked"):
        form(to=holder(MAKES_TYPST_PANIC))


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("vat_number", "01234560158", "not a partita IVA"),
        ("vat_number", "IT01234560157", "not a partita IVA"),
        ("vat_number", "012 3456 0157", "not a partita IVA"),
        ("tax_code", "BNCNNA80A41F205X", "not a codice fiscale"),
        ("tax_code", "01234560158", "not a codice fiscale"),
        ("address", ["x"] * 5, "address"),
        ("address", "Via Roma 1", "address"),
        ("address", ["Via Roma 1\n20121 Milano MI"], "not one line"),
        ("company_register", "", "company_register"),
        ("company_register", "Milano\nREA MI-1234567", "not one line"),
        ("td896", "yes", "td896"),
        ("td896", 1, "td896"),
    ],
)
def test_what_a_seller_says_of_himself_is_checked_when_it_is_read(field: str, value: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Seller.model_validate({**SELLER_DATA, field: value})
