"""Who gets which letter, and when (O4, O8, S2, S8)."""

from collections.abc import Callable
from datetime import timedelta
from email.message import EmailMessage

import pytest

from adapters.clerk import Clerk
from domain.subscription_events import ExpiryReminderDue
from tests.adapters.test_forgetting import erase
from tests.consumers.test_letters import body, words
from tests.office import BASE, OPENING, SEAT, SHOPFRONT, SPACE, Office, service


def subjects(office: Office) -> list[str]:
    office.drain()
    return [str(message["Subject"]) for message in office.mail]


def states(office: Office, kind: str = "") -> list[str]:
    """What became of the effects, or of those of one kind."""
    query = "SELECT state FROM seatline.effects WHERE starts_with(id, %s) ORDER BY at, id"
    return [state for (state,) in office.ask(query, kind)]


@pytest.mark.parametrize("method", ["bank_transfer", "postal_slip"])
def test_O4_who_pays_later_gets_the_instructions_at_once(office: Office, method: str) -> None:
    office.start(account_holder={"name": "Studio Verdi", "email": "verdi@studio.it", "language": "it"})
    number = office.order_seats(3, method=method)
    office.drain()
    [letter] = office.mail
    assert letter["To"] == "Studio Verdi <verdi@studio.it>"
    assert number in letter["Subject"]
    body = letter.get_body(("plain",))
    assert body is not None
    assert number in body.get_content()


@pytest.mark.parametrize("method", ["card", "paypal", "mybank"])
def test_O4_who_pays_at_once_gets_them_only_if_no_payment_came(office: Office, method: str) -> None:
    office.start()
    office.order_seats(3, method=method)
    office.now += timedelta(minutes=14)
    assert subjects(office) == []
    office.now += timedelta(minutes=1)
    assert len(subjects(office)) == 1


def test_O4_an_immediate_payment_in_time_makes_them_pointless(office: Office) -> None:
    office.start()
    number = office.order_seats(3, method="card")
    assert subjects(office) == []
    office.now += timedelta(minutes=5)
    office.pay(number, method="card")
    office.now += timedelta(minutes=20)
    [subject] = subjects(office)
    assert "pannello" in subject
    assert states(office) == ["dropped", "done"]


def test_O4_a_part_of_an_immediate_payment_is_no_payment(office: Office) -> None:
    office.start()
    number = office.order_seats(3, method="card")
    office.pay(number, "1.00", method="card")
    office.now += timedelta(minutes=15)
    assert len(subjects(office)) == 1


@pytest.mark.parametrize("method", ["card", "bank_transfer"])
def test_O4_nobody_is_told_how_to_pay_a_cancelled_order(office: Office, method: str) -> None:
    office.start()
    office.do("cancel-order", order_number=office.order_seats(3, method=method))
    office.now += timedelta(minutes=15)
    assert subjects(office) == []
    assert states(office) == ["dropped"]


def test_O4_instructions_for_who_pays_later_go_out_even_if_the_payment_overtook_them(office: Office) -> None:
    office.start()
    office.pay(office.order_seats(3))
    assert len(subjects(office)) == 2


def test_O4_how_long_an_immediate_payment_may_take_is_the_policy_of_the_order(office: Office) -> None:
    """It is recorded in the order: a new price list changes nothing for orders that were placed before."""
    office.start()
    office.order_seats(3, method="card")
    office.drain()
    delay = office.ask("SELECT due_at - at FROM seatline.effects")
    assert delay == [(timedelta(minutes=15),)]


def test_S2_word_goes_out_when_the_seats_are_on_the_panel_and_not_before(office: Office) -> None:
    office.start()
    number = office.order_seats(3)
    office.drain()
    office.pay(number)
    office.drain(office.email())
    assert len(office.mail) == 1
    office.drain()
    assert len(office.mail) == 2


def test_letters_are_in_the_holders_language(office: Office) -> None:
    for sub, language in (("SUB-1", "it"), ("SUB-2", "en")):
        holder = {"name": "Anna", "email": "anna@studio.it", "language": language}
        office.start(subscription_id=sub, account_holder=holder)
        office.order_seats(subscription_id=sub)
    office.drain()
    assert [letter["Content-Language"] for letter in office.mail] == ["it", "en"]


