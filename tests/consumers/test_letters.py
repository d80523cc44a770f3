"""What account holders read, and that nothing they are called can change where it goes."""

import email
import os
import re
import subprocess
import sys
from datetime import UTC, date, datetime
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import getaddresses
from html import unescape
from typing import Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.letters import Letter, Letters
from consumers.message import as_message
from consumers.seller import Seller
from consumers.words import Language, Words
from domain.order import Order, OrderPlaced
from domain.pricing import Holding, PriceList, Quote, renewal_quote, seats_quote
from domain.subscription_events import AccountHolder
from domain.terms import Anchor, ProrationRule

AT = datetime(2026, 3, 2, 8, 15, 59, 999999, tzinfo=UTC)
ORDERED_ON = date(2026, 3, 2)
SELLER_DATA = {
    "name": "Venditore S.p.A.",
    "email": "ordini@venditore.example",
    "iban": "IT60X0542811101000000123456",
    "postal_account": "000000123456",
    "panel_url": "https://panel.venditore.example",
    "payment_url": "https://pay.venditore.example/orders/",
}
SELLER = Seller.model_validate(SELLER_DATA)
PRICES = PriceList.model_validate(
    {
        "version": "2026-01",
        "terms": "2026-01",
        "vat_rate": "22",
        "proration": "daily",
        "max_seats_per_order": 100,
        "cart_lifetime_days": 30,
        "order_lifetime_days": 30,
        "instructions_delay_minutes": 15,
        "lifecycle": {"expiring_days": 60, "restricted_days": 90, "reminder_days": [30]},
        "items": [
            {
                "sku": "base",
                "kind": "base",
                "unit_price": "25.00",
                "name": {"it": "Servizio base", "en": "Base service"},
            },
            {"sku": "seat", "kind": "seat", "unit_price": "12.00", "name": {"it": "Utente", "en": "User"}},
        ],
        "methods": [
            {"method": method, "immediate": immediate, "registration_days": days, "name": {"it": it, "en": en}}
            for method, immediate, days, it, en in (
                ("card", True, 0, "carta di pagamento", "payment card"),
                ("mybank", True, 1, "MyBank", "MyBank"),
                ("bank_transfer", False, 3, "bonifico bancario", "bank transfer"),
                ("postal_slip", False, 5, "bollettino postale", "postal payment slip"),
            )
        ],
    }
)
BASE = Holding("S1", "base", 1, date(2026, 6, 30), Anchor.of(date(2026, 6, 30)))
SEATS = seats_quote(PRICES, 3, (BASE,), extend=True, on=ORDERED_ON)
IN_BOTH_LANGUAGES = pytest.mark.parametrize("language", ["it", "en"])
BY_ALL_METHODS = pytest.mark.parametrize("method", list(PRICES.by_method))


def holder(name: str = "Studio Bianchi", language: Language = "it") -> AccountHolder:
    return AccountHolder(name=name, email="anna.bianchi@studio.example", language=language)


BIANCHI = holder()


def order(
    quote: Quote | None = SEATS, *, method: str = "bank_transfer", seats: int = 3, lapses_on: date = date(2026, 4, 1)
) -> OrderPlaced:
    assert quote
    return OrderPlaced(
        order_number="10000016",
        subscription_id="SUB-1001",
        quote=quote,
        payment_method=method,
        immediate=PRICES.by_method[method].immediate,
        registration_days=PRICES.by_method[method].registration_days,
        instructions_delay_minutes=15,
        accepted_terms="2026-01",
        accepted_by="anna@studio",
        seats=seats,
        extends=("S1",) if seats and quote.extend else (),
        lapses_on=lapses_on,
    )


def instructions(
    placed: OrderPlaced | None = None,
    *,
    to: AccountHolder = BIANCHI,
    event_id: str = "order/10000016@1",
    at: datetime = AT,
    prices: PriceList = PRICES,
) -> EmailMessage:
    return sent(Letters(prices, SELLER, to).payment_instructions(confirmed(placed or order()), at), to, event_id, at=at)


