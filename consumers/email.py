"""Email: which event brings which letter, and whether it still makes sense when it is sent (O4, O8, S2, S8)."""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from email.message import EmailMessage
from typing import Protocol

from consumers.effects import Effect, NoLongerNeeded, Refused
from consumers.letters import Letter, Letters
from consumers.message import as_message
from consumers.seller import Seller
from domain.kernel import ROME, Recorded
from domain.order import Order, OrderExpired, OrderFulfilled, OrderPlaced, OrderReminderDue
from domain.pricing import PriceList
from domain.service import Service
from domain.subscription import Subscription
from domain.subscription_events import ExpiryReminderDue

LAPSE_IS_NEWS = timedelta(days=30)
"""After an order's last day, while somebody may still think of paying it."""


class Books(Protocol):
    """Where a consumer looks up what an event refers to."""

    def event(self, id_: str) -> Recorded: ...
    def decided_with(self, recorded: Recorded) -> Sequence[Recorded]: ...
    def order(self, number: str) -> Order: ...
    def subscription(self, name: str) -> Subscription: ...
    def placed_at(self, order: Order) -> datetime: ...


class Email:
    name = "email"

    def __init__(self, books: Books, send: Callable[[EmailMessage], None], prices: PriceList, seller: Seller) -> None:
        """`send` delivers a message to whom its `To` names; it raises Postponed, Refused or InDoubt."""
        self._books = books
        self._send = send
        self._prices = prices
        self._seller = seller

    def plan(self, recorded: Recorded) -> Effect | None:
        match recorded.event:
            case OrderPlaced(order_number=number) as event:
                # Whoever pays at once gets no instructions, so an immediate payment is given a moment to arrive.
                delay = timedelta(minutes=event.instructions_delay_minutes if event.immediate else 0)
                return _effect(f"payment-instructions:{number}", recorded, number, delay)
            case OrderReminderDue(order_number=number, days_before=days):
                return _effect(f"order-reminder:{number}:{days}", recorded, number)
            case OrderExpired(order_number=number):
                return _effect(f"lapse-notice:{number}", recorded, number)
            case OrderFulfilled(order_number=number):
                return _effect(f"seats-on-panel:{number}", recorded, number)
            case ExpiryReminderDue():
                # One letter for all that the same close of a day reminds of: its command's id names both.
                return _effect(f"expiry-reminder:{recorded.envelope.command_id}", recorded)
            case _:
                return None

    def prepare(self, effect: Effect, now: datetime) -> Callable[[], None]:
        asking = self._books.event(effect.event_id)
        subscription = self._books.subscription(asking.subject)
        holder = subscription.account_holder
        if holder is None:
            raise NoLongerNeeded("the account holder's personal data was erased")
        letters = Letters(self._prices, self._seller, holder)
        try:
            letter = self._letter(asking, subscription, letters, today=now.astimezone(ROME).date())
            message = as_message(letter, event_id=asking.id, at=effect.at, holder=holder, seller=self._seller)
        except ValueError as error:
            raise Refused(str(error)) from error
        return lambda: self._send(message)

    def _letter(self, asking: Recorded, subscription: Subscription, write: Letters, *, today: date) -> Letter:
        """What the event asks for; raises NoLongerNeeded where nobody needs to be told any more."""
        match asking.event:
            case OrderPlaced(order_number=number):
                order = self._books.order(number)
                if _needs_no_instructions(order):
                    raise NoLongerNeeded(f"the order is {order.state}")
                return write.payment_instructions(order, asking.envelope.business_time)
            case OrderReminderDue(order_number=number, days_before=days):
                order = self._books.order(number)
                if not order.is_payable(today):
                    raise NoLongerNeeded(f"the order is {order.state} and was payable until {order.placed.lapses_on}")
                if not _is_latest_reminder(days, order):
                    raise NoLongerNeeded("a later reminder takes its place")
                return write.order_reminder(order)
            case OrderExpired(order_number=number, lapsed_on=last):
                if today > last + LAPSE_IS_NEWS:
                    raise NoLongerNeeded(f"the order has been lapsed since {last}")
                return write.lapse_notice(self._books.order(number))
            case OrderFulfilled(order_number=number):
                order = self._books.order(number)
                return write.seats_on_panel(order, self._books.placed_at(order))
            case ExpiryReminderDue():
                if services := self._still_ending(asking, subscription, today):
                    return write.expiry_reminder(subscription, services)
                raise NoLongerNeeded("renewed, reminded of again or over by now")
            case _:
                raise AssertionError(f"no letter is planned for {asking.id}")

    def _still_ending(self, asking: Recorded, subscription: Subscription, today: date) -> Sequence[Service]:
        """Of what one close of a day reminded of, the services for which no later word has been said, by end."""
        reminders = [recorded.event for recorded in self._books.decided_with(asking)]
        services = [
            service
            for reminder in reminders
            if isinstance(reminder, ExpiryReminderDue)
            and (service := subscription.services[reminder.service_id]).expires_on == reminder.expires_on >= today
            and service.reminded == reminder.days_before
            and not service.declined
        ]
        return sorted(services, key=lambda service: service.expires_on)


def _effect(id_: str, recorded: Recorded, order_number: str | None = None, delay: timedelta = timedelta()) -> Effect:
    at = recorded.envelope.business_time
    return Effect(id_, recorded.subject, order_number, recorded.id, at, due_at=at + delay)


def _is_latest_reminder(days: int, order: Order) -> bool:
    """Whether none has fallen due since: after an outage of ours only the nearest is sent, too (T4)."""
    return list(order.reminders) == [later for later in order.placed.reminder_days if later < days]


def _needs_no_instructions(order: Order) -> bool:
    """Nobody is told how to pay what can't be paid any more, or what was meant to be paid at once and is."""
    return not order.awaits_payment and (order.placed.immediate or not order.is_paid)
