"""`seatline why`: why seats are, or are not, on the panel, from the cart to the bank line."""

import argparse
from datetime import date, datetime
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from adapters.cli import DOMAIN_SAID_NO, DONE, Complaint
from adapters.cli.describe import Speech, describe, dimmed
from adapters.cli.history import plain
from adapters.cli.show import cell, console, print_json
from adapters.reasons import AtHand, Case, Effect, Reached, look
from adapters.settings import load_settings
from adapters.stories import story
from adapters.wiring import engine
from domain.cart import Cart
from domain.kernel import ROME
from domain.order import Order, OrderCancelled, OrderState
from domain.pricing import Status
from domain.service import Service
from domain.subscription import Subscription

STYLES = {True: "green", False: "yellow"}
EFFECT_STATES = {
    "planned": ("previsto", "planned"),
    "doing": ("in corso", "being done"),
    "done": ("fatto", "done"),
    "dropped": ("tralasciato", "dropped"),
    "failed": ("fallito", "failed"),
}


class Verdict(NamedTuple):
    on_panel: bool
    code: str
    """For machines; stable."""
    sentence: str
    """Why, and what would change it."""


def run(arguments: argparse.Namespace) -> int:
    subscription, say = arguments.subscription, Speech(arguments.language)
    with engine(load_settings()) as wired:
        told = story(wired.log, subscription)
        if told is None or not any(e.originator_id == f"{Subscription.kind}/{subscription}" for e in told.events):
            raise Complaint(f"there is no subscription {subscription}", DOMAIN_SAID_NO)
        cases, reached = look(wired.log, told, subscription)
    today = datetime.now(ROME).date()
    if arguments.service is not None:
        known = [case.service.service_id for case in cases if case.service]
        if arguments.service not in known:
            has = f"{subscription} has no service {arguments.service}; it has {', '.join(known)}"
            raise Complaint(has, DOMAIN_SAID_NO)
        cases = [case for case in cases if case.service and case.service.service_id == arguments.service]
    if arguments.json:
        print_json([_plain(case, verdict(case, reached, today, say), say) for case in cases])
    else:
        console().print(render([(case, verdict(case, reached, today, say)) for case in cases], say))
    return DONE


# Why, and what would change it


def verdict(case: Case, reached: Reached, today: date, say: Speech) -> Verdict:
    if case.service:
        return _of_service(case.service, case, reached, today, say)
    if case.order:
        return _of_order(case.order, case, reached, today, say)
    assert case.cart is not None, "a case is a service, an order or a cart"
    return _of_cart(case.cart, today, say)


def _of_service(service: Service, case: Case, reached: Reached, today: date, say: Speech) -> Verdict:
    if case.hidden:
        return _hidden(case, reached, say)
    last = service.expires_on
    if service.status is Status.ENDED:
        return Verdict(
            False,
            "ended",
            say(
                f"non più: cessato, l’ultimo giorno era il {last}; servono nuovi acquisti",
                f"no longer: it has ended, its last day was {last}; it has to be bought anew",
            ),
        )
    if service.status is Status.EXPIRED:
        return Verdict(
            True,
            "expired",
            say(
                f"sì, ma scaduto: l’ultimo giorno era il {last}; finché non cessa si può rinnovare",
                f"yes, but expired: its last day was {last}; until it ends it can be renewed",
            ),
        )
    if not service.usable_on(today):
        return Verdict(
            True,
            "day_not_closed",
            say(
                f"sì, anche se l’ultimo giorno era il {last}: nessun `close-day` lo ha ancora registrato",
                f"yes, though its last day was {last}: no `close-day` has recorded that yet",
            ),
        )
    return Verdict(True, "on_panel", say(f"sì, fino al {last}", f"yes, until {last}"))


def _hidden(case: Case, reached: Reached, say: Speech) -> Verdict:
    there = (
        say("sì, ma non com’è ora: ", "yes, but not as it is now: ")
        if case.is_there
        else say("non ancora: ", "not yet: ")
    )
    if case.hidden == "parked":
        why = say(
            "una vista non ha potuto seguire un evento; `seatline status` dice quale,"
            " `seatline rebuild VIEW --only SUB` la rifà",
            "a view could not take an event; `seatline status` names it,"
            " `seatline rebuild VIEW --only SUB` makes it anew",
        )
        return Verdict(case.is_there, "view_parked", there + why)
    views, at = reached.views, case.chain[-1].position
    why = say(
        f"le viste sono alla posizione {views}, l’ultimo fatto alla {at}; `seatline run projections` le porta avanti",
        f"the views are at position {views}, the last fact at {at}; `seatline run projections` brings them forward",
    )
    return Verdict(case.is_there, "view_behind", there + why)


