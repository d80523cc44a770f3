"""The price list with its policies, and the quotes made from it, with every factor shown."""

import hashlib
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Annotated, Literal, NamedTuple, Self

import msgspec
from msgspec import Meta
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from domain import terms
from domain.errors import SkuUnknown
from domain.kernel import Checked, NotNegative, Positive, Value
from domain.money import Price, net, vat
from domain.terms import Anchor, ProrationRule, add_years


def _made_here(pattern: str) -> Meta:
    """Describes an id that the engine makes itself; nothing checks it again, which would cost more than the rest."""
    return Meta(extra_json_schema={"pattern": pattern})


Sku = Annotated[str, _made_here(r"^[a-z0-9][a-z0-9-]{0,63}$")]
ServiceId = Annotated[str, _made_here(r"^S[1-9][0-9]*$")]
OrderNumber = Annotated[str, _made_here(r"^[0-9]{4,16}$")]
QuoteHash = Annotated[str, _made_here(r"^[0-9a-f]{64}$")]


LEAP_DAY = Anchor(2, 29)
_JSON = msgspec.json.Encoder()


class Kind(StrEnum):
    """What a service is: the base of a subscription, seats for users, or archive space that is only carried."""

    BASE = "base"
    SEAT = "seat"
    SPACE = "space"


class Status(StrEnum):
    """Where a service stands in its life (S8)."""

    ACTIVE = "active"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    ENDED = "ended"


class Text(Checked):
    """A text for customers in their language."""

    it: str
    en: str

    def in_language(self, language: str) -> str:
        return self.it if language == "it" else self.en


class Item(Checked):
    sku: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    kind: Kind
    unit_price: Price
    """Net euro a year."""
    included_users: NonNegativeInt = 0
    name: Text


class Method(Checked):
    """A way to pay: at once, or later with the order number as remittance reference (O3)."""

    method: Literal["card", "paypal", "mybank", "bank_transfer", "postal_slip"]
    immediate: bool
    registration_days: NonNegativeInt
    """Working days until such a payment is on the seller's books."""
    name: Text


class Lifecycle(Value):
    """How a service ages (S8); a subscription keeps the one it started with."""

    expiring_days: Positive
    restricted_days: NotNegative
    reminder_days: tuple[Positive, ...]

    def status(self, expires_on: date, on: date) -> Status:
        days_left = (expires_on - on).days
        if days_left > self.expiring_days:
            return Status.ACTIVE
        if days_left >= 0:
            return Status.EXPIRING
        return Status.EXPIRED if -days_left <= self.restricted_days else Status.ENDED


class PriceList(Checked):
    """Prices and policies of one version; decisions record what they used of it, so replay never asks again."""

    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,32}$")]
    terms: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,32}$")]
    """The version of the contract terms in force."""
    vat_rate: Price
    """Percent."""
    proration: ProrationRule
    max_seats_per_order: PositiveInt
    cart_lifetime_days: PositiveInt
    order_lifetime_days: PositiveInt
    order_reminder_days: tuple[PositiveInt, ...] = ()
    """So many days before the last payable one an unpaid order is due a reminder."""
    instructions_delay_minutes: NonNegativeInt
    lifecycle: Lifecycle
    items: tuple[Item, ...]
    methods: tuple[Method, ...]

    def __hash__(self) -> int:
        return hash(self.version)

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        kinds = [item.kind for item in self.items]
        if kinds.count(Kind.SEAT) != 1 or Kind.BASE not in kinds:
            raise ValueError("items: exactly one seat item and at least one base item are needed")
        if len(self.by_sku) != len(self.items) or len(self.by_method) != len(self.methods):
            raise ValueError("items and methods: each sku and each method may stand once")
        if max(self.order_reminder_days, default=0) >= self.order_lifetime_days:
            raise ValueError("order_reminder_days: each must be less than order_lifetime_days")
        return self

    @cached_property
    def by_sku(self) -> dict[str, Item]:
        return {item.sku: item for item in self.items}

    @cached_property
    def by_method(self) -> dict[str, Method]:
        return {method.method: method for method in self.methods}

    @cached_property
    def seat(self) -> Item:
        return next(item for item in self.items if item.kind is Kind.SEAT)

    def item(self, sku: str) -> Item:
        try:
            return self.by_sku[sku]
        except KeyError:
            raise SkuUnknown(sku=sku) from None


class Renewal(Value):
    """What a renewal order does to one service; quantity 0 means that it is not renewed."""

    service_id: ServiceId
    quantity: NotNegative
    expires_on: date
    leap_day: bool = False


# The fields of a quote and of its lines stand in alphabetical order of their JSON names: what is written is then
# already the canonical JSON that the hash is taken over.


class QuoteLine(Value, kw_only=True, rename={"start": "from", "end": "to"}, omit_defaults=True):
    fraction: str
    """The part of a year that is charged, unreduced, so that the days can be counted: `245/365`, `7/365+1+47/366`."""
    start: date
    kind: Literal["seats", "extension", "renewal"]
    net: Price
    quantity: Positive
    service_id: ServiceId | None = None
    sku: Sku
    end: date
    unit_price: Price


