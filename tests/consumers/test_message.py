"""A letter as bytes: always the same, and nothing that its holder is called can change where it goes."""

import email
import os
import re
import subprocess
import sys
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import getaddresses

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.letters import Letters
from tests.consumers.test_letters import (
    AT,
    BIANCHI,
    PRICES,
    SELLER,
    body,
    confirmed,
    each_letter,
    holder,
    instructions,
    lapse_notice,
    order,
    sent,
    words,
)


def all_as_bytes() -> bytes:
    return b"".join(letter.as_bytes() for letter in each_letter())


@pytest.mark.slow
def test_7_the_same_event_gives_the_same_bytes_in_any_process() -> None:
    def elsewhere(**environment: str) -> bytes:
        python = f"import runpy, sys; sys.stdout.buffer.write(runpy.run_path({__file__!r})['all_as_bytes']())"
        paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        return subprocess.run(
            [sys.executable, "-c", python], env={**os.environ, **paths, **environment}, check=True, capture_output=True
        ).stdout

    here = all_as_bytes()
    assert elsewhere(PYTHONHASHSEED="1", TZ="Asia/Tokyo", LC_ALL="C") == here
    assert elsewhere(PYTHONHASHSEED="2", TZ="America/Lima", LC_ALL="C.UTF-8") == here


def test_7_each_event_and_each_letter_has_its_own_message_id() -> None:
    waiting, write = confirmed(order()), Letters(PRICES, SELLER, BIANCHI)
    letters = [
        sent(letter, BIANCHI, event_id)
        for letter in (write.order_reminder(waiting), write.lapse_notice(waiting))
        for event_id in ("order/10000016@1", "order/10000016@2")
    ]
    assert len({letter["Message-ID"] for letter in letters}) == 4
    assert all(re.fullmatch(r"<[0-9a-f]{32}@venditore\.example>", letter["Message-ID"]) for letter in letters)


def test_the_date_is_rome_s_in_winter_and_in_summer() -> None:
    winter, summer = (instructions(at=at) for at in (AT, AT.replace(month=7)))
    assert winter["Date"] == "Mon, 02 Mar 2026 09:15:59 +0100"
    assert summer["Date"] == "Thu, 02 Jul 2026 10:15:59 +0200"


HEADERS = [
    "MIME-Version", "Content-Type", "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Content-Language",
]  # fmt: skip


def assert_goes_to_the_holder_alone(message: EmailMessage) -> str:
    """Read the bytes as other programs do, not with the parser that checked them; returns the recipient's name."""
    written = message.as_bytes()
    assert written.isascii()
    assert max(map(len, written.split(b"\r\n"))) <= 998
    assert b"\n" not in written.replace(b"\r\n", b"")
    read = email.message_from_bytes(written)
    assert read.keys() == HEADERS
    [(name, address)] = getaddresses([read["To"]])
    assert address == "anna.bianchi@studio.example"
    return str(make_header(decode_header(name)))


def test_each_letter_goes_to_the_holder_alone() -> None:
    names = [assert_goes_to_the_holder_alone(letter) for letter in each_letter(holder("mallory@evil.example, Bianchi"))]
    assert set(names) == {"mallory@evil.example, Bianchi"}


@pytest.mark.parametrize(
    "name",
    [
        "Bianchi, Rossi e Associati",
        'Anna "la Rossa" Bianchi',
        "Bianchi <mallory@evil.example>",
        "mallory@evil.example, Bianchi",
        "Bianchi (Milano); Rossi: Verdi",
        "Società Agricola Nèro & Figli S.r.l.",
        "Bianchi\\",
        "名前",
        "= ?utf-8?q?x?=",
    ],
)
def test_a_name_arrives_as_it_is(name: str) -> None:
    assert assert_goes_to_the_holder_alone(lapse_notice(to=holder(name))) == name


@pytest.mark.parametrize(
    "name",
    [
        "Studio Associato Bianchi, Rossi, Verdi e Associati, Dottori Commercialisti, tra Professionisti",
        "Società per la Fatturazione Elettronica, la Conservazione e l’Archiviazione Sostitutiva",
        "è" * 200,
        "x, " * 66,
        "🙂" * 200,
    ],
)
def test_a_name_too_long_for_a_header_stays_in_the_letter(name: str) -> None:
    message = lapse_notice(to=holder(name))
    assert assert_goes_to_the_holder_alone(message) == ""
    assert words(name) in words(body(message))


def test_spaces_in_a_name_are_evened_out() -> None:
    assert assert_goes_to_the_holder_alone(lapse_notice(to=holder("  Studio \u00a0 Bianchi "))) == "Studio Bianchi"


@pytest.mark.parametrize(
    "name",
    [
        "=?UTF-8?Q?Bob=0D=0ABcc:_mallory@evil.example?=",
        "Bob =?",
        "Bob\r\nBcc: mallory@evil.example",
        "Bob\nBcc: mallory@evil.example",
        "Bob\r",
        "Bob\x00",
        "Bob\x0b",
        "Bob\x85Bcc: x",
        "Bob\u2028Bcc: x",
        "Bob\ud800",
        "Bob\x7f",
    ],
)
def test_a_name_that_could_open_another_header_is_refused(name: str) -> None:
    to = msgspec.structs.replace(holder(), name=name)
    with pytest.raises(ValueError, match="mail header"):
        lapse_notice(to=to)


@pytest.mark.parametrize(
    "address",
    [
        "", "anna", "anna@", "@b.example", "anna@b.example\r\nBcc: x@c.example", "a@b.example, c@d.example",
        "<anna@b.example>", "anna@b.example>", "anna@@b.example", "anna@b..example", "anna@[127.0.0.1]",
        "a..b@b.example", '"a b"@b.example', "ànna@b.example", "anna@bè.example", "=?utf-8?q?x?=@b.example",
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(ValueError, match=r"^no mail can be sent to this address$"):
        lapse_notice(to=msgspec.structs.replace(holder(), email=address))


@settings(max_examples=40, deadline=None)
@given(
    st.text(
        st.one_of(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), st.sampled_from(' ,;:<>()[]@".\\=?')),
        min_size=1,
        max_size=60,
    ).filter(lambda name: "=?" not in name)
)
def test_no_name_changes_where_a_letter_goes(name: str) -> None:
    assert assert_goes_to_the_holder_alone(lapse_notice(to=holder(name))) in (words(name), "")
