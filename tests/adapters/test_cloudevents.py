"""What can't be read uses up no id and says why; what can be read is answered, whatever nonsense it asks for (K3)."""

import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.cloudevents import LARGEST, Unreadable, parse, parse_record
from adapters.postgres.mapper import decode_state, encode, encode_envelope
from domain.cart import CartOpened, EntryPoint
from domain.commands import Command
from domain.errors import Refusal
from domain.kernel import ROME, Envelope

DATA = {"subscription_id": "SUB-1", "quantity": 3}
ENVELOPE = {
    "specversion": "1.0",
    "id": "c1",
    "source": "/tests",
    "type": "seatline.command.choose-seats.v1",
    "time": "2026-03-02T09:15:00+01:00",
    "subject": "SUB-1",
    "actor": "anna@studio",
    "data": DATA,
}
QUICK = 0.5
"""Seconds that no input may take, on a slow machine; usual ones take some microseconds."""


def line(**changes: Any) -> bytes:
    """The usual command with some attributes changed; None leaves one out."""
    return json.dumps({name: value for name, value in (ENVELOPE | changes).items() if value is not None}).encode()


def with_data(**changes: Any) -> bytes:
    return line(data=DATA | changes)


def raw(old: str, new: str) -> bytes:
    """The usual command with a piece of its text replaced, for what no JSON library would write."""
    text = line().decode()
    assert text.count(old) == 1
    return text.replace(old, new).encode("utf-8", "surrogatepass")


def reason(raw: bytes) -> str:
    with pytest.raises(Unreadable) as unreadable:
        parse(raw)
    return str(unreadable.value)


def outcome(raw: bytes) -> Command | str:
    """The command, or the reason why there is none."""
    try:
        return parse(raw)
    except Unreadable as unreadable:
        return str(unreadable)


def refusal(raw: bytes) -> Refusal:
    data = parse(raw).data
    assert isinstance(data, Refusal)
    return data


def nested(depth: int, kind: str, innermost: str) -> str:
    opening, closing = {"array": ("[", "]"), "object": ('{"a":', "}")}[kind]
    return opening * depth + innermost + closing * depth


# What can't be read

NOT_JSON = {
    "nothing": b"",
    "blanks": b"   ",
    "words": b"choose three seats",
    "half an object": line()[:-1],
    "two objects": line() + line(),
    "a trailing comma": raw('"data":', '"more": [1,], "data":'),
    "single quotes": line().replace(b'"', b"'"),
    "a byte order mark": b"\xef\xbb\xbf" + line(),
}
NOT_UTF_8 = {
    "Latin-1": raw("anna@studio", "società").decode().encode("latin-1"),
    "UTF-16": line().decode().encode("utf-16"),
    "a surrogate in UTF-8": raw("anna@studio", "anna\ud800"),
    "an overlong slash": line().replace(b"/tests", b"\xc0\xaftests"),
}
NOT_AN_OBJECT = {"an array": b"[" + line() + b"]", "a text": b'"choose"', "a number": b"1", "null": b"null"}
REPEATED = {
    "in the envelope": raw('"id": "c1"', '"id": "c1", "id": "c2"'),
    "the same value": raw('"id": "c1"', '"id": "c1", "id": "c1"'),
    "in the data": raw('"quantity": 3', '"quantity": 3, "quantity": 4'),
    "spelt differently": raw('"quantity": 3', '"quantity": 3, "\\u0071uantity": 4'),
    "deep inside": raw('"quantity": 3', '"quantity": [{"a": [{"b": 1, "b": 1}]}]'),
    "in an attribute that is ignored": raw('"id": "c1"', '"id": "c1", "other": {"x": 1, "x": 2}'),
}
NOT_TEXT = {
    "NUL": with_data(subscription_id="SUB\x00"),
    "a line's end": line(actor="anna\nbruno"),
    "a tab": line(source="/te\tsts"),
    "DEL": line(actor="anna\x7f"),
    "a C1 control, escaped": line(actor="anna\x85bruno"),
    "a C1 control, as it is": raw("anna@studio", "anna\x9bstudio"),
    "a lone surrogate": raw("anna@studio", "anna\\ud800"),
    "surrogates in the wrong order": raw("anna@studio", "\\udc00\\ud800"),
    "in a key": line(data={**DATA, "a\x01b": 1}),
    "in a key, deep inside": line(other=[{"a": [{"b\x02": 1}]}]),
    "in an attribute that is ignored": line(other="\x1b[31m"),
    "in an attribute's unknown data": with_data(more=["fine", ["\u009b"]]),
}
NAMED = {
    "specversion 0.3": (line(specversion="0.3"), "specversion"),
    "no specversion": (line(specversion=None), "specversion"),
    "specversion as a number": (line(specversion=1.0), "specversion"),
    "no id": (line(id=None), "id"),
    "an empty id": (line(id=""), "id"),
    "an id as a number": (line(id=7), "id"),
    "an endless id": (line(id="x" * 201), "id"),
    "no source": (line(source=None), "source"),
    "an empty source": (line(source=""), "source"),
    "a source as an object": (line(source={"a": 1}), "source"),
    "no type": (line(type=None), "type"),
    "an empty type": (line(type=""), "type"),
    "a type as an array": (line(type=["choose"]), "type"),
    "no time": (line(time=None), "time"),
    "a time without its offset": (line(time="2026-03-02T09:15:00"), "time"),
    "a date": (line(time="2026-03-02"), "time"),
    "a day that doesn't exist": (line(time="2026-02-30T09:15:00Z"), "time"),
    "an hour that doesn't exist": (line(time="2026-03-02T25:15:00Z"), "time"),
    "an offset that doesn't exist": (line(time="2026-03-02T09:15:00+24:00"), "time"),
    "a week date": (line(time="2026-W10-1T09:15:00Z"), "time"),
    "digits of another script": (line(time="٢٠٢٦-03-02T09:15:00Z"), "time"),
    "ten decimals": (line(time="2026-03-02T09:15:00.0123456789Z"), "time"),
    "seconds since 1970": (line(time=1772439300), "time"),
    "the year 0": (line(time="0000-03-02T09:15:00Z"), "time"),
    "the year 10000": (line(time="10000-03-02T09:15:00Z"), "time"),
}


