"""What always holds, whatever people do and in whatever order, over subscriptions, carts, orders and payments.

Each run is a short history of a few customers: users come and go, payments are right, partial, too much, late, for
nobody, repeated or mistyped, days close in order or after outages, workers are late or repeat themselves, commands
carry older times, the desk forgets, prices change. After every step the invariants below are checked; what a command
left behind is compared with what its stored events replay to, as in every story (see given.py).

All 10,000 runs of 50 steps:

    HYPOTHESIS_PROFILE=full python -m pytest -q tests/domain/test_machine.py
"""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain.kernel import ROME, Recorded
from domain.order import (
    Order,
    OrderCancelled,
    OrderExpired,
    OrderPaid,
    OrderPaymentCorrected,
    OrderReminderDue,
    OrderState,
)
from domain.payment import PaymentRegistered
from domain.pricing import Kind
from domain.subscription import Subscription
from domain.subscription_events import (
    ExpiryAligned,
    ExpiryCorrected,
    SeatsAdded,
    SeatsCorrected,
    ServiceReduced,
    ServiceRenewed,
    UserConfigured,
)
from projections.catalogue import VIEWS
from projections.corrected import happened_by
from projections.folding import by_home, fold
from tests.domain.given import BASE, PRICES, SEAT, SPACE, Answer, Story, chosen, midnight_after, price_list, service

SUBS = ["SUB-1", "SUB-2", "SUB-3"]
USERS = [f"user{number:04}" for number in range(1, 7)]
DEARER = price_list(
    version="2026-02",
    items=[item.model_dump() | {"unit_price": item.unit_price + 1} for item in PRICES.items],
    proration="monthly",
    order_reminder_days=[],
)

subs = st.sampled_from([SUBS[0], SUBS[0], SUBS[0], *SUBS[1:]])
often = st.sampled_from([True, True, True, False])
picks = st.integers(0, 11)
"""Which of the orders or payments there are, counted from the newest."""
older = st.sampled_from([0, 0, 0, 0, 0, 1, 6, 45])
"""How many days before today a command says that it was given."""
quantities = st.integers(0, 4)
amounts = st.sampled_from(["0.01", "10.00", "64.39", "500.00"])


