"""Euro: exact until rounded once, HALF_UP, to the cent (P1), and the two ways money is written down (O9)."""

from decimal import Context, Decimal, Inexact, InvalidOperation
from fractions import Fraction
from typing import Annotated, NamedTuple

from msgspec import Meta
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

# Moving the point is exact or it fails: whoever changed the thread's decimal context can't round here.
CENT = Decimal("0.01")
_EXACT = Context(prec=100, traps=[Inexact, InvalidOperation])


def net(unit_price: Decimal, quantity: int, share: Fraction) -> Decimal:
    """A line's net in euro: the yearly price of one, how many, and the part of a year; rounded once (P1)."""
    euro, scale = unit_price.as_integer_ratio()
    return _rounded(euro * quantity * share.numerator, scale * share.denominator)


def vat(net_total: Decimal, rate: Decimal) -> Decimal:
    """The VAT in euro on the sum of the nets of one rate, a percentage such as 22; rounded once (P1)."""
    euro, scale = net_total.as_integer_ratio()
    percent, rate_scale = rate.as_integer_ratio()
    return _rounded(euro * percent, scale * rate_scale * 100)


def _rounded(euro: int, scale: int) -> Decimal:
    """`euro / scale` to the cent, HALF_UP, a negative half away from zero (P1).

    In whole numbers, because a quotient of Decimals would round a first time.
    """
    cents = (200 * abs(euro) + scale) // (2 * scale)
    return Decimal(cents if euro >= 0 else -cents).scaleb(-2, _EXACT)


def _two_decimals(digits: str) -> Decimal:
    return Decimal(digits).quantize(CENT)


class _Money(NamedTuple):
    """How pydantic reads and writes money: always with two decimals.

    JSON gives a string that the pattern describes completely, so Decimal only ever sees a few plain digits: no number,
    sign, exponent, space, underscore, leading zero or digit of another script. Python gives such a string or a Decimal.
    """

    pattern: str
    given: CoreSchema
    """What is asked of a Decimal in Python."""
    message: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        # The length is looked at before the pattern and bounds the work for a long string.
        digits = core_schema.str_schema(strict=True, max_length=16, pattern=self.pattern)
        written = core_schema.no_info_after_validator_function(_two_decimals, digits)
        return core_schema.custom_error_schema(
            core_schema.json_or_python_schema(
                json_schema=written,
                python_schema=core_schema.union_schema([self.given, written], mode="left_to_right"),
            ),
            custom_error_type="money_invalid",
            custom_error_message=self.message,
            serialization=core_schema.to_string_ser_schema(when_used="json"),
        )


Amount = Annotated[
    Decimal,
    _Money(
        pattern=r"^(?:[1-9][0-9]{0,6}(?:\.[0-9]{1,2})?|0\.(?:0[1-9]|[1-9][0-9]?))$",
        given=core_schema.decimal_schema(strict=True, ge=Decimal("0.01"), le=Decimal("9999999.99"), decimal_places=2),
        message='should be a decimal string such as "16.78", above 0, at most 9999999.99, with at most two decimals',
    ),
]
"""Money that came in, in euro: above 0 and at most 9999999.99 (O9); written as a JSON string with two decimals."""

_PRICE = r"^(?:0|[1-9][0-9]{0,12})(?:\.[0-9]{1,2})?$"

Price = Annotated[
    Decimal,
    _Money(
        pattern=_PRICE,
        # It comes from the functions above, in every quote and event; checking it again costs more than all the rest.
        given=core_schema.is_instance_schema(Decimal),
        message='should be a decimal string such as "16.78", not negative, with at most two decimals',
    ),
    Meta(extra_json_schema={"maxLength": 16, "pattern": _PRICE}),
]
"""Money of price lists, quotes and events, in euro: 0 or more (P1); written as a JSON string with two decimals."""
