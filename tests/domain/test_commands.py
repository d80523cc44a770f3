"""What may be said in a command, field by field: strict, because input is hostile."""

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.commands import PUBLIC, CloseDay, CommandData, parse_data
from domain.errors import DataInvalid, Refusal
from tests.domain.given import BASE, Story, chosen, service

HOLDER = {"name": "Anna Bianchi", "email": "anna@studio.it", "language": "it"}

VALID: dict[str, dict[str, Any]] = {
    "start-subscription": {
        "subscription_id": "SUB-1",
        "account_holder": HOLDER,
        "services": [service(BASE, "2026-06-30")],
    },
    "configure-user": {
        "subscription_id": "SUB-1",
        "username": "user0001",
        "email": "user@studio.it",
        "permissions": ["read", "send"],
    },
    "delete-user": {"subscription_id": "SUB-1", "username": "user0001"},
    "open-cart": {"subscription_id": "SUB-1", "entry_point": "panel"},
    "choose-seats": {"subscription_id": "SUB-1", "quantity": 3},
    "switch-alignment": {"subscription_id": "SUB-1", "extend": False},
    "choose-renewal": {"subscription_id": "SUB-1", "services": chosen(S1=1), "years": 1},
    "place-order": {"subscription_id": "SUB-1", "payment_method": "card", "accepted_by": "Anna"},
    "register-payment": {
        "order_number": "10000",
        "amount": "64.39",
        "currency": "EUR",
        "method": "card",
        "reference": "CRO-1",
        "value_date": "2026-03-05",
    },
    "match-payment": {"reference": "CRO-1", "order_number": "10000", "operator": "Olga"},
    "unmatch-payment": {"reference": "CRO-1", "order_number": "10000", "operator": "Olga"},
    "split-payment": {
        "reference": "CRO-1",
        "parts": [{"order_number": "10000", "amount": "1.00"}],
        "operator": "Olga",
    },
    "refund-payment": {"reference": "CRO-1", "amount": "1.00", "operator": "Olga"},
    "correct-payment": {"reference": "CRO-1", "value_date": "2026-03-02", "reason": "mistyped", "operator": "Olga"},
    "cancel-order": {"order_number": "10000", "reason": "changed my mind"},
    "close-day": {"date": "2026-03-02"},
}
OPTIONAL = {"accepted_terms", "quote_hash"}


def read(command: str, data: object) -> CommandData | Refusal:
    return parse_data(f"seatline.command.{command}.v1", json.loads(json.dumps(data)))


def invalid(command: str, **changes: object) -> str:
    """The field for which a command's data is refused."""
    refusal = read(command, VALID[command] | changes)
    assert isinstance(refusal, DataInvalid), refusal
    field = refusal.facts["field"]
    assert isinstance(field, str)
    assert all(field in text for text in refusal.message.values())
    return field


def valid(command: str, **changes: object) -> bool:
    return isinstance(read(command, VALID[command] | changes), CommandData)


def test_K1_every_command_of_the_contract_is_known_and_no_other() -> None:
    assert {f"seatline.command.{name}.v1" for name in VALID} == set(PUBLIC)
    assert all(valid(name) for name in VALID)


@pytest.mark.parametrize(
    "type_", ["", "choose-seats", "seatline.command.choose-seats.v2", "seatline.command.fulfil-order.v1", "x" * 9999]
)
def test_K2_another_type_is_unknown(type_: str) -> None:
    refusal = parse_data(type_, {})
    assert isinstance(refusal, Refusal)
    assert refusal.code == "type_unknown"
    assert len(refusal.message["en"]) < 200


@pytest.mark.parametrize("command", VALID)
def test_K2_an_unknown_field_is_refused_by_name(command: str) -> None:
    assert invalid(command, surprise=1) == "surprise"


ONE_OF_TWO = ("correct-payment", "value_date")
"""A field that may be missing as long as another is there."""
NEEDED = [(name, field) for name, data in VALID.items() for field in data if (name, field) != ONE_OF_TWO]


@pytest.mark.parametrize(("command", "field"), NEEDED)
def test_K2_a_missing_field_is_refused_by_name(command: str, field: str) -> None:
    data = {name: value for name, value in VALID[command].items() if name != field}
    refusal = read(command, data)
    assert isinstance(refusal, DataInvalid)
    assert (refusal.facts["field"], refusal.facts["it_reason"]) == (field, "manca")


@pytest.mark.parametrize(("command", "field"), NEEDED)
@pytest.mark.parametrize("wrong", [None, {}, 1.5, [[]]])
def test_K2_a_field_of_another_kind_is_refused_by_name(command: str, field: str, wrong: object) -> None:
    assert invalid(command, **{field: wrong}).startswith(field)


@pytest.mark.parametrize("data", [None, [], "text", 1, True])
def test_K2_data_that_is_no_object_is_refused(data: object) -> None:
    refusal = read("close-day", data)
    assert isinstance(refusal, DataInvalid)
    assert refusal.facts["field"] == "data"


@pytest.mark.parametrize("id_", ["A", "SUB-1001", "a.b_c:d/e-f", "9" * 64])
def test_K1_an_id_given_by_others_is_their_string(id_: str) -> None:
    assert valid("open-cart", subscription_id=id_)
    assert valid("register-payment", reference=id_)


@pytest.mark.parametrize("id_", ["", "-A", "/A", "A B", "A\n", "A" * 65, "è", "A\u0000", "A;B"])
def test_K1_no_other_string_is_an_id(id_: str) -> None:
    assert invalid("open-cart", subscription_id=id_) == "subscription_id"
    assert invalid("register-payment", reference=id_) == "reference"