@pytest.mark.parametrize("raw", NOT_JSON.values(), ids=NOT_JSON)
def test_K3_what_is_not_json_is_unreadable(raw: bytes) -> None:
    assert reason(raw).startswith("not JSON")


@pytest.mark.parametrize("raw", NOT_UTF_8.values(), ids=NOT_UTF_8)
def test_K3_what_is_not_utf_8_is_unreadable(raw: bytes) -> None:
    assert reason(raw) == "not UTF-8"


@pytest.mark.parametrize("raw", NOT_AN_OBJECT.values(), ids=NOT_AN_OBJECT)
def test_K3_what_is_not_an_object_is_unreadable(raw: bytes) -> None:
    assert reason(raw) == "not a JSON object"


@pytest.mark.parametrize("raw", REPEATED.values(), ids=REPEATED)
def test_K3_a_key_that_stands_twice_is_unreadable_at_any_depth(raw: bytes) -> None:
    assert reason(raw) == "a key stands twice in an object"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_K3_numbers_that_json_does_not_have_are_unreadable(number: str) -> None:
    assert reason(raw('"quantity": 3', f'"quantity": {number}')) == f"{number} is not JSON"


@pytest.mark.parametrize("raw", NOT_TEXT.values(), ids=NOT_TEXT)
def test_K3_control_characters_and_lone_surrogates_are_unreadable_wherever_they_stand(raw: bytes) -> None:
    assert reason(raw) == "a control character or a lone surrogate in a text"


@pytest.mark.parametrize(("raw", "named"), NAMED.values(), ids=NAMED)
def test_K3_an_invalid_attribute_is_unreadable_and_named(raw: bytes, named: str) -> None:
    assert reason(raw).startswith(f"{named} is not")


@pytest.mark.parametrize(
    "id_",
    [
        "fulfil:order/1000002", "fulfil:", "close-day:2026-03-02:subscription/SUB-1",
        "bank:5b9c1e0f7a21:CRO-1:61.00", f"bank:{'0f' * 20}:61.00",
    ],
)  # fmt: skip
def test_K3_nobody_can_use_up_an_id_of_the_engine(id_: str) -> None:
    assert "engine's own" in reason(line(id=id_))


@pytest.mark.parametrize(
    "id_", ["fulfil", "close-day:2026-03-02", "close-day:today:x", "re:fulfil:order/1", "bank:CRO-1"]
)
def test_ids_that_only_resemble_the_engines_are_free(id_: str) -> None:
    assert parse(line(id=id_)).id == id_


# Size and depth


def filled_to(size: int, **changes: Any) -> bytes:
    """A readable command of exactly this many bytes."""
    missing = size - len(line(filling="", **changes))
    return line(filling="x" * missing, **changes)


