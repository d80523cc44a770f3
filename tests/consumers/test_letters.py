"""What account holders read."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from email.message import EmailMessage
from html import unescape
from typing import Literal

import msgspec
import pytest

from consumers.letters import Letter, Letters
from consumers.message import as_message
from consumers.seller import Seller
from consumers.words import Language, Words
from domain.order import Order, OrderPlaced
from domain.pricing import Holding, Kind, PriceList, Quote, Status, renewal_quote, seats_quote
from domain.subscription import Subscription
from domain.subscription_events import AccountHolder, StartedService
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
    placed: OrderPlaced, expires_on: date, *, to: AccountHolder = BIANCHI, event_id: str = "order/10000016@3"
) -> EmailMessage:
    fulfilled = confirmed(placed, paid=f"{placed.quote.total}")
    fulfilled.fulfil(expires_on)
    return sent(Letters(PRICES, SELLER, to).seats_on_panel(fulfilled, AT), to, event_id)


def order_reminder(
    placed: OrderPlaced | None = None, *, paid: str | None = None, to: AccountHolder = BIANCHI
) -> EmailMessage:
    waiting = confirmed(placed or order(), paid=paid)
    return sent(Letters(PRICES, SELLER, to).order_reminder(waiting), to, "order/10000016@4")


def lapse_notice(
    placed: OrderPlaced | None = None, *, paid: str | None = None, to: AccountHolder = BIANCHI
) -> EmailMessage:
    lapsed = confirmed(placed or order(), paid=paid)
    lapsed.expire()
    return sent(Letters(PRICES, SELLER, to).lapse_notice(lapsed), to, "order/10000016@5")


def expiry_reminder(of: Subscription | None = None, *, to: AccountHolder = BIANCHI) -> EmailMessage:
    of = of or subscription()
    letter = Letters(PRICES, SELLER, to).expiry_reminder(of, list(of.services.values()))
    return sent(letter, to, "subscription/SUB-1001@6")


def each_letter(to: AccountHolder = BIANCHI, placed: OrderPlaced | None = None) -> Iterator[EmailMessage]:
    placed = placed or order()
    yield instructions(placed, to=to)
    yield order_reminder(placed, to=to)
    yield order_reminder(placed, paid="20.00", to=to)
    yield lapse_notice(placed, to=to)
    yield lapse_notice(placed, paid="20.00", to=to)
    yield on_panel(placed, date(2027, 3, 5), to=to)
    yield expiry_reminder(to=to)


def confirmed(placed: OrderPlaced, *, paid: str | None = None) -> Order:
    order = Order(placed.order_number)
    order.place(placed)
    if paid:
        order.receive("PART", Decimal(paid), on=date(2026, 3, 5), billed_to=None)
    return order


def subscription(
    *services: tuple[Kind, int, str],
    restricted_days: int = 90,
    held: Mapping[str, Mapping[str, int]] | None = None,
) -> Subscription:
    """With services of these kinds, in these quantities, ending on these days."""
    started = Subscription("SUB-1001")
    lifecycle = msgspec.structs.replace(PRICES.lifecycle, restricted_days=restricted_days)
    started.start(
        BIANCHI,
        [
            StartedService(
                service_id=f"S{number}",
                sku=kind.value,
                kind=kind,
                quantity=quantity,
                active_from=date(2025, 7, 1),
                expires_on=date.fromisoformat(expires_on),
                status=Status.ACTIVE,
                included_users=1 if kind is Kind.BASE else 0,
            )
            for number, (kind, quantity, expires_on) in enumerate(
                services or [(Kind.BASE, 1, "2026-06-08"), (Kind.SEAT, 3, "2026-06-30")], start=1
            )
        ],
        lifecycle,
    )
    for number, keeps in (held or {}).items():
        started.hold(number, keeps)
    return started


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


def test_P4_the_instructions_promise_an_extension_that_brings_no_expiry_forward() -> None:
    assert "prorogati almeno fino alla stessa scadenza" in words(body(instructions()))
    assert "extended at least to the same expiry date" in words(body(instructions(to=holder(language="en"))))


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
    assert "one new additional user" in words(body(on_panel(placed, date(2027, 3, 5), to=holder(language="en"))))
    assert "L’utente aggiuntivo è visibile" in words(body(instructions(placed)))


def test_C6_a_renewal_speaks_of_services_each_with_its_own_expiry() -> None:
    seat = Holding("S2", "seat", 2, date(2026, 9, 8), Anchor.of(date(2026, 9, 8)))
    placed = order(renewal_quote(PRICES, [(BASE, 1), (seat, 2)], 1, extend=False), seats=0)
    message = on_panel(placed, date(2027, 9, 8), to=holder(language="en"))
    assert message["Subject"] == "Order 10000016: your services are renewed"
    text = words(body(message))
    assert "1 × Base service: until 30 June 2027" in text
    assert "2 × User: until 8 September 2027" in text
    assert "configure your users" in text
    assert "additional user" not in text
    assert "rinnovati sul pannello soltanto quando" in words(body(instructions(placed)))


@pytest.mark.parametrize(
    ("language", "said"),
    [
        (
            "it",
            [
                "per l’ordine n. 10000016 abbiamo registrato 20,00 € su 64,39 €",
                "manca ancora il pagamento di 44,39 € con bonifico bancario",
                "deve risultare registrato entro il 1 aprile 2026",
                "Importo: 44,39 €",
                "Totale: 64,39 € Già registrato: 20,00 € Ancora da pagare: 44,39 €",
            ],
        ),
        (
            "en",
            [
                "For order no. 10000016 we have registered €20.00 of €64.39",
                "your payment of €44.39 by bank transfer, which must be registered by 1 April 2026",
                "Amount: €44.39",
                "Total: €64.39 Already registered: €20.00 Still to be paid: €44.39",
            ],
        ),
    ],
)
def test_O6_a_reminder_of_a_partly_paid_order_asks_for_what_is_missing(language: Language, said: list[str]) -> None:
    text = words(body(order_reminder(paid="20.00", to=holder(language=language))))
    for fact in said:
        assert fact in text


def test_O6_so_do_the_instructions_if_a_part_was_quicker_than_they_were() -> None:
    waiting = confirmed(order(method="card"), paid="1.00")
    letter = sent(Letters(PRICES, SELLER, BIANCHI).payment_instructions(waiting, AT), BIANCHI, "e")
    assert "il pagamento di 63,39 € con carta di pagamento" in words(body(letter))
    assert "Già registrato: 1,00 € Ancora da pagare: 63,39 €" in words(body(letter))


@BY_ALL_METHODS
def test_O8_a_reminder_tells_how_to_pay_in_the_words_of_the_instructions(method: str) -> None:
    placed = order(method=method)
    how = re.compile(r"(?s)  \w.*?Ultimo giorno utile:[^\n]*\n\n[^\n].*?\n\n")
    [told] = how.findall(body(instructions(placed)))
    assert told in body(order_reminder(placed))


@pytest.mark.parametrize(
    ("method", "time"),
    [
        ("postal_slip", "di norma entro 5 giorni lavorativi: La invitiamo quindi a provvedere quanto prima"),
        ("mybank", "di norma entro 1 giorno lavorativo: La invitiamo quindi a provvedere quanto prima"),
        ("card", "I pagamenti con carta di pagamento vengono registrati subito."),
    ],
)
def test_O3_a_reminder_says_how_long_registration_takes_and_that_it_has_to_be_in_time(method: str, time: str) -> None:
    text = words(body(order_reminder(order(method=method))))
    assert time in text
    assert "deve risultare registrato entro il 1 aprile 2026" in text


def test_O8_a_lapse_notice_says_that_nothing_is_due_and_what_a_payment_becomes() -> None:
    message = lapse_notice()
    assert message["Subject"] == "Ordine 10000016: scaduto, non è più da pagare"
    text = words(body(message))
    assert "Entro quel giorno il pagamento non è stato registrato, perciò l’ordine è scaduto" in text
    assert "Non è più dovuto alcun importo: La preghiamo di non pagare ora." in text
    assert "l’importo non può più completare l’ordine ed è rimborsabile" in text
    assert "https://panel.venditore.example" in text
    assert "€" not in text
    assert "IBAN" not in text


def test_O8_of_a_lapsed_order_what_was_paid_is_refundable() -> None:
    assert "The €20.00 that we had registered for this order is refundable, too" in words(
        body(lapse_notice(paid="20.00", to=holder(language="en")))
    )


def test_C6_a_lapsed_renewal_is_renewed_anew() -> None:
    text = words(body(lapse_notice(order(renewal_quote(PRICES, [(BASE, 1)], 1, extend=False), seats=0))))
    assert "1 × Servizio base: rinnovo dal 30 giugno 2026 al 30 giugno 2027" in text
    assert "può scegliere di nuovo i servizi da rinnovare" in text
    assert "numero di utenti" not in text


@pytest.mark.parametrize(
    ("language", "subject", "said"),
    [
        (
            "it",
            "Servizi in scadenza dall’8 giugno 2026",
            [
                "Le ricordiamo le prossime scadenze dell’abbonamento SUB-1001.",
                "1 × Servizio base: fino all’8 giugno 2026 rinnovabile fino al 6 settembre 2026",
                "3 × Utente: fino al 30 giugno 2026 rinnovabile fino al 28 settembre 2026",
                "limitato per 90 giorni",
                "Gli utenti già configurati non vengono cancellati",
                "con un solo ordine tutti i servizi che desidera, per uno o più anni",
            ],
        ),
        (
            "en",
            "Services ending from 8 June 2026 onwards",
            [
                "a reminder of the next expiry dates in your subscription SUB-1001.",
                "1 × Base service: until 8 June 2026 can be renewed until 6 September 2026",
                "3 × User: until 30 June 2026 can be renewed until 28 September 2026",
                "restricted for 90 days",
                "Users that are already configured are not deleted",
                "with a single order, for one or more years",
            ],
        ),
    ],
)
def test_S8_a_reminder_says_what_ends_when_what_that_means_and_how_to_renew_it(
    language: Language, subject: str, said: list[str]
) -> None:
    message = expiry_reminder(to=holder(language=language))
    assert message["Subject"] == subject
    for fact in [*said, "https://panel.venditore.example"]:
        assert fact in words(body(message))


def test_S8_where_nothing_stays_restricted_it_ends_the_day_after() -> None:
    text = words(body(expiry_reminder(subscription((Kind.BASE, 1, "2026-06-30"), restricted_days=0))))
    assert "Il giorno dopo cessa e non è più rinnovabile." in text
    assert "rinnovabile fino alla scadenza" in text


def test_S4_only_who_loses_seats_is_told_what_becomes_of_users() -> None:
    assert "utenti" not in words(body(expiry_reminder(subscription((Kind.SPACE, 2, "2026-06-30")))))


def test_O10_for_what_an_open_order_renews_no_other_is_asked() -> None:
    text = words(body(expiry_reminder(subscription((Kind.BASE, 1, "2026-06-30"), held={"10000016": {"S1": 1}}))))
    assert "1 × Servizio base: fino al 30 giugno 2026 nell’ordine n. 10000016, in attesa di completamento" in text
    assert "Non occorre un nuovo ordine" in text
    assert "può rinnovare" not in text


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
    for message in each_letter(holder(language=language), order(method=method)):
        plain, html = words(body(message)), seen(body(message, "html"))
        for fact in re.findall(r"\S*\d\S*", plain):
            assert fact.strip(",;:.()") in html
        for fact in re.findall(r"\S*\d\S*", html):
            assert fact.strip(",;:.()") in plain


@IN_BOTH_LANGUAGES
def test_each_letter_speaks_the_holder_s_language(language: Language) -> None:
    for message in each_letter(holder(language=language)):
        assert message["Content-Language"] == language
        assert f'<html lang="{language}">' in body(message, "html")
        assert ("Gentile Studio Bianchi," in body(message)) == (language == "it")
        assert ("Dear Studio Bianchi," in body(message)) == (language == "en")


def test_html_shows_a_hostile_name_as_text() -> None:
    name = "<script>alert('x')</script> & <b>{{ seller.iban }}</b>"
    for message in each_letter(holder(name)):
        html = body(message, "html")
        assert "<script" not in html
        assert "<b>" not in html
        assert unescape(html).count(name) == 1
        assert name in body(message)


def test_html_asks_nothing_of_the_network() -> None:
    html = "".join(body(message, "html") for message in each_letter())
    assert not re.search(r"<(link|script|iframe|style)|url\(|@import", html)
    assert html.count("<img") == html.count('<img src="cid:')
    assert set(re.findall(r"https?://[^\"<\s]+", html)) == {"https://panel.venditore.example"}


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