def test_a_renewal_has_both_letters_too(office: Office) -> None:
    office.start(service(BASE, "2026-06-30"))
    office.pay(office.order_renewal(1, S1=1))
    assert len(subjects(office)) == 2


def test_what_is_not_bought_brings_no_letter(office: Office) -> None:
    office.start()
    office.do("configure-user", username="annaverdi")
    office.do("open-cart")
    office.do("choose-seats", quantity=1)
    office.pay("nobody's", "10.00")
    office.close_day("2026-06-30")
    assert subjects(office) == []


# Reminders of what ends


def closed(office: Office, *days: str) -> None:
    """Days are closed, and what that brings is recorded; no letter has gone out yet."""
    for day in days:
        office.close_day(day)
        office.drain(office.calendar())


def delivered(office: Office) -> EmailMessage:
    office.drain(office.email())
    [letter] = office.mail
    return letter


def test_S8_the_account_holder_is_reminded_90_60_30_and_7_days_before(office: Office) -> None:
    office.start()
    for count, day in enumerate(("2026-03-31", "2026-04-30", "2026-05-30", "2026-06-22"), start=1):
        office.close_day(day)
        assert subjects(office) == ["Servizio in scadenza il 30 giugno 2026"] * count
    assert office.mail[-1]["Date"] == "Tue, 23 Jun 2026 00:00:00 +0200"
    assert len({letter["Message-ID"] for letter in office.mail}) == 4


def test_S8_one_close_of_a_day_brings_one_letter_about_all_that_ends(office: Office) -> None:
    office.start(service(BASE, "2026-06-30"), service(SEAT, "2026-06-30", 3), service(SPACE, "2026-07-02"))
    closed(office, "2026-06-02")
    letter = delivered(office)
    assert letter["Subject"] == "Servizi in scadenza dal 30 giugno 2026"
    for ending in (
        "1 × Fatturazione Elettronica Solo Ricezione: fino al 30 giugno 2026",
        "3 × Utente aggiuntivo: fino al 30 giugno 2026",
        "1 × Spazio di archiviazione 1 GB: fino al 2 luglio 2026",
    ):
        assert ending in words(body(letter))


def test_S8_each_subscription_has_its_own_reminder(office: Office) -> None:
    for sub in ("SUB-1", "SUB-2"):
        office.start(subscription_id=sub)
    office.close_day("2026-05-30")
    assert len(subjects(office)) == 2
    assert {sub for letter in office.mail for sub in ("SUB-1", "SUB-2") if sub in body(letter)} == {"SUB-1", "SUB-2"}


def test_8_reading_all_events_again_reminds_nobody_again(office: Office) -> None:
    office.start(service(BASE, "2026-03-31"), service(SEAT, "2026-03-31"))
    office.order_seats(1, extend=False)
    for day in ("2026-03-24", "2026-04-01"):
        office.close_day(day)
        office.drain()
    kinds = [id_.partition(":")[0] for (id_,) in office.ask("SELECT id FROM seatline.effects ORDER BY due_at, id")]
    assert kinds == ["payment-instructions", "expiry-reminder", "order-reminder", "lapse-notice"]
    assert len(office.mail) == 4
    office.tell("UPDATE seatline.positions SET position = 0")
    office.drain()
    assert len(office.mail) == 4


def test_8_whichever_event_of_a_close_is_read_first_nobody_is_reminded_again(office: Office) -> None:
    """Kafka's retention may have taken the first."""
    office.start(service(BASE, "2026-03-31"), service(SEAT, "2026-03-31"))
    closed(office, "2026-03-24")
    delivered(office)
    *_, last = [event for event in office.log.page(0, 100) if isinstance(event.event, ExpiryReminderDue)]
    office.tell("UPDATE seatline.positions SET position = %s WHERE reader = 'email'", last.position - 1)
    delivered(office)


