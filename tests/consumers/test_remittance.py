"""What a bank, a post office and a banking app read in the instructions is the order, and the seller's own account."""

import struct
import tomllib
import zlib
from datetime import UTC, date, datetime
from decimal import Decimal
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from importlib.resources import files
from pathlib import Path
from typing import Literal

import pytest
import zxingcpp
from stdnum import iso11649

from adapters.settings import SettingsError, load_shopfront
from consumers.letters import Letter, Letters
from consumers.message import as_message
from consumers.remittance import code_line, creditor_reference, customer_code
from consumers.seller import Seller
from domain.order import Order, OrderPlaced
from domain.pricing import PriceList, seats_quote
from domain.subscription_events import AccountHolder

PRICE_LIST = (files("adapters") / "price_list.toml").read_text(encoding="utf-8")
SHOPFRONT = load_shopfront(None)
AT = datetime(2026, 3, 2, 8, 15, tzinfo=UTC)
WHOLE, UP = 0, 2
"""How a row of a PNG may be written."""
IN_BOTH_LANGUAGES = pytest.mark.parametrize("language", ["it", "en"])


def seller(**other: str | bool) -> Seller:
    return Seller.model_validate({**SHOPFRONT.seller.model_dump(), **other})


def instructions(
    method: str = "bank_transfer",
    *,
    language: Literal["it", "en"] = "it",
    of: Seller = SHOPFRONT.seller,
    order_number: str = "10000016",
    prices: PriceList = SHOPFRONT.prices,
) -> EmailMessage:
    """The letter as its reader's program takes it apart."""
    holder = AccountHolder(name="Studio Bianchi", email="anna@studio.example", language=language)
    confirmed = Order(order_number)
    confirmed.place(order(method, order_number, prices))
    return arrived(Letters(prices, of, holder).payment_instructions(confirmed, AT), holder, of)


def reminder(method: str, *, paid: str) -> EmailMessage:
    """Of an order of which so much is paid."""
    holder = AccountHolder(name="Studio Bianchi", email="anna@studio.example", language="it")
    waiting = Order("10000016")
    waiting.place(order(method, waiting.name, SHOPFRONT.prices))
    waiting.receive("PART", Decimal(paid), on=date(2026, 3, 5), billed_to=None)
    return arrived(Letters(SHOPFRONT.prices, SHOPFRONT.seller, holder).order_reminder(waiting), holder)


def arrived(letter: Letter, holder: AccountHolder, of: Seller = SHOPFRONT.seller) -> EmailMessage:
    sent = as_message(letter, event_id="order/10000016@1", at=AT, holder=holder, seller=of)
    return message_from_bytes(sent.as_bytes(), policy=default)


def order(method: str, order_number: str, prices: PriceList) -> OrderPlaced:
    three_seats = seats_quote(prices, 3, (), extend=False, on=date(2026, 3, 2))
    assert three_seats
    return OrderPlaced(
        order_number=order_number,
        subscription_id="SUB-1001",
        quote=three_seats,
        payment_method=method,
        immediate=False,
        registration_days=3,
        instructions_delay_minutes=15,
        accepted_terms="2026-01",
        accepted_by="anna@studio",
        seats=3,
        extends=(),
        lapses_on=date(2026, 4, 1),
    )