def on_panel(
    placed: OrderPlaced, expires_on: date, *, language: Language = "it", event_id: str = "order/10000016@3"
) -> EmailMessage:
    fulfilled = confirmed(placed)
    fulfilled.receive("PAY", placed.quote.total, on=date(2026, 3, 5), billed_to=None)
    fulfilled.fulfil(expires_on)
    to = holder(language=language)
    return sent(Letters(PRICES, SELLER, to).seats_on_panel(fulfilled, AT), to, event_id)


def confirmed(placed: OrderPlaced) -> Order:
    order = Order(placed.order_number)
    order.place(placed)
    return order


def sent(letter: Letter, to: AccountHolder, event_id: str, *, at: datetime = AT) -> EmailMessage:
    return as_message(letter, event_id=event_id, at=at, holder=to, seller=SELLER)


def body(message: EmailMessage, form: Literal["plain", "html"] = "plain") -> str:
    part = message.get_body((form,))
    assert isinstance(part, EmailMessage)
    return str(part.get_content())


def words(text: str) -> str:
    """The text without its layout: on one line, with plain spaces."""
    return " ".join(text.split())


def seen(html: str) -> str:
    """What a reader sees of HTML."""
    return words(
        unescape(re.sub(r"<[^>]*>", " ", re.sub(r"(?s)<head>.*?</head>|<div style=\"display:none.*?</div>", "", html)))
    )


@pytest.mark.parametrize(
    ("language", "facts"),
    [
        ("it", ["IBAN: IT60 X054 2811 1010 0000 0123 456", "Importo: 64,39 €", "Causale: 10000016", "1 aprile 2026"]),
        ("en", ["IBAN: IT60 X054 2811 1010 0000 0123 456", "Amount: €64.39", "reference: 10000016", "1 April 2026"]),
    ],
)
def test_O4_a_bank_transfer_is_told_iban_amount_and_order_number(language: Language, facts: list[str]) -> None:
    text = words(body(instructions(to=holder(language=language))))
    for fact in facts:
        assert fact in text


@pytest.mark.parametrize(
    ("language", "facts"),
    [
        ("it", ["Conto corrente postale n.: 000000123456", "Intestato a: Venditore S.p.A.", "Causale: 10000016"]),
        ("en", ["Postal account no.: 000000123456", "In the name of: Venditore S.p.A.", "(causale): 10000016"]),
    ],
)
def test_O4_a_postal_slip_is_told_account_and_order_number(language: Language, facts: list[str]) -> None:
    text = words(body(instructions(order(method="postal_slip"), to=holder(language=language))))
    for fact in facts:
        assert fact in text
    assert "IBAN" not in text


@pytest.mark.parametrize("method", ["card", "mybank"])
def test_O4_an_immediate_method_is_given_the_link_of_its_order(method: str) -> None:
    message = instructions(order(method=method))
    assert "\nhttps://pay.venditore.example/orders/10000016\n" in body(message)
    assert 'href="https://pay.venditore.example/orders/10000016"' in body(message, "html")


@pytest.mark.parametrize(
    ("method", "time"),
    [
        ("bank_transfer", "entro 3 giorni lavorativi"),
        ("mybank", "entro 1 giorno lavorativo"),
        ("card", "vengono registrati subito"),
    ],
)
def test_O3_the_instructions_say_how_long_registration_takes(method: str, time: str) -> None:
    assert time in words(body(instructions(order(method=method))))


def test_S2_the_instructions_say_that_seats_appear_only_when_the_payment_is_registered() -> None:
    italian, english = (words(body(instructions(to=holder(language=language)))) for language in ("it", "en"))
    assert "visibili sul pannello soltanto quando il pagamento è stato registrato" in italian
    assert "appear on your panel only when the payment has been registered" in english


def test_C5_every_line_of_the_quote_is_explained_in_words() -> None:
    text = words(body(instructions()))
    assert "3 × Utente: 36,00 € 12,00 € l’anno ciascuno; durata dal 2 marzo 2026 al 2 marzo 2027: 1 anno" in text
    assert (
        "1 × Servizio base: 16,78 € 25,00 € l’anno; proroga dal 30 giugno 2026 al 2 marzo 2027: 245 giorni su 365"
        in text
    )
    assert "Imponibile: 52,78 € IVA 22%: 11,61 € Totale: 64,39 €" in text