class Customers(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.story = Story()
        self.today = date(2026, 3, 2)
        self.closed: date | None = None
        self.unclosed: list[tuple[date, str]] = []
        """Consequences of closed days that the calendar worker has not come to yet."""
        self.checked = 0
        self.orders: list[str] = []
        self.bought: dict[str, tuple[str, int]] = {}
        """The seats that each order asked for, and whose it is."""
        self.received: dict[str, Decimal] = {}
        self.loose: set[str] = set()
        """Payments that were orphans at some time."""
        self.reminded: dict[str, int] = {}
        """How many days before its last one each order was last reminded of."""
        self.ended: set[str] = set()
        self.paid_on: dict[str, date] = {}
        self.fulfilled: set[str] = set()
        self.expiries: dict[tuple[str, str], date] = {}
        self.accounted: set[str] = set()
        self.charged_until: dict[tuple[str, str], date] = {}
        self.given: Counter[str] = Counter()
        """Seats that subscriptions have ever got."""
        self.reduced: Counter[str] = Counter()

    def send(self, command: str, back: int = 0, **data: Any) -> Answer:
        at = datetime.combine(self.today - timedelta(days=back), time(9, 15), ROME)
        return self.story.send(command, at=at, **data)

    def order(self, pick: int) -> Order:
        return self.story.order(self.orders[-1 - pick % len(self.orders)])

    def reference(self, pick: int) -> str:
        return list(self.received)[-1 - pick % len(self.received)]

    # Subscriptions and users

    @initialize(
        ends=st.lists(st.sampled_from([-3, 5, 10, 20, 45, 100, 300]), min_size=3, max_size=3),
        seats=st.integers(0, 3),
        restricted=st.sampled_from([90, 3]),
    )
    def three_customers(self, ends: list[int], seats: int, restricted: int) -> None:
        """Whose services end soon or later; under the short policy they end for good before an order lapses."""
        lifecycle = msgspec.structs.replace(PRICES.lifecycle, restricted_days=restricted)
        self.restricted = restricted
        self.story.reopen(PRICES.model_copy(update={"lifecycle": lifecycle, "order_reminder_days": (3, 14)}))
        for subscription, days in zip(SUBS, ends, strict=True):
            end = str(self.today + timedelta(days=days))
            services = [service(BASE, end), service(SPACE, str(self.today + timedelta(days=days + 40)))]
            if seats:
                services.append(service(SEAT, end, seats))
            holder = {"name": subscription, "email": "anna@studio.it", "language": "it"}
            self.story.start(*services, subscription_id=subscription, on=self.today, account_holder=holder)
            self.given[subscription] = seats

    @rule(subscription=subs, first=st.integers(0, 5), many=st.integers(1, 5), back=older)
    def configure_users(self, subscription: str, first: int, many: int, back: int) -> None:
        for username in USERS[first : first + many]:
            self.send("configure-user", back, subscription_id=subscription, username=username)

    @rule(subscription=subs, username=st.sampled_from(USERS), back=older)
    def delete_user(self, subscription: str, username: str, back: int) -> None:
        self.send("delete-user", back, subscription_id=subscription, username=username)

    # Carts and orders

    @rule(subscription=subs, back=older)
    def open_cart(self, subscription: str, back: int) -> None:
        self.send("open-cart", back, subscription_id=subscription)

    @rule(subscription=subs, quantity=quantities, opened=often, back=older)
    def choose_seats(self, subscription: str, quantity: int, opened: bool, back: int) -> None:
        if opened:
            self.open_cart(subscription, back)
        self.send("choose-seats", back, subscription_id=subscription, quantity=quantity)

    @rule(subscription=subs, extend=st.booleans(), back=older)
    def switch_alignment(self, subscription: str, extend: bool, back: int) -> None:
        self.send("switch-alignment", back, subscription_id=subscription, extend=extend)

    @rule(
        subscription=subs,
        services=st.dictionaries(st.sampled_from(["S1", "S2", "S3", "S4", "S5"]), quantities, min_size=1, max_size=4),
        years=st.integers(1, 2),
        opened=often,
        back=older,
    )
    def choose_renewal(self, subscription: str, services: dict[str, int], years: int, opened: bool, back: int) -> None:
        if opened:
            self.open_cart(subscription, back)
        self.send("choose-renewal", back, subscription_id=subscription, services=chosen(**services), years=years)

    @rule(subscription=subs, back=older)
    def place_order(self, subscription: str, back: int) -> None:
        cart = self.story.desk.cart(subscription)
        seats, placed = cart.quantity, self.send("place-order", back, subscription_id=subscription)
        if placed.refusal is None:
            self.orders.append(placed.order_number)
            self.bought[placed.order_number] = subscription, seats

    @rule(subscription=subs, quantity=st.integers(1, 4), extend=st.booleans())
    def order_seats(self, subscription: str, quantity: int, extend: bool) -> None:
        self.choose_seats(subscription, quantity, True, 0)
        self.switch_alignment(subscription, extend, 0)
        self.place_order(subscription, 0)

    @rule(subscription=subs, lose=st.integers(0, 2), aligned=st.booleans())
    def order_renewal(self, subscription: str, lose: int, aligned: bool) -> None:
        """All that can be renewed, with some seats fewer."""
        renewed = {
            held.service_id: max(0, held.final_quantity - (lose if held.kind is Kind.SEAT else 0))
            for held in self.story.desk.subscription(subscription).services.values()
            if held.status != "ended"
        }
        self.open_cart(subscription, 0)
        self.switch_alignment(subscription, aligned, 0)
        if renewed:
            self.choose_renewal(subscription, renewed, 1, True, 0)
        self.place_order(subscription, 0)

    @rule(subscription=subs, part=st.booleans(), days=st.sampled_from([16, 23, 28, 31]))
    def order_and_wait(self, subscription: str, part: bool, days: int) -> None:
        """An order that nobody pays, or not whole, until it is reminded of or lapses."""
        self.order_seats(subscription, 1, False)
        if part and self.orders:
            self.pay(0, "-0.01", 0)
        self.days_pass(days, True)

    @precondition(lambda self: self.orders)
    @rule(pick=picks, back=older)
    def cancel_order(self, pick: int, back: int) -> None:
        self.send("cancel-order", back, order_number=self.order(pick).name)

    @precondition(lambda self: self.orders)
    @rule(pick=picks)
    def fulfil_order(self, pick: int) -> None:
        """What the activation worker asks for: late, repeatedly, or for an order that isn't paid."""
        self.story.fulfil(self.order(pick).name)

    # Payments

    def register(self, order_number: str, amount: str, reference: str, back: int = 0) -> None:
        said: dict[str, Any] = {"order_number": order_number, "amount": amount, "reference": reference}
        answer = self.send("register-payment", back, **said)
        if reference in self.received:
            assert answer.events == []
        else:
            self.received[reference] = Decimal(amount)
            if order_number not in self.orders:
                self.loose.add(reference)

    @precondition(lambda self: self.orders)
    @rule(pick=picks, change=st.sampled_from(["0", "0", "-0.01", "0.01", "-20", "20"]), back=older)
    def pay(self, pick: int, change: str, back: int) -> None:
        order = self.order(pick)
        amount = max(order.missing + Decimal(change), Decimal("0.01"))
        self.register(order.name, f"{amount:.2f}", f"PAY-{len(self.received)}", back)

    @precondition(lambda self: self.orders)
    @rule(pick=picks)
    def pay_and_fulfil(self, pick: int) -> None:
        self.pay(pick, "0", 0)
        self.fulfil_order(pick)

    @rule(amount=amounts, mistyped=st.sampled_from(["", "1", "1000O", "ordine 10001"]), currency=st.booleans())
    def pay_nobody(self, amount: str, mistyped: str, currency: bool) -> None:
        reference = f"PAY-{len(self.received)}"
        if currency:
            said: dict[str, Any] = {"order_number": mistyped, "amount": amount, "reference": reference}
            assert self.send("register-payment", **said, currency="USD").code == "currency_not_accepted"
        self.register(mistyped, amount, reference)

    @precondition(lambda self: self.received)
    @rule(pick=picks, change=st.sampled_from(["nothing", "amount", "order_number", "method"]), back=older)
    def pay_again(self, pick: int, change: str, back: int) -> None:
        """A payment that is delivered twice, or another one under its reference."""
        registered = self.story.payment(self.reference(pick)).registered
        said = {
            "order_number": registered.order_number,
            "amount": f"{registered.amount:.2f}",
            "method": registered.method,
            "reference": registered.reference,
        }
        other = {"nothing": {}, "amount": {"amount": "1.23"}, "order_number": {"order_number": "?"}}.get(
            change, {"method": "postal_slip"}
        )
        answer = self.send("register-payment", back, **said | other)
        assert answer.events == []
        assert answer.code == ("payment_reference_reused" if other else None)

    @precondition(lambda self: self.received and self.orders)
    @rule(payment=picks, order=picks, back=older)
    def match(self, payment: int, order: int, back: int) -> None:
        self.send("match-payment", back, reference=self.reference(payment), order_number=self.order(order).name)

    @precondition(lambda self: self.received and self.orders)
    @rule(payment=picks, order=picks, back=older)
    def unmatch(self, payment: int, order: int, back: int) -> None:
        """Mostly what is matched; else any payment from any order."""
        shares = [(reference, number) for number in self.orders for reference in self.story.order(number).payments] or [
            (self.reference(payment), self.order(order).name)
        ]
        reference, number = shares[-1 - order % len(shares)]
        self.loose.add(reference)
        self.send("unmatch-payment", back, reference=reference, order_number=number)

    @precondition(lambda self: self.received and self.orders)
    @rule(payment=picks, orders=st.lists(picks, min_size=1, max_size=3), amount=amounts, back=older)
    def split(self, payment: int, orders: list[int], amount: str, back: int) -> None:
        """Over open orders, if there are any; else over any."""
        among = [number for number in self.orders if self.story.order(number).awaits_payment] or self.orders
        names = {among[-1 - pick % len(among)] for pick in orders}
        parts = [{"order_number": name, "amount": amount} for name in sorted(names)]
        self.send("split-payment", back, reference=self.reference(payment), parts=parts)

    @precondition(lambda self: self.received)
    @rule(payment=picks, amount=amounts, back=older)
    def refund(self, payment: int, amount: str, back: int) -> None:
        self.send("refund-payment", back, reference=self.reference(payment), amount=amount)

    @precondition(lambda self: self.received)
    @rule(payment=picks, any_at_all=st.booleans(), days=st.sampled_from([-400, -30, -3, -1, 1, 3, 30, 200]), back=older)
    def correct(self, payment: int, any_at_all: bool, days: int, back: int) -> None:
        """A payment, mostly of a paid order, is said to have come some days off; said again, it is no news."""
        paying = [name for order in map(self.story.order, self.orders) if order.is_paid for name in order.payments]
        if any_at_all or not paying:
            paying = list(self.received)
        reference = paying[-1 - payment % len(paying)]
        registered_on = self.story.payment(reference).registered_on
        assert registered_on is not None
        said: dict[str, Any] = {"reference": reference, "registered_on": str(registered_on + timedelta(days=days))}
        state = {number: self.story.order(number).state for number in self.orders}
        corrected = self.send("correct-payment", back, **said)
        if corrected.refusal is None:
            assert self.send("correct-payment", back, **said).events == []
            assert all(
                now is state[number] or (state[number], now) == (OrderState.AWAITING_PAYMENT, OrderState.EXPIRED)
                for number, now in ((number, self.story.order(number).state) for number in self.orders)
            )

    @rule(subscription=subs, extend=st.booleans(), before=st.integers(0, 4), after=st.integers(1, 9))
    def buy_and_correct(self, subscription: str, extend: bool, before: int, after: int) -> None:
        """Seats whose payment came one of these days, and was registered on another."""
        self.order_seats(subscription, 2, extend)
        self.days_pass(before, False)
        if self.orders:
            self.pay_and_fulfil(0)
            self.days_pass(after, False)
            self.correct(0, False, -1 if before else 1, 0)

    # Days, workers and desks

    @rule(days=st.sampled_from([1, 5, 12, 25, 60, 200]), closed=often)
    def days_pass(self, days: int, closed: bool) -> None:
        self.today += timedelta(days=days)
        if closed:
            self.close_day(0, False)

    @rule(back=st.integers(0, 3), killed=st.booleans())
    def close_day(self, back: int, killed: bool) -> None:
        """Yesterday, or a day before it, with every day that is still open; a worker that is killed goes on later."""
        day = self.today - timedelta(days=1 + back)
        closing = self.story.do("close-day", date=day.isoformat(), at=midnight_after(day))
        assert bool(closing.events) == (self.closed is None or day > self.closed)
        if closing.events:
            self.closed = day
            self.unclosed += [(day, stream) for stream, due in self.story.due.items() if due <= day]
            assert self.to_be_reminded_of(day) <= {stream for _, stream in self.unclosed}
            if not killed:
                self.calendar_worker_goes_on(False)

    @precondition(lambda self: self.unclosed)
    @rule(repeats=st.booleans())
    def calendar_worker_goes_on(self, repeats: bool) -> None:
        for day, stream in self.unclosed:
            self.story.close_stream(stream, day)
            if repeats:
                assert self.story.close_stream(stream, day).events == []
            due = self.story.due.get(stream)
            assert due is None or due > day, f"{stream} is still due"
            assert stream not in self.to_be_reminded_of(day)
        self.unclosed.clear()

    def to_be_reminded_of(self, closed: date) -> set[str]:
        """The orders that wait and lack the nearest reminder that this day's end brings, counted from the log."""
        events = [recorded.event for recorded in self.story.log]
        had = {event.order_number: event.days_before for event in events if isinstance(event, OrderReminderDue)}
        return {
            order.stream
            for order in map(self.story.order, self.orders)
            for days in order.placed.reminder_days
            if order.awaits_payment and (order.placed.lapses_on - closed).days - 1 <= days < had.get(order.name, 1_000)
        }

    @rule(dearer=st.booleans())
    def another_desk(self, dearer: bool) -> None:
        self.story.reopen(DEARER if dearer else PRICES)

    # What always holds

    @invariant()
    def each_event_keeps_its_promise(self) -> None:
        for recorded in self.story.log[self.checked :]:
            self.keeps_its_promise(recorded)
        self.checked = len(self.story.log)

    def keeps_its_promise(self, recorded: Recorded) -> None:
        subscription = recorded.subject
        match recorded.event:
            case PaymentRegistered() as registered:
                assert registered.amount == self.received[registered.reference]
            case OrderReminderDue() as due:
                self.is_due(due, recorded.envelope.business_time.date())
            case OrderCancelled() | OrderExpired() as ended:
                self.ended.add(ended.order_number)
            case OrderPaid() as paid:
                assert paid.order_number not in self.paid_on, "paid twice"
                assert paid.paid_on == recorded.envelope.business_time.date()
                assert paid.paid == paid.quote.total
                assert paid.billed_to
                assert paid.billed_to.name == subscription, "billed to somebody else"
                assert paid.paid_on <= self.story.order(paid.order_number).placed.lapses_on, "paid too late"
                self.paid_on[paid.order_number] = paid.paid_on
            case SeatsAdded() as seats:
                assert seats.active_from == self.paid_on[seats.order_number], "seats before their payment"
                assert self.bought[seats.order_number] == (subscription, seats.quantity)
                assert seats.order_number not in self.fulfilled, "seats doubled"
                self.fulfilled.add(seats.order_number)
                self.given[subscription] += seats.quantity
            case ExpiryAligned() | ServiceRenewed() as moved:
                assert moved.expires_on > moved.was, "an expiry moved back"
                ended_on = moved.was + timedelta(days=self.restricted)
                assert self.paid_on[moved.order_number] <= ended_on, "moved after its end"
                if isinstance(moved, ExpiryAligned):
                    assert self.story.order(moved.order_number).placed.quote.extend, "moved against the choice"
            case OrderPaymentCorrected(paid_on=day) as corrected if day:
                assert day <= recorded.envelope.business_time.date(), "paid in the future"
                self.paid_on[corrected.order_number] = day
            case SeatsCorrected() as corrected:
                assert corrected.order_number in self.fulfilled
                assert corrected.active_from == self.paid_on[corrected.order_number] != corrected.was
            case ExpiryCorrected() as moved:
                assert (moved.expires_on, moved.leap_day) > (moved.was, False), "an expiry moved back"
                ended_on = moved.was + timedelta(days=self.restricted)
                assert recorded.envelope.business_time.date() <= ended_on, "moved after its end"
            case ServiceReduced() as reduced:
                self.reduced[subscription] += reduced.was - reduced.quantity
            case UserConfigured() as configured if not configured.replaces:
                on = recorded.envelope.business_time.date()
                users = self.users_at(subscription, recorded)
                assert users <= self.seats_left(subscription, on), "a user without a seat"

    def is_due(self, due: OrderReminderDue, today: date) -> None:
        number, placed = due.order_number, self.story.order(due.order_number).placed
        assert number not in {*self.paid_on, *self.ended}, "reminded of what nobody has to pay"
        left = (placed.lapses_on - today).days
        assert 0 <= left <= due.days_before < self.reminded.get(number, 1_000), "reminded too early, too late or again"
        assert due.days_before == min(days for days in placed.reminder_days if days >= left), "not the nearest"
        self.reminded[number] = due.days_before

    def users_at(self, subscription: str, last: Recorded) -> int:
        """Configured users as of one event, counted from the log."""
        names: set[str] = set()
        for recorded in self.story.log[: self.story.log.index(last) + 1]:
            if recorded.originator_id == f"subscription/{subscription}":
                event: Any = recorded.event
                match type(event).__name__:
                    case "UserConfigured":
                        names.add(event.username)
                    case "UserDeleted":
                        names.discard(event.username)
        return len(names)

    def seats_left(self, subscription: str, on: date) -> int:
        """Places for users on a date, counting only what open orders leave; reckoned from the orders themselves."""
        held: dict[str, int] = {}
        for number in self.orders:
            order = self.story.order(number)
            is_open = order.state is OrderState.PAID or order.is_payable(on)
            if order.subject == subscription and is_open:
                held |= {renewal.service_id: renewal.quantity for renewal in order.placed.renewals}
        places = 0
        for owned in self.story.desk.subscription(subscription).services.values():
            left = min(owned.final_quantity, held.get(owned.service_id, owned.final_quantity))
            if owned.expires_on >= on and not owned.declined:
                places += left * {Kind.BASE: 1, Kind.SEAT: 1, Kind.SPACE: 0}[owned.kind]
        return places

    @invariant()
    def no_money_vanishes(self) -> None:
        money = self.story.money()
        assert money.received == sum(self.received.values(), Decimal())
        assert money.received == money.allocated + money.refundable + money.unallocated + money.refunded
        for reference, amount in self.received.items():
            payment = self.story.payment(reference)
            parts = [*payment.allocated.values(), payment.refundable, payment.unallocated, payment.refunded]
            assert sum(parts) == amount
            assert min(parts) >= 0
            # Only money that named no order, or that an operator took from one, waits for a person.
            assert reference in self.loose or not payment.unallocated

    @invariant()
    def orders_and_payments_tell_the_same(self) -> None:
        shares: dict[str, dict[str, Decimal]] = defaultdict(dict)
        for reference in self.received:
            for number, share in self.story.payment(reference).allocated.items():
                shares[number][reference] = share
        for number in self.orders:
            order = self.story.order(number)
            ended = order.state in (OrderState.CANCELLED, OrderState.EXPIRED)
            assert shares[number] == ({} if ended else order.payments)
            assert order.paid <= order.placed.quote.total
            if not ended:
                assert order.is_paid == (order.paid == order.placed.quote.total)
            assert order.is_paid <= (number in self.paid_on)

    @invariant()
    def seats_bought_are_active_or_expired(self) -> None:
        for name in SUBS:
            services = self.story.desk.subscription(name).services.values()
            seats = sum(held.quantity for held in services if held.kind is Kind.SEAT)
            assert seats == self.given[name] - self.reduced[name]
        activated = {number for number in self.orders if self.story.order(number).state is OrderState.FULFILLED}
        assert {number for number in activated if self.bought[number][1]} == self.fulfilled

    @invariant()
    def no_expiry_moves_back(self) -> None:
        for name in SUBS:
            for held in self.story.desk.subscription(name).services.values():
                before = self.expiries.get((name, held.service_id), date.min)
                assert held.expires_on >= before
                self.expiries[name, held.service_id] = held.expires_on

    @invariant()
    def no_service_is_in_two_open_orders(self) -> None:
        for name in SUBS:
            touched: Counter[str] = Counter()
            for number in self.orders:
                order = self.story.order(number)
                if order.subject == name and order.state in (OrderState.AWAITING_PAYMENT, OrderState.PAID):
                    touched.update(order.placed.extends)
                    touched.update(renewal.service_id for renewal in order.placed.renewals)
            assert all(times == 1 for times in touched.values()), touched

    @invariant()
    def only_open_orders_hold_services(self) -> None:
        for name in SUBS:
            for number in self.story.desk.subscription(name).held:
                assert self.story.order(number).state in (OrderState.AWAITING_PAYMENT, OrderState.PAID)

    @invariant()
    def what_was_charged_was_given_and_no_time_twice(self) -> None:
        for number in self.orders:
            order = self.story.order(number)
            if order.state is OrderState.FULFILLED and number not in self.accounted:
                self.accounted.add(number)
                services = self.story.desk.subscription(order.subject).services
                for line in order.placed.quote.lines:
                    if line.service_id:
                        key = order.subject, line.service_id
                        assert line.start >= self.charged_until.get(key, date.min), "charged twice"
                        assert services[line.service_id].expires_on >= line.end, "charged and not given"
                        self.charged_until[key] = line.end

    @invariant()
    def while_every_service_may_be_used_every_user_has_a_seat(self) -> None:
        for name in SUBS:
            subscription: Subscription = self.story.desk.subscription(name)
            assert subscription.time is not None
            on = subscription.time.date()
            if all(held.usable_on(on) for held in subscription.services.values() if held.kind is not Kind.SPACE):
                assert len(subscription.users) <= self.seats_left(name, on)

    @invariant()
    def the_index_of_due_dates_is_what_the_streams_say(self) -> None:
        said: Mapping[str, date] = {
            stream: due for stream, replayed in self.story.replayed.items() if (due := replayed.due())
        }
        assert said == self.story.due

    def teardown(self) -> None:
        self.story.check_replay()
        for name in SUBS:
            self.every_past_can_be_shown([recorded for recorded in self.story.log if recorded.subject == name])

    def every_past_can_be_shown(self, known: list[Recorded]) -> None:
        times = [recorded.envelope.business_time for recorded in known]
        assert happened_by(max(times, default=midnight_after(self.today)), known) == known
        for moment in times[:: len(times) // 4 + 1]:
            past = happened_by(moment, known)
            for view in (view for view in VIEWS.values() if not view.home):
                homes = by_home(view, [recorded for recorded in past if recorded.event.topic in view.topics])
                assert not fold(view, homes, lambda _: {}).poison


TestCustomers = Customers.TestCase
TestCustomers.settings = settings(
    settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
