"""Every way the domain says no: a stable code, and a text in Italian and English."""

import re
from typing import ClassVar

from domain.kernel import Value

AS_GIVEN = ("type", "field", "sku", "service", "order", "method", "accepted")
"""Facts that a command may have put in any words."""
NAME_OF_A_THING = re.compile(r"[A-Za-z0-9._:/{}\[\]-]+")


class Refusal(Exception):
    """A decision against a command: it changes nothing and is an answer like any other (K2)."""

    code: ClassVar[str]
    it: ClassVar[str]
    en: ClassVar[str]
    personal: ClassVar[bool] = False
    """Its text says who somebody is."""

    def __init__(self, *, data: Value | None = None, **facts: object) -> None:
        super().__init__(self.code)
        self.facts = facts
        self.data = data
        """What the answer carries beside the refusal, such as the new quote."""

    @property
    def message(self) -> dict[str, str]:
        facts = self.facts | {name: _quotable(self.facts[name]) for name in AS_GIVEN if name in self.facts}
        return {"it": self.it.format(**facts), "en": self.en.format(**facts)}


def _quotable(given: object) -> object:
    """Answers are kept for ever in plain: of what could be somebody's name or address they say nothing."""
    return given if NAME_OF_A_THING.fullmatch(str(given)) else "…"


class TypeUnknown(Refusal):
    code = "type_unknown"
    it = "Il tipo di comando «{type}» non esiste."
    en = "There is no command type “{type}”."


class DataInvalid(Refusal):
    code = "data_invalid"
    it = "Il campo «{field}» {it_reason}."
    en = "The field “{field}” {en_reason}."


class CommandIdReused(Refusal):
    code = "command_id_reused"
    it = "L’identificativo di comando «{id}» è già stato usato per un altro comando."
    en = "The command id “{id}” has already been used for another command."


class TimeInFuture(Refusal):
    code = "time_in_future"
    it = "L’ora del comando è oltre cinque minuti nel futuro."
    en = "The command's time is more than five minutes in the future."


class SubscriptionExists(Refusal):
    code = "subscription_exists"
    it = "L’abbonamento {subscription} esiste già."
    en = "Subscription {subscription} exists already."


class SubscriptionUnknown(Refusal):
    code = "subscription_unknown"
    it = "L’abbonamento {subscription} non esiste."
    en = "There is no subscription {subscription}."


class SkuUnknown(Refusal):
    code = "sku_unknown"
    it = "L’articolo «{sku}» non è nel listino."
    en = "The price list has no item “{sku}”."


class ServiceUnknown(Refusal):
    code = "service_unknown"
    it = "Il servizio {service} non fa parte dell’abbonamento."
    en = "Service {service} is not part of the subscription."


class ServiceEnded(Refusal):
    code = "service_ended"
    it = "Il servizio {service} è cessato e non può essere rinnovato."
    en = "Service {service} has ended and can no longer be renewed."


class BaseServiceExpired(Refusal):
    code = "base_service_expired"
    it = "Il servizio principale è scaduto il {expired_on}: prima va rinnovato."
    en = "The base service expired on {expired_on}: renew it first."


class NoOpenCart(Refusal):
    code = "no_open_cart"
    it = "Non c’è un carrello aperto: aprirlo con Aggiungi."
    en = "There is no open cart: open one with Add."


class CartEmpty(Refusal):
    code = "cart_empty"
    it = "Il carrello è vuoto."
    en = "The cart is empty."


class CartHoldsOther(Refusal):
    code = "cart_holds_other"
    it = "Il carrello contiene già l’altra scelta (posti o rinnovo): prima va completato."
    en = "The cart already holds the other choice (seats or a renewal): complete it first."


class QuantityOutOfRange(Refusal):
    code = "quantity_out_of_range"
    it = "La quantità {quantity} non è ammessa: da {least} a {most}."
    en = "Quantity {quantity} is not possible: from {least} to {most}."


class QuoteChanged(Refusal):
    code = "quote_changed"
    it = "Il preventivo è cambiato: il nuovo totale è {total} €."
    en = "The quote has changed: the new total is €{total}."


class TermsNotAccepted(Refusal):
    code = "terms_not_accepted"
    it = "Le condizioni contrattuali {terms} non sono state accettate."
    en = "The contract terms {terms} have not been accepted."