@pytest.mark.parametrize(
    ("fraction", "rule", "italian", "english"),
    [
        ("1", "daily", "1 anno", "1 year"),
        (
            "7/365+1+47/366",
            "daily",
            "7 giorni su 365, 1 anno e 47 giorni su 366",
            "7 of 365 days, 1 year and 47 of 366 days",
        ),
        ("2+5/12", "monthly", "2 anni e 5 mesi su 12", "2 years and 5 of 12 months"),
        (
            "16/372+1/12",
            "monthly_daily",
            "16 giorni su 31 del mese e 1 mese su 12",
            "16 of 31 days of the month and 1 of 12 months",
        ),
        ("133/360", "thirty_360", "133 giorni su 360", "133 of 360 days"),
    ],
)
def test_P2_a_fraction_is_said_as_its_rule_counted_it(fraction: str, rule: str, italian: str, english: str) -> None:
    assert Words("it").share(fraction, ProrationRule(rule)) == italian
    assert Words("en").share(fraction, ProrationRule(rule)) == english


def test_italian_elides_before_the_eighth_and_the_eleventh() -> None:
    said = [Words("it").day(date(2026, 4, day), article) for day in (1, 8, 11) for article in ("il", "dal")]
    assert said == [
        "il 1 aprile 2026",
        "dal 1 aprile 2026",
        "l’8 aprile 2026",
        "dall’8 aprile 2026",
        "l’11 aprile 2026",
        "dall’11 aprile 2026",
    ]
    assert "registrato entro l’11 aprile 2026" in words(body(instructions(order(lapses_on=date(2026, 4, 11)))))


def test_thousands_are_grouped() -> None:
    assert Words("it").money(SEATS.total * 20) == "1.287,80\u00a0€"
    assert Words("en").money(SEATS.total * 20) == "€1,287.80"


def test_S2_fulfilled_seats_are_said_to_be_on_the_panel_until_their_expiry() -> None:
    message = on_panel(order(), date(2027, 3, 5))
    assert message["Subject"] == "Ordine 10000016: i nuovi utenti sono disponibili sul pannello"
    text = words(body(message))
    assert "sul pannello trova ora 3 nuovi utenti aggiuntivi, validi fino al 5 marzo 2027 compreso" in text
    assert "Ora può configurarli" in text
    assert "https://panel.venditore.example" in text
    assert "1 × Servizio base: fino al 5 marzo 2027 proroga dal 30 giugno 2026" in text


def test_one_seat_is_spoken_of_as_one() -> None:
    placed = order(seats_quote(PRICES, 1, (), extend=False, on=ORDERED_ON), seats=1)
    assert "un nuovo utente aggiuntivo, valido fino al 5 marzo 2027" in words(body(on_panel(placed, date(2027, 3, 5))))
    assert "one new additional user" in words(body(on_panel(placed, date(2027, 3, 5), language="en")))
    assert "L’utente aggiuntivo è visibile" in words(body(instructions(placed)))


def test_C6_a_renewal_speaks_of_services_each_with_its_own_expiry() -> None:
    seat = Holding("S2", "seat", 2, date(2026, 9, 8), Anchor.of(date(2026, 9, 8)))
    placed = order(renewal_quote(PRICES, [(BASE, 1), (seat, 2)], 1, extend=False), seats=0)
    message = on_panel(placed, date(2027, 9, 8), language="en")
    assert message["Subject"] == "Order 10000016: your services are renewed"
    text = words(body(message))
    assert "1 × Base service: until 30 June 2027" in text
    assert "2 × User: until 8 September 2027" in text
    assert "configure your users" in text
    assert "additional user" not in text
    assert "rinnovati sul pannello soltanto quando" in words(body(instructions(placed)))


def test_an_item_and_a_method_that_left_the_price_list_are_called_by_their_code() -> None:
    kept = PRICES.model_dump()
    items = [{**item, "sku": f"new-{item['sku']}"} for item in kept["items"]]
    other = PriceList.model_validate({**kept, "items": items, "methods": []})
    message = instructions(prices=other)
    assert "3 × seat: 36,00 €" in words(body(message))
    assert "con bank_transfer" in words(body(message))