def test_K3_64_kib_are_readable_and_a_byte_more_is_not() -> None:
    assert len(filled_to(LARGEST)) == LARGEST == 64 * 1024
    assert isinstance(parse(filled_to(LARGEST)), Command)
    assert reason(filled_to(LARGEST + 1)) == "longer than 65536 bytes"


def test_K3_the_size_is_looked_at_before_anything_else() -> None:
    assert reason(b"\xff" * (LARGEST + 1)) == "longer than 65536 bytes"


@pytest.mark.parametrize("kind", ["array", "object"])
@pytest.mark.parametrize(
    "place", [json.dumps(DATA), "3", '"anna@studio"'], ids=["the data", "a quantity", "an attribute"]
)
@pytest.mark.parametrize("depth", [10, 100, 250, 300, 500, 900, 990, 2_000, 10_000])
def test_K3_nesting_of_any_depth_is_answered_or_unreadable(depth: int, place: str, kind: str) -> None:
    for innermost in ('"A"', '"\\u0041"'):
        deep = raw(f": {place}", f": {nested(depth, kind, innermost)}")
        if len(deep) <= LARGEST:
            read = outcome(deep)
            assert isinstance(read, Command) or (read == "nested too deeply" and depth > 100)


@pytest.mark.parametrize(
    "number", ["9" * 60_000, "-" + "9" * 60_000, "1E+1000000", "1e308", "1E999999999", "0." + "1" * 60_000, "1e-999999"]
)
def test_a_huge_number_is_rejected_at_once(number: str) -> None:
    started = time.perf_counter()
    assert refusal(raw('"quantity": 3', f'"quantity": {number}')).code == "data_invalid"
    assert time.perf_counter() - started < QUICK


@pytest.mark.parametrize(
    "hostile",
    [
        b"[" * LARGEST,
        b'{"a":' * (LARGEST // 5),
        b'"' + b"\\" * (LARGEST - 1),
        b"{" + b'"a":1,' * 10_000 + b'"a":1}',
        b" " * LARGEST,
        b"\\u0000" * 10_000,
    ],
    ids=["arrays", "objects", "backslashes", "repeated keys", "blanks", "escapes"],
)
def test_nothing_takes_long(hostile: bytes) -> None:
    started = time.perf_counter()
    with pytest.raises(Unreadable):
        parse(hostile)
    assert time.perf_counter() - started < QUICK


# What can be read


def test_a_command_is_read_whole() -> None:
    command = parse(line())
    assert (command.id, command.source, command.actor) == ("c1", "/tests", "anna@studio")
    assert command.type == "seatline.command.choose-seats.v1"
    assert command.time == datetime(2026, 3, 2, 9, 15, tzinfo=ROME)
    assert not isinstance(command.data, Refusal)
    assert command.data.model_dump() == DATA


def test_unknown_attributes_of_the_envelope_are_ignored() -> None:
    plain, more = parse(line()), parse(line(traceparent="00-4bf9-00f0-01", partitionkey="k", x={"y": [None, 1.5]}))
    assert plain == more


def test_the_actor_is_the_source_where_none_is_named() -> None:
    assert parse(line(actor=None)).actor == "/tests"
    assert parse(line(actor="")).actor == "/tests"
    assert parse(line(actor=7)).actor == "/tests"
    assert parse(line(actor="x" * 201)).actor == "/tests"


@pytest.mark.parametrize("actor", ["seatline/mario", "pseudonym:0123456789abcdef"])
def test_nobody_passes_for_a_worker_or_for_somebody_who_was_forgotten(actor: str) -> None:
    assert "engine's own" in reason(line(actor=actor))
    assert "engine's own" in reason(line(actor=None, source=actor))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-03-02T08:15:00Z", datetime(2026, 3, 2, 8, 15, tzinfo=UTC)),
        ("2026-03-02t08:15:00z", datetime(2026, 3, 2, 8, 15, tzinfo=UTC)),
        ("2026-03-02 09:15:00+01:00", datetime(2026, 3, 2, 8, 15, tzinfo=UTC)),
        ("2026-03-02T09:15:00.5+01:00", datetime(2026, 3, 2, 8, 15, 0, 500_000, tzinfo=UTC)),
        ("2026-03-02T09:15:00.123456789+01:00", datetime(2026, 3, 2, 8, 15, 0, 123_456, tzinfo=UTC)),
        ("2026-03-01T22:30:00-10:00", datetime(2026, 3, 2, 8, 30, tzinfo=UTC)),
        ("2026-10-25T02:30:00+02:00", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        ("2026-10-25T02:30:00+01:00", datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),
    ],
)
def test_T1_a_time_is_taken_with_its_offset_and_told_in_rome(written: str, meant: datetime) -> None:
    when = parse(line(time=written)).time
    assert when.astimezone(UTC) == meant
    assert when.tzinfo is ROME