def _of_order(order: Order, case: Case, reached: Reached, today: date, say: Speech) -> Verdict:
    match order.state:
        case OrderState.AWAITING_PAYMENT if order.has_lapsed(today):
            return _lapsed(order, say)
        case OrderState.AWAITING_PAYMENT:
            return _unpaid(order, say)
        case OrderState.PAID:
            return _paid(order, case, reached, say)
        case OrderState.EXPIRED:
            return _lapsed(order, say)
        case _:
            return _cancelled(case, say)


def _unpaid(order: Order, say: Speech) -> Verdict:
    placed = order.placed
    missing, total, method = say.euro(order.missing), say.euro(placed.quote.total), say.method(placed.payment_method)
    last, days = placed.lapses_on, say.working_days(placed.registration_days)
    return Verdict(
        False,
        "partly_paid" if order.paid else "not_paid",
        say(
            f"no: mancano {missing} di {total}, pagabili fino al {last} con {method};"
            + (f" la registrazione richiede {days}" if placed.registration_days else " la registrazione è immediata"),
            f"no: {missing} of {total} is missing, payable until {last} by {method};"
            + (f" registration takes {days}" if placed.registration_days else " registration is immediate"),
        ),
    )


def _lapsed(order: Order, say: Speech) -> Verdict:
    last = order.placed.lapses_on
    paid = say.euro(order.paid) if order.paid else say("nulla", "nothing")
    return Verdict(
        False,
        "lapsed",
        say(
            f"no: l’ordine era pagabile fino al {last}, e di {say.euro(order.placed.quote.total)} era arrivato {paid};"
            " un pagamento ora sarebbe tardivo, serve un nuovo ordine",
            f"no: the order was payable until {last}, and of {say.euro(order.placed.quote.total)} {paid} had come in;"
            " a payment now would be late, it takes a new order",
        ),
    )


def _cancelled(case: Case, say: Speech) -> Verdict:
    event = next((recorded.event for recorded in case.chain if isinstance(recorded.event, OrderCancelled)), None)
    if event is None:
        return Verdict(
            False,
            "void",
            say(
                "no: un servizio a cui l’ordine serviva era cessato prima; il denaro è da rimborsare,"
                " o da abbinare a un nuovo ordine",
                "no: a service that the order was for had ended before; the money is to be refunded,"
                " or matched to a new order",
            ),
        )
    reason = say.personal(event.reason)
    return Verdict(
        False,
        "cancelled",
        say(
            f"no: l’ordine è stato annullato ({reason}); serve un nuovo ordine",
            f"no: the order was cancelled ({reason}); it takes a new order",
        ),
    )


def _paid(order: Order, case: Case, reached: Reached, say: Speech) -> Verdict:
    effect, paid_on = case.activation, order.paid_on
    if effect is None or (effect.state == "planned" and effect.error is None and not effect.in_doubt):
        at, paid_at = reached.activation, case.chain[-1].position
        return Verdict(
            False,
            "activation_pending",
            say(
                f"non ancora: pagato il {paid_on}, l’attivazione non è ancora avvenuta (lettore alla posizione {at},"
                f" ordine alla {paid_at}); la fa `seatline run activation`",
                f"not yet: paid on {paid_on}, activation has not happened yet (its reader is at position {at},"
                f" the order at {paid_at}); `seatline run activation` does it",
            ),
        )
    retry = f"`seatline effects retry {effect.id}`"
    if effect.state == "failed":
        skip = f"`seatline effects skip {effect.id} --reason …`"
        return Verdict(
            False,
            "activation_failed",
            say(
                f"no: pagato il {paid_on}, ma l’attivazione è fallita ({effect.error}){_doubt(effect, say)};"
                f" riprova {retry}, attiva senza chiamata {skip}",
                f"no: paid on {paid_on}, but activation failed ({effect.error}){_doubt(effect, say)};"
                f" {retry} tries again, {skip} activates without a call",
            ),
        )
    due = cell(effect.due_at)
    return Verdict(
        False,
        "activation_in_doubt" if effect.in_doubt else "activation_retried",
        say(
            f"non ancora: pagato il {paid_on}, attivazione {_state(effect, say)}, tentativi {effect.attempts}"
            f" ({effect.error}){_doubt(effect, say)}; il prossimo alle {due}, subito con {retry}",
            f"not yet: paid on {paid_on}, activation {_state(effect, say)}, attempts {effect.attempts}"
            f" ({effect.error}){_doubt(effect, say)}; the next at {due}, at once by {retry}",
        ),
    )


