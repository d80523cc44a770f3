"""Reminders and lapse notices as an operator brings them about: a close-day, the workers, and the Maildir."""

from datetime import datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import pytest

from consumers.words import Words
from domain.kernel import ROME
from tests.office import BASE, SUB, Office, service
from tests.test_command_line import Here, here

__all__ = ["here"]


def letters(home: Path) -> list[EmailMessage]:
    files = sorted((home / "mail" / "new").glob("*.eml"))
    return [message_from_bytes(file.read_bytes(), policy=default) for file in files]


@pytest.mark.slow
def test_a_closed_day_brings_each_reminder_to_the_mailbox_once(here: Here, office: Office, tmp_path: Path) -> None:
    """By the clock of today, because whether a letter still makes sense depends on it."""
    today = datetime.now(ROME).date()
    yesterday, ends = today - timedelta(days=1), today + timedelta(days=20)

    def days_ago(days: int) -> Office:
        return office.on(f"{today - timedelta(days=days)}")

    days_ago(31).start(service(BASE, f"{ends}"))
    lapses = office.order_seats(1, extend=False)
    waits = days_ago(25).order_seats(2, extend=False)
    office.drain(office.email())  # their instructions, which went elsewhere
    midnight = datetime.combine(today, datetime.min.time(), ROME)
    commands = tmp_path / "close-day.jsonl"
    commands.write_bytes(office.line("close-day", at=midnight, date=f"{yesterday}"))

    assert here("send", str(commands)).code == 0
    assert here("run", "--drain").code == 0
    sent = letters(tmp_path)
    assert {letter["Subject"] for letter in sent} == {
        f"Servizio in scadenza {Words('it').day(ends, 'il')}",
        f"Ordine {waits}: il pagamento non risulta ancora registrato",
        f"Ordine {lapses}: scaduto, non è più da pagare",
    }
    assert len(sent) == 3

    done = {
        effect["id"]: effect["order_number"] for effect in here("effects", "list", "--state", "done", "--json").json
    }
    assert done == {
        f"payment-instructions:{lapses}": lapses,
        f"payment-instructions:{waits}": waits,
        f"order-reminder:{waits}:7": waits,
        f"lapse-notice:{lapses}": lapses,
        f"expiry-reminder:close-day:{yesterday}:subscription/{SUB}": None,
    }
    assert "expiry-reminder:close-day:" in here("effects", "list", "--state", "done").out
    about_s1, *_ = here("why", SUB, "--json").json
    assert (about_s1["service_id"], about_s1["effects"]) == ("S1", [])

    office.tell("UPDATE seatline.positions SET position = 0")
    assert here("run", "--drain").code == 0
    assert [letter["Message-ID"] for letter in letters(tmp_path)] == [letter["Message-ID"] for letter in sent]
