"""What account holders are told: how to pay, that an order waits or has lapsed, what is on the panel, what ends."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from stdnum import iso11649

from consumers.order_form import OrderForm, order_form
from consumers.remittance import code_line, creditor_reference, customer_code, transfer_qr
from consumers.seller import Seller
from consumers.words import Words
from domain.order import Order
from domain.pricing import PriceList
from domain.service import Service
from domain.subscription import Subscription
from domain.subscription_events import AccountHolder


class Letter(NamedTuple):
    """What is said; the template of that name says it in the holder's language."""

    template: str
    facts: Mapping[str, object]
    picture: bytes | None = None
    """A PNG that the template shows."""
    form: OrderForm | None = None
    """Attached."""


class Ending(NamedTuple):
    """A service as a reminder lists it."""

    what: str
    expires_on: date
    renewable_until: date
    order_number: str | None
    """The open order that moves its expiry once it is paid."""


class Letters:
    """What one seller writes to one account holder."""

    def __init__(self, prices: PriceList, seller: Seller, holder: AccountHolder) -> None:
        self._prices = prices
        self._seller = seller
        self._holder = holder
        self._words = Words(holder.language)

    def payment_instructions(self, order: Order, placed_at: datetime) -> Letter:
        """How to complete an order that was not paid immediately (O3, O4)."""
        # Whoever pays later is told how even if the payment was quicker than the letter.
        due = order.missing if order.awaits_payment else order.placed.quote.total
        return self._asking(due, order, "payment_instructions")._replace(form=self._form(order, placed_at))

    def order_reminder(self, order: Order) -> Letter:
        """How to pay what an order still misses, before it lapses (O8)."""
        return self._asking(order.missing, order, "order_reminder")

    def lapse_notice(self, order: Order) -> Letter:
        """The order can't be paid any more, and nothing is due (O6, O8)."""
        return Letter("lapse_notice", self._facts(order) | {"paid": order.paid})

    def seats_on_panel(self, order: Order, placed_at: datetime) -> Letter:
        """The payment is registered: seats are on the panel, or services are renewed (S2)."""
        # Whoever pays at once gets no instructions, and so the order form with this.
        form = self._form(order, placed_at) if order.placed.immediate else None
        return Letter("seats_on_panel", self._facts(order) | {"fulfilled": order.fulfilled}, form=form)

    def expiry_reminder(self, subscription: Subscription, services: Sequence[Service]) -> Letter:
        """What ends when, what that means, and how to renew it (S4, S8, C6)."""
        facts = {
            "subscription_id": subscription.name,
            "endings": [_ending(service, subscription, self._name(service.sku)) for service in services],
            "restricted_days": subscription.lifecycle.restricted_days,
            "concerns_users": any(service.users for service in services),
        }
        return Letter("expiry_reminder", facts)

    def _asking(self, due: Decimal, order: Order, template: str) -> Letter:
        """A letter that says how to pay this much of an order."""
        number, total, seller, picture = order.name, order.placed.quote.total, self._seller, None
        facts = self._facts(order) | {"due": due, "paid": total - due}
        match order.placed.payment_method:
            case "bank_transfer":
                facts["reference"] = iso11649.format(creditor_reference(number))
                picture = transfer_qr(seller, number, due) if due else None
            case "postal_slip":
                if seller.td896:
                    facts |= {"customer_code": customer_code(number), "code_line": code_line(seller, number, due)}
            case _:
                facts["payment_link"] = seller.payment_link(number)
        return Letter(template, facts, picture)

    def _facts(self, order: Order) -> dict[str, object]:
        placed, by_method = order.placed, self._prices.by_method
        return {
            "placed": placed,
            "names": {line.sku: self._name(line.sku) for line in placed.quote.lines},
            "method": self._words.name(by_method.get(placed.payment_method), placed.payment_method),
        }

    def _name(self, sku: str) -> str:
        return self._words.name(self._prices.by_sku.get(sku), sku)

    def _form(self, order: Order, placed_at: datetime) -> OrderForm:
        return order_form(order.placed, at=placed_at, holder=self._holder, prices=self._prices, seller=self._seller)


def _ending(service: Service, subscription: Subscription, name: str) -> Ending:
    moving = [number for number, keeps in subscription.held.items() if keeps.get(service.service_id)]
    return Ending(
        what=f"{service.final_quantity} × {name}",
        expires_on=service.expires_on,
        renewable_until=service.expires_on + timedelta(days=subscription.lifecycle.restricted_days),
        order_number=next(iter(moving), None),
    )
