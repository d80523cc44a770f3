"""One customer's story: a generator of lines to send, and of times to wait before the next.

A customer knows which of its orders the shop accepts, because order numbers are drawn in the order of acceptance, and
what each costs, because the quotes are the domain's own. Both must hold whether or not the `activation` worker has
been at work meanwhile. So whoever may have paid for seats buys more of them with the alignment off, and whoever may
have services held or moved by a paid order doesn't renew.
"""

import unicodedata
from collections.abc import Generator, Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from domain.pricing import Holding, Quote, renewal_quote, seats_quote
from domain.terms import Anchor
from scripts.workload import payer

if TYPE_CHECKING:
    from scripts.workload.market import Market

Step = str | float
"""A line to send, or days to wait."""

BASE, SEAT, SPACE = "fe-solo-ricezione", "fe-utente", "fe-spazio-1gb"
PERMISSIONS = ('["read"]', '["read"]', '["read","send"]', '["read","send","archive"]', "[]")
METHODS = ("card", "card", "card", "paypal", "mybank", "bank_transfer", "bank_transfer", "postal_slip")


def plain(name: str) -> str:
    """A name as it stands in an address."""
    return "".join(c for c in unicodedata.normalize("NFD", name) if c.isascii() and c.isalpha()).lower()


_FIRST = "Anna Bruno Carla Davide Elena Fabio Giulia Irene Luca Marta Niccolò Olga Paolo Renée Sara Tommaso Zoë"
_LAST = "Bianchi Colombo Conti D’Angelo Esposito Ferrari Forlì Gallo Greco Marino Müller Ricci Romano Rossi Rosà Verdi"
FIRST_NAMES = [(name, plain(name)) for name in _FIRST.split()]
LAST_NAMES = [(name, plain(name)) for name in _LAST.split()]


class Order(NamedTuple):
    """An order that the shop has accepted."""

    number: str
    total: Decimal
    method: str
    lapses_on: date
    seats: bool
    binds: bool
    """It holds services until it is fulfilled or closed."""


