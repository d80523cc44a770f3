"""Rounding once, HALF_UP, and money as strings."""

import json
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from domain.money import Amount, Price, net, vat

AMOUNT: TypeAdapter[Decimal] = TypeAdapter(Amount)
PRICE: TypeAdapter[Decimal] = TypeAdapter(Price)
BOTH = pytest.mark.parametrize("money", [AMOUNT, PRICE])

YEAR = Fraction(1)
PRICES = st.decimals("0.00", "9999999.99", places=2)
SHARES = st.fractions(0, 10, max_denominator=366)


def rounded(exact: Fraction) -> Decimal:
    """So much of one euro, to the cent."""
    return net(Decimal(1), 1, exact)


def written(money: Iterable[Decimal]) -> str:
    return " ".join(map(str, money))


def test_P1_the_worked_example_costs_what_the_contract_says() -> None:
    seats, extension = net(Decimal("12.00"), 3, YEAR), net(Decimal("25.00"), 1, Fraction(245, 365))
    assert (str(seats), str(extension)) == ("36.00", "16.78")
    assert str(vat(seats + extension, Decimal(22))) == "11.61"


def test_P1_a_half_cent_is_rounded_up() -> None:
    assert written(rounded(Fraction(n, 1000)) for n in (4, 5, 14, 15, 25, 2675)) == "0.00 0.01 0.01 0.02 0.03 2.68"


def test_P1_a_negative_half_cent_is_rounded_away_from_zero_as_decimal_does() -> None:
    assert written(rounded(Fraction(n, 1000)) for n in (-4, -5, -15, -1000)) == "0.00 -0.01 -0.02 -1.00"


def test_P1_a_line_is_rounded_once_after_price_quantity_and_share() -> None:
    # Rounding the part of one seat first would give three times 3.33.
    assert str(net(Decimal("10.00"), 3, Fraction(1, 3))) == "10.00"
    assert str(net(Decimal("0.01"), 183, Fraction(1, 365))) == "0.01"


def test_P1_just_below_a_half_cent_stays_below_however_many_digits_it_has() -> None:
    assert rounded(Fraction(5, 1000) - Fraction(1, 10**60)) == Decimal("0.00")


def test_P1_vat_takes_rates_with_decimals() -> None:
    assert str(vat(Decimal("52.78"), Decimal("5.5"))) == "2.90"
    assert str(vat(Decimal("0.00"), Decimal(22))) == "0.00"


def test_P1_the_thread_s_decimal_context_changes_nothing() -> None:
    with localcontext() as context:
        context.prec = 3
        assert str(net(Decimal("1234567.89"), 1, YEAR)) == "1234567.89"
        assert PRICE.dump_json(Decimal("1234567.89")) == b'"1234567.89"'


@given(PRICES, st.integers(0, 100), SHARES)
def test_P1_a_net_is_the_nearest_cent_to_the_exact_price(price: Decimal, quantity: int, share: Fraction) -> None:
    exact, rounded = Fraction(price) * quantity * share, net(price, quantity, share)
    assert rounded.as_tuple().exponent == -2
    assert -Fraction(1, 200) <= exact - Fraction(rounded) < Fraction(1, 200)


@given(st.decimals("-9999999.99", "9999999.99", places=6))
def test_P1_rounding_agrees_with_decimal_s_own_half_up(exact: Decimal) -> None:
    assert rounded(Fraction(exact)) == exact.quantize(Decimal("0.01"), ROUND_HALF_UP)


@given(PRICES, SHARES)
def test_P1_a_cent_is_the_most_that_a_split_time_can_drift(price: Decimal, share: Fraction) -> None:
    whole, parts = net(price, 1, share), net(price, 1, share / 3) + net(price, 1, share * 2 / 3)
    assert abs(whole - parts) <= Decimal("0.01")


@BOTH
@given(text=st.decimals("0.01", "9999999.99", places=2).map(str))
def test_O9_money_comes_back_from_json_as_it_went(money: TypeAdapter[Decimal], text: str) -> None:
    assert money.dump_json(money.validate_json(json.dumps(text))) == json.dumps(text).encode()
    assert money.validate_python(Decimal(text)) == money.validate_python(text) == Decimal(text)


