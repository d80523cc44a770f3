"""The till: what comes in is registered, matched to orders, and given back where it belongs to the payer again."""

from datetime import date
from decimal import Decimal

from domain import commands as c
from domain import errors
from domain.moment import Aggregates, Moment
from domain.order import BilledTo, Order
from domain.payment import NOTHING, Payment, PaymentRegistered, SplitPart


class Till:
    """Decides the commands about payments."""

    def __init__(self, aggregates: Aggregates) -> None:
        self.find = aggregates

    def register_payment(self, data: c.RegisterPayment, at: Moment) -> None:
        if data.currency != "EUR":
            raise errors.CurrencyNotAccepted(currency=data.currency)
        payment = self.find.payment(data.reference)
        if payment.exists:
            if payment.is_same(data.amount, data.order_number, data.method):
                return
            raise errors.PaymentReferenceReused(reference=data.reference)
        order = self.find.order(data.order_number)
        on = at.after(order)
        payment.register(
            PaymentRegistered(
                reference=data.reference,
                order_number=data.order_number,
                subscription_id=order.subject if order.exists else None,
                amount=data.amount,
                currency="EUR",
                method=data.method,
                value_date=data.value_date,
                registered_on=on,
            )
        )
        if order.exists:
            self._allocate(payment, order, data.amount, on)

    def match_payment(self, data: c.MatchPayment, at: Moment) -> None:
        payment, order = self.known_payment(data.reference), self.find.order(data.order_number)
        on = at.after(payment, order)
        order.refuse_unless_payable(on)
        payment.match(order.name, order.subject, data.operator)
        self._allocate(payment, order, payment.at_hand, on)

    def split_payment(self, data: c.SplitPayment, at: Moment) -> None:
        payment = self.known_payment(data.reference)
        orders = [(self.find.order(part.order_number), part.amount) for part in data.parts]
        on = at.after(payment, *(order for order, _ in orders))
        for order, _ in orders:
            order.refuse_unless_payable(on)
        payment.split([SplitPart(order_number=order.name, amount=amount) for order, amount in orders], data.operator)
        for order, amount in orders:
            self._allocate(payment, order, amount, on)

    def unmatch_payment(self, data: c.UnmatchPayment, at: Moment) -> None:
        payment, order = self.known_payment(data.reference), self.find.order(data.order_number)
        order.refuse_unless_payable(at.after(payment, order))
        payment.unmatch(order.name, data.operator)
        order.withdraw(payment.name, order.payments[payment.name])

    def refund_payment(self, data: c.RefundPayment, at: Moment) -> None:
        payment = self.known_payment(data.reference)
        at.after(payment)
        payment.refund(data.amount, data.operator)

    def _allocate(self, payment: Payment, order: Order, amount: Decimal, on: date) -> None:
        """Give a payable order as much of the money as it still misses; the rest is the payer's again (O6)."""
        share = min(amount, order.missing) if order.is_payable(on) else NOTHING
        if share:
            payment.allocate(order.name, order.subject, share)
            order.receive(payment.name, share, on=on, billed_to=self._billed_to(order))
        payment.owe_back(order.name, amount - share, "surplus" if order.is_paid else "late")

    def _billed_to(self, order: Order) -> BilledTo | None:
        # Who the account holder is decides nothing, so a payment's time may be before the subscription's last event.
        holder = self.find.subscription(order.subject).account_holder
        if holder is None:
            return None
        return BilledTo(name=holder.name, email=holder.email, tax_code=holder.tax_code, vat_number=holder.vat_number)

    def known_payment(self, reference: str) -> Payment:
        payment = self.find.payment(reference)
        if not payment.exists:
            raise errors.PaymentUnknown(reference=reference)
        return payment