@pytest.mark.parametrize("written", ["1000-01-01T00:00:00Z", "1800-01-01T00:00:00Z", "1893-10-31T12:00:00+01:00"])
def test_a_time_that_is_read_can_be_stored_and_read_again(written: str) -> None:
    """Rome's clocks were 49 minutes and 56 seconds ahead of Greenwich, which no JSON library reads."""
    read = outcome(line(time=written))
    if isinstance(read, str):
        assert read.startswith("time is not")
        return
    when = read.time
    envelope = Envelope(when, when, "anna", "c1", "c1", "c1", "2026-01")
    opened = CartOpened(entry_point=EntryPoint.PANEL, extend=True, lifetime_days=30)
    assert decode_state(opened.topic, encode(encode_envelope(envelope), opened)).business_time == when


@pytest.mark.parametrize(
    "type_", ["seatline.command.choose-seats.v2", "choose-seats", "seatline.engine.FulfilOrder", "x" * 200, "{it}"]
)
def test_an_unknown_type_is_rejected_by_name(type_: str) -> None:
    refused = refusal(line(type=type_))
    assert refused.code == "type_unknown"
    assert all(type_[:100] in text for text in refused.message.values())


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (line(data=None), "data"),
        (line(data=[]), "data"),
        (line(data="SUB-1"), "data"),
        (line(data={}), "subscription_id"),
        (with_data(quantity="3"), "quantity"),
        (with_data(quantity=3.0), "quantity"),
        (with_data(quantity=True), "quantity"),
        (with_data(quantity=None), "quantity"),
        (with_data(quantity=[3]), "quantity"),
        (with_data(colour="red"), "colour"),
        (with_data(subscription_id="-SUB"), "subscription_id"),
        (with_data(subscription_id="SUB 1"), "subscription_id"),
        (with_data(subscription_id="SUB-1/è"), "subscription_id"),
        (with_data(subscription_id="S" * 65), "subscription_id"),
    ],
)
def test_data_that_does_not_fit_is_rejected_with_the_field(raw: bytes, field: str) -> None:
    refused = refusal(raw)
    assert refused.code == "data_invalid"
    assert f"“{field}”" in refused.message["en"]
    assert f"«{field}»" in refused.message["it"]


# Fingerprints

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cc", "Cs"])),
    lambda parts: (
        st.lists(parts, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cc", "Cs"])), parts, max_size=4)
    ),
    max_leaves=20,
)


def shuffled(value: Any, draw: st.DataObject) -> Any:
    match value:
        case dict():
            return {key: shuffled(value[key], draw) for key in draw.draw(st.permutations(sorted(value)))}
        case list():
            return [shuffled(part, draw) for part in value]
        case _:
            return value


@given(data=JSON, draw=st.data(), indent=st.sampled_from([None, 0, 7]), escaped=st.booleans())
def test_K1_order_white_space_and_escapes_make_no_other_command(
    data: Any, draw: st.DataObject, indent: int | None, escaped: bool
) -> None:
    other = json.dumps(shuffled(ENVELOPE | {"data": data}, draw), indent=indent, ensure_ascii=escaped)
    assert parse(other.encode()).fingerprint == parse(json.dumps(ENVELOPE | {"data": data}).encode()).fingerprint


@given(one=JSON, other=JSON)
def test_K1_other_data_is_another_command(one: Any, other: Any) -> None:
    prints = [parse(json.dumps(ENVELOPE | {"data": data}).encode()).fingerprint for data in (one, other)]
    # In JSON, unlike in Python, true is not 1 and 1.0 need not be 1.
    assert (prints[0] == prints[1]) == (json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (with_data(quantity=3), with_data(quantity=4)),
        (with_data(quantity=3), with_data(quantity="3")),
        (with_data(quantity=1), with_data(quantity=True)),
        (with_data(quantity=0), with_data(quantity=None)),
        (with_data(quantity=[1, 2]), with_data(quantity=[2, 1])),
        (with_data(quantity=[]), with_data(quantity={})),
        (line(), line(type="seatline.command.open-cart.v1")),
        (line(type="one", data=12), line(type="one1", data=2)),
    ],
)
def test_K1_what_differs_in_type_or_data_has_another_fingerprint(one: bytes, other: bytes) -> None:
    assert parse(one).fingerprint != parse(other).fingerprint


