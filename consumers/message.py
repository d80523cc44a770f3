"""One event's letter as bytes: always the same, and nothing that anybody is called can change where it goes."""

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

from consumers.letters import Letter
from consumers.order_form import OrderForm
from consumers.seller import Seller, header_text
from consumers.words import Language, Words
from domain.commands import Email
from domain.kernel import ROME
from domain.subscription_events import AccountHolder

TEMPLATES = Path(__file__).parent / "templates"
EMAIL: TypeAdapter[str] = TypeAdapter(Email)
LONGEST_LINE = 998
"""Bytes without the line's end, by RFC 5322."""


def as_message(letter: Letter, *, event_id: str, at: datetime, holder: AccountHolder, seller: Seller) -> EmailMessage:
    """The letter that an event at that time asks for; ValueError if the holder's data can't stand in a mail header."""
    # Random ids and boundaries would make a second copy another letter.
    fingerprint = sha256(f"{letter.template} {event_id}".encode()).hexdigest()[:32]
    boundary = f"=_{fingerprint}"
    picture_id = f"qr.{fingerprint}@{seller.domain}" if letter.picture else None
    facts = {**letter.facts, "holder": holder, "seller": seller, "picture_id": picture_id}
    subject, text = _rendered(letter.template, holder.language, "text", facts)
    _, html = _rendered(letter.template, holder.language, "html", facts)
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
    if letter.picture and picture_id:
        _show(letter.picture, picture_id, message, boundary)
    message.set_boundary(boundary)
    if letter.form:
        _attach(letter.form, message, boundary)
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
