"""The commands that the outside may send, and the three that the engine gives itself; strict: input is hostile."""

import re
from datetime import date, datetime
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from domain.errors import DataInvalid, Refusal, TypeUnknown
from domain.kernel import Checked
from domain.money import Amount

PREFIX = "seatline.command."
CIVIL_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$")]
"""An id given by others: a subscription's or a payment's."""


def _civil_date(value: object) -> date:
    # fromisoformat alone would take the week date 2026-W10-1 too.
    if isinstance(value, str) and CIVIL_DATE.fullmatch(value):
        return date.fromisoformat(value)
    raise ValueError("a civil date is written YYYY-MM-DD")


CivilDate = Annotated[
    date, BeforeValidator(_civil_date), Field(strict=False, ge=date(2000, 1, 1), le=date(2199, 12, 31))
]
# `=?` could open an encoded word in a mail header: some Python versions decode and inject it.
Line = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^(?:[^=]|=+[^=?])*=*$")]
"""One line of free text that may stand in a mail header; control characters never get this far."""
Email = Annotated[
    str, Field(max_length=254, pattern=r"^[A-Za-z0-9.!#$%&'*+/_`{|}~-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,63}$")
]
Permission = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
Name = Annotated[str, Field(min_length=1, max_length=64)]
"""A name that the domain looks up and refuses with a code of its own where it is unknown."""
Quantity = Annotated[int, Field(ge=-1_000_000, le=1_000_000)]
"""The domain says what range is possible; absurd numbers don't get that far."""


class CommandData(Checked):
    model_config = ConfigDict(strict=True)

    def streams(self) -> tuple[str, ...]:
        """The streams that deciding this is known to need; others are found on the way."""
        return ()


class OfSubscription(CommandData):
    subscription_id: Id

    def streams(self) -> tuple[str, ...]:
        return (f"subscription/{self.subscription_id}",)


class OfCart(OfSubscription):
    def streams(self) -> tuple[str, ...]:
        return (f"subscription/{self.subscription_id}", f"cart/{self.subscription_id}")


class Holder(CommandData):
    name: Line
    email: Email
    language: Literal["it", "en"]
    tax_code: Annotated[str | None, Field(pattern=r"^[A-Z0-9]{5,28}$")] = None
    vat_number: Annotated[str | None, Field(pattern=r"^[A-Z0-9]{5,28}$")] = None


class NewService(CommandData):
    sku: Name
    quantity: Annotated[int, Field(ge=1, le=10_000)]
    expires_on: CivilDate


class StartSubscription(OfSubscription):
    account_holder: Holder
    services: Annotated[list[NewService], Field(min_length=1, max_length=100)]


class ConfigureUser(OfSubscription):
    username: Annotated[str, Field(max_length=200)]
    email: Email
    permissions: Annotated[list[Permission], Field(max_length=32)]


class DeleteUser(OfSubscription):
    username: Annotated[str, Field(max_length=200)]


class OpenCart(OfCart):
    entry_point: Literal["panel", "customer_area"]


class ChooseSeats(OfCart):
    quantity: Quantity


class SwitchAlignment(OfCart):
    extend: bool


class ChosenService(CommandData):
    service_id: Name
    quantity: Quantity


class ChooseRenewal(OfCart):
    services: Annotated[list[ChosenService], Field(min_length=1, max_length=1000)]
    years: Annotated[int, Field(ge=1, le=10)]

    @model_validator(mode="after")
    def _each_service_once(self) -> Self:
        if len({service.service_id for service in self.services}) != len(self.services):
            raise ValueError("each service may be chosen once")
        return self


class PlaceOrder(OfCart):
    payment_method: Name
    accepted_terms: Annotated[str | None, Field(max_length=64)] = None
    accepted_by: Line
    quote_hash: Annotated[str | None, Field(max_length=256)] = None


class OfPayment(CommandData):
    reference: Id
    order_number: str

    def streams(self) -> tuple[str, ...]:
        return (f"payment/{self.reference}", f"order/{self.order_number}")


class RegisterPayment(OfPayment):
    order_number: Annotated[str, Field(max_length=140)]
    """As the payer wrote it; what names no order makes the payment an orphan (O6)."""
    amount: Amount
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    method: Literal["card", "paypal", "mybank", "bank_transfer", "postal_slip"]
    value_date: CivilDate


class MatchPayment(OfPayment):
    order_number: Name
    operator: Line


class UnmatchPayment(OfPayment):
    order_number: Name
    operator: Line


class Part(CommandData):
    order_number: Name
    amount: Amount