def _of_cart(cart: Cart, today: date, say: Speech) -> Verdict:
    until = cart.due()
    if cart.is_stale(today):
        return Verdict(
            False,
            "cart_left",
            say(
                f"no: nulla è stato ordinato e il carrello valeva fino al {until}; serve un nuovo `open-cart`",
                f"no: nothing was ordered and the cart was good until {until}; it takes a new `open-cart`",
            ),
        )
    return Verdict(
        False,
        "not_ordered",
        say(
            f"no: il carrello è aperto e nulla è stato ordinato; manca `place-order`, entro il {until}",
            f"no: the cart is open and nothing was ordered; `place-order` is missing, by {until}",
        ),
    )


def _state(effect: Effect, say: Speech) -> str:
    return say(*EFFECT_STATES.get(effect.state, (effect.state, effect.state)))


def _doubt(effect: Effect, say: Speech) -> str:
    return say(", forse avvenuta", ", in doubt whether it happened") if effect.in_doubt else ""


def _advice(payment: AtHand, order: Order | None, say: Speech) -> str:
    """What an operator may do with money that is in no order."""
    amount, typed, reference = say.euro(payment.amount), say.personal(payment.typed), payment.reference
    if order is None or not order.awaits_payment:
        return say(
            f"{amount} di {reference} non sono in nessun ordine: li rende `refund-payment`,"
            " li dà a un ordine aperto `match-payment`",
            f"{amount} of {reference} is in no order: `refund-payment` gives it back,"
            " `match-payment` gives it to an open order",
        )
    command = f'match-payment {{"reference":"{reference}","order_number":"{order.name}","operator":"…"}}'
    return say(
        f"forse per questo ordine: {amount} di {reference}, per «{typed}», valuta {payment.value_date}: {command}",
        f"may be for this order: {amount} of {reference}, for “{typed}”, value date {payment.value_date}: {command}",
    )


# How it is shown


def render(cases: list[tuple[Case, Verdict]], say: Speech) -> RenderableType:
    parts: list[RenderableType] = []
    for case, found in cases:
        tree = Tree(_title(case, found, say), guide_style="dim")
        for recorded in case.chain:
            told = dimmed(describe(recorded.event, say.language))
            by = dimmed(f" · {say.personal(recorded.envelope.actor)}", "dim")
            tree.add(Text.assemble((cell(recorded.envelope.business_time), "cyan"), "  ", told, by))
        for effect in case.effects:
            tree.add(_effect(effect, say))
        for note in _notes(case, say):
            tree.add(dimmed(note, "yellow"))
        parts += [tree, Text()]
    return Group(*parts[:-1])


def _title(case: Case, found: Verdict, say: Speech) -> Text:
    return Text.assemble((_about(case, say), "bold"), say(": sul pannello? ", ": on the panel? ")) + dimmed(
        found.sentence, STYLES[found.on_panel]
    )


def _about(case: Case, say: Speech) -> str:
    if service := case.service:
        return f"{service.service_id} {service.quantity} × {service.sku}"
    return say(f"ordine {case.order.name}", f"order {case.order.name}") if case.order else say("carrello", "cart")


def _effect(effect: Effect, say: Speech) -> Text:
    at = cell(effect.due_at if effect.state == "planned" else effect.changed_at)
    error = f": {effect.error}" if effect.error else ""
    return Text.assemble((at, "cyan"), f"  {effect.id}: {_state(effect, say)}{_doubt(effect, say)}{error}")


def _notes(case: Case, say: Speech) -> list[str]:
    return [_advice(payment, case.order, say) for payment in case.money]


def _plain(case: Case, found: Verdict, say: Speech) -> dict[str, Any]:
    return {
        "service_id": case.service.service_id if case.service else None,
        "order_number": case.order.name if case.order else None,
        "on_panel": found.on_panel,
        "code": found.code,
        "sentence": found.sentence,
        "notes": _notes(case, say),
        "chain": [plain(event) | {"sentence": describe(event.event, say.language)} for event in case.chain],
        "effects": [effect._asdict() for effect in case.effects],
        "money_at_hand": [payment._asdict() for payment in case.money],
    }