@pytest.mark.parametrize("quantity", [3.0, "3", True, None, 10**7])
def test_C2_a_quantity_is_a_whole_number(quantity: object) -> None:
    assert invalid("choose-seats", quantity=quantity) == "quantity"


@pytest.mark.parametrize("extend", [1, 0, "true", None])
def test_C3_on_and_off_are_true_and_false(extend: object) -> None:
    assert invalid("switch-alignment", extend=extend) == "extend"


@pytest.mark.parametrize(
    "written",
    [
        "2026-02-30",
        "2026-3-2",
        "20260302",
        "2026-W10-1",
        "2026-061",
        "02/03/2026",
        "2026-03-02T00:00",
        "2026-03-02\n",
        "\u0662026-03-02",
        "1999-12-31",
        "2200-01-01",
        "0000-00-00",
        20260302,
    ],
)
def test_T1_a_civil_date_is_written_in_one_way(written: object) -> None:
    assert invalid("close-day", date=written) == "date"
    assert invalid("register-payment", value_date=written) == "value_date"


def test_T1_a_civil_date_is_read_as_what_it_says() -> None:
    closing = read("close-day", {"date": "2028-02-29"})
    assert isinstance(closing, CloseDay)
    assert closing.date == date(2028, 2, 29)


@pytest.mark.parametrize(
    "email", ["", "anna", "anna@", "@studio.it", "anna@studio", "a b@studio.it", "anna@studio.it\n", "anna@studio..it"]
)
def test_O4_an_email_address_is_one(email: str) -> None:
    assert invalid("start-subscription", account_holder=HOLDER | {"email": email}) == "account_holder.email"
    assert invalid("configure-user", email=email) == "email"


@pytest.mark.parametrize("name", ["", "=?UTF-8?Q?Bob=0D=0ABcc:_x?=", "a =? b", "n" * 201])
def test_O4_a_name_can_stand_in_a_mail_header(name: str) -> None:
    assert invalid("start-subscription", account_holder=HOLDER | {"name": name}) == "account_holder.name"


@pytest.mark.parametrize("name", ["a = b", "why = ?", "==", "1=1?", "Niccolò & figli", "日本"])
def test_O4_a_name_may_be_anything_else(name: str) -> None:
    assert valid("start-subscription", account_holder=HOLDER | {"name": name})


def test_O4_an_account_holder_may_have_a_tax_code_and_a_vat_number() -> None:
    full = HOLDER | {"tax_code": "BNCNNA80A41H501X", "vat_number": "IT01234567890"}
    assert valid("start-subscription", account_holder=full)
    assert invalid("start-subscription", account_holder=full | {"tax_code": "x"}) == "account_holder.tax_code"
    assert invalid("start-subscription", account_holder=full | {"language": "fr"}) == "account_holder.language"


def test_S5_permissions_are_a_list_of_words() -> None:
    assert valid("configure-user", permissions=[])
    assert invalid("configure-user", permissions=["Read"]) == "permissions.0"
    assert invalid("configure-user", permissions="read") == "permissions"
    assert invalid("configure-user", permissions=["read"] * 33) == "permissions"


def test_O1_the_accepted_terms_may_be_absent() -> None:
    assert {name for name in OPTIONAL if valid("place-order", **{name: None})} == OPTIONAL


@pytest.mark.parametrize("currency", ["eur", "EURO", "", "€"])
def test_O9_a_currency_is_three_capital_letters(currency: str) -> None:
    assert invalid("register-payment", currency=currency) == "currency"


def test_O9_a_payment_comes_by_a_method_of_the_contract() -> None:
    assert invalid("register-payment", method="cash") == "method"


def test_S1_a_subscription_starts_with_some_services() -> None:
    assert invalid("start-subscription", services=[]) == "services"
    assert invalid("start-subscription", services=[service(BASE, "2026-06-30", 0)]) == "services.0.quantity"
    assert invalid("start-subscription", services=[{"sku": BASE, "quantity": 1}]) == "services.0.expires_on"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=10), parts, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(VALID)), st.data())
def test_K2_whatever_the_data_is_the_answer_is_a_command_or_a_refusal_that_reads_well(
    command: str, data: st.DataObject
) -> None:
    said = dict(VALID[command])
    field = data.draw(st.sampled_from(sorted(said)))
    said[field] = data.draw(JSON)
    parsed = parse_data(f"seatline.command.{command}.v1", said)
    assert isinstance(parsed, CommandData) or parsed.message["it"]


@given(st.data())
def test_K2_whatever_the_data_is_the_desk_decides_it(data: st.DataObject) -> None:
    """A command either happens or is refused: nothing that can be said in one breaks the desk."""
    story = Story()
    story.start()
    story.buy_seats(2)
    story.do("open-cart")
    integers = st.integers(-5, 5) | st.sampled_from([100, 101, 1_000_000, -1_000_000])
    services = st.lists(st.tuples(st.sampled_from(["S1", "S2", "S3", "x"]), integers), min_size=1, max_size=3)
    match data.draw(st.sampled_from(["choose-seats", "choose-renewal"])):
        case "choose-seats":
            story.send("choose-seats", quantity=data.draw(integers))
        case "choose-renewal":
            listed = [{"service_id": name, "quantity": quantity} for name, quantity in data.draw(services)]
            story.send("choose-renewal", services=listed, years=data.draw(integers))
    story.send("place-order", payment_method=data.draw(st.text(max_size=5)))
    story.send("place-order")
    story.check_replay()
