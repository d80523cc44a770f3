"""Who sells, and the accounts that are paid into: a mistyped one is refused when it is read."""

import re
import textwrap
import unicodedata
from string import ascii_uppercase
from typing import Annotated

from pydantic import AfterValidator, Field, StrictBool
from stdnum import iban as ibans
from stdnum.exceptions import ValidationError
from stdnum.it import codicefiscale, iva

from domain.commands import Email, Line
from domain.kernel import Checked

LONGEST_BENEFICIARY = 70
"""Characters, in a SEPA transfer."""
CIN_AT_ODD_PLACES = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
"""What a digit, or a letter counted from A, adds to the CIN of an Italian account."""


def header_text(text: str) -> str:
    """A text that may stand in a header; ValueError if it could end the header or open an encoded word."""
    if "=?" in text or any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        raise ValueError("control characters and `=?` may not stand in a mail header")
    return text


def _printed(line: str) -> str:
    # A form would show a line's end as a sign that its fonts lack.
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in line):
        raise ValueError("not one line: line ends and control characters can't be printed in the order form")
    return line


def _beneficiary(name: str) -> str:
    # Characters of four bytes could outgrow the QR code of a transfer; no bank prints them anyway.
    if len(name) > LONGEST_BENEFICIARY or max(name) > "\uffff":
        raise ValueError(f"a bank transfer names its beneficiary in at most {LONGEST_BENEFICIARY} common characters")
    return name


def _iban(iban: str) -> str:
    try:
        ibans.validate(iban)
    except ValidationError:
        raise ValueError("not an IBAN: its country, its length or its check digits are wrong") from None
    # San Marino's accounts are built like Italy's.
    if iban[:2] in ("IT", "SM") and iban[4] != (cin := _cin(iban[5:])):
        raise ValueError(f"not an IBAN: its CIN is {iban[4]}, but bank, branch and account make {cin}")
    return iban


def _cin(account: str) -> str:
    """The letter that checks ABI, CAB and account number."""
    values = [int(character) if character.isdigit() else ascii_uppercase.index(character) for character in account]
    return ascii_uppercase[(sum(CIN_AT_ODD_PLACES[value] for value in values[::2]) + sum(values[1::2])) % 26]


def _postal_account(account: str) -> str:
    if not re.fullmatch("[0-9]{1,12}", account) or not int(account):
        raise ValueError("not a postal account: it has 1 to 12 digits, not all of them 0")
    return account


Printed = Annotated[Line, AfterValidator(_printed)]
Url = Annotated[str, Field(max_length=200, pattern=r"^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*/?$")]


def _partita_iva(number: str) -> str:
    if not iva.is_valid(number) or len(number) != 11:
        raise ValueError("not a partita IVA: it has 11 digits, and the last checks the others")
    return number


def _tax_code(code: str) -> str:
    if not codicefiscale.is_valid(code) or not code.isalnum():
        raise ValueError("not a codice fiscale: its length or its check character is wrong")
    return code


class Seller(Checked):
    """Who sells: the seller's own data as letters show it, from the price list's file."""

    name: Annotated[Line, AfterValidator(header_text), AfterValidator(_beneficiary)]
    """Also the holder of both accounts."""
    email: Email
    iban: Annotated[str, Field(pattern=r"^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$"), AfterValidator(_iban)]
    bic: Annotated[str, Field(pattern=r"^[A-Z]{6}[A-Z0-9]{2}([A-Z0-9]{3})?$")] | None = None
    """Only banks outside the European Economic Area still ask for it."""
    postal_account: Annotated[str, AfterValidator(_postal_account)]
    td896: StrictBool = False
    """Whether Poste Italiane has authorised the account for pre-printed slips: else nobody may offer them."""
    address: Annotated[tuple[Printed, ...], Field(max_length=4)] = ()
    """Line by line, as the order form shows it."""
    vat_number: Annotated[str, AfterValidator(_partita_iva)] | None = None
    tax_code: Annotated[str, AfterValidator(_tax_code)] | None = None
    company_register: Printed | None = None
    """Where the company is entered and under which number."""
    panel_url: Url
    payment_url: Url
    """Where an order is paid at once; the order number follows as the last part of the path."""

    @property
    def iban_in_groups(self) -> str:
        return " ".join(textwrap.wrap(self.iban, 4))

    @property
    def domain(self) -> str:
        return self.email.rpartition("@")[2]

    def payment_link(self, order_number: str) -> str:
        return f"{self.payment_url.rstrip('/')}/{order_number}"