@IN_BOTH_LANGUAGES
@BY_ALL_METHODS
def test_text_and_html_say_the_same(language: Language, method: str) -> None:
    for message in (
        instructions(order(method=method), to=holder(language=language)),
        on_panel(order(method=method), date(2027, 3, 5), language=language),
    ):
        plain, html = words(body(message)), seen(body(message, "html"))
        for fact in re.findall(r"\S*\d\S*", plain):
            assert fact.strip(",;:.()") in html
        for fact in re.findall(r"\S*\d\S*", html):
            assert fact.strip(",;:.()") in plain


@IN_BOTH_LANGUAGES
def test_the_letter_speaks_the_holder_s_language(language: Language) -> None:
    message = instructions(to=holder(language=language))
    assert message["Content-Language"] == language
    assert f'<html lang="{language}">' in body(message, "html")
    assert ("Gentile Studio Bianchi," in body(message)) == (language == "it")
    assert ("Dear Studio Bianchi," in body(message)) == (language == "en")


def test_html_shows_a_hostile_name_as_text() -> None:
    name = "<script>alert('x')</script> & <b>Figli</b>"
    message = instructions(to=holder(name))
    html = body(message, "html")
    assert "<script" not in html
    assert "<b>" not in html
    assert unescape(html).count(name) == 1
    assert name in body(message)


def test_html_asks_nothing_of_the_network() -> None:
    html = body(instructions(), "html") + body(on_panel(order(), date(2027, 3, 5)), "html")
    assert not re.search(r"<(link|script|iframe|style)|url\(|@import", html)
    assert html.count("<img") == html.count('<img src="cid:')
    assert set(re.findall(r"https?://[^\"<\s]+", html)) == {"https://panel.venditore.example"}


@pytest.mark.slow
def test_7_the_same_event_gives_the_same_bytes_in_any_process() -> None:
    def elsewhere(**environment: str) -> bytes:
        python = (
            f"import runpy, sys; sys.stdout.buffer.write(runpy.run_path({__file__!r})['instructions']().as_bytes())"
        )
        paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        return subprocess.run(
            [sys.executable, "-c", python], env={**os.environ, **paths, **environment}, check=True, capture_output=True
        ).stdout

    here = instructions().as_bytes()
    assert elsewhere(PYTHONHASHSEED="1", TZ="Asia/Tokyo", LC_ALL="C") == here
    assert elsewhere(PYTHONHASHSEED="2", TZ="America/Lima", LC_ALL="C.UTF-8") == here


def test_7_each_event_and_each_letter_has_its_own_message_id() -> None:
    panel = on_panel(order(), date(2027, 3, 5), event_id="order/10000016@1")
    letters = [instructions(), instructions(event_id="order/10000016@2"), panel]
    assert len({letter["Message-ID"] for letter in letters}) == 3
    assert all(re.fullmatch(r"<[0-9a-f]{32}@venditore\.example>", letter["Message-ID"]) for letter in letters)


def test_the_date_is_rome_s_in_winter_and_in_summer() -> None:
    winter, summer = (instructions(at=at) for at in (AT, AT.replace(month=7)))
    assert winter["Date"] == "Mon, 02 Mar 2026 09:15:59 +0100"
    assert summer["Date"] == "Thu, 02 Jul 2026 10:15:59 +0200"


HEADERS = [
    "MIME-Version", "Content-Type", "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Content-Language",
]  # fmt: skip


def assert_goes_to_the_holder_alone(message: EmailMessage) -> str:
    """Read the bytes as other programs do, not with the parser that checked them; returns the recipient's name."""
    written = message.as_bytes()
    assert written.isascii()
    assert max(map(len, written.split(b"\r\n"))) <= 998
    assert b"\n" not in written.replace(b"\r\n", b"")
    read = email.message_from_bytes(written)
    assert read.keys() == HEADERS
    [(name, address)] = getaddresses([read["To"]])
    assert address == "anna.bianchi@studio.example"
    return str(make_header(decode_header(name)))


