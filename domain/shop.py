"""The shop: one method per command, each a decision over the aggregates it concerns."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from domain import commands as c
from domain import errors
from domain.cart import Cart, EntryPoint
from domain.commands import Command
from domain.kernel import ROME, Value
from domain.moment import Aggregates, Moment
from domain.order import Order, OrderPlaced, OrderState
from domain.payment import Payment, RefundReason
from domain.pricing import Kind, PriceList, Quote, renewal_quote, renewals, seats_quote
from domain.subscription import Subscription
from domain.subscription_events import AccountHolder, StartedService
from domain.till import Till

CLOCK_SKEW = timedelta(minutes=5)
"""How far a command's time may be ahead of the clock (T1)."""


class QuoteGiven(Value):
    quote: Quote


class OrderGiven(Value):
    order_number: str
    quote: Quote
    lapses_on: date


def quote_seats(prices: PriceList, subscription: Subscription, quantity: int, *, extend: bool, on: date) -> Quote:
    """What this many seats would cost on a date, for a cart or for whoever only asks (C2, C3)."""
    most = prices.max_seats_per_order
    if not 1 <= quantity <= most:
        raise errors.QuantityOutOfRange(quantity=quantity, least=1, most=most)
    subscription.refuse_expired_base(on)
    extended = subscription.active_holdings(on) if extend else ()
    return seats_quote(prices, quantity, extended, on=on, extend=extend)


