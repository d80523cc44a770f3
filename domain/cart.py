"""Cart: what a customer intends to buy, before it is an order."""

from collections.abc import Mapping
from datetime import date, timedelta
from enum import StrEnum
from typing import assert_never

from domain import errors
from domain.kernel import ROME, Aggregate, Event, NotNegative, Positive, Value
from domain.pricing import OrderNumber, Quote, ServiceId


class EntryPoint(StrEnum):
    """The two ways into one cart (C1): Stato servizio › Aggiungi, and Gestisci › Aggiungi utente."""

    PANEL = "panel"
    CUSTOMER_AREA = "customer_area"


class RenewalChoice(Value):
    service_id: ServiceId
    quantity: NotNegative


class CartOpened(Event, topic="cart.cart-opened.v1"):
    entry_point: EntryPoint
    extend: bool
    lifetime_days: Positive


class SeatsChosen(Event, topic="cart.seats-chosen.v1"):
    quantity: Positive
    quote: Quote


class AlignmentSwitched(Event, topic="cart.alignment-switched.v1"):
    extend: bool
    quote: Quote | None
    """None while the cart is still empty."""


class RenewalChosen(Event, topic="cart.renewal-chosen.v1"):
    services: tuple[RenewalChoice, ...]
    years: Positive
    quote: Quote


class CartCheckedOut(Event, topic="cart.cart-checked-out.v1"):
    """The quote is frozen here, with every factor (C5)."""

    order_number: OrderNumber
    quote: Quote


class CartAbandoned(Event, topic="cart.cart-abandoned.v1"):
    last_touched_on: date


CartEvent = CartOpened | SeatsChosen | AlignmentSwitched | RenewalChosen | CartCheckedOut | CartAbandoned


class Cart(Aggregate[CartEvent]):
    kind = "cart"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.is_open = False
        self._clear()

    def _clear(self) -> None:
        self.quantity = 0
        self.renewal: dict[str, int] = {}
        """Chosen services with their new quantities."""
        self.years = 0
        self.extend = True
        self.lifetime_days = 0
        self.quote: Quote | None = None

    # Decisions

    def open(self, entry_point: EntryPoint, *, lifetime_days: int, on: date) -> None:
        """Open the one cart of a subscription; an open one stays as it is (C1)."""
        if self.is_stale(on):
            self.abandon()
        if not self.is_open:
            self.record(CartOpened(entry_point=entry_point, extend=True, lifetime_days=lifetime_days))

    def choose_seats(self, quantity: int, quote: Quote) -> None:
        if self.renewal:
            raise errors.CartHoldsOther
        self.record(SeatsChosen(quantity=quantity, quote=quote))

    def choose_renewal(self, services: Mapping[str, int], years: int, quote: Quote | None) -> None:
        if self.quantity:
            raise errors.CartHoldsOther
        if quote is None:
            raise errors.CartEmpty
        chosen = tuple(RenewalChoice(service_id=service, quantity=kept) for service, kept in services.items())
        self.record(RenewalChosen(services=chosen, years=years, quote=quote))

    def switch_alignment(self, extend: bool, quote: Quote | None) -> None:
        if extend != self.extend:
            self.record(AlignmentSwitched(extend=extend, quote=quote))

    def check_out(self, order_number: str, quote: Quote) -> None:
        self.record(CartCheckedOut(order_number=order_number, quote=quote))

    def abandon(self) -> None:
        self.record(CartAbandoned(last_touched_on=self._touched_on()))

    def close_day(self, closed: date) -> None:
        if self.is_stale(closed + timedelta(days=1)):
            self.abandon()

    # Questions

    @property
    def is_empty(self) -> bool:
        return not self.quantity and not self.renewal

    def refuse_unless_open(self, on: date) -> None:
        if not self.is_open or self.is_stale(on):
            raise errors.NoOpenCart

    def is_stale(self, on: date) -> bool:
        """Left alone for its whole lifetime, whether or not a closed day has said so (T2)."""
        return self.is_open and on > self._touched_on() + timedelta(days=self.lifetime_days)

    def due(self) -> date | None:
        return self._touched_on() + timedelta(days=self.lifetime_days) if self.is_open else None

    def _touched_on(self) -> date:
        assert self.time is not None, "an open cart has been opened at some time"
        return self.time.astimezone(ROME).date()

    # Memory

    def evolve(self, event: CartEvent) -> None:
        match event:
            case CartOpened():
                self._clear()
                self.is_open, self.extend, self.lifetime_days = True, event.extend, event.lifetime_days
            case SeatsChosen():
                self.quantity, self.quote = event.quantity, event.quote
            case AlignmentSwitched():
                self.extend, self.quote = event.extend, event.quote
            case RenewalChosen():
                self.renewal = {choice.service_id: choice.quantity for choice in event.services}
                self.years, self.quote = event.years, event.quote
            case CartCheckedOut() | CartAbandoned():
                self.is_open = False
            case _:
                assert_never(event)