class Quote(Value, kw_only=True):
    """What an order costs and why: the price accepted is the price (P4)."""

    currency: Literal["EUR"] = "EUR"
    expires_on: date
    extend: bool
    hash: QuoteHash
    lines: tuple[QuoteLine, ...]
    net: Price
    price_list: str
    proration: ProrationRule
    rounding: Literal["half_up"] = "half_up"
    total: Price
    vat: Price
    vat_rate: Price


class Holding(NamedTuple):
    """A service of a subscription as pricing sees it."""

    service_id: str
    sku: str
    quantity: int
    expires_on: date
    anchor: Anchor


@lru_cache(maxsize=4_096)
def seats_quote(prices: PriceList, quantity: int, holdings: tuple[Holding, ...], *, extend: bool, on: date) -> Quote:
    """Seats for one year from the order date and, if wanted, every holding moved to their expiry (P3).

    Kept for a while: whoever orders has just seen the same quote in the cart.
    """
    target = add_years(on, 1)
    seat = prices.seat
    lines = [_line("seats", None, seat, quantity, on, target, (terms.Term(1, 1),))]
    if extend:
        lines += [
            _prorated(prices, "extension", held, held.quantity, target) for held in holdings if held.expires_on < target
        ]
    return _quote(prices, lines, extend=extend, expires_on=target)


def renewal_quote(
    prices: PriceList, chosen: Sequence[tuple[Holding, int]], years: int, *, extend: bool
) -> Quote | None:
    """Each holding renewed with its new quantity, to a common expiry or each to its own (C6); None if none is."""
    holdings = {held.service_id: held for held, _ in chosen}
    lines = [
        _prorated(prices, "renewal", holdings[renewal.service_id], renewal.quantity, renewal.expires_on)
        for renewal in renewals(chosen, years, extend=extend)
        if renewal.quantity
    ]
    return _quote(prices, lines, extend=extend, expires_on=max(line.end for line in lines)) if lines else None


def renewals(chosen: Sequence[tuple[Holding, int]], years: int, *, extend: bool) -> list[Renewal]:
    """What a renewal order does to each chosen service; one that already ends later is left as it is.

    Aligned, all go to the new expiry of the one that ends first; of equal ones, the one that stands for a 29 February.
    """
    ends = {
        held.service_id: (held.anchor.in_year(held.expires_on.year + years), held.anchor == LEAP_DAY)
        for held, quantity in chosen
        if quantity
    }
    if extend and ends:
        ends = dict.fromkeys(ends, min(ends.values(), key=lambda end: (end[0], not end[1])))
    return [
        Renewal(service_id=held.service_id, quantity=quantity, expires_on=end, leap_day=leap_day)
        for held, quantity in chosen
        for end, leap_day in [ends.get(held.service_id, (held.expires_on, False))]
        if held.expires_on < end or not quantity
    ]


def _prorated(
    prices: PriceList, kind: Literal["extension", "renewal"], held: Holding, quantity: int, end: date
) -> QuoteLine:
    share = terms.prorate(prices.proration, held.expires_on, end, anchor=held.anchor)
    return _line(kind, held.service_id, prices.item(held.sku), quantity, held.expires_on, end, share)


def _line(
    kind: Literal["seats", "extension", "renewal"],
    service_id: str | None,
    item: Item,
    quantity: int,
    start: date,
    end: date,
    share: tuple[terms.Term, ...],
) -> QuoteLine:
    return QuoteLine(
        kind=kind,
        service_id=service_id,
        sku=item.sku,
        quantity=quantity,
        unit_price=item.unit_price,
        start=start,
        end=end,
        fraction=terms.text(share),
        net=net(item.unit_price, quantity, terms.value(share)),
    )


def _quote(prices: PriceList, lines: list[QuoteLine], *, extend: bool, expires_on: date) -> Quote:
    net_total = sum((line.net for line in lines), Decimal("0.00"))
    tax = vat(net_total, prices.vat_rate)
    quote = Quote(
        hash="",
        net=net_total,
        vat=tax,
        total=net_total + tax,
        expires_on=expires_on,
        extend=extend,
        price_list=prices.version,
        proration=prices.proration,
        vat_rate=prices.vat_rate,
        lines=tuple(lines),
    )
    # Nobody has seen the quote yet, so it gets its hash in place: a copy would cost as much as making it.
    msgspec.structs.force_setattr(quote, "hash", quote_hash(quote))
    return quote


def quote_hash(quote: Quote) -> str:
    """SHA-256 of the quote's JSON without `hash`: keys sorted, no white space, UTF-8; anybody can recompute it."""
    return hashlib.sha256(_JSON.encode(quote).replace(b'"hash":"%b",' % quote.hash.encode(), b"", 1)).hexdigest()
