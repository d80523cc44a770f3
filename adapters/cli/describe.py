"""Every event in a sentence for a person, in Italian and English."""

import re
from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from rich.text import Text

from adapters.cli.show import harmless
from consumers.words import Language
from domain import cart, order, payment
from domain import subscription_events as subscription
from domain.calendar import DayClosed
from domain.kernel import ERASED, PSEUDONYM, Event
from domain.pricing import Quote, Renewal

GONE = {"it": "[cancellato]", "en": "[erased]"}
_GONE = re.compile("|".join(map(re.escape, GONE.values())))

METHODS = {
    "card": ("carta", "card"),
    "paypal": ("PayPal", "PayPal"),
    "mybank": ("MyBank", "MyBank"),
    "bank_transfer": ("bonifico bancario", "bank transfer"),
    "postal_slip": ("bollettino postale", "postal slip"),
}
ENTRY_POINTS = {
    cart.EntryPoint.PANEL: ("dal pannello", "from the panel"),
    cart.EntryPoint.CUSTOMER_AREA: ("dall’area clienti", "from the customer area"),
}
REFUND_REASONS = {
    "surplus": ("più di quanto dovuto", "more than was due"),
    "late": ("arrivato troppo tardi", "it came too late"),
    "order_cancelled": ("l’ordine è stato annullato", "the order was cancelled"),
    "order_expired": ("l’ordine è scaduto", "the order lapsed"),
    "service_ended": ("il servizio era cessato", "the service had ended"),
}


class Speech:
    """How one language puts what events hold."""

    def __init__(self, language: Language) -> None:
        self.language = language

    def __call__(self, it: str, en: str) -> str:
        return it if self.language == "it" else en

    def euro(self, amount: Decimal) -> str:
        written = f"{amount:,.2f} €"
        return self(written.translate(str.maketrans(",.", ".,")), written)

    def seats(self, quantity: int) -> str:
        return self(
            f"{quantity} {'utente aggiuntivo' if quantity == 1 else 'utenti aggiuntivi'}",
            f"{quantity} {'seat' if quantity == 1 else 'seats'}",
        )

    def days(self, number: int) -> str:
        return self(f"{number} {'giorno' if number == 1 else 'giorni'}", f"{number} {'day' if number == 1 else 'days'}")

    def years(self, number: int) -> str:
        return self(f"{number} {'anno' if number == 1 else 'anni'}", f"{number} {'year' if number == 1 else 'years'}")

    def working_days(self, number: int) -> str:
        return self(
            f"{number} {'giorno lavorativo' if number == 1 else 'giorni lavorativi'}",
            f"{number} working {'day' if number == 1 else 'days'}",
        )

    def method(self, code: str) -> str:
        return self(*METHODS.get(code, (code, code)))

    def switch(self, on: bool) -> str:
        return self("attivata" if on else "disattivata", "on" if on else "off")

    def quote(self, quote: Quote) -> str:
        """What it costs, and by which price list."""
        total, net, vat, expires_on = (
            self.euro(quote.total),
            self.euro(quote.net),
            self.euro(quote.vat),
            quote.expires_on,
        )
        return self(
            f"{total} ({net} + IVA {vat}, listino {quote.price_list}), fino al {expires_on}",
            f"{total} ({net} + VAT {vat}, price list {quote.price_list}), until {expires_on}",
        )

    def personal(self, text: str) -> str:
        """What says who somebody is, as long as it may still be read."""
        return GONE[self.language] if text == ERASED or text.startswith(PSEUDONYM) else text

    def service(self, service_id: str, quantity: int, sku: str, until: date) -> str:
        return self(
            f"{service_id} {quantity} × {sku} fino al {until}", f"{service_id} {quantity} × {sku} until {until}"
        )

    def renewals(self, renewals: Iterable[Renewal]) -> str:
        """To what date each service goes, or that it isn't renewed."""
        return ", ".join(
            self.service_until(renewal.service_id, renewal.expires_on)
            if renewal.quantity
            else self(f"{renewal.service_id} non rinnovato", f"{renewal.service_id} not renewed")
            for renewal in renewals
        )

    def service_until(self, service_id: str, until: date) -> str:
        return self(f"{service_id} fino al {until}", f"{service_id} until {until}")