@pytest.mark.parametrize("changes", [{"time": "2026-03-02T10:15:00Z"}, {"actor": "bruno"}, {"source": "/b"}, {"x": 1}])
def test_K1_what_surrounds_the_data_does_not_count(changes: dict[str, Any]) -> None:
    assert parse(line(**changes)).fingerprint == parse(line()).fingerprint


# Anything at all


def check_readable_or_unreadable(raw: bytes) -> None:
    """Either a command or one line that says why not, never anything else."""
    read = outcome(raw)
    if isinstance(read, str):
        assert read.isprintable()
        assert len(read) < 200
        return
    assert 1 <= len(read.id) <= 200
    assert len(read.fingerprint) == 16
    assert read.time.tzinfo is ROME
    if isinstance(read.data, Refusal):
        assert all(text and len(text) < 500 for text in read.data.message.values())


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_unreadable(raw: bytes) -> None:
    check_readable_or_unreadable(raw)


@given(place=st.integers(0, len(line())), length=st.integers(0, 8), new=st.binary(max_size=8))
def test_a_damaged_command_is_read_or_unreadable(place: int, length: int, new: bytes) -> None:
    whole = line()
    check_readable_or_unreadable(whole[:place] + new + whole[place + length :])


@given(
    st.dictionaries(
        st.sampled_from(sorted(ENVELOPE)),
        JSON | st.text() | st.sampled_from(["1.0", "seatline.command.place-order.v1", "2026-03-02T09:15:00Z"]),
    )
)
def test_any_envelope_is_read_or_unreadable(changes: dict[str, Any]) -> None:
    check_readable_or_unreadable(json.dumps(ENVELOPE | changes).encode())


@settings(max_examples=200)
@given(
    type_=st.sampled_from(["start-subscription", "choose-renewal", "place-order", "register-payment", "split-payment"]),
    data=st.dictionaries(
        st.sampled_from(
            [
                "subscription_id",
                "account_holder",
                "services",
                "years",
                "amount",
                "reference",
                "parts",
                "date",
                "operator",
            ]
        ),
        JSON | st.sampled_from(["SUB-1", "12.00", "2026-03-02", [{"service_id": "S1", "quantity": 1}]]),
    ),
)
def test_any_data_is_taken_or_rejected(type_: str, data: dict[str, Any]) -> None:
    check_readable_or_unreadable(line(type=f"seatline.command.{type_}.v1", data=data))


# In a Kafka record

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
VALUE = json.dumps(DATA).encode()


def in_headers(**changes: str | bytes | None) -> list[tuple[str, bytes | None]]:
    """The usual attributes in binary mode with some changed; None leaves one out."""
    said = {name: value for name, value in (ENVELOPE | changes).items() if name != "data" and value is not None}
    return [(f"ce_{name}", value if isinstance(value, bytes) else str(value).encode()) for name, value in said.items()]


def test_binary_mode_says_the_same_as_structured_mode() -> None:
    assert parse_record(VALUE, in_headers()) == parse_record(line(), []) == parse(line())
    assert parse_record(VALUE, in_headers(actor=None)).actor == "/tests"
    reordered = b'{ "quantity" : 3, "subscription_id": "SUB-1" }'
    assert parse_record(reordered, in_headers()).fingerprint == parse(line()).fingerprint


def test_other_headers_are_ignored_in_both_modes() -> None:
    others: list[tuple[str, bytes | None]] = [("ce_shade", b"\xff"), ("id", b"c9"), ("x", None), ("x", b"\x00")]
    assert parse_record(VALUE, in_headers() + others) == parse(line())
    assert parse_record(line(), [*others, ("ce_id", b"c9"), ("ce_id", b"\xff")]) == parse(line())


@pytest.mark.parametrize("header", ["traceparent", "ce_traceparent"])
def test_the_trace_comes_with_either_header(header: str) -> None:
    assert parse_record(VALUE, [*in_headers(), (header, TRACE.encode())]).traceparent == TRACE
    assert parse_record(VALUE, [*in_headers(), (header, b"nonsense")]).traceparent is None