@pytest.mark.parametrize(
    "name",
    [
        "Bianchi, Rossi e Associati",
        'Anna "la Rossa" Bianchi',
        "Bianchi <mallory@evil.example>",
        "mallory@evil.example, Bianchi",
        "Bianchi (Milano); Rossi: Verdi",
        "Società Agricola Nèro & Figli S.r.l.",
        "Bianchi\\",
        "名前",
        "= ?utf-8?q?x?=",
    ],
)
def test_a_name_arrives_as_it_is(name: str) -> None:
    assert assert_goes_to_the_holder_alone(instructions(to=holder(name))) == name


@pytest.mark.parametrize(
    "name",
    [
        "Studio Associato Bianchi, Rossi, Verdi e Associati, Dottori Commercialisti, tra Professionisti",
        "Società per la Fatturazione Elettronica, la Conservazione e l’Archiviazione Sostitutiva",
        "è" * 200,
        "x, " * 66,
        "🙂" * 200,
    ],
)
def test_a_name_too_long_for_a_header_stays_in_the_letter(name: str) -> None:
    message = instructions(to=holder(name))
    assert assert_goes_to_the_holder_alone(message) == ""
    assert words(name) in words(body(message))


def test_spaces_in_a_name_are_evened_out() -> None:
    assert assert_goes_to_the_holder_alone(instructions(to=holder("  Studio \u00a0 Bianchi "))) == "Studio Bianchi"


@pytest.mark.parametrize(
    "name",
    [
        "=?UTF-8?Q?Bob=0D=0ABcc:_mallory@evil.example?=",
        "Bob =?",
        "Bob\r\nBcc: mallory@evil.example",
        "Bob\nBcc: mallory@evil.example",
        "Bob\r",
        "Bob\x00",
        "Bob\x0b",
        "Bob\x85Bcc: x",
        "Bob\u2028Bcc: x",
        "Bob\ud800",
        "Bob\x7f",
    ],
)
def test_a_name_that_could_open_another_header_is_refused(name: str) -> None:
    to = msgspec.structs.replace(holder(), name=name)
    with pytest.raises(ValueError, match="mail header"):
        instructions(to=to)


@pytest.mark.parametrize(
    "address",
    [
        "", "anna", "anna@", "@b.example", "anna@b.example\r\nBcc: x@c.example", "a@b.example, c@d.example",
        "<anna@b.example>", "anna@b.example>", "anna@@b.example", "anna@b..example", "anna@[127.0.0.1]",
        "a..b@b.example", '"a b"@b.example', "ànna@b.example", "anna@bè.example", "=?utf-8?q?x?=@b.example",
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(ValueError, match=r"^no mail can be sent to this address$"):
        instructions(to=msgspec.structs.replace(holder(), email=address))


@settings(max_examples=40, deadline=None)
@given(
    st.text(
        st.one_of(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), st.sampled_from(' ,;:<>()[]@".\\=?')),
        min_size=1,
        max_size=60,
    ).filter(lambda name: "=?" not in name)
)
def test_no_name_changes_where_a_letter_goes(name: str) -> None:
    assert assert_goes_to_the_holder_alone(instructions(to=holder(name))) in (words(name), "")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Venditore\nBcc: x"),
        ("name", "=?utf-8?q?Venditore?="),
        ("name", ""),
        ("email", "ordini"),
        ("email", "ordini@venditore.example\n"),
        ("iban", "IT60X0542811101000000123457"),
        ("iban", "IT60 X054 2811 1010 0000 0123 456"),
        ("postal_account", "12-34"),
        ("postal_account", 123456),
        ("panel_url", "http://panel.venditore.example"),
        ("panel_url", "javascript:alert(1)"),
        ("payment_url", "https://pay.venditore.example/?order="),
        ("payment_url", 'https://pay.venditore.example/"><script>'),
        ("payment_url", "https://user:secret@pay.venditore.example"),
        ("phone", "+39"),
    ],
)
def test_a_seller_s_data_is_checked_when_it_is_read(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        Seller.model_validate({**SELLER_DATA, field: value})