class SplitPayment(CommandData):
    reference: Id
    parts: Annotated[list[Part], Field(min_length=1, max_length=100)]
    operator: Line

    @model_validator(mode="after")
    def _each_order_once(self) -> Self:
        if len({part.order_number for part in self.parts}) != len(self.parts):
            raise ValueError("each order may have one part")
        return self

    def streams(self) -> tuple[str, ...]:
        return (f"payment/{self.reference}", *(f"order/{part.order_number}" for part in self.parts))


class RefundPayment(CommandData):
    reference: Id
    amount: Amount
    operator: Line

    def streams(self) -> tuple[str, ...]:
        return (f"payment/{self.reference}",)


class CorrectPayment(CommandData):
    reference: Id
    value_date: CivilDate | None = None
    registered_on: CivilDate | None = None
    """The business date on which the money truly was on the seller's books."""
    reason: Line
    operator: Line

    @model_validator(mode="after")
    def _a_date_at_least(self) -> Self:
        if self.value_date is None and self.registered_on is None:
            raise ValueError("value_date or registered_on is needed")
        return self

    def streams(self) -> tuple[str, ...]:
        return (f"payment/{self.reference}",)


class CancelOrder(CommandData):
    order_number: Name
    reason: Line

    def streams(self) -> tuple[str, ...]:
        return (f"order/{self.order_number}",)


class CloseDay(CommandData):
    date: CivilDate


class FulfilOrder(CommandData):
    """The engine's own, by the `activation` worker: give a paid order's subscription what was bought."""

    order_number: str
    subscription_id: str

    def streams(self) -> tuple[str, ...]:
        return (f"order/{self.order_number}", f"subscription/{self.subscription_id}")


class CloseStreamDay(CommandData):
    """The engine's own, by the `calendar` worker: what the end of a day brings for one stream (T4)."""

    day: date
    stream: str

    def streams(self) -> tuple[str, ...]:
        return (self.stream,)


class EraseSubscription(CommandData):
    """The engine's own, for an operator: forget who is behind a subscription, and what some payers wrote."""

    subscription_id: str
    payments: tuple[str, ...]
    """References of payments of this subscription that came without its order number."""
    reason: str
    operator: str

    def streams(self) -> tuple[str, ...]:
        return (f"subscription/{self.subscription_id}", *(f"payment/{reference}" for reference in self.payments))


_BY_NAME: dict[str, type[CommandData]] = {
    "start-subscription": StartSubscription,
    "configure-user": ConfigureUser,
    "delete-user": DeleteUser,
    "open-cart": OpenCart,
    "choose-seats": ChooseSeats,
    "switch-alignment": SwitchAlignment,
    "choose-renewal": ChooseRenewal,
    "place-order": PlaceOrder,
    "register-payment": RegisterPayment,
    "match-payment": MatchPayment,
    "unmatch-payment": UnmatchPayment,
    "split-payment": SplitPayment,
    "refund-payment": RefundPayment,
    "correct-payment": CorrectPayment,
    "cancel-order": CancelOrder,
    "close-day": CloseDay,
}
PUBLIC = {f"{PREFIX}{name}.v1": model for name, model in _BY_NAME.items()}
"""The command types of the contract, by their full names."""


class Command(NamedTuple):
    """A readable command: its data, or the refusal that its data already earned."""

    id: str
    type: str
    source: str
    time: datetime
    """Business time, in Rome (T1)."""
    actor: str
    data: CommandData | Refusal
    fingerprint: bytes
    """Digest of type and data: the same id with another one is a reuse (K1)."""
    causation_id: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    """The sender's trace, passed on to the events (W3C Trace Context)."""


def parse_data(type_: str, data: object) -> CommandData | Refusal:
    """The command's data as its model, or the refusal that names the offending field."""
    model = PUBLIC.get(type_)
    if model is None:
        return TypeUnknown(type=type_[:100])
    try:
        return model.__pydantic_validator__.validate_python(data)  # type: ignore[no-any-return]
    except ValidationError as error:
        return _data_invalid(error.errors(include_url=False, include_context=False, include_input=False)[0])


def _data_invalid(first: Any) -> DataInvalid:
    field = ".".join(str(part) for part in first["loc"])[:100] or "data"
    match first["type"]:
        case "missing":
            return DataInvalid(field=field, it_reason="manca", en_reason="is missing")
        case "extra_forbidden":
            return DataInvalid(field=field, it_reason="non è previsto", en_reason="is not expected")
        case _:
            reason = first["msg"].removeprefix("Value error, ")
            return DataInvalid(field=field, it_reason="non è valido", en_reason=f"is not valid: {reason}")