def body(letter: EmailMessage, form: Literal["plain", "html"] = "plain") -> str:
    part = letter.get_body((form,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def pictures(letter: EmailMessage) -> list[EmailMessage]:
    return [part for part in letter.walk() if isinstance(part, EmailMessage) and part.get_content_type() == "image/png"]


def scanned(letter: EmailMessage) -> list[str]:
    """What a banking app reads from the letter's picture, line by line."""
    [picture] = pictures(letter)
    [code] = zxingcpp.read_barcodes(pixels(picture.get_content()))
    assert code.format == zxingcpp.BarcodeFormat.QRCode
    return code.text.split("\n")


def pixels(png: bytes) -> memoryview:
    """A black and white PNG, each row whole or what it adds to the one above; the QR code needs no more."""
    width, height, depth, colour = struct.unpack(">IIBB", png[16:26])
    assert (depth, colour) == (1, 0)
    data = zlib.decompress(png[png.index(b"IDAT") + 4 :])
    length = (width + 7) // 8
    above, grey = bytes(length), bytearray()
    for start in range(0, (length + 1) * height, length + 1):
        row = data[start + 1 : start + 1 + length]
        if data[start] == UP:
            row = bytes((byte + over) % 256 for byte, over in zip(row, above, strict=True))
        else:
            assert data[start] == WHOLE
        grey += bytes(255 * int(bit) for bit in "".join(f"{byte:08b}" for byte in row)[:width])
        above = row
    return memoryview(bytes(grey)).cast("B", (height, width))


@IN_BOTH_LANGUAGES
def test_O4_the_qr_code_in_the_letter_is_the_transfer_of_this_order(language: Literal["it", "en"]) -> None:
    assert scanned(instructions(language=language)) == [
        "BCD", "002", "1", "SCT",
        "", "Seatline S.p.A.", "IT60X0542811101000000123456", "EUR43.92",
        "", "RF4210000016",
    ]  # fmt: skip


def test_O6_in_a_reminder_the_qr_code_and_the_code_line_take_what_is_still_missing() -> None:
    assert scanned(reminder("bank_transfer", paid="20.00"))[7] == "EUR23.92"
    assert " <000000001000001605> 00000023+92> 000000123456< 896>\n" in body(reminder("postal_slip", paid="20.00"))


def test_O4_the_qr_code_names_any_seller_and_its_bank() -> None:
    longest = "Società Cooperativa per l’Archiviazione è Più, 東京".ljust(70, "è")
    read = scanned(instructions(of=seller(name=longest, bic="BCITITMM"), order_number="9" * 16))
    assert read[4:6] == ["BCITITMM", longest]


@IN_BOTH_LANGUAGES
def test_O4_what_the_qr_code_says_stands_in_the_text_too(language: Literal["it", "en"]) -> None:
    letter = instructions(language=language, of=seller(bic="BCITITMM"))
    for said in ("Seatline S.p.A.", "IT60 X054 2811 1010 0000 0123 456", "BCITITMM", "RF42 1000 0016", " 10000016\n"):
        assert said in body(letter)
    assert "BIC" not in body(instructions(language=language))


@IN_BOTH_LANGUAGES
def test_html_shows_the_qr_code_from_the_letter_itself_and_says_what_it_is(language: Literal["it", "en"]) -> None:
    letter = instructions(language=language)
    [picture] = pictures(letter)
    html = body(letter, "html")
    assert f'<img src="cid:{picture["Content-ID"].strip("<>")}" alt="' in html
    _, _, described = html.partition('alt="')
    for said in ("43", "Seatline S.p.A.", "IT60 X054 2811 1010 0000 0123 456", "RF42 1000 0016"):
        assert said in described.partition('"')[0]
    assert picture.get_content_disposition() == "inline"


@pytest.mark.parametrize("method", ["postal_slip", "card", "paypal", "mybank"])
def test_only_a_bank_transfer_has_a_qr_code(method: str) -> None:
    letter = instructions(method)
    assert not pictures(letter)
    assert "<img" not in body(letter, "html")


def test_an_order_that_costs_nothing_has_no_transfer_to_scan() -> None:
    given_away = [{**item, "unit_price": "0"} for item in tomllib.loads(PRICE_LIST)["items"]]
    prices = PriceList.model_validate({**tomllib.loads(PRICE_LIST.partition("[seller]")[0]), "items": given_away})
    letter = instructions(prices=prices)
    assert "0,00" in body(letter)
    assert not pictures(letter)


def test_7_a_letter_with_its_picture_is_the_same_bytes_each_time() -> None:
    assert instructions().as_bytes() == instructions().as_bytes()


@IN_BOTH_LANGUAGES
def test_O4_a_postal_slip_is_told_its_customer_code_and_code_line(language: Literal["it", "en"]) -> None:
    text = body(instructions("postal_slip", language=language))
    assert " 000000001000001605\n" in text
    assert " <000000001000001605> 00000043+92> 000000123456< 896>\n" in text


@IN_BOTH_LANGUAGES
def test_without_the_post_office_s_authorisation_a_slip_is_filled_in_by_hand(language: Literal["it", "en"]) -> None:
    text = body(instructions("postal_slip", language=language, of=seller(td896=False)))
    for said in ("000000123456", "Seatline S.p.A.", "43", " 10000016\n"):
        assert said in text
    for said in ("896", customer_code("10000016")):
        assert said not in text


def test_an_order_number_s_reference_has_the_check_digits_of_iso_11649() -> None:
    assert creditor_reference("539007547034") == "RF18539007547034"
    assert iso11649.validate(creditor_reference("9" * 16))


def test_two_digits_that_changed_places_make_a_reference_that_no_bank_accepts() -> None:
    assert creditor_reference("10000016") == "RF4210000016"
    assert not iso11649.is_valid("RF42" + "10000061")


def test_a_slip_s_code_line_is_the_one_of_the_post_office() -> None:
    of = seller(postal_account="1007214826")
    assert customer_code("252576500951109") == "025257650095110900"
    assert (
        code_line(of, "252576500951109", Decimal("120.67"))
        == "<025257650095110900> 00000120+67> 001007214826< 896>"
    )  # fmt: skip


def test_a_slip_has_no_room_for_a_hundred_million() -> None:
    assert " 99999999+99> " in code_line(SHOPFRONT.seller, "10000016", Decimal("99999999.99"))
    with pytest.raises(ValueError, match=r"at most 99999999\.99 euro"):
        code_line(SHOPFRONT.seller, "10000016", Decimal("100000000"))


@pytest.mark.parametrize(
    "iban",
    [
        "IT60X0542811101000000123456", "SM86U0322509800000000270100",
        "SM76P0854009812123456789123", "DE89370400440532013000", "ES9121000418450200051332",
    ],
)  # fmt: skip
def test_accounts_of_several_countries_are_accepted(iban: str) -> None:
    assert seller(iban=iban).iban == iban


def refusal(tmp_path: Path, field: str, value: str) -> str:
    """What the start says about the installed price list with another account of the seller."""
    given = f'{field} = "{tomllib.loads(PRICE_LIST)["seller"][field]}"'
    assert given in PRICE_LIST
    file = tmp_path / "prices.toml"
    file.write_text(PRICE_LIST.replace(given, f'{field} = "{value}"'), encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        load_shopfront(file)
    return str(refused.value).removeprefix(f"SEATLINE_PRICE_LIST {file}: ")


@pytest.mark.parametrize(
    ("iban", "reason"),
    [
        ("IT60X0542811101000000123457", "its country, its length or its check digits are wrong"),
        ("IT40S0542811101000000123456", "its CIN is S, but bank, branch and account make X"),
        ("DE8937040044053201300", "its country, its length or its check digits are wrong"),
        ("XX89370400440532013000", "its country, its length or its check digits are wrong"),
    ],
)
def test_a_mistyped_iban_is_refused_at_the_start_in_one_line(tmp_path: Path, iban: str, reason: str) -> None:
    assert refusal(tmp_path, "iban", iban) == f"seller.iban: not an IBAN: {reason}"


@pytest.mark.parametrize("account", ["", "000000000000", "1007214826000", "10072148-26", "١٢٣"])
def test_a_mistyped_postal_account_is_refused_at_the_start_in_one_line(tmp_path: Path, account: str) -> None:
    expected = "seller.postal_account: not a postal account: it has 1 to 12 digits, not all of them 0"
    assert refusal(tmp_path, "postal_account", account) == expected


def test_a_name_that_no_transfer_can_carry_is_refused_at_the_start_in_one_line(tmp_path: Path) -> None:
    expected = "seller.name: a bank transfer names its beneficiary in at most 70 common characters"
    assert refusal(tmp_path, "name", "x" * 71) == expected
    assert refusal(tmp_path, "name", "Venditore 🙂") == expected


@pytest.mark.parametrize("bic", ["BCIT", "BCITITMMXX", "bcititmm", "BCIT ITMM"])
def test_a_bic_has_8_or_11_characters(bic: str) -> None:
    with pytest.raises(ValueError, match="bic"):
        seller(bic=bic)