class Shop:
    """Decides commands; what comes of them is recorded in the aggregates, or refused without a trace."""

    def __init__(self, prices: PriceList, aggregates: Aggregates) -> None:
        self.prices = prices
        self.find = aggregates
        self.till = till = Till(aggregates)
        self._decisions: dict[type, Callable[[Any, Moment], Value | None]] = {
            c.StartSubscription: self.start_subscription,
            c.ConfigureUser: self.configure_user,
            c.DeleteUser: self.delete_user,
            c.OpenCart: self.open_cart,
            c.ChooseSeats: self.choose_seats,
            c.SwitchAlignment: self.switch_alignment,
            c.ChooseRenewal: self.choose_renewal,
            c.PlaceOrder: self.place_order,
            c.RegisterPayment: till.register_payment,
            c.MatchPayment: till.match_payment,
            c.UnmatchPayment: till.unmatch_payment,
            c.SplitPayment: till.split_payment,
            c.RefundPayment: till.refund_payment,
            c.CorrectPayment: self.correct_payment,
            c.CancelOrder: self.cancel_order,
            c.CloseDay: self.close_day,
            c.FulfilOrder: self.fulfil_order,
            c.CloseStreamDay: self.close_stream_day,
            c.EraseSubscription: self.erase_subscription,
        }

    def decide(self, command: Command, clock: datetime) -> tuple[Value | None, datetime]:
        """What the answer carries and the business time of the decision; raises Refusal."""
        if isinstance(command.data, errors.Refusal):
            raise command.data
        # What an event has caused comes at that event's time, which was accepted by whatever clock there was.
        if command.causation_id is None and command.time > clock + CLOCK_SKEW:
            raise errors.TimeInFuture
        at = Moment(command, clock)
        return self._decisions[type(command.data)](command.data, at), at.time

    # Subscription

    def start_subscription(self, data: c.StartSubscription, at: Moment) -> None:
        subscription = self.find.subscription(data.subscription_id)
        on = at.after(subscription)
        if subscription.exists:
            raise errors.SubscriptionExists(subscription=data.subscription_id)
        items = [self.prices.item(service.sku) for service in data.services]
        bases = [service for service, item in zip(data.services, items, strict=True) if item.kind is Kind.BASE]
        if len(bases) != 1 or bases[0].quantity != 1:
            raise errors.DataInvalid(
                field="services",
                it_reason="deve contenere un solo servizio principale",
                en_reason="needs exactly one base service",
            )
        services = [
            StartedService(
                service_id=f"S{number}",
                sku=item.sku,
                kind=item.kind,
                quantity=service.quantity,
                active_from=on,
                expires_on=service.expires_on,
                leap_day=(service.expires_on.month, service.expires_on.day) == (2, 29),
                status=self.prices.lifecycle.status(service.expires_on, on),
                included_users=item.included_users,
            )
            for number, (service, item) in enumerate(zip(data.services, items, strict=True), start=1)
        ]
        holder = AccountHolder(**dict(data.account_holder))
        subscription.start(holder, services, self.prices.lifecycle)

    def configure_user(self, data: c.ConfigureUser, at: Moment) -> None:
        subscription = self._existing(data.subscription_id)
        lapsed = self._lapsed(subscription, at)
        subscription.configure_user(data.username, data.email, data.permissions, on=at.on, lapsed=lapsed)
        self._expire(lapsed)

    def delete_user(self, data: c.DeleteUser, at: Moment) -> None:
        subscription = self._existing(data.subscription_id)
        at.after(subscription)
        subscription.delete_user(data.username)

    # Cart

    def open_cart(self, data: c.OpenCart, at: Moment) -> None:
        subscription = self._existing(data.subscription_id)
        cart = self.find.cart(data.subscription_id)
        on = at.after(subscription, cart)
        cart.open(EntryPoint(data.entry_point), lifetime_days=self.prices.cart_lifetime_days, on=on)

    def choose_seats(self, data: c.ChooseSeats, at: Moment) -> QuoteGiven:
        subscription, cart, on = self._cart(data.subscription_id, at)
        quote = quote_seats(self.prices, subscription, data.quantity, extend=cart.extend, on=on)
        cart.choose_seats(data.quantity, quote)
        return QuoteGiven(quote=quote)

    def choose_renewal(self, data: c.ChooseRenewal, at: Moment) -> QuoteGiven:
        subscription, cart, _ = self._cart(data.subscription_id, at)
        chosen = {service.service_id: service.quantity for service in data.services}
        lapsed = self._lapsed(subscription, at)
        quote = self._quote_renewal(subscription, chosen, data.years, extend=cart.extend, on=at.on, lapsed=lapsed)
        cart.choose_renewal(chosen, data.years, quote)
        assert quote is not None, "a cart refuses a renewal of nothing"
        return QuoteGiven(quote=quote)

    def switch_alignment(self, data: c.SwitchAlignment, at: Moment) -> QuoteGiven | None:
        subscription, cart, _ = self._cart(data.subscription_id, at)
        lapsed = self._lapsed(subscription, at)
        quote = None if cart.is_empty else self._quote(subscription, cart, extend=data.extend, on=at.on, lapsed=lapsed)
        cart.switch_alignment(data.extend, quote)
        return QuoteGiven(quote=quote) if quote else None

    def _quote_renewal(
        self,
        subscription: Subscription,
        chosen: Mapping[str, int],
        years: int,
        *,
        extend: bool,
        on: date,
        lapsed: Mapping[str, Order],
    ) -> Quote | None:
        holdings = subscription.chosen_holdings(chosen, on)
        subscription.refuse_displacing_users(chosen, on, lapsed=lapsed)
        return renewal_quote(self.prices, holdings, years, extend=extend)

    def _quote(
        self, subscription: Subscription, cart: Cart, *, extend: bool, on: date, lapsed: Mapping[str, Order]
    ) -> Quote:
        if cart.quantity:
            return quote_seats(self.prices, subscription, cart.quantity, extend=extend, on=on)
        quote = self._quote_renewal(subscription, cart.renewal, cart.years, extend=extend, on=on, lapsed=lapsed)
        if quote is None:
            raise errors.CartEmpty
        return quote

    # Order

    def place_order(self, data: c.PlaceOrder, at: Moment) -> OrderGiven:
        subscription, cart, _ = self._cart(data.subscription_id, at)
        if cart.is_empty:
            raise errors.CartEmpty
        lapsed, on = self._lapsed(subscription, at), at.on
        quote = self._quote(subscription, cart, extend=cart.extend, on=on, lapsed=lapsed)
        method = self.prices.by_method.get(data.payment_method)
        if method is None:
            raise errors.MethodNotAvailable(method=data.payment_method)
        if data.accepted_terms is None:
            raise errors.TermsNotAccepted(terms=self.prices.terms)
        if data.accepted_terms != self.prices.terms:
            raise errors.TermsOutdated(accepted=data.accepted_terms, terms=self.prices.terms)
        if data.quote_hash not in (None, quote.hash):
            raise errors.QuoteChanged(total=quote.total, data=QuoteGiven(quote=quote))
        renewed = renewals(subscription.chosen_holdings(cart.renewal, on), cart.years, extend=cart.extend)
        extends = (
            [held.service_id for held in subscription.active_holdings(on)] if cart.quantity and cart.extend else []
        )
        keeps = {service_id: subscription.services[service_id].final_quantity for service_id in extends}
        keeps |= {renewal.service_id: renewal.quantity for renewal in renewed}
        subscription.refuse_held(keeps, lapsed=lapsed)

        self._expire(lapsed)
        order = self.find.new_order()
        number = order.name
        lapses_on = on + timedelta(days=self.prices.order_lifetime_days)
        cart.check_out(number, quote)
        order.place(
            OrderPlaced(
                order_number=number,
                subscription_id=data.subscription_id,
                quote=quote,
                payment_method=method.method,
                immediate=method.immediate,
                registration_days=method.registration_days,
                instructions_delay_minutes=self.prices.instructions_delay_minutes,
                accepted_terms=data.accepted_terms,
                accepted_by=data.accepted_by,
                seats=cart.quantity,
                extends=tuple(extends),
                renewals=tuple(renewed),
                lapses_on=lapses_on,
                reminder_days=self.prices.order_reminder_days,
            )
        )
        subscription.hold(number, keeps)
        return OrderGiven(order_number=number, quote=quote, lapses_on=lapses_on)

    def cancel_order(self, data: c.CancelOrder, at: Moment) -> None:
        order = self.find.order(data.order_number)
        if not order.exists:
            raise errors.OrderUnknown(order=data.order_number)
        subscription = self.find.subscription(order.subject)
        order.cancel(data.reason, on=at.after(order, subscription, *self._payments_of(order)))
        self._close(order, "order_cancelled")

    def fulfil_order(self, data: c.FulfilOrder, at: Moment) -> None:
        """Give the subscription what was bought, once; if a service of it has ended, nothing, and the money back."""
        order = self.find.order(data.order_number)
        if order.state is not OrderState.PAID or order.paid_on is None:
            return
        subscription, placed, on = self.find.subscription(order.subject), order.placed, order.paid_on
        at.after(order, subscription)
        needed = {*order.moves, subscription.base.service_id} if placed.seats else set(order.moves)
        if subscription.any_ended(needed, on):
            at.after(*self._payments_of(order))
            order.void()
            self._close(order, "service_ended")
            return
        if placed.seats:
            sku = placed.quote.lines[0].sku
            expires_on = subscription.add_seats(order.name, sku, placed.seats, on=on, extend=placed.extends)
        else:
            expires_on = subscription.renew(order.name, placed.renewals, on=on)
        order.fulfil(expires_on)

    def correct_payment(self, data: c.CorrectPayment, at: Moment) -> None:
        """Correct the dates of a payment, and what its order got by them; nothing that was given is taken back."""
        payment = self.till.known_payment(data.reference)
        at.after(payment)
        value_date = data.value_date or payment.value_date
        registered_on = data.registered_on or payment.registered_on
        moved_to = registered_on if registered_on != payment.registered_on else None
        if value_date == payment.value_date and moved_to is None:
            return
        order, lapsed = None, dict[str, Order]()
        if moved_to and payment.order_it_came_for:
            order = self.find.order(payment.order_it_came_for)
            lapsed = self._refuse_correction(payment, order, moved_to, at)
        if moved_to and moved_to > at.on:
            raise errors.RegisteredInFuture(reference=payment.name, date=f"{moved_to}")

        self._expire(lapsed)
        payment.correct(value_date, registered_on, data.reason, data.operator)
        if moved_to and order:
            self._correct_order(order, payment.name, moved_to, at.on)

    def _refuse_correction(self, payment: Payment, order: Order, moved_to: date, at: Moment) -> dict[str, Order]:
        """Refuse what can't have been or others are about to change; gives the orders that have lapsed meanwhile."""
        subscription, placed_on = self.find.subscription(order.subject), order.placed_on
        at.after(order, subscription)
        if placed_on and moved_to < placed_on:
            raise errors.RegisteredBeforeOrder(
                reference=payment.name, date=f"{moved_to}", order=order.name, placed_on=f"{placed_on}"
            )
        paid_on = order.paid_on_if(payment.name, moved_to)
        if order.paid_on in (None, paid_on):
            return {}
        # Whoever activates it outside has perhaps been told the day already.
        if order.state is OrderState.PAID:
            raise errors.OrderNotFulfilled(order=order.name)
        if not order.placed.seats:
            return {}
        lapsed = self._lapsed(subscription, at)
        late = subscription.ending_too_early(order.name, paid_on, order.placed.extends, at.on)
        subscription.refuse_held([service.service_id for service in late], lapsed=lapsed)
        return lapsed

    def _correct_order(self, order: Order, reference: str, moved_to: date, on: date) -> None:
        was, placed = order.paid_on, order.placed
        order.correct_payment(reference, moved_to)
        if was and order.paid_on and order.paid_on != was and placed.seats:
            self.find.subscription(order.subject).correct_seats(
                order.name, was=was, active_from=order.paid_on, extend=placed.extends, on=on
            )

    def _close(self, order: Order, reason: RefundReason) -> None:
        """An order that ends unfulfilled frees its services and owes back what it has received (O8)."""
        self.find.subscription(order.subject).release(order.name)
        for payment in self._payments_of(order):
            payment.owe_back_from(order.name, reason)

    def _lapsed(self, subscription: Subscription, at: Moment) -> dict[str, Order]:
        """The orders that hold services and can no longer be paid, whether or not a closed day has said so (T2)."""
        on = at.after(subscription)
        held = {number: self.find.order(number) for number in subscription.held}
        lapsed = {number: order for number, order in held.items() if order.has_lapsed(on)}
        for order in lapsed.values():
            at.after(order, *self._payments_of(order))
        return lapsed

    def _expire(self, lapsed: Mapping[str, Order]) -> None:
        for order in lapsed.values():
            order.expire()
            self._close(order, "order_expired")

    def _payments_of(self, order: Order) -> list[Payment]:
        return [self.find.payment(reference) for reference in order.payments]

    # Calendar

    def close_day(self, data: c.CloseDay, at: Moment) -> None:
        calendar = self.find.calendar()
        today = min(at.after(calendar), at.clock.astimezone(ROME).date())
        calendar.close(data.date, today=today)

    def close_stream_day(self, data: c.CloseStreamDay, at: Moment) -> None:
        kind, _, name = data.stream.partition("/")
        match kind:
            case Subscription.kind:
                subscription = self.find.subscription(name)
                at.after(subscription)
                subscription.close_day(data.day)
            case Cart.kind:
                cart = self.find.cart(name)
                at.after(cart)
                cart.close_day(data.day)
            case Order.kind:
                order = self.find.order(name)
                on = at.after(order)
                if order.has_lapsed(on):
                    at.after(self.find.subscription(order.subject), *self._payments_of(order))
                    self._expire({name: order})
                else:
                    order.remind(on)
            case _:
                raise ValueError(f"no day ends for {data.stream}")

    # Forgetting

    def erase_subscription(self, data: c.EraseSubscription, at: Moment) -> None:
        subscription = self._existing(data.subscription_id)
        payments = [self.find.payment(reference) for reference in data.payments]
        at.after(subscription, *payments)
        subscription.erase(data.reason, data.operator)
        for payment in payments:
            payment.erase_text()

    # Finding

    def _existing(self, name: str) -> Subscription:
        subscription = self.find.subscription(name)
        if not subscription.exists:
            raise errors.SubscriptionUnknown(subscription=name)
        return subscription

    def _cart(self, name: str, at: Moment) -> tuple[Subscription, Cart, date]:
        subscription, cart = self._existing(name), self.find.cart(name)
        on = at.after(subscription, cart)
        cart.refuse_unless_open(on)
        return subscription, cart, on
