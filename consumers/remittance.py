"""An order number as banks and post offices carry it: ISO 11649, the EPC's QR code and the slip TD 896 (O4)."""

from decimal import Decimal
from io import BytesIO

from segno.helpers import make_epc_qr
from stdnum.iso7064 import mod_97_10

from consumers.seller import Seller

UTF_8 = 1
"""The number of the character set in EPC069-12, the one that every banking app reads."""
PIXELS_A_MODULE = 4
HIGHEST_SLIP = Decimal("99999999.99")


def creditor_reference(order_number: str) -> str:
    """The order number behind `RF` and two check digits, by which a bank notices a typo (ISO 11649)."""
    return f"RF{mod_97_10.calc_check_digits(f'{order_number}RF')}{order_number}"


def transfer_qr(seller: Seller, order_number: str, amount: Decimal) -> bytes:
    """A PNG that a banking app reads as the whole transfer (EPC069-12, version 002)."""
    code = make_epc_qr(
        name=seller.name,
        iban=seller.iban,
        bic=seller.bic,
        amount=amount,
        reference=creditor_reference(order_number),
        encoding=UTF_8,
    )
    png = BytesIO()
    # Not compressed: what comes out would differ between builds of zlib, and a letter is always the same bytes.
    code.save(png, kind="png", scale=PIXELS_A_MODULE, compresslevel=0)
    return png.getvalue()


def customer_code(order_number: str) -> str:
    """The order number in 16 digits and their remainder modulo 93, as a slip TD 896 takes it."""
    return f"{order_number:0>16}{int(order_number) % 93:02}"


def code_line(seller: Seller, order_number: str, amount: Decimal) -> str:
    """What a machine reads at the foot of a slip TD 896; ValueError if the amount has no room there."""
    if amount > HIGHEST_SLIP:
        raise ValueError(f"a postal slip takes at most {HIGHEST_SLIP} euro")
    euros, cents = f"{amount:.2f}".split(".")
    return f"<{customer_code(order_number)}> {euros:0>8}+{cents}> {seller.postal_account:0>12}< 896>"
