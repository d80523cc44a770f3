"""Letters to account holders: how to pay an order, and that what was bought is on the panel (O4, S2)."""

import re
import textwrap
from collections.abc import Mapping
from datetime import datetime
from email.headerregistry import Address, HeaderRegistry
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import SMTP
from email.utils import format_datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import TypeAdapter
from stdnum import iso11649

from consumers.order_form import OrderForm, order_form
from consumers.remittance import code_line, creditor_reference, customer_code, transfer_qr
from consumers.seller import Seller, header_text
from consumers.words import Language, Words
from domain.commands import Email
from domain.kernel import ROME
from domain.order import OrderFulfilled, OrderPlaced
from domain.pricing import PriceList
from domain.subscription_events import AccountHolder

TEMPLATES = Path(__file__).parent / "templates"
EMAIL: TypeAdapter[str] = TypeAdapter(Email)
LONGEST_LINE = 998
"""Bytes without the line's end, by RFC 5322."""


def payment_instructions(
    placed: OrderPlaced, *, event_id: str, at: datetime, holder: AccountHolder, prices: PriceList, seller: Seller
) -> EmailMessage:
    """How to complete an order that was not paid immediately (O3, O4)."""
    number, total = placed.order_number, placed.quote.total
    facts: dict[str, object] = {
        "placed": placed,
        "names": _names(placed, prices, holder.language),
        "method": Words(holder.language).name(prices.by_method.get(placed.payment_method), placed.payment_method),
    }
    form = order_form(placed, at=at, holder=holder, prices=prices, seller=seller)
    picture = None
    match placed.payment_method:
        case "bank_transfer":
            facts["reference"] = iso11649.format(creditor_reference(number))
            picture = transfer_qr(seller, number, total) if total else None
        case "postal_slip":
            if seller.td896:
                facts |= {"customer_code": customer_code(number), "code_line": code_line(seller, number, total)}
        case _:
            facts["payment_link"] = seller.payment_link(number)
    return _letter(
        "payment_instructions", facts, picture, form=form, event_id=event_id, at=at, holder=holder, seller=seller
    )


def seats_on_panel(
    placed: OrderPlaced,
    fulfilled: OrderFulfilled,
    *,
    event_id: str,
    at: datetime,
    placed_at: datetime,
    holder: AccountHolder,
    prices: PriceList,
    seller: Seller,
) -> EmailMessage:
    """The payment is registered: seats are on the panel, or services are renewed (S2)."""
    # Whoever pays at once gets no instructions, and so the order form with this.
    form = order_form(placed, at=placed_at, holder=holder, prices=prices, seller=seller) if placed.immediate else None
    facts = {"placed": placed, "fulfilled": fulfilled, "names": _names(placed, prices, holder.language)}
    return _letter("seats_on_panel", facts, form=form, event_id=event_id, at=at, holder=holder, seller=seller)


def _names(placed: OrderPlaced, prices: PriceList, language: Language) -> Mapping[str, str]:
    words = Words(language)
    return {line.sku: words.name(prices.by_sku.get(line.sku), line.sku) for line in placed.quote.lines}


def _letter(
    template: str,
    facts: Mapping[str, object],
    picture: bytes | None = None,
    *,
    form: OrderForm | None = None,
    event_id: str,
    at: datetime,
    holder: AccountHolder,
    seller: Seller,
) -> EmailMessage:
    """One event's letter, always the same bytes; ValueError if the holder's data can't stand in a mail header."""
    # Random ids and boundaries would make a second copy another letter.
    fingerprint = sha256(f"{template} {event_id}".encode()).hexdigest()[:32]
    boundary = f"=_{fingerprint}"
    picture_id = f"qr.{fingerprint}@{seller.domain}" if picture else None
    facts = {**facts, "holder": holder, "seller": seller, "picture_id": picture_id}
    subject, text = _rendered(template, holder.language, "text", facts)
    _, html = _rendered(template, holder.language, "html", facts)
    headers = {
        "From": str(_mailbox(seller.name, seller.email)),
        "To": str(_mailbox(holder.name, holder.email)),
        "Subject": subject,
        "Date": format_datetime(at.astimezone(ROME)),
        "Message-ID": f"<{fingerprint}@{seller.domain}>",
        "Auto-Submitted": "auto-generated",
        "Content-Language": holder.language,
    }
    message = EmailMessage(policy=SMTP)
    message.set_content(text, cte="quoted-printable")
    message.add_alternative(html, subtype="html", cte="quoted-printable")
    if picture and picture_id:
        _show(picture, picture_id, message, boundary)
    message.set_boundary(boundary)
    if form:
        _attach(form, message, boundary)
    for name, value in headers.items():
        message[name] = value
    mime = {"MIME-Version": "1.0", "Content-Type": f'{message.get_content_type()}; boundary="{boundary}"'}
    return _verified(message, headers | mime)