def renewed(office: Office) -> None:
    office.pay(office.order_renewal(1, S1=1))
    office.drain(office.activation())


def aligned(office: Office) -> None:
    office.pay(office.order_seats(1))
    office.drain(office.activation())


def over(office: Office) -> None:
    office.now = OPENING.replace(month=7, day=1, hour=0)


def forgotten(office: Office) -> None:
    erase(office)


@pytest.mark.parametrize("meanwhile", [renewed, aligned, over, forgotten])
def test_S8_nobody_is_reminded_of_what_has_changed_before_the_letter_went_out(
    office: Office, meanwhile: Callable[[Office], None]
) -> None:
    office.start()
    closed(office, "2026-05-30")
    meanwhile(office)
    office.drain(office.email())
    assert states(office, "expiry-reminder") == ["dropped"]
    assert not [letter for letter in office.mail if "scadenza" in letter["Subject"]]


def test_S8_on_its_last_day_a_service_can_still_be_reminded_of(office: Office) -> None:
    office.start()
    closed(office, "2026-05-30")
    office.now = OPENING.replace(month=6, day=30, hour=23, minute=59)
    assert "30 giugno 2026" in delivered(office)["Subject"]


def test_S8_what_was_renewed_meanwhile_is_not_listed(office: Office) -> None:
    office.start(service(BASE, "2026-06-30"), service(SPACE, "2026-06-30"))
    closed(office, "2026-05-30")
    renewed(office)
    office.drain(office.email())
    [reminder] = [letter for letter in office.mail if "scadenza" in letter["Subject"]]
    assert "Spazio di archiviazione" in body(reminder)
    assert "Fatturazione Elettronica" not in body(reminder)


def test_C4_nobody_is_reminded_of_what_he_has_declined_to_renew(office: Office) -> None:
    office.start(service(BASE, "2026-06-30"), service(SEAT, "2026-06-30"))
    closed(office, "2026-05-30")
    office.pay(office.order_renewal(1, S1=1, S2=0))
    office.drain(office.activation(), office.email())
    assert states(office, "expiry-reminder") == ["dropped"]


def test_T4_after_an_outage_of_the_mail_only_the_nearest_reminder_goes_out(office: Office) -> None:
    office.start()
    closed(office, "2026-03-31", "2026-04-30", "2026-05-30")
    delivered(office)
    assert states(office) == ["dropped", "dropped", "done"]


def test_a_reminder_says_which_open_order_renews_a_service_already(office: Office) -> None:
    office.start(service(BASE, "2026-06-30"), service(SPACE, "2026-06-30"))
    number = office.on("2026-05-20").order_renewal(1, S1=1)
    closed(office, "2026-05-30")
    office.drain(office.email())
    text = words(body(office.mail[-1]))
    assert f"1 × Fatturazione Elettronica Solo Ricezione: fino al 30 giugno 2026 nell’ordine n. {number}" in text
    assert "1 × Spazio di archiviazione 1 GB: fino al 30 giugno 2026 rinnovabile" in text


# Reminders of what is unpaid, and what has lapsed


def ordered(office: Office, method: str = "bank_transfer") -> str:
    """An order of 2 March, whose instructions have gone out; it can be paid until 1 April."""
    office.start(service(BASE, "2027-06-30"))
    number = office.order_seats(3, extend=False, method=method)
    office.now += timedelta(hours=1)
    delivered(office)
    office.mail.clear()
    return number


@pytest.mark.parametrize("method", ["bank_transfer", "card"])
def test_O8_an_unpaid_order_is_reminded_of_a_week_before_it_lapses(office: Office, method: str) -> None:
    number = ordered(office, method)
    office.close_day("2026-03-23")
    assert subjects(office) == []
    office.close_day("2026-03-24")
    assert subjects(office) == [f"Ordine {number}: il pagamento non risulta ancora registrato"]