def dimmed(sentence: str, style: str = "") -> Text:
    """The sentence as it is shown, what was erased in it paler than the rest."""
    text = Text(harmless(sentence), style=style)
    text.highlight_regex(_GONE, "dim italic")
    return text


def describe(event: Event, language: Language = "en") -> str:
    """What happened, with its figures; every event has words in both languages."""
    say = Speech(language)
    match event:
        case subscription.SubscriptionStarted():
            holder = f"{say.personal(event.account_holder.name)} <{say.personal(event.account_holder.email)}>"
            services = ", ".join(say.service(s.service_id, s.quantity, s.sku, s.expires_on) for s in event.services)
            return say(
                f"abbonamento avviato per {holder}: {services}", f"subscription started for {holder}: {services}"
            )
        case subscription.UserConfigured():
            user = f"{say.personal(event.username)} <{say.personal(event.email)}>"
            may = ", ".join(event.permissions)
            return say(
                f"utente {user} {'modificato' if event.replaces else 'configurato'}, permessi: {may or 'nessuno'}",
                f"user {user} {'changed' if event.replaces else 'configured'}, permissions: {may or 'none'}",
            )
        case subscription.UserDeleted():
            username = say.personal(event.username)
            return say(f"utente {username} eliminato", f"user {username} deleted")
        case subscription.ServicesHeld():
            kept = ", ".join(f"{service_id} (× {quantity})" for service_id, quantity in event.keeps.items())
            return say(
                f"{kept} impegnati per l’ordine {event.order_number}", f"{kept} held for order {event.order_number}"
            )
        case subscription.ServicesReleased():
            number = event.order_number
            return say(f"servizi liberati dall’ordine {number}", f"services released by order {number}")
        case subscription.SeatsAdded():
            seats = say.seats(event.quantity)
            return say(
                f"{seats} sul pannello come {event.service_id}, dal {event.active_from} al {event.expires_on}",
                f"{seats} added as {event.service_id}, from {event.active_from} until {event.expires_on}",
            )
        case subscription.ExpiryAligned():
            return say(
                f"scadenza di {event.service_id} portata dal {event.was} al {event.expires_on},"
                f" per l’ordine {event.order_number}",
                f"expiry of {event.service_id} moved from {event.was} to {event.expires_on},"
                f" by order {event.order_number}",
            )
        case subscription.SeatsCorrected():
            service_id, was, now, number = event.service_id, event.was, event.active_from, event.order_number
            return say(
                f"inizio di {service_id} corretto dal {was} al {now}, per l’ordine {number}",
                f"start of {service_id} corrected from {was} to {now}, by order {number}",
            )
        case subscription.ExpiryCorrected():
            service_id, was, now, number = event.service_id, event.was, event.expires_on, event.order_number
            return say(
                f"scadenza di {service_id} corretta dal {was} al {now}, per l’ordine {number}",
                f"expiry of {service_id} corrected from {was} to {now}, by order {number}",
            )
        case subscription.ServiceRenewed():
            return say(
                f"{event.service_id} rinnovato dal {event.was} al {event.expires_on}, quantità {event.quantity}",
                f"{event.service_id} renewed from {event.was} to {event.expires_on}, quantity {event.quantity}",
            )
        case subscription.RenewalDeclined():
            return say(
                f"{event.service_id} non sarà rinnovato, per l’ordine {event.order_number}",
                f"{event.service_id} will not be renewed, by order {event.order_number}",
            )
        case subscription.ServiceReduced():
            service_id, had, left = event.service_id, event.was, event.quantity
            return say(f"{service_id} ridotto da {had} a {left}", f"{service_id} reduced from {had} to {left}")
        case subscription.ExpiryReminderDue():
            days, service_id, last = say.days(event.days_before), event.service_id, event.expires_on
            return say(
                f"promemoria: {service_id} scade entro {days}, il {last}",
                f"reminder due: {service_id} ends in {days} or less, on {last}",
            )
        case subscription.ServiceExpiring():
            service_id, last = event.service_id, event.expires_on
            return say(
                f"{service_id} è in scadenza: ultimo giorno {last}", f"{service_id} is expiring: last day {last}"
            )
        case subscription.ServiceExpired():
            service_id, last = event.service_id, event.expires_on
            return say(f"{service_id} è scaduto: ultimo giorno {last}", f"{service_id} has expired: last day {last}")
        case subscription.ServiceEnded():
            service_id, last = event.service_id, event.expires_on
            return say(f"{service_id} è cessato: ultimo giorno {last}", f"{service_id} has ended: last day {last}")
        case subscription.PersonalDataErased():
            operator, reason = event.operator, event.reason
            return say(
                f"dati personali cancellati da {operator}: {reason}", f"personal data erased by {operator}: {reason}"
            )
        case cart.CartOpened():
            way = say(*ENTRY_POINTS[event.entry_point])
            return say(
                f"carrello aperto {way}, estensione {say.switch(event.extend)}",
                f"cart opened {way}, extension {say.switch(event.extend)}",
            )
        case cart.SeatsChosen():
            seats, costs = say.seats(event.quantity), say.quote(event.quote)
            return say(f"scelta: {seats}, {costs}", f"{seats} chosen: {costs}")
        case cart.AlignmentSwitched():
            costs = f": {say.quote(event.quote)}" if event.quote else ""
            switched = say.switch(event.extend)
            return say(f"estensione {switched}{costs}", f"extension switched {switched}{costs}")
        case cart.RenewalChosen():
            chosen = ", ".join(f"{choice.service_id} (× {choice.quantity})" for choice in event.services)
            years, costs = say.years(event.years), say.quote(event.quote)
            return say(
                f"scelto il rinnovo per {years} di {chosen}: {costs}",
                f"renewal for {years} of {chosen} chosen: {costs}",
            )
        case cart.CartCheckedOut():
            number = event.order_number
            return say(f"carrello concluso con l’ordine {number}", f"cart checked out as order {number}")
        case cart.CartAbandoned():
            last = event.last_touched_on
            return say(f"carrello abbandonato, fermo dal {last}", f"cart abandoned, left alone since {last}")
        case order.OrderPlaced():
            method, by = say.method(event.payment_method), say.personal(event.accepted_by)
            what = say.seats(event.seats) if event.seats else say.renewals(event.renewals)
            return say(
                f"ordine {event.order_number} confermato per {what}: {say.quote(event.quote)}; con {method},"
                f" pagabile fino al {event.lapses_on}; condizioni {event.accepted_terms} accettate da {by}",
                f"order {event.order_number} placed for {what}: {say.quote(event.quote)}; by {method},"
                f" payable until {event.lapses_on}; terms {event.accepted_terms} accepted by {by}",
            )
        case order.OrderReminderDue():
            number, days, last = event.order_number, say.days(event.days_before), event.lapses_on
            return say(
                f"promemoria: ordine {number} non pagato, scade entro {days}, ultimo giorno {last}",
                f"reminder due: order {number} is not paid, lapses in {days} or less, last day {last}",
            )
        case order.OrderPartlyPaid():
            number, amount, paid = event.order_number, say.euro(event.amount), say.euro(event.paid)
            return say(
                f"ordine {number} pagato in parte: {amount} da {event.reference}, {paid} finora",
                f"order {number} partly paid: {amount} from {event.reference}, {paid} so far",
            )
        case order.OrderPaid():
            number, amount, paid = event.order_number, say.euro(event.amount), say.euro(event.paid)
            return say(
                f"ordine {number} pagato il {event.paid_on}: {amount} da {event.reference}, in tutto {paid}",
                f"order {number} paid on {event.paid_on}: {amount} from {event.reference}, {paid} in all",
            )
        case order.OrderPaymentWithdrawn():
            number, amount, paid = event.order_number, say.euro(event.amount), say.euro(event.paid)
            return say(
                f"{amount} di {event.reference} ritirati dall’ordine {number}: ne restano {paid}",
                f"{amount} of {event.reference} withdrawn from order {number}: {paid} is left",
            )
        case order.OrderPaymentCorrected():
            number, reference, now = event.order_number, event.reference, event.received_on
            not_then = say(f", non il {event.was}", f", not on {event.was}") if event.was else ""
            return say(
                f"ordine {number}: {reference} era arrivato il {now}{not_then}",
                f"order {number}: {reference} had come on {now}{not_then}",
            )
        case order.OrderFulfilled():
            number, until = event.order_number, event.expires_on
            what = say.seats(event.seats) if event.seats else say("rinnovo", "renewal")
            return say(
                f"ordine {number} evaso: {what} fino al {until}", f"order {number} fulfilled: {what} until {until}"
            )
        case order.OrderCancelled():
            number, reason = event.order_number, say.personal(event.reason)
            return say(f"ordine {number} annullato: {reason}", f"order {number} cancelled: {reason}")
        case order.OrderVoided():
            number = event.order_number
            return say(
                f"ordine {number} nullo: un servizio a cui serviva è cessato",
                f"order {number} void: a service it was for has ended",
            )
        case order.OrderExpired():
            number, last = event.order_number, event.lapsed_on
            return say(f"ordine {number} scaduto dopo il {last}", f"order {number} lapsed after {last}")
        case payment.PaymentRegistered():
            amount, typed = say.euro(event.amount), say.personal(event.order_number)
            method, valued = say.method(event.method), event.value_date
            return say(
                f"pagamento {event.reference} di {amount} registrato per «{typed}», {method} con valuta {valued}",
                f"payment {event.reference} of {amount} registered for “{typed}”, {method} with value date {valued}",
            )
        case payment.PaymentMatched():
            number, operator = event.order_number, say.personal(event.operator)
            return say(
                f"pagamento {event.reference} abbinato all’ordine {number} da {operator}",
                f"payment {event.reference} matched to order {number} by {operator}",
            )
        case payment.PaymentSplit():
            parts = ", ".join(f"{say.euro(part.amount)} → {part.order_number}" for part in event.parts)
            operator = say.personal(event.operator)
            return say(
                f"pagamento {event.reference} ripartito da {operator}: {parts}",
                f"payment {event.reference} split by {operator}: {parts}",
            )
        case payment.PaymentAllocated():
            amount, number = say.euro(event.unallocated + event.refundable), event.order_number
            return say(
                f"{amount} di {event.reference} vanno all’ordine {number}",
                f"{amount} of {event.reference} go to order {number}",
            )
        case payment.PaymentUnmatched():
            amount, number, operator = say.euro(event.amount), event.order_number, say.personal(event.operator)
            return say(
                f"{amount} di {event.reference} tolti all’ordine {number} da {operator}",
                f"{amount} of {event.reference} taken from order {number} by {operator}",
            )
        case payment.PaymentRefundDue():
            amount, reason = say.euro(event.amount), say(*REFUND_REASONS[event.reason])
            return say(
                f"{amount} di {event.reference} da rimborsare: {reason}",
                f"{amount} of {event.reference} to be refunded: {reason}",
            )
        case payment.PaymentRefunded():
            amount, operator = say.euro(event.refundable + event.unallocated), say.personal(event.operator)
            return say(
                f"{amount} di {event.reference} rimborsati da {operator}",
                f"{amount} of {event.reference} refunded by {operator}",
            )
        case payment.PaymentCorrected():
            operator, reason = say.personal(event.operator), say.personal(event.reason)
            changes = ", ".join(
                f"{name} {change.was or '–'} → {change.becomes}"
                for name, change in (
                    (say("valuta", "value date"), event.value_date),
                    (say("registrazione", "registration"), event.registered_on),
                )
                if change
            )
            return say(
                f"pagamento {event.reference} corretto da {operator}: {changes}; {reason}",
                f"payment {event.reference} corrected by {operator}: {changes}; {reason}",
            )
        case payment.PaymentTextErased():
            return say(f"testo del pagamento {event.reference} cancellato", f"text of payment {event.reference} erased")
        case DayClosed():
            return say(f"giorno {event.date} chiuso", f"day {event.date} closed")
        case _:
            raise AssertionError(f"no words for {event.topic}")