def _show(picture: bytes, picture_id: str, message: EmailMessage, boundary: str) -> None:
    """Put a PNG beside the HTML that shows it, so that it needs no network."""
    page = message.get_body(("html",))
    assert isinstance(page, EmailMessage)
    page.add_related(picture, "image", "png", cid=f"<{picture_id}>", disposition="inline", filename="qr.png")
    page.set_param("type", "text/html")
    page.set_boundary(f"{boundary}_page")


def _attach(form: OrderForm, message: EmailMessage, boundary: str) -> None:
    message.set_boundary(f"{boundary}_letter")
    message.add_attachment(form.pdf, "application", "pdf", filename=form.file_name)
    message.set_boundary(boundary)


def _mailbox(name: str, email: str) -> Address:
    """Whom a letter is from or for, without the name if that would not fit into one line of the header.

    Python 3.11.7 breaks a long name wrongly (gh-80222): spaces are lost, or the quotes of `Bianchi, Rossi e Associati`,
    which becomes two recipients.
    """
    try:
        nameless = Address(addr_spec=EMAIL.validate_python(email))
    except ValueError:
        raise ValueError("no mail can be sent to this address") from None
    named = Address(" ".join(header_text(name).split()), addr_spec=email)
    _, *more_lines = HeaderRegistry()("From", str(named)).fold(policy=SMTP).splitlines()
    return named if more_lines in ([], [f" <{email}>"]) else nameless


def _verified(message: EmailMessage, meant: Mapping[str, str]) -> EmailMessage:
    """The message, once its finished bytes read back as exactly the headers that were meant."""
    written = message.as_bytes()
    read = BytesParser(policy=SMTP).parsebytes(written)
    if sorted((name, str(value)) for name, value in read.items()) != sorted(meant.items()):
        raise ValueError("the message's headers would not arrive as they were meant")
    if not written.isascii() or max(map(len, written.split(b"\r\n"))) > LONGEST_LINE:
        raise ValueError("the message would not travel unchanged")
    return message


def _rendered(
    template: str, language: Language, form: Literal["text", "html"], facts: Mapping[str, object]
) -> tuple[str, str]:
    """A letter's subject and its body, from the words of a language and the parts of a form."""
    module = _environment(language, form).get_template(f"{template}.jinja").make_module(dict(facts))
    return str(vars(module)["subject"]), re.sub(r"\n{3,}", "\n\n", str(module)).strip() + "\n"


@cache
def _environment(language: Language, form: Literal["text", "html"]) -> Environment:
    environment = Environment(
        loader=FileSystemLoader([TEMPLATES / language, TEMPLATES / form]),
        autoescape=form == "html",  # noqa: S701 plain text has nothing to escape
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals["language"] = language
    environment.filters |= Words(language).filters
    environment.filters["wrapped"] = _wrapped
    return environment


def _wrapped(text: str, first: str = "", indent: str = "") -> str:
    """One paragraph in lines of at most 72 characters; no-break spaces and long links stay whole."""
    return textwrap.fill(
        re.sub(r"[ \n]+", " ", text).strip(" "),
        width=72,
        initial_indent=first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