def test_O6_of_a_partly_paid_order_the_reminder_asks_for_what_is_missing_when_it_is_sent(office: Office) -> None:
    number = ordered(office)
    office.pay(number, "20.00")
    closed(office, "2026-03-24")
    office.pay(number, "3.92")
    letter = delivered(office)
    assert letter["Subject"] == f"Ordine {number}: manca ancora una parte del pagamento"
    assert "Importo: 20,00 €" in words(body(letter))
    assert "Totale: 43,92 € Già registrato: 23,92 € Ancora da pagare: 20,00 €" in words(body(letter))


def paid(office: Office, number: str) -> None:
    office.pay(number)


def cancelled(office: Office, number: str) -> None:
    office.do("cancel-order", order_number=number)


def lapsed_by_the_clock(office: Office, number: str) -> None:
    office.now = OPENING.replace(month=4, day=2, hour=0)


def lapsed_by_the_books(office: Office, number: str) -> None:
    closed(office, "2026-04-01")


def holder_forgotten(office: Office, number: str) -> None:
    erase(office)


@pytest.mark.parametrize("meanwhile", [paid, cancelled, lapsed_by_the_clock, lapsed_by_the_books, holder_forgotten])
def test_O8_nobody_is_asked_for_what_need_not_or_cannot_be_paid_any_more(
    office: Office, meanwhile: Callable[[Office, str], None]
) -> None:
    number = ordered(office)
    closed(office, "2026-03-24")
    meanwhile(office, number)
    office.drain(office.email())
    assert states(office, "order-reminder") == ["dropped"]
    assert not [letter for letter in office.mail if "registrato" in letter["Subject"]]


def test_O8_on_the_last_day_an_order_can_still_be_reminded_of(office: Office) -> None:
    number = ordered(office)
    closed(office, "2026-03-24")
    office.now = OPENING.replace(month=4, day=1, hour=23, minute=59)
    assert number in delivered(office)["Subject"]


def test_T4_after_an_outage_of_the_mail_only_an_order_s_nearest_reminder_goes_out(office: Office) -> None:
    twice = SHOPFRONT.prices.model_copy(update={"order_reminder_days": (14, 7)})
    office.clerk = Clerk(office.log, twice, clock=lambda: office.now)
    number = ordered(office)
    closed(office, "2026-03-17", "2026-03-24")
    delivered(office)
    ids = office.ask("SELECT id, state FROM seatline.effects WHERE starts_with(id, 'order-reminder') ORDER BY at")
    assert ids == [(f"order-reminder:{number}:14", "dropped"), (f"order-reminder:{number}:7", "done")]


def test_O8_when_an_order_has_lapsed_its_holder_is_told_not_to_pay_it(office: Office) -> None:
    number = ordered(office)
    office.pay(number, "20.00")
    closed(office, "2026-04-01")
    letter = delivered(office)
    assert letter["Subject"] == f"Ordine {number}: scaduto, non è più da pagare"
    assert "Anche l’importo di 20,00 € che avevamo registrato per questo ordine è rimborsabile" in words(body(letter))


@pytest.mark.parametrize(("days", "outcome"), [(30, "done"), (31, "dropped")])
def test_O8_that_an_order_has_lapsed_is_news_for_a_month(office: Office, days: int, outcome: str) -> None:
    ordered(office)
    closed(office, "2026-04-01")
    office.now = OPENING.replace(month=4, day=1) + timedelta(days=days)
    office.drain(office.email())
    assert states(office, "lapse-notice") == [outcome]


def test_O8_of_an_order_that_lapsed_long_before_a_day_was_closed_nobody_hears(office: Office) -> None:
    ordered(office)
    closed(office, "2027-02-01")
    office.drain(office.email())
    assert states(office, "lapse-notice") == ["dropped"]


def test_a_worker_that_reads_an_old_log_for_the_first_time_writes_nothing_about_last_year(office: Office) -> None:
    office.start()
    office.order_seats(3)
    closed(office, "2026-03-24", "2026-04-01", "2026-05-30", "2026-06-22", "2026-06-30")
    office.now = OPENING.replace(year=2027)
    office.drain(office.email())
    assert office.mail == []
    assert set(states(office)) == {"dropped"}