@BOTH
def test_P1_money_is_written_with_two_decimals_and_stays_decimal_in_python(money: TypeAdapter[Decimal]) -> None:
    read = [money.validate_json(text) for text in ('"5"', '"5.1"', '"0.50"')]
    assert [money.dump_python(amount, mode="json") for amount in read] == ["5.00", "5.10", "0.50"]
    assert isinstance(money.dump_python(Decimal("5.00")), Decimal)


def test_O9_an_amount_is_above_zero_and_a_price_may_be_zero() -> None:
    for zero in ("0", "0.0", "0.00"):
        with pytest.raises(ValidationError):
            AMOUNT.validate_json(json.dumps(zero))
        with pytest.raises(ValidationError):
            AMOUNT.validate_python(Decimal(zero))
        assert PRICE.dump_json(PRICE.validate_json(json.dumps(zero))) == b'"0.00"'


def test_O9_an_amount_reaches_from_one_cent_to_its_largest() -> None:
    assert written(AMOUNT.validate_json(text) for text in ('"0.01"', '"0.1"', '"9999999.99"')) == "0.01 0.10 9999999.99"
    for too_much in ("10000000", "10000000.00", "9999999.991"):
        with pytest.raises(ValidationError):
            AMOUNT.validate_json(json.dumps(too_much))
        with pytest.raises(ValidationError):
            AMOUNT.validate_python(Decimal(too_much))


# fmt: off
UNREADABLE = [
    "", " 5", "5 ", "5\n", "+5", "-5", "-0", "05", "00.50", "5.", ".5", "5.001", "5,00", "1_0", "1E+3", "1e3", "0x10",
    "1E+1000000", "NaN", "sNaN", "Infinity", "-Infinity", "inf", "\u0665", "5.\u0665", "\uff15", "\u00b2", "5\u0000",
    "0" * 17, "1.00€",
]
# fmt: on


@BOTH
@pytest.mark.parametrize("text", UNREADABLE)
def test_O9_anything_but_a_plain_decimal_string_is_refused(money: TypeAdapter[Decimal], text: str) -> None:
    with pytest.raises(ValidationError, match="should be a decimal string"):
        money.validate_json(json.dumps(text))
    with pytest.raises(ValidationError, match="should be a decimal string"):
        money.validate_python(text)


@BOTH
@pytest.mark.parametrize("literal", ["5", "5.00", "1E+3", "NaN", "Infinity", "true", "null", "[]", '{"amount":"5"}'])
def test_O9_a_json_value_that_is_no_string_is_refused(money: TypeAdapter[Decimal], literal: str) -> None:
    with pytest.raises(ValidationError, match="should be a decimal string"):
        money.validate_json(literal)


@BOTH
@pytest.mark.parametrize("given", [5, 5.0, True, None, b"5", Fraction(5)])
def test_O9_a_python_value_that_is_neither_decimal_nor_string_is_refused(
    money: TypeAdapter[Decimal], given: object
) -> None:
    with pytest.raises(ValidationError, match="should be a decimal string"):
        money.validate_python(given)


@pytest.mark.parametrize("number", ["NaN", "sNaN", "Infinity", "-0.01", "0.001", "1E+1000000", "1E-1000000"])
def test_O9_a_decimal_that_is_no_amount_is_refused(number: str) -> None:
    with pytest.raises(ValidationError, match="should be a decimal string"):
        AMOUNT.validate_python(Decimal(number))


@BOTH
@given(text=st.text(st.sampled_from("0123456789.+-eE_ \u0665"), max_size=18))
def test_O9_what_is_read_is_money_and_reads_the_same_again(money: TypeAdapter[Decimal], text: str) -> None:
    try:
        amount = money.validate_python(text)
    except ValidationError:
        return
    assert Decimal("0.00") <= amount < Decimal("1E+13")
    assert Decimal(text) == amount == money.validate_json(money.dump_json(amount))


@BOTH
@pytest.mark.parametrize("text", ["9" * 60_000, "0." + "0" * 60_000, "1E+1000000", "9" * 60_000 + "!"])
def test_O9_a_hostile_string_is_refused_at_once(money: TypeAdapter[Decimal], text: str) -> None:
    began = perf_counter()
    with pytest.raises(ValidationError):
        money.validate_json(json.dumps(text))
    assert perf_counter() - began < 1
