"""Every event in a few words for a person."""

from decimal import Decimal

from domain import cart, order, payment
from domain import subscription_events as subscription
from domain.calendar import DayClosed
from domain.kernel import Event

REFUND_REASONS = {
    "surplus": "more than was due",
    "late": "it came too late",
    "order_cancelled": "the order was cancelled",
    "order_expired": "the order lapsed",
    "service_ended": "the service had ended",
}


def describe(event: Event) -> str:
    match event:
        case subscription.SubscriptionStarted():
            return f"subscription started with {_some(len(event.services), 'service')}"
        case subscription.UserConfigured():
            return f"user {event.username} {'changed' if event.replaces else 'configured'}"
        case subscription.UserDeleted():
            return f"user {event.username} deleted"
        case subscription.ServicesHeld():
            return f"{', '.join(event.keeps)} held by order {event.order_number}"
        case subscription.ServicesReleased():
            return f"services released by order {event.order_number}"
        case subscription.SeatsAdded():
            return f"{_some(event.quantity, 'seat')} added as {event.service_id} until {event.expires_on}"
        case subscription.ExpiryAligned():
            return f"expiry of {event.service_id} moved from {event.was} to {event.expires_on}"
        case subscription.ServiceRenewed():
            return f"{event.service_id} renewed from {event.was} to {event.expires_on}, quantity {event.quantity}"
        case subscription.RenewalDeclined():
            return f"{event.service_id} will not be renewed"
        case subscription.ServiceReduced():
            return f"{event.service_id} reduced from {event.was} to {event.quantity}"
        case subscription.ExpiryReminderDue():
            return f"reminder due: {event.service_id} ends in {event.days_before} days or less, on {event.expires_on}"
        case subscription.ServiceExpiring() | subscription.ServiceExpired() | subscription.ServiceEnded():
            word = {"ServiceExpiring": "is expiring", "ServiceExpired": "has expired", "ServiceEnded": "has ended"}
            return f"{event.service_id} {word[type(event).__name__]} (last day {event.expires_on})"
        case cart.CartOpened():
            return f"cart opened from the {event.entry_point.replace('_', ' ')}"
        case cart.SeatsChosen():
            return f"{_some(event.quantity, 'seat')} chosen, {_euro(event.quote.total)}"
        case cart.AlignmentSwitched():
            return f"extension switched {'on' if event.extend else 'off'}" + (
                f", {_euro(event.quote.total)}" if event.quote else ""
            )
        case cart.RenewalChosen():
            return f"renewal of {_some(len(event.services), 'service')} chosen, {_euro(event.quote.total)}"
        case cart.CartCheckedOut():
            return f"cart checked out as order {event.order_number}"
        case cart.CartAbandoned():
            return f"cart abandoned, left alone since {event.last_touched_on}"
        case order.OrderPlaced():
            return f"order {event.order_number} placed, {_euro(event.quote.total)} by {event.payment_method}"
        case order.OrderPartlyPaid():
            return f"order {event.order_number} has received {_euro(event.paid)} so far"
        case order.OrderPaid():
            return f"order {event.order_number} paid"
        case order.OrderPaymentWithdrawn():
            return f"{_euro(event.amount)} withdrawn from order {event.order_number}"
        case order.OrderFulfilled():
            return f"order {event.order_number} fulfilled"
        case order.OrderCancelled():
            return f"order {event.order_number} cancelled: {event.reason}"
        case order.OrderVoided():
            return f"order {event.order_number} void: a service it was for has ended"
        case order.OrderExpired():
            return f"order {event.order_number} lapsed after {event.lapsed_on}"
        case payment.PaymentRegistered():
            return f"payment {event.reference} of {_euro(event.amount)} registered for “{event.order_number}”"
        case payment.PaymentMatched():
            return f"payment {event.reference} matched to order {event.order_number} by {event.operator}"
        case payment.PaymentSplit():
            return f"payment {event.reference} split over {len(event.parts)} orders by {event.operator}"
        case payment.PaymentAllocated():
            return (
                f"{_euro(event.unallocated + event.refundable)} of {event.reference} go to order {event.order_number}"
            )
        case payment.PaymentUnmatched():
            return (
                f"{_euro(event.amount)} of {event.reference} taken from order {event.order_number} by {event.operator}"
            )
        case payment.PaymentRefundDue():
            return f"{_euro(event.amount)} of {event.reference} to be refunded: {REFUND_REASONS[event.reason]}"
        case payment.PaymentRefunded():
            return f"{_euro(event.refundable + event.unallocated)} of {event.reference} refunded by {event.operator}"
        case DayClosed():
            return f"day {event.date} closed"
        case _:
            return event.topic


def _some(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _euro(amount: Decimal) -> str:
    return f"{amount:,.2f} €"
