"""Row 7: payment instructions are sent, and more than once only where nobody could know that they had been."""

import random
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from email.message import EmailMessage
from email.utils import make_msgid
from hashlib import sha256
from typing import Any, LiteralString, NamedTuple

from adapters.books import StoredBooks
from adapters.mail import SmtpMailer
from adapters.postgres.effects import EffectWorker
from adapters.postgres.log import EventLog
from adapters.postgres.readers import LogSource
from adapters.settings import Settings, load_shopfront
from adapters.wiring import engine
from consumers.effects import InDoubt, Postponed
from consumers.email import Email
from scripts.benches.stage import Stage
from scripts.torments.hands import TIMEOUT, Clock, Making, hands
from scripts.torments.ledger import Ledger, Outcome
from scripts.torments.orders import Orders
from scripts.torments.postoffice import HANG_UP, SILENCE, TAKEN, PostOffice

QUICK, FULL = 60, 2_000
ORDERS_AT_ONCE = 200
SHARE = 0.15
"""Of answers before the message, and twice as many of those to it, that are faults."""
MOODS = ("421 later", "451 later", "550 never", SILENCE, HANG_UP)
LOST, KILL = "lost", "kill"
OF_MESSAGES = (*MOODS, LOST, KILL)
"""To a message, silence and hanging up come after it has been taken, and LOST hangs up without."""


class Copy(NamedTuple):
    order_number: str
    message_id: str
    content: str
    unknown: bool
    """The answer to it was lost, on purpose."""


class MoodyOffice(PostOffice):
    """Answers as it likes, as often as it has been told to, and then as it should."""

    def __init__(self, faults: int, seed: int) -> None:
        self.copies: list[Copy] = []
        self.doubts: set[str] = set()
        """The numbers of orders of which a letter was handed over without an answer."""
        self.faults = Counter[str]()
        self.kill: Callable[[], None] = lambda: None
        self._left = faults
        self._chance = random.Random(seed)  # noqa: S311  reproducible on purpose
        super().__init__()

    def answer(self, verb: str, usual: str) -> str:
        return self._mood(verb, SHARE, MOODS) or usual

    def answer_message(self, message: EmailMessage) -> str:
        mood = self._mood("message", 2 * SHARE, OF_MESSAGES)
        number = re.findall(r"\d{5,}", str(message["Subject"]))[0]
        unknown = mood in (SILENCE, HANG_UP, KILL)
        if unknown or mood == LOST:
            self.doubts.add(number)
        if unknown or mood is None:
            content = sha256(message.as_bytes()).hexdigest()
            self.copies.append(Copy(number, str(message["Message-ID"]), content, unknown))
        if mood == KILL:
            self.kill()
        return HANG_UP if mood in (LOST, KILL) else mood or TAKEN

    def _mood(self, verb: str, share: float, moods: tuple[str, ...]) -> str | None:
        if verb == "RSET" or not self._left or self._chance.random() >= share:
            return None
        mood = self._chance.choice(moods)
        self._left -= 1
        self.faults[f"{verb} {mood}"] += 1
        return mood


def torment(
    stage: Stage, faults: int, seed: int, *, make: Making | None = None, before_reading_again: LiteralString = "SELECT"
) -> Outcome:
    """`make` and `before_reading_again` are for planted bugs: another worker, and what becomes of the ledger."""
    with (
        stage.database() as url,
        engine(Settings(database_url=url)) as wired,
        closing(MoodyOffice(faults, seed)) as office,
        hands(url, make or postman, office.url) as worker,
    ):
        office.kill = worker.kill
        orders, ledger, placed = Orders(wired.clerk()), Ledger(url, Email.name), list[str]()
        while office.faults.total() < faults:
            places = range(len(placed), len(placed) + min(faults, ORDERS_AT_ONCE))
            placed += orders.placed([f"SUB-{place}" for place in places])
            ledger.wait(worker.see_to_it)
            ledger.retry_all(worker.see_to_it)
        in_doubt = ledger.orders("in_doubt")
        ledger.tell(before_reading_again)
        ledger.read_again()
        ledger.wait(worker.see_to_it)
    figures = {
        "faults": office.faults.total(),
        "orders": len(placed),
        "letters": len(office.copies),
        "copies that could not be avoided": len(office.copies) - len(placed),
        "orders in doubt": len(in_doubt),
        "retried by a person": ledger.retried,
    }
    return Outcome(figures, list(_complaints(office, placed, in_doubt)))


def _complaints(office: MoodyOffice, placed: Collection[str], in_doubt: Collection[str]) -> Iterator[str]:
    copies = {number: list[Copy]() for number in placed}
    for copy in office.copies:
        copies[copy.order_number].append(copy)
    if without := [number for number, sent in copies.items() if not sent]:
        yield f"{len(without)} orders got no letter"
    if again := [number for number, sent in copies.items() if any(not copy.unknown for copy in sent[:-1])]:
        yield f"{len(again)} orders got another letter although the first one's answer had arrived"
    if other := [number for number, sent in copies.items() if len({(c.message_id, c.content) for c in sent}) > 1]:
        yield f"{len(other)} orders got letters that are not the same"
    if len({copy.message_id for copy in office.copies}) < len(placed):
        yield "letters of several orders have the same Message-ID"
    if hidden := office.doubts - set(in_doubt):
        yield f"{len(hidden)} doubts are not shown"
    if invented := set(in_doubt) - office.doubts:
        yield f"{len(invented)} effects are in doubt for no reason"


# Workers, each in a process of its own


def postman(log: EventLog, clock: Clock, url: str) -> EffectWorker:
    return _sending(log, clock, SmtpMailer(url, timeout=TIMEOUT).send)


def postman_who_knows_no_doubt(log: EventLog, clock: Clock, url: str) -> EffectWorker:
    mailer = SmtpMailer(url, timeout=TIMEOUT)

    def send(message: EmailMessage) -> None:
        try:
            mailer.send(message)
        except InDoubt as reason:
            raise Postponed(str(reason)) from reason

    return _sending(log, clock, send)


def postman_who_renames(log: EventLog, clock: Clock, url: str) -> EffectWorker:
    mailer = SmtpMailer(url, timeout=TIMEOUT)

    def send(message: EmailMessage) -> None:
        message.replace_header("Message-ID", make_msgid())
        mailer.send(message)

    return _sending(log, clock, send)


def _sending(log: EventLog, clock: Clock, send: Callable[[EmailMessage], None]) -> EffectWorker:
    shopfront = load_shopfront(None)
    email = Email(StoredBooks(log), send, shopfront.prices, shopfront.seller)
    return EffectWorker(log, LogSource(log, email.name), email, clock=clock)


NO_DEDUPE: LiteralString = "ALTER TABLE seatline.effects DROP CONSTRAINT effects_pkey CASCADE"
FORGETTING: LiteralString = "TRUNCATE seatline.effects CASCADE"
PLANTED: dict[str, dict[str, Any]] = {
    "mails resent on rebuild": {"before_reading_again": FORGETTING},
    "dedupe removed": {"before_reading_again": NO_DEDUPE},
    "doubt taken for a no": {"make": postman_who_knows_no_doubt},
    "a Message-ID for each attempt": {"make": postman_who_renames},
}