class Customer:
    def __init__(self, market: "Market", number: int) -> None:
        self.market = market
        self.prices = market.prices
        self.subscription = f"SUB-{market.seed}-{number}"
        (first, plain_first), (last, plain_last) = market.pick(FIRST_NAMES), market.pick(LAST_NAMES)
        self.name = f"{first} {last}"
        self.actor = f"{plain_first}.{plain_last}@studio-{number}.example"
        self.services: list[Holding] = []
        self.users: list[str] = []

        self.cart_touched: date | None = None
        self.extend = True
        self.seats = 0
        self.renewal: tuple[tuple[Holding, int], ...] = ()
        self.years = 1

        self.held_until: date | None = None
        """The last payable day of the last order that held services."""
        self.bound = False
        """Services may be held or moved by a paid order."""
        self.grown = False
        """Bought seats may have arrived."""

    def story(self) -> Iterator[Step]:
        market = self.market
        yield self._start()
        yield market.between(0, 3)
        yield from self._settle_in()
        while market.chance(0.6):
            yield market.between(1, 20)
            yield from self._buy_seats()
        if market.has_room_for_sleepers and not self.bound:
            market.sleepers += 1
            yield from self._renew()
            market.sleepers -= 1

    # Services and users

    def _start(self) -> str:
        market = self.market
        wanted = [(BASE, 1)]
        if market.chance(0.4):
            wanted.append((SEAT, market.whole(1, 3)))
        if market.chance(0.25):
            wanted.append((SPACE, market.whole(1, 5)))
        expiry, together = self._some_expiry(), market.chance(0.6)
        for place, (sku, quantity) in enumerate(wanted, start=1):
            self.services.append(Holding(f"S{place}", sku, quantity, expiry, Anchor.of(expiry)))
            expiry = expiry if together else self._some_expiry()
        services = ",".join(
            f'{{"sku":"{service.sku}","quantity":{service.quantity},"expires_on":"{service.expires_on}"}}'
            for service in self.services
        )
        language = "it" if market.chance(0.9) else "en"
        vat_number = f',"vat_number":"{_vat_number(market.whole(0, 9_999_999))}"' if market.chance(0.3) else ""
        holder = f'{{"name":"{self.name}","email":"{self.actor}","language":"{language}"{vat_number}}}'
        return self.command("start-subscription", f'"account_holder":{holder},"services":[{services}]')

    def _some_expiry(self) -> date:
        return self.market.today + timedelta(days=self.market.whole(40, 365))

    def _settle_in(self) -> Iterator[Step]:
        """Configure users up to the free seats and sometimes beyond; change one, delete one."""
        market = self.market
        free = 1 + sum(service.quantity for service in self.services if service.sku == SEAT)
        for _ in range(market.whole(0, free) + market.chance(0.05)):
            yield self._configure(self._new_user())
            yield market.between(0, 2)
        if self.users and market.chance(0.15):
            yield self._configure(market.pick(self.users))
            yield market.between(0, 5)
        if self.users and market.chance(0.1):
            yield self.command("delete-user", f'"username":"{self.users.pop()}"', source="/panel")
            yield market.between(0, 5)

    def _new_user(self) -> str:
        market = self.market
        self.users.append(f"{market.pick(FIRST_NAMES)[1]}.{market.pick(LAST_NAMES)[1]}{market.whole(10, 99)}")
        return self.users[-1]

    def _configure(self, user: str) -> str:
        permissions = self.market.pick(PERMISSIONS)
        data = f'"username":"{user}","email":"{user}@users.example","permissions":{permissions}'
        return self.command("configure-user", data, source="/panel")

    # Seats

    def _buy_seats(self) -> Iterator[Step]:
        market = self.market
        if market.chance(0.02):
            yield self._choose_seats()
        yield self._open_cart("panel" if market.chance(0.6) else "customer_area")
        yield market.minutes(1, 10)
        yield self._choose_seats()
        yield market.minutes(1, 10)
        if not self.seats:
            return  # the base has expired meanwhile
        if market.chance(0.15):
            yield self._choose_seats()
            yield market.minutes(1, 60)
        may_extend = not self.grown and not self.bound
        # Impatient: an open order holds the services, and this one wants to move them too.
        extend = may_extend and market.chance(0.75 if self.is_free else 0.2)
        if extend != self.extend:
            yield self._switch_alignment(extend)
            yield market.minutes(1, 10)
        if market.chance(0.12):
            yield market.between(3, 60)
            return
        order = yield from self._check_out()
        if order is None and extend and self._has_cart:
            yield self._switch_alignment(extend=False)
            yield market.minutes(1, 10)
            order = yield from self._check_out()
        if order:
            yield from payer.pay(self, order)
            if self.grown and market.chance(0.2):
                yield self._configure(self._new_user())
                yield market.between(0, 2)

    def _open_cart(self, entry_point: str) -> str:
        if not self._has_cart:
            self.cart_touched, self.extend, self.seats, self.renewal = self.market.today, True, 0, ()
        return self.command("open-cart", f'"entry_point":"{entry_point}"', source=f"/{entry_point}")

    def _choose_seats(self) -> str:
        market = self.market
        quantity = market.whole(1, 5) if market.chance(0.95) else market.whole(6, 40)
        if self._has_cart and self._base_is_usable and not self.renewal:
            self.cart_touched, self.seats = market.today, quantity
            market.shopper = self.subscription
        return self.command("choose-seats", f'"quantity":{quantity}')

    def _switch_alignment(self, extend: bool) -> str:
        if self._has_cart and self._is_for_sale:
            self.cart_touched, self.extend = self.market.today, extend
        return self.command("switch-alignment", f'"extend":{"true" if extend else "false"}')

    # Renewal

    def _renew(self) -> Iterator[Step]:
        """Come back around the first expiry, and renew what has not ended."""
        market = self.market
        first = min(service.expires_on for service in self.services)
        yield max(1, (first - market.today).days + market.between(-45, 60))
        if not self.is_free:
            return
        yield self._open_cart("customer_area")
        yield market.minutes(1, 10)
        yield self._choose_renewal()
        yield market.minutes(1, 10)
        if not self.renewal:
            return
        if market.chance(0.2):
            yield self._switch_alignment(extend=False)
            yield market.minutes(1, 10)
        if order := (yield from self._check_out()):
            yield from payer.pay(self, order)

    def _choose_renewal(self) -> str:
        """Refused if all services have ended, or if the cart still holds seats."""
        market = self.market
        years = 1 if market.chance(0.8) else market.whole(2, 3)
        chosen = tuple(
            (service, market.whole(1, service.quantity) if service.sku == SPACE else service.quantity)
            for service in self.services
            if not self._has_ended(service)
        )
        if self._has_cart and chosen and not self.seats:
            self.cart_touched, self.renewal, self.years = market.today, chosen, years
        services = ",".join(
            f'{{"service_id":"{service.service_id}","quantity":{quantity}}}' for service, quantity in chosen
        )
        return self.command("choose-renewal", f'"services":[{services}],"years":{years}')

    # Order

    def _check_out(self) -> Generator[Step, None, Order | None]:
        """Place the order, sometimes after a false start; None if the shop refuses it."""
        market = self.market
        method = market.pick(METHODS)
        for share, mistake in (
            (0.02, ',"accepted_terms":"2019-05"'),
            (0.02, ""),
            (0.02, f',"accepted_terms":"{self.prices.terms}","quote_hash":"{"0" * 64}"'),
        ):
            if market.chance(share):
                yield self._place_order(method, mistake)
                yield market.minutes(1, 10)
        accepted = f',"accepted_terms":"{self.prices.terms}"'
        if not self._is_acceptable:
            yield self._place_order(method, accepted)
            yield market.minutes(1, 10)
            return None
        quote = self._quote()
        if market.chance(0.5):
            accepted += f',"quote_hash":"{quote.hash}"'
        order = Order(
            number=next(market.order_numbers),
            total=quote.total,
            method=method,
            lapses_on=market.today + timedelta(days=self.prices.order_lifetime_days),
            seats=bool(self.seats),
            binds=bool(self.renewal) or self.extend,
        )
        if order.binds:
            self.held_until = order.lapses_on
        self.cart_touched = None
        yield self._place_order(method, accepted)
        return order

    def _place_order(self, method: str, rest: str) -> str:
        return self.command("place-order", f'"payment_method":"{method}","accepted_by":"{self.name}"{rest}')

    def _quote(self) -> Quote:
        on = self.market.today
        if self.renewal:
            quote = renewal_quote(self.prices, self.renewal, self.years, extend=self.extend)
            assert quote is not None, "a renewal without any service is never chosen"
            return quote
        usable = tuple(service for service in self.services if service.expires_on >= on)
        return seats_quote(self.prices, self.seats, usable, extend=self.extend, on=on)

    def has_paid(self, order: Order) -> None:
        """Money that completes the order may have reached the shop."""
        self.grown |= order.seats
        self.bound |= order.binds

    def is_released_from(self, order: Order) -> None:
        if order.binds:
            self.held_until = None

    # What the shop would say

    @property
    def _has_cart(self) -> bool:
        lifetime = timedelta(days=self.prices.cart_lifetime_days)
        return self.cart_touched is not None and self.market.today <= self.cart_touched + lifetime

    @property
    def _base_is_usable(self) -> bool:
        return self.market.today <= self.services[0].expires_on

    @property
    def is_free(self) -> bool:
        """No order of one's own holds services."""
        return not self.bound and (self.held_until is None or self.market.today > self.held_until)

    def _has_ended(self, service: Holding) -> bool:
        return self.market.today > service.expires_on + timedelta(days=self.prices.lifecycle.restricted_days)

    @property
    def _is_for_sale(self) -> bool:
        """What is in the cart, if anything, still has a price."""
        if self.renewal:
            return not any(self._has_ended(service) for service, _ in self.renewal)
        return not self.seats or self._base_is_usable

    @property
    def _is_acceptable(self) -> bool:
        holds = bool(self.renewal) or self.extend
        full = bool(self.renewal) or self.seats > 0
        return self._has_cart and full and self._is_for_sale and (self.is_free or not holds)

    def command(self, type_: str, data: str, *, source: str = "/shop/checkout") -> str:
        data = f'{{"subscription_id":"{self.subscription}",{data}}}'
        return self.market.command(type_, self.subscription, data, source=source, actor=self.actor)


def _vat_number(digits: int) -> str:
    """A partita IVA with its check digit, by Luhn's rule."""
    number = f"{digits:07d}001"
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in number[1::2])
    return f"{number}{-(doubled + sum(map(int, number[::2]))) % 10}"
