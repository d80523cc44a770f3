"""The peer: the same shop on the library as it comes.

The stock JSON transcoder and PostgreSQL recorder, get and save, one command one commit. It decides the same things by
the same rules, and takes the command models, the quotes and the refusals from the domain, so that both sides pay for
those alike. The library has nothing for answers, so none is kept, and a command that comes twice is decided twice;
what an operator does with payments, one command in a hundred, is refused as unknown.
"""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any, TypeVar
from uuid import UUID

from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import JSONTranscoder, Transcoding
from psycopg.conninfo import conninfo_to_dict

from domain import commands as c
from domain import errors
from domain.kernel import ROME
from domain.order_number import BLOCK, OrderNumbers
from domain.pricing import Kind, PriceList, Quote, renewal_quote, renewals, seats_quote
from domain.shop import CLOCK_SKEW
from scripts.benches.plain.aggregates import NOTHING, Calendar, Cart, Order, Payment, Subscription, plain

AggregateT = TypeVar("AggregateT", bound=Aggregate)


class DateAsISO(Transcoding):
    type = date
    name = "date_iso"

    def encode(self, obj: date) -> str:
        return obj.isoformat()

    def decode(self, data: str) -> date:
        return date.fromisoformat(data)


class PlainShop(Application[UUID]):
    def __init__(self, prices: PriceList, url: str, *, first_order: int, connections: int = 5) -> None:
        super().__init__(env=environment(url, connections))
        self.prices = prices
        self.numbers = OrderNumbers(count(first_order // BLOCK).__next__)
        self.decisions: dict[type, Callable[[Any, date], None]] = {
            c.StartSubscription: self.start_subscription,
            c.ConfigureUser: self.configure_user,
            c.DeleteUser: self.delete_user,
            c.OpenCart: self.open_cart,
            c.ChooseSeats: self.choose_seats,
            c.SwitchAlignment: self.switch_alignment,
            c.ChooseRenewal: self.choose_renewal,
            c.PlaceOrder: self.place_order,
            c.RegisterPayment: self.register_payment,
            c.CancelOrder: self.cancel_order,
            c.CloseDay: self.close_day,
        }

    def register_transcodings(self, transcoder: JSONTranscoder) -> None:
        super().register_transcodings(transcoder)
        transcoder.register(DateAsISO())

    def handle(self, line: bytes) -> errors.Refusal | None:
        """Parse, decide and store one command; raises LookupError, TypeError or ValueError for the unreadable."""
        envelope = json.loads(line)
        data = c.parse_data(envelope["type"], envelope["data"])
        if isinstance(data, errors.Refusal):
            return data
        time = datetime.fromisoformat(envelope["time"])
        decide = self.decisions.get(type(data))
        if decide is None:
            return errors.TypeUnknown(type=envelope["type"])
        if time > datetime.now(UTC) + CLOCK_SKEW:
            return errors.TimeInFuture()
        try:
            decide(data, time.astimezone(ROME).date())
        except errors.Refusal as refusal:
            return refusal
        return None

    def start_subscription(self, data: c.StartSubscription, on: date) -> None:
        if self._find(Subscription, Subscription.create_id(data.subscription_id)):
            raise errors.SubscriptionExists(subscription=data.subscription_id)
        items = [self.prices.item(service.sku) for service in data.services]
        if [item.kind for item in items].count(Kind.BASE) != 1:
            raise errors.DataInvalid(field="services", it_reason="", en_reason="needs exactly one base service")
        users = {Kind.BASE: 1, Kind.SEAT: 1, Kind.SPACE: 0}
        services = [
            {
                "service_id": f"S{number}",
                "sku": item.sku,
                "kind": item.kind.value,
                "quantity": service.quantity,
                "active_from": on,
                "expires_on": service.expires_on,
                "status": self.prices.lifecycle.status(service.expires_on, on).value,
                "users": users[item.kind],
            }
            for number, (service, item) in enumerate(zip(data.services, items, strict=True), start=1)
        ]
        holder, lifecycle = data.account_holder.model_dump(), plain(self.prices.lifecycle)
        self.save(Subscription(name=data.subscription_id, holder=holder, services=services, lifecycle=lifecycle))

    def configure_user(self, data: c.ConfigureUser, on: date) -> None:
        subscription = self._subscription(data.subscription_id)
        lapsed = self._expire_lapsed(subscription, on)
        subscription.configure_user(data.username, data.email, list(data.permissions), on)
        self.save(subscription, *lapsed)

    def delete_user(self, data: c.DeleteUser, on: date) -> None:
        subscription = self._subscription(data.subscription_id)
        subscription.delete_user(data.username)
        self.save(subscription)

    def open_cart(self, data: c.OpenCart, on: date) -> None:
        self._subscription(data.subscription_id)
        cart = self._find(Cart, Cart.create_id(data.subscription_id))
        if cart is None:
            lifetime = self.prices.cart_lifetime_days
            cart = Cart(name=data.subscription_id, entry_point=data.entry_point, lifetime_days=lifetime, on=on)
        else:
            if cart.is_stale(on):
                cart.abandon()
            if not cart.is_open:
                cart.open_again(data.entry_point, on)
        self.save(cart)

    def choose_seats(self, data: c.ChooseSeats, on: date) -> None:
        subscription, cart = self._open_cart(data.subscription_id, on)
        most = self.prices.max_seats_per_order
        if not 1 <= data.quantity <= most:
            raise errors.QuantityOutOfRange(quantity=data.quantity, least=1, most=most)
        cart.choose_seats(data.quantity, self._seats_quote(subscription, data.quantity, cart.extend, on), on)
        self.save(cart)

    def choose_renewal(self, data: c.ChooseRenewal, on: date) -> None:
        subscription, cart = self._open_cart(data.subscription_id, on)
        chosen = {service.service_id: service.quantity for service in data.services}
        holdings = subscription.chosen_holdings(chosen, on)
        quote = renewal_quote(self.prices, holdings, data.years, extend=cart.extend)
        cart.choose_renewal(chosen, data.years, quote, on)
        self.save(cart)

    def switch_alignment(self, data: c.SwitchAlignment, on: date) -> None:
        subscription, cart = self._open_cart(data.subscription_id, on)
        quote = None if cart.is_empty else self._quote(subscription, cart, data.extend, on)
        cart.switch_alignment(data.extend, quote, on)
        self.save(cart)

    def place_order(self, data: c.PlaceOrder, on: date) -> None:
        subscription, cart = self._open_cart(data.subscription_id, on)
        if cart.is_empty:
            raise errors.CartEmpty
        lapsed = self._expire_lapsed(subscription, on)
        quote = self._quote(subscription, cart, cart.extend, on)
        if data.payment_method not in self.prices.by_method:
            raise errors.MethodNotAvailable(method=data.payment_method)
        if data.accepted_terms is None:
            raise errors.TermsNotAccepted(terms=self.prices.terms)
        if data.accepted_terms != self.prices.terms:
            raise errors.TermsOutdated(accepted=data.accepted_terms, terms=self.prices.terms)
        if data.quote_hash not in (None, quote.hash):
            raise errors.QuoteChanged(total=quote.total)
        if cart.renewal:
            holdings = subscription.chosen_holdings(cart.renewal, on)
            keeps = {r.service_id: r.quantity for r in renewals(holdings, cart.years, extend=cart.extend)}
        elif cart.extend:
            keeps = {held.service_id: held.quantity for held in subscription.active_holdings(on)}
        else:
            keeps = {}
        subscription.refuse_held(keeps)
        quoted, number = plain(quote), next(self.numbers)
        order = Order(
            number=number,
            subscription=data.subscription_id,
            quote=quoted,
            payment_method=data.payment_method,
            accepted_terms=data.accepted_terms,
            accepted_by=data.accepted_by,
            seats=cart.quantity,
            keeps=keeps,
            lapses_on=on + timedelta(days=self.prices.order_lifetime_days),
        )
        cart.check_out(number, quoted)
        if keeps:
            subscription.hold(number, keeps)
        self.save(order, cart, subscription, *lapsed)

    def register_payment(self, data: c.RegisterPayment, on: date) -> None:
        if data.currency != "EUR":
            raise errors.CurrencyNotAccepted(currency=data.currency)
        known = self._find(Payment, Payment.create_id(data.reference))
        if known:
            if known.registered == (data.amount, data.order_number, data.method):
                return
            raise errors.PaymentReferenceReused(reference=data.reference)
        payment = Payment(
            reference=data.reference,
            order_number=data.order_number,
            amount=data.amount,
            method=data.method,
            value_date=data.value_date,
        )
        order = self._find(Order, Order.create_id(data.order_number))
        if order is None:
            self.save(payment)
            return
        share = min(data.amount, order.missing) if order.is_payable(on) else NOTHING
        if share:
            payment.allocate(order.number, share)
            order.receive(data.reference, share, on)
        if share < data.amount:
            payment.owe_back(order.number, data.amount - share, "surplus" if order.state == "paid" else "late")
        self.save(payment, order)

    def cancel_order(self, data: c.CancelOrder, on: date) -> None:
        order = self._find(Order, Order.create_id(data.order_number))
        if order is None:
            raise errors.OrderUnknown(order=data.order_number)
        if not order.is_payable(on):
            raise errors.OrderNotOpen(order=order.number)
        subscription = self._subscription(order.subscription)
        order.cancel(data.reason)
        self.save(order, subscription, *self._close(order, subscription, "order_cancelled"))

    def close_day(self, data: c.CloseDay, on: date) -> None:
        if data.date >= on:
            raise errors.DayNotOver(date=data.date.isoformat())
        calendar = self._find(Calendar, Calendar.ID) or Calendar(first=data.date)
        if data.date > calendar.closed:
            calendar.close(data.date, calendar.closed + timedelta(days=1))
        self.save(calendar)

    def _expire_lapsed(self, subscription: Subscription, on: date) -> list[Aggregate]:
        changed: list[Aggregate] = []
        for number in list(subscription.held):
            order = self._find(Order, Order.create_id(number))
            if order and order.has_lapsed(on):
                order.expire()
                changed += [order, *self._close(order, subscription, "order_expired")]
        return changed

    def _close(self, order: Order, subscription: Subscription, reason: str) -> list[Payment]:
        if order.number in subscription.held:
            subscription.release(order.number)
        payments = [self._find(Payment, Payment.create_id(reference)) for reference in order.payments]
        for payment in filter(None, payments):
            payment.owe_back_from(order.number, reason)
        return list(filter(None, payments))

    def _quote(self, subscription: Subscription, cart: Cart, extend: bool, on: date) -> Quote:
        if cart.quantity:
            return self._seats_quote(subscription, cart.quantity, extend, on)
        holdings = subscription.chosen_holdings(cart.renewal, on)
        quote = renewal_quote(self.prices, holdings, cart.years, extend=extend)
        if quote is None:
            raise errors.CartEmpty
        return quote

    def _seats_quote(self, subscription: Subscription, quantity: int, extend: bool, on: date) -> Quote:
        subscription.refuse_expired_base(on)
        return seats_quote(self.prices, quantity, subscription.active_holdings(on), extend=extend, on=on)

    def _subscription(self, name: str) -> Subscription:
        subscription = self._find(Subscription, Subscription.create_id(name))
        if subscription is None:
            raise errors.SubscriptionUnknown(subscription=name)
        return subscription

    def _open_cart(self, name: str, on: date) -> tuple[Subscription, Cart]:
        subscription = self._subscription(name)
        cart = self._find(Cart, Cart.create_id(name))
        if cart is None or not cart.is_open or cart.is_stale(on):
            raise errors.NoOpenCart
        return subscription, cart

    def _find(self, kind: type[AggregateT], id_: UUID) -> AggregateT | None:
        try:
            found: Aggregate = self.repository.get(id_)
        except AggregateNotFoundError:
            return None
        assert isinstance(found, kind)
        return found


def environment(url: str, connections: int) -> dict[str, str]:
    """The five parts of a URL that the library knows, and the size of its pool."""
    parts = conninfo_to_dict(url)
    names = {"DBNAME": "dbname", "HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password"}
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_POOL_SIZE": str(connections),
        **{f"POSTGRES_{name}": str(parts.get(part) or "") for name, part in names.items()},
    }