def test_the_trace_of_a_structured_command_may_stand_beside_it() -> None:
    other = TRACE.replace("4", "5")
    assert parse_record(line(), [("traceparent", TRACE.encode())]).traceparent == TRACE
    assert parse_record(line(traceparent=other), [("traceparent", TRACE.encode())]).traceparent == other
    assert parse_record(line(), [("traceparent", b"\xff")]).traceparent is None


@pytest.mark.parametrize(
    ("value", "headers", "why"),
    [
        (None, in_headers(), "without a value"),
        (None, [], "without a value"),
        (b"", in_headers(), "not JSON"),
        (b"\xff", in_headers(), "not UTF-8"),
        (b'{"a":1,"a":2}', in_headers(), "stands twice"),
        (b"NaN", in_headers(), "NaN"),
        (b"[" * 5_000 + b"]" * 5_000, in_headers(), "nested too deeply"),
        (b" " * (LARGEST - 10) + b"1", in_headers(), "longer than"),
        (VALUE, in_headers(specversion="0.3"), "specversion"),
        (VALUE, in_headers(id=None), "id is not a text"),
        (VALUE, in_headers(id=""), "id is not a text"),
        (VALUE, in_headers(id=b"\xff"), "ce_id is not UTF-8"),
        (VALUE, in_headers(id="a\x1bb"), "control character"),
        (VALUE, in_headers(time="yesterday"), "time is not"),
        (VALUE, [*in_headers(), ("ce_id", b"c1")], "ce_id stands twice"),
        (VALUE, [], "specversion"),
    ],
)
def test_K3_a_record_that_cannot_be_read_says_why(
    value: bytes | None, headers: list[tuple[str, bytes | None]], why: str
) -> None:
    with pytest.raises(Unreadable, match=why):
        parse_record(value, headers)


def test_data_that_is_no_object_is_refused_and_not_unreadable() -> None:
    for value in (b"1", b"null", b"[]", b'"x"'):
        assert isinstance(parse_record(value, in_headers()).data, Refusal)


@given(
    value=st.none() | st.binary() | st.just(VALUE) | st.just(line()),
    headers=st.lists(st.tuples(st.text() | st.sampled_from(["ce_id", "ce_specversion"]), st.none() | st.binary())),
)
@settings(max_examples=300, deadline=None)
def test_whatever_a_record_holds_it_is_a_command_or_unreadable(
    value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    for more in ([], in_headers()):
        with suppress(Unreadable):
            parse_record(value, headers + more)


COMMANDS = [
    line(
        type="seatline.command.start-subscription.v1",
        data={
            "subscription_id": "SUB-1",
            "account_holder": {"name": "Anna", "email": "anna@studio.example", "language": "it"},
            "services": [{"sku": "base", "quantity": 1, "expires_on": "2026-06-30"}],
        },
    ),
    line(traceparent=f"00-{'a' * 32}-{'b' * 16}-01"),
    line(datacontenttype="application/json", actor=None),
]
PIECES = [
    b'"id":"c1",',
    b'"quantity":3,',
    b"9" * 19,
    b'"',
    b"\\u0061",
    b"null",
    b'"x":1,',
    b"1.0",
    *(sign.encode("utf-8", "surrogatepass") for sign in ("è", "€", "😀", "°", "\x7f", "\x80", "\x9f", "\ud800")),
]


@settings(max_examples=500)
@given(
    whole=st.sampled_from(COMMANDS),
    place=st.integers(0, 400),
    length=st.integers(0, 8),
    new=st.sampled_from(PIECES) | st.binary(max_size=3),
    name=st.sampled_from([*ENVELOPE, "traceparent", "x"]),
    value=JSON
    | st.sampled_from(["", "fulfil:1", "a" * 201, "2026-03-02T09:15:00.1234567891Z", "2026-03-02 09:15:00Z"]),
)
def test_one_reading_says_the_same_whether_or_not_a_line_is_usual(
    whole: bytes, place: int, length: int, new: bytes, name: str, value: Any
) -> None:
    """An escape, which changes nothing, sends a line the careful way."""
    for usual in (
        whole,
        whole[:place] + new + whole[place + length :],
        json.dumps(json.loads(whole) | {name: value}).encode(),
    ):
        escaped = usual.replace(b'"specversion"', b'"\\u0073pecversion"', 1)
        assert comparable(outcome(usual)) == comparable(outcome(escaped))


def comparable(read: Command | str) -> object:
    if isinstance(read, str):
        return read.partition(" at character")[0]
    return read._replace(data=read.data.message) if isinstance(read.data, Refusal) else read  # type: ignore[arg-type]