class TermsOutdated(Refusal):
    code = "terms_outdated"
    it = "Sono state accettate le condizioni {accepted}; valgono le condizioni {terms}."
    en = "Terms {accepted} were accepted; the terms in force are {terms}."


class MethodNotAvailable(Refusal):
    code = "method_not_available"
    it = "Il metodo di pagamento «{method}» non è disponibile."
    en = "The payment method “{method}” is not available."


class ServiceInOpenOrder(Refusal):
    code = "service_in_open_order"
    it = "Il servizio {service} è già compreso nell’ordine {order}, ancora aperto."
    en = "Service {service} is already part of order {order}, which is still open."


class OrderUnknown(Refusal):
    code = "order_unknown"
    it = "L’ordine {order} non esiste."
    en = "There is no order {order}."


class OrderNotOpen(Refusal):
    code = "order_not_open"
    it = "L’ordine {order} non è in attesa di pagamento."
    en = "Order {order} is not awaiting payment."


class PaymentUnknown(Refusal):
    code = "payment_unknown"
    it = "Il pagamento {reference} non esiste."
    en = "There is no payment {reference}."


class PaymentReferenceReused(Refusal):
    code = "payment_reference_reused"
    it = "Il riferimento {reference} è già di un pagamento con altro importo, ordine o metodo."
    en = "Reference {reference} already belongs to a payment of another amount, order or method."


class PaymentNotAvailable(Refusal):
    code = "payment_not_available"
    it = "Del pagamento {reference} sono disponibili {available} €, ne servono {asked}."
    en = "Of payment {reference} €{available} are at hand, €{asked} are asked for."


class PaymentNotAllocated(Refusal):
    code = "payment_not_allocated"
    it = "Il pagamento {reference} non è attribuito all’ordine {order}."
    en = "Payment {reference} is not allocated to order {order}."


class RegisteredInFuture(Refusal):
    code = "registered_in_future"
    it = "Il pagamento {reference} non può risultare registrato il {date}: quel giorno deve ancora venire."
    en = "Payment {reference} can't have been registered on {date}: that day is still to come."


class RegisteredBeforeOrder(Refusal):
    code = "registered_before_order"
    it = "Il pagamento {reference} non può risultare registrato il {date}: l’ordine {order} è del {placed_on}."
    en = "Payment {reference} can't have been registered on {date}: order {order} was placed on {placed_on}."


class OrderNotFulfilled(Refusal):
    code = "order_not_fulfilled"
    it = "L’ordine {order} è pagato ma non ancora evaso: la data si può correggere dopo."
    en = "Order {order} is paid and not yet fulfilled: the date can be corrected afterwards."


class CurrencyNotAccepted(Refusal):
    code = "currency_not_accepted"
    it = "Si accettano solo pagamenti in EUR, non in {currency}."
    en = "Payments are accepted in EUR only, not in {currency}."


class UsernameInvalid(Refusal):
    code = "username_invalid"
    it = "Il nome utente deve avere da 8 a 64 lettere o cifre (ammessi anche . _ - @)."
    en = "A username has 8 to 64 letters or digits (and may contain . _ - @)."


class UserUnknown(Refusal):
    code = "user_unknown"
    personal = True
    it = "L’utente «{username}» non è configurato."
    en = "There is no configured user “{username}”."


class ReadPermissionMissing(Refusal):
    code = "read_permission_missing"
    it = "Senza il permesso di lettura non se ne possono concedere altri."
    en = "Without the read permission no other can be granted."


class NoFreeSeat(Refusal):
    code = "no_free_seat"
    it = "Nessun posto è libero (in tutto {seats}): aggiungere utenti dal carrello."
    en = "No seat is free ({seats} in all): add seats from the cart."


class ConfiguredUsersInTheWay(Refusal):
    code = "configured_users_in_the_way"
    personal = True
    it = "Posti che resterebbero: {left}; utenti configurati: {configured}. Eliminarne prima dal pannello: {usernames}."
    en = "Seats that would remain: {left}; configured users: {configured}. Delete some in the panel first: {usernames}."


class DayNotOver(Refusal):
    code = "day_not_over"
    it = "Il giorno {date} non è ancora finito a Roma."
    en = "The day {date} is not over in Rome yet."
